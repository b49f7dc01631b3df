//! Bytes that wait for a route: one lane for control, and one for each account.
//!
//! Control (PING, INFO, interest) overtakes messages, and an account that floods its lane leaves the
//! others their share: they are served in turn, by bytes, at the borders of messages.
//!
//! Invariant: `pending_bytes` is the length of everything in the lanes.

use ring::Segment;

use crate::ids::AccountId;
use crate::report::Sealing;

use super::pool::Pool;
use super::queue::Queue;

/// Bytes of one account's messages that leave before the next account's turn.
const QUANTUM_BYTES: usize = 64 << 10;

/// See the module's documentation.
#[derive(Default)]
pub struct Lanes {
    /// What goes before all messages.
    pub control: Queue,
    /// What sealing has cost lately.
    pub sealing: Sealing,
    accounts: Vec<Lane>,
    /// The account whose turn it is.
    turn: usize,
}

struct Lane {
    account: AccountId,
    queue: Queue,
}

impl Lanes {
    /// An account's queue.
    pub fn queue(&mut self, account: AccountId) -> &mut Queue {
        // A route carries few accounts at a time, and mostly one.
        let at = match self.accounts.iter().position(|lane| lane.account == account) {
            Some(at) => at,
            None => {
                self.accounts.push(Lane { account, queue: Queue::default() });
                self.accounts.len() - 1
            }
        };
        &mut self.accounts[at].queue
    }

    /// Bytes that wait in all lanes.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        let accounts = self.accounts.iter().map(|lane| lane.queue.pending_bytes());
        self.control.pending_bytes() + accounts.sum::<usize>()
    }

    /// Bytes that wait in an account's lane.
    #[must_use]
    pub fn pending_of(&self, account: AccountId) -> usize {
        let lane = self.accounts.iter().find(|lane| lane.account == account);
        lane.map_or(0, |lane| lane.queue.pending_bytes())
    }

    /// Whether no account has more waiting.
    #[must_use]
    pub fn is_heaviest(&self, account: AccountId) -> bool {
        let own = self.pending_of(account);
        self.accounts.iter().all(|lane| lane.queue.pending_bytes() <= own)
    }

    /// Whether there is something to take.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.control.has_work() || self.accounts.iter().any(|lane| lane.queue.has_work())
    }

    /// Takes what is to leave next, about `bytes` of it, control first, and appends it to `out`. What
    /// would go far beyond that leaves alone: a wire carries a segment whole, and a few bytes in one
    /// with what they have overtaken would have won nothing.
    pub fn take(&mut self, pool: &mut Pool, bytes: usize, out: &mut Vec<Segment>) {
        let control = self.control.drain_to(pool, bytes, out);
        let mut taken = control;
        let mut idle = 0;
        while taken < bytes && idle < self.accounts.len() {
            self.turn %= self.accounts.len();
            let lane = &mut self.accounts[self.turn];
            // Control alone stops nobody, or new interest all the time would keep messages waiting.
            if taken > control && lane.queue.first_bytes() > bytes - taken {
                break;
            }
            let most = QUANTUM_BYTES.min(bytes - taken);
            let some = lane.queue.drain_to(pool, most, out);
            idle = if some == 0 { idle + 1 } else { 0 };
            taken += some;
            self.turn += 1;
        }
        // Accounts that have nothing left give their lanes back, so that a server with thousands of
        // them looks at those that speak.
        if self.accounts.len() > LANES_KEPT {
            let passed = self.accounts.iter().take(self.turn);
            self.turn = passed.filter(|lane| lane.queue.has_work()).count();
            self.accounts.retain(|lane| lane.queue.has_work());
        }
    }

    /// Drops everything.
    pub fn discard(&mut self, pool: &mut Pool) {
        self.control.discard(pool);
        for lane in &mut self.accounts {
            lane.queue.discard(pool);
        }
        self.accounts.clear();
    }
}

