//! Receive buffers that the kernel picks from: one provided-buffer ring.
//!
//! Of all buffers only a hot set is published at a time, so that bulk stays in the processor's cache;
//! the rest is a reserve. The size of the set follows what receives bring: few buffers while they
//! come full, many while they come nearly empty. A lease takes a buffer out of the set until it is
//! dropped; the last returned is published first.
//!
//! Invariant: every buffer is published, leased, or free; never two of these.

use std::cell::RefCell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::queue::Queues;
use crate::block::LeasePool;

/// Bytes of one buffer.
pub(super) const BUFFER_BYTES: usize = 64 << 10;
/// From one buffer to the next: their beginnings, which is all that small receives touch, lie in different
/// sets of the processor's caches. Measured (routed, 1,000 and 20,000 a second): 3 % less CPU.
const STRIDE: usize = BUFFER_BYTES + 256;
/// All buffers; a power of two, as the kernel asks. Their memory is touched only when used.
const BUFFERS: u16 = 256;
/// The published set is never smaller.
const PUBLISHED_MIN: usize = 8;
/// What the published set may receive in a turn: with its copy still in the second-level cache, or near.
/// Measured (1 KiB, 4 KiB, 1:1): 512 KiB takes 10-15 % less CPU than 1 MiB; 64 KiB to 4 is alike.
const HOT_BYTES: usize = 512 << 10;
/// The average follows what is received in so many steps. Up at once and down slowly: among many small
/// receives the next flood must not find buffers for 16 MiB, which would be one turn.
const UP: usize = 4;
const DOWN: usize = 1024;
/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

const PAGE: usize = 4096;

pub(super) struct Buffers {
    memory: Rc<Memory>,
    entries: Mapping,
    tail: u16,
    published: usize,
    /// Moving average of the bytes a receive brings, with more weight for many.
    fill: usize,
}

/// The memory of the buffers and which are free; leases hold on to it.
struct Memory {
    mapping: Mapping,
    free: RefCell<Vec<u16>>,
}

impl Buffers {
    /// Maps the buffers and registers their ring.
    pub(super) fn new(queues: &Queues) -> io::Result<Self> {
        let mapping = Mapping::new(STRIDE * BUFFERS as usize)?;
        let entries = Mapping::new(size_of::<BufRingEntry>() * BUFFERS as usize)?;
        let address = entries.start.as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, large enough for the entries, and lives as long as the
        // ring (`Uring` drops its queues first).
        unsafe { queues.submitter.register_buf_ring_with_flags(address, BUFFERS, GROUP, 0) }?;
        let free = (0..BUFFERS).rev().collect();
        let memory = Rc::new(Memory { mapping, free: RefCell::new(free) });
        memory.touch_first_pages();
        let mut this = Self { memory, entries, tail: 0, published: 0, fill: BUFFER_BYTES };
        this.replenish();
        Ok(this)
    }

    /// Publishes free buffers until the hot set is whole.
    pub(super) fn replenish(&mut self) {
        let target = (HOT_BYTES / self.fill.max(1)).clamp(PUBLISHED_MIN, usize::from(BUFFERS));
        if self.published >= target {
            return;
        }
        let memory = Rc::clone(&self.memory);
        let mut free = memory.free.borrow_mut();
        while self.published < target
            && let Some(id) = free.pop()
        {
            self.publish(id);
        }
        self.commit();
    }

    /// Takes the buffer of a completion out of the published set, so many bytes `filled`.
    pub(super) fn take(&mut self, id: u16, filled: u32) -> crate::Lease {
        self.published -= 1;
        let (fill, len) = (self.fill, filled as usize);
        let slowness = if len > fill { UP } else { DOWN };
        self.fill = (fill * (slowness - 1) + len).div_ceil(slowness);
        crate::Lease::pooled(Rc::clone(&self.memory) as Rc<dyn LeasePool>, id, filled)
    }

    fn publish(&mut self, id: u16) {
        let slot = usize::from(self.tail & (BUFFERS - 1));
        let entry = self.entries.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: `slot` is below BUFFERS, and the mapping holds BUFFERS entries.
        let entry = unsafe { entry.add(slot) };
        // SAFETY: the kernel reads an entry only below the tail, which `commit` moves later; this
        // thread alone writes.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.memory.address(id) as u64);
        #[expect(clippy::cast_possible_truncation, reason = "a constant of 64 KiB")]
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.published += 1;
    }

    fn commit(&self) {
        let first = self.entries.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: the address of the ring's first entry, as asked for.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail lies in the mapping, aligned, and both sides touch it only atomically.
        let tail = unsafe { &*tail.cast::<AtomicU16>() };
        // Release pairs with the kernel's acquire load: the entries below are fully written.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Memory {
    fn address(&self, id: u16) -> *mut u8 {
        // SAFETY: ids are below BUFFERS, so the offset stays inside the mapping.
        unsafe { self.mapping.start.as_ptr().add(usize::from(id) * STRIDE) }
    }

    /// Small receives touch only first pages: have them there before the first message.
    fn touch_first_pages(&self) {
        for id in 0..BUFFERS {
            // SAFETY: inside the mapping; nobody else has the buffer yet.
            unsafe { self.address(id).write_volatile(0) };
        }
    }
}

impl LeasePool for Memory {
    fn bytes(&self, id: u16, len: u32) -> &[u8] {
        // SAFETY: the kernel filled `len` bytes of buffer `id` before it completed the receive, and
        // does not touch the buffer until it is published again, which only `give_back` allows.
        unsafe { std::slice::from_raw_parts(self.address(id), len as usize) }
    }

    fn give_back(&self, id: u16) {
        self.free.borrow_mut().push(id);
    }
}

/// Anonymous memory, page-aligned, zeroed, private to this process.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(PAGE);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: asks for fresh memory at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and unmapped only here.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
