//! Parameters of a request, read as Go reads them, with the errors that nats-server answers.

/// The parameters of one request.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what follows the `?`. What cannot be decoded is left out, as Go does.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .take(PAIRS_MAX)
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(key)?, decode(value)?))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of `key`; empty when there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.pairs.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value)
    }

    /// A boolean; false when it is missing or empty.
    ///
    /// # Errors
    /// The text of the answer when the value is no boolean.
    pub(super) fn boolean(&self, key: &str) -> Result<bool, String> {
        match self.text(key) {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(format!(
                "Error decoding boolean for '{key}': strconv.ParseBool: parsing {}: {SYNTAX}",
                quote(other)
            )),
        }
    }

    /// `subs`, which says whether subscriptions are listed.
    ///
    /// # Errors
    /// The text of the answer when it is neither a boolean nor `detail`.
    pub(super) fn subs(&self) -> Result<Subs, String> {
        let detail = self.text("subs").eq_ignore_ascii_case("detail");
        Ok(Subs::new(!detail && self.boolean("subs")?, detail))
    }

    /// A whole number; zero when it is missing or empty.
    ///
    /// # Errors
    /// The text of the answer when the value is no number, or too large.
    pub(super) fn int(&self, key: &str) -> Result<i64, String> {
        let text = self.text(key);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        number(text, digits).map_err(|why| decoding_error("int", key, "strconv.Atoi", text, why))
    }

    /// A number that is not negative; zero when it is missing or empty.
    ///
    /// # Errors
    /// The text of the answer when the value is no number, or too large.
    pub(super) fn uint(&self, key: &str) -> Result<u64, String> {
        let text = self.text(key);
        number(text, text)
            .map_err(|why| decoding_error("uint64", key, "strconv.ParseUint", text, why))
    }
}

/// Whether subscriptions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subs {
    /// They are not.
    No,
    /// Their subjects are.
    Subjects,
    /// What is known of each is.
    Detail,
}

impl Subs {
    /// Who asks for both gets the details.
    pub(super) const fn new(subjects: bool, detail: bool) -> Self {
        match (detail, subjects) {
            (true, _) => Self::Detail,
            (false, true) => Self::Subjects,
            (false, false) => Self::No,
        }
    }
}

/// `text` as a number, if its `digits` are that and nothing else.
fn number<T: std::str::FromStr + Default>(text: &str, digits: &str) -> Result<T, &'static str> {
    if text.is_empty() {
        return Ok(T::default());
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    text.parse().map_err(|_| RANGE)
}

fn decoding_error(kind: &str, key: &str, function: &str, text: &str, why: &str) -> String {
    format!("Error decoding {kind} for '{key}': {function}: parsing {}: {why}", quote(text))
}

/// A string in quotes, its unprintable characters escaped.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Undoes the encoding of a query: `+` is a space, `%xx` a byte. `None` when it is malformed.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        out.push(match first {
            b'+' => b' ',
            b'%' => {
                let (hex, after) = rest.split_at_checked(2)?;
                rest = after;
                hex_digit(hex[0])? << 4 | hex_digit(hex[1])?
            }
            other => *other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// More parameters than any endpoint knows.
const PAIRS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_asked_is_answered(text in ".{0,200}", hex in "[a-z=&%0-9+;-]{0,100}") {
            for text in [text, hex] {
                let query = Query::parse(&format!("a={text}"));
                let _ = (query.boolean("a"), query.int("a"), query.uint("a"));
            }
        }
    }

    #[test]
    fn a_value_is_decoded_and_the_first_one_counts() {
        let query = Query::parse("user=a%20b+c&user=second&bad=%zz&semi;colon=1&flag");
        assert_eq!(query.text("user"), "a b c");
        assert_eq!(query.text("bad"), "");
        assert_eq!(query.text("semi;colon"), "");
        assert_eq!(query.boolean("flag"), Ok(false));
    }

    #[test]
    fn a_bad_boolean_is_named() {
        let check = |value: &str, quoted: &str| {
            let text = format!(
                "Error decoding boolean for 'subs': strconv.ParseBool: parsing {quoted}: invalid syntax"
            );
            assert_eq!(Query::parse(&format!("subs={value}")).boolean("subs"), Err(text));
        };
        check("foo", r#""foo""#);
        check("yes", r#""yes""#);
        check("%22%0a%c3%bc%00", r#""\"\nü\x00""#);
    }

    #[test]
    fn a_number_is_checked_as_go_does() {
        let int = |value: &str| Query::parse(&format!("n={value}")).int("n");
        assert_eq!(int("%2B5"), Ok(5));
        assert_eq!(int("-5"), Ok(-5));
        assert_eq!(int(""), Ok(0));
        let error = |text: &str, why: &str| {
            Err(format!("Error decoding int for 'n': strconv.Atoi: parsing \"{text}\": {why}"))
        };
        assert_eq!(int("1e3"), error("1e3", "invalid syntax"));
        assert_eq!(int("99999999999999999999"), error("99999999999999999999", RANGE));
        let uint = |value: &str| Query::parse(&format!("n={value}")).uint("n");
        assert_eq!(uint("7"), Ok(7));
        assert!(uint("-1").is_err_and(|text| text.ends_with("\"-1\": invalid syntax")));
        assert!(uint("%2B5").is_err_and(|text| text.ends_with("\"+5\": invalid syntax")));
    }
}
