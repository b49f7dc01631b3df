//! The bell with which other threads end a ring's wait.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Ends a ring's wait from any thread. Clones ring the same bell.
///
/// Protocol: a sender publishes its message, then rings. The ring, before it sleeps, declares itself
/// asleep and only then looks at the bell once more; the two fences make sure that at least one of
/// the two sees the other, so no message is slept over. Only a sleeping ring costs a system call.
#[derive(Clone, Debug)]
pub struct Doorbell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rung: AtomicBool,
    asleep: AtomicBool,
    /// The eventfd that a sleeping kernel ring reads; a simulated ring has none.
    wake: Option<File>,
}

impl Doorbell {
    /// A bell; `wake` is an eventfd that ends the sleep, where there is a kernel to sleep in.
    #[must_use]
    pub(crate) fn new(wake: Option<File>) -> Self {
        let shared = Shared { rung: AtomicBool::new(false), asleep: AtomicBool::new(false), wake };
        Self { shared: Arc::new(shared) }
    }

    /// Rings: the ring's current or next wait ends.
    pub fn ring(&self) {
        // Release pairs with the acquire in `take`: what was published before is seen after it.
        self.shared.rung.store(true, Ordering::Release);
        // Pairs with the fence in `sleep`: either this sees `asleep`, or `sleep` sees `rung`.
        fence(Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::Relaxed)
            && self.shared.asleep.swap(false, Ordering::Relaxed)
            && let Some(mut wake) = self.shared.wake.as_ref()
        {
            // An eventfd refuses only when its counter is full: then the sleeper wakes anyway.
            let _ = wake.write(&1_u64.to_ne_bytes());
        }
    }

    /// Whether the bell was rung; answering it clears it.
    #[must_use]
    pub(crate) fn take(&self) -> bool {
        // Relaxed look first, so that a spinning ring does not write to the shared line.
        self.shared.rung.load(Ordering::Relaxed) && self.shared.rung.swap(false, Ordering::Acquire)
    }

    /// Declares the ring asleep. Returns false, and does not, when the bell has been rung.
    #[must_use]
    pub(crate) fn sleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
        if self.shared.rung.load(Ordering::Relaxed) {
            self.awake();
            return false;
        }
        true
    }

    /// Declares the ring awake.
    pub(crate) fn awake(&self) {
        self.shared.asleep.store(false, Ordering::Relaxed);
    }
}
