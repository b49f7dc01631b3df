//! A loop around a ring that keeps a log of what came out, and drops leases in time.

use std::time::Duration;

use ring::{
    Batch, Completion, EndReason, Errno, Lease, Op, Outcome, Ring, Segment, SendMode, Socket, Token,
};

use super::{Peer, World};

/// What came out of the ring, with the bytes of leases copied.
#[derive(Debug)]
pub(crate) enum Seen {
    Accepted(Socket),
    AcceptEnded(Option<Errno>),
    Bytes(Vec<u8>),
    Ended(EndReason),
    Sent { batch: Batch, bytes: usize, error: Option<Errno>, copied: bool },
    HasRoom,
    Connected(Socket),
    ConnectFailed(Errno),
}

pub(crate) struct Bench<W: World> {
    pub(crate) world: W,
    pub(crate) log: Vec<(Token, Seen)>,
    /// Leases that a test holds on purpose.
    pub(crate) held: Vec<Lease>,
    pub(crate) holding: bool,
    done: Vec<Completion>,
    tokens: u32,
}

impl<W: World> Bench<W> {
    pub(crate) fn new(run: u64) -> Self {
        let (log, held, done) = (Vec::new(), Vec::new(), Vec::new());
        Self { world: W::new(run), log, held, holding: false, done, tokens: 0 }
    }

