//! What another server sends over a route: one control line at a time.
//!
//! [`next`] looks at the first bytes of a buffer and keeps no state, as for clients. Payloads are
//! not lines: after a [`RouteOp::Message`] the caller takes [`Routed::size`] bytes and then asks
//! [`payload_end`].
//!
//! The parser knows no subjects, no accounts and no handshake. Whether lines carry the name of an
//! account is a property of the connection, which the caller knows: on a connection for one account
//! they do not.
//!
//! Invariant: whether a line fails, and how, does not depend on where the stream was cut. What an
//! operation borrows has no blank in it.

use std::fmt;

use super::client;
use super::line::{
    Opening, Sizes, TooLong, VerbName, Words, find_line_end, find_verb, is_blank_or_cr, parse_size,
    plain_size, plain_sizes, space_after_word,
};
use crate::close::{CloseReason, ErrorText};
use crate::limits::ROUTE_CONTROL_LINE_MAX;

mod digest;
mod encode;
mod naming;
mod queues;

pub use digest::{Digest, digest_len_max, encode_differs, encode_digest};
pub use encode::{RoutedHead, encode_interest, interest_len_max};
pub use naming::{node_hash, pool_index};
pub use queues::{QueueNames, Queues};

/// One operation of another server. All slices borrow the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteOp<'a> {
    /// `CONNECT {json}`; the bytes are what stands after the verb, not looked at yet.
    Connect(&'a [u8]),
    /// `INFO {json}`, in the handshake and whenever something changes.
    Info(&'a [u8]),
    /// `RS+`, `RS-`, `LS+` or `LS-`: who wants what.
    Interest(Interest<'a>),
    /// `RI=`, between Ringmesh only: all interest of an account has this digest.
    Same {
        /// The account; `None` where lines carry none.
        account: Option<&'a [u8]>,
        /// The digest.
        digest: Digest,
    },
    /// `RI-`, between Ringmesh only: that digest is not of what was known.
    Differs {
        /// The account; `None` where lines carry none.
        account: Option<&'a [u8]>,
    },
    /// `RMSG`, `HMSG` or `LMSG`; the message follows in the stream.
    Message(Routed<'a>),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`, which answers a verbose CONNECT and is ignored.
    Ok,
    /// `-ERR text`; the peer gives up, and the connection closes with
    /// [`CloseReason::ParseError`].
    Err(&'a [u8]),
    /// `SUB`, `A+` or `A-`, which mean something to clients and gateways only.
    Ignored,
}

/// A change of a peer's interest.
///
/// Its identity is all of it but `add` and `weight`; a second `add` replaces the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest<'a> {
    /// Whether the interest begins or ends.
    pub add: bool,
    /// Whether it stands for a leaf node of the peer.
    pub leaf: bool,
    /// The cluster of that leaf node, if it names one.
    pub origin: Option<&'a [u8]>,
    /// The account; `None` where lines carry none.
    pub account: Option<&'a [u8]>,
    /// The filter, not validated.
    pub subject: &'a [u8],
    /// The queue group.
    pub queue: Option<&'a [u8]>,
    /// How many members the queue group has there; 0 without a group and where interest ends.
    ///
    /// It is what the peer claims, up to 999,999,999: nothing may take time in proportion to it.
    pub weight: u32,
}

/// The control line of a message from another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The cluster of the leaf node that the message came through, if it names one.
    pub origin: Option<&'a [u8]>,
    /// The account; `None` where lines carry none.
    pub account: Option<&'a [u8]>,
    /// The subject, not validated.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// The queue groups of which one member each is to get the message; the others get nothing.
    pub queues: Queues<'a>,
    /// Whether the line has the form with a list of queue groups, be it empty.
    pub has_queue_list: bool,
    /// Only those groups are to get it: whoever else wants it has had it. Ringmesh servers say so
    /// to each other, by an indicator that is doubled.
    pub queues_only: bool,
    /// How many of the `size` bytes are headers; `None` is RMSG.
    pub header_len: Option<u32>,
    /// Bytes of headers and payload, without the CRLF behind them. Below 1,000,000,000, whatever
    /// `max_payload` says: the server where the message was published has checked it.
    pub size: u32,
}

/// The outcome of one look at the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole control line.
    Op {
        /// What it says.
        op: RouteOp<'a>,
        /// Its length in bytes, with the line end.
        line_len: usize,
    },
    /// More bytes are needed to tell.
    Incomplete,
    /// The connection cannot go on.
    Failed(RouteError),
}

/// Why a peer's bytes end its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// The line starts with no operation of a server, or a payload lacks its line end.
    UnknownOperation,
    /// The arguments are longer than [`ROUTE_CONTROL_LINE_MAX`].
    ControlLineTooLong,
    /// Too few or too many arguments, or a size that is none.
    BadArguments,
}

