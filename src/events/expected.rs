//! Answers of other servers that are expected: to what a client asked of its account, and to what an
//! operator asked of the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::Time;

use super::questions::ReplyTo;
use crate::ids::AccountId;

/// Requests of clients whose answers are passed on.
const RELAYS_MAX: usize = 1024;
/// Of them so many of one account, so that none keeps the others from asking.
const RELAYS_OF_ACCOUNT_MAX: usize = 64;
/// How long answers are passed on.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);
/// Sums that are being made up.
const SUMS_MAX: usize = 16;
/// How long servers may take to say their part of a sum.
const SUM_PATIENCE: Duration = Duration::from_millis(500);

/// See the module's documentation. Each is named by a text of its own.
#[derive(Debug, Default)]
pub(super) struct Expected {
    relays: BTreeMap<String, Relay>,
    sums: BTreeMap<String, Sum>,
}

#[derive(Debug)]
struct Relay {
    account: AccountId,
    reply: Box<[u8]>,
    due: Time,
}

#[derive(Debug)]
struct Sum {
    reply: ReplyTo,
    due: Time,
    sum: u64,
    missing: usize,
}

/// What becomes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It goes to that subject of that account.
    PassOn(AccountId, Box<[u8]>),
    /// It was the last part of a sum, which goes to that subject.
    Sum(ReplyTo, u64),
    /// Nothing yet, or nobody expects it.
    Nothing,
}

impl Expected {
    /// Answers named `name` are to go to a client; says whether they will.
    pub(super) fn relay(
        &mut self,
        name: &str,
        account: AccountId,
        reply: &[u8],
        now: Time,
    ) -> bool {
        if self.is_full_for(account) {
            // Some may have come too late since somebody looked.
            self.forget_late(now);
            if self.is_full_for(account) {
                return false;
            }
        }
        let relay = Relay { account, reply: reply.into(), due: now + RELAY_PATIENCE };
        self.relays.insert(name.to_owned(), relay);
        true
    }

    fn is_full_for(&self, account: AccountId) -> bool {
        let of_account = self.relays.values().filter(|relay| relay.account == account);
        self.relays.len() >= RELAYS_MAX || of_account.count() >= RELAYS_OF_ACCOUNT_MAX
    }

    /// So many answers named `name` are to be added up; says whether they will be.
    pub(super) fn add_up(&mut self, name: &str, reply: &[u8], answers: usize, now: Time) -> bool {
        if self.sums.len() >= SUMS_MAX {
            return false;
        }
        let due = now + SUM_PATIENCE;
        let sum = Sum { reply: reply.into(), due, sum: 0, missing: answers };
        self.sums.insert(name.to_owned(), sum);
        true
    }

    /// An answer has come.
    pub(super) fn arrive(&mut self, name: &str, body: &[u8]) -> Arrival {
        if let Some(relay) = self.relays.get(name) {
            return Arrival::PassOn(relay.account, relay.reply.clone());
        }
        let Some(sum) = self.sums.get_mut(name) else { return Arrival::Nothing };
        let part = std::str::from_utf8(body).ok().and_then(|text| text.trim().parse().ok());
        sum.sum = sum.sum.saturating_add(part.unwrap_or(0));
        sum.missing = sum.missing.saturating_sub(1);
        if sum.missing > 0 {
            return Arrival::Nothing;
        }
        self.sums.remove(name).map_or(Arrival::Nothing, |sum| Arrival::Sum(sum.reply, sum.sum))
    }

    /// When the first sum is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.sums.values().map(|sum| sum.due).min()
    }

    /// Sums that are due, whatever is missing.
    pub(super) fn take_due(&mut self, now: Time) -> Vec<(ReplyTo, u64)> {
        let due = self.sums.iter().filter(|(_, sum)| sum.due <= now);
        let names: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        let taken = names.iter().filter_map(|name| self.sums.remove(name));
        taken.map(|sum| (sum.reply, sum.sum)).collect()
    }

    /// Forgets requests whose answers would come too late.
    pub(super) fn forget_late(&mut self, now: Time) {
        self.relays.retain(|_, relay| relay.due > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(2);

    #[test]
    fn answers_of_several_servers_go_to_the_client_that_asked() {
        let mut expected = Expected::default();
        assert!(expected.relay("N", ACCOUNT, b"R", Time::ZERO));
        for _ in 0..3 {
            let arrival = expected.arrive("N", b"{}");
            assert_eq!(arrival, Arrival::PassOn(ACCOUNT, b"R".as_slice().into()));
        }
        assert_eq!(expected.arrive("M", b"{}"), Arrival::Nothing);
        expected.forget_late(Time::ZERO + RELAY_PATIENCE);
        assert_eq!(expected.arrive("N", b"{}"), Arrival::Nothing);
    }

    #[test]
    fn one_account_does_not_keep_others_from_asking() {
        let mut expected = Expected::default();
        let mut ask = |number: usize, account, now| {
            expected.relay(&format!("{number}-{account}"), AccountId(account), b"R", now)
        };
        let asked = (0..2 * RELAYS_OF_ACCOUNT_MAX).filter(|number| ask(*number, 2, Time::ZERO));
        assert_eq!(asked.count(), RELAYS_OF_ACCOUNT_MAX);
        assert!(ask(0, 3, Time::ZERO));
        assert!(ask(0, 2, Time::ZERO + RELAY_PATIENCE), "the others have come too late");
    }

    #[test]
    fn parts_are_added_up_as_far_as_they_come() {
        let mut expected = Expected::default();
        assert!(expected.add_up("N", b"R", 3, Time::ZERO));
        assert_eq!(expected.arrive("N", b"2"), Arrival::Nothing);
        assert_eq!(expected.arrive("N", b"nonsense"), Arrival::Nothing);
        assert_eq!(expected.arrive("N", b"5"), Arrival::Sum(b"R".as_slice().into(), 7));
        assert!(expected.add_up("M", b"R", 2, Time::ZERO));
        assert_eq!(expected.arrive("M", b"4"), Arrival::Nothing);
        assert!(expected.take_due(Time::ZERO).is_empty());
        let due = expected.deadline().expect("a sum is being made up");
        assert_eq!(expected.take_due(due), [(b"R".as_slice().into(), 4)]);
        assert_eq!(expected.deadline(), None);
    }
}
