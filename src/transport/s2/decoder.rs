//! A stream to plain bytes, in whatever pieces it arrives.
//!
//! A chunk that lies whole in what was received is decoded from there; only one that was cut is kept.
//! What a chunk announces is checked before anything of it is kept. Invariant: the decoder keeps at
//! most one chunk, and what follows when it paused, and yields no more than its budget.

use super::{
    BLOCK_MAX, CHECKSUM_LEN, COMPRESSED, HEADER_LEN, IDENTIFIER, RAW, S2, S2Error, SNAPPY,
    SNAPPY_BLOCK_MAX, block, checksum, encoded_len_max,
};

/// After so many plain bytes a call pauses, so that a few compressed bytes cannot fill the memory.
const STEP_BYTES: usize = 1 << 20;

/// Room that is kept for cut chunks: the largest chunk that nats-server sends, and the rest of a
/// receive buffer.
const KEPT_CAPACITY_MAX: usize = (1 << 20) + (64 << 10);

/// Whether a call has decoded all there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what is left must be decoded with another call"]
pub enum Progress {
    /// All that came is decoded, but for a chunk that is incomplete.
    Done,
    /// Enough for one step. The caller takes the plain bytes and calls again, with no new bytes.
    Paused,
}

/// Decompresses one direction of a connection.
pub struct Decoder {
    /// An incomplete chunk, or what was not decoded yet when a call paused.
    kept: Vec<u8>,
    /// Bytes of a chunk without meaning that are still to come.
    skip: usize,
    flavour: Flavour,
    /// Plain bytes that may still come.
    budget: usize,
}

/// What the last identifier said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Unknown,
    Snappy,
    S2,
}

/// What a chunk's beginning says about it.
enum Head {
    /// It is too short to say.
    Incomplete,
    /// A chunk of so many bytes, its header included.
    Chunk(usize),
    /// A chunk to be passed over, of so many bytes.
    Skip(usize),
}

impl Decoder {
    /// A decoder at the beginning of a stream that yields at most so many plain bytes, until
    /// [`set_budget`](Self::set_budget) says otherwise.
    #[must_use]
    pub const fn new(byte_budget: usize) -> Self {
        Self { kept: Vec::new(), skip: 0, flavour: Flavour::Unknown, budget: byte_budget }
    }

    /// How many plain bytes may come from now on; `usize::MAX` for as many as there are.
    pub const fn set_budget(&mut self, byte_budget: usize) {
        self.budget = byte_budget;
    }

    /// Bytes that wait for the rest of their chunk, or for the next call.
    #[must_use]
    pub const fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Keeps what arrived while a pause lasts, behind what is not decoded yet.
    pub fn keep(&mut self, wire: &[u8]) {
        self.kept.extend_from_slice(wire);
    }

