//! Plain bytes to a stream: an identifier and the chunks of one flush.
//!
//! Tables and buffers are kept between flushes and hold nothing of them, so one encoder serves any
//! number of connections.

use super::best::Best;
use super::better::Better;
use super::fast::Fast;
use super::writer::{NotWorth, SLACK, Writer};
use super::{CHECKSUM_LEN, COMPRESSED, HEADER_LEN, IDENTIFIER, RAW, checksum};
use crate::transport::Level;

/// Plain bytes of a block at most: what nats-server sends, and a quarter of what S2 allows.
const BLOCK_PLAIN_MAX: usize = 1 << 20;

const _: () = assert!(BLOCK_PLAIN_MAX <= super::BLOCK_MAX, "a block is one that peers take");

/// Fewer bytes than this are not worth a search.
const COMPRESSIBLE_MIN: usize = 20;

/// Compresses flushes.
pub struct Encoder {
    /// The plain bytes of a block, gathered from slices.
    gathered: Vec<u8>,
    /// Room for a compressed block; always as long as the largest so far needed.
    block: Vec<u8>,
    fast: Fast,
    /// Made when the level is first used; most connections never do.
    better: Option<Box<Better>>,
    best: Option<Box<Best>>,
}

impl Encoder {
    /// An encoder that has not compressed anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            gathered: Vec::new(),
            block: Vec::new(),
            fast: Fast::new(),
            better: None,
            best: None,
        }
    }

    /// Appends these bytes to `out` as one complete stream; nothing when there are none.
    pub fn seal<'a>(
        &mut self,
        level: Level,
        plain: impl IntoIterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) {
        let mut slices = plain.into_iter().filter(|slice| !slice.is_empty());
        let Some(first) = slices.next() else { return };
        out.extend_from_slice(IDENTIFIER);
        let Some(second) = slices.next() else {
            // What lies in one piece needs no gathering.
            for block in first.chunks(BLOCK_PLAIN_MAX) {
                self.chunk(level, block, out);
            }
            return;
        };
        let mut gathered = std::mem::take(&mut self.gathered);
        for mut slice in [first, second].into_iter().chain(slices) {
            while !slice.is_empty() {
                let room = BLOCK_PLAIN_MAX - gathered.len();
                let (now, later) = slice.split_at(room.min(slice.len()));
                gathered.extend_from_slice(now);
                slice = later;
                if gathered.len() == BLOCK_PLAIN_MAX {
                    self.chunk(level, &gathered, out);
                    gathered.clear();
                }
            }
        }
        if !gathered.is_empty() {
            self.chunk(level, &gathered, out);
            gathered.clear();
        }
        self.gathered = gathered;
    }

    /// Appends one block as a chunk, compressed where that spares an eighth.
    fn chunk(&mut self, level: Level, plain: &[u8], out: &mut Vec<u8>) {
        let sum = checksum(plain);
        match self.compress(level, plain) {
            Ok(length) => push_chunk(COMPRESSED, sum, &self.block[..length], out),
            Err(NotWorth) => push_chunk(RAW, sum, plain, out),
        }
    }

    /// Compresses a block into `self.block` and returns its length.
    fn compress(&mut self, level: Level, plain: &[u8]) -> Result<usize, NotWorth> {
        if level == Level::Uncompressed || plain.len() < COMPRESSIBLE_MIN {
            return Err(NotWorth);
        }
        let limit = plain.len() - plain.len() / 8;
        if self.block.len() < limit + SLACK {
            self.block.resize(limit + SLACK, 0);
        }
        let out = Writer::new(&mut self.block, plain.len(), limit);
        match level {
            Level::Uncompressed => Err(NotWorth),
            Level::Fast => self.fast.encode(plain, out),
            Level::Better => {
                self.better.get_or_insert_with(|| Box::new(Better::new())).encode(plain, out)
            }
            Level::Best => {
                self.best.get_or_insert_with(|| Box::new(Best::new())).encode(plain, out)
            }
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

fn push_chunk(kind: u8, sum: u32, body: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_LEN + CHECKSUM_LEN + body.len());
    // The length has three bytes; a block is far shorter than they allow.
    let [a, b, c, ..] = (CHECKSUM_LEN + body.len()).to_le_bytes();
    out.extend_from_slice(&[kind, a, b, c]);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(body);
}
