//! What a server said to a client, in pieces.

use ring::sim::PeerEnd;

/// Everything that came, but for INFO and PING, which come when they like.
pub struct Heard {
    /// Lines, each with its payload.
    said: Vec<Vec<u8>>,
    /// How the connection ended, if the server ended it.
    pub end: Option<PeerEnd>,
}

/// The words of an `-ERR` before a close.
const LAST_WORDS: &[&str] = &[
    "Unknown Protocol Operation",
    "maximum control line exceeded",
    "Maximum Payload Violation",
    "invalid client protocol",
    "no responders requires headers support",
    "Authorization Violation",
];

/// The words of an `-ERR` after which the connection stays, or how they begin.
const COMPLAINTS: &[&str] =
    &["Invalid Subject", "Invalid Publish Subject", "Permissions Violation for "];

impl Heard {
    /// Takes apart what came.
    ///
    /// # Panics
    /// Where that is not what a server may say.
    #[track_caller]
    pub fn parse(mut bytes: &[u8], end: Option<PeerEnd>) -> Self {
        assert!(bytes.starts_with(b"INFO {"), "INFO comes first");
        let mut said = Vec::new();
        // The server's first PING may be on its way.
        while !b"PING\r\n".starts_with(bytes) {
            let (piece, rest) = bytes.split_at(len(bytes));
            if !piece.starts_with(b"INFO ") && piece != b"PING\r\n" {
                said.push(piece.to_vec());
            }
            bytes = rest;
        }
        // Between two answers the messages of one subscription have an order, subscriptions none.
        for messages in said.chunk_by_mut(|one, other| is_message(one) && is_message(other)) {
            messages.sort_by(|one, other| sid(one).cmp(sid(other)));
        }
        let heard = Self { said, end };
        heard.check_errors();
        heard
    }

    /// Everything, to be compared and looked at.
    pub fn shown(&self) -> String {
        self.said.concat().escape_ascii().to_string()
    }

    /// How often it was told that a PING came.
    pub fn pongs(&self) -> usize {
        self.said.iter().filter(|piece| *piece == b"PONG\r\n").count()
    }

    pub fn messages(&self) -> usize {
        let is_message =
            |piece: &&Vec<u8>| piece.starts_with(b"MSG ") || piece.starts_with(b"HMSG ");
        self.said.iter().filter(is_message).count()
    }

    pub fn errors(&self) -> usize {
        self.said.iter().filter(|piece| error(piece).is_some()).count()
    }

    /// The `-ERR` that came right before the close.
    pub fn last_error(&self) -> Option<&str> {
        let text = error(self.said.last()?)?;
        LAST_WORDS.contains(&text).then_some(text)
    }

    /// Each error is a documented one, and behind one that closes there is nothing.
    #[track_caller]
    fn check_errors(&self) {
        for (at, text) in self.said.iter().map(|piece| error(piece)).enumerate() {
            let Some(text) = text else { continue };
            let is_last = at + 1 == self.said.len() && self.end.is_some();
            let is_known = LAST_WORDS.contains(&text) && is_last
                || COMPLAINTS.iter().any(|words| text.starts_with(words));
            assert!(is_known, "-ERR '{text}'");
        }
    }
}

fn is_message(piece: &[u8]) -> bool {
    piece.starts_with(b"MSG ") || piece.starts_with(b"HMSG ")
}

/// Whose message it is.
fn sid(message: &[u8]) -> &[u8] {
    message.split(|byte| *byte == b' ').nth(2).unwrap_or_default()
}

fn error(piece: &[u8]) -> Option<&str> {
    let text = piece.strip_prefix(b"-ERR '")?.strip_suffix(b"'\r\n")?;
    Some(std::str::from_utf8(text).expect("errors are text"))
}

/// The length of the first thing in `bytes`.
#[track_caller]
fn len(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| *byte == b'\n').expect("whole lines") + 1;
    let line = bytes[..end].strip_suffix(b"\r\n").expect("CRLF behind a line");
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    let shown = line.escape_ascii();
    match words[..] {
        [b"INFO", ..] | [b"PING"] | [b"PONG"] | [b"+OK"] | [b"-ERR", ..] => end,
        [b"MSG", _subject, _sid, size] | [b"MSG", _subject, _sid, _, size] => {
            message(bytes, end, number(size))
        }
        [b"HMSG", _subject, _sid, headers, size] | [b"HMSG", _subject, _sid, _, headers, size] => {
            assert!(number(headers) <= number(size), "{shown}");
            message(bytes, end, number(size))
        }
        _ => panic!("a server does not say {shown}"),
    }
}

#[track_caller]
fn message(bytes: &[u8], start: usize, size: usize) -> usize {
    let end = start + size;
    assert_eq!(bytes.get(end..end + 2), Some(&b"\r\n"[..]), "CRLF behind a payload");
    end + 2
}

#[track_caller]
fn number(word: &[u8]) -> usize {
    std::str::from_utf8(word).unwrap().parse().expect("a size")
}
