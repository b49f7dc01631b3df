//! Adding and removing subscriptions, and what other shards must know of them.

use crate::sublist::{Member, Owner, Subscription};

use super::Router;

/// A change of what this shard's clients want, as other shards see it: aggregated by subject and
/// queue group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The subject, possibly with wildcards.
    pub subject: Box<[u8]>,
    /// The queue group.
    pub queue: Option<Box<[u8]>>,
    /// How many want it now; of plain subscriptions only whether any.
    pub weight: u32,
}

impl Router {
    /// Adds a subscription and returns its slot.
    pub fn subscribe(&mut self, subscription: Subscription) -> u32 {
        let entry = self.subscriptions.vacant_entry();
        let id = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let (subject, queue) = (&subscription.subject, subscription.queue.as_deref());
        self.sublist.insert(subject, queue, Member { id, weight: 1 });
        entry.insert(subscription);
        id
    }

    /// Removes the subscription in a slot.
    pub fn unsubscribe(&mut self, id: u32) -> Option<Subscription> {
        let subscription = self.subscriptions.try_remove(id as usize)?;
        self.sublist.remove(&subscription.subject, subscription.queue.as_deref(), id);
        Some(subscription)
    }

    /// Another shard's interest has changed: `known` is the slot of what it wanted before.
    /// Returns the slot of what it wants now.
    pub fn set_shard_interest(
        &mut self,
        shard: u16,
        interest: &Interest,
        known: Option<u32>,
    ) -> Option<u32> {
        let queue = interest.queue.as_deref();
        match (known, interest.weight) {
            (Some(id), 0) => {
                self.unsubscribe(id);
                None
            }
            (None, 0) => None,
            (Some(id), weight) => {
                if let Some(queue) = queue {
                    self.sublist.set_weight(&interest.subject, queue, id, weight);
                }
                Some(id)
            }
            (None, weight) => {
                let id = self.subscribe(Subscription {
                    owner: Owner::Shard(shard),
                    sid: Box::default(),
                    subject: interest.subject.clone(),
                    queue: interest.queue.clone(),
                    max: 0,
                    delivered: 0,
                });
                if let Some(queue) = queue
                    && weight > 1
                {
                    self.sublist.set_weight(&interest.subject, queue, id, weight);
                }
                Some(id)
            }
        }
    }
}
