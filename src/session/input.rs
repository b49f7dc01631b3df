//! Received bytes that wait: for the rest of their operation, or because their session waits.
//!
//! Invariant: while the session does not wait, `carry` holds at most one operation that is not whole.

use std::sync::Arc;

/// Messages up to this length, line included, wait for their rest in `carry`; larger ones in a block
/// of their own, from which they are sent.
pub const CARRIED_MAX: usize = 8 << 10;

/// See the module's documentation.
#[derive(Default)]
pub struct Input {
    carry: Vec<u8>,
    /// Bytes of `carry` that have been taken already.
    taken: usize,
    /// A large message that is coming in.
    pub filling: Option<Box<Filling>>,
}

/// A large message whose payload is not whole yet. It serves one message after the other.
#[derive(Default)]
pub struct Filling {
    /// Its control line.
    pub line: Vec<u8>,
    /// Headers, payload and line end, as far as they are here; none between two messages.
    pub body: Option<Arc<Vec<u8>>>,
    /// Bytes that the body will have.
    pub len: usize,
}

impl Filling {
    /// Takes what is missing from the front of `bytes`, and returns the rest.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(self.missing().min(bytes.len()));
        if let Some(body) = self.body.as_mut().and_then(Arc::get_mut) {
            body.extend_from_slice(now);
        }
        rest
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing() == 0
    }

    /// What has come of the line end behind the payload.
    #[must_use]
    pub fn behind(&self) -> &[u8] {
        let body = self.body.as_ref().map_or(&[][..], |body| body);
        body.get(self.len - 2..).unwrap_or_default()
    }

    fn missing(&self) -> usize {
        self.len - self.body.as_ref().map_or(0, |body| body.len())
    }
}

impl Input {
    /// Bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.carry.len() - self.taken
    }

    /// Appends bytes to those that wait.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.carry.extend_from_slice(bytes);
    }

    /// Takes all bytes that wait, to be looked at.
    #[must_use]
    pub fn take(&mut self) -> Waiting {
        Waiting { bytes: std::mem::take(&mut self.carry), from: std::mem::take(&mut self.taken) }
    }

    /// Puts back what [`take`](Self::take) gave, but for the first `used` bytes of it.
    pub fn put_back(&mut self, waiting: Waiting, used: usize) {
        let Waiting { mut bytes, from } = waiting;
        let from = from + used;
        if from == bytes.len() {
            // Small memory is kept for the next cut operation.
            if bytes.capacity() <= CARRIED_MAX {
                bytes.clear();
                self.carry = bytes;
            }
        } else if self.carry.is_empty() {
            (self.carry, self.taken) = (bytes, from);
        }
    }
}

/// Bytes that waited.
pub struct Waiting {
    bytes: Vec<u8>,
    from: usize,
}

impl Waiting {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// Appends more.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}
