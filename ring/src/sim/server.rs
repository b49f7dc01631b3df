//! Virtual servers: an address, a table of descriptors, and the rings that share them.
//!
//! Several rings of one server are its shards: a socket that one of them accepted can be used by
//! another, as threads of one process can. A number that was closed is given out again at once, the
//! least first.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::network::{EndId, Owner};
use super::rng::Rng;
use super::world::{ListenerOwner, World};
use crate::block::LeasePool;
use crate::{Batch, Completion, Doorbell, Errno, Op, SendMode, Socket, Time, Token};

pub(super) struct Server {
    pub(super) ip: IpAddr,
    pub(super) is_up: bool,
    table: Vec<Option<Descriptor>>,
    /// How far its clock has jumped ahead of the world's.
    pub(super) clock_ahead: Duration,
}

enum Descriptor {
    Listener(Listener),
    Stream(Stream),
}

pub(super) struct Listener {
    address: SocketAddr,
    pub(super) backlog: VecDeque<EndId>,
    pub(super) accepts: Vec<Accept>,
    /// Accepts that were pushed and have not ended.
    pub(super) busy: usize,
    closing: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Accept {
    pub(super) ring: usize,
    pub(super) token: Token,
    pub(super) cancelled: bool,
    /// No turn has looked at it yet.
    pub(super) fresh: bool,
}

pub(super) struct Stream {
    pub(super) end: EndId,
    pub(super) receive: Option<Receive>,
    /// A receive was pushed and has not ended.
    pub(super) receiving: bool,
    pub(super) send: Option<Sending>,
    /// A send was pushed and has not ended.
    pub(super) sending: bool,
    closing: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Receive {
    pub(super) ring: usize,
    pub(super) token: Token,
    pub(super) cancelled: bool,
    /// It ends after one piece.
    pub(super) once: bool,
    /// No turn has looked at it yet.
    pub(super) fresh: bool,
}

pub(super) struct Sending {
    pub(super) ring: usize,
    pub(super) token: Token,
    pub(super) what: Leaving,
    /// The bytes are taken, and this is when the kernel lets go of them.
    pub(super) notice: Option<Notice>,
}

/// What the sending direction of a connection is busy with.
pub(super) enum Leaving {
    Batch(Batch, SendMode),
    /// Nothing yet: it waits for room.
    Nothing,
}

#[derive(Clone, Copy)]
pub(super) struct Notice {
    pub(super) at: Time,
    pub(super) bytes: usize,
    pub(super) copied: bool,
}

/// What the world keeps about a ring.
pub(super) struct RingState {
    pub(super) server: usize,
    pub(super) bell: Doorbell,
    /// The bell was rung, and no turn has ended by it yet.
    pub(super) rung: bool,
    pub(super) pushed: Vec<(Token, Op)>,
    /// Sends that were over before it fell asleep.
    pub(super) untold: Vec<Completion>,
    pub(super) dialed: VecDeque<(Token, Result<EndId, Errno>)>,
    /// The numbers of sockets where something has changed since a look found nothing to do: all
    /// that have something to do are among them.
    pub(super) touched: BTreeSet<usize>,
    /// Operations pushed that have not had their final completion.
    pub(super) in_flight: usize,
    /// The last turn found nothing; this is how long it wanted to wait.
    pub(super) asleep_until: Option<Time>,
    /// How often it has wanted to wait.
    pub(super) sleeps: u64,
    pub(super) now: Time,
    pub(super) leases: Rc<LeaseCount>,
    pub(super) seeds: Rng,
    pub(super) is_dropped: bool,
}

/// How many leases of a ring are held, of how many there are.
pub(super) struct LeaseCount {
    held: Cell<usize>,
    max: usize,
}

impl LeaseCount {
    pub(super) fn new(max: usize) -> Self {
        Self { held: Cell::new(0), max }
    }

    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.held() >= self.max
    }

    pub(super) fn take(&self) {
        self.held.set(self.held() + 1);
    }
}

impl LeasePool for LeaseCount {
    fn bytes(&self, _id: u16, _len: u32) -> &[u8] {
        &[]
    }

    fn give_back(&self, _id: u16) {
        self.held.set(self.held() - 1);
    }
}

impl Server {
    pub(super) const fn new(ip: IpAddr) -> Self {
        Self { ip, is_up: true, table: Vec::new(), clock_ahead: Duration::ZERO }
    }

    pub(super) fn listener(&mut self, number: usize) -> Option<&mut Listener> {
        match self.table.get_mut(number)? {
            Some(Descriptor::Listener(listener)) => Some(listener),
            Some(Descriptor::Stream(_)) | None => None,
        }
    }

