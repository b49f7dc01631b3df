//! S2, the compression of routes: a framing with checksums around blocks of literals and copies.
//!
//! The format is Snappy's framing with two liberties that Snappy's own decoders refuse: blocks of up
//! to 4 MiB, and copies that repeat the last offset. Every flush is a complete stream of its own, an
//! identifier with chunks behind it, so a decoder meets identifiers all the time.
//!
//! Nothing here knows what the bytes mean, nor where they come from.

mod best;
mod better;
mod block;
mod decoder;
mod encoder;
mod fast;
mod matching;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;

pub use decoder::{Decoder, Progress};
pub use encoder::Encoder;

/// The first chunk of every stream: this is S2.
const IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00S2sTwO";

/// The body of an identifier of plain Snappy.
const SNAPPY: &[u8; 6] = b"sNaPpY";

/// The body of an identifier of S2.
const S2: &[u8; 6] = b"S2sTwO";

/// A chunk's type and the length of its body.
const HEADER_LEN: usize = 4;

/// The checksum that stands before a chunk's bytes.
const CHECKSUM_LEN: usize = 4;

/// Plain bytes of the largest block that S2 allows.
const BLOCK_MAX: usize = 4 << 20;

/// Plain bytes of the largest block in a Snappy stream.
const SNAPPY_BLOCK_MAX: usize = 64 << 10;

/// A chunk whose body is a checksum and a compressed block.
const COMPRESSED: u8 = 0x00;

/// A chunk whose body is a checksum and plain bytes.
const RAW: u8 = 0x01;

/// Why a stream is not S2. Each ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S2Error {
    /// The stream does not begin with an identifier.
    NoIdentifier,
    /// An identifier that names neither S2 nor Snappy.
    UnknownIdentifier,
    /// A chunk of a type that must not be skipped.
    UnknownChunk {
        /// Its type.
        kind: u8,
    },
    /// A chunk that is too short for what it must contain.
    ChunkTooShort,
    /// A chunk that announces more bytes than its block can need.
    ChunkTooLong {
        /// What it announces.
        bytes: usize,
    },
    /// A block of more plain bytes than the format allows.
    BlockTooLarge {
        /// What it announces.
        bytes: u64,
    },
    /// A block that copies from before its beginning, or whose length is not the one announced.
    CorruptBlock,
    /// The bytes are not those that the checksum was made of.
    WrongChecksum,
    /// More plain bytes than the connection may send for now.
    OverBudget {
        /// What was left of the budget.
        left: usize,
    },
}

impl fmt::Display for S2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentifier => f.write_str("s2: no stream identifier"),
            Self::UnknownIdentifier => f.write_str("s2: unknown stream identifier"),
            Self::UnknownChunk { kind } => write!(f, "s2: unknown chunk type {kind:#04x}"),
            Self::ChunkTooShort => f.write_str("s2: chunk too short"),
            Self::ChunkTooLong { bytes } => write!(f, "s2: chunk of {bytes} bytes too long"),
            Self::BlockTooLarge { bytes } => write!(f, "s2: block of {bytes} bytes too large"),
            Self::CorruptBlock => f.write_str("s2: corrupt block"),
            Self::WrongChecksum => f.write_str("s2: wrong checksum"),
            Self::OverBudget { left } => write!(f, "s2: more than {left} bytes decompressed"),
        }
    }
}

impl std::error::Error for S2Error {}

/// The checksum of a chunk's plain bytes, turned so that a checksum of checksums stays harmless.
fn checksum(plain: &[u8]) -> u32 {
    crc32c::crc32c(plain).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The most bytes that so many plain ones take as a compressed block.
const fn encoded_len_max(plain: usize) -> usize {
    // Literals alone cost a tag for each run; a sixth covers copies that save nothing.
    32 + plain + plain / 6
}
