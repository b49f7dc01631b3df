//! Queue groups: the members that share one filter and one queue name.
//!
//! The groups of one filter form a list that begins in the filter's node; a hash table finds one
//! of them by node and name. Names are interned: a match joins the groups of one name, whichever
//! filter they come from, by a mark on the name instead of a search through the result.

use std::rc::Rc;

use hashbrown::HashTable;
use slab::Slab;

use super::hashing::{self, Hashing, NIL, slot, spread};
use super::members::Members;
use super::{Matches, Member};

/// All queue groups of a table.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Slab<Group>,
    by_filter: HashTable<Entry>,
    names: Slab<Name>,
    by_name: HashTable<Entry>,
}

#[derive(Debug)]
struct Group {
    members: Members,
    name: u32,
    node: u32,
    next: u32,
    previous: u32,
}

#[derive(Debug)]
struct Name {
    text: Rc<[u8]>,
    groups: u32,
    /// The match that met this name last, and the place the name has in its result.
    met: u64,
    place: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// A node of the trie, and its head of the list of groups.
type Head<'a> = (u32, &'a mut u32);

impl Groups {
    /// Adds a member, or gives it a new weight; true when it is new.
    pub(super) fn insert(
        &mut self,
        hashing: &Hashing,
        (node, first): Head<'_>,
        name: &[u8],
        member: Member,
    ) -> bool {
        let name = self.name_or_add(hashing, name);
        let group = match self.group(node, name) {
            Some(group) => group,
            None => self.add(node, first, name),
        };
        self.groups[group as usize].members.insert(member)
    }

    /// Removes a member, and its group with the last one; false when it is not there.
    pub(super) fn remove(
        &mut self,
        hashing: &Hashing,
        (node, first): Head<'_>,
        name: &[u8],
        id: u32,
    ) -> bool {
        let Some(name) = self.name(hashing, name) else { return false };
        let Some(group) = self.group(node, name) else { return false };
        let members = &mut self.groups[group as usize].members;
        let is_removed = members.remove(id);
        if members.as_slice().is_empty() {
            self.free(hashing, first, group);
        }
        is_removed
    }

    pub(super) fn members_mut(
        &mut self,
        hashing: &Hashing,
        node: u32,
        name: &[u8],
    ) -> Option<&mut Members> {
        let group = self.group(node, self.name(hashing, name)?)?;
        Some(&mut self.groups[group as usize].members)
    }

    /// Adds the groups of a list to a result. `stamp` is another one for each result.
    pub(super) fn collect(&mut self, first: u32, stamp: u64, found: &mut Matches) {
        let mut next = first;
        while next != NIL {
            let group = &self.groups[next as usize];
            let name = &mut self.names[group.name as usize];
            if name.met != stamp {
                name.met = stamp;
                name.place = found.open_queue(&name.text);
            }
            found.queues[name.place].members.extend_from_slice(group.members.as_slice());
            next = group.next;
        }
    }

    /// How many groups and names there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        assert_eq!(self.groups.len(), self.by_filter.len());
        assert_eq!(self.names.len(), self.by_name.len());
        (self.groups.len(), self.names.len())
    }

    fn name(&self, hashing: &Hashing, text: &[u8]) -> Option<u32> {
        let hash = name_hash(hashing, text);
        let is_it =
            |entry: &Entry| entry.hash == hash && *self.names[entry.slot as usize].text == *text;
        self.by_name.find(spread(hash), is_it).map(|entry| entry.slot)
    }

    fn name_or_add(&mut self, hashing: &Hashing, text: &[u8]) -> u32 {
        if let Some(name) = self.name(hashing, text) {
            return name;
        }
        let name = Name { text: text.into(), groups: 0, met: 0, place: 0 };
        let slot = slot(self.names.insert(name));
        let hash = name_hash(hashing, text);
        self.by_name.insert_unique(spread(hash), Entry { hash, slot }, Entry::spread);
        slot
    }

    fn group(&self, node: u32, name: u32) -> Option<u32> {
        let hash = hashing::owned(node, u64::from(name));
        let is_it = |entry: &Entry| {
            let group = &self.groups[entry.slot as usize];
            group.node == node && group.name == name
        };
        self.by_filter.find(spread(hash), is_it).map(|entry| entry.slot)
    }

    fn add(&mut self, node: u32, first: &mut u32, name: u32) -> u32 {
        let members = Members::None;
        let group = Group { members, name, node, next: *first, previous: NIL };
        let slot = slot(self.groups.insert(group));
        if *first != NIL {
            self.groups[*first as usize].previous = slot;
        }
        *first = slot;
        let hash = hashing::owned(node, u64::from(name));
        self.by_filter.insert_unique(spread(hash), Entry { hash, slot }, Entry::spread);
        self.names[name as usize].groups += 1;
        slot
    }

    fn free(&mut self, hashing: &Hashing, first: &mut u32, slot: u32) {
        let group = self.groups.remove(slot as usize);
        match group.previous {
            NIL => *first = group.next,
            previous => self.groups[previous as usize].next = group.next,
        }
        if group.next != NIL {
            self.groups[group.next as usize].previous = group.previous;
        }
        take(&mut self.by_filter, hashing::owned(group.node, u64::from(group.name)), slot);
        self.release(hashing, group.name);
        if self.groups.is_empty() && self.groups.capacity() > GROUPS_KEPT {
            *self = Self::default();
        }
    }

    fn release(&mut self, hashing: &Hashing, slot: u32) {
        let name = &mut self.names[slot as usize];
        name.groups -= 1;
        if name.groups == 0 {
            let name = self.names.remove(slot as usize);
            take(&mut self.by_name, name_hash(hashing, &name.text), slot);
        }
    }
}

impl Entry {
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

fn name_hash(hashing: &Hashing, text: &[u8]) -> u32 {
    hashing::owned(NIL, hashing.bytes(text))
}

fn take(table: &mut HashTable<Entry>, hash: u32, slot: u32) {
    table
        .find_entry(spread(hash), |entry| entry.slot == slot)
        .expect("a table holds every slot")
        .remove();
}

/// A table with capacity for so many groups does not bother to give memory back.
const GROUPS_KEPT: usize = 1024;
