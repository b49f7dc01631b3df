//! Barriers that reach further than one shard.
//!
//! A queue group's message may be passed on to a third shard. So a barrier of the shard that it came
//! from is answered only when the third shard has answered one, too.
//!
//! Two shards may pass messages on to each other, and neither may wait for the other's wait. So a barrier
//! counts its steps as a message does: one that has come as far as a message with so many hops covers
//! what was passed on of messages with as many, and is passed on with one hop more.
//!
//! Invariant: a relay waits only for barriers of its own with one hop more; there are no circles.

use std::collections::BTreeMap;

use ring::Token;

use crate::mailbox::{Letter, bits};

use super::Engine;

/// No client has this slot: a barrier under this token is a relay's.
const RELAY: u32 = u32::MAX;

/// What is known of messages that were passed on.
#[derive(Default)]
pub(super) struct Relays {
    /// Shards that messages were passed on to, one bit each, since the last barrier from there.
    passed_on: BTreeMap<From, u64>,
    waiting: Vec<Relay>,
    next: u32,
}

/// The shard that something came from, and with how many hops.
pub(super) type From = (u16, u8);

/// A barrier that other shards must answer first.
struct Relay {
    token: Token,
    /// Who asks.
    from: From,
    /// By which token.
    asked: Token,
    /// Who has not answered, one bit each.
    shards: u64,
}

impl Relays {
    /// A message from one shard was passed on to another.
    pub(super) fn note(&mut self, from: From, to: u16) {
        *self.passed_on.entry(from).or_default() |= 1 << to;
    }

    /// A shard asks. Returns who must be asked first, and the token for it.
    fn ask(&mut self, from: From, asked: Token) -> Option<(u64, Token)> {
        let unasked = self.passed_on.remove(&from).unwrap_or(0);
        // What an earlier barrier still waits for came before this one, too.
        let earlier = self.waiting.iter().filter(|relay| relay.from == from);
        let shards = earlier.fold(unasked, |set, relay| set | relay.shards);
        if shards == 0 {
            return None;
        }
        let token = Token::new(RELAY, self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.push(Relay { token, from, asked, shards });
        Some((shards, token))
    }

    /// A shard has answered. Returns who asked, once all have.
    fn answer(&mut self, from: u16, token: Token) -> Option<(u16, Token)> {
        let at = self.waiting.iter().position(|relay| relay.token == token)?;
        let relay = &mut self.waiting[at];
        relay.shards &= !(1 << from);
        if relay.shards != 0 {
            return None;
        }
        let relay = self.waiting.remove(at);
        Some((relay.from.0, relay.asked))
    }
}

impl Engine {
    /// Another shard wants to know when everything before this has been done.
    pub(super) fn on_barrier(&mut self, from: u16, token: Token, hops: u8) {
        match self.relays.ask((from, hops), token) {
            None => self.mail.post(from, Letter::BarrierDone(token)),
            Some((shards, token)) => {
                let hops = hops.saturating_add(1);
                bits(shards)
                    .for_each(|shard| self.mail.post(shard, Letter::Barrier { token, hops }));
            }
        }
    }

    /// Another shard has done everything before a barrier of this one.
    pub(super) fn on_barrier_done(&mut self, from: u16, token: Token) {
        if token.index != RELAY {
            return if self.routes.contains_key(&token.index) && self.links.is_live(token) {
                self.on_route_barrier_done(token.index, from);
            } else {
                self.on_client_barrier_done(from, token);
            };
        }
        if let Some((asker, token)) = self.relays.answer(from, token) {
            self.mail.post(asker, Letter::BarrierDone(token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came from a shard without a hop.
    fn of(shard: u16) -> From {
        (shard, 0)
    }

    fn client(index: u32) -> Token {
        Token::new(index, 0)
    }

    #[test]
    fn a_barrier_waits_for_all_that_messages_were_passed_on_to_before_it() {
        let mut relays = Relays::default();
        assert_eq!(relays.ask(of(0), client(1)), None);
        relays.note(of(0), 2);
        relays.note(of(0), 3);
        let (shards, one) = relays.ask(of(0), client(1)).unwrap();
        assert_eq!(shards, 1 << 2 | 1 << 3);
        assert_eq!(relays.answer(2, one), None);
        let (shards, two) = relays.ask(of(0), client(2)).unwrap();
        assert_eq!(shards, 1 << 3, "the other has answered");
        assert_eq!(relays.ask(of(1), client(3)), None, "of its messages none was passed on");
        assert_eq!(relays.answer(3, one), Some((0, client(1))));
        assert_eq!(relays.answer(3, two), Some((0, client(2))));
        assert_eq!(relays.ask(of(0), client(3)), None);
    }

    #[test]
    fn two_shards_that_pass_on_to_each_other_do_not_wait_for_each_other() {
        let [mut here, mut there] = [Relays::default(), Relays::default()];
        // A message of each came back to where it had come from.
        here.note(of(1), 1);
        there.note(of(0), 0);
        let (_, asked) = there.ask(of(0), client(1)).unwrap();
        assert_eq!(here.ask((1, 1), asked), None, "what it waits for has gone no further");
        let (_, back) = here.ask(of(1), client(2)).unwrap();
        assert_eq!(there.ask((0, 1), back), None);
        assert_eq!(there.answer(0, asked), Some((0, client(1))));
        assert_eq!(here.answer(1, back), Some((1, client(2))));
    }
}
