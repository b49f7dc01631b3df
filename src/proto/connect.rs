//! The options that a client gives in CONNECT.
//!
//! The JSON is read as clients' servers have always read it: keys in any case, `null` as absent,
//! the last of two equal keys wins, unknown keys are skipped, a value of the wrong type spoils the
//! whole line. What the options mean is the session's business.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::refusal;

/// What CONNECT said, or what holds before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Whether operations are answered with `+OK`.
    pub verbose: bool,
    /// Whether published subjects are checked.
    pub pedantic: bool,
    /// Whether the client gets its own messages.
    pub echo: bool,
    /// Whether the client knows headers.
    pub headers: bool,
    /// Whether a request that nobody takes is answered with 503.
    pub no_responders: bool,
    /// Whether the client wants TLS.
    pub tls_required: bool,
    /// The client's protocol version: 0, or 1 for later INFOs. Other values are not refused here.
    pub protocol: i64,
    /// Whether one of the old `account` and `new_account` was used, which is refused.
    pub account_used: bool,
    /// User name.
    pub user: Option<Box<str>>,
    /// Password.
    pub pass: Option<Box<str>>,
    /// Token.
    pub auth_token: Option<Box<str>>,
    /// User JWT.
    pub jwt: Option<Box<str>>,
    /// Public nkey.
    pub nkey: Option<Box<str>>,
    /// Signature of the nonce, base64.
    pub sig: Option<Box<str>>,
    /// The client's name for itself.
    pub name: Option<Box<str>>,
    /// The client library's language.
    pub lang: Option<Box<str>>,
    /// The client library's version.
    pub version: Option<Box<str>>,
}

impl Default for Connect {
    /// What holds for a client that has not sent CONNECT, and for every key that it leaves out.
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            tls_required: false,
            protocol: 0,
            account_used: false,
            user: None,
            pass: None,
            auth_token: None,
            jwt: None,
            nkey: None,
            sig: None,
            name: None,
            lang: None,
            version: None,
        }
    }
}

impl Connect {
    /// Reads the JSON of a first CONNECT.
    ///
    /// # Errors
    /// [`ConnectError`] if it is no JSON, no object, or holds a known key of the wrong type.
    pub fn parse(json: &[u8]) -> Result<Self, ConnectError> {
        let mut connect = Self::default();
        connect.update(json)?;
        Ok(connect)
    }

    /// Reads the JSON of a further CONNECT: what it leaves out stays as it was.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); the options may then be changed in part.
    pub fn update(&mut self, json: &[u8]) -> Result<(), ConnectError> {
        // Bytes that are no UTF-8 become replacement characters, they do not spoil the line.
        let text = String::from_utf8_lossy(json);
        let mut parser = serde_json::Deserializer::from_str(&text);
        let read = parser.deserialize_any(OptionsVisitor(self)).and_then(|()| parser.end());
        read.map_err(|error| ConnectError(refusal::of_json(&error, &text).into()))
    }

    fn read_value<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key {
            "verbose" => read(map, &mut self.verbose),
            "pedantic" => read(map, &mut self.pedantic),
            "echo" => read(map, &mut self.echo),
            "headers" => read(map, &mut self.headers),
            "no_responders" => read(map, &mut self.no_responders),
            "tls_required" => read(map, &mut self.tls_required),
            "protocol" => read(map, &mut self.protocol),
            "user" => read_text(map, &mut self.user),
            "pass" => read_text(map, &mut self.pass),
            "auth_token" => read_text(map, &mut self.auth_token),
            "jwt" => read_text(map, &mut self.jwt),
            "nkey" => read_text(map, &mut self.nkey),
            "sig" => read_text(map, &mut self.sig),
            "name" => read_text(map, &mut self.name),
            "lang" => read_text(map, &mut self.lang),
            "version" => read_text(map, &mut self.version),
            "account" => {
                let mut account = None;
                read_text(map, &mut account)?;
                self.account_used |= account.is_some();
                Ok(())
            }
            "new_account" => {
                let mut new_account = false;
                read(map, &mut new_account)?;
                self.account_used |= new_account;
                Ok(())
            }
            "proxy_sig" | "remote_account" => read_text(map, &mut None),
            "import" | "export" => {
                map.next_value::<Option<serde_json::Map<String, serde_json::Value>>>().map(drop)
            }
            _unknown => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// A CONNECT that cannot be read. The connection closes without an `-ERR`; the log is told why, without
/// any value that the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError(Box<str>);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConnectError {}

struct OptionsVisitor<'a>(&'a mut Connect);

impl<'de> Visitor<'de> for OptionsVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of options, or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(FoldedKey)? {
            self.0.read_value(&key, &mut map).map_err(|error| {
                refusal::of_option(&error, &key).map_or(error, serde::de::Error::custom)
            })?;
        }
        Ok(())
    }
}

/// A key in lower case.
struct FoldedKey;

impl<'de> DeserializeSeed<'de> for FoldedKey {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for FoldedKey {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        let is_lower = key.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
        Ok(if is_lower { Cow::Borrowed(key) } else { Cow::Owned(fold(key)) })
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(fold(key)))
    }
}

/// Folds case as peers do: also the two letters beyond ASCII whose simple fold is an ASCII letter.
pub(super) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

fn read<'de, A, T>(map: &mut A, slot: &mut T) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    T: serde::Deserialize<'de>,
{
    if let Some(value) = map.next_value()? {
        *slot = value;
    }
    Ok(())
}

