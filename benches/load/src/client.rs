//! One connection to a server: the handshake, and from then on a socket that never waits.
//!
//! It knows no mode and no clock but the bound of the handshake.
//!
//! Invariant: after [`Client::dial`] the server has answered our PING, so it has seen CONNECT; after
//! [`Client::subscribe`] it has seen the subscription.

use crate::error::Fault;
use crate::sys::{self, Interest, Poller, SECOND_NS};
use crate::url::{Credentials, ServerUrl};
use crate::wire::{Event, Inbox, Message};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connect and each answer of the handshake may take.
pub(crate) const HANDSHAKE_NS_MAX: u64 = 10 * SECOND_NS;
/// Read buffer of a connection that carries load: one read takes what the kernel holds.
const BUSY_INBOX_BYTES: usize = 1 << 20;
/// Read buffer of a connection that says next to nothing: room for INFO.
const IDLE_INBOX_BYTES: usize = 2 << 10;
/// The answer to a PING.
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// A server, its name resolved once.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// # Errors
    /// [`Fault::Connect`] when the host's name is unknown.
    pub(crate) fn resolve(url: &ServerUrl) -> Result<Self, Fault> {
        match url.resolve() {
            Ok(address) => Ok(Self { url: url.clone(), address }),
            Err(error) => Err(connect_fault(url, error)),
        }
    }

    /// CONNECT and the PING whose answer says that it was taken.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut options = serde_json::json!({
            "verbose": false, "pedantic": false, "echo": true, "headers": true,
            "no_responders": true, "protocol": 1, "lang": "rust", "name": "ringmesh-load",
            "version": env!("CARGO_PKG_VERSION"),
        });
        match &self.url.credentials {
            Credentials::None => {}
            Credentials::Token(token) => options["auth_token"] = token.as_str().into(),
            Credentials::Password { user, password } => {
                options["user"] = user.as_str().into();
                options["pass"] = password.as_str().into();
            }
        }
        format!("CONNECT {options}\r\nPING\r\n").into_bytes()
    }
}

/// What a server says of itself in INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// Product and version, for reports.
    pub(crate) label: String,
    /// Largest payload it takes, in bytes.
    pub(crate) max_payload: u64,
}

impl ServerInfo {
    fn parse(json: &[u8]) -> Result<Self, Fault> {
        let wrong = |error| Fault::Protocol(format!("INFO is not JSON: {error}"));
        let info: serde_json::Value = serde_json::from_slice(json).map_err(wrong)?;
        if info["tls_required"] == true {
            return Err(Fault::Usage("the server requires TLS, which is not spoken here".into()));
        }
        let (product, version) = match info["ringmesh"].as_str() {
            Some(version) => ("ringmesh", version),
            None => ("nats-server", info["version"].as_str().unwrap_or("(version unknown)")),
        };
        let max_payload = info["max_payload"].as_u64().unwrap_or(1 << 20);
        Ok(Self { label: format!("{product} {version}"), max_payload })
    }
}

/// How much a connection is going to carry; it decides the size of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    Busy,
    Idle,
}

/// One session with a server.
pub(crate) struct Client {
    stream: TcpStream,
    inbox: Inbox,
    /// PINGs that the caller has to answer at the next place between two messages.
    pongs_owed: u32,
    /// For faults: which of the connections this is.
    whom: &'static str,
    pub(crate) info: ServerInfo,
}

impl Client {
    /// Connects, logs in and waits for the server's answer.
    ///
    /// # Errors
    /// [`Fault::Connect`] when there is no session within [`HANDSHAKE_NS_MAX`].
    pub(crate) fn dial(server: &Server, whom: &'static str, kind: Traffic) -> Result<Self, Fault> {
        let bound = Duration::from_nanos(HANDSHAKE_NS_MAX);
        let stream = TcpStream::connect_timeout(&server.address, bound)
            .map_err(|error| connect_fault(&server.url, error))?;
        let capacity = if kind == Traffic::Busy { BUSY_INBOX_BYTES } else { IDLE_INBOX_BYTES };
        let inbox = Inbox::with_capacity(capacity);
        let mut client = Self { stream, inbox, pongs_owed: 0, whom, info: ServerInfo::default() };
        client.log_in(server).map_err(|fault| match fault {
            Fault::Usage(_) | Fault::Machine { .. } => fault,
            Fault::Cut { why, .. } => connect_fault(&server.url, why),
            other => connect_fault(&server.url, other),
        })?;
        Ok(client)
    }