    /// A token that no operation has had.
    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token::new(self.tokens, 0xab_cdef ^ self.tokens)
    }

    pub(crate) fn push(&mut self, op: Op) -> Token {
        let token = self.token();
        self.world.ring().push(token, op);
        token
    }

    pub(crate) fn turn(&mut self) {
        self.turn_for(Duration::from_millis(10));
        self.world.pass();
    }

    pub(crate) fn turn_for(&mut self, wait: Duration) {
        let mut done = std::mem::take(&mut self.done);
        self.world.ring().turn(wait, &mut done).unwrap();
        for Completion { token, outcome } in done.drain(..) {
            let seen = self.see(outcome);
            self.log.push((token, seen));
        }
        self.done = done;
    }

    fn see(&mut self, outcome: Outcome) -> Seen {
        match outcome {
            Outcome::Accepted { socket, .. } => Seen::Accepted(socket),
            Outcome::AcceptEnded { error } => Seen::AcceptEnded(error),
            Outcome::Received { bytes } => {
                assert!(!bytes.is_empty(), "a receive of nothing");
                let copy = bytes.to_vec();
                if self.holding {
                    self.held.push(bytes);
                }
                Seen::Bytes(copy)
            }
            Outcome::ReceiveEnded { reason } => Seen::Ended(reason),
            Outcome::Sent { batch, bytes, error, copied, .. } => {
                Seen::Sent { batch, bytes, error, copied }
            }
            Outcome::HasRoom => Seen::HasRoom,
            Outcome::Connected { socket } => Seen::Connected(socket),
            Outcome::ConnectFailed { error } => Seen::ConnectFailed(error),
        }
    }

    /// Turns until `find` finds something.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, mut find: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..TURNS_MAX {
            if let Some(found) = find(self) {
                return found;
            }
            self.turn();
        }
        panic!("it did not happen within {TURNS_MAX} turns; log: {:?}", self.log);
    }

    /// Takes the first logged completion of `token` that `pick` takes.
    pub(crate) fn take<T>(&mut self, token: Token, pick: impl Fn(&Seen) -> Option<T>) -> Option<T> {
        let at = self.log.iter().position(|(of, seen)| *of == token && pick(seen).is_some())?;
        pick(&self.log.remove(at).1)
    }

    /// How many completions of `token` are in the log.
    pub(crate) fn count(&self, token: Token) -> usize {
        self.log.iter().filter(|(of, _)| *of == token).count()
    }

    /// All bytes logged for a receive, in order; the log keeps them.
    pub(crate) fn bytes(&self, token: Token) -> Vec<u8> {
        let pieces = self.log.iter().filter_map(|(of, seen)| match seen {
            Seen::Bytes(bytes) if *of == token => Some(bytes.as_slice()),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// Waits for the end of a receive; it must be the last that is heard of it.
    #[track_caller]
    pub(crate) fn end_of(&mut self, token: Token) -> EndReason {
        let reason = self.until(|bench| {
            bench.log.iter().find_map(|(of, seen)| match seen {
                Seen::Ended(reason) if *of == token => Some(*reason),
                _ => None,
            })
        });
        let last = self.log.iter().rfind(|(of, _)| *of == token);
        assert!(
            matches!(last, Some((_, Seen::Ended(_)))),
            "the end is not the last: {:?}",
            self.log
        );
        reason
    }

    /// Takes the end of a receive from the log, if it is there.
    pub(crate) fn take_end(&mut self, token: Token) -> Option<EndReason> {
        self.take(token, |seen| match seen {
            Seen::Ended(reason) => Some(*reason),
            _ => None,
        })
    }

    /// Waits for the end of a send.
    #[track_caller]
    pub(crate) fn sent(&mut self, token: Token) -> (Batch, usize, Option<Errno>) {
        self.until(|bench| bench.take_sent(token))
    }

    pub(crate) fn take_sent(&mut self, token: Token) -> Option<(Batch, usize, Option<Errno>)> {
        let at = self.log.iter().position(|(of, _)| *of == token)?;
        match self.log.remove(at).1 {
            Seen::Sent { batch, bytes, error, .. } => Some((batch, bytes, error)),
            other => panic!("a send ended as {other:?}"),
        }
    }

    /// Whether the socket has said that it has room.
    pub(crate) fn take_room(&mut self, token: Token) -> Option<()> {
        self.take(token, |seen| matches!(seen, Seen::HasRoom).then_some(()))
    }

    /// Sends all of a batch, in the given mode at first and then waiting, while the peer reads.
    #[track_caller]
    pub(crate) fn send_all(
        &mut self,
        socket: Socket,
        mut batch: Batch,
        mode: SendMode,
        peer: &mut W::Peer,
    ) -> Vec<u8> {
        let (mut mode, mut heard) = (mode, Vec::new());
        let total = batch.remaining();
        while batch.remaining() > 0 {
            let token = self.push(Op::Send { socket, batch, mode });
            let (back, bytes, error) = self.until(|bench| {
                peer.read(&mut heard);
                bench.take_sent(token)
            });
            assert_eq!(error, None);
            batch = back;
            batch.advance(bytes);
            mode = if mode == SendMode::Try { SendMode::Wait } else { mode };
        }
        self.until(|_| {
            peer.read(&mut heard);
            (heard.len() >= total).then_some(())
        });
        heard
    }

    /// Sends until the socket takes no more, and returns how much it took.
    #[track_caller]
    pub(crate) fn fill(&mut self, socket: Socket) -> usize {
        let mut total = 0;
        let mut refusals = 0;
        // A refusal may be a whim, and acknowledgements under way may still make room: the socket is
        // full when it refuses for a while.
        while refusals < 8 {
            let batch = megabytes(16);
            let token = self.push(Op::Send { socket, batch, mode: SendMode::Try });
            let (_, bytes, error) = self.sent(token);
            assert_eq!(error, None);
            refusals = if bytes == 0 { refusals + 1 } else { 0 };
            total += bytes;
            self.turn();
        }
        total
    }

    /// A connection: the peer, and the ring's socket.
    #[track_caller]
    pub(crate) fn connection(&mut self) -> (W::Peer, Socket) {
        let (listener, address) = self.world.listen();
        let accept = self.push(Op::Accept { listener });
        self.turn();
        let peer = self.world.dial(address);
        let socket = self.until(|bench| bench.take_accepted(accept));
        self.push_as(accept, Op::CancelReceive { socket: listener });
        let ended = self.until(|bench| bench.take(accept, accept_end));
        assert_eq!(ended, None);
        self.push(Op::Close { socket: listener });
        (peer, socket)
    }

    pub(crate) fn push_as(&mut self, token: Token, op: Op) {
        self.world.ring().push(token, op);
    }

    pub(crate) fn take_accepted(&mut self, token: Token) -> Option<Socket> {
        self.take(token, |seen| match seen {
            Seen::Accepted(socket) => Some(*socket),
            _ => None,
        })
    }

    /// Writes everything, while the ring turns.
    #[track_caller]
    pub(crate) fn write_all(&mut self, peer: &mut W::Peer, mut bytes: &[u8]) {
        self.until(|_| {
            let count = peer.write(bytes);
            bytes = &bytes[count..];
            bytes.is_empty().then_some(())
        });
    }

    /// Waits until a receive has brought so many bytes.
    #[track_caller]
    pub(crate) fn receive(&mut self, token: Token, count: usize) -> Vec<u8> {
        self.until(|bench| Some(bench.bytes(token)).filter(|bytes| bytes.len() >= count))
    }

    /// Shuts a socket down and closes it after its receive has ended.
    #[track_caller]
    pub(crate) fn close(&mut self, socket: Socket, receive: Option<Token>) {
        self.push(Op::Shutdown { socket, how: ring::Direction::Both });
        if let Some(receive) = receive {
            self.end_of(receive);
        }
        self.push(Op::Close { socket });
        self.turn();
    }
}

pub(crate) fn accept_end(seen: &Seen) -> Option<Option<Errno>> {
    match seen {
        Seen::AcceptEnded(error) => Some(*error),
        _ => None,
    }
}

/// Bytes in which every misplaced run shows.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

pub(crate) fn own(bytes: &[u8]) -> Batch {
    Batch::new(vec![Segment::Own(bytes.to_vec())])
}

/// A batch of so many MiB that takes up one.
fn megabytes(count: usize) -> Batch {
    let block = std::sync::Arc::new(vec![0x5a; 1 << 20]);
    let segment = Segment::Shared { block, start: 0, end: 1 << 20 };
    Batch::new(vec![segment; count])
}

/// Enough for every test and for the most unlucky seed.
const TURNS_MAX: usize = 20_000;
