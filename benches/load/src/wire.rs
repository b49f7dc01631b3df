//! The client side of the NATS protocol as bytes: what a server sends, taken apart, and what a publisher sends, put together.
//!
//! Built to cost next to nothing a message, so that the server and not the generator is measured: a subscription's
//! messages mostly carry one header, and a header equal to the last one is compared, not parsed. It knows no socket.
//!
//! Invariant: a message is handed out only whole and with its line end where its header says.

use crate::error::Fault;
use std::io::Write as _;

/// Longest line a server may send; INFO with many addresses is the longest.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Largest payload taken: the largest `max_payload` that a server may be given.
const BODY_BYTES_MAX: usize = 64 << 20;
/// What a publisher sends in one piece.
const BATCH_BYTES: usize = 64 << 10;
/// So many bytes are moved to the front without a thought.
const CHEAP_MOVE_BYTES: usize = 4 << 10;

/// One thing that a server said. It borrows the receive buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    Message(Message<'a>),
    Ping,
    Pong,
    Info(&'a [u8]),
    Error(&'a str),
}

/// One delivered message: its first line without the line end, and everything after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) line: &'a [u8],
    /// Headers (for HMSG) and payload together.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Where an answer goes; `None` when nobody asked for one.
    pub(crate) fn reply(&self) -> Option<&'a [u8]> {
        let words = self.line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let without_reply = if self.line.starts_with(b"HMSG") { 5 } else { 4 };
        (words.clone().count() > without_reply).then(|| words.clone().nth(3)).flatten()
    }

    /// The server's answer to a request that nobody serves.
    pub(crate) fn is_no_responders(&self) -> bool {
        self.line.starts_with(b"HMSG") && self.body.starts_with(b"NATS/1.0 503")
    }
}

/// Received bytes, and the place in them that has been taken apart.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    capacity: usize,
    start: usize,
    end: usize,
    /// The last message's first line with its line end, and the length of what followed it.
    known: Vec<u8>,
    known_body_len: usize,
}

impl Inbox {
    /// An inbox that begins with `capacity` bytes and grows as messages need.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], capacity, ..Self::default() }
    }

    /// Free space for one read, after what is there; [`filled`](Self::filled) tells how much came.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        // What is left is mostly the beginning of one message: moving it to the front keeps the
        // same few pages warm. A large one moves only when the space runs out.
        let (left, room_min) = (self.end - self.start, self.capacity / 2);
        if left <= CHEAP_MOVE_BYTES || self.bytes.len() - self.end < room_min {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, left);
        }
        if self.bytes.len() - self.end < room_min {
            self.bytes.resize((self.end + room_min).next_power_of_two(), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Bytes that it began with.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether everything that was received has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets what was received, to serve another connection.
    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Counts `len` bytes that were read into [`room`](Self::room).
    pub(crate) fn filled(&mut self, len: usize) {
        self.end += len;
        assert!(self.end <= self.bytes.len(), "a read cannot fill more than the room it had");
    }

    /// Takes the next whole thing; `None` until more bytes come.
    ///
    /// # Errors
    /// [`Fault::Protocol`] when the bytes cannot be a server's.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Event<'_>>, Fault> {
        let held = &self.bytes[self.start..self.end];
        if self.known.is_empty() || !held.starts_with(&self.known) {
            return self.next_line();
        }
        self.next_body()
    }

    /// The header at the front is `known`: hands the message out when it is whole.
    #[inline]
    fn next_body(&mut self) -> Result<Option<Event<'_>>, Fault> {
        let head = self.known.len();
        let held = &self.bytes[self.start..self.end];
        let Some(rest) = held.get(head..head + self.known_body_len + 2) else { return Ok(None) };
        let (body, line_end) = rest.split_at(self.known_body_len);
        if line_end != b"\r\n" {
            return Err(Fault::Protocol("a payload does not end where its header says".into()));
        }
        self.start += head + rest.len();
        Ok(Some(Event::Message(Message { line: &self.known[..head - 2], body })))
    }

    fn next_line(&mut self) -> Result<Option<Event<'_>>, Fault> {
        loop {
            let held = &self.bytes[self.start..self.end];
            let Some(at) = held.iter().position(|&byte| byte == b'\n') else {
                return if held.len() > LINE_BYTES_MAX { Err(line_too_long()) } else { Ok(None) };
            };
            let (line, from) = (self.start..self.start + at, self.start);
            if matches!(held[0], b'M' | b'H') {
                self.known_body_len = body_len(&held[..at])?;
                self.known.clear();
                self.known.extend_from_slice(&held[..=at]);
                return self.next_body();
            }
            self.start += at + 1;
            if !is_quiet(&self.bytes[from..from + at]) {
                return control(&self.bytes[line]).map(Some);
            }
        }
    }
}

