//! A bounded queue between exactly two threads.
//!
//! One [`Producer`], one [`Consumer`], an array between them: Lamport's ring. Each side writes only
//! its own index, and keeps a copy of the other side's, so that it touches the shared cache line only
//! when the copy says full or empty. The queue wakes nobody; whoever sleeps uses a
//! [`Doorbell`](crate::Doorbell).
//!
//! Invariant: `head <= tail <= head + capacity` (indices count for ever and wrap); the slots from
//! `head` to `tail` are initialised and belong to the consumer, the others to the producer.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// A queue that holds at least `capacity` items (rounded up to a power of two).
///
/// # Panics
/// When `capacity` is zero or more than half the address space.
#[must_use]
pub fn channel<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0 && capacity <= CAPACITY_MAX, "no queue of {capacity} items");
    let slots = (0..capacity.next_power_of_two()).map(|_| Slot::vacant()).collect();
    let shared = Arc::new(Shared { slots, head: Index::default(), tail: Index::default() });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

/// The end that puts items in.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The next slot to write; only this side moves it.
    tail: usize,
    /// The consumer's index as last read: it may be further by now, never less far.
    head_seen: usize,
}

impl<T> Producer<T> {
    /// Puts an item in.
    ///
    /// # Errors
    /// Gives the item back when the queue is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        let slot = self.shared.slot(self.tail);
        // SAFETY: `is_full` has shown `tail - head < capacity`, so by the invariant this slot is the
        // producer's, and `&mut self` of the only producer keeps others away.
        unsafe { slot.write(item) };
        self.tail = self.tail.wrapping_add(1);
        // Release pairs with the acquire load in `Consumer::find_empty`: the item is written before
        // it can be seen.
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// How many items fit in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Whether the consumer is gone, so that nothing put in will be taken.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        is_last_end(&self.shared)
    }

    fn is_full(&mut self) -> bool {
        if self.tail.wrapping_sub(self.head_seen) < self.capacity() {
            return false;
        }
        // Acquire pairs with the release store in `Consumer::pop`: the item has been moved out
        // before its slot is written again.
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head_seen) == self.capacity()
    }
}

/// The end that takes items out, in the order in which they were put in.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The next slot to read; only this side moves it.
    head: usize,
    /// The producer's index as last read: it may be further by now, never less far.
    tail_seen: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        if self.find_empty() {
            return None;
        }
        let slot = self.shared.slot(self.head);
        // SAFETY: `find_empty` has shown `head < tail`, so by the invariant this slot is initialised
        // and the consumer's; `head` moves on below, so it is read once.
        let item = unsafe { slot.read() };
        self.head = self.head.wrapping_add(1);
        // Release pairs with the acquire load in `Producer::is_full`: the slot is free only after
        // the item has been moved out.
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Whether the producer is gone, so that nothing more comes than what waits.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        is_last_end(&self.shared)
    }

    fn find_empty(&mut self) -> bool {
        if self.head != self.tail_seen {
            return false;
        }
        // Acquire pairs with the release store in `Producer::push`: the items below are written.
        self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        self.head == self.tail_seen
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({})", self.shared)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({})", self.shared)
    }
}

/// Whether the other end has been dropped.
fn is_last_end<T>(shared: &Arc<Shared<T>>) -> bool {
    let last = Arc::strong_count(shared) == 1;
    // Pairs with the release decrement in the drop of the other end's `Arc`: whatever that end did
    // is visible now, so a consumer that finds the queue empty after this has seen it all.
    fence(Ordering::Acquire);
    last
}

struct Shared<T> {
    slots: Box<[Slot<T>]>,
    /// The oldest item; written by the consumer only.
    head: Index,
    /// One past the newest item; written by the producer only.
    tail: Index,
}

impl<T> Shared<T> {
    /// The slot of an index; the number of slots is a power of two.
    fn slot(&self, index: usize) -> &Slot<T> {
        &self.slots[index & (self.slots.len() - 1)]
    }

    fn len(&self) -> usize {
        // Acquire pairs with the release store in `Consumer::pop`, which came after the tail it had
        // seen: so the tail read next is not behind this head. Relaxed there: nobody reads a slot
        // by a count, which is out of date as soon as it is read.
        let head = self.head.0.load(Ordering::Acquire);
        let tail = self.tail.0.load(Ordering::Relaxed);
        tail.wrapping_sub(head).min(self.slots.len())
    }
}