impl RouteError {
    /// The reason under which the connection is reported as closed.
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::UnknownOperation | Self::BadArguments => CloseReason::ProtocolViolation,
            Self::ControlLineTooLong => CloseReason::MaxControlLineExceeded,
        }
    }

    /// The `-ERR` to send before the close; wrong arguments close silently.
    pub const fn error(self) -> Option<ErrorText> {
        match self {
            Self::UnknownOperation => Some(ErrorText::UnknownProtocolOperation),
            Self::ControlLineTooLong => Some(ErrorText::MaxControlLineExceeded),
            Self::BadArguments => None,
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOperation => f.write_str("unknown protocol operation"),
            Self::ControlLineTooLong => {
                write!(f, "maximum control line exceeded: more than {ROUTE_CONTROL_LINE_MAX} bytes")
            }
            Self::BadArguments => f.write_str("wrong number or form of arguments"),
        }
    }
}

impl std::error::Error for RouteError {}

/// Parses the control line at the start of `bytes`.
///
/// `accounts_in_lines` says whether the lines of this connection name the account. The arguments
/// are bound by [`ROUTE_CONTROL_LINE_MAX`].
#[inline(always)]
pub fn next(bytes: &[u8], accounts_in_lines: bool) -> Step<'_> {
    match plain_message(bytes, accounts_in_lines) {
        Some((routed, line_len)) => Step::Op { op: RouteOp::Message(routed), line_len },
        None => any_line(bytes, accounts_in_lines),
    }
}

/// Looks for the CRLF behind a payload, in the bytes that follow it.
///
/// `true` means that it is there and that 2 bytes are to be skipped, `false` that more bytes are
/// needed.
///
/// # Errors
/// [`RouteError::UnknownOperation`] where something else follows; a bare LF is not enough here.
#[inline(always)]
pub const fn payload_end(bytes: &[u8]) -> Result<bool, RouteError> {
    match client::payload_end(bytes) {
        Ok(whole) => Ok(whole),
        Err(_no_line_end) => Err(RouteError::UnknownOperation),
    }
}

/// The fast path: an RMSG or HMSG as servers write it, with single spaces and a CRLF, all there.
///
/// It answers `None` for everything else, also where something is wrong, and leaves the judgement
/// to [`any_line`].
#[inline(always)]
fn plain_message(bytes: &[u8], accounts_in_lines: bool) -> Option<(Routed<'_>, usize)> {
    const RMSG: u32 = u32::from_le_bytes(*b"rmsg");
    const HMSG: u32 = u32::from_le_bytes(*b"hmsg");
    const START: usize = "RMSG ".len();
    let verb = u32::from_le_bytes(*bytes.first_chunk()?);
    if bytes.get(START - 1) != Some(&b' ') {
        return None;
    }
    let (routed, line_len) = match verb | 0x2020_2020 {
        RMSG => plain_arguments(bytes, START, accounts_in_lines, plain_size)?,
        HMSG => plain_arguments(bytes, START, accounts_in_lines, plain_sizes)?,
        _other => return None,
    };
    (line_len - 2 - START <= ROUTE_CONTROL_LINE_MAX).then_some((routed, line_len))
}

#[inline(always)]
fn plain_arguments(
    bytes: &[u8],
    start: usize,
    accounts_in_lines: bool,
    sizes_at: impl Fn(&[u8], usize) -> Option<Sizes>,
) -> Option<(Routed<'_>, usize)> {
    let (account, subject_start) = if accounts_in_lines {
        let end = space_after_word(bytes, start)?;
        (Some(&bytes[start..end]), end + 1)
    } else {
        (None, start)
    };
    let subject_end = space_after_word(bytes, subject_start)?;
    let subject = &bytes[subject_start..subject_end];
    let at = subject_end + 1;
    let (target, sizes) = match sizes_at(bytes, at) {
        Some(sizes) => (Target::default(), sizes),
        None => {
            let end = space_after_word(bytes, at)?;
            match sizes_at(bytes, end + 1) {
                Some(sizes) => (Target::reply(&bytes[at..end]), sizes),
                None => plain_queues(bytes, at, end, sizes_at)?,
            }
        }
    };
    let Sizes { header_len, size, line_len } = sizes;
    Some((target.of(None, account, subject, header_len, size), line_len))
}

