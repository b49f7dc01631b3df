//! One connection's bytes: a socket that never waits, plain or in TLS.
//!
//! It knows no protocol but TLS, and nothing of trust, which [`crate::tls`] has settled. Plain bytes pass as
//! they are, for one branch a call.
//!
//! Invariant: when [`receive`](Stream::receive) returns, everything taken from the socket is in the inbox, but for
//! the beginning of a record. So epoll, which sees only the socket, tells of all that is left to read; what is
//! left to send, [`has_unsent`](Stream::has_unsent) tells.

use crate::sys::Interest;
use crate::wire::Inbox;
use rustls::{ClientConnection, InvalidMessage};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// Most bytes of TLS that one read takes: several records, and little enough for the cache.
const WIRE_BYTES_MAX: usize = 128 << 10;

pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<Session>>,
}

/// TLS over a socket that is not its own.
struct Session {
    connection: ClientConnection,
    /// What a read took from the socket; empty between two reads.
    wire: Vec<u8>,
}

impl Stream {
    /// Plain until [`secure`](Self::secure); the socket must not block.
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// From here on everything is in TLS. The handshake goes on with every call; what is sent before its end
    /// leaves after it. A read takes about `read_bytes` at most.
    pub(crate) fn secure(&mut self, connection: ClientConnection, read_bytes: usize) {
        let wire = vec![0; read_bytes.min(WIRE_BYTES_MAX)];
        self.tls = Some(Box::new(Session { connection, wire }));
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads once what is there; false when nothing for the inbox was.
    ///
    /// # Errors
    /// When the other side has closed, or breaks TLS, or is not to be trusted.
    #[inline]
    pub(crate) fn receive(&mut self, inbox: &mut Inbox) -> io::Result<bool> {
        if let Some(session) = &mut self.tls {
            return session.receive(&self.socket, inbox);
        }
        let len = read(&self.socket, inbox.room())?;
        inbox.filled(len);
        Ok(len > 0)
    }

    /// Writes once and returns how much of `bytes` need not be given again, which may be nothing.
    ///
    /// # Errors
    /// When the other side has closed.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => or_not_yet((&self.socket).write(bytes)),
            Some(session) => session.send(&self.socket, bytes),
        }
    }

    /// Reads once whatever arrived, to drop it; 0 when there is nothing yet. Under TLS nothing can be received after it.
    ///
    /// # Errors
    /// When the other side has closed.
    pub(crate) fn scrap(&mut self, room: &mut [u8]) -> io::Result<usize> {
        read(&self.socket, room)
    }

    /// Whether bytes that were given to [`send`](Self::send) wait for room in the socket. Any call moves them on.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.connection.wants_write())
    }

    /// What to watch the socket for while an answer is awaited.
    pub(crate) fn interest(&self) -> Interest {
        if self.has_unsent() { Interest::ReadWrite } else { Interest::Read }
    }
}

impl Session {
    fn receive(&mut self, socket: &TcpStream, inbox: &mut Inbox) -> io::Result<bool> {
        let len = read(socket, &mut self.wire)?;
        let opened = self.open(len, inbox);
        // What TLS has to say: its part of the handshake, or the alert that says why we leave. A socket
        // that takes nothing any more says so at the next read, after everything that it still holds.
        let _ = self.flush(socket);
        opened
    }

    /// Opens the first `len` bytes of `wire` into the inbox; true when any came of it.
    fn open(&mut self, len: usize, inbox: &mut Inbox) -> io::Result<bool> {
        let (mut wire, mut any) = (&self.wire[..len], false);
        // After the server's farewell nothing more is taken.
        while !wire.is_empty() && self.connection.read_tls(&mut wire)? > 0 {
            let verdict = self.connection.process_new_packets();
            while let Ok(len @ 1..) = self.connection.reader().read(inbox.room()) {
                inbox.filled(len);
                any = true;
            }
            verdict.map_err(|error| io::Error::other(in_words(&error)))?;
        }
        Ok(any)
    }

    fn send(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush(socket)? {
            return Ok(0);
        }
        let taken = self.connection.writer().write(bytes)?;
        if taken < bytes.len() && self.connection.is_handshaking() {
            return Err(io::Error::other(
                "more to send than TLS keeps until its handshake is over",
            ));
        }
        self.flush(socket)?;
        Ok(taken)
    }

