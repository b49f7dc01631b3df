//! One compressed block to plain bytes.
//!
//! A block is its plain length and then literals and copies. Invariant: a copy reads only bytes that
//! this block has produced before.

use super::S2Error;

/// Bytes that are moved at once where there is room for them.
const WIDE: usize = 16;

/// The plain length that a block announces, and how many bytes the number takes; `None` while it is
/// incomplete.
pub(super) fn plain_len(block: &[u8]) -> Result<Option<(u64, usize)>, S2Error> {
    let mut value = 0_u64;
    for (index, byte) in block.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if block.len() < 5 { Ok(None) } else { Err(S2Error::CorruptBlock) }
}

/// Decodes the tags of a block, which must fill `plain` exactly.
pub(super) fn decode(tags: &[u8], plain: &mut [u8]) -> Result<(), S2Error> {
    let (mut read, mut written) = (0, 0);
    // No offset yet: a repeat at the beginning fails as a copy from nowhere.
    let mut offset = 0_usize;
    while let Some(&tag) = tags.get(read) {
        read += 1;
        let (length, extra) = match tag & 3 {
            0 => {
                let (length, extra) = literal_len(tag, tags, read)?;
                read += extra;
                copy_literal(tags, read, plain, written, length)?;
                read += length;
                written += length;
                continue;
            }
            1 => {
                let low = usize::from(*tags.get(read).ok_or(S2Error::CorruptBlock)?);
                let new_offset = (usize::from(tag & 0xe0) << 3) | low;
                if new_offset == 0 {
                    repeat_len(tag, tags, read)?
                } else {
                    offset = new_offset;
                    (usize::from(tag >> 2 & 7) + 4, 1)
                }
            }
            2 => {
                offset = number(tags, read, 2)?;
                (usize::from(tag >> 2) + 1, 2)
            }
            _four => {
                offset = number(tags, read, 4)?;
                (usize::from(tag >> 2) + 1, 4)
            }
        };
        read += extra;
        copy_back(plain, written, offset, length)?;
        written += length;
    }
    if written == plain.len() { Ok(()) } else { Err(S2Error::CorruptBlock) }
}

/// A literal's length and how many bytes after the tag it takes.
fn literal_len(tag: u8, tags: &[u8], read: usize) -> Result<(usize, usize), S2Error> {
    let field = usize::from(tag >> 2);
    if field < 60 {
        return Ok((field + 1, 0));
    }
    let extra = field - 59;
    Ok((number(tags, read, extra)? + 1, extra))
}

/// A repeat's length and how many bytes after the tag it takes, the empty offset included.
fn repeat_len(tag: u8, tags: &[u8], read: usize) -> Result<(usize, usize), S2Error> {
    Ok(match tag >> 2 & 7 {
        5 => (number(tags, read + 1, 1)? + 8, 2),
        6 => (number(tags, read + 1, 2)? + 260, 3),
        7 => (number(tags, read + 1, 3)? + 65_540, 4),
        short => (usize::from(short) + 4, 1),
    })
}

/// A little-endian number of one to four bytes.
fn number(tags: &[u8], at: usize, bytes: usize) -> Result<usize, S2Error> {
    let field = tags.get(at..at + bytes).ok_or(S2Error::CorruptBlock)?;
    Ok(field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

#[inline]
fn copy_literal(
    tags: &[u8],
    read: usize,
    plain: &mut [u8],
    written: usize,
    length: usize,
) -> Result<(), S2Error> {
    // Most literals are short, and moving a fixed number of bytes is cheaper than an exact copy.
    if length <= WIDE
        && let Some(from) = tags.get(read..read + WIDE)
        && let Some(to) = plain.get_mut(written..written + WIDE)
    {
        to.copy_from_slice(from);
        return Ok(());
    }
    let from = tags.get(read..read + length).ok_or(S2Error::CorruptBlock)?;
    let to = plain.get_mut(written..written + length).ok_or(S2Error::CorruptBlock)?;
    to.copy_from_slice(from);
    Ok(())
}

#[inline]
fn copy_back(
    plain: &mut [u8],
    written: usize,
    offset: usize,
    length: usize,
) -> Result<(), S2Error> {
    if offset == 0 || offset > written || length > plain.len() - written {
        return Err(S2Error::CorruptBlock);
    }
    let from = written - offset;
    if offset >= WIDE && length <= 4 * WIDE && plain.len() - written >= 4 * WIDE {
        let mut done = 0;
        while done < length {
            plain.copy_within(from + done..from + done + WIDE, written + done);
            done += WIDE;
        }
    } else if offset >= length {
        plain.copy_within(from..from + length, written);
    } else {
        repeat_pattern(plain, from, written, length);
    }
    Ok(())
}

/// Continues the pattern that begins at `from` and ends before `written`, doubling what it copies.
fn repeat_pattern(plain: &mut [u8], from: usize, written: usize, length: usize) {
    let end = written + length;
    let mut at = written;
    while at < end {
        let ready = (at - from).min(end - at);
        plain.copy_within(from..from + ready, at);
        at += ready;
    }
}
