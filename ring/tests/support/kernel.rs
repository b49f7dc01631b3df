//! The kernel ring's world: io_uring, and the standard library's sockets as peers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

use ring::uring::{self, Uring, UringOptions};
use ring::{Doorbell, Socket};

use super::{Peer, Reading, World};

pub(crate) struct Kernel {
    ring: Uring,
}

impl World for Kernel {
    type Ring = Uring;
    type Peer = TcpPeer;

    const RUNS: u64 = 1;
    const BUFFERS: usize = 256;

    fn new(_run: u64) -> Self {
        Self { ring: Uring::new(UringOptions::default()).unwrap() }
    }

    fn ring(&mut self) -> &mut Uring {
        &mut self.ring
    }

    fn listen(&mut self) -> (Socket, SocketAddr) {
        uring::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    fn nobody(&mut self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    fn dial(&mut self, to: SocketAddr) -> TcpPeer {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpPeer(stream)
    }

    fn pass(&mut self) {}

    /// A receiver on the same machine gets a copy: its sender's memory is not lent to it.
    fn copies(&self) -> Option<bool> {
        Some(true)
    }

    fn ring_bell(&mut self, bell: Doorbell) {
        thread::spawn(move || bell.ring());
    }
}

pub(crate) struct TcpPeer(TcpStream);

impl Peer for TcpPeer {
    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.0.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("a peer cannot write: {error}"),
        }
    }

    fn read(&mut self, into: &mut Vec<u8>) -> Reading {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Reading::Eof,
                Ok(count) => into.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Reading::Open,
                Err(_) => return Reading::Broken,
            }
        }
    }

    fn finish(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    fn close(self) {}

    fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = libc::socklen_t::try_from(size_of_val(&linger)).unwrap();
        // SAFETY: the descriptor is open, and the option's value is a `linger` of the size given.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size,
            )
        };
        assert_eq!(result, 0);
    }
}
