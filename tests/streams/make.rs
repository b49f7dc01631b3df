//! Streams that are mostly protocol, more or less broken.

use fastrand::Rng;

/// Whole operations. All subjects are near each other, so that messages find subscriptions.
const LINES: &[&str] = &[
    "CONNECT {\"verbose\":false}\r\n",
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n",
    "CONNECT {\"verbose\":false,\"headers\":true,\"protocol\":1}\r\n",
    "CONNECT {\"verbose\":true,\"echo\":false,\"headers\":true}\r\n",
    "CONNECT {\"headers\":true}\r\n",
    "SUB a 1\r\n",
    "SUB a.* q 2\r\n",
    "SUB a.b q 3\r\n",
    "SUB > 4\r\n",
    "SUB a..b 5\r\n",
    "SUB b 6\r\nUNSUB 6 2\r\n",
    "SUB a _sys_ 7\r\n",
    "UNSUB 1\r\n",
    "UNSUB 2 1\r\n",
    "PUB a 5\r\nhello\r\n",
    "PUB a.b r 0\r\n\r\n",
    "PUB b 2\nhi\r\n",
    "PUB a.* 2\r\nhi\r\n",
    "PUB nobody r.1 2\r\nhi\r\n",
    "PUB a _R_.x 2\r\nhi\r\n",
    "PUB _GR_.x 2\r\nhi\r\n",
    "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "HPUB a.b r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    "PING\r\n",
    "PING\r\n",
    "ping x\n",
    "PONG\r\n",
    "+OK\r\n",
    "INFO {}\r\n",
];

/// Operations that end the connection.
const LAST_LINES: &[&str] = &[
    "CONNECT {\"protocol\":7}\r\n",
    "CONNECT {\"no_responders\":true}\r\n",
    "CONNECT {\"verbose\":}\r\n",
    "PUB a 13000\r\n",
    "HPUB a 3 2\r\nhi\r\n",
    "-ERR 'enough'\r\n",
];

/// Parts of operations.
const PARTS: &[&str] = &[
    "PUB ",
    "HPUB ",
    "SUB ",
    "UNSUB ",
    "CONNECT ",
    "MSG ",
    "RMSG ",
    " ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "a",
    "a.b",
    "*",
    ">",
    ".",
    "0",
    "5",
    " 12 14",
    "999999999",
    "9999999999",
    "-1",
    "{}",
    "[",
    "\0",
    "\u{e9}",
    "'",
    "\"",
];

/// A stream. Nine of ten begin as clients do.
pub fn stream(rng: &mut Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    if rng.u8(0..10) > 0 {
        stream.extend_from_slice(LINES[rng.usize(0..5)].as_bytes());
    }
    if rng.bool() {
        stream.extend_from_slice(b"SUB > 8\r\n");
    }
    for _ in 0..rng.usize(1..16) {
        match rng.u8(0..60) {
            0 => stream.extend_from_slice(choose(rng, PARTS).as_bytes()),
            1 => stream.extend(std::iter::repeat_with(|| rng.u8(..)).take(20)),
            2 => long(rng, &mut stream),
            3 => stream.extend_from_slice(choose(rng, LAST_LINES).as_bytes()),
            _line => stream.extend_from_slice(choose(rng, LINES).as_bytes()),
        }
    }
    if rng.u8(0..3) == 0 {
        break_somewhere(rng, &mut stream);
    }
    stream.extend_from_slice(b"PING\r\n");
    stream
}

/// Something near a limit: a message around those that are kept in one piece, or a long line.
fn long(rng: &mut Rng, stream: &mut Vec<u8>) {
    let len = *rng.choice(&[4_000, 4_090, 4_100, 8_170, 8_190, 11_999, 12_000, 12_001]).unwrap();
    let filler = vec![b'x'; len];
    if rng.bool() {
        // One or two bytes too many stand where the line end should.
        let announced = len - rng.usize(0..4).saturating_sub(1);
        stream.extend_from_slice(format!("PUB a {announced}\r\n").as_bytes());
    } else {
        stream.extend_from_slice(b"SUB ");
    }
    stream.extend_from_slice(&filler);
    stream.extend_from_slice(b"\r\n");
}

fn break_somewhere(rng: &mut Rng, stream: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..=stream.len());
        match rng.u8(0..5) {
            0 if at < stream.len() => stream[at] = rng.u8(..),
            1 if at < stream.len() => drop(stream.remove(at)),
            2 => stream.truncate(at),
            3 => {
                let end = (at + rng.usize(0..30)).min(stream.len());
                let copy = stream[at..end].to_vec();
                stream.splice(at..at, copy);
            }
            _insert => drop(stream.splice(at..at, choose(rng, PARTS).bytes())),
        }
    }
}

fn choose(rng: &mut Rng, list: &[&'static str]) -> &'static str {
    list[rng.usize(0..list.len())]
}

/// The stream in pieces.
pub fn cut<'a>(rng: &mut Rng, stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = (0..rng.usize(0..6)).map(|_| rng.usize(0..=stream.len())).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
}
