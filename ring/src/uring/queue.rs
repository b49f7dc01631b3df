//! The submission and completion queues of one kernel ring, split once and for all.
//!
//! Knows no operation's meaning. Invariant: the views never outlive the ring they point into.

use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, squeue};

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
/// Do not count this wait as I/O wait, which tools would show as a busy core (Linux 6.15).
const ENTER_NO_IOWAIT: u32 = 1 << 7;

pub(super) struct Queues {
    pub(super) submitter: ManuallyDrop<Submitter<'static>>,
    pub(super) sq: ManuallyDrop<SubmissionQueue<'static>>,
    pub(super) cq: ManuallyDrop<CompletionQueue<'static>>,
    wait_flags: u32,
    /// Times the kernel was entered.
    pub(super) enters: u64,
    ring: *mut IoUring,
}

impl Queues {
    /// Takes the ring apart and registers its descriptor, which saves a lookup a system call.
    pub(super) fn new(ring: IoUring) -> Self {
        let no_iowait = ring.params().is_feature_no_iowait();
        let ring = Box::into_raw(Box::new(ring));
        // SAFETY: `ring` was just made by `Box::into_raw` and is freed only in `drop`, after the
        // views; nothing else refers to it.
        let (mut submitter, sq, cq) = unsafe { &mut *ring }.split();
        // A kernel that refuses only costs the lookup.
        let _ = submitter.register_ring_fd();
        Self {
            submitter: ManuallyDrop::new(submitter),
            sq: ManuallyDrop::new(sq),
            cq: ManuallyDrop::new(cq),
            wait_flags: ENTER_EXT_ARG | if no_iowait { ENTER_NO_IOWAIT } else { 0 },
            enters: 0,
            ring,
        }
    }

    /// Whether the kernel has work to run, or completions that found no room, for an enter.
    pub(super) fn wants_enter(&self) -> bool {
        self.sq.taskrun() || self.sq.cq_overflow()
    }

    /// Whether there is something to collect or to run.
    pub(super) fn has_news(&mut self) -> bool {
        self.cq.sync();
        !self.cq.is_empty() || self.wants_enter()
    }

    /// Whether there is something to hand over, to collect or to run.
    pub(super) fn has_work(&mut self) -> bool {
        !self.sq.is_empty() || self.has_news()
    }

    /// Queues an entry; returns it when the queue is full.
    pub(super) fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller of `Uring::push` keeps what the entry points to alive until its
        // completion: sends and dials own theirs in slots, receives point to nothing.
        unsafe { self.sq.push(entry) }.is_ok()
    }

    /// Submits what is queued and runs the kernel's pending work, without waiting.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.enters += 1;
        self.sq.sync();
        let queued = u32::try_from(self.sq.len()).unwrap_or(u32::MAX);
        // SAFETY: no argument is passed; the entries are valid as `push` says.
        let entered =
            unsafe { self.submitter.enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None) };
        self.sq.sync();
        self.cq.sync();
        forgive(entered)
    }

    /// Submits what is queued and waits for a completion, at most `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.enters += 1;
        self.sq.sync();
        let queued = u32::try_from(self.sq.len()).unwrap_or(u32::MAX);
        let timeout = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timeout);
        let flags = ENTER_GETEVENTS | self.wait_flags;
        // SAFETY: `args` is the structure that EXT_ARG asks for, and outlives the call.
        let entered = unsafe { self.submitter.enter(queued, 1, flags, Some(&args)) };
        self.sq.sync();
        self.cq.sync();
        forgive(entered)
    }
}

/// Failures of an enter that only mean: look at the completions and come again.
fn forgive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.cq) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.sq) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: made by `Box::into_raw` in `new`; the views into it are gone.
        drop(unsafe { Box::from_raw(self.ring) });
    }
}
