//! What is asked of sockets outside the rings: listening, names, options.

use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use crate::{Direction, Errno, Socket};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on `address` (port 0: one that the system picks) and returns where it really listens.
///
/// Accepted connections inherit "no delay" from the listener, which spares a call each.
///
/// # Errors
/// The system's own, such as an address in use.
pub fn listen(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes and returns plain numbers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the descriptor was just made, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    spare_pacing(fd, address);
    let (name, len) = encode_address(address);
    // SAFETY: `name` is a filled socket address of at least `len` bytes that outlives the call.
    check(unsafe { libc::bind(fd, (&raw const name).cast(), len) })?;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::listen(fd, BACKLOG) })?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((Socket(listener.into_raw_fd()), bound))
}

/// Bytes that a connection between servers may hold in the kernel without having sent them: enough to
/// keep a fast wire busy, and so few that what overtakes them above the socket is not late.
const UNSENT_BYTES_MAX: i32 = 256 << 10;

/// Lets connections that `listener` accepts keep little unsent; a system that cannot do so keeps more.
pub fn keep_unsent_short(listener: Socket) {
    let _ = set_number(listener.0, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX);
}

/// Bytes that a connection holds, because they have not left or the peer has not acknowledged them.
pub(super) fn held_bytes(fd: i32) -> u64 {
    let mut bytes: i32 = 0;
    // SAFETY: the call writes one int to the address of one, which outlives it.
    let got = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    check(got).ok().and_then(|_| u64::try_from(bytes).ok()).unwrap_or(0)
}

/// The shortest round trip of a connection that the kernel has measured.
pub(super) fn round_trip(fd: i32) -> Option<Duration> {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "some two hundred")]
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let to = (&raw mut info).cast();
    // SAFETY: `to` has room for `len` bytes, and both outlive the call.
    let got = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut len) };
    check(got).ok()?;
    // Before the first measurement it is the largest number.
    (info.tcpi_min_rtt < u32::MAX).then(|| Duration::from_micros(u64::from(info.tcpi_min_rtt)))
}

/// Not in `libc`: which of a socket's buffers are not the kernel's to size.
const SO_BUF_LOCK: i32 = 72;
/// What a socket begins with again when its size is the kernel's choice again.
const SEND_BUFFER_BYTES: u64 = 256 << 10;

/// Lets a connection hold about so many bytes that the peer has not taken; `None` leaves the choice to
/// the kernel.
pub(super) fn hold(fd: i32, bytes: Option<u64>) -> io::Result<()> {
    // The kernel doubles the number, for what it needs itself.
    let half = bytes.unwrap_or(SEND_BUFFER_BYTES) / 2;
    set_number(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, i32::try_from(half).unwrap_or(i32::MAX))?;
    if bytes.is_none() {
        set_number(fd, libc::SOL_SOCKET, SO_BUF_LOCK, 0)?;
    }
    Ok(())
}

/// Closes a socket that no ring has an operation on.
pub fn close(socket: Socket) {
    // SAFETY: the caller owns the descriptor and gives it up here.
    drop(unsafe { OwnedFd::from_raw_fd(socket.0) });
}

/// Ends one direction of a connection, or both. Not through the ring: the kernel would carry that out
/// on a worker thread, and the call does not block.
pub(super) fn shutdown(socket: Socket, how: Direction) {
    let how = match how {
        Direction::Write => Shutdown::Write,
        Direction::Both => Shutdown::Both,
    };
    // A connection that is already gone needs no end.
    let _ = borrow(socket).shutdown(how);
}

/// Makes a connection that came in ready to serve, and says who is at the other end.
///
/// # Errors
/// When the connection is already gone.
pub(super) fn welcome(socket: Socket) -> io::Result<SocketAddr> {
    let peer = canonical(borrow(socket).peer_addr()?);
    spare_pacing(socket.0, peer);
    Ok(peer)
}

/// Congestion control that sends when there is room, and sets no timers for it. Every kernel has it, and
/// lets every user choose it unless it was told not to.
const UNPACED: &[u8] = b"reno";

/// Within a machine there is no wire to share. Where the system's congestion control paces what
/// leaves (BBR), it would pay timers and delay for nothing. Accepted connections inherit it from a listener
/// on a loopback address; those of other listeners may begin paced, at a rate that is far out of reach soon.
fn spare_pacing(fd: i32, peer: SocketAddr) {
    if peer.ip().is_loopback() {
        // A connection without the option works, only slower.
        let _ = set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, UNPACED);
    }
}

/// Makes a socket to dial with: no delay, closed on exec.
pub(super) fn for_dialling(address: SocketAddr) -> Result<Socket, Errno> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes and returns plain numbers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)));
    }
    // A socket without the option works, only slower.
    let _ = set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY);
    keep_unsent_short(Socket(fd));
    spare_pacing(fd, address);
    Ok(Socket(fd))
}

/// The address as the kernel wants it, and its length.
pub(super) fn encode_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let len = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for every kind of address.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    #[expect(clippy::cast_possible_truncation, reason = "an address has a few dozen bytes")]
    (storage, len as libc::socklen_t)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2 or 10")]
const fn family(number: i32) -> libc::sa_family_t {
    number as libc::sa_family_t
}

fn borrow(socket: Socket) -> mem::ManuallyDrop<TcpStream> {
    // SAFETY: the descriptor is open, as its holder promises, and is not closed here.
    mem::ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(socket.0) })
}

/// An IPv4 peer of a listener for both families comes under an IPv6 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn set_option(fd: i32, level: i32, option: i32) -> io::Result<()> {
    set_number(fd, level, option, 1)
}

fn set_number(fd: i32, level: i32, option: i32, number: i32) -> io::Result<()> {
    set_bytes(fd, level, option, &number.to_ne_bytes())
}

fn set_bytes(fd: i32, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "a few")]
    let len = value.len() as libc::socklen_t;
    // SAFETY: reads `len` bytes of `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), len) })?;
    Ok(())
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Raises the limit of open descriptors to what the system allows, and returns it.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the structure passed, which outlives the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads the structure passed, which outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    limit.rlim_cur
}

/// An eventfd, for a doorbell.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes and returns plain numbers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the descriptor was just made, and nobody else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(owned.as_raw_fd() == fd);
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn congestion_control(socket: Socket) -> String {
        let mut name = [0_u8; 16];
        #[expect(clippy::cast_possible_truncation, reason = "sixteen")]
        let mut len = name.len() as libc::socklen_t;
        let to = name.as_mut_ptr().cast();
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
        // SAFETY: `to` has room for `len` bytes, and both outlive the call.
        check(unsafe { libc::getsockopt(socket.0, level, option, to, &raw mut len) })
            .expect("an answer");
        name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
    }

    #[test]
    fn within_the_machine_nothing_is_paced_and_a_wire_is_the_system_s() {
        let (inherits, _) = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        assert_eq!(congestion_control(inherits), "reno");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let _peer = TcpStream::connect(address).expect("a connection");
        let (accepted, _) = listener.accept().expect("a connection");
        let accepted = Socket(accepted.into_raw_fd());
        assert!(welcome(accepted).expect("a peer").ip().is_loopback());
        assert_eq!(congestion_control(accepted), "reno");
        let near = for_dialling(address).expect("a socket");
        assert_eq!(congestion_control(near), "reno");
        let far = for_dialling(SocketAddr::from(([192, 0, 2, 1], 4222))).expect("a socket");
        let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
        assert_eq!(congestion_control(far), system.expect("a setting").trim());
        [inherits, accepted, near, far].into_iter().for_each(close);
    }
}
