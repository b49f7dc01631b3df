//! The open loop: messages leave at the times of a plan, whatever the server does, and their latency counts from the plan.
//!
//! A publisher that is late sends all that is due in one piece, as client libraries do, and what came late by
//! that has its waiting time in the histogram: nothing is omitted because the server was slow.
//!
//! Invariant: stamps ascend strictly, so a message that comes twice or out of order is noticed.

use crate::args::Wait;
use crate::client::{Client, PONG};
use crate::error::Fault;
use crate::latency::Latencies;
use crate::progress::Progress;
use crate::sys::{self, Interest, Poller, SECOND_NS};
use crate::wire::encode_pub;

/// Bytes of messages that are sent in one piece.
const BURST_BYTES_MAX: usize = 64 << 10;
/// The stamp: eight bytes at the front of the payload.
const STAMP_BYTES: usize = 8;
/// How often a spinning load looks after the publisher's PINGs.
const LOOK_ROUND_NS: u64 = 20_000_000;
/// Longest sleep: after it the bound of the run is looked at again.
const SLEEP_NS_MAX: u64 = 100_000_000;
/// Sleep while the socket takes nothing.
const BLOCKED_SLEEP_NS: u64 = 200_000;

/// When each message is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    start_ns: u64,
    gap_ns: f64,
    /// Messages in all.
    pub(crate) count: u64,
}

impl Plan {
    /// `rate` messages a second for `duration_ns`, from `start_ns` on; at least one message.
    pub(crate) fn new(start_ns: u64, rate: f64, duration_ns: u64) -> Self {
        let gap_ns = SECOND_NS as f64 / rate;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let count = ((duration_ns as f64 / gap_ns).round() as u64).max(1);
        Self { start_ns, gap_ns, count }
    }

    /// The time of message `number`, counted from 0; each is computed anew, so that no error adds up.
    #[inline]
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let offset = (number as f64 * self.gap_ns) as u64;
        self.start_ns + offset
    }

    /// Messages due before this time warm up: the first tenth.
    fn recorded_from_ns(&self) -> u64 {
        self.due_ns(self.count / 10)
    }

    fn end_ns(&self) -> u64 {
        self.due_ns(self.count)
    }
}

/// A subscription and what it has got.
pub(crate) struct Subscriber {
    pub(crate) client: Client,
    got: u64,
    stamp: u64,
    disordered: u64,
}

impl Subscriber {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, got: 0, stamp: 0, disordered: 0 }
    }

    /// Reads once and records; returns how many messages came.
    #[inline]
    fn receive(&mut self, recorded_from: u64, latencies: &mut Latencies) -> Result<u64, Fault> {
        if !self.client.receive()? {
            return Ok(0);
        }
        let before = self.got;
        let Self { client, got, stamp, disordered } = self;
        client.take_messages(|message| {
            let sent = stamp_of(message.body)?;
            *disordered += u64::from(sent <= *stamp);
            *stamp = sent;
            *got += 1;
            if sent >= recorded_from {
                latencies.record(sys::now_ns().saturating_sub(sent));
            }
            Ok(())
        })?;
        self.client.answer_pings()?;
        Ok(self.got - before)
    }
}

fn stamp_of(body: &[u8]) -> Result<u64, Fault> {
    let stamp = body.first_chunk::<STAMP_BYTES>();
    let wrong = || Fault::Protocol("a message that this program did not publish".into());
    stamp.map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(wrong)
}

/// Equal messages side by side, ready to be sent as one piece: only the stamps change.
struct Burst {
    bytes: Vec<u8>,
    frame_len: usize,
    stamp_at: usize,
    filled: usize,
    written: usize,
    /// The kernel did not take the last piece at once.
    blocked: bool,
}

impl Burst {
    fn new(subject: &str, body: &[u8]) -> Self {
        let mut frame = Vec::new();
        encode_pub(&mut frame, subject.as_bytes(), None, body);
        let frames = (BURST_BYTES_MAX / frame.len()).max(1);
        let (frame_len, stamp_at) = (frame.len(), frame.len() - 2 - body.len());
        let bytes = frame.repeat(frames);
        Self { bytes, frame_len, stamp_at, filled: 0, written: 0, blocked: false }
    }

    fn has_room(&self) -> bool {
        self.written == 0 && self.filled + self.frame_len <= self.bytes.len()
    }

    fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn push(&mut self, stamp: u64) {
        let at = self.filled + self.stamp_at;
        self.bytes[at..at + STAMP_BYTES].copy_from_slice(&stamp.to_le_bytes());
        self.filled += self.frame_len;
    }

    fn send(&mut self, publisher: &mut Client) -> Result<(), Fault> {
        if self.filled == 0 {
            return Ok(());
        }
        self.written += publisher.send(&self.bytes[self.written..self.filled])?;
        self.blocked = self.written < self.filled || publisher.has_unsent();
        if !self.blocked {
            (self.filled, self.written) = (0, 0);
        }
        Ok(())
    }
}

/// What an open loop needs besides its connections.
pub(crate) struct Pace<'a> {
    pub(crate) subject: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) rate: f64,
    pub(crate) duration_ns: u64,
    pub(crate) lost_after_ns: u64,
    pub(crate) wait: Wait,
}

/// What an open loop found.
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) latencies: Latencies,
    /// Messages lost or disordered.
    pub(crate) fault: Option<Fault>,
}

/// Publishes by the plan and receives until everything came, or the bound after the plan's end is over.
///
/// # Errors
/// [`Fault::Cut`] when the server closes one of the connections; lost messages are in the [`Outcome`].
pub(crate) fn run(
    pace: &Pace<'_>,
    publisher: &mut Client,
    subscribers: &mut [Subscriber],
    progress: &Progress,
) -> Result<Outcome, Fault> {
    let mut poller = Poller::new().map_err(Fault::machine("epoll"))?;
    let watch = |client: &Client, key| {
        poller.add(client.socket(), key, Interest::Read).map_err(Fault::machine("epoll"))
    };
    for (key, subscriber) in subscribers.iter_mut().enumerate() {
        (subscriber.got, subscriber.disordered) = (0, 0);
        watch(&subscriber.client, key)?;
    }
    watch(publisher, subscribers.len())?;
    let plan = Plan::new(sys::now_ns(), pace.rate, pace.duration_ns);
    let mut open_loop = Loop {
        pace,
        plan,
        publisher,
        subscribers,
        burst: Burst::new(pace.subject, pace.body),
        sent: 0,
        delivered: 0,
        stamp: 0,
        looked_round_ns: 0,
        latencies: Latencies::new(),
    };
    open_loop.turn_until_done(&mut poller, progress)?;
    Ok(open_loop.outcome())
}

struct Loop<'a> {
    pace: &'a Pace<'a>,
    plan: Plan,
    publisher: &'a mut Client,
    subscribers: &'a mut [Subscriber],
    burst: Burst,
    /// Messages put into bursts.
    sent: u64,
    /// Messages received by all subscribers together.
    delivered: u64,
    /// The last stamp given.
    stamp: u64,
    looked_round_ns: u64,
    latencies: Latencies,
}