/// +OK and empty lines say nothing.
fn is_quiet(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"" | b"+OK")
}

fn control(line: &[u8]) -> Result<Event<'_>, Fault> {
    let line = line.trim_ascii();
    if let Some(json) = line.strip_prefix(b"INFO ") {
        return Ok(Event::Info(json));
    }
    if let Some(text) = line.strip_prefix(b"-ERR") {
        let text = std::str::from_utf8(text).unwrap_or("(not UTF-8)");
        return Ok(Event::Error(text.trim().trim_matches('\'')));
    }
    match line {
        b"PING" => Ok(Event::Ping),
        b"PONG" => Ok(Event::Pong),
        other => Err(Fault::Protocol(format!("{:.60}", String::from_utf8_lossy(other)))),
    }
}

/// The last number of a MSG or HMSG line.
fn body_len(line: &[u8]) -> Result<usize, Fault> {
    let shown = || Fault::Protocol(format!("{:.60}", String::from_utf8_lossy(line)));
    let fields = line.strip_suffix(b"\r").ok_or_else(shown)?;
    if !fields.starts_with(b"MSG ") && !fields.starts_with(b"HMSG ") {
        return Err(shown());
    }
    let last = fields.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let len = std::str::from_utf8(last).ok().and_then(|digits| digits.parse().ok());
    len.filter(|&len| len <= BODY_BYTES_MAX).ok_or_else(shown)
}

fn line_too_long() -> Fault {
    Fault::Protocol(format!("a line longer than {LINE_BYTES_MAX} bytes"))
}

