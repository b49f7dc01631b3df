//! What the log says of a client's bytes that are refused, in nats-server's words.
//!
//! The parsers answer quickly and tell only what the session must know. Here the same bytes are
//! looked at once more, to say what a person wants to know.

use std::fmt;

use super::client::{self, ParseError};
use super::line::{Words, is_blank, parse_size};
use super::quote::Quoted;
use super::redact;

/// So many bytes are shown of what is no operation.
const SNIPPET_LEN: usize = 32;

/// nats-server's parser states behind the letters of each verb: the state behind the first letter,
/// from which the others count on. What begins like an earlier verb shares that one's states.
const STATES: [(&[u8], usize); 10] = [
    (b"PUB", 29),
    (b"HPUB", 18),
    (b"SUB", 43),
    (b"UNSUB", 59),
    (b"PING", 33),
    (b"PONG", 36),
    (b"CONNECT", 10),
    (b"INFO", 71),
    (b"+OK", 1),
    (b"-ERR", 4),
];
/// Its state where a CR must stand behind a payload, and where the LF must.
const STATES_AT_END: [usize; 2] = [41, 42];

/// What is said of a line that failed with this error; `bytes` begin with the line.
#[must_use]
pub fn of_line(error: ParseError, bytes: &[u8]) -> String {
    match error {
        ParseError::UnknownOperation => {
            let (state, at) = no_verb(bytes);
            parser_error(state, at, &bytes[at..])
        }
        ParseError::BadArguments => bad_arguments(bytes).unwrap_or_else(|| error.to_string()),
        ParseError::ControlLineTooLong { .. }
        | ParseError::HeadersNotSupported
        | ParseError::PayloadTooLarge { .. } => error.to_string(),
    }
}

/// What is said when something else stands behind a payload than a line end; the operation has had
/// `at` bytes before.
#[must_use]
pub fn of_end(at: usize, behind: &[u8]) -> String {
    let good = usize::from(behind.starts_with(b"\r"));
    parser_error(STATES_AT_END[good], at + good, &behind[good..])
}

/// What is said of JSON that cannot be read: no value of it, for it may be a secret.
#[must_use]
pub fn of_json(error: &serde_json::Error, json: &str) -> String {
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Eof => "unexpected end of JSON input".to_owned(),
        serde_json::error::Category::Data => {
            let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
            match found(text) {
                Some(kind) => {
                    format!("json: cannot unmarshal {kind} into Go value of type server.ClientOpts")
                }
                None => text.to_owned(),
            }
        }
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            let line = json.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
            let wrong = line.as_bytes().get(error.column().saturating_sub(1)).copied();
            let quoted = Quoted(&[wrong.unwrap_or(b'\n')]).to_string();
            format!("invalid character '{}' {}", &quoted[1..quoted.len() - 1], place(&text))
        }
    }
}

/// What is said of an option with a value of another type; `None` when that is not what failed.
pub(super) fn of_option(error: &impl fmt::Display, key: &str) -> Option<String> {
    let found = found(&error.to_string())?;
    let wanted = match key {
        "verbose" | "pedantic" | "echo" | "headers" | "no_responders" | "tls_required"
        | "new_account" => "bool",
        "protocol" => "int",
        "import" | "export" => "server.SubjectPermission",
        _text => "string",
    };
    Some(format!(
        "json: cannot unmarshal {found} into Go struct field ClientOpts.{key} of type {wanted}"
    ))
}

/// Go's word for the type that a value has, from serde's text.
fn found(text: &str) -> Option<&'static str> {
    let kind = text.strip_prefix("invalid type: ")?;
    Some(match kind.split([' ', ',']).next()? {
        "boolean" => "bool",
        "string" => "string",
        "sequence" => "array",
        "map" => "object",
        _number => "number",
    })
}

/// Go's words for the place where JSON goes wrong, from serde's.
fn place(text: &str) -> &'static str {
    const PLACES: [(&str, &str); 9] = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
    ];
    let place = PLACES.iter().find(|(begin, _)| text.starts_with(begin));
    place.map_or("in literal", |(_, place)| place)
}

/// The state and the index at which bytes stop to be a verb.
fn no_verb(bytes: &[u8]) -> (usize, usize) {
    let mut best = (0, 0);
    for (verb, state) in STATES {
        let same =
            bytes.iter().zip(verb).take_while(|(byte, want)| byte.eq_ignore_ascii_case(want));
        let same = same.count();
        if same > best.1 {
            best = (state + same - 1, same);
        }
    }
    best
}

fn parser_error(state: usize, at: usize, rest: &[u8]) -> String {
    // All of the bytes but for the last, when there are few: as nats-server cuts them.
    let all = rest.len();
    let snippet = &rest[..if all < SNIPPET_LEN { all.saturating_sub(1) } else { SNIPPET_LEN }];
    let shown =
        if redact::may_hold_secret(snippet) { redact::REDACTED.as_bytes() } else { snippet };
    format!("Client parser ERROR, state={state}, i={at}: proto='{}...'", Quoted(shown))
}