/// An empty text is the same as none: no option tells them apart.
fn read_text<'de, A>(map: &mut A, slot: &mut Option<Box<str>>) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
{
    if let Some(text) = map.next_value::<Option<Box<str>>>()? {
        *slot = (!text.is_empty()).then_some(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(json: &str, expected: impl FnOnce(&mut Connect)) {
        let mut options = Connect::default();
        expected(&mut options);
        assert_eq!(Connect::parse(json.as_bytes()), Ok(options), "{json}");
    }

    #[track_caller]
    fn refuse(json: &str) {
        assert!(Connect::parse(json.as_bytes()).is_err(), "{json}");
    }

    fn text(text: &str) -> Option<Box<str>> {
        Some(text.into())
    }

    #[test]
    fn what_is_left_out_or_null_has_its_default() {
        let default = Connect::default();
        assert!(default.verbose && default.pedantic && default.echo && !default.headers);
        for json in ["{}", "null", "  {}  ", "{\"verbose\":null,\"name\":null,\"protocol\":null}"] {
            check(json, |_| {});
        }
    }

    #[test]
    fn every_option_is_read() {
        check(
            r#"{"verbose":false,"pedantic":false,"echo":false,"headers":true,"no_responders":true,
                "tls_required":true,"protocol":1,"user":"u","pass":"p","auth_token":"t","jwt":"j",
                "nkey":"n","sig":"s","name":"me","lang":"rust","version":"1.2"}"#,
            |connect| {
                *connect = Connect {
                    verbose: false,
                    pedantic: false,
                    echo: false,
                    headers: true,
                    no_responders: true,
                    tls_required: true,
                    protocol: 1,
                    account_used: false,
                    user: text("u"),
                    pass: text("p"),
                    auth_token: text("t"),
                    jwt: text("j"),
                    nkey: text("n"),
                    sig: text("s"),
                    name: text("me"),
                    lang: text("rust"),
                    version: text("1.2"),
                };
            },
        );
    }

    #[test]
    fn keys_match_in_any_case_and_the_last_one_wins() {
        for json in [
            r#"{"VERBOSE":false}"#,
            r#"{"verbo\u017fe":false}"#,
            "{\"verbo\u{17f}e\":false}",
            r#"{"verbose":true,"Verbose":false}"#,
            r#"{"Verbose":false,"verbose":null}"#,
        ] {
            check(json, |connect| connect.verbose = false);
        }
        check("{\"n\u{212a}ey\":\"x\"}", |connect| connect.nkey = text("x"));
        check(r#"{"verbose":false,"Verbose":true}"#, |_| {});
        check(r#"{"protocol":1,"protocol":null}"#, |connect| connect.protocol = 1);
    }

    #[test]
    fn unknown_keys_are_skipped_whatever_they_hold() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
        for json in [r#"{"zzz":{"a":[1,2,{}]}}"#, r#"{"x":1e999}"#, r#"{"cluster":1}"#, &deep] {
            check(json, |_| {});
        }
        check(r#"{"import":{},"export":null,"remote_account":"X","proxy_sig":"s"}"#, |_| {});
    }

    #[test]
    fn a_wrong_type_spoils_the_line() {
        for json in [
            r#"{"verbose":"false"}"#,
            r#"{"verbose":0}"#,
            r#"{"protocol":1.0}"#,
            r#"{"protocol":1e0}"#,
            r#"{"protocol":"1"}"#,
            r#"{"protocol":99999999999999999999}"#,
            r#"{"name":5}"#,
            r#"{"nkey":[]}"#,
            r#"{"user":1}"#,
            r#"{"import":5}"#,
            r#"{"import":"x"}"#,
            r#"{"export":1}"#,
            r#"{"proxy_sig":1}"#,
            r#"{"remote_account":1}"#,
            r#"{"account":1}"#,
        ] {
            refuse(json);
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for json in [
            "",
            "[]",
            "1",
            "\"x\"",
            "{",
            "{} x",
            "{}{}",
            "{\"zzz\":}",
            "{\"verbose\":false,}",
            "{'verbose':false}",
            "{\"name\":\"a\tb\"}",
            "{\"x\":01}",
            "{\"x\":-}",
            "{\"x\":1.}",
            "{}\0",
            "\u{feff}{}",
            "\u{b}{}",
        ] {
            refuse(json);
        }
    }

    #[test]
    fn any_protocol_number_is_read() {
        for protocol in [2, -1, i64::MAX, i64::MIN] {
            check(&format!("{{\"protocol\":{protocol}}}"), |connect| connect.protocol = protocol);
        }
    }

    #[test]
    fn the_old_account_options_are_noticed_when_used() {
        for json in [r#"{"account":"x"}"#, r#"{"new_account":true}"#] {
            check(json, |connect| connect.account_used = true);
        }
        for json in [r#"{"account":""}"#, r#"{"new_account":false}"#, r#"{"account":null}"#] {
            check(json, |_| {});
        }
    }

    #[test]
    fn texts_may_hold_escapes_and_broken_utf8() {
        check(r#"{"name":"a\u0000b"}"#, |connect| connect.name = text("a\0b"));
        let connect = Connect::parse(b"{\"name\":\"\xff\"}").unwrap();
        assert_eq!(connect.name, text("\u{fffd}"));
    }

    #[test]
    fn a_further_connect_keeps_what_it_leaves_out() {
        let mut connect = Connect::parse(br#"{"verbose":false,"name":"a"}"#).unwrap();
        connect.update(br#"{"protocol":1,"name":null}"#).unwrap();
        assert_eq!((connect.verbose, connect.protocol, connect.name), (false, 1, text("a")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(json: Vec<u8>) {
            let _ = Connect::parse(&json);
        }
    }
}
