//! Bytes waiting to leave one connection.
//!
//! A queue holds encoded protocol as segments: small messages are copied into an open tail block,
//! what many subscribers get alike is a share of one block. The queue knows no ring; its owner takes
//! a [`Batch`], and reports how much of it left.
//!
//! Invariant: `pending_bytes` is the length of everything that has not left, batch in flight
//! included.

use std::sync::Arc;

use ring::{Batch, Segment};

use super::pool::{LARGE_BYTES, MEDIUM_BYTES, Pool, SMALL_BYTES};

/// Bytes of one batch, but for its last segment: no less than a turn receives, or queues would grow
/// while sockets have room.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Segments of one batch.
const BATCH_SEGMENTS_MAX: usize = 256;
/// From this length on bytes for several recipients are worth a block that they share; below, a copy
/// each is cheaper.
pub const SHARE_BYTES_MIN: usize = 2 << 10;

/// See the module's documentation.
#[derive(Default)]
pub struct Queue {
    segments: Vec<Segment>,
    /// The open block at the end; no capacity when there is none.
    tail: Vec<u8>,
    /// A batch that left only in part, to go on with.
    rest: Option<Box<Batch>>,
    pending_bytes: usize,
    /// Little of it leaves at a time, and blocks leave whole.
    pub is_narrow: bool,
}

