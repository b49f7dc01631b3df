//! The accounts of a server: who shares subjects with whom.
//!
//! An account is a name and a number; what is subscribed in it stands in the tables that are kept by
//! number. The module knows no user and no connection.
//!
//! Invariant: an account keeps its number as long as the server runs, also when a reload drops it and
//! brings it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::AccountId;

/// The name of the account of everybody.
pub const GLOBAL: &str = "$G";
/// The name of the system account, unless the configuration names another one.
pub const SYSTEM: &str = "$SYS";

/// What is known of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: Arc<str>,
    /// Its clients may use the JetStream of other servers of the cluster.
    pub jetstream: bool,
}

/// All accounts, by number and by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    list: Vec<Account>,
    by_name: BTreeMap<Arc<str>, AccountId>,
}

impl Accounts {
    /// The two accounts that every server has.
    #[must_use]
    pub fn new(system: &str) -> Self {
        let mut accounts = Self { list: Vec::new(), by_name: BTreeMap::new() };
        accounts.add(GLOBAL, false);
        accounts.add(system, false);
        accounts
    }

    /// Adds an account, or changes what is known of it.
    ///
    /// # Panics
    /// With more than 65,536 accounts, which the configuration does not let through.
    pub fn add(&mut self, name: &str, jetstream: bool) -> AccountId {
        if let Some(id) = self.by_name.get(name) {
            self.list[id.index()].jetstream = jetstream;
            return *id;
        }
        let id = AccountId(u16::try_from(self.list.len()).expect("accounts fit their numbers"));
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), id);
        self.list.push(Account { name, jetstream });
        id
    }

    /// The account of that name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<AccountId> {
        // Route lines name it a million times a second: the common one is looked at first.
        if name == GLOBAL.as_bytes() {
            return Some(AccountId::GLOBAL);
        }
        self.by_name.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// What is known of an account.
    #[must_use]
    pub fn get(&self, id: AccountId) -> &Account {
        &self.list[id.index()]
    }

    /// An account's name.
    #[must_use]
    pub fn name(&self, id: AccountId) -> &str {
        &self.list[id.index()].name
    }

    /// All accounts with their numbers, in the order of the numbers.
    pub fn iter(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        (0..).map(AccountId).zip(&self.list)
    }

    /// How many there are; at least two.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none, which is never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self::new(SYSTEM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_keep_their_numbers() {
        let mut accounts = Accounts::default();
        assert_eq!(accounts.find(b"$G"), Some(AccountId::GLOBAL));
        assert_eq!(accounts.find(b"$SYS"), Some(AccountId::SYSTEM));
        let a = accounts.add("A", false);
        let b = accounts.add("B", true);
        assert_eq!(accounts.add("A", true), a);
        assert_eq!(accounts.find(b"B"), Some(b));
        assert_eq!(accounts.find(b"C"), None);
        assert!(accounts.get(a).jetstream && accounts.len() == 4);
        assert_eq!(accounts.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
