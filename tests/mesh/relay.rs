//! A TCP relay between two nodes: a wire that is long, stuck, or dead.
//!
//! The relay knows no protocol. It adds a delay to what it passes on, stops reading one direction
//! as a peer without room would, or loses everything as a dead machine would. It can tell what it has
//! passed on.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::space::Space;

/// How many reads may be on their way in one direction of a connection. It bounds what a delayed
/// direction holds, and with it how much a fast sender gets rid of.
const IN_FLIGHT: usize = 64;

/// How the relay treats what comes in one direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It passes on.
    Pass,
    /// It is not read, so that the sender's buffers fill.
    Stall,
    /// It is read and lost.
    Lose,
}

/// A direction, seen from who dials.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// From the dialling side to the target.
    Out = 0,
    /// From the target back.
    Back = 1,
}

/// A relay on a port of its own; it ends, with all its connections, when dropped.
pub(crate) struct Relay {
    /// Where to dial it.
    pub(crate) address: SocketAddr,
    control: Arc<Control>,
}

struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    target: Option<SocketAddr>,
    /// Where the target is dialled from, if not from here.
    dial_from: Option<Arc<Space>>,
    flows: [Flow; 2],
    /// In each direction; the round trip takes twice that.
    delay: Duration,
    ended: bool,
    streams: Vec<TcpStream>,
    /// How many connections there were.
    connections: usize,
    /// What was passed on, by connection and direction; nothing while nobody wants to know.
    tape: Option<BTreeMap<(usize, usize), Vec<u8>>>,
}

impl Relay {
    /// A relay on loopback; connections wait until [`Self::lead_to`] names their target.
    pub(crate) fn new() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    /// A relay that takes connections in one network and dials in another, as a router does.
    pub(crate) fn between(outer: &Space, address: &str, inner: &Arc<Space>) -> Self {
        let listener = outer.enter(|| TcpListener::bind((address, 0)).unwrap());
        Self::listen(listener, Some(Arc::clone(inner)))
    }

    fn listen(listener: TcpListener, dial_from: Option<Arc<Space>>) -> Self {
        let state = State {
            target: None,
            dial_from,
            flows: [Flow::Pass; 2],
            delay: Duration::ZERO,
            ended: false,
            streams: Vec::new(),
            connections: 0,
            tape: None,
        };
        let address = listener.local_addr().unwrap();
        let control = Arc::new(Control { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&control);
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || accepting.accept_all(&listener));
        Self { address, control }
    }

    /// Says where connections go, those that wait and those that come.
    pub(crate) fn lead_to(&self, target: &str) {
        let target = target.parse().unwrap();
        self.control.change(|state| state.target = Some(target));
    }

    /// Makes the way long: a round trip takes this much more.
    pub(crate) fn set_round_trip(&self, time: Duration) {
        self.control.change(|state| state.delay = time / 2);
    }

    /// Treats one direction of all connections, old and new, in this way.
    pub(crate) fn set_flow(&self, way: Way, flow: Flow) {
        self.control.change(|state| state.flows[way as usize] = flow);
    }

    /// Ends all connections; those that come wait until [`Self::lead_to`] names their target again.
    pub(crate) fn cut(&self) {
        self.control.change(|state| {
            state.target = None;
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    /// Remembers from now on what is passed on.
    pub(crate) fn record(&self) {
        self.control.change(|state| state.tape = Some(BTreeMap::new()));
    }

    /// The lines that were passed on in one direction.
    pub(crate) fn lines(&self, way: Way) -> Vec<String> {
        let state = self.control.state.lock().unwrap();
        let heard = state.tape.iter().flatten().filter(|((_, of), _)| *of == way as usize);
        let lines = heard.flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'));
        lines.map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.control.change(|state| {
            state.ended = true;
            for stream in state.streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

impl Control {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn accept_all(self: Arc<Self>, listener: &TcpListener) {
        while !self.state.lock().unwrap().ended {
            match listener.accept() {
                Ok((dialler, _)) => {
                    let control = Arc::clone(&self);
                    std::thread::spawn(move || control.join(dialler));
                }
                Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
    }

    /// Dials the target and passes on in both directions.
    fn join(self: Arc<Self>, dialler: TcpStream) {
        dialler.set_nonblocking(false).unwrap();
        let state = self.state.lock().unwrap();
        let unknown = |state: &mut State| state.target.is_none() && !state.ended;
        let state = self.changed.wait_while(state, unknown).unwrap();
        let (target, dial_from) = (state.target, state.dial_from.clone());
        drop(state);
        let mut number = 0;
        self.change(|state| {
            number = state.connections;
            state.connections += 1;
        });
        let dial = || TcpStream::connect(target?).ok();
        let Some(target) = dial_from.map_or_else(dial, |space| space.enter(dial)) else { return };
        for stream in [&dialler, &target] {
            stream.set_nodelay(true).unwrap();
            self.change(|state| state.streams.push(stream.try_clone().unwrap()));
        }
        let back = (target.try_clone().unwrap(), dialler.try_clone().unwrap());
        for (way, (from, to)) in [(Way::Out, (dialler, target)), (Way::Back, back)] {
            let (queue, sent) = sync_channel(IN_FLIGHT);
            let control = Arc::clone(&self);
            std::thread::spawn(move || control.read_on((number, way), from, &queue));
            std::thread::spawn(move || write_on(&sent, to));
        }
    }

    fn read_on(
        &self,
        (number, way): (usize, Way),
        mut from: TcpStream,
        queue: &SyncSender<(Instant, Vec<u8>)>,
    ) {
        loop {
            let mut chunk = vec![0; 65_536];
            let read = from.read(&mut chunk).unwrap_or(0);
            chunk.truncate(read);
            let state = self.state.lock().unwrap();
            let stalled =
                |state: &mut State| state.flows[way as usize] == Flow::Stall && !state.ended;
            let mut state = self.changed.wait_while(state, stalled).unwrap();
            if let Some(tape) = state.tape.as_mut().filter(|_| read > 0) {
                tape.entry((number, way as usize)).or_default().extend_from_slice(&chunk);
            }
            let (flow, delay, ended) = (state.flows[way as usize], state.delay, state.ended);
            drop(state);
            if ended || read == 0 {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a delay of real connections")]
            let due = Instant::now() + delay;
            if flow == Flow::Pass && queue.send((due, chunk)).is_err() {
                return;
            }
        }
    }
}

/// Writes what is due until the other side of the queue is gone; then this direction ends.
fn write_on(queue: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    while let Ok((due, chunk)) = queue.recv() {
        #[expect(clippy::disallowed_methods, reason = "a delay of real connections")]
        while let Some(early) = due.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
        {
            std::thread::park_timeout(early);
        }
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