    fn log_in(&mut self, server: &Server) -> Result<(), Fault> {
        self.stream.set_nodelay(true).map_err(Fault::machine("TCP_NODELAY"))?;
        self.stream.set_nonblocking(true).map_err(Fault::machine("O_NONBLOCK"))?;
        self.send_all(&server.hello())?;
        self.await_pong()
    }

    /// Subscribes and waits until the server has it.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server closes, refuses, or does not answer in time.
    pub(crate) fn subscribe(&mut self, subject: &str) -> Result<(), Fault> {
        self.send_all(format!("SUB {subject} 1\r\nPING\r\n").as_bytes())?;
        self.await_pong()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads once what is there; false when nothing was.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server has closed.
    #[inline]
    pub(crate) fn receive(&mut self) -> Result<bool, Fault> {
        let room = self.inbox.room();
        match self.stream.read(room) {
            Ok(0) => Err(self.cut("closed without a word")),
            Ok(len) => {
                self.inbox.filled(len);
                Ok(true)
            }
            Err(error) if is_not_yet(&error) => Ok(false),
            Err(error) => Err(self.cut(error)),
        }
    }

    /// Hands every whole message that was received to `take`. PINGs are counted, see
    /// [`take_pong`](Self::take_pong).
    ///
    /// # Errors
    /// [`Fault::Cut`] on -ERR, [`Fault::Protocol`] on bytes that no server sends, and what `take` says.
    #[inline]
    pub(crate) fn take_messages(
        &mut self,
        mut take: impl FnMut(&Message<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some(event) = self.inbox.next()? {
            match event {
                Event::Message(message) => take(&message)?,
                Event::Ping => self.pongs_owed += 1,
                Event::Pong | Event::Info(_) => {}
                Event::Error(text) => return Err(cut(self.whom, text)),
            }
        }
        Ok(())
    }

    /// True once for each PING that waits for its PONG: the caller writes it between two messages.
    pub(crate) fn take_pong(&mut self) -> bool {
        let owed = self.pongs_owed > 0;
        self.pongs_owed -= u32::from(owed);
        owed
    }

    pub(crate) fn owes_pong(&self) -> bool {
        self.pongs_owed > 0
    }

    /// Answers the PINGs of a connection that does not publish.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server takes nothing any more.
    pub(crate) fn answer_pings(&mut self) -> Result<(), Fault> {
        while self.take_pong() {
            self.send_all(PONG)?;
        }
        Ok(())
    }

    /// Writes once as much as the kernel takes, which may be nothing.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server has closed.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match self.stream.write(bytes) {
            Ok(len) => Ok(len),
            Err(error) if is_not_yet(&error) => Ok(0),
            Err(error) => Err(self.cut_after_send(&error)),
        }
    }

