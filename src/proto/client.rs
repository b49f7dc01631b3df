//! What a client sends: one control line at a time.
//!
//! [`next`] looks at the first bytes of a buffer and keeps no state, so that a line cut in two is
//! simply parsed again when more of it is there. Payloads are not lines: after a
//! [`ClientOp::Publish`] the caller takes [`Publish::size`] bytes and then asks [`payload_end`].
//!
//! The parser knows no subjects, no limits but the length of a line, and no session; what a session
//! allows is asked of [`Publish::check`].
//!
//! Invariant: whether a line fails, and how, does not depend on where the stream was cut. A wrong
//! verb fails at its first wrong byte, as clients that probe a port expect.

use std::fmt;

use super::info;
use super::line::{
    Opening, Sizes, TooLong, VerbName, Words, find_line_end, find_verb, is_blank, is_blank_or_cr,
    parse_size, plain_size, plain_sizes, space_after_word,
};
use crate::close::{CloseReason, ErrorText};

/// One operation of a client. All slices borrow the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOp<'a> {
    /// `CONNECT {json}`; the bytes are what stands after the verb, not looked at yet.
    Connect(&'a [u8]),
    /// `PUB` or `HPUB`; the message follows in the stream.
    Publish(Publish<'a>),
    /// `SUB subject [queue] sid`. The subject is not validated here.
    Subscribe {
        /// The filter as the client wrote it.
        subject: &'a [u8],
        /// The queue group to join.
        queue: Option<&'a [u8]>,
        /// The client's name for the subscription: any token.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsubscribe {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// Deliveries, counted from SUB, after which it ends; 0 is now. A `max` that is no size
        /// means now, too.
        max: u64,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `INFO {json}`, which a client has no reason to send and which is ignored.
    Info,
    /// `+OK`, ignored.
    Ok,
    /// `-ERR text`; the client gives up, and the connection closes with
    /// [`CloseReason::ParseError`].
    Err(&'a [u8]),
}

/// The control line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The subject, not validated: it may hold empty tokens and wildcards.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// How many of the `size` bytes are headers; `None` is PUB, `Some(0)` an HPUB without any.
    pub header_len: Option<u32>,
    /// Bytes of headers and payload, without the CRLF behind them. Below 1,000,000,000.
    pub size: u32,
}

/// What a session accepts of a message.
#[derive(Clone, Copy, Debug)]
pub struct PublishLimits {
    /// The largest `size`, in bytes.
    pub max_payload: u32,
    /// Whether the client said in CONNECT that it knows headers.
    pub headers: bool,
}

impl Publish<'_> {
    /// Checks the message against the session's limits, before its payload is read.
    ///
    /// # Errors
    /// [`ParseError::HeadersNotSupported`] for an HPUB of a client without headers,
    /// [`ParseError::PayloadTooLarge`] above `max_payload`.
    #[inline]
    pub const fn check(&self, limits: &PublishLimits) -> Result<(), ParseError> {
        if self.header_len.is_some() && !limits.headers {
            return Err(ParseError::HeadersNotSupported);
        }
        if self.size > limits.max_payload {
            return Err(ParseError::PayloadTooLarge { size: self.size, max: limits.max_payload });
        }
        Ok(())
    }
}

/// The outcome of one look at the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole control line.
    Op {
        /// What it says.
        op: ClientOp<'a>,
        /// Its length in bytes, with the line end.
        line_len: usize,
    },
    /// More bytes are needed to tell.
    Incomplete,
    /// The connection cannot go on.
    Failed(ParseError),
}

/// Why a client's bytes end its connection. The client is at fault in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The line starts with no operation of a client, or a payload lacks its line end.
    UnknownOperation,
    /// The arguments are longer than `max_control_line`.
    ControlLineTooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// Too few or too many arguments, a size that is none, or JSON that is none.
    BadArguments,
    /// HPUB from a client that did not announce headers.
    HeadersNotSupported,
    /// The message is larger than `max_payload`.
    PayloadTooLarge {
        /// What was announced, in bytes.
        size: u32,
        /// The limit, in bytes.
        max: u32,
    },
}

impl ParseError {
    /// The reason under which the connection is reported as closed.
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::UnknownOperation | Self::BadArguments | Self::HeadersNotSupported => {
                CloseReason::ProtocolViolation
            }
            Self::ControlLineTooLong { .. } => CloseReason::MaxControlLineExceeded,
            Self::PayloadTooLarge { .. } => CloseReason::MaxPayloadExceeded,
        }
    }

    /// The `-ERR` to send before the close; most violations close silently.
    pub const fn error(self) -> Option<ErrorText> {
        match self {
            Self::UnknownOperation => Some(ErrorText::UnknownProtocolOperation),
            Self::BadArguments | Self::HeadersNotSupported => None,
            Self::ControlLineTooLong { .. } => Some(ErrorText::MaxControlLineExceeded),
            Self::PayloadTooLarge { .. } => Some(ErrorText::MaxPayloadViolation),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOperation => f.write_str("unknown protocol operation"),
            Self::ControlLineTooLong { .. } => f.write_str("maximum control line exceeded"),
            Self::BadArguments => f.write_str("wrong number or form of arguments"),
            Self::HeadersNotSupported => f.write_str("message headers not supported"),
            Self::PayloadTooLarge { size, max } => {
                write!(f, "maximum payload exceeded: {size} vs {max}")
            }
        }
    }
}