fn bad_arguments(bytes: &[u8]) -> Option<String> {
    let (verb, args) = client::verb_and_args(bytes)?;
    Some(match verb {
        b"PUB" => bad_publish(args),
        b"HPUB" => bad_publish_with_headers(args),
        b"SUB" => format!("processSub Parse Error: {}", Quoted(args)),
        b"UNSUB" => format!("processUnsub Parse Error: {}", Quoted(args)),
        b"INFO" => {
            let text = String::from_utf8_lossy(args);
            let read = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            of_json(&read.err()?, &text)
        }
        _other => return None,
    })
}

fn bad_publish(args: &[u8]) -> String {
    let words = Words::<3>::split(args, is_blank);
    let wrong = match words.as_ref().map(Words::as_slice) {
        Some([_, _] | [_, _, _]) => "Bad or Missing Size",
        Some(_) | None => "Parse Error",
    };
    format!("processPub {wrong}: {}", Quoted(args))
}

fn bad_publish_with_headers(args: &[u8]) -> String {
    let words = Words::<4>::split(args, is_blank);
    let wrong = match words.as_ref().map(Words::as_slice) {
        Some([_, header_len, size] | [_, _, header_len, size]) => {
            match (parse_size(header_len), parse_size(size)) {
                (None, _) => "Bad or Missing Header Size",
                (_, None) => "Bad or Missing Total Size",
                (Some(_), Some(_)) => "Header Size larger then TotalSize",
            }
        }
        Some(_) | None => "Parse Error",
    };
    format!("processHeaderPub {wrong}: {}", Quoted(args))
}

#[cfg(test)]
mod tests {
    use super::super::client::{Step, next};
    use super::super::connect::Connect;
    use super::*;

    /// The texts are the real server's.
    #[track_caller]
    fn check(bytes: &str, expected: &str) {
        let Step::Failed(error) = next(bytes.as_bytes(), 4096) else { panic!("{bytes} is fine") };
        assert_eq!(of_line(error, bytes.as_bytes()), expected);
    }

    #[test]
    fn a_line_is_refused_in_the_words_of_the_peer() {
        check("PUB a\r\n", r#"processPub Parse Error: "a""#);
        check("PUB a x\r\n", r#"processPub Bad or Missing Size: "a x""#);
        check("HPUB a\r\n", r#"processHeaderPub Parse Error: "a""#);
        check("HPUB a x 3\r\n", r#"processHeaderPub Bad or Missing Header Size: "a x 3""#);
        check("HPUB a 1 x\r\n", r#"processHeaderPub Bad or Missing Total Size: "a 1 x""#);
        check("HPUB a 5 3\r\n", r#"processHeaderPub Header Size larger then TotalSize: "a 5 3""#);
        check("SUB a b c d\r\n", r#"processSub Parse Error: "a b c d""#);
        check("UNSUB a b c\r\n", r#"processUnsub Parse Error: "a b c""#);
        check("INFO x\r\n", "invalid character 'x' looking for beginning of value");
        check("INFO {\"a\"}\r\n", "invalid character '}' after object key");
    }

    #[test]
    fn what_is_no_operation_is_told_by_state_and_place() {
        check("FOO\r\n", r#"Client parser ERROR, state=0, i=0: proto='"FOO\r"...'"#);
        check("PIXX\r\n", r#"Client parser ERROR, state=34, i=2: proto='"XX\r"...'"#);
        check("SUB\r\n", r#"Client parser ERROR, state=45, i=3: proto='"\r"...'"#);
        check("UNSUB\r\n", r#"Client parser ERROR, state=63, i=5: proto='"\r"...'"#);
        let long = "BARBARBARBARBARBARBARBARBARBARBA";
        let shown = format!("Client parser ERROR, state=0, i=0: proto='\"{long}\"...'");
        check(&format!("{long}RBAR"), &shown);
        let secret = r#"Client parser ERROR, state=15, i=6: proto='"[REDACTED]"...'"#;
        check("CONNEC {\"pass\":\"s3cret\"}\r\n", secret);
        let end = r#"Client parser ERROR, state=41, i=11: proto='"xx\r"...'"#;
        assert_eq!(of_end(11, b"xx\r\n"), end);
        let end = r#"Client parser ERROR, state=42, i=12: proto='"x\r"...'"#;
        assert_eq!(of_end(11, b"\rx\r\n"), end);
    }

    #[test]
    fn a_connect_is_refused_in_the_words_of_the_peer_and_without_its_values() {
        let check = |json: &str, expected: &str| {
            let error = Connect::parse(json.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{json}");
        };
        let wrong = "json: cannot unmarshal";
        let field = "into Go struct field ClientOpts";
        check(r#"{"verbose":1}"#, &format!("{wrong} number {field}.verbose of type bool"));
        check(r#"{"pass":12345}"#, &format!("{wrong} number {field}.pass of type string"));
        check(r#"{"protocol":"x"}"#, &format!("{wrong} string {field}.protocol of type int"));
        check("[]", &format!("{wrong} array into Go value of type server.ClientOpts"));
        check("{x", "invalid character 'x' looking for beginning of object key string");
        check("xx", "invalid character 'x' looking for beginning of value");
        check(r#"{"user":"u""#, "unexpected end of JSON input");
        check("", "unexpected end of JSON input");
        check("{} x", "invalid character 'x' after top-level value");
    }
}