    pub(super) fn stream(&mut self, number: usize) -> Option<&mut Stream> {
        match self.table.get_mut(number)? {
            Some(Descriptor::Stream(stream)) => Some(stream),
            Some(Descriptor::Listener(_)) | None => None,
        }
    }

    /// All numbers that sockets may have.
    #[cfg(test)]
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.table.len()
    }

    pub(super) fn listener_ref(&self, number: usize) -> Option<&Listener> {
        match self.table.get(number)? {
            Some(Descriptor::Listener(listener)) => Some(listener),
            Some(Descriptor::Stream(_)) | None => None,
        }
    }

    pub(super) fn stream_ref(&self, number: usize) -> Option<&Stream> {
        match self.table.get(number)? {
            Some(Descriptor::Stream(stream)) => Some(stream),
            Some(Descriptor::Listener(_)) | None => None,
        }
    }

    /// How many descriptors are open.
    pub(super) fn open(&self) -> usize {
        self.table.iter().flatten().count()
    }

    /// The rings that have something in flight on a socket; some of them more than once.
    fn busy_on(&self, number: usize) -> impl Iterator<Item = usize> {
        let descriptor = self.table.get(number).and_then(Option::as_ref);
        let (accepts, receive, send) = match descriptor {
            Some(Descriptor::Listener(it)) => (it.accepts.as_slice(), None, None),
            Some(Descriptor::Stream(it)) => (
                [].as_slice(),
                it.receive.map(|receive| receive.ring),
                it.send.as_ref().map(|send| send.ring),
            ),
            None => ([].as_slice(), None, None),
        };
        accepts.iter().map(|accept| accept.ring).chain(receive).chain(send)
    }

    /// A number for a descriptor, unless the table is full.
    fn insert(&mut self, descriptor: Descriptor, max: usize) -> Option<usize> {
        if self.open() >= max {
            return None;
        }
        while self.table.len() <= NUMBER_FIRST {
            self.table.push(None);
        }
        let vacant = (NUMBER_FIRST..self.table.len()).find(|it| self.table[*it].is_none());
        let number = vacant.unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() - 1
        });
        self.table[number] = Some(descriptor);
        Some(number)
    }

    /// Checks that an operation keeps the caller's side of the contract, and notes what it occupies.
    ///
    /// # Panics
    /// When it does not: that is a bug in the caller, which a kernel would turn into corruption.
    pub(super) fn claim(&mut self, op: &Op) {
        match op {
            Op::Connect { .. } => {}
            Op::Accept { listener } => {
                let listener = self.listener(number(*listener)).filter(|it| !it.closing);
                listener.expect("an accept on something that is no open listener").busy += 1;
            }
            Op::Receive { socket } | Op::ReceiveOnce { socket } => {
                let stream = self.open_stream(*socket, "a receive");
                assert!(!stream.receiving, "two receives in flight on {socket:?}");
                stream.receiving = true;
            }
            Op::Send { socket, .. } | Op::AwaitRoom { socket } => {
                let stream = self.open_stream(*socket, "a send");
                assert!(!stream.sending, "two sends in flight on {socket:?}");
                stream.sending = true;
            }
            Op::CancelReceive { socket } => self.assert_open(*socket),
            Op::Fit { socket, .. } => self.assert_open(*socket),
            Op::Shutdown { socket, .. } => {
                self.open_stream(*socket, "a shutdown");
            }
            Op::Close { socket } => self.claim_close(*socket),
        }
    }

    fn open_stream(&mut self, socket: Socket, what: &str) -> &mut Stream {
        let stream = self.stream(number(socket)).filter(|stream| !stream.closing);
        stream.unwrap_or_else(|| panic!("{what} on {socket:?}, which is no open connection"))
    }

    fn assert_open(&self, socket: Socket) {
        let is_open = match self.table.get(number(socket)).and_then(Option::as_ref) {
            Some(Descriptor::Listener(listener)) => !listener.closing,
            Some(Descriptor::Stream(stream)) => !stream.closing,
            None => false,
        };
        assert!(is_open, "an operation on {socket:?}, which is not open");
    }

    fn claim_close(&mut self, socket: Socket) {
        self.assert_open(socket);
        match self.table[number(socket)].as_mut() {
            Some(Descriptor::Listener(listener)) => {
                assert!(listener.busy == 0, "{socket:?} is closed with an accept in flight");
                listener.closing = true;
            }
            Some(Descriptor::Stream(stream)) => {
                assert!(!stream.receiving, "{socket:?} is closed with a receive in flight");
                assert!(!stream.sending, "{socket:?} is closed with a send in flight");
                stream.closing = true;
            }
            None => {}
        }
    }
}

