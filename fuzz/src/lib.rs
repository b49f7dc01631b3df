//! What the targets have in common: a stream cut anywhere gives the same operations.

use std::fmt::Debug;

/// What a parser finds at the beginning of some bytes.
pub enum Next<E> {
    /// An operation of this length, and how it is shown.
    Op(usize, String),
    /// More bytes are needed to tell.
    More,
    /// The stream cannot go on.
    Failed(E),
}

/// Runs a stream through a parser in one piece, in two, in small pieces and byte by byte.
///
/// # Panics
/// When that makes a difference.
pub fn check_cuts<E: Debug + PartialEq>(stream: &[u8], next: impl Fn(&[u8]) -> Next<E>) {
    let whole = run(&[stream], &next);
    let pieces = |len: usize| stream.chunks(len.max(1)).collect::<Vec<_>>();
    assert_eq!(run(&pieces(1), &next), whole, "byte by byte");
    assert_eq!(run(&pieces(7), &next), whole, "seven bytes a piece");
    assert_eq!(run(&pieces(stream.len().div_ceil(2)), &next), whole, "in two halves");
}

fn run<E>(pieces: &[&[u8]], next: impl Fn(&[u8]) -> Next<E>) -> (Vec<String>, Option<E>) {
    let (mut ops, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        bytes.extend_from_slice(piece);
        loop {
            match next(&bytes[at..]) {
                Next::Op(len, shown) => {
                    assert!(len > 0 && len <= bytes.len() - at, "{shown} has {len} bytes");
                    at += len;
                    ops.push(shown);
                }
                Next::More => break,
                Next::Failed(error) => return (ops, Some(error)),
            }
        }
    }
    (ops, None)
}

/// The message at the beginning of `bytes`, once its line is read: `ends` looks for the line end
/// behind the payload.
pub fn message<E>(
    bytes: &[u8],
    line_len: usize,
    size: u32,
    shown: String,
    ends: impl Fn(&[u8]) -> Result<bool, E>,
) -> Next<E> {
    let end = line_len + size as usize;
    let Some(behind) = bytes.get(end..) else { return Next::More };
    match ends(behind) {
        Ok(true) => Next::Op(end + 2, format!("{shown} {}", bytes[line_len..end].escape_ascii())),
        Ok(false) => Next::More,
        Err(error) => Next::Failed(error),
    }
}