    /// Writes everything, and waits for room where there is none.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server has closed, or takes nothing for [`HANDSHAKE_NS_MAX`].
    pub(crate) fn send_all(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let sent = self.send(bytes)?;
            bytes = &bytes[sent..];
            if sent == 0 && !self.is_ready(Interest::Write, HANDSHAKE_NS_MAX)? {
                return Err(self.cut("it takes no bytes any more"));
            }
        }
        Ok(())
    }

    fn await_pong(&mut self) -> Result<(), Fault> {
        let deadline = sys::now_ns() + HANDSHAKE_NS_MAX;
        loop {
            while let Some(event) = self.inbox.next()? {
                match event {
                    Event::Pong => return Ok(()),
                    Event::Info(json) => self.info = ServerInfo::parse(json)?,
                    Event::Error(text) => return Err(cut(self.whom, text)),
                    Event::Ping => self.pongs_owed += 1,
                    Event::Message(_) => {}
                }
            }
            let left = deadline.saturating_sub(sys::now_ns());
            if !self.receive()? && !self.is_ready(Interest::Read, left)? {
                return Err(self.cut("no answer in time"));
            }
        }
    }

    fn is_ready(&self, what: Interest, timeout_ns: u64) -> Result<bool, Fault> {
        let mut poller = Poller::new().map_err(Fault::machine("epoll"))?;
        poller.add(&self.stream, 0, what).map_err(Fault::machine("epoll"))?;
        let ready = poller.wait(timeout_ns).map_err(Fault::machine("epoll"))?.count();
        Ok(ready > 0)
    }

    /// Reads and drops what the server still has for us; true when it has closed the connection.
    /// Ends when nothing came for `quiet_ns`, or after `bytes_max`.
    ///
    /// # Errors
    /// When this process has no descriptor left to wait with.
    pub(crate) fn drain(&mut self, quiet_ns: u64, bytes_max: u64) -> Result<bool, Fault> {
        let (mut scrap, mut taken) = (vec![0; BUSY_INBOX_BYTES], 0);
        while taken < bytes_max {
            match self.stream.read(&mut scrap) {
                Ok(0) => return Ok(true),
                Ok(len) => taken += len as u64,
                Err(error) if !is_not_yet(&error) => return Ok(true),
                Err(_) if !self.is_ready(Interest::Read, quiet_ns)? => return Ok(false),
                Err(_) => {}
            }
        }
        Ok(false)
    }

    /// A failed send mostly means that the server closed a moment ago: its -ERR may still wait to be read.
    fn cut_after_send(&mut self, error: &io::Error) -> Fault {
        while matches!(self.receive(), Ok(true)) {
            if let Err(fault) = self.take_messages(|_| Ok(())) {
                return fault;
            }
        }
        self.cut(error)
    }

    fn cut(&self, why: impl ToString) -> Fault {
        cut(self.whom, why)
    }
}

/// Watches all of `clients` for reading, each by its place.
///
/// # Errors
/// When the kernel has no descriptor or memory for it.
pub(crate) fn watch(clients: &[Client]) -> Result<Poller, Fault> {
    let poller = Poller::new().map_err(Fault::machine("epoll"))?;
    for (key, client) in clients.iter().enumerate() {
        poller.add(&client.stream, key, Interest::Read).map_err(Fault::machine("epoll"))?;
    }
    Ok(poller)
}

fn cut(whom: &str, why: impl ToString) -> Fault {
    Fault::Cut { whom: whom.into(), why: why.to_string() }
}

pub(crate) fn connect_fault(url: &ServerUrl, why: impl ToString) -> Fault {
    Fault::Connect { to: url.to_string(), why: why.to_string() }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(info: &str, label: &str, max_payload: u64) {
        let expected = ServerInfo { label: label.into(), max_payload };
        assert_eq!(ServerInfo::parse(info.as_bytes()).unwrap(), expected, "{info}");
    }

    #[test]
    fn info_names_the_product_behind_the_compatible_version() {
        check(r#"{"version":"2.15.1","max_payload":1048576}"#, "nats-server 2.15.1", 1_048_576);
        check(r#"{"version":"2.15.1","ringmesh":"0.1.0","max_payload":9}"#, "ringmesh 0.1.0", 9);
    }

    #[test]
    fn a_server_that_insists_on_tls_is_refused_with_the_reason() {
        let fault = ServerInfo::parse(br#"{"tls_required":true}"#).unwrap_err();
        assert_eq!((fault.exit_code(), fault.to_string().contains("TLS")), (2, true));
    }

    #[test]
    fn connect_carries_the_login_of_the_url() {
        let hello = |url: &str| Server::resolve(&url.parse().unwrap()).unwrap().hello();
        let shown = |url| String::from_utf8(hello(url)).unwrap();
        assert!(shown("nats://a:b@127.0.0.1").contains(r#""pass":"b""#));
        assert!(shown("nats://t0@127.0.0.1").contains(r#""auth_token":"t0""#));
        assert!(!shown("nats://127.0.0.1").contains("user"));
    }
}