    /// Decodes what arrived and appends the plain bytes.
    ///
    /// # Errors
    /// When the bytes are no stream of chunks, or are more than the budget allows. The decoder is of
    /// no use then.
    pub fn open(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> Result<Progress, S2Error> {
        let stop = plain.len().saturating_add(STEP_BYTES);
        let mut wire = wire;
        while !self.kept.is_empty() {
            let kept = std::mem::take(&mut self.kept);
            let used = self.run(&kept, plain, stop)?;
            self.kept = kept;
            self.kept.drain(..used);
            if self.kept.is_empty() {
                self.kept.shrink_to(KEPT_CAPACITY_MAX);
            } else if plain.len() >= stop {
                self.kept.extend_from_slice(wire);
                return Ok(Progress::Paused);
            } else if wire.is_empty() {
                return Ok(Progress::Done);
            } else {
                // The chunk was cut, in its first bytes or in its body: take what completes it.
                let missing = match self.head(&self.kept)? {
                    Head::Chunk(length) => length - self.kept.len(),
                    Head::Incomplete | Head::Skip(_) => 1,
                };
                let (now, later) = wire.split_at(missing.min(wire.len()));
                self.kept.extend_from_slice(now);
                wire = later;
            }
        }
        let used = self.run(wire, plain, stop)?;
        self.kept.extend_from_slice(&wire[used..]);
        let paused = plain.len() >= stop && !self.kept.is_empty();
        Ok(if paused { Progress::Paused } else { Progress::Done })
    }

    /// Decodes the whole chunks at the beginning of `bytes` until there are `stop` plain bytes, and
    /// returns how many bytes they were.
    fn run(&mut self, bytes: &[u8], plain: &mut Vec<u8>, stop: usize) -> Result<usize, S2Error> {
        let mut used = 0;
        while plain.len() < stop {
            let skipped = self.skip.min(bytes.len() - used);
            self.skip -= skipped;
            used += skipped;
            match self.head(&bytes[used..])? {
                Head::Incomplete => break,
                Head::Skip(length) => self.skip = length,
                Head::Chunk(length) => {
                    let Some(chunk) = bytes.get(used..used + length) else { break };
                    self.chunk(chunk, plain)?;
                    used += length;
                }
            }
        }
        Ok(used)
    }

    /// Reads a chunk's announcement, as far as it is there, and refuses what cannot be right.
    fn head(&self, bytes: &[u8]) -> Result<Head, S2Error> {
        let Some((&[kind, a, b, c], body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return match bytes.first() {
                Some(&kind) => self.check_kind(kind).map(|()| Head::Incomplete),
                None => Ok(Head::Incomplete),
            };
        };
        self.check_kind(kind)?;
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        match kind {
            0xff if length != S2.len() => return Err(S2Error::UnknownIdentifier),
            0xff => {}
            COMPRESSED | RAW if length < CHECKSUM_LEN => return Err(S2Error::ChunkTooShort),
            RAW => self.check_plain(length as u64 - CHECKSUM_LEN as u64)?,
            COMPRESSED => {
                let most = encoded_len_max(self.block_max().min(self.budget));
                if length - CHECKSUM_LEN > most {
                    return Err(S2Error::ChunkTooLong { bytes: length });
                }
                let block = body.get(CHECKSUM_LEN..body.len().min(length)).unwrap_or_default();
                match block::plain_len(block)? {
                    Some((announced, _)) => self.check_plain(announced)?,
                    None if body.len() >= length => return Err(S2Error::ChunkTooShort),
                    None => {}
                }
            }
            _skippable => return Ok(Head::Skip(HEADER_LEN + length)),
        }
        Ok(Head::Chunk(HEADER_LEN + length))
    }

    fn check_kind(&self, kind: u8) -> Result<(), S2Error> {
        match kind {
            0xff => Ok(()),
            _other if self.flavour == Flavour::Unknown => Err(S2Error::NoIdentifier),
            0x02..=0x7f => Err(S2Error::UnknownChunk { kind }),
            _known => Ok(()),
        }
    }

    fn check_plain(&self, bytes: u64) -> Result<(), S2Error> {
        if bytes > self.block_max() as u64 {
            Err(S2Error::BlockTooLarge { bytes })
        } else if bytes > self.budget as u64 {
            Err(S2Error::OverBudget { left: self.budget })
        } else {
            Ok(())
        }
    }

    const fn block_max(&self) -> usize {
        match self.flavour {
            Flavour::Snappy => SNAPPY_BLOCK_MAX,
            Flavour::S2 | Flavour::Unknown => BLOCK_MAX,
        }
    }

    /// Decodes one whole chunk, whose head was found right.
    fn chunk(&mut self, chunk: &[u8], plain: &mut Vec<u8>) -> Result<(), S2Error> {
        let (kind, body) = (chunk[0], &chunk[HEADER_LEN..]);
        if kind == IDENTIFIER[0] {
            self.flavour = match body {
                body if body == S2 => Flavour::S2,
                body if body == SNAPPY => Flavour::Snappy,
                _unknown => return Err(S2Error::UnknownIdentifier),
            };
            return Ok(());
        }
        let Some((sum, body)) = body.split_first_chunk::<CHECKSUM_LEN>() else {
            return Err(S2Error::ChunkTooShort);
        };
        let before = plain.len();
        if kind == RAW {
            plain.extend_from_slice(body);
        } else {
            let Some((length, head)) = block::plain_len(body)? else {
                return Err(S2Error::ChunkTooShort);
            };
            let length = usize::try_from(length).map_err(|_| S2Error::CorruptBlock)?;
            plain.resize(before + length, 0);
            block::decode(&body[head..], &mut plain[before..])?;
        }
        let new = &plain[before..];
        if checksum(new) != u32::from_le_bytes(*sum) {
            return Err(S2Error::WrongChecksum);
        }
        if self.budget != usize::MAX {
            self.budget -= new.len();
        }
        Ok(())
    }
}