/// How many items wait, of how many that fit.
impl<T> fmt::Display for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.len(), self.slots.len())
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = *self.tail.0.get_mut();
        let mut head = *self.head.0.get_mut();
        while head != tail {
            // SAFETY: both ends are gone (`&mut self`), and by the invariant the slots from `head`
            // to `tail` are initialised; each is read once.
            drop(unsafe { self.slot(head).read() });
            head = head.wrapping_add(1);
        }
    }
}

// SAFETY: the two ends reach each item from one thread at a time (see the invariant), so sharing the
// queue only moves items between threads, which `T: Send` allows.
unsafe impl<T: Send> Sync for Shared<T> {}

/// An index on a cache line of its own (two, because processors fetch lines in pairs), so that the
/// two sides do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Index(AtomicUsize);

struct Slot<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Slot<T> {
    const fn vacant() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Puts an item in; what was there is forgotten, not dropped.
    ///
    /// # Safety
    /// Nobody else may reach the slot meanwhile.
    const unsafe fn write(&self, item: T) {
        // SAFETY: the pointer is valid, and the caller keeps others away.
        unsafe { self.0.get().write(MaybeUninit::new(item)) };
    }

    /// Takes the item out.
    ///
    /// # Safety
    /// There must be one, nobody else may reach the slot meanwhile, and nobody may read it again.
    const unsafe fn read(&self) -> T {
        // SAFETY: the pointer is valid, and the caller keeps others away.
        let slot = unsafe { self.0.get().read() };
        // SAFETY: the caller promises that there is an item.
        unsafe { slot.assume_init() }
    }
}

const CAPACITY_MAX: usize = 1 << (usize::BITS - 2);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let (mut producer, mut consumer) = channel(4);
        for round in 0..10 {
            for item in 0..3 {
                assert_eq!(producer.push(round * 3 + item), Ok(()));
            }
            assert_eq!(format!("{producer:?}"), "Producer(3 of 4)");
            for item in 0..3 {
                assert_eq!(consumer.pop(), Some(round * 3 + item));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn a_full_queue_gives_the_item_back_and_takes_it_when_there_is_room() {
        let (mut producer, mut consumer) = channel(2);
        assert_eq!(producer.push("a"), Ok(()));
        assert_eq!(producer.push("b"), Ok(()));
        assert_eq!(producer.push("c"), Err("c"));
        assert_eq!(consumer.pop(), Some("a"));
        assert_eq!(producer.push("c"), Ok(()));
        assert_eq!(format!("{consumer:?}"), "Consumer(2 of 2)");
    }

    #[track_caller]
    fn check_capacity(asked: usize, got: usize) {
        let (mut producer, _consumer) = channel(asked);
        assert_eq!(producer.capacity(), got, "asked {asked}");
        let taken = (0..got + 1).filter(|item| producer.push(*item).is_ok()).count();
        assert_eq!(taken, got, "asked {asked}");
    }

    #[test]
    fn the_capacity_is_the_next_power_of_two() {
        check_capacity(1, 1);
        check_capacity(2, 2);
        check_capacity(3, 4);
        check_capacity(1000, 1024);
    }

    #[test]
    fn two_threads_pass_a_million_items_in_order() {
        const ITEMS: u64 = 1_000_000;
        let (mut producer, mut consumer) = channel(256);
        let sender = thread::spawn(move || {
            for item in 0..ITEMS {
                let mut waiting = item;
                while let Err(back) = producer.push(waiting) {
                    waiting = back;
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < ITEMS {
            match consumer.pop() {
                Some(item) => {
                    assert_eq!(item, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        sender.join().unwrap();
        assert_eq!(consumer.pop(), None);
        assert!(consumer.is_abandoned());
    }

    #[test]
    fn what_is_left_is_dropped_once_with_the_last_end() {
        let item = Arc::new(());
        let (mut producer, mut consumer) = channel(8);
        for _ in 0..6 {
            producer.push(Arc::clone(&item)).unwrap();
        }
        drop(consumer.pop());
        drop(consumer.pop());
        assert_eq!(Arc::strong_count(&item), 5);
        drop(consumer);
        assert!(producer.is_abandoned());
        assert_eq!(Arc::strong_count(&item), 5, "the producer still holds the queue");
        drop(producer);
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn items_of_no_size_are_counted_all_the_same() {
        let (mut producer, mut consumer) = channel(2);
        producer.push(()).unwrap();
        producer.push(()).unwrap();
        assert!(producer.push(()).is_err());
        assert_eq!(consumer.pop(), Some(()));
    }
}
