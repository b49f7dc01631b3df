//! What waits to be looked at by the control plane, within a bound.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;

/// Bytes of all shards that may wait for the control plane; what comes on top is dropped. Some
/// hundred large requests, or ten thousand small ones.
const INBOUND_BYTES_MAX: usize = 8 << 20;

/// Things on their way to the control plane. They count as waiting until this is dropped.
#[derive(Debug)]
pub struct Inbound<T> {
    list: Vec<T>,
    bytes: usize,
    shared: Arc<Shared>,
}

impl<T> Inbound<T> {
    /// A list that takes about so many bytes; `None` if too much waits already.
    pub(super) fn new(list: Vec<T>, bytes: usize, shared: &Arc<Shared>) -> Option<Self> {
        // Relaxed: the number only bounds; the channel orders what it counts.
        let before = shared.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        let inbound = Self { list, bytes, shared: Arc::clone(shared) };
        (before < INBOUND_BYTES_MAX).then_some(inbound)
    }

    /// The list; the control plane has looked at it.
    #[must_use]
    pub fn take(mut self) -> Vec<T> {
        std::mem::take(&mut self.list)
    }
}

impl<T> Drop for Inbound<T> {
    fn drop(&mut self) {
        self.shared.inbound_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_wait_beyond_the_bound_is_dropped() {
        let shared = Arc::default();
        let first = Inbound::new(vec![1], INBOUND_BYTES_MAX, &shared).expect("nothing waits yet");
        assert!(Inbound::new(vec![2], 1, &shared).is_none());
        assert_eq!(first.take(), [1]);
        assert!(Inbound::new(vec![3], 1, &shared).is_some());
        assert_eq!(shared.inbound_bytes.load(Ordering::Relaxed), 0);
    }
}
