//! Barriers that reach further than one shard.
//!
//! A queue group's message may be passed on to a third shard. So a barrier of the shard that it came
//! from is answered only when the third shard has answered one, too.
//!
//! Invariant: a relay waits only for shards that a barrier of its own is under way to.

use std::collections::BTreeMap;

use ring::Token;

use crate::mailbox::{Letter, Reach, bits};

use super::Engine;
use super::barrier::Asker;

/// No client has this slot: a barrier under this token is a relay's.
const RELAY: u32 = u32::MAX;

/// What is known of messages that were passed on.
#[derive(Default)]
pub(super) struct Relays {
    /// Shards that messages were passed on to, one bit each, by the shard they came from, since its
    /// last barrier.
    passed_on: BTreeMap<u16, u64>,
    waiting: Vec<Relay>,
    next: u32,
}

/// A barrier that other shards must answer first.
struct Relay {
    token: Token,
    /// Who asks, and by which token.
    asker: (u16, Token),
    /// Who has not answered, one bit each.
    shards: u64,
}

impl Relays {
    /// A message from one shard was passed on to another.
    pub(super) fn note(&mut self, from: u16, to: u16) {
        *self.passed_on.entry(from).or_default() |= 1 << to;
    }

    /// A shard asks. Returns who must be asked first, and the token for it.
    fn ask(&mut self, asker: (u16, Token)) -> Option<(u64, Token)> {
        let unasked = self.passed_on.remove(&asker.0).unwrap_or(0);
        // What an earlier barrier still waits for came before this one, too.
        let earlier = self.waiting.iter().filter(|relay| relay.asker.0 == asker.0);
        let shards = earlier.fold(unasked, |set, relay| set | relay.shards);
        if shards == 0 {
            return None;
        }
        let token = Token::new(RELAY, self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.push(Relay { token, asker, shards });
        Some((shards, token))
    }

    /// A shard has answered. Returns who asked, once all have.
    fn answer(&mut self, from: u16, token: Token) -> Option<(u16, Token)> {
        let at = self.waiting.iter().position(|relay| relay.token == token)?;
        let relay = &mut self.waiting[at];
        relay.shards &= !(1 << from);
        (relay.shards == 0).then(|| self.waiting.remove(at).asker)
    }
}

impl Engine {
    /// Another shard wants to know when everything before this has been done.
    pub(super) fn on_barrier(&mut self, from: u16, token: Token, reach: Reach) {
        if reach == Reach::Routes {
            return self.ask_routes(Asker { shard: from, token });
        }
        match self.relays.ask((from, token)) {
            None => self.mail.post(from, Letter::BarrierDone(token)),
            Some((shards, relay)) => {
                bits(shards)
                    .for_each(|shard| self.mail.post(shard, Letter::Barrier(relay, Reach::Shard)));
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

    #[test]
    fn a_barrier_waits_for_all_that_messages_were_passed_on_to_before_it() {
        let mut relays = Relays::default();
        let [first, second, third] = [1, 2, 3].map(|client| (0, Token::new(client, 0)));
        assert_eq!(relays.ask(first), None);
        relays.note(0, 2);
        relays.note(0, 3);
        let (shards, one) = relays.ask(first).unwrap();
        assert_eq!(shards, 1 << 2 | 1 << 3);
        assert_eq!(relays.answer(2, one), None);
        let (shards, two) = relays.ask(second).unwrap();
        assert_eq!(shards, 1 << 3, "the other has answered");
        assert_eq!(relays.ask((1, third.1)), None, "another shard's messages were not passed on");
        assert_eq!(relays.answer(3, one), Some(first));
        assert_eq!(relays.answer(3, two), Some(second));
        assert_eq!(relays.ask(third), None);
    }
}
