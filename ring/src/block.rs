//! The bytes that operations carry: segments and batches to send, leases of received buffers.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// A run of bytes to send.
#[derive(Clone)]
pub enum Segment {
    /// Bytes of the program itself.
    Static(&'static [u8]),
    /// Bytes of this segment alone.
    Own(Vec<u8>),
    /// Part of a block that any number of segments, on any thread, share.
    Shared {
        /// The block.
        block: Arc<Vec<u8>>,
        /// The first byte of the part.
        start: u32,
        /// One past the last byte of the part.
        end: u32,
    },
}

impl Segment {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Own(bytes) => bytes,
            Self::Shared { block, start, end } => &block[*start as usize..*end as usize],
        }
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Static(bytes) => bytes.len(),
            Self::Own(bytes) => bytes.len(),
            Self::Shared { start, end, .. } => (*end - *start) as usize,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes)", self.len())
    }
}

/// What one send carries: segments, and how far earlier sends got.
///
/// Invariant: `sent <= len`, and the bytes before `sent` have left.
#[derive(Debug, Default)]
pub struct Batch {
    segments: Vec<Segment>,
    len: usize,
    sent: usize,
}

impl Batch {
    /// A batch of these segments, from their first byte.
    #[must_use]
    pub fn new(segments: Vec<Segment>) -> Self {
        let len = segments.iter().map(Segment::len).sum();
        Self { segments, len, sent: 0 }
    }

    /// How many bytes are still to be sent.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.len - self.sent
    }

    /// Notes that `bytes` more have left.
    ///
    /// # Panics
    /// When that is more than remained.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "sent more than there was");
        self.sent += bytes;
    }

    /// The bytes still to be sent, slice by slice.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent;
        self.segments.iter().filter_map(move |segment| {
            let bytes = segment.as_slice();
            let gone = skip.min(bytes.len());
            skip -= gone;
            (gone < bytes.len()).then(|| &bytes[gone..])
        })
    }

    /// How many segments there are, sent or not.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The segments, for their memory to be used again.
    #[must_use]
    pub fn into_segments(self) -> Vec<Segment> {
        self.segments
    }
}

/// Received bytes, in a buffer that goes back where it came from when this is dropped.
pub struct Lease {
    bytes: LeasedBytes,
}

enum LeasedBytes {
    /// A buffer of a kernel ring's pool: its number and how many bytes are in it.
    Pooled { pool: Rc<dyn LeasePool>, id: u16, len: u32 },
    /// A buffer of its own, as the simulated ring hands out.
    Own(Vec<u8>, Option<Rc<dyn LeasePool>>),
}

/// Where leased buffers live.
pub(crate) trait LeasePool {
    /// The memory of buffer `id`, of which the kernel has filled `len` bytes.
    fn bytes(&self, id: u16, len: u32) -> &[u8];
    /// Takes buffer `id` back.
    fn give_back(&self, id: u16);
}

impl Lease {
    pub(crate) fn pooled(pool: Rc<dyn LeasePool>, id: u16, len: u32) -> Self {
        Self { bytes: LeasedBytes::Pooled { pool, id, len } }
    }

    /// A lease of bytes that no kernel knows; `pool`, when given, is told of the return.
    #[cfg_attr(
        not(feature = "sim"),
        expect(dead_code, reason = "only simulations own their bytes")
    )]
    pub(crate) fn own(bytes: Vec<u8>, pool: Option<Rc<dyn LeasePool>>) -> Self {
        Self { bytes: LeasedBytes::Own(bytes, pool) }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            LeasedBytes::Pooled { pool, id, len } => pool.bytes(*id, *len),
            LeasedBytes::Own(bytes, _) => bytes,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.bytes {
            LeasedBytes::Pooled { pool, id, .. } => pool.give_back(*id),
            LeasedBytes::Own(_, Some(pool)) => pool.give_back(0),
            LeasedBytes::Own(_, None) => {}
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.len())
    }
}