impl Stream {
    const fn new(end: EndId) -> Self {
        let (receive, send) = (None, None);
        Self { end, receive, receiving: false, send, sending: false, closing: false }
    }
}

/// Descriptors of servers.
impl World {
    /// A new server.
    pub(super) fn add_server(&mut self, ip: IpAddr) -> usize {
        let taken = self.servers.iter().any(|server| server.is_up && server.ip == ip);
        assert!(!taken, "a server has the address {ip} already");
        self.servers.push(Server::new(ip));
        self.servers.len() - 1
    }

    /// A socket of a server for an end, unless the server has no descriptor left.
    pub(super) fn adopt(&mut self, server: usize, end: EndId) -> Option<Socket> {
        let max = self.options.descriptors_max;
        let stream = Descriptor::Stream(Stream::new(end));
        let number = self.servers[server].insert(stream, max)?;
        self.end(end).owner = Owner::Socket;
        self.end(end).socket = Some((server, number));
        Some(socket(number))
    }

    pub(super) fn listen(
        &mut self,
        server: usize,
        address: SocketAddr,
    ) -> io::Result<(Socket, SocketAddr)> {
        let mut address = self.as_reached_from(server, address);
        while address.port() == 0 || self.listeners.contains_key(&address) {
            if address.port() != 0 {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            address = self.fresh_address(address.ip());
        }
        let max = self.options.descriptors_max;
        let (backlog, accepts) = (VecDeque::new(), Vec::new());
        let listener = Listener { address, backlog, accepts, busy: 0, closing: false };
        let number = self.servers[server].insert(Descriptor::Listener(listener), max);
        let number = number.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
        self.listeners.insert(address, ListenerOwner::Socket { server, number });
        Ok((socket(number), address))
    }

    /// Something has changed at a socket: who has something in flight there looks at it again.
    pub(super) fn touch_socket(&mut self, server: usize, number: usize) {
        let (servers, rings) = (&self.servers, &mut self.rings);
        for ring in servers[server].busy_on(number) {
            rings[ring].touched.insert(number);
        }
    }

    /// Where an address leads from a server: loopback and "any" lead to itself.
    pub(super) fn as_reached_from(&self, server: usize, address: SocketAddr) -> SocketAddr {
        let is_own = address.ip().is_loopback() || address.ip().is_unspecified();
        let ip = if is_own { self.servers[server].ip } else { address.ip() };
        SocketAddr::new(ip, address.port())
    }

    /// Frees a descriptor, as a kernel does.
    pub(super) fn close(&mut self, server: usize, number: usize) {
        match self.servers[server].table[number].take() {
            Some(Descriptor::Stream(stream)) => self.close_end(stream.end),
            Some(Descriptor::Listener(listener)) => {
                self.listeners.remove(&listener.address);
                for end in listener.backlog {
                    self.reset(end);
                    self.end(end).owner = Owner::Gone;
                }
            }
            None => {}
        }
    }

    /// A server is gone: its process dies and the kernel closes everything, or (`silently`) the whole
    /// machine disappears and nobody is told.
    pub(super) fn bring_down(&mut self, server: usize, silently: bool) {
        self.servers[server].is_up = false;
        let mut ends = BTreeSet::new();
        for descriptor in self.servers[server].table.iter().flatten() {
            match descriptor {
                Descriptor::Stream(stream) => ends.insert(stream.end),
                Descriptor::Listener(listener) => {
                    ends.extend(&listener.backlog);
                    false
                }
            };
        }
        let rings = self.rings.iter_mut().filter(|ring| ring.server == server);
        for ring in rings {
            ring.pushed.clear();
            ends.extend(ring.dialed.drain(..).filter_map(|(_, dialed)| dialed.ok()));
        }
        for end in ends {
            if silently {
                self.vanish(end);
            }
            self.close_end(end);
        }
        for number in 0..self.servers[server].table.len() {
            self.close(server, number);
        }
    }

    /// The two addresses of a connection, this side's first.
    pub(super) fn addresses(
        &mut self,
        server: usize,
        socket: Socket,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let end = self.servers[server].stream(number(socket))?.end;
        Some((self.end_ref(end).address, self.end_ref(end.other()).address))
    }
}

/// The table's index of a socket.
pub(super) fn number(socket: Socket) -> usize {
    usize::try_from(socket.0).unwrap_or(usize::MAX)
}

pub(super) fn socket(number: usize) -> Socket {
    Socket(i32::try_from(number).unwrap_or(i32::MAX))
}

/// Below it are the standard streams.
const NUMBER_FIRST: usize = 3;
