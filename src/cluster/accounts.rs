//! Accounts that have connections of their own.
//!
//! Which they are, both ends say: this server's configuration, and peers that got such an account when they
//! read theirs again. Who did asks the others first, on the connection of the pool that carried the account:
//!
//! ```text
//!  asks    INFO route_account=A route_acc_add_reqid=r ─▶  forgets what it learned of A in the pool,
//!          ◀─ INFO route_acc_add_reqid=r                  and takes a connection for A from now on
//!  dials   CONNECT, INFO route_account=A ─────────────▶
//! ```
//!
//! Invariant: towards each server an account's interest goes one way, over its own connection or with
//! the pool. It goes with the pool while the server takes no connection for it, as far as is known.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::close::CloseReason;
use crate::ids::ConnId;
use crate::proto::route;
use crate::proto::route_info::RouteInfo;

use super::close::Gone;
use super::conn::{Pooled, Remote};
use super::event::Action;
use super::mesh::{Mesh, Turn};
use super::target::{REDIAL_JITTER, Want, jitter};

impl Mesh {
    /// Whether a connection for this account alone is taken.
    pub(super) fn is_dedicated(&self, account: &str) -> bool {
        self.options.accounts.contains(account) || self.told.contains(account)
    }

    /// Which accounts are to have a connection of their own with a server. It is dialled for those that
    /// are configured here, be it in vain; for the others only while they would have one.
    pub(super) fn accounts_with(&self, remote: &Remote) -> BTreeSet<String> {
        if remote.pool_size.is_none() {
            return BTreeSet::new();
        }
        let told = self.told.iter().filter(|account| !remote.pooled.contains_key(*account));
        self.options.accounts.iter().chain(told).cloned().collect()
    }

    /// Which of them have none.
    pub(super) fn missing_accounts(&self, remote: &Remote) -> Vec<String> {
        let mut accounts = self.accounts_with(remote);
        accounts.retain(|account| !remote.accounts.contains_key(account));
        accounts.into_iter().collect()
    }

    pub(super) fn is_whole(&self, remote: &Remote) -> bool {
        remote.free_slot().is_none() && self.missing_accounts(remote).is_empty()
    }

    /// Which accounts' interest does not go with the pool to a server.
    pub(super) fn apart(&self, remote: &Remote) -> Vec<String> {
        let mut accounts = self.accounts_with(remote);
        accounts.retain(|account| !remote.pooled.contains_key(account));
        accounts.into_iter().collect()
    }

    /// Accounts of which nobody knows whether a server that is new here takes connections for them.
    pub(super) fn unsure_accounts(&self) -> impl Iterator<Item = (String, Pooled)> {
        let told = self.told.difference(&self.options.accounts);
        told.map(|account| (account.clone(), Pooled::Unsure))
    }

    /// The configuration has other accounts now.
    pub(super) fn change_accounts(&mut self, before: &BTreeSet<String>, turn: &mut Turn<'_>) {
        let now = self.options.accounts.clone();
        self.questions.clear();
        let known = &self.options.accounts_known;
        self.told.retain(|account| known.contains(account));
        for account in before.difference(&now) {
            self.told.remove(account);
            self.end_account(account, turn);
        }
        for account in now.difference(before) {
            self.ask_about(account, turn);
        }
    }

    /// An account goes with the pool again.
    fn end_account(&mut self, account: &str, turn: &mut Turn<'_>) {
        for id in self.remote_ids() {
            let conn = self.remotes.get(&id).and_then(|remote| remote.accounts.get(account));
            if let Some(conn) = conn.copied() {
                self.end(conn, CloseReason::RouteRemoved, None, Gone::Reconfigured, turn);
            }
            if let Some(remote) = self.remotes.get_mut(&id) {
                remote.pooled.remove(account);
            }
            self.tell_apart(&id, turn);
        }
    }

    /// Asks all servers to take a connection for an account. Until one answers, the account stays with
    /// the pool there; who does not answer is dialled all the same.
    fn ask_about(&mut self, account: &str, turn: &mut Turn<'_>) {
        let size = self.options.pool_size.unwrap_or(1);
        let index = usize::from(route::pool_index(account.as_bytes(), size));
        let question = RouteInfo {
            route_pool_size: size.into(),
            route_account: account.to_owned(),
            route_acc_add_reqid: (0..QUESTION_LEN).map(|_| self.rng.alphanumeric()).collect(),
            ..RouteInfo::default()
        };
        let was_told = self.told.contains(account);
        for id in self.remote_ids() {
            let Some(remote) = self.remotes.get_mut(&id) else { continue };
            let is_agreed = was_told && !remote.pooled.contains_key(account);
            if !is_agreed && remote.pool_size.is_some() {
                remote.pooled.entry(account.to_owned()).or_insert(Pooled::Unsure);
                if let Some(conn) = remote.slots.get(index).copied().flatten() {
                    turn.send_info(conn, &question);
                }
            }
            self.ensure(&id, turn.now + PATIENCE);
            self.expect_repair(&id, turn.now);
        }
        self.questions.insert(question.route_acc_add_reqid, account.to_owned());
    }

