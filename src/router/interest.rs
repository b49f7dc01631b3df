//! Adding and removing subscriptions, and what others want.
//!
//! What another shard, or a server behind a route, wants is one subscription for each account, subject
//! and queue group, found again by these.

use std::hash::BuildHasher as _;

use crate::ids::AccountId;
use crate::sublist::{Member, Owner, Subscription};

use super::Router;

/// Something that is wanted: a subject of an account, perhaps by a queue group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Want<'a> {
    /// The account.
    pub account: AccountId,
    /// The subject, possibly with wildcards.
    pub subject: &'a [u8],
    /// The queue group.
    pub queue: Option<&'a [u8]>,
}

/// How many want something now, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The account.
    pub account: AccountId,
    /// The subject, possibly with wildcards.
    pub subject: Box<[u8]>,
    /// The queue group.
    pub queue: Option<Box<[u8]>>,
    /// How many want it now; of plain subscriptions only whether any.
    pub weight: u32,
}

impl Interest {
    /// Of what this tells.
    #[must_use]
    pub fn want(&self) -> Want<'_> {
        Want { account: self.account, subject: &self.subject, queue: self.queue.as_deref() }
    }
}

impl Subscription {
    /// What it wants.
    #[must_use]
    pub fn want(&self) -> Want<'_> {
        Want { account: self.account, subject: &self.subject, queue: self.queue.as_deref() }
    }
}

impl Router {
    /// Adds a subscription and returns its slot.
    pub fn subscribe(&mut self, subscription: Subscription) -> u32 {
        let entry = self.subscriptions.vacant_entry();
        let id = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let Want { account, subject, queue } = subscription.want();
        let member = Member { id, weight: subscription.weight };
        self.sublists[account.index()].insert(subject, queue, member);
        entry.insert(subscription);
        id
    }

    /// Removes the subscription in a slot.
    pub fn unsubscribe(&mut self, id: u32) -> Option<Subscription> {
        let subscription = self.subscriptions.try_remove(id as usize)?;
        let Want { account, subject, queue } = subscription.want();
        self.sublists[account.index()].remove(subject, queue, id);
        Some(subscription)
    }

    /// What somebody else wants has changed: so many now. Returns how many it were before; of a plain
    /// subscription both count as one at most.
    pub fn set_interest(&mut self, owner: Owner, want: Want<'_>, weight: u32) -> u32 {
        let hash = self.hasher.hash_one((owner, want));
        let subscriptions = &self.subscriptions;
        let is_it = |id: &u32| {
            let subscription = &subscriptions[*id as usize];
            subscription.owner == owner && subscription.want() == want
        };
        let found = self.foreign.find_entry(hash, is_it);
        match (found, weight) {
            (Ok(entry), 0) => {
                let id = entry.remove().0;
                self.unsubscribe(id).map_or(0, |subscription| subscription.weight)
            }
            (Ok(entry), weight) => {
                let id = *entry.get();
                self.set_weight(id, weight)
            }
            (Err(_), 0) => 0,
            (Err(_), weight) => {
                let id = self.subscribe(Subscription {
                    owner,
                    account: want.account,
                    weight: if want.queue.is_some() { weight } else { 1 },
                    sid: Box::default(),
                    subject: want.subject.into(),
                    queue: want.queue.map(Into::into),
                    max: 0,
                    delivered: 0,
                });
                let (hasher, subscriptions) = (&self.hasher, &self.subscriptions);
                self.foreign.insert_unique(hash, id, |id| {
                    let subscription = &subscriptions[*id as usize];
                    hasher.hash_one((subscription.owner, subscription.want()))
                });
                0
            }
        }
    }

    /// Sets how many receivers stand behind a subscription; returns how many it were.
    fn set_weight(&mut self, id: u32, weight: u32) -> u32 {
        let subscription = &mut self.subscriptions[id as usize];
        let Some(queue) = &subscription.queue else { return 1 };
        let before = std::mem::replace(&mut subscription.weight, weight);
        if before != weight {
            let sublist = &mut self.sublists[subscription.account.index()];
            sublist.set_weight(&subscription.subject, queue, id, weight);
        }
        before
    }

    /// Nobody will ask again for what somebody else wanted. Returns the slots of the subscriptions, which
    /// are to be [removed](Self::unsubscribe).
    #[must_use]
    pub fn disown(&mut self, owner: Owner) -> Vec<u32> {
        let subscriptions = &self.subscriptions;
        let theirs = |id: &mut u32| subscriptions[*id as usize].owner == owner;
        self.foreign.extract_if(theirs).collect()
    }

    /// What somebody else wants.
    pub fn interest_of(&self, owner: Owner) -> impl Iterator<Item = &Subscription> {
        let subscription = |id: &u32| self.subscriptions.get(*id as usize);
        self.foreign.iter().filter_map(subscription).filter(move |sub| sub.owner == owner)
    }

    /// How many subscriptions are those of others.
    #[must_use]
    pub fn foreign_len(&self) -> usize {
        self.foreign.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::outbound::OutboundLimits;

    fn router() -> Router {
        let limits = OutboundLimits { max_pending: 1000, write_deadline: Duration::from_secs(1) };
        Router::new(limits, Arc::default(), 7)
    }

    #[test]
    fn what_others_want_is_found_again_by_owner_subject_and_group() {
        let mut router = router();
        let (account, plain) = (AccountId::GLOBAL, None);
        let a = Want { account, subject: b"a", queue: plain };
        let q = Want { account, subject: b"a", queue: Some(b"q") };
        assert_eq!(router.set_interest(Owner::Route(1), a, 1), 0);
        assert_eq!(router.set_interest(Owner::Route(1), a, 1), 1);
        assert_eq!(router.set_interest(Owner::Route(2), a, 1), 0);
        assert_eq!(router.set_interest(Owner::Route(1), q, 3), 0);
        assert_eq!(router.set_interest(Owner::Route(1), q, 5), 3);
        assert_eq!((router.foreign_len(), router.subscriptions.len()), (3, 3));
        assert_eq!(router.set_interest(Owner::Route(1), a, 0), 1);
        assert_eq!(router.set_interest(Owner::Route(1), a, 0), 0);
        assert_eq!(router.interest_of(Owner::Route(1)).count(), 1);
        let disowned = router.disown(Owner::Route(1));
        let weights: Vec<_> = disowned
            .iter()
            .filter_map(|id| router.unsubscribe(*id))
            .map(|sub| sub.weight)
            .collect();
        assert_eq!((weights, router.foreign_len()), (vec![5], 1));
    }
}