    /// Writes what is sealed; false when the socket took only a part.
    fn flush(&mut self, mut socket: &TcpStream) -> io::Result<bool> {
        while self.connection.wants_write() {
            if or_not_yet(self.connection.write_tls(&mut socket))? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads once; 0 when there is nothing yet.
fn read(mut socket: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    match socket.read(room) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a word")),
        done => or_not_yet(done),
    }
}

/// 0 from a socket that has nothing, or no room: that is no failure.
fn or_not_yet(done: io::Result<usize>) -> io::Result<usize> {
    use io::ErrorKind::{Interrupted, WouldBlock};
    match done {
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(0),
        done => done,
    }
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "what it says is not TLS".into(),
        other => format!("TLS: {other}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sys::{Poller, SECOND_NS};
    use crate::wire::Event;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
        SupportedProtocolVersion,
    };
    use rustls_pki_types::PrivateKeyDer;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::{self, Sender};
    use std::thread::{self, JoinHandle};

    /// What the other end read, when it has.
    type Heard = JoinHandle<Vec<u8>>;

    /// Longest wait for an event that must come.
    const BOUND_NS: u64 = 20 * SECOND_NS;

    /// A stream in TLS, and its other end, which does as `play` says in a thread of its own.
    fn pair<T: Send + 'static>(
        version: &'static SupportedProtocolVersion,
        play: impl FnOnce(StreamOwned<ServerConnection, TcpStream>) -> T + Send + 'static,
    ) -> (Stream, JoinHandle<T>) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".into()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (other, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(server.into()).unwrap();
        let thread = thread::spawn(move || play(StreamOwned::new(connection, other)));
        let mut stream = Stream::new(socket);
        let name = "localhost".try_into().unwrap();
        stream.secure(ClientConnection::new(client.into(), name).unwrap(), 4 << 10);
        (stream, thread)
    }

    /// As `pair`, after the handshake; the other end reads nothing more until it is told how much.
    fn deaf_pair(version: &'static SupportedProtocolVersion) -> (Stream, Sender<usize>, Heard) {
        let (tell, told) = mpsc::channel();
        let (mut stream, peer) = pair(version, move |mut peer| {
            while peer.conn.is_handshaking() {
                peer.conn.complete_io(&mut peer.sock).unwrap();
            }
            let mut heard = vec![0; told.recv().unwrap_or(0)];
            peer.read_exact(&mut heard).unwrap();
            heard
        });
        let mut inbox = Inbox::with_capacity(64);
        loop {
            stream.receive(&mut inbox).unwrap();
            if !stream.tls.as_ref().unwrap().connection.is_handshaking() {
                return (stream, tell, peer);
            }
            await_ready(&stream, stream.interest());
        }
    }

    /// A stream that fills up: nobody reads at its other end while the sender is there.
    pub(crate) fn unheard() -> (Stream, Sender<usize>) {
        let (stream, tell, _) = deaf_pair(&rustls::version::TLS13);
        (stream, tell)
    }

    #[track_caller]
    fn await_ready(stream: &Stream, what: Interest) {
        let mut poller = Poller::new().unwrap();
        poller.add(stream.socket(), 0, what).unwrap();
        assert_eq!(poller.wait(BOUND_NS).unwrap().count(), 1, "the socket stays silent");
    }

    #[track_caller]
    fn check_that_epoll_tells_of_everything(version: &'static SupportedProtocolVersion) {
        const PINGS: usize = 20_000;
        let (said_all, listen) = mpsc::channel();
        let (mut stream, peer) = pair(version, move |mut peer| {
            // Records of all sizes, and lines that begin in one and end in the next.
            let text = b"PING\r\n".repeat(PINGS);
            let (short, long) = text.split_at(text.len() / 4);
            for piece in short.chunks(101).chain(long.chunks(100_001)) {
                peer.write_all(piece).unwrap();
            }
            // Open until the other side has it all: an end of stream would wake it as well.
            listen.recv().unwrap();
        });
        let (mut inbox, mut pings) = (Inbox::with_capacity(64), 0);
        while pings < PINGS {
            stream.receive(&mut inbox).unwrap();
            while let Some(event) = inbox.next().unwrap() {
                assert_eq!(event, Event::Ping);
                pings += 1;
            }
            if pings < PINGS {
                await_ready(&stream, stream.interest());
            }
        }
        said_all.send(()).unwrap();
        peer.join().unwrap();
    }

    #[test]
    fn whatever_is_left_to_read_epoll_tells_of() {
        check_that_epoll_tells_of_everything(&rustls::version::TLS12);
        check_that_epoll_tells_of_everything(&rustls::version::TLS13);
    }

    #[track_caller]
    fn check_that_all_that_was_taken_leaves(version: &'static SupportedProtocolVersion) {
        let (mut stream, tell, peer) = deaf_pair(version);
        let bytes: Vec<u8> = (0..=250).cycle().take(64 << 20).collect();
        let mut taken = 0;
        while let more @ 1.. = stream.send(&bytes[taken..]).unwrap() {
            taken += more;
        }
        assert!(taken < bytes.len(), "what waits has a bound");
        tell.send(taken).unwrap();
        while stream.has_unsent() {
            assert_eq!(stream.interest(), Interest::ReadWrite);
            await_ready(&stream, Interest::Write);
            assert_eq!(stream.send(b"").unwrap(), 0);
        }
        assert!(peer.join().unwrap() == bytes[..taken], "of {taken} bytes");
    }

    #[test]
    fn whatever_was_taken_leaves_also_when_the_socket_was_full() {
        check_that_all_that_was_taken_leaves(&rustls::version::TLS12);
        check_that_all_that_was_taken_leaves(&rustls::version::TLS13);
    }
}