impl std::error::Error for ParseError {}

/// Parses the control line at the start of `bytes`.
///
/// `max_control_line` bounds the arguments, in bytes. White space behind the verb counts too, but
/// for one separator, and so do the ignored words behind PING, so that the caller's buffer never
/// needs more than [`control_line_bytes_max`](crate::limits::control_line_bytes_max).
#[inline(always)]
pub fn next(bytes: &[u8], max_control_line: usize) -> Step<'_> {
    match plain_publish(bytes, max_control_line) {
        Some((publish, line_len)) => Step::Op { op: ClientOp::Publish(publish), line_len },
        None => any_line(bytes, max_control_line),
    }
}

/// Looks for the CRLF behind a payload, in the bytes that follow it.
///
/// `true` means that it is there and that 2 bytes are to be skipped, `false` that more bytes are
/// needed.
///
/// # Errors
/// [`ParseError::UnknownOperation`] where something else follows; a bare LF is not enough here.
#[inline(always)]
pub const fn payload_end(bytes: &[u8]) -> Result<bool, ParseError> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(true),
        [] | [b'\r'] => Ok(false),
        _other => Err(ParseError::UnknownOperation),
    }
}

/// The verb of the line that `bytes` begin with, in capitals, and what stands behind it and the blanks
/// up to the line end; for the log, which shows lines as they were written.
#[must_use]
pub fn verb_and_args(bytes: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let Opening::Verb(_, args_start) = find_verb(bytes, &VERBS) else { return None };
    let same = |verb: &[u8]| bytes.get(..verb.len()).is_some_and(|b| b.eq_ignore_ascii_case(verb));
    let (verb, ..) = VERBS.iter().find(|(verb, ..)| same(verb))?;
    let line = find_line_end(&bytes[args_start..], usize::MAX).ok()??;
    let blanks = line.args.iter().take_while(|byte| is_blank(byte)).count();
    Some((*verb, &line.args[blanks..]))
}

/// Whether the first byte allows the line to become a CONNECT.
///
/// While credentials are awaited, any other first byte is an authorization violation at once, not
/// only when its line is whole.
pub const fn may_be_connect(bytes: &[u8]) -> bool {
    matches!(bytes, [] | [b'C' | b'c', ..])
}

/// The fast path: a PUB or HPUB as clients write it, with single spaces and a CRLF, all there.
///
/// It answers `None` for everything else, also where something is wrong, and leaves the judgement
/// to [`any_line`]. Inlined with its helpers: the position of the next line hangs on what they
/// return, and passing that through memory cost a quarter of the time of a line.
#[inline(always)]
fn plain_publish(bytes: &[u8], max_control_line: usize) -> Option<(Publish<'_>, usize)> {
    const PUB: u32 = u32::from_le_bytes(*b"pub ");
    const HPUB: u32 = u32::from_le_bytes(*b"hpub");
    let verb = u32::from_le_bytes(*bytes.first_chunk()?);
    let (publish, start, line_len) = match verb | 0x2020_2020 {
        PUB if bytes[3] == b' ' => plain_arguments(bytes, 4, plain_size)?,
        HPUB if bytes.get(4) == Some(&b' ') => plain_arguments(bytes, 5, plain_sizes)?,
        _other => return None,
    };
    (line_len - 2 - start <= max_control_line).then_some((publish, line_len))
}

#[inline(always)]
fn plain_arguments(
    bytes: &[u8],
    start: usize,
    sizes_at: impl Fn(&[u8], usize) -> Option<Sizes>,
) -> Option<(Publish<'_>, usize, usize)> {
    let subject_end = space_after_word(bytes, start)?;
    let subject = &bytes[start..subject_end];
    let (reply, Sizes { header_len, size, line_len }) = match sizes_at(bytes, subject_end + 1) {
        Some(sizes) => (None, sizes),
        None => {
            let reply_end = space_after_word(bytes, subject_end + 1)?;
            (Some(&bytes[subject_end + 1..reply_end]), sizes_at(bytes, reply_end + 1)?)
        }
    };
    Some((Publish { subject, reply, header_len, size }, start, line_len))
}

#[derive(Clone, Copy)]
enum Verb {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Info,
    Ok,
    Err,
}

