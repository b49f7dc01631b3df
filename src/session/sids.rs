//! A client's own names for its subscriptions.

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use crate::sublist::Subscription;

/// Up to so many subscriptions a search is as fast as a map, and much smaller.
const FEW: usize = 8;

/// From sid to the slot of the subscription.
pub enum Sids {
    /// Slots; the names stand in the subscriptions.
    Few(Vec<u32>),
    /// With an index.
    Many(Box<HashMap<Box<[u8]>, u32, FixedState>>),
}

impl Default for Sids {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Sids {
    /// The slot of the subscription of that name.
    #[must_use]
    pub fn find(&self, subscriptions: &Slab<Subscription>, sid: &[u8]) -> Option<u32> {
        match self {
            Self::Few(ids) => {
                ids.iter().copied().find(|id| *subscriptions[*id as usize].sid == *sid)
            }
            Self::Many(index) => index.get(sid).copied(),
        }
    }

    /// Adds a name that is not there yet; `seed` keeps a peer from choosing names that collide.
    pub fn insert(&mut self, subscriptions: &Slab<Subscription>, id: u32, seed: u64) {
        let sid = |id: u32| subscriptions[id as usize].sid.clone();
        match self {
            Self::Few(ids) if ids.len() < FEW => {
                if ids.capacity() == 0 {
                    ids.reserve_exact(1);
                }
                ids.push(id);
            }
            Self::Few(ids) => {
                let mut index = HashMap::with_hasher(FixedState::with_seed(seed));
                index.extend(ids.iter().chain([&id]).map(|id| (sid(*id), *id)));
                *self = Self::Many(Box::new(index));
            }
            Self::Many(index) => {
                index.insert(sid(id), id);
            }
        }
    }

    /// Removes the name of a subscription.
    pub fn remove(&mut self, id: u32, sid: &[u8]) {
        match self {
            Self::Few(ids) => ids.retain(|other| *other != id),
            Self::Many(index) => {
                index.remove(sid);
            }
        }
    }

    /// All slots.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        match self {
            Self::Few(ids) => ids.clone(),
            Self::Many(index) => index.values().copied().collect(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Few(ids) => ids.len(),
            Self::Many(index) => index.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
