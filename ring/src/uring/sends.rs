//! Sends in flight: what the kernel reads from, and what it said.

use std::io;

use io_uring::{cqueue, opcode, squeue, types};

use crate::{Batch, Completion, Errno, Outcome, SendMode, Socket, Token};

/// Message headers and slices that may be prepared between two submissions. The kernel has copied
/// them when a submission returns, so they are used again at once.
const HEADERS: usize = 512;
const SLICES: usize = 8192;
/// Slices of one send at the most; the kernel's own limit is 1,024.
const SLICES_A_SEND: usize = 512;

const NOTIFICATION_COPIED: u32 = 1 << 31;
const REPORT_USAGE: u16 = 1 << 3;
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
/// Carried out inside the submitting call: in full, or with a completion that says how far it got.
const TRY_FLAGS: i32 = SEND_FLAGS | libc::MSG_DONTWAIT | libc::MSG_WAITALL;

/// Invariant: a slot's batch is here from `prepare` until the completion that gives it back.
pub(super) struct Sends {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots that complete with this submission unless the kernel says otherwise.
    silent: Vec<u32>,
    headers: Vec<libc::msghdr>,
    slices: Vec<libc::iovec>,
}

struct Slot {
    token: Token,
    batch: Option<Batch>,
    /// Bytes of the batch that this send carries.
    offered: usize,
    /// What the kernel said so far, where more is to come.
    result: Option<i32>,
    silent: bool,
    zero_copy: bool,
}

/// How a send ended.
struct Ended {
    /// Bytes, or an error below zero.
    result: i32,
    copied: bool,
    timely: bool,
}

impl Default for Sends {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            silent: Vec::new(),
            headers: Vec::with_capacity(HEADERS),
            slices: Vec::with_capacity(SLICES),
        }
    }
}

impl Sends {
    /// Whether what is prepared must be submitted before another send is.
    pub(super) fn is_full(&self) -> bool {
        self.headers.len() == HEADERS || self.slices.len() + SLICES_A_SEND > SLICES
    }

    /// How many sends complete with the next submission.
    pub(super) fn silent(&self) -> usize {
        self.silent.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps the batch and makes the entry that sends it.
    pub(super) fn prepare(
        &mut self,
        token: Token,
        socket: Socket,
        batch: Batch,
        mode: SendMode,
    ) -> (u32, squeue::Entry) {
        let from = self.slices.len();
        self.slices.extend(batch.slices().take(SLICES_A_SEND).map(|slice| libc::iovec {
            iov_base: slice.as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        }));
        let offered = self.slices[from..].iter().map(|slice| slice.iov_len).sum();
        let entry = self.entry(socket, from, mode);
        let silent = mode == SendMode::Try;
        let zero_copy = mode == SendMode::ZeroCopy;
        let batch = Some(batch);
        let slot = self.keep(Slot { token, batch, offered, result: None, silent, zero_copy });
        if silent {
            self.silent.push(slot);
            return (slot, entry.flags(squeue::Flags::SKIP_SUCCESS));
        }
        (slot, entry)
    }

    fn entry(&mut self, socket: Socket, from: usize, mode: SendMode) -> squeue::Entry {
        let fd = types::Fd(socket.0);
        let flags = if mode == SendMode::Try { TRY_FLAGS } else { SEND_FLAGS };
        if let [one] = &self.slices[from..]
            && matches!(mode, SendMode::Try | SendMode::Wait)
        {
            let len = u32::try_from(one.iov_len).unwrap_or(u32::MAX);
            return opcode::Send::new(fd, one.iov_base.cast_const().cast(), len)
                .flags(flags)
                .build();
        }
        let header = self.header(from);
        let flags = flags.cast_unsigned();
        match mode {
            SendMode::Try | SendMode::Wait => opcode::SendMsg::new(fd, header).flags(flags).build(),
            SendMode::ZeroCopy => {
                opcode::SendMsgZc::new(fd, header).flags(flags).ioprio(REPORT_USAGE).build()
            }
        }
    }

    /// A message header for the slices from `from` on. Neither vector grows beyond its capacity, so
    /// the addresses stay good until the submission.
    fn header(&mut self, from: usize) -> *const libc::msghdr {
        // SAFETY: all zeros is a valid value of this plain structure.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        let slices = &mut self.slices[from..];
        header.msg_iov = slices.as_mut_ptr();
        header.msg_iovlen = slices.len();
        assert!(self.headers.len() < HEADERS, "is_full was not asked");
        self.headers.push(header);
        &raw const self.headers[self.headers.len() - 1]
    }

    fn keep(&mut self, slot: Slot) -> u32 {
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            return at;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    /// The kernel said something about a send.
    pub(super) fn complete(
        &mut self,
        at: u32,
        result: i32,
        flags: u32,
        done: &mut Vec<Completion>,
    ) {
        let slot = &mut self.slots[at as usize];
        if slot.silent || cqueue::more(flags) {
            // Silent ones are concluded in order with the submission; others tell more later.
            slot.result = Some(result);
        } else if cqueue::notif(flags) {
            let copied = result.cast_unsigned() & NOTIFICATION_COPIED != 0;
            let result = slot.result.take().unwrap_or(0);
            self.finish(at, Ended { result, copied, timely: true }, done);
        } else {
            self.finish(at, Ended { result, copied: false, timely: true }, done);
        }
    }

    /// After a submission has returned: the silent sends are over, `timely` when it has not slept.
    pub(super) fn conclude(&mut self, timely: bool, done: &mut Vec<Completion>) {
        self.headers.clear();
        self.slices.clear();
        let mut silent = std::mem::take(&mut self.silent);
        for at in silent.drain(..) {
            let slot = &self.slots[at as usize];
            let offered = i32::try_from(slot.offered).unwrap_or(i32::MAX);
            let result = slot.result.unwrap_or(offered);
            let ended = Ended { result, copied: false, timely };
            self.finish(at, ended, done);
        }
        self.silent = silent;
    }

    fn finish(&mut self, at: u32, ended: Ended, done: &mut Vec<Completion>) {
        let Ended { result, copied, timely } = ended;
        let slot = &mut self.slots[at as usize];
        let Some(batch) = slot.batch.take() else { return };
        self.free.push(at);
        let (bytes, error) = match usize::try_from(result) {
            Ok(bytes) => (bytes, None),
            Err(_) => (0, Some(Errno(-result)).filter(|error| !only_full(*error))),
        };
        // Too little memory may be locked to send without copying; so it shall be copied.
        let no_lock = |error: Errno| matches!(error.0, libc::ENOMEM | libc::ENOBUFS);
        let (error, copied) = match error {
            Some(error) if slot.zero_copy && no_lock(error) => (None, true),
            error => (error, copied),
        };
        let outcome = Outcome::Sent { batch, bytes, error, copied, timely };
        done.push(Completion { token: slot.token, outcome });
    }
}

/// Whether the error only says that the socket has no room, or that the call should be repeated.
fn only_full(error: Errno) -> bool {
    let kind = io::Error::from_raw_os_error(error.0).kind();
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