const VERBS: [VerbName<Verb>; 10] = [
    (b"PUB", Verb::Pub, true),
    (b"HPUB", Verb::Hpub, true),
    (b"SUB", Verb::Sub, true),
    (b"UNSUB", Verb::Unsub, true),
    (b"PING", Verb::Ping, false),
    (b"PONG", Verb::Pong, false),
    (b"CONNECT", Verb::Connect, false),
    (b"INFO", Verb::Info, false),
    (b"+OK", Verb::Ok, false),
    (b"-ERR", Verb::Err, true),
];

/// Parses any control line; right for every line, quick for none.
fn any_line(bytes: &[u8], max_control_line: usize) -> Step<'_> {
    let (verb, args_start) = match find_verb(bytes, &VERBS) {
        Opening::Verb(verb, args_start) => (verb, args_start),
        Opening::Unfinished => return Step::Incomplete,
        Opening::Unknown => return Step::Failed(ParseError::UnknownOperation),
    };
    match find_line_end(&bytes[args_start..], max_control_line) {
        Ok(Some(line)) => match operation(verb, line.args) {
            Ok(op) => Step::Op { op, line_len: args_start + line.len },
            Err(error) => Step::Failed(error),
        },
        Ok(None) => Step::Incomplete,
        Err(TooLong) => Step::Failed(ParseError::ControlLineTooLong { max: max_control_line }),
    }
}

fn operation(verb: Verb, args: &[u8]) -> Result<ClientOp<'_>, ParseError> {
    match verb {
        Verb::Connect => Ok(ClientOp::Connect(args.trim_ascii())),
        Verb::Pub => publish(args),
        Verb::Hpub => publish_with_headers(args),
        Verb::Sub => subscribe(args),
        Verb::Unsub => unsubscribe(args),
        Verb::Ping => Ok(ClientOp::Ping),
        Verb::Pong => Ok(ClientOp::Pong),
        Verb::Info if info::is_readable(args) => Ok(ClientOp::Info),
        Verb::Info => Err(ParseError::BadArguments),
        Verb::Ok => Ok(ClientOp::Ok),
        Verb::Err => Ok(ClientOp::Err(args.trim_ascii())),
    }
}

fn publish(args: &[u8]) -> Result<ClientOp<'_>, ParseError> {
    let words = words(args, is_blank)?;
    let (subject, reply, size) = match *words.as_slice() {
        [subject, size] => (subject, None, size),
        [subject, reply, size] => (subject, Some(reply), size),
        _ => return Err(ParseError::BadArguments),
    };
    let size = parse_size(size).ok_or(ParseError::BadArguments)?;
    Ok(ClientOp::Publish(Publish { subject, reply, header_len: None, size }))
}

fn publish_with_headers(args: &[u8]) -> Result<ClientOp<'_>, ParseError> {
    let words = words(args, is_blank)?;
    let (subject, reply, header_len, size) = match *words.as_slice() {
        [subject, header_len, size] => (subject, None, header_len, size),
        [subject, reply, header_len, size] => (subject, Some(reply), header_len, size),
        _ => return Err(ParseError::BadArguments),
    };
    let header_len = parse_size(header_len).ok_or(ParseError::BadArguments)?;
    let size = parse_size(size).ok_or(ParseError::BadArguments)?;
    if header_len > size {
        return Err(ParseError::BadArguments);
    }
    Ok(ClientOp::Publish(Publish { subject, reply, header_len: Some(header_len), size }))
}

fn subscribe(args: &[u8]) -> Result<ClientOp<'_>, ParseError> {
    let words = words(args, is_blank_or_cr)?;
    match *words.as_slice() {
        [subject, sid] => Ok(ClientOp::Subscribe { subject, queue: None, sid }),
        [subject, queue, sid] => Ok(ClientOp::Subscribe { subject, queue: Some(queue), sid }),
        _ => Err(ParseError::BadArguments),
    }
}

fn unsubscribe(args: &[u8]) -> Result<ClientOp<'_>, ParseError> {
    let words = words(args, is_blank_or_cr)?;
    match *words.as_slice() {
        [sid] => Ok(ClientOp::Unsubscribe { sid, max: 0 }),
        [sid, max] => {
            Ok(ClientOp::Unsubscribe { sid, max: u64::from(parse_size(max).unwrap_or(0)) })
        }
        _ => Err(ParseError::BadArguments),
    }
}

/// HPUB takes four words, no operation more. SUB and UNSUB split at a lone CR, too; PUB and HPUB
/// keep it in the word.
fn words(args: &[u8], is_separator: fn(&u8) -> bool) -> Result<Words<'_, 4>, ParseError> {
    Words::split(args, is_separator).ok_or(ParseError::BadArguments)
}

#[cfg(test)]
mod tests;
