//! The members of one filter, or of one queue group of one filter.
//!
//! One member, the usual case, takes no memory of its own; a crowd has an index, so that leaving
//! it does not cost a search through all of it.

use hashbrown::HashTable;

use super::Member;
use super::hashing::{owned, slot, spread};

/// A set of members, by id.
#[derive(Debug)]
pub(super) enum Members {
    None,
    One(Member),
    Many(Box<Crowd>),
}

/// Two members or more.
#[derive(Debug)]
pub(super) struct Crowd {
    list: Vec<Member>,
    /// Places in `list`, keyed by the id there. Empty while the list is short.
    places: HashTable<u32>,
}

impl Members {
    /// Adds a member, or gives it a new weight; true when it is new.
    pub(super) fn insert(&mut self, member: Member) -> bool {
        if self.set_weight(member.id, member.weight) {
            return false;
        }
        match self {
            Self::None => *self = Self::One(member),
            Self::One(first) => *self = Self::Many(Box::new(Crowd::new(*first, member))),
            Self::Many(crowd) => crowd.push(member),
        }
        true
    }

    /// Removes a member; false when it is not there.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::None => false,
            Self::One(member) => {
                let is_it = member.id == id;
                if is_it {
                    *self = Self::None;
                }
                is_it
            }
            Self::Many(crowd) => {
                let is_removed = crowd.remove(id);
                if let [last] = crowd.list[..] {
                    *self = Self::One(last);
                }
                is_removed
            }
        }
    }

    /// Gives a member a new weight; false when it is not there.
    pub(super) fn set_weight(&mut self, id: u32, weight: u32) -> bool {
        let member = match self {
            Self::None => None,
            Self::One(member) => (member.id == id).then_some(member),
            Self::Many(crowd) => crowd.place(id).map(|place| &mut crowd.list[place]),
        };
        member.map(|member| member.weight = weight).is_some()
    }

    pub(super) fn as_slice(&self) -> &[Member] {
        match self {
            Self::None => &[],
            Self::One(member) => std::slice::from_ref(member),
            Self::Many(crowd) => &crowd.list,
        }
    }
}

impl Crowd {
    fn new(first: Member, second: Member) -> Self {
        Self { list: vec![first, second], places: HashTable::new() }
    }

    fn push(&mut self, member: Member) {
        self.list.push(member);
        if !self.places.is_empty() {
            self.index(self.list.len() - 1);
        } else if self.list.len() > LIST_MAX {
            (0..self.list.len()).for_each(|place| self.index(place));
        }
    }

    fn remove(&mut self, id: u32) -> bool {
        let Some(place) = self.place(id) else { return false };
        let last = self.list.len() - 1;
        let is_indexed = !self.places.is_empty();
        if is_indexed {
            self.forget(place);
            if place != last {
                self.forget(last);
            }
        }
        self.list.swap_remove(place);
        if is_indexed && place != last {
            self.index(place);
        }
        self.shrink();
        true
    }

    fn place(&self, id: u32) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|member| member.id == id);
        }
        let is_it = |place: &u32| self.list[*place as usize].id == id;
        self.places.find(hash(id), is_it).map(|place| *place as usize)
    }

    fn index(&mut self, place: usize) {
        let Self { list, places } = self;
        let hasher = |place: &u32| hash(list[*place as usize].id);
        places.insert_unique(hash(list[place].id), slot(place), hasher);
    }

    fn forget(&mut self, place: usize) {
        let wanted = slot(place);
        self.places
            .find_entry(hash(self.list[place].id), |place| *place == wanted)
            .expect("an index holds every place")
            .remove();
    }

    fn shrink(&mut self) {
        if self.list.len() <= LIST_MAX / 2 {
            self.places = HashTable::new();
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
    }
}

fn hash(id: u32) -> u64 {
    spread(owned(id, 0))
}

/// The longest list that is searched from end to end.
const LIST_MAX: usize = 64;
