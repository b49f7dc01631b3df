//! Ports that a node can leave and come back to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

/// A loopback port that the system chose and that nobody else is given.
///
/// A bound socket that does not listen lets a server listen beside it, and keeps the system from
/// lending the port to outgoing connections while that server is down.
pub(crate) struct Port {
    pub(crate) number: u16,
    _holder: OwnedFd,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let holder = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&holder, &SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).unwrap();
        // Only now may others share it: before, two holders might have been given the same one.
        sockopt::set_socket_reuseaddr(&holder, true).unwrap();
        let address = SocketAddr::try_from(getsockname(&holder).unwrap()).unwrap();
        Self { number: address.port(), _holder: holder }
    }
}
