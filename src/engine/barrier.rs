//! Barriers that reach the whole cluster (`sub_barrier: cluster`).
//!
//! A client's PONG waits until every server that hears this server's interest has answered a PING sent
//! behind it. PINGs of a turn are sent together at its end, when all interest of the turn is queued
//! before them, so a turn costs each route one PING however many clients ask.
//!
//! Bounds: a route that closes, or does not answer for two seconds, leaves the wait, counted and
//! logged; and a route has so many PINGs under way at most.

use std::time::Duration;

use ring::Token;

use crate::mailbox::Letter;

use super::Engine;
use super::timers::Timer;

/// How long a route may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// PINGs that one route may have under way.
pub(super) const PINGS_MAX: usize = 1024;

/// Who waits for this shard's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// The shard.
    pub(super) shard: u16,
    /// Its client.
    pub(super) token: Token,
}

/// What waits for routes.
#[derive(Default)]
pub(super) struct Barriers {
    /// Those that ask in this turn.
    asking: Vec<Asker>,
    /// Those whose PINGs are under way, by rounds.
    rounds: slab::Slab<Round>,
    /// Tells lives of a round's place apart.
    next: u32,
}

/// Those who asked in one turn.
struct Round {
    askers: Vec<Asker>,
    /// Routes that have not answered.
    left: usize,
    life: u32,
}

impl Barriers {
    /// Whether somebody waits for PINGs that have not been sent.
    pub(super) fn is_asked(&self) -> bool {
        !self.asking.is_empty()
    }
}

impl Engine {
    /// Somebody waits for the routes of this shard.
    pub(super) fn ask_routes(&mut self, asker: Asker) {
        self.barriers.asking.push(asker);
    }

    /// The turn's work is done: one PING to each route for all who asked.
    pub(super) fn ping_for_barriers(&mut self) {
        if self.barriers.asking.is_empty() {
            return;
        }
        let answers =
            |index: &u32| self.routes.get(index).is_some_and(|route| route.pings.len() < PINGS_MAX);
        let registered = self.registered.iter().map(|hearer| hearer.index);
        let asked: Vec<u32> = registered.filter(answers).collect();
        // Who owes so many answers will not give one in time.
        self.counters.barrier_timeouts += (self.registered.len() - asked.len()) as u64;
        let askers = std::mem::take(&mut self.barriers.asking);
        if asked.is_empty() {
            return self.answer_askers(askers);
        }
        let life = self.barriers.next;
        self.barriers.next = life.wrapping_add(1) & 0x00ff_ffff;
        let left = asked.len();
        let slot = self.barriers.rounds.insert(Round { askers, left, life });
        let round = Token::new(u32::try_from(slot).unwrap_or(u32::MAX), life);
        for index in asked {
            self.ping_route(index, Some(round));
        }
        self.timers.schedule(self.now + PATIENCE, (round, Timer::Barrier));
    }

    /// A route has answered, or is gone.
    pub(super) fn leave_round(&mut self, round: Token) {
        let slot = round.index as usize;
        let Some(waiting) = self.barriers.rounds.get_mut(slot) else { return };
        if waiting.life != round.generation {
            return;
        }
        waiting.left = waiting.left.saturating_sub(1);
        if waiting.left == 0 {
            let askers = self.barriers.rounds.remove(slot).askers;
            self.answer_askers(askers);
        }
    }

    /// A round has had its time.
    pub(super) fn barrier_due(&mut self, round: Token) {
        let slot = round.index as usize;
        let is_it = |waiting: &Round| waiting.life == round.generation;
        if !self.barriers.rounds.get(slot).is_some_and(is_it) {
            return;
        }
        let waiting = self.barriers.rounds.remove(slot);
        self.counters.barrier_timeouts += waiting.left as u64;
        for (index, route) in &self.routes {
            if route.pings.iter().any(|ping| ping.round == Some(round) && !ping.is_void) {
                let rid = route.rid;
                tracing::warn!(
                    "{} - rid:{rid} - Route {index} has not answered within {PATIENCE:?}, \
                     subscriptions may not be known there yet",
                    route.peer
                );
            }
        }
        self.answer_askers(waiting.askers);
    }

    fn answer_askers(&mut self, askers: Vec<Asker>) {
        for Asker { shard, token } in askers {
            if shard == self.mail.shard {
                self.on_barrier_done(shard, token);
            } else {
                self.mail.post(shard, Letter::BarrierDone(token));
            }
        }
    }
}
