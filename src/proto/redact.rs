//! CONNECT without its secrets, for the log.

use std::borrow::Cow;

use memchr::memchr;
use serde::de::IgnoredAny;

use super::connect::fold;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// Keys that begin so hold secrets.
const SECRET_PREFIXES: [&str; 2] = ["pass", "auth_token"];
/// So do these.
const SECRETS: [&str; 3] = ["sig", "proxy_sig", "nkey"];

/// The options of a CONNECT as the client wrote them, with its secrets replaced. Of what is no JSON
/// nothing is shown, as nobody can tell where in it a secret ends.
#[must_use]
pub fn connect(json: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(json);
    if serde_json::from_str::<IgnoredAny>(&text).is_err() {
        return Cow::Borrowed(REDACTED.as_bytes());
    }
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = memchr(b'"', rest) {
        let (string, behind) = rest[at..].split_at(string_len(&rest[at..]));
        let value = value_of_key(behind).filter(|_| is_secret(string));
        let Some(value) = value else {
            out.extend_from_slice(&rest[..rest.len() - behind.len()]);
            rest = behind;
            continue;
        };
        out.extend_from_slice(&rest[..rest.len() - value.len()]);
        let quote: &[u8] = if value.starts_with(b"\"") { b"\"" } else { b"" };
        out.extend_from_slice(&[quote, REDACTED.as_bytes(), quote].concat());
        rest = &value[value_len(value)..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Whether bytes that were not understood may hold a secret.
#[must_use]
pub fn may_hold_secret(bytes: &[u8]) -> bool {
    let text = fold(&String::from_utf8_lossy(bytes));
    SECRET_PREFIXES.iter().chain(&SECRETS).any(|secret| text.contains(secret))
}

/// The length of the string that the JSON begins with, quotes included.
fn string_len(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// What stands behind the colon, if there is one next.
fn value_of_key(behind: &[u8]) -> Option<&[u8]> {
    behind.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start)
}

fn is_secret(string: &[u8]) -> bool {
    let key: Result<String, _> = serde_json::from_str(&String::from_utf8_lossy(string));
    // A key that cannot be read is taken for one that must not.
    key.map_or(true, |key| {
        let key = fold(&key);
        SECRETS.contains(&&*key) || SECRET_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
    })
}

/// The length of the value that the JSON begins with.
fn value_len(json: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' if depth == 0 => return string_len(json),
            b'"' => at += string_len(&json[at..]) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&connect(json.as_bytes())), expected, "{json}");
    }

    #[test]
    fn the_clients_text_stays_but_for_its_secrets() {
        check(
            r#"{"z":1, "user" : "ann","Pass":"s3","a":["pass"]}"#,
            r#"{"z":1, "user" : "ann","Pass":"[REDACTED]","a":["pass"]}"#,
        );
        check(
            r#"{"auth_token": "t" , "sig":"s"}"#,
            r#"{"auth_token": "[REDACTED]" , "sig":"[REDACTED]"}"#,
        );
        check(r#"{"pass":12,"nkey":null}"#, r#"{"pass":[REDACTED],"nkey":[REDACTED]}"#);
        check(r#"{"pass":"a\"b\\","x":1}"#, r#"{"pass":"[REDACTED]","x":1}"#);
        check(r#"{"pass":{"a":"},",b":[1]},"x":1}"#, REDACTED);
        check(r#"{"pass":{"a":"},","b":[1]},"x":1}"#, r#"{"pass":[REDACTED],"x":1}"#);
        check(r#"{"p\u0061ss":"s3","mysig":"b"}"#, r#"{"p\u0061ss":"[REDACTED]","mysig":"b"}"#);
        check("{pass: s3", REDACTED);
    }

    #[test]
    fn what_was_not_understood_may_hold_a_secret() {
        assert!(may_hold_secret(b" {\"Pass\":\"s3"));
        assert!(!may_hold_secret(b"FOO\r"));
    }

    proptest! {
        #[test]
        fn a_secret_is_never_shown(secret in "[\\PC]{3,20}", user in "[a-z]{0,5}") {
            let json = serde_json::json!({ "user": user, "pass": format!("#{secret}#"), "x": 1 });
            let shown = connect(json.to_string().as_bytes()).into_owned();
            prop_assert!(!String::from_utf8_lossy(&shown).contains('#'));
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&shown).is_ok());
        }

        #[test]
        fn no_bytes_panic(json: Vec<u8>) {
            let _ = connect(&json);
        }
    }
}
