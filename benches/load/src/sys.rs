//! The few things of the operating system that the standard library does not give: the monotonic clock as one
//! number, epoll, a connect that does not wait, the CPU this thread may use.
//!
//! The only module with `unsafe`. It knows nothing of the protocol.
//!
//! Invariant: every function here is safe to call with any arguments; what the kernel refuses comes back as an error.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// The monotonic clock in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time that all threads of this process have used, in nanoseconds.
pub(crate) fn own_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a local of the right type, and the call only writes into it.
    let done = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(done, 0, "both clocks exist on every Linux");
    u64::try_from(time.tv_sec).unwrap_or(0) * SECOND_NS + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Sleeps for `ns` nanoseconds; a signal may cut it short.
pub(crate) fn sleep_ns(ns: u64) {
    let time = timespec(ns);
    // SAFETY: `time` lives past the call, and a null pointer says that the rest is not wanted.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

/// Lets this thread run on `cpu` alone.
///
/// # Errors
/// What the kernel says, when there is no such CPU or it is not allowed here.
pub(crate) fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    let mut mask = [0u64; MASK_WORDS];
    let word = mask.get_mut(cpu / 64).ok_or(io::ErrorKind::InvalidInput)?;
    *word = 1 << (cpu % 64);
    set_affinity(&mask)
}

/// Lets this thread run on every CPU that the process may use, whatever the thread that made it is bound to.
///
/// # Errors
/// What the kernel says.
pub(crate) fn unpin() -> io::Result<()> {
    set_affinity(&[u64::MAX; MASK_WORDS])
}

/// CPUs that a mask names: 64 a word.
const MASK_WORDS: usize = 16;

fn set_affinity(mask: &[u64; MASK_WORDS]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `mask`, which the kernel only reads.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(mask), ptr::from_ref(mask).cast()) };
    checked(done).map(|_| ())
}

/// Raises the number of descriptors this process may hold as far as it is allowed, and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a local of the right type, and the call only writes into it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` lives past the call, which only reads it.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return before;
    }
    limit.rlim_cur
}

/// Begins to connect and does not wait: the socket turns writable when it is decided, and
/// [`TcpStream::take_error`] then says how.
///
/// # Errors
/// What the kernel refuses at once: no descriptor, no local port, no route.
pub(crate) fn connect_nonblocking(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes numbers only.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: `fd` is a fresh descriptor that nothing else owns.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let done = match address {
        SocketAddr::V4(v4) => connect_to(fd, &socket_address_v4(&v4)),
        SocketAddr::V6(v6) => connect_to(fd, &socket_address_v6(&v6)),
    };
    match done {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(stream),
    }
}

fn socket_address_v4(v4: &std::net::SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: family(libc::AF_INET),
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn socket_address_v6(v6: &std::net::SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: family(libc::AF_INET6),
        sin6_port: v6.port().to_be(),
        sin6_flowinfo: v6.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
        sin6_scope_id: v6.scope_id(),
    }
}

fn family(number: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).expect("the kernel keeps families in 16 bits")
}

/// `T` is one of the two address structures above.
fn connect_to<T>(fd: RawFd, address: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("an address has a few bytes");
    // SAFETY: the pointer and the length describe `address`, which the kernel only reads.
    let done = unsafe { libc::connect(fd, ptr::from_ref(address).cast(), length) };
    checked(done).map(|_| ())
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    ReadWrite,
}

impl Interest {
    fn bits(self) -> u32 {
        let bits = match self {
            Self::Read => libc::EPOLLIN,
            Self::Write => libc::EPOLLOUT,
            Self::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        bits.cast_unsigned()
    }
}

/// One socket that has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The number that the socket was watched with.
    pub(crate) key: usize,
    /// Bytes, an end of stream or an error wait to be read.
    pub(crate) readable: bool,
    /// The socket takes bytes again.
    pub(crate) writable: bool,
}

