//! What the server sends to a client: heads of messages, answers and errors.
//!
//! Everything is appended to a buffer of the caller; payloads are not touched here. On the data
//! plane the buffer has its capacity already ([`MsgHead::len_max`] says how much a head takes), so
//! that nothing allocates.

use super::quote::quoted;
use crate::close::ErrorText;

/// The server asks whether the client is alive.
pub const PING: &[u8] = b"PING\r\n";

/// The answer to a client's PING.
pub const PONG: &[u8] = b"PONG\r\n";

/// The answer to a verbose client.
pub const OK: &[u8] = b"+OK\r\n";

/// The line end, also behind a payload.
pub const CRLF: &[u8] = b"\r\n";

/// The most digits that an encoded size or number of 32 bits takes.
pub(super) const U32_DIGITS_MAX: usize = 10;

/// The line before a message: `MSG`, or `HMSG` if there are headers.
#[derive(Clone, Copy, Debug)]
pub struct MsgHead<'a> {
    /// The subject that was published to.
    pub subject: &'a [u8],
    /// The receiver's name for its subscription.
    pub sid: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// How many of the `size` bytes are headers; 0 makes a plain MSG.
    pub header_len: u32,
    /// Bytes of headers and payload, without the CRLF behind them.
    pub size: u32,
}

impl MsgHead<'_> {
    /// Appends the head with its line end.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.len_max());
        out.extend_from_slice(if self.header_len == 0 { b"MSG " } else { b"HMSG " });
        out.extend_from_slice(self.subject);
        out.push(b' ');
        out.extend_from_slice(self.sid);
        out.push(b' ');
        if let Some(reply) = self.reply {
            out.extend_from_slice(reply);
            out.push(b' ');
        }
        if self.header_len != 0 {
            decimal(out, self.header_len.into());
            out.push(b' ');
        }
        decimal(out, self.size.into());
        out.extend_from_slice(CRLF);
    }

    /// The most bytes that [`encode`](Self::encode) appends.
    #[inline]
    pub fn len_max(&self) -> usize {
        const FIXED: usize = "HMSG ".len() + 4 + 2 * U32_DIGITS_MAX + CRLF.len();
        FIXED + self.subject.len() + self.sid.len() + self.reply.map_or(0, <[u8]>::len)
    }
}

/// Appends the whole answer to a request that nobody took: an HMSG with status 503.
///
/// It goes to `reply` under `sid`, the requester's own subscription, and names the `subject` that
/// had no responders.
pub fn no_responders(out: &mut Vec<u8>, reply: &[u8], sid: &[u8], subject: &[u8]) {
    const STATUS: &[u8] = b"NATS/1.0 503\r\nNats-Subject: ";
    const END: &[u8] = b"\r\n\r\n";
    let len = STATUS.len() + subject.len() + END.len();
    // A subject comes from a control line, whose length is far below 32 bits.
    let size = u32::try_from(len).unwrap_or(u32::MAX);
    MsgHead { subject: reply, sid, reply: None, header_len: size, size }.encode(out);
    for part in [STATUS, subject, END, CRLF] {
        out.extend_from_slice(part);
    }
}

/// Appends `-ERR 'text'` and a line end.
pub fn error(out: &mut Vec<u8>, text: ErrorText) {
    error_text(out, text.as_str());
}

