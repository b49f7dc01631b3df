//! Memory for outbound bytes, used again and again.
//!
//! Blocks come back when what they carried has left, and the last one back goes out first, while it
//! is still in the processor's cache. The pool keeps a bounded stock; what is beyond it goes back to
//! the allocator.

use std::sync::Arc;

use ring::{Batch, Segment};

use crate::transport::Scratch;

/// Capacity of a block for a few small messages.
pub(super) const SMALL_BYTES: usize = 2 << 10;
/// Capacity of a block for bulk that leaves by a narrow wire.
pub(super) const MEDIUM_BYTES: usize = 8 << 10;
/// Capacity of a block for bulk.
pub(super) const LARGE_BYTES: usize = 64 << 10;
/// Shared blocks larger than this are not kept.
const KEPT_BYTES_MAX: usize = 2 << 20;

const SMALL_STOCK: usize = 256;
const MEDIUM_STOCK: usize = 256;
const LARGE_STOCK: usize = 64;
const SHARED_STOCK: usize = 32;
const LIST_STOCK: usize = 256;

/// Blocks and lists that wait to be used again.
#[derive(Default)]
pub struct Pool {
    small: Vec<Vec<u8>>,
    medium: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    shared: Vec<Arc<Vec<u8>>>,
    lists: Vec<Vec<Segment>>,
    /// What sealing needs.
    pub scratch: Scratch,
}

impl Pool {
    /// An empty block with room for at least `len` bytes.
    #[must_use]
    pub fn block(&mut self, len: usize) -> Vec<u8> {
        let (stock, capacity) = if len <= SMALL_BYTES {
            (&mut self.small, SMALL_BYTES)
        } else if len <= MEDIUM_BYTES {
            (&mut self.medium, MEDIUM_BYTES)
        } else if len <= LARGE_BYTES {
            (&mut self.large, LARGE_BYTES)
        } else {
            return Vec::with_capacity(len);
        };
        stock.pop().unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// An empty block that will be shared, with room for at least `len` bytes. Nobody else holds it.
    #[must_use]
    pub fn shared(&mut self, len: usize) -> Arc<Vec<u8>> {
        let fits = |block: &Arc<Vec<u8>>| {
            // Up to twice the need: a block must not carry much more memory than bytes.
            block.capacity() >= len && (len <= LARGE_BYTES || block.capacity() <= len * 2)
        };
        match self.shared.iter().rposition(fits) {
            Some(at) => self.shared.swap_remove(at),
            None => Arc::new(Vec::with_capacity(len.max(LARGE_BYTES))),
        }
    }

    /// An empty list for a queue.
    #[must_use]
    pub fn list(&mut self) -> Vec<Segment> {
        self.lists.pop().unwrap_or_default()
    }

    /// Takes back what a batch was made of.
    pub fn recycle(&mut self, batch: Batch) {
        let mut segments = batch.into_segments();
        for segment in segments.drain(..) {
            match segment {
                Segment::Static(_) => {}
                Segment::Own(block) => self.recycle_block(block),
                Segment::Shared { block, .. } => self.recycle_shared(block),
            }
        }
        if self.lists.len() < LIST_STOCK && segments.capacity() > 0 {
            self.lists.push(segments);
        }
    }

    /// Takes a block back.
    pub fn recycle_block(&mut self, mut block: Vec<u8>) {
        let (stock, most) = match block.capacity() {
            SMALL_BYTES => (&mut self.small, SMALL_STOCK),
            MEDIUM_BYTES => (&mut self.medium, MEDIUM_STOCK),
            LARGE_BYTES => (&mut self.large, LARGE_STOCK),
            _ => return,
        };
        if stock.len() < most {
            block.clear();
            stock.push(block);
        }
    }

    /// Takes a share back; the last one brings the block.
    pub fn recycle_shared(&mut self, mut block: Arc<Vec<u8>>) {
        if self.shared.len() < SHARED_STOCK
            && block.capacity() <= KEPT_BYTES_MAX
            && let Some(bytes) = Arc::get_mut(&mut block)
        {
            bytes.clear();
            self.shared.push(block);
        }
    }
}