/// A set of sockets to wait for.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: [MaybeUninit<libc::epoll_event>; EVENTS_MAX],
}

/// Events taken by one wait; the rest come with the next one.
const EVENTS_MAX: usize = EVENTS_ROOM as usize;
const EVENTS_ROOM: u8 = 255;

impl Poller {
    /// # Errors
    /// When this process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` is a fresh descriptor that nothing else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, events: [const { MaybeUninit::uninit() }; EVENTS_MAX] })
    }

    /// Watches `socket`; its events carry `key`.
    ///
    /// # Errors
    /// When the socket is watched already, or the kernel has no memory for it.
    pub(crate) fn add(&self, socket: &impl AsRawFd, key: usize, what: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, key, what)
    }

    /// Changes what `socket` is watched for.
    ///
    /// # Errors
    /// When the socket is not watched.
    pub(crate) fn change(
        &self,
        socket: &impl AsRawFd,
        key: usize,
        what: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, key, what)
    }

    /// Watches `socket` no longer.
    ///
    /// # Errors
    /// When the socket is not watched.
    pub(crate) fn remove(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket, 0, Interest::Read)
    }

    fn control(
        &self,
        operation: libc::c_int,
        socket: &impl AsRawFd,
        key: usize,
        what: Interest,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: what.bits(), u64: key as u64 };
        let (epoll, fd) = (self.epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: `event` lives past the call; the kernel checks both descriptors itself.
        checked(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(|_| ())
    }

    /// Waits at most `timeout_ns` (0: does not wait) and hands over what is ready; a signal counts as nothing.
    ///
    /// # Errors
    /// What the kernel says, which with these arguments is nothing that a caller could mend.
    pub(crate) fn wait(
        &mut self,
        timeout_ns: u64,
    ) -> io::Result<impl Iterator<Item = Ready> + use<'_>> {
        let timeout = timespec(timeout_ns);
        let events = self.events.as_mut_ptr().cast::<libc::epoll_event>();
        let (epoll, room) = (self.epoll.as_raw_fd(), libc::c_int::from(EVENTS_ROOM));
        // SAFETY: `events` and `room` describe `self.events`, which the kernel fills from the front;
        // `timeout` lives past the call, and a null signal mask changes no mask.
        let found =
            unsafe { libc::epoll_pwait2(epoll, events, room, &raw const timeout, ptr::null()) };
        let found = match checked(found) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?.unsigned_abs() as usize,
        };
        Ok(self.events[..found].iter().map(|event| {
            // SAFETY: the kernel has just written the first `found` events.
            ready(unsafe { event.assume_init_ref() })
        }))
    }
}

fn ready(event: &libc::epoll_event) -> Ready {
    let bits = event.events.cast_signed();
    let ended = bits & (libc::EPOLLHUP | libc::EPOLLERR) != 0;
    Ready {
        key: usize::try_from(event.u64).expect("the key was a usize when it was given"),
        readable: ended || bits & libc::EPOLLIN != 0,
        writable: ended || bits & libc::EPOLLOUT != 0,
    }
}

fn timespec(ns: u64) -> libc::timespec {
    let bounded = ns.min(3600 * SECOND_NS).cast_signed();
    let second = SECOND_NS.cast_signed();
    libc::timespec { tv_sec: bounded / second, tv_nsec: bounded % second }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connect_that_does_not_wait_turns_writable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect_nonblocking(listener.local_addr().unwrap()).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&stream, 7, Interest::Write).unwrap();
        let ready: Vec<Ready> = poller.wait(5 * SECOND_NS).unwrap().collect();
        assert_eq!(ready, [Ready { key: 7, readable: false, writable: true }]);
        assert!(stream.take_error().unwrap().is_none());
    }

    #[test]
    fn a_cpu_that_no_machine_has_is_refused() {
        assert!(pin_to_cpu(1023).is_err());
        assert!(pin_to_cpu(100_000).is_err());
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let before = now_ns();
        assert!(now_ns() >= before);
    }
}
