//! What the clients of each account do, counted as it happens, so that nobody has to walk the clients to tell.
//!
//! It does not know what a client or a message is. Invariant: traffic and slow consumers only grow;
//! clients and subscriptions are those that are here.

use crate::ids::AccountId;
use crate::report::AccountReport;

/// One count of everything for each account that had clients, by the account's number.
#[derive(Default)]
pub(super) struct Tallies {
    accounts: Vec<AccountReport>,
}

impl Tallies {
    /// What an account's clients do.
    #[inline]
    pub(super) fn of(&mut self, account: AccountId) -> &mut AccountReport {
        if account.index() >= self.accounts.len() {
            self.make_room(account);
        }
        &mut self.accounts[account.index()]
    }

    /// Accounts come with a reload, so seldom.
    #[cold]
    fn make_room(&mut self, account: AccountId) {
        let numbers = (0..=account.0).skip(self.accounts.len()).map(AccountId);
        self.accounts.extend(numbers.map(AccountReport::blank));
    }

    /// The accounts of which there is something to tell, in the order of their numbers.
    pub(super) fn reports(&self) -> Vec<AccountReport> {
        let is_blank = |report: &AccountReport| *report == AccountReport::blank(report.account);
        self.accounts.iter().filter(|report| !is_blank(report)).copied().collect()
    }

    /// What the clients of all accounts do together.
    pub(super) fn sum(&self) -> AccountReport {
        let mut sum = AccountReport::default();
        self.accounts.iter().for_each(|account| sum.merge(account));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accounts_that_did_something_are_told() {
        let mut tallies = Tallies::default();
        tallies.of(AccountId(3)).in_msgs += 2;
        tallies.of(AccountId(1)).clients += 1;
        tallies.of(AccountId(2)).clients += 1;
        tallies.of(AccountId(2)).clients -= 1;
        let one = AccountReport { clients: 1, ..AccountReport::blank(AccountId(1)) };
        let three = AccountReport { in_msgs: 2, ..AccountReport::blank(AccountId(3)) };
        assert_eq!(tallies.reports(), [one, three]);
    }
}