impl Loop<'_> {
    fn turn_until_done(&mut self, poller: &mut Poller, progress: &Progress) -> Result<(), Fault> {
        let wanted = self.plan.count * self.subscribers.len() as u64;
        let give_up_ns = self.plan.end_ns() + self.pace.lost_after_ns;
        while self.delivered < wanted || !self.burst.is_empty() {
            let now = sys::now_ns();
            if now > give_up_ns {
                break;
            }
            self.publish_due(now)?;
            progress.set(self.sent);
            match self.pace.wait {
                Wait::Spin => self.receive_spinning(poller, now)?,
                Wait::Sleep => self.receive_ready(poller, self.sleep_ns(now))?,
            }
        }
        Ok(())
    }

    fn publish_due(&mut self, now: u64) -> Result<(), Fault> {
        if self.burst.is_empty() && self.publisher.owes_pong() {
            self.answer_ping()?;
        }
        while self.sent < self.plan.count && self.burst.has_room() {
            let due = self.plan.due_ns(self.sent);
            if due > now {
                break;
            }
            let counts_from = match self.pace.wait {
                Wait::Sleep if !self.burst.blocked => now,
                Wait::Sleep | Wait::Spin => due,
            };
            self.stamp = counts_from.max(self.stamp + 1);
            self.burst.push(self.stamp);
            self.sent += 1;
        }
        self.burst.send(self.publisher)
    }

    /// Between two bursts, so never inside a message.
    fn answer_ping(&mut self) -> Result<(), Fault> {
        if self.publisher.take_pong() {
            self.publisher.send_all(PONG)?;
        }
        Ok(())
    }

    fn sleep_ns(&self, now: u64) -> u64 {
        if !self.burst.is_empty() {
            return BLOCKED_SLEEP_NS;
        }
        if self.sent == self.plan.count {
            return SLEEP_NS_MAX;
        }
        self.plan.due_ns(self.sent).saturating_sub(now).min(SLEEP_NS_MAX)
    }

    /// One subscriber is asked directly; of several, epoll tells which ones to ask.
    fn receive_spinning(&mut self, poller: &mut Poller, now: u64) -> Result<(), Fault> {
        if let [only] = &mut *self.subscribers {
            let recorded_from = self.plan.recorded_from_ns();
            self.delivered += only.receive(recorded_from, &mut self.latencies)?;
            if now - self.looked_round_ns < LOOK_ROUND_NS {
                return Ok(());
            }
            self.looked_round_ns = now;
        }
        self.receive_ready(poller, 0)
    }

    fn receive_ready(&mut self, poller: &mut Poller, timeout_ns: u64) -> Result<(), Fault> {
        let recorded_from = self.plan.recorded_from_ns();
        for ready in poller.wait(timeout_ns).map_err(Fault::machine("epoll"))? {
            match self.subscribers.get_mut(ready.key) {
                Some(subscriber) => {
                    self.delivered += subscriber.receive(recorded_from, &mut self.latencies)?;
                }
                None => {
                    self.publisher.receive()?;
                    self.publisher.take_messages(|_| Ok(()))?;
                }
            }
        }
        Ok(())
    }

    fn outcome(self) -> Outcome {
        let wanted = self.plan.count * self.subscribers.len() as u64;
        let disordered: u64 = self.subscribers.iter().map(|one| one.disordered).sum();
        let fault = if self.delivered < wanted {
            Some(Fault::Lost { came: self.delivered, wanted })
        } else if disordered > 0 || self.delivered > wanted {
            Some(Fault::Disordered { messages: disordered.max(self.delivered - wanted) })
        } else {
            None
        };
        Outcome { sent: self.sent, delivered: self.delivered, latencies: self.latencies, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::tests::unheard;

    #[test]
    fn a_plan_keeps_its_rate_without_drift() {
        let plan = Plan::new(1000, 3.0, 2 * SECOND_NS);
        assert_eq!(plan.count, 6);
        assert_eq!(plan.due_ns(0), 1000);
        assert_eq!(plan.due_ns(3), 1000 + SECOND_NS);
        assert_eq!(plan.due_ns(3_000_000), 1000 + 1_000_000 * SECOND_NS);
        assert_eq!(Plan::new(0, 0.1, SECOND_NS).count, 1);
    }

    #[test]
    fn the_first_tenth_is_not_recorded() {
        let plan = Plan::new(0, 1000.0, SECOND_NS);
        assert_eq!(plan.recorded_from_ns(), SECOND_NS / 10);
        assert_eq!(plan.end_ns(), SECOND_NS);
    }

    #[test]
    fn a_burst_holds_stamped_messages_side_by_side() {
        let mut burst = Burst::new("a", b"01234567rest");
        burst.push(1);
        burst.push(u64::MAX);
        let sent = &burst.bytes[..burst.filled];
        let expected = [&b"PUB a 12\r\n"[..], &1u64.to_le_bytes(), b"rest\r\n"].concat();
        assert_eq!(&sent[..expected.len()], expected);
        assert_eq!(stamp_of(&sent[expected.len() + 10..]).unwrap(), u64::MAX);
        assert!(burst.has_room() && !burst.is_empty());
    }

    #[test]
    fn a_burst_of_large_messages_holds_one() {
        let mut burst = Burst::new("a", &[b'x'; BURST_BYTES_MAX + 1]);
        assert!(burst.has_room());
        burst.push(1);
        assert!(!burst.has_room());
    }

    #[test]
    fn a_burst_in_tls_is_sent_when_it_has_left() {
        let (stream, _silence) = unheard();
        let (mut publisher, mut burst) = (Client::over(stream), Burst::new("a", &[b'x'; 1000]));
        while !publisher.has_unsent() {
            burst.push(1);
            burst.send(&mut publisher).unwrap();
            assert_eq!(burst.is_empty(), !publisher.has_unsent());
        }
        assert!(!burst.has_room());
    }

    #[test]
    fn a_foreign_message_is_noticed() {
        assert!(stamp_of(b"short").is_err());
    }
}