/// Appends one PUB.
pub(crate) fn encode_pub(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>, body: &[u8]) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    if let Some(reply) = reply {
        out.push(b' ');
        out.extend_from_slice(reply);
    }
    write!(out, " {}\r\n", body.len()).expect("a vector takes every write");
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Many PUBs in one piece, encoded once and sent over and over; it knows where each one ends.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// PUBs of `body` to each of `subjects` in turn: every subject at least once, and about `BATCH_BYTES` bytes.
    pub(crate) fn new(subjects: &[String], body: &[u8]) -> Self {
        let mut batch = Self { bytes: Vec::new(), ends: Vec::new() };
        for subject in subjects.iter().cycle() {
            let whole = batch.bytes.len() + body.len() > BATCH_BYTES;
            if whole && batch.ends.len() >= subjects.len() {
                break;
            }
            encode_pub(&mut batch.bytes, subject.as_bytes(), None, body);
            batch.ends.push(batch.bytes.len());
        }
        batch
    }

    /// Bytes on the wire of the first `messages` messages that a publisher sends.
    pub(crate) fn wire_bytes(&self, messages: u64) -> u64 {
        let (whole, rest) = (messages / self.ends.len() as u64, messages % self.ends.len() as u64);
        let rest = usize::try_from(rest).expect("a remainder is below the batch's length");
        let rest_bytes = if rest == 0 { 0 } else { self.ends[rest - 1] };
        whole * self.bytes.len() as u64 + rest_bytes as u64
    }

    /// The end of the message that holds the byte at `offset`; `offset` itself when a message begins there.
    pub(crate) fn boundary(&self, offset: usize) -> usize {
        if offset == 0 {
            return 0;
        }
        self.ends[self.ends.partition_point(|&end| end < offset)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything a server's bytes say, in a form that can be compared, when they come in pieces of `cut` bytes.
    fn told(bytes: &[u8], cut: usize) -> Result<Vec<String>, String> {
        let (mut inbox, mut all) = (Inbox::with_capacity(8), Vec::new());
        for piece in bytes.chunks(cut) {
            let mut piece = piece;
            while !piece.is_empty() {
                let room = inbox.room();
                let (now, later) = piece.split_at(piece.len().min(room.len()));
                room[..now.len()].copy_from_slice(now);
                inbox.filled(now.len());
                piece = later;
            }
            while let Some(event) = inbox.next().map_err(|fault| fault.to_string())? {
                all.push(match event {
                    Event::Message(message) => format!(
                        "{}|{}|{:?}",
                        String::from_utf8_lossy(message.line),
                        String::from_utf8_lossy(message.body),
                        message.reply().map(String::from_utf8_lossy)
                    ),
                    other => format!("{other:?}"),
                });
            }
        }
        Ok(all)
    }

    #[track_caller]
    fn check(bytes: &str, expected: &[&str]) {
        for cut in 1..=bytes.len() {
            assert_eq!(told(bytes.as_bytes(), cut).unwrap(), expected, "cut at {cut}: {bytes:?}");
        }
    }

    #[test]
    fn messages_come_out_whole_wherever_the_bytes_are_cut() {
        check("MSG a 1 2\r\nhi\r\n", &["MSG a 1 2|hi|None"]);
        check(
            "MSG a 1 2\r\nhi\r\nMSG a 1 2\r\nho\r\n",
            &["MSG a 1 2|hi|None", "MSG a 1 2|ho|None"],
        );
        check(
            "MSG a 1 0\r\n\r\nMSG a 1 in.box 1\r\nx\r\n",
            &["MSG a 1 0||None", "MSG a 1 in.box 1|x|Some(\"in.box\")"],
        );
        check("MSG a 1 2\r\n\r\n\r\nPING\r\n", &["MSG a 1 2|\r\n|None", "Ping"]);
    }

    #[test]
    fn a_header_that_begins_like_the_last_one_is_another_header() {
        check(
            "MSG a 1 1\r\nx\r\nMSG a 1 12\r\n0123456789ab\r\nMSG a 1 1\r\ny\r\n",
            &["MSG a 1 1|x|None", "MSG a 1 12|0123456789ab|None", "MSG a 1 1|y|None"],
        );
    }

    #[test]
    fn control_lines_come_out_between_messages() {
        check(
            "INFO {\"a\":1} \r\nPONG\r\n+OK\r\nMSG a 1 1\r\nx\r\n-ERR 'Slow Consumer'\r\n",
            &[
                "Info([123, 34, 97, 34, 58, 49, 125])",
                "Pong",
                "MSG a 1 1|x|None",
                "Error(\"Slow Consumer\")",
            ],
        );
    }

    #[test]
    fn an_answer_that_nobody_serves_is_recognised() {
        let message = Message { line: b"HMSG in 1 16 16", body: b"NATS/1.0 503\r\n\r\n" };
        assert!(message.is_no_responders());
        assert_eq!(message.reply(), None);
        assert!(!Message { line: b"MSG in 1 16", ..message }.is_no_responders());
    }

    #[test]
    fn bytes_that_no_server_sends_are_refused() {
        for bytes in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 99999999999\r\n",
            "MSG a 1 -1\r\n",
            "MSG\r\n",
            "MSG a 1 1\n",
            "MSG a 1 1\r\nxyz",
            "PONGO\r\n",
        ] {
            assert!(told(bytes.as_bytes(), bytes.len()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_the_bound() {
        assert!(told(&vec![b'x'; LINE_BYTES_MAX + 2], LINE_BYTES_MAX + 2).is_err());
    }

    #[test]
    fn a_batch_knows_its_messages() {
        let batch = Batch::new(&["a.1".into(), "a.22".into(), "a.3".into()], &[b'x'; 30_000]);
        assert_eq!(batch.ends.len(), 3);
        assert_eq!(batch.wire_bytes(0), 0);
        let first = "PUB a.1 30000\r\n".len() as u64 + 30_002;
        assert_eq!(batch.wire_bytes(1), first);
        assert_eq!(batch.wire_bytes(3), batch.bytes.len() as u64);
        assert_eq!(batch.wire_bytes(7), 2 * batch.bytes.len() as u64 + first);
        let end = usize::try_from(first).unwrap();
        assert_eq!([0, 1, end - 1, end].map(|at| batch.boundary(at)), [0, end, end, end]);
    }

    #[test]
    fn a_batch_of_small_messages_fills_one_write() {
        let batch = Batch::new(&["a".into()], &[b'x'; 16]);
        assert!(batch.bytes.len() > 60_000 && batch.bytes.len() <= 70_000, "{}", batch.bytes.len());
    }

    #[test]
    fn a_publish_is_encoded_as_the_protocol_says() {
        let mut out = Vec::new();
        encode_pub(&mut out, b"a", None, b"hi");
        encode_pub(&mut out, b"a", Some(b"in.1"), b"");
        assert_eq!(out, b"PUB a 2\r\nhi\r\nPUB a in.1 0\r\n\r\n");
    }
}
