//! What a server says to its clients, in pieces.

/// One thing that a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    Info(&'a str),
    Ok,
    Ping,
    Pong,
    Error(&'a str),
    Message(Delivered<'a>),
}

/// A message as it was delivered.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivered<'a> {
    pub subject: &'a str,
    pub sid: &'a str,
    pub reply: Option<&'a str>,
    /// Of an HMSG.
    pub headers: Option<&'a [u8]>,
    pub payload: &'a [u8],
}

/// Hears everything that stands whole in `bytes`; what is left of them waits for more.
pub fn hear(mut bytes: Vec<u8>, mut hear: impl FnMut(&Said<'_>)) -> Vec<u8> {
    let mut at = 0;
    while let Some((said, len)) = next(&bytes[at..]) {
        hear(&said);
        at += len;
    }
    bytes.drain(..at);
    bytes
}

/// The first thing that stands whole at the beginning of `bytes`, and its length.
///
/// # Panics
/// When that is nothing that a server may say.
pub fn next(bytes: &[u8]) -> Option<(Said<'_>, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).expect("a line of text");
    let after = end + 2;
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let said = match verb {
        "INFO" => Said::Info(rest),
        "+OK" => Said::Ok,
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "-ERR" => Said::Error(rest.trim_matches('\'')),
        "MSG" => return message(rest, false, bytes, after),
        "HMSG" => return message(rest, true, bytes, after),
        other => panic!("a server does not say {other:?}"),
    };
    Some((said, after))
}

fn message<'a>(
    arguments: &'a str,
    has_headers: bool,
    bytes: &'a [u8],
    at: usize,
) -> Option<(Said<'a>, usize)> {
    let mut words: Vec<&str> = arguments.split(' ').collect();
    let size: usize = words.pop()?.parse().expect("a size");
    let header_len = has_headers.then(|| words.pop().unwrap().parse().expect("a size"));
    let [subject, sid, ref reply @ ..] = words[..] else { panic!("{arguments:?} is no message") };
    assert!(reply.len() <= 1, "{arguments:?} is no message");
    let body = bytes.get(at..at + size + 2)?;
    assert!(body.ends_with(b"\r\n"), "{arguments:?} does not end where it says");
    let (headers, payload) = body[..size].split_at(header_len.unwrap_or(0));
    let delivered = Delivered {
        subject,
        sid,
        reply: reply.first().copied(),
        headers: header_len.map(|_| headers),
        payload,
    };
    Some((Said::Message(delivered), at + size + 2))
}
