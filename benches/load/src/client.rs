//! One connection to a server: INFO, TLS where it is wanted, CONNECT, and from then on a socket that never waits.
//!
//! It knows no mode and no clock but the bound of the handshake.
//!
//! Invariant: after [`Client::dial`] the server has answered our PING, so it has seen CONNECT; after
//! [`Client::subscribe`] it has seen the subscription. The login leaves only when INFO has told whether it needs TLS.

use crate::error::Fault;
use crate::server::{Server, ServerInfo, connect_fault};
use crate::stream::Stream;
use crate::sys::{self, Interest, Poller, SECOND_NS};
use crate::wire::{Event, Inbox, Message};
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// How long a connect and each answer of the handshake may take.
pub(crate) const HANDSHAKE_NS_MAX: u64 = 10 * SECOND_NS;
/// Read buffer of a connection that carries load: one read takes what the kernel holds.
const BUSY_INBOX_BYTES: usize = 1 << 20;
/// Read buffer of a connection that says next to nothing: room for INFO.
const IDLE_INBOX_BYTES: usize = 2 << 10;
/// The answer to a PING.
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// How much a connection is going to carry; it decides the size of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    Busy,
    Idle,
}

/// What the handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Info,
    Pong,
}

/// One session with a server.
pub(crate) struct Client {
    stream: Stream,
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
        let socket = TcpStream::connect_timeout(&server.address, bound)
            .map_err(|error| connect_fault(&server.url, error))?;
        socket.set_nodelay(true).map_err(Fault::machine("TCP_NODELAY"))?;
        socket.set_nonblocking(true).map_err(Fault::machine("O_NONBLOCK"))?;
        let stream = Stream::new(socket);
        let capacity = if kind == Traffic::Busy { BUSY_INBOX_BYTES } else { IDLE_INBOX_BYTES };
        let inbox = Inbox::with_capacity(capacity);
        let mut client = Self { stream, inbox, pongs_owed: 0, whom, info: ServerInfo::default() };
        client.log_in(server).map_err(|fault| match fault {
            Fault::Connect { .. } | Fault::Machine { .. } => fault,
            Fault::Cut { why, .. } => connect_fault(&server.url, why),
            other => connect_fault(&server.url, other),
        })?;
        Ok(client)
    }

    fn log_in(&mut self, server: &Server) -> Result<(), Fault> {
        if server.tls.first {
            server.secure(&mut self.stream, &self.inbox)?;
        }
        self.await_info(server.tls.first)?;
        if server.upgrades(&self.info)? {
            server.secure(&mut self.stream, &self.inbox)?;
        }
        self.send_all(&server.hello())?;
        self.await_answer(Answer::Pong)
    }

    /// Subscribes and waits until the server has it.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server closes, refuses, or does not answer in time.
    pub(crate) fn subscribe(&mut self, subject: &str) -> Result<(), Fault> {
        self.send_all(format!("SUB {subject} 1\r\nPING\r\n").as_bytes())?;
        self.await_answer(Answer::Pong)
    }

    /// For epoll; see [`Stream`] for what it tells.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    /// Reads once what is there; false when nothing was.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server has closed.
    #[inline]
    pub(crate) fn receive(&mut self) -> Result<bool, Fault> {
        self.stream.receive(&mut self.inbox).map_err(|error| self.cut(error))
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

    /// Writes once as much as the socket takes, which may be nothing. See [`has_unsent`](Self::has_unsent).
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server has closed.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        self.stream.send(bytes).map_err(|error| self.cut_after_send(&error))
    }

    /// Whether something of what was sent still has to leave, which the next [`send`](Self::send) brings
    /// about, even one of nothing. Only under TLS.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.stream.has_unsent()
    }

    /// Writes everything, and waits for room where there is none.
    ///
    /// # Errors
    /// [`Fault::Cut`] when the server has closed, or takes nothing for [`HANDSHAKE_NS_MAX`].
    pub(crate) fn send_all(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            let sent = self.send(bytes)?;
            bytes = &bytes[sent..];
            if bytes.is_empty() && !self.has_unsent() {
                return Ok(());
            }
            if sent == 0 && !self.is_ready(Interest::Write, HANDSHAKE_NS_MAX)? {
                return Err(self.cut("it takes no bytes any more"));
            }
        }
    }

    fn await_info(&mut self, tls_first: bool) -> Result<(), Fault> {
        let hint = if tls_first { "" } else { "; a server that waits for TLS needs --tls-first" };
        self.await_answer(Answer::Info).map_err(|fault| match fault {
            Fault::Cut { whom, why } => Fault::Cut { whom, why: why + hint },
            other => other,
        })
    }

    fn await_answer(&mut self, awaited: Answer) -> Result<(), Fault> {
        let deadline = sys::now_ns() + HANDSHAKE_NS_MAX;
        loop {
            while let Some(event) = self.inbox.next()? {
                let came = match event {
                    Event::Info(json) => {
                        self.info = ServerInfo::parse(json)?;
                        Answer::Info
                    }
                    Event::Pong => Answer::Pong,
                    Event::Error(text) => return Err(cut(self.whom, text)),
                    Event::Ping => {
                        self.pongs_owed += 1;
                        continue;
                    }
                    Event::Message(_) => continue,
                };
                if came == awaited {
                    return Ok(());
                }
            }
            let left = deadline.saturating_sub(sys::now_ns());
            if !self.receive()? && !self.is_ready(self.stream.interest(), left)? {
                return Err(self.cut("no answer in time"));
            }
        }
    }

    fn is_ready(&self, what: Interest, timeout_ns: u64) -> Result<bool, Fault> {
        let mut poller = Poller::new().map_err(Fault::machine("epoll"))?;
        poller.add(self.socket(), 0, what).map_err(Fault::machine("epoll"))?;
        let ready = poller.wait(timeout_ns).map_err(Fault::machine("epoll"))?.count();
        Ok(ready > 0)
    }

    /// Reads and drops what the server still has for us, which nothing is received after; true when it has
    /// closed the connection. Ends when nothing came for `quiet_ns`, or after `bytes_max`.
    ///
    /// # Errors
    /// When this process has no descriptor left to wait with.
    pub(crate) fn drain(&mut self, quiet_ns: u64, bytes_max: u64) -> Result<bool, Fault> {
        let (mut scrap, mut taken) = (vec![0; BUSY_INBOX_BYTES], 0);
        while taken < bytes_max {
            match self.stream.scrap(&mut scrap) {
                Ok(0) if !self.is_ready(Interest::Read, quiet_ns)? => return Ok(false),
                Ok(len) => taken += len as u64,
                Err(_) => return Ok(true),
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
        poller.add(client.socket(), key, Interest::Read).map_err(Fault::machine("epoll"))?;
    }
    Ok(poller)
}

fn cut(whom: &str, why: impl ToString) -> Fault {
    Fault::Cut { whom: whom.into(), why: why.to_string() }
}

#[cfg(test)]
impl Client {
    /// A session on a stream that needs no login.
    pub(crate) fn over(stream: Stream) -> Self {
        let inbox = Inbox::with_capacity(IDLE_INBOX_BYTES);
        Self { stream, inbox, pongs_owed: 0, whom: "a test", info: ServerInfo::default() }
    }
}