/// Reads a list of queue groups whose indicator stands at `at`.
#[inline]
fn plain_queues(
    bytes: &[u8],
    at: usize,
    end: usize,
    sizes_at: impl Fn(&[u8], usize) -> Option<Sizes>,
) -> Option<(Target<'_>, Sizes)> {
    let indicator = &bytes[at..end];
    let (reply, start) = match indicator {
        b"|" | b"||" => (None, end + 1),
        b"+" | b"++" => {
            let reply_end = space_after_word(bytes, end + 1)?;
            (Some(&bytes[end + 1..reply_end]), reply_end + 1)
        }
        _no_indicator => return None,
    };
    let mut here = start;
    let mut end = start;
    let sizes = loop {
        match sizes_at(bytes, here) {
            Some(sizes) => break sizes,
            None => end = space_after_word(bytes, here)?,
        }
        here = end + 1;
    };
    let queues = Queues::new(&bytes[start..end]);
    let queues_only = indicator.len() == 2;
    Some((Target { reply, queues, has_queue_list: true, queues_only }, sizes))
}

/// What stands between the subject and the sizes.
#[derive(Clone, Copy, Default)]
struct Target<'a> {
    reply: Option<&'a [u8]>,
    queues: Queues<'a>,
    has_queue_list: bool,
    queues_only: bool,
}

impl<'a> Target<'a> {
    #[inline(always)]
    fn reply(reply: &'a [u8]) -> Self {
        Self { reply: Some(reply), ..Self::default() }
    }

    /// Tells the forms apart by the number of words, as an indicator alone may be a reply.
    fn parse(mut words: &'a [u8]) -> Result<Self, RouteError> {
        let Some(first) = take_word(&mut words) else { return Ok(Self::default()) };
        let Some(second) = take_word(&mut { words }) else { return Ok(Self::reply(first)) };
        let reply = match first {
            b"|" | b"||" => None,
            b"+" | b"++" => {
                take_word(&mut words);
                Some(second)
            }
            _no_indicator => return Err(RouteError::BadArguments),
        };
        let queues = Queues::new(trim_blanks(words));
        Ok(Self { reply, queues, has_queue_list: true, queues_only: first.len() == 2 })
    }

    #[inline(always)]
    fn of(
        self,
        origin: Option<&'a [u8]>,
        account: Option<&'a [u8]>,
        subject: &'a [u8],
        header_len: Option<u32>,
        size: u32,
    ) -> Routed<'a> {
        let Self { reply, queues, has_queue_list, queues_only } = self;
        Routed {
            origin,
            account,
            subject,
            reply,
            queues,
            has_queue_list,
            queues_only,
            header_len,
            size,
        }
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Interest { add: bool, leaf: bool },
    Message { headers: bool, leaf: bool },
    Same,
    Differs,
    Ping,
    Pong,
    Info,
    Connect,
    Ok,
    Err,
    Ignored,
}

/// PUB and HPUB are missing: other servers swallow them with their payload, and no server sends
/// them.
const VERBS: [VerbName<Verb>; 19] = [
    (b"RS+", Verb::Interest { add: true, leaf: false }, true),
    (b"RS-", Verb::Interest { add: false, leaf: false }, true),
    (b"RMSG", Verb::Message { headers: false, leaf: false }, true),
    (b"HMSG", Verb::Message { headers: true, leaf: false }, true),
    (b"LMSG", Verb::Message { headers: true, leaf: true }, true),
    (b"LS+", Verb::Interest { add: true, leaf: true }, true),
    (b"LS-", Verb::Interest { add: false, leaf: true }, true),
    (b"RI=", Verb::Same, true),
    (b"RI-", Verb::Differs, false),
    (b"PING", Verb::Ping, false),
    (b"PONG", Verb::Pong, false),
    (b"INFO", Verb::Info, false),
    (b"CONNECT", Verb::Connect, false),
    (b"+OK", Verb::Ok, false),
    (b"-ERR", Verb::Err, true),
    (b"UNSUB", Verb::Interest { add: false, leaf: false }, true),
    (b"SUB", Verb::Ignored, true),
    (b"A+", Verb::Ignored, true),
    (b"A-", Verb::Ignored, true),
];

/// Parses any control line; right for every line, quick for none.
fn any_line(bytes: &[u8], accounts_in_lines: bool) -> Step<'_> {
    let (verb, args_start) = match find_verb(bytes, &VERBS) {
        Opening::Verb(verb, args_start) => (verb, args_start),
        Opening::Unfinished => return Step::Incomplete,
        Opening::Unknown => return Step::Failed(RouteError::UnknownOperation),
    };
    match find_line_end(&bytes[args_start..], ROUTE_CONTROL_LINE_MAX) {
        Ok(Some(line)) => match operation(verb, line.args, accounts_in_lines) {
            Ok(op) => Step::Op { op, line_len: args_start + line.len },
            Err(error) => Step::Failed(error),
        },
        Ok(None) => Step::Incomplete,
        Err(TooLong) => Step::Failed(RouteError::ControlLineTooLong),
    }
}

