//! What one line of the server may look like.

use std::fmt;

/// A line without its CRLF, in pieces.
pub(super) struct Line {
    pieces: Vec<Piece>,
}

enum Piece {
    Exactly(Vec<u8>),
    /// `<any>`: any bytes, also none.
    Any,
    /// `<a/b>`: one of these.
    OneOf(Vec<Vec<u8>>),
}

impl Line {
    /// Takes the pieces from text whose escapes are already undone.
    pub(super) fn parse(mut text: &[u8]) -> Self {
        let mut pieces = Vec::new();
        while let Some((before, inside, after)) = placeholder(text) {
            pieces.push(Piece::Exactly(before.to_vec()));
            pieces.push(if inside == b"any" {
                Piece::Any
            } else {
                Piece::OneOf(inside.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect())
            });
            text = after;
        }
        pieces.push(Piece::Exactly(text.to_vec()));
        Self { pieces }
    }

    pub(super) fn matches(&self, line: &[u8]) -> bool {
        matches_pieces(&self.pieces, line)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Exactly(text) => {
                    write!(f, "{}", text[..text.len().min(400)].escape_ascii())?;
                }
                Piece::Any => write!(f, "<any>")?,
                Piece::OneOf(texts) => write!(f, "<{}>", texts.join(&b'/').escape_ascii())?,
            }
        }
        Ok(())
    }
}

fn matches_pieces(pieces: &[Piece], line: &[u8]) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return line.is_empty() };
    let goes_on = |text: &[u8]| {
        line.strip_prefix(text).is_some_and(|remaining| matches_pieces(rest, remaining))
    };
    match piece {
        Piece::Exactly(text) => goes_on(text),
        Piece::OneOf(texts) => texts.iter().any(|text| goes_on(text)),
        Piece::Any => (0..=line.len()).any(|skip| matches_pieces(rest, &line[skip..])),
    }
}

/// Splits at the first `<any>` or `<a/b>`; other angle brackets are themselves.
fn placeholder(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut from = 0;
    while let Some(start) = text[from..].iter().position(|&byte| byte == b'<') {
        let start = from + start;
        let length = text[start..].iter().position(|&byte| byte == b'>')?;
        let inside = &text[start + 1..start + length];
        if inside == b"any" || inside.contains(&b'/') {
            return Some((&text[..start], inside, &text[start + length + 1..]));
        }
        from = start + 1;
    }
    None
}
