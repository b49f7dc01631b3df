//! What the server sends to a client: heads of messages, answers and errors.
//!
//! Everything is appended to a buffer of the caller; payloads are not touched here. On the data
//! plane the buffer has its capacity already ([`MsgHead::len_max`] says how much a head takes), so
//! that nothing allocates.

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
const U32_DIGITS_MAX: usize = 10;

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
    for part in ["-ERR '", text.as_str(), "'\r\n"] {
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

/// Appends the bytes in double quotes, with what is not printable escaped.
fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}
