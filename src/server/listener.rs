//! Where the server listens.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use std::time::Duration;

use ring::{Socket, uring};

use crate::config::Options;
use crate::files::os_error;

/// Listens for clients.
///
/// # Errors
/// The line to log before the server ends.
pub(super) fn clients(options: &Options) -> Result<(Socket, SocketAddr), String> {
    let failed = |error: String| {
        let address = address(&options.host, options.port);
        format!("Error listening on port: {address}, {error:?}")
    };
    listen_on(&options.host, options.port).map_err(failed)
}

fn listen_on(host: &str, port: u16) -> Result<(Socket, SocketAddr), String> {
    let address = resolve(host, port)?;
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        // The wildcard means both families; a host without IPv6 has only the one.
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        if let Ok(listening) = listen_soon(both) {
            return Ok(listening);
        }
    }
    listen_soon(address).map_err(|error| cannot_bind(address, &error))
}

/// As Go says it.
fn cannot_bind(address: SocketAddr, error: &std::io::Error) -> String {
    format!("listen tcp {address}: bind: {}", os_error(error))
}

/// Listens; when the address is in use, tries again for a moment: the rings of a server that was just
/// killed let go of their sockets only after the process has ended.
fn listen_soon(address: SocketAddr) -> std::io::Result<(Socket, SocketAddr)> {
    const STEP: Duration = Duration::from_millis(10);
    const TRIES: u32 = 100;
    for _ in 1..TRIES {
        match uring::listen(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => std::thread::park_timeout(STEP),
            listening => return listening,
        }
    }
    uring::listen(address)
}

/// Listens for other servers, if this one is to be part of a cluster, and writes the bound port back.
///
/// # Errors
/// The line to log before the server ends.
pub(super) fn routes(options: &mut Options) -> Result<Option<(Socket, SocketAddr)>, String> {
    let Some(cluster) = &mut options.cluster else { return Ok(None) };
    let Some(port) = cluster.port else { return Ok(None) };
    let (socket, bound) = listen_on(&cluster.host, port)
        .map_err(|error| format!("Error listening on router port: {port} - {error}"))?;
    uring::keep_unsent_short(socket);
    cluster.port = Some(bound.port());
    tracing::info!("Listening for route connections on {}", address(&cluster.host, bound.port()));
    Ok(Some((socket, bound)))
}

/// Listens for the monitor, if it is on.
///
/// # Errors
/// The line to log before the server ends.
pub(super) fn monitor(options: &Options) -> Result<Option<TcpListener>, String> {
    let Some(port) = options.http_port else { return Ok(None) };
    let host = &options.http_host;
    let listen = || {
        let address = resolve(host, port)?;
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        listener.map_err(|error| cannot_bind(address, &error))
    };
    let listener = listen().map_err(|error| {
        format!("Can't start monitoring: can't listen to the monitor port: {error}")
    })?;
    let port = listener.local_addr().map_or(port, |at| at.port());
    tracing::info!("Starting http monitor on {}", address(host, port));
    Ok(Some(listener))
}

/// A host and a port as one word; an IPv6 address stands in brackets.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| format!("listen tcp: lookup {host}: no such host"))
}
