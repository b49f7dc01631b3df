//! What the control lines of clients and of servers have in common: words, sizes and line ends.
//!
//! The functions on the path of a message are inlined into their parser: the position of the next
//! line hangs on what they return, and passing that through memory cost a quarter of the time of a
//! line. No operation is known here.
//!
//! Invariant: what is answered for the beginning of a line still holds for all of it.

use memchr::memchr;

use crate::limits::SIZE_DIGITS_MAX;

/// A verb: its name, what it stands for, and whether white space must follow it.
///
/// No name in a table is the beginning of another one.
pub(super) type VerbName<V> = (&'static [u8], V, bool);

/// What the beginning of a line is.
pub(super) enum Opening<V> {
    /// A verb of the table, with where its arguments begin.
    Verb(V, usize),
    /// Too short to tell.
    Unfinished,
    /// No verb, whatever may follow. This is known at the first wrong byte.
    Unknown,
}

/// Finds the verb at the start of `bytes`; one separator behind it belongs to it.
pub(super) fn find_verb<V: Copy>(bytes: &[u8], verbs: &[VerbName<V>]) -> Opening<V> {
    let begins =
        |name: &[u8]| bytes.iter().zip(name).all(|(byte, want)| byte.eq_ignore_ascii_case(want));
    let Some((name, verb, blank_follows)) = verbs.iter().find(|(name, ..)| begins(name)) else {
        return Opening::Unknown;
    };
    match bytes.get(name.len()) {
        Some(byte) if is_blank(byte) => Opening::Verb(*verb, name.len() + 1),
        Some(_) if *blank_follows => Opening::Unknown,
        Some(_) => Opening::Verb(*verb, name.len()),
        None => Opening::Unfinished,
    }
}

/// The arguments of a line.
pub(super) struct Line<'a> {
    /// The arguments without the line end.
    pub(super) args: &'a [u8],
    /// Their length with the line end.
    pub(super) len: usize,
}

/// The arguments are longer than allowed.
pub(super) struct TooLong;

/// Cuts the arguments at the line end, CRLF or bare LF, within the limit.
pub(super) fn find_line_end(bytes: &[u8], max: usize) -> Result<Option<Line<'_>>, TooLong> {
    // Two bytes more than the limit are enough to tell: the line end, or that there is none in time.
    let window = &bytes[..bytes.len().min(max.saturating_add(2))];
    let (text, len) = match memchr(b'\n', window) {
        Some(at) => (&window[..at], Some(at + 1)),
        None => (window, None),
    };
    let args = text.strip_suffix(b"\r").unwrap_or(text);
    match len {
        _ if args.len() > max => Err(TooLong),
        Some(len) => Ok(Some(Line { args, len })),
        None => Ok(None),
    }
}

/// Reads a size: digits only, and so few that it cannot overflow.
pub(super) fn parse_size(word: &[u8]) -> Option<u32> {
    if word.is_empty() || word.len() > SIZE_DIGITS_MAX || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |size, digit| size * 10 + u32::from(digit - b'0')))
}

/// The words of a line, at most as many as an operation takes.
pub(super) struct Words<'a, const MAX: usize> {
    words: [&'a [u8]; MAX],
    len: usize,
}

impl<'a, const MAX: usize> Words<'a, MAX> {
    /// Splits the arguments; `None` if there are more than `MAX`.
    pub(super) fn split(args: &'a [u8], is_separator: fn(&u8) -> bool) -> Option<Self> {
        let mut found = Self { words: [&[]; MAX], len: 0 };
        for word in args.split(is_separator).filter(|word| !word.is_empty()) {
            *found.words.get_mut(found.len)? = word;
            found.len += 1;
        }
        Some(found)
    }

    pub(super) fn as_slice(&self) -> &[&'a [u8]] {
        &self.words[..self.len]
    }
}

pub(super) const fn is_blank(byte: &u8) -> bool {
    matches!(*byte, b' ' | b'\t')
}

/// Some operations split at a lone CR, too.
pub(super) const fn is_blank_or_cr(byte: &u8) -> bool {
    is_blank(byte) || *byte == b'\r'
}

/// The sizes at the end of a line, all of it there, with a CRLF.
pub(super) struct Sizes {
    pub(super) header_len: Option<u32>,
    pub(super) size: u32,
    /// Where the line ends.
    pub(super) line_len: usize,
}

/// Reads the size of a message and the line end.
#[inline(always)]
pub(super) fn plain_size(bytes: &[u8], at: usize) -> Option<Sizes> {
    let size = short_number(bytes, at)?;
    (size.next == CRLF).then_some(Sizes {
        header_len: None,
        size: size.value,
        line_len: size.end + 2,
    })
}

/// Reads the length of the headers, the size of the message and the line end.
#[inline(always)]
pub(super) fn plain_sizes(bytes: &[u8], at: usize) -> Option<Sizes> {
    let header_len = short_number(bytes, at)?;
    if header_len.next.to_le_bytes()[0] != b' ' {
        return None;
    }
    let size = short_number(bytes, header_len.end + 1)?;
    (size.next == CRLF && header_len.value <= size.value).then_some(Sizes {
        header_len: Some(header_len.value),
        size: size.value,
        line_len: size.end + 2,
    })
}

const CRLF: u16 = u16::from_le_bytes(*b"\r\n");

struct ShortNumber {
    value: u32,
    /// Where it ends.
    end: usize,
    /// The two bytes behind it.
    next: u16,
}

/// Reads a number of one to nine digits and the two bytes behind it.
///
/// Digit by digit, because sizes are short and mostly of one length: the branches are foreseen, and
/// the next line can be looked for before the last digit is in.
#[inline(always)]
fn short_number(bytes: &[u8], at: usize) -> Option<ShortNumber> {
    let mut value = 0;
    let mut end = at;
    while let Some(digit @ 0..=9) = bytes.get(end).map(|byte| byte.wrapping_sub(b'0')) {
        if end - at == SIZE_DIGITS_MAX {
            return None;
        }
        value = value * 10 + u32::from(digit);
        end += 1;
    }
    let next = u16::from_le_bytes(*bytes.get(end..)?.first_chunk()?);
    (end > at).then_some(ShortNumber { value, end, next })
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Where the word at `at` ends, provided that it is not empty and that a space follows.
#[inline(always)]
pub(super) fn space_after_word(bytes: &[u8], at: usize) -> Option<usize> {
    let end = control_or_space(bytes, at)?;
    (end > at && bytes[end] == b' ').then_some(end)
}

/// The first byte from `at` on that is a space or below, eight bytes a step.
#[inline(always)]
fn control_or_space(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // The subtraction borrows into the top bit of each byte below 0x21. The lowest mark is
        // right; marks above it may be the borrow's, and are not looked at.
        let marks = word.wrapping_sub(ONES * 0x21) & !word & (ONES * 0x80);
        if marks != 0 {
            return Some(at + (marks.trailing_zeros() / 8) as usize);
        }
        rest = tail;
        at += 8;
    }
    rest.iter().position(|&byte| byte <= b' ').map(|offset| at + offset)
}
