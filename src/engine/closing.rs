//! Ends of connections.
//!
//! ```text
//!  No ── close ──▶ Draining ── all has left ──▶ Lingering ── EOF, or a second ──▶ Ending ──▶ freed
//!   └── nothing to say, or nobody to say it to ───────────────────────────────────▲
//! ```
//!
//! What the peer is told last must reach it: a socket that is closed while received bytes wait unread
//! is reset, and takes what was just sent with it. So the sending direction ends first, and the peer is
//! read from until it closes, too, for a bounded time.

use std::sync::atomic::{AtomicUsize, Ordering};

use ring::{Direction, Op};

use crate::close::CloseReason;
use crate::outbound::Closing;
use crate::report::{ConnectionReport, End as ReportedEnd};

use super::portions::Departed;
use super::timers::{LINGER, Timer};
use super::{End, Engine};

impl Engine {
    /// Ends a connection: nobody gets anything by its subscriptions any more, and its peer is told why
    /// where that is usual.
    pub(super) fn close(&mut self, index: u32, end: End) {
        let Some(link) = self.links.at(index) else { return };
        if link.closing != Closing::No {
            return;
        }
        self.progress |= link.is_awaited;
        let dead = matches!(end.reason, CloseReason::WriteError | CloseReason::ReadError);
        let slow = matches!(
            end.reason,
            CloseReason::SlowConsumerPendingBytes | CloseReason::SlowConsumerWriteDeadline
        );
        self.complain_of_end(index, end.reason);
        if let Some(error) = end.error {
            if let Some(client) = self.clients[index as usize].as_deref() {
                self.trace_error(client, error);
            }
            self.say_error(index, error);
        }
        self.report_closed_route(index, end.reason);
        if end.reason == CloseReason::AuthenticationFailure {
            self.counters.auth_errors += 1;
        }
        self.remember_closed(index, end.reason);
        self.note_closed(index, end.reason);
        self.withdraw(index);
        let token = self.links.token(index);
        let Some((link, pool)) = self.links.with_pool(index) else { return };
        link.closing = Closing::Draining;
        if dead || slow {
            if !link.sending {
                link.discard(pool);
            }
            self.cut(index);
        } else {
            self.timers.schedule(self.now + LINGER, (token, Timer::Linger));
            self.links.touch(index);
        }
    }

    /// Takes the client's session out, and its subscriptions.
    fn withdraw(&mut self, index: u32) {
        let Some(client) = self.clients[index as usize].take() else {
            return self.withdraw_route(index);
        };
        self.rechecks.forget(index);
        self.shared.clients.fetch_sub(1, Ordering::Relaxed);
        self.depart(index, client.sids.ids(), Departed::Client(client));
    }

    fn remember_closed(&mut self, index: u32, reason: CloseReason) {
        let (Some(link), Some(client)) =
            (self.links.at(index), self.clients[index as usize].as_deref())
        else {
            return;
        };
        tracing::debug!("{} - Client connection closed: {reason}", self.label(client));
        if self.options.max_closed == 0 {
            return;
        }
        let end = ReportedEnd { at: self.now, reason: reason.as_str() };
        let closed = ConnectionReport {
            end: Some(end),
            pending_bytes: 0,
            closed_subscriptions: self.closed_subscriptions(client),
            ..self.connection(client, link)
        };
        if self.closed.len() >= self.options.max_closed {
            self.closed.pop_front();
        }
        self.closed.push_back(closed);
    }

    /// Something that a closing connection waited for has happened.
    pub(super) fn advance_closing(&mut self, index: u32, peer_is_gone: bool) {
        let token = self.links.token(index);
        let Some((link, pool)) = self.links.with_pool(index) else { return };
        if peer_is_gone && link.closing == Closing::Lingering {
            link.closing = Closing::Ending;
        }
        let drained = !link.sending && !link.has_work();
        if link.closing == Closing::Draining && drained {
            if link.receiving {
                link.closing = Closing::Lingering;
                let socket = link.socket;
                self.ops.push((token, Op::Shutdown { socket, how: Direction::Write }));
                return;
            }
            link.closing = Closing::Ending;
        }
        if link.closing == Closing::Ending && !link.sending && !link.receiving {
            link.closing = Closing::Gone;
            link.discard(pool);
            self.pending_change += link.count_bytes();
            self.ops.push((token, Op::Close { socket: link.socket }));
        }
        if link.closing == Closing::Gone && !link.departing {
            self.links.remove(index);
        }
    }

    /// Ends both directions now; what is still queued is lost.
    pub(super) fn cut(&mut self, index: u32) {
        let token = self.links.token(index);
        let Some(link) = self.links.at_mut(index).filter(|it| it.closing != Closing::Gone) else {
            return;
        };
        link.closing = Closing::Ending;
        if link.sending || link.receiving {
            self.ops.push((token, Op::Shutdown { socket: link.socket, how: Direction::Both }));
        }
        self.advance_closing(index, false);
    }

    /// Closes the recipients for whom more waits than may.
    pub(super) fn settle_overflowed(&mut self) {
        while let Some(index) = self.router.overflowed.pop() {
            if self.links.is_open(index) && self.clients[index as usize].is_some() {
                let max = self.options.outbound.max_pending;
                if let Some(client) = self.clients[index as usize].as_deref() {
                    let label = self.label(client);
                    tracing::info!(
                        "{label} - Slow Consumer Detected: MaxPending of {max} Exceeded"
                    );
                }
                self.close_slow(index, CloseReason::SlowConsumerPendingBytes);
            }
        }
    }

    /// Closes clients, as many as are `left` to close, and counts them down. Routes stay.
    pub(super) fn close_some(&mut self, left: &AtomicUsize, reason: CloseReason) {
        let is_client = |index: u32| self.clients[index as usize].is_some();
        let open: Vec<u32> = self
            .links
            .iter()
            .filter(|(index, link)| link.closing == Closing::No && is_client(*index))
            .map(|(index, _)| index)
            .take_while(|_| {
                let one_less = |left: usize| left.checked_sub(1);
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            })
            .collect();
        for index in open {
            self.close(index, reason.into());
        }
    }
}