/// Empty lanes that are kept for their memory.
const LANES_KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(segments: &[Segment]) -> String {
        segments.iter().flat_map(|s| s.as_slice().to_vec()).map(char::from).collect()
    }

    #[test]
    fn control_overtakes_messages() {
        let (mut lanes, mut pool, mut out) = (Lanes::default(), Pool::default(), Vec::new());
        lanes.queue(AccountId(0)).copy(&mut pool, b"message");
        lanes.control.copy(&mut pool, b"PING ");
        assert_eq!(lanes.pending_bytes(), 12);
        lanes.take(&mut pool, 1000, &mut out);
        assert_eq!(text(&out), "PING message");
        assert!(!lanes.has_work() && lanes.pending_bytes() == 0);
    }

    #[test]
    fn an_account_that_floods_leaves_the_others_their_turn() {
        let (mut lanes, mut pool, mut out) = (Lanes::default(), Pool::default(), Vec::new());
        for _ in 0..100 {
            lanes.queue(AccountId(0)).copy(&mut pool, &[b'a'; 40_000]);
        }
        lanes.queue(AccountId(3)).copy(&mut pool, b"b");
        assert!(lanes.is_heaviest(AccountId(0)) && !lanes.is_heaviest(AccountId(3)));
        lanes.take(&mut pool, 256 << 10, &mut out);
        let first = text(&out);
        let at = first.find('b').expect("the small account is served");
        assert!(at <= 2 * QUANTUM_BYTES, "behind {at} bytes");
    }

    #[test]
    fn a_few_bytes_do_not_leave_together_with_what_they_have_overtaken() {
        let (mut lanes, mut pool) = (Lanes::default(), Pool::default());
        let block = std::sync::Arc::new(vec![b'p'; 5000]);
        for _ in 0..3 {
            let queue = lanes.queue(AccountId(0));
            queue.copy(&mut pool, b"head");
            queue.share(&mut pool, &block, 0, 5000);
        }
        let mut take = |lanes: &mut Lanes| {
            let mut out = Vec::new();
            lanes.take(&mut pool, 4096, &mut out);
            text(&out)
        };
        assert_eq!(take(&mut lanes).len(), 5004);
        lanes.queue(AccountId(3)).copy(&mut Pool::default(), b"few");
        assert_eq!(take(&mut lanes), "few");
        assert_eq!(take(&mut lanes).len(), 5004, "and the other's turn is next");
    }

    #[test]
    fn control_in_every_take_keeps_nobody_waiting() {
        let (mut lanes, mut pool) = (Lanes::default(), Pool::default());
        lanes.queue(AccountId(0)).copy(&mut pool, &[b'a'; 20_000]);
        lanes.queue(AccountId(1)).copy(&mut pool, b"b");
        let mut left = String::new();
        for _ in 0..3 {
            let mut out = Vec::new();
            lanes.control.copy(&mut pool, b"RS+ ");
            lanes.take(&mut pool, 4096, &mut out);
            left += &text(&out);
        }
        assert!(left.contains('b') && left.matches('a').count() == 20_000, "{}", left.len());
    }

    #[test]
    fn whose_turn_it_is_is_known_when_empty_lanes_go() {
        let (mut lanes, mut pool) = (Lanes::default(), Pool::default());
        for account in 0..33 {
            lanes.queue(AccountId(account)).copy(&mut pool, b"few ");
        }
        lanes.queue(AccountId(100)).copy(&mut pool, &[b'b'; 5000]);
        lanes.queue(AccountId(101)).copy(&mut pool, &[b'c'; 5000]);
        let mut firsts = String::new();
        while lanes.has_work() {
            let mut out = Vec::new();
            lanes.take(&mut pool, 4096, &mut out);
            firsts.extend(text(&out).chars().next());
        }
        assert_eq!(firsts, "fbc");
    }

    #[test]
    fn a_message_is_not_torn_from_its_payload() {
        let (mut lanes, mut pool, mut out) = (Lanes::default(), Pool::default(), Vec::new());
        let block = std::sync::Arc::new(vec![b'p'; 100_000]);
        for account in [0, 1] {
            for _ in 0..3 {
                let queue = lanes.queue(AccountId(account));
                queue.copy(&mut pool, b"head");
                queue.share(&mut pool, &block, 0, 100_000);
            }
        }
        while lanes.has_work() {
            lanes.take(&mut pool, 10_000, &mut out);
            assert!(matches!(out.last(), Some(Segment::Shared { .. })));
        }
        assert_eq!(out.len(), 12);
    }
}