/// Appends `-ERR 'text'` and a line end, with a text that names something.
pub fn error_text(out: &mut Vec<u8>, text: &str) {
    for part in ["-ERR '", text, "'\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// What a client was not permitted to do. The connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation<'a> {
    /// A publish to this subject.
    Publish(&'a [u8]),
    /// A publish with this reply subject.
    Reply(&'a [u8]),
    /// A subscription.
    Subscription {
        /// The filter.
        subject: &'a [u8],
        /// The queue group, if one was asked for.
        queue: Option<&'a [u8]>,
    },
    /// A subscription to this filter, which has more tokens than `max_sub_tokens`.
    TooManyTokens(&'a [u8]),
}

/// Appends `-ERR 'Permissions Violation ...'` and a line end.
pub fn violation(out: &mut Vec<u8>, violation: Violation<'_>) {
    out.extend_from_slice(b"-ERR 'Permissions Violation for ");
    match violation {
        Violation::Publish(subject) => {
            out.extend_from_slice(b"Publish to ");
            quoted(out, subject);
        }
        Violation::Reply(subject) => {
            out.extend_from_slice(b"Publish with Reply of ");
            quoted(out, subject);
        }
        Violation::Subscription { subject, queue } => {
            out.extend_from_slice(b"Subscription to ");
            quoted(out, subject);
            if let Some(queue) = queue {
                out.extend_from_slice(b" using queue ");
                quoted(out, queue);
            }
        }
        Violation::TooManyTokens(subject) => {
            out.extend_from_slice(b"Subscription to ");
            quoted(out, subject);
            out.extend_from_slice(b", too many tokens");
        }
    }
    out.extend_from_slice(b"'\r\n");
}

/// Appends `value` in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        // The most common sizes have few digits; this also is the one case of a zero.
        out.push(digit(value));
        return;
    }
    let mut digits = [0; 20];
    let mut start = digits.len();
    while value > 0 {
        start -= 1;
        digits[start] = digit(value % 10);
        value /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

#[expect(clippy::cast_possible_truncation, reason = "a digit is below ten")]
const fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encode: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = b"before ".to_vec();
        encode(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("before {expected}"));
    }

    #[test]
    fn a_head_names_subject_sid_reply_and_sizes() {
        let head = MsgHead { subject: b"foo", sid: b"9", reply: None, header_len: 0, size: 5 };
        check(|out| head.encode(out), "MSG foo 9 5\r\n");
        let head = MsgHead { reply: Some(b"bar"), ..head };
        check(|out| head.encode(out), "MSG foo 9 bar 5\r\n");
        let head = MsgHead { header_len: 18, size: 20, ..head };
        check(|out| head.encode(out), "HMSG foo 9 bar 18 20\r\n");
        let head = MsgHead { reply: None, ..head };
        check(|out| head.encode(out), "HMSG foo 9 18 20\r\n");
    }

    #[test]
    fn a_head_fits_the_room_it_asks_for() {
        for reply in [None, Some(&b"bar"[..])] {
            for (header_len, size) in [(0, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
                let head = MsgHead { subject: b"foo", sid: b"9", reply, header_len, size };
                let mut out = Vec::new();
                head.encode(&mut out);
                assert!(out.len() <= head.len_max(), "{head:?}");
            }
        }
    }

    #[test]
    fn numbers_are_printed_in_full() {
        let mut number: u64 = 0;
        for _ in 0..40 {
            check(|out| decimal(out, number), &number.to_string());
            check(
                |out| decimal(out, number.saturating_sub(1)),
                &number.saturating_sub(1).to_string(),
            );
            number = number.saturating_mul(10).max(1);
        }
    }

    #[test]
    fn a_request_without_responders_is_answered_with_status_503() {
        check(
            |out| no_responders(out, b"r.x", b"2", b"nobody"),
            "HMSG r.x 2 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n",
        );
    }

    #[test]
    fn an_error_stands_in_single_quotes() {
        check(|out| error(out, ErrorText::StaleConnection), "-ERR 'Stale Connection'\r\n");
    }

    #[test]
    fn a_violation_quotes_what_was_asked_for() {
        let text = "-ERR 'Permissions Violation for";
        for (asked, expected) in [
            (Violation::Publish(b"_GR_.x"), "Publish to \"_GR_.x\""),
            (Violation::Reply(b"_R_.x"), "Publish with Reply of \"_R_.x\""),
            (Violation::Subscription { subject: b"a", queue: None }, "Subscription to \"a\""),
            (
                Violation::Subscription { subject: b"a", queue: Some(b"_sys_") },
                "Subscription to \"a\" using queue \"_sys_\"",
            ),
            (Violation::TooManyTokens(b"a.b"), "Subscription to \"a.b\", too many tokens"),
        ] {
            check(|out| violation(out, asked), &format!("{text} {expected}'\r\n"));
        }
    }

    #[test]
    fn quoting_escapes_what_is_not_printable() {
        for (bytes, expected) in [
            (&b"a\"b"[..], r#"a\"b"#),
            (b"a\\b", r"a\\b"),
            (b"it's", "it's"),
            (b"\xff", r"\xff"),
            (b"\x00\x01\x7f", r"\x00\x01\x7f"),
            (b"\x0b\x0c\x07\x08\r", r"\v\f\a\b\r"),
            (b"\xe2\x82", r"\xe2\x82"),
            (b"\xed\xa0\x80", r"\xed\xa0\x80"),
            ("\u{e9}\u{1f600}\u{fffd}\u{301}".as_bytes(), "\u{e9}\u{1f600}\u{fffd}\u{301}"),
            ("\u{a0}\u{ad}\u{85}".as_bytes(), r"\u00a0\u00ad\u0085"),
            ("\u{2028}\u{378}\u{e000}".as_bytes(), r"\u2028\u0378\ue000"),
            ("\u{1000c}\u{e0001}".as_bytes(), r"\U0001000c\U000e0001"),
        ] {
            check(|out| quoted(out, bytes), &format!("\"{expected}\""));
        }
    }
}