    /// A question about an account, or the answer to one of this server's.
    pub(super) fn hear_of_account(&mut self, id: ConnId, info: RouteInfo, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let remote = conn.remote_id.clone();
        if !info.route_account.is_empty() {
            return self.answer_question(id, &remote, info, turn);
        }
        let Some(account) = self.questions.get(&info.route_acc_add_reqid).cloned() else { return };
        self.account_taken(&remote, &account, turn);
        self.ensure(&remote, turn.now);
        self.expire_attempts(turn);
    }

    fn answer_question(
        &mut self,
        id: ConnId,
        remote: &str,
        mut info: RouteInfo,
        turn: &mut Turn<'_>,
    ) {
        let account = std::mem::take(&mut info.route_account);
        if !self.options.accounts_known.contains(&account) {
            tracing::error!("Error looking up account \"{account}\": account missing");
            return;
        }
        // Who asks dials now, if it can; this server does if that takes too long.
        let soon = turn.now + REDIAL_JITTER + jitter(&mut self.rng, REDIAL_JITTER);
        if !self.is_dedicated(&account) {
            self.told.insert(account.clone());
            self.try_elsewhere(remote, &account, soon);
        }
        if let Some(remote) = self.remotes.get_mut(remote) {
            remote.pooled.entry(account.clone()).or_insert(Pooled::Unsure);
        }
        self.account_taken(remote, &account, turn);
        turn.send_info(id, &info);
        self.ensure(remote, soon);
        self.expect_repair(remote, turn.now);
    }

    /// Who heard of an account from the same server takes connections for it now, too, and may hear of
    /// it on no others.
    fn try_elsewhere(&mut self, except: &str, account: &str, until: ring::Time) {
        for id in self.remote_ids().into_iter().filter(|id| id != except) {
            let Some(remote) = self.remotes.get_mut(&id) else { continue };
            if remote.pool_size.is_some() && !remote.accounts.contains_key(account) {
                remote.pooled.insert(account.to_owned(), Pooled::Unsure);
                self.ensure_accounts(&id, vec![account.to_owned()], until);
            }
        }
    }

    /// A server takes a connection for an account: nothing of it goes with the pool any more.
    pub(super) fn account_taken(&mut self, id: &str, account: &str, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.get_mut(id) else { return };
        let Some(before) = remote.pooled.remove(account) else { return };
        if before == Pooled::Refused {
            tracing::info!("{} takes a route for account \"{account}\" now", remote.name);
        }
        for conn in remote.slots.iter().flatten() {
            turn.out.push(Action::ForgetAccount { conn: *conn, account: account.to_owned() });
        }
        self.tell_apart(id, turn);
    }

    /// A server takes no connection for an account. Says whether that is news.
    pub(super) fn account_refused(&mut self, id: &str, account: &str, turn: &mut Turn<'_>) -> bool {
        let Some(remote) = self.remotes.get_mut(id) else { return true };
        let before = remote.pooled.insert(account.to_owned(), Pooled::Refused);
        if before.is_none() {
            self.tell_apart(id, turn);
        }
        before != Some(Pooled::Refused)
    }

    /// Whether a server has said that it takes no such connection.
    pub(super) fn is_refused(&self, want: &Want) -> bool {
        let remote = self.targets.get(&want.endpoint).and_then(|target| target.remote.as_ref());
        let remote = remote.and_then(|id| self.remotes.get(id));
        let (Some(account), Some(remote)) = (&want.account, remote) else { return false };
        remote.pooled.get(account) == Some(&Pooled::Refused)
    }

    /// A connection for an account is lost. Without a word of the configuration, only who wanted it knows
    /// whether it comes back.
    pub(super) fn account_lost(&mut self, id: &str, account: &str, turn: &mut Turn<'_>) {
        if self.options.accounts.contains(account) || !self.told.contains(account) {
            return;
        }
        if let Some(remote) = self.remotes.get_mut(id) {
            remote.pooled.entry(account.to_owned()).or_insert(Pooled::Unsure);
            self.tell_apart(id, turn);
        }
    }

    /// Tells the shards which accounts do not go with the pool to a server.
    fn tell_apart(&self, id: &str, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.get(id).filter(|remote| remote.pool_size.is_some()) else {
            return;
        };
        let accounts = self.apart(remote);
        for conn in remote.slots.iter().flatten() {
            turn.out.push(Action::SetApart { conn: *conn, accounts: accounts.clone() });
        }
    }

    fn remote_ids(&self) -> Vec<String> {
        self.remotes.keys().cloned().collect()
    }
}

/// As long as the names that peers give to questions.
const QUESTION_LEN: usize = 22;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