fn operation(verb: Verb, args: &[u8], accounts: bool) -> Result<RouteOp<'_>, RouteError> {
    match verb {
        Verb::Interest { add, leaf } => interest(args, add, leaf, accounts).map(RouteOp::Interest),
        Verb::Message { headers, leaf } => {
            message(args, headers, leaf, accounts).map(RouteOp::Message)
        }
        Verb::Same => digest::parse_digest(args, accounts)
            .map(|(account, digest)| RouteOp::Same { account, digest }),
        Verb::Differs => {
            digest::parse_differs(args, accounts).map(|account| RouteOp::Differs { account })
        }
        Verb::Ping => Ok(RouteOp::Ping),
        Verb::Pong => Ok(RouteOp::Pong),
        Verb::Info => Ok(RouteOp::Info(args.trim_ascii())),
        Verb::Connect => Ok(RouteOp::Connect(args.trim_ascii())),
        Verb::Ok => Ok(RouteOp::Ok),
        Verb::Err => Ok(RouteOp::Err(args.trim_ascii())),
        Verb::Ignored => Ok(RouteOp::Ignored),
    }
}

/// Origin, account, subject, queue and weight: interest has no more words.
const INTEREST_WORDS_MAX: usize = 5;

fn interest(
    args: &[u8],
    add: bool,
    leaf: bool,
    accounts: bool,
) -> Result<Interest<'_>, RouteError> {
    let words =
        Words::<INTEREST_WORDS_MAX>::split(args, is_blank_or_cr).ok_or(RouteError::BadArguments)?;
    let mut words = words.as_slice();
    let mut head = || words.split_off_first().copied().ok_or(RouteError::BadArguments);
    let origin = if leaf { named_origin(head()?) } else { None };
    let account = if accounts { Some(head()?) } else { None };
    let subject = head()?;
    let (queue, weight) = match *words {
        [] => (None, 0),
        [queue, weight] if add => (Some(queue), parse_size(weight).unwrap_or(0)),
        [queue] if !add => (Some(queue), 0),
        _ => return Err(RouteError::BadArguments),
    };
    Ok(Interest { add, leaf, origin, account, subject, queue, weight })
}

fn message(
    mut args: &[u8],
    headers: bool,
    leaf: bool,
    accounts: bool,
) -> Result<Routed<'_>, RouteError> {
    let mut head = || take_word(&mut args).ok_or(RouteError::BadArguments);
    let origin = if leaf { named_origin(head()?) } else { None };
    let account = if accounts { Some(head()?) } else { None };
    let subject = head()?;
    let mut tail = || {
        let word = take_last_word(&mut args).and_then(parse_size);
        word.ok_or(RouteError::BadArguments)
    };
    let size = tail()?;
    let header_len = if headers { Some(tail()?) } else { None };
    if header_len.is_some_and(|header_len| header_len > size) {
        return Err(RouteError::BadArguments);
    }
    Ok(Target::parse(args)?.of(origin, account, subject, header_len, size))
}

/// A leaf node without a cluster is called `_`.
fn named_origin(word: &[u8]) -> Option<&[u8]> {
    (word != b"_").then_some(word)
}

fn trim_blanks(words: &[u8]) -> &[u8] {
    let is_word = |byte: &u8| !is_blank_or_cr(byte);
    match (words.iter().position(is_word), words.iter().rposition(is_word)) {
        (Some(first), Some(last)) => &words[first..=last],
        (None, _) | (_, None) => &[],
    }
}

/// Takes the first word from `args`.
fn take_word<'a>(args: &mut &'a [u8]) -> Option<&'a [u8]> {
    let start = args.iter().position(|byte| !is_blank_or_cr(byte))?;
    let rest = &args[start..];
    let len = rest.iter().position(is_blank_or_cr).unwrap_or(rest.len());
    let (word, rest) = rest.split_at(len);
    *args = rest;
    Some(word)
}

/// Takes the last word from `args`.
fn take_last_word<'a>(args: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = args.iter().rposition(|byte| !is_blank_or_cr(byte))? + 1;
    let start = args[..end].iter().rposition(is_blank_or_cr).map_or(0, |at| at + 1);
    let word = &args[start..end];
    *args = &args[..start];
    Some(word)
}

#[cfg(test)]
mod tests;
