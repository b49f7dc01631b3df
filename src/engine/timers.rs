//! What is due when.
//!
//! Timers are not cancelled: when one is due, it is looked at whether it still means something.

use std::time::Duration;

use ring::Token;

use crate::close::CloseReason;
use crate::outbound::Closing;
use crate::proto::encode;
use crate::session::{Phase, RoutePhase};

use super::{End, Engine};

/// The first PING comes this soon after CONNECT, and measures the round trip.
const FIRST_PING: Duration = Duration::from_secs(2);
/// How long a connection that is being closed may still be read from.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The log-in must be done.
    Login,
    /// A PING is to be sent.
    Ping,
    /// The PING that follows CONNECT is to be sent.
    FirstPing,
    /// Bytes must have left.
    Write,
    /// The peer has had its time to read what was sent last.
    Linger,
    /// A PING is to be sent to another server.
    RoutePing,
    /// Requests are to be tried again.
    Deferred,
    /// Other servers must have answered the PINGs of a round of barriers.
    Barrier,
    /// A TLS handshake must be done.
    Handshake,
    /// A dial must have come to something.
    Dial,
    /// Interest that was kept is forgotten.
    Grace,
    /// A hash for a client that is checked again is to be tried once more.
    Recheck,
}

impl Engine {
    /// Looks at everything that is due.
    pub(super) fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(self.now, &mut due);
        for (token, timer) in due.drain(..) {
            if timer == Timer::Dial {
                self.dial_due(token);
            } else if timer == Timer::Deferred {
                self.try_deferred();
            } else if timer == Timer::Grace {
                self.grace_due();
            } else if timer == Timer::Recheck {
                self.recheck_next();
            } else if timer == Timer::Barrier {
                self.barrier_due(token);
            } else if self.links.is_live(token) {
                match timer {
                    Timer::Login => self.login_due(token),
                    Timer::Ping => self.ping_due(token, false),
                    Timer::FirstPing => self.ping_due(token, true),
                    Timer::Write => self.write_due(token),
                    Timer::Linger => self.linger_due(token),
                    Timer::RoutePing => self.route_ping_due(token),
                    Timer::Handshake => self.handshake_due(token),
                    Timer::Dial
                    | Timer::Barrier
                    | Timer::Deferred
                    | Timer::Grace
                    | Timer::Recheck => {}
                }
            }
        }
        self.due = due;
    }

    pub(super) fn schedule_ping(&mut self, token: Token, after: Duration) {
        self.timers.schedule(self.now + after, (token, Timer::Ping));
    }

    /// Schedules the PING after CONNECT, spread so that those who came together are not asked
    /// together.
    pub(super) fn schedule_first_ping(&mut self, token: Token) {
        let soonest = FIRST_PING.min(self.options.ping_interval);
        let spread = soonest.mul_f64(self.random.f64() * 0.2);
        self.timers.schedule(self.now + soonest + spread, (token, Timer::FirstPing));
    }

    fn login_due(&mut self, token: Token) {
        let waits = |phase| phase == Phase::Greeted || phase == Phase::Verifying;
        let client = self.clients[token.index as usize].as_ref();
        let route = self.routes.get(&token.index);
        if client.is_some_and(|client| waits(client.phase))
            || route.is_some_and(|route| route.phase == RoutePhase::Greeted)
        {
            self.close(token.index, CloseReason::AuthenticationTimeout.into());
        }
    }

    fn ping_due(&mut self, token: Token, after_connect: bool) {
        let interval = self.options.ping_interval;
        let Some(client) = self.clients[token.index as usize].as_mut() else { return };
        let pings = &client.pings;
        let first = pings.sent_at == ring::Time::ZERO;
        if first && pings.first_scheduled != after_connect {
            // CONNECT came meanwhile, and with it a timer of its own.
            return;
        }
        // Who was heard of need not be asked, but for the first time, which measures the round trip.
        if !first && self.now - client.heard_at < interval {
            client.pings.outstanding = 0;
            return self.schedule_ping(token, interval);
        }
        // A PING that waits behind bulk says nothing about a client that takes the bulk.
        let link = self.links.at(token.index);
        let drains = link.is_some_and(|link| link.drains(self.now, interval));
        if drains && pings.outstanding > 0 {
            return self.schedule_ping(token, interval);
        }
        // A held client is not read from: its silence is ours.
        if client.hold.is_none() && pings.outstanding + 1 > self.options.ping_max {
            self.counters.stale_clients += 1;
            return self.close(token.index, CloseReason::StaleConnection.into());
        }
        client.pings.outstanding += 1;
        client.pings.sent_at = self.now;
        if let Some(client) = self.clients[token.index as usize].as_deref() {
            self.trace_answer(client, "PING");
        }
        self.say(token.index, encode::PING);
        self.schedule_ping(token, interval);
    }

    fn write_due(&mut self, token: Token) {
        let Some(link) = self.links.get_mut(token) else { return };
        link.timed = false;
        // One that is being closed has its own time to tell what is left.
        let is_open = link.closing == Closing::No;
        if !is_open || link.pending_bytes() == 0 || !(link.refused || link.sending) {
            return;
        }
        // Progress is enough, unless the configuration wants each batch gone within the deadline.
        let since = if self.options.closes_late(link) { link.batch_at } else { link.progress_at };
        let waited = self.now - since;
        let deadline = self.options.write_deadline(link);
        if waited >= deadline {
            let (chunks, bytes) = (link.chunks(), link.pending_bytes());
            if let Some(client) = self.clients[token.index as usize].as_deref() {
                tracing::info!(
                    "{} - Slow Consumer Detected: WriteDeadline of {deadline:?} exceeded with {chunks} \
                     chunks of {bytes} total bytes.",
                    self.label(client)
                );
            }
            self.close_slow(token.index, CloseReason::SlowConsumerWriteDeadline);
        } else {
            link.timed = true;
            self.timers.schedule(self.now + (deadline - waited), (token, Timer::Write));
        }
    }

    fn linger_due(&mut self, token: Token) {
        if self.links.get_mut(token).is_some_and(|link| link.closing != Closing::No) {
            self.cut(token.index);
        }
    }

    /// Closes a client that does not take what waits for it.
    pub(super) fn close_slow(&mut self, index: u32, reason: CloseReason) {
        if self.routes.contains_key(&index) {
            self.counters.slow_consumers_routes += 1;
        } else {
            self.counters.slow_consumers_clients += 1;
            if let Some(client) = self.clients[index as usize].as_deref() {
                self.tallies.of(client.account).slow_consumers += 1;
            }
        }
        self.close(index, End { reason, error: None });
    }
}