impl Queue {
    /// Bytes that have not left yet.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// In how many pieces the bytes lie that are not in flight.
    #[must_use]
    pub fn chunks(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.slices().count());
        rest + self.segments.len() + usize::from(!self.tail.is_empty())
    }

    /// How much of the same is worth a block.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        if self.is_narrow { MEDIUM_BYTES } else { LARGE_BYTES }
    }

    /// Whether there is something to take.
    #[must_use]
    pub const fn has_work(&self) -> bool {
        !self.segments.is_empty() || !self.tail.is_empty() || self.rest.is_some()
    }

    /// Whether what is taken next is the rest of a batch that left only in part.
    #[must_use]
    pub const fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Appends what `write` adds to a block with room for at least `room` bytes.
    pub fn write(&mut self, pool: &mut Pool, room: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tail.capacity() - self.tail.len() < room {
            self.close_tail(pool);
            // A queue that already holds something is bulk: small blocks would only add segments.
            // But behind a share there mostly comes the head of the next one, and no more.
            let behind_share = matches!(self.segments.last(), Some(Segment::Shared { .. }));
            let bulk = self.pending_bytes >= SMALL_BYTES / 2 && !behind_share;
            let least = if bulk { self.block_bytes() } else { 0 };
            self.tail = pool.block(room.max(least));
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.pending_bytes += self.tail.len() - before;
    }

    /// Appends a copy of `bytes`.
    pub fn copy(&mut self, pool: &mut Pool, bytes: &[u8]) {
        self.write(pool, bytes.len(), |out| out.extend_from_slice(bytes));
    }

    /// Appends bytes of the program itself.
    pub fn push_static(&mut self, pool: &mut Pool, bytes: &'static [u8]) {
        if self.tail.capacity() - self.tail.len() >= bytes.len() {
            self.pending_bytes += bytes.len();
            self.tail.extend_from_slice(bytes);
        } else {
            self.push(pool, Segment::Static(bytes));
        }
    }

    /// Appends a share of a block.
    pub fn share(&mut self, pool: &mut Pool, block: &Arc<Vec<u8>>, start: u32, end: u32) {
        self.push(pool, Segment::Shared { block: Arc::clone(block), start, end });
    }

    fn push(&mut self, pool: &mut Pool, segment: Segment) {
        self.close_tail(pool);
        self.pending_bytes += segment.len();
        self.append(pool, segment);
    }

    fn append(&mut self, pool: &mut Pool, segment: Segment) {
        if self.segments.capacity() == 0 {
            self.segments = pool.list();
        }
        self.segments.push(segment);
    }

    fn close_tail(&mut self, pool: &mut Pool) {
        let tail = std::mem::take(&mut self.tail);
        if tail.is_empty() {
            pool.recycle_block(tail);
        } else {
            self.append(pool, Segment::Own(tail));
        }
    }

    /// What is to leave next, in order; `None` when there is nothing. One batch at a time: the next
    /// is taken when this one has been [settled](Self::settle).
    pub fn take(&mut self, pool: &mut Pool) -> Option<Batch> {
        if let Some(rest) = self.rest.take() {
            return Some(*rest);
        }
        self.close_tail(pool);
        if self.segments.is_empty() {
            return None;
        }
        let (mut bytes, mut count) = (0, 0);
        for segment in &self.segments {
            if bytes >= BATCH_BYTES_MAX || count == BATCH_SEGMENTS_MAX {
                break;
            }
            bytes += segment.len();
            count += 1;
        }
        if count == self.segments.len() {
            return Some(Batch::new(std::mem::take(&mut self.segments)));
        }
        let mut list = pool.list();
        list.extend(self.segments.drain(..count));
        Some(Batch::new(list))
    }

    /// The least that [`drain_to`](Self::drain_to) moves.
    #[must_use]
    pub fn first_bytes(&self) -> usize {
        let Some((first, others)) = self.segments.split_first() else { return self.tail.len() };
        let payload = others.iter().take_while(|it| matches!(it, Segment::Shared { .. }));
        first.len() + payload.map(Segment::len).sum::<usize>()
    }

    /// Moves what is to leave next to `out`, until that is at least `bytes`, and on to the end of a
    /// message. Returns how many bytes it was; they are no longer this queue's.
    ///
    /// A share that follows is taken, too: it is the payload of the head before it.
    pub fn drain_to(&mut self, pool: &mut Pool, bytes: usize, out: &mut Vec<Segment>) -> usize {
        self.close_tail(pool);
        let (mut taken, mut count) = (0, 0);
        for segment in &self.segments {
            if taken >= bytes && !matches!(segment, Segment::Shared { .. }) {
                break;
            }
            taken += segment.len();
            count += 1;
        }
        out.extend(self.segments.drain(..count));
        self.pending_bytes -= taken;
        taken
    }

    /// Appends segments, in order.
    pub fn append_all(&mut self, pool: &mut Pool, segments: &mut Vec<Segment>) {
        self.close_tail(pool);
        for segment in segments.drain(..) {
            self.pending_bytes += segment.len();
            self.append(pool, segment);
        }
    }

    /// Appends a whole block.
    pub fn append_block(&mut self, pool: &mut Pool, block: Vec<u8>) {
        self.push(pool, Segment::Own(block));
    }

    /// Of the batch that was taken, `bytes` more have left.
    pub fn settle(&mut self, pool: &mut Pool, mut batch: Batch, bytes: usize) {
        self.pending_bytes -= bytes;
        batch.advance(bytes);
        if batch.remaining() == 0 {
            pool.recycle(batch);
        } else {
            self.rest = Some(Box::new(batch));
        }
    }

    /// Drops everything that is not in flight.
    pub fn discard(&mut self, pool: &mut Pool) {
        self.pending_bytes = 0;
        let segments = std::mem::take(&mut self.segments);
        pool.recycle(Batch::new(segments));
        pool.recycle_block(std::mem::take(&mut self.tail));
        if let Some(rest) = self.rest.take() {
            pool.recycle(*rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes everything, `step` bytes at a time.
    fn drain(queue: &mut Queue, pool: &mut Pool, step: usize) -> Vec<u8> {
        let mut left = Vec::new();
        while let Some(batch) = queue.take(pool) {
            let bytes: Vec<u8> = batch.slices().flatten().copied().take(step).collect();
            left.extend_from_slice(&bytes);
            queue.settle(pool, batch, bytes.len());
        }
        left
    }

    #[test]
    fn bytes_leave_in_order_whatever_they_came_as_and_however_short_the_sends() {
        for step in [1, 7, 100, usize::MAX] {
            let (mut queue, mut pool) = (Queue::default(), Pool::default());
            let block = Arc::new(b"0123456789".to_vec());
            queue.copy(&mut pool, b"one ");
            queue.push_static(&mut pool, b"two ");
            queue.share(&mut pool, &block, 2, 5);
            queue.write(&mut pool, 6, |out| out.extend_from_slice(b" three"));
            assert_eq!(queue.pending_bytes(), 17);
            assert_eq!(drain(&mut queue, &mut pool, step), b"one two 234 three", "step {step}");
            assert_eq!(queue.pending_bytes(), 0);
            assert!(!queue.has_work());
        }
    }

    #[test]
    fn a_batch_is_bounded_and_the_rest_follows() {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        let piece = vec![7_u8; 100_000];
        for _ in 0..30 {
            queue.copy(&mut pool, &piece);
        }
        let batch = queue.take(&mut pool).expect("a batch");
        assert!(batch.remaining() < BATCH_BYTES_MAX + piece.len());
        let all = batch.remaining();
        queue.settle(&mut pool, batch, all);
        assert_eq!(queue.pending_bytes(), 3_000_000 - all);
        assert_eq!(drain(&mut queue, &mut pool, usize::MAX).len(), 3_000_000 - all);
    }

    #[test]
    fn heads_of_shared_messages_take_small_blocks() {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        let block = Arc::new(vec![7; 8 << 10]);
        for _ in 0..3 {
            queue.copy(&mut pool, b"head");
            queue.share(&mut pool, &block, 0, 8 << 10);
        }
        queue.copy(&mut pool, &[7; SMALL_BYTES]);
        queue.copy(&mut pool, b"bulk");
        let segments = queue.take(&mut pool).expect("a batch").into_segments();
        let capacities: Vec<usize> = segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Own(block) => Some(block.capacity()),
                Segment::Static(_) | Segment::Shared { .. } => None,
            })
            .collect();
        assert_eq!(capacities, [SMALL_BYTES, SMALL_BYTES, SMALL_BYTES, SMALL_BYTES, LARGE_BYTES]);
    }

    #[test]
    fn blocks_come_back_to_the_pool() {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        queue.copy(&mut pool, b"x");
        let batch = queue.take(&mut pool).expect("a batch");
        let address = batch.slices().next().expect("a slice").as_ptr();
        queue.settle(&mut pool, batch, 1);
        queue.copy(&mut pool, b"y");
        let batch = queue.take(&mut pool).expect("a batch");
        assert_eq!(batch.slices().next().expect("a slice").as_ptr(), address);
    }
}
