//! How a connection leaves the mesh, and what is dialled again.

use std::time::Duration;

use ring::Time;

use crate::close::CloseReason;
use crate::ids::ConnId;

use super::conn::{Conn, Role, Stage};
use super::event::{Action, Lane};
use super::mesh::{Mesh, Turn};
use super::target::{
    Endpoint, FAREWELL, MEMORY, Origin, REDIAL_DELAY, REDIAL_JITTER, REPAIR_DELAY, Want, doubled,
    jitter,
};

/// What the end of a connection means for the next dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It broke, or the peer ended it.
    Lost,
    /// This server refused it, in the handshake or later.
    Refused,
    /// Another connection takes its place.
    Replaced { by: ConnId },
    /// The configuration does not want it any more, or wants it otherwise.
    Reconfigured,
}

impl Mesh {
    /// Ends a connection from this side.
    pub(super) fn end(
        &mut self,
        id: ConnId,
        reason: CloseReason,
        error: Option<String>,
        gone: Gone,
        turn: &mut Turn<'_>,
    ) {
        if self.conns.contains_key(&id) {
            turn.close(id, reason, error);
            self.remove(id, reason, gone, turn);
        }
    }

    pub(super) fn handle_closed(&mut self, id: ConnId, reason: CloseReason, turn: &mut Turn<'_>) {
        self.remove(id, reason, Gone::Lost, turn);
    }

    /// An `-ERR` ends a connection. Those about accounts say that these go with the pool; the
    /// server may change its mind, and so is dialled for them now and then.
    pub(super) fn handle_refused(&mut self, id: ConnId, text: &str, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (peer, rid, remote) = (conn.peer, conn.rid, conn.remote_id.clone());
        let account = conn.want().and_then(|want| want.account.clone());
        let account = account.filter(|_| ACCOUNT_ERRORS.iter().any(|about| text.contains(about)));
        let is_news = account.is_none_or(|account| self.account_refused(&remote, &account, turn));
        if is_news {
            tracing::error!("{peer} - rid:{rid} - Route Error {text}");
        } else {
            tracing::debug!("{peer} - rid:{rid} - Route Error {text}");
        }
        self.end(id, CloseReason::ParseError, None, Gone::Lost, turn);
    }

    fn remove(&mut self, id: ConnId, reason: CloseReason, gone: Gone, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.remove(&id) else { return };
        let remote = self.remotes.get(&conn.remote_id).map(|remote| remote.name.as_str());
        let (peer, rid, remote) = (conn.peer, conn.rid, remote.unwrap_or_default());
        if conn.is_retry {
            tracing::debug!(
                "{peer} - rid:{rid} - Router connection closed: {reason} - Remote: {remote}"
            );
        } else {
            tracing::info!(
                "{peer} - rid:{rid} - Router connection closed: {reason} - Remote: {remote}"
            );
        }
        match (&conn.stage, &conn.lane) {
            (Stage::Registered { since }, Some(lane)) => {
                let lived = turn.now.since(*since);
                self.leave_place(id, &conn, lane, gone, turn);
                self.redial(&conn, gone, lived, turn);
            }
            (
                Stage::AwaitConnect
                | Stage::AwaitVerdict(_)
                | Stage::AwaitInfo
                | Stage::Registered { .. },
                _,
            ) => self.handshake_ended(id, &conn, reason, gone, turn),
        }
    }

    fn leave_place(
        &mut self,
        id: ConnId,
        conn: &Conn,
        lane: &Lane,
        gone: Gone,
        turn: &mut Turn<'_>,
    ) {
        let Some(remote) = self.remotes.get_mut(&conn.remote_id) else { return };
        if remote.at(lane) == Some(id) {
            let heir = if let Gone::Replaced { by } = gone { Some(by) } else { None };
            remote.set(lane, heir);
            if let (Lane::Account(account), None) = (lane, heir) {
                self.account_lost(&conn.remote_id, account, turn);
            }
        }
        let Some(remote) = self.remotes.get_mut(&conn.remote_id) else { return };
        if remote.first_pooled().is_none() {
            let urls = std::mem::take(&mut remote.client_urls);
            if self.urls.remove(&urls) {
                turn.out.push(Action::ClientUrls(self.urls.list()));
            }
        }
    }

    /// Sees to it that what a lost connection carried is carried again.
    fn redial(&mut self, conn: &Conn, gone: Gone, lived: Duration, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.get_mut(&conn.remote_id) else { return };
        let has_conns = remote.conns().next().is_some();
        let was_pooled = !matches!(conn.lane, Some(Lane::Account(_)));
        if was_pooled {
            let since = remote.unsure.map_or(conn.heard_at, |(since, _)| since.min(conn.heard_at));
            remote.unsure = Some((since, turn.now));
        }
        let delay = match gone {
            Gone::Replaced { .. } => return self.expect_repair(&conn.remote_id, turn.now),
            Gone::Reconfigured => None,
            Gone::Lost | Gone::Refused if !conn.solicited => None,
            Gone::Lost | Gone::Refused => Some(self.delay_after_loss(conn, lived)),
        };
        if !has_conns {
            return self.remote_left(&conn.remote_id, delay, turn);
        }
        if gone == Gone::Lost && was_pooled {
            self.repeat_news(&conn.remote_id, turn);
        }
        if let Some(delay) = delay {
            self.ensure(&conn.remote_id.clone(), turn.now + delay);
        }
        self.expect_repair(&conn.remote_id, turn.now);
    }

    /// How soon a connection that was lost is dialled again.
    fn delay_after_loss(&mut self, conn: &Conn, lived: Duration) -> Duration {
        let want = conn.want().filter(|_| conn.rtt.is_none() && !conn.configured);
        let target = want.and_then(|want| self.targets.get_mut(&want.endpoint));
        let delay = match (want, target) {
            // A gossiped server that never answered: who lets nobody in says INFO before it refuses.
            (Some(want), Some(target)) => {
                // Accounts follow the pool.
                let denials = target.failures.saturating_add(u32::from(want.account.is_none()));
                target.failures = denials;
                doubled(REDIAL_DELAY, denials.saturating_sub(1))
            }
            // Who closes at once may do so again: that is no time to hurry.
            _ if conn.configured || lived < REDIAL_DELAY => REDIAL_DELAY,
            _ => Duration::ZERO,
        };
        delay + jitter(&mut self.rng, REDIAL_JITTER)
    }

    /// Forgets a server, but not how to find it.
    fn remote_left(&mut self, id: &str, delay: Option<Duration>, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.remove(id) else { return };
        turn.out.push(Action::RemoteLeft { id: id.to_owned() });
        let repair = REPAIR_DELAY + jitter(&mut self.rng, REPAIR_DELAY);
        let has_ended = remote.leaves_at.is_some_and(|at| turn.now.since(at) < FAREWELL);
        let mut wanted: Vec<(Endpoint, Time)> = Vec::new();
        let mut left = Vec::new();
        for (endpoint, target) in &mut self.targets {
            if target.remote.as_deref() != Some(id) {
                continue;
            }
            // Others who lost it, too, remember it themselves.
            target.gossip_mode = GOSSIP_DISABLED;
            target.joined = Some(remote.joined);
            target.name.clone_from(&remote.name);
            target.is_ringmesh = remote.is_ringmesh;
            target.has_ended = has_ended;
            target.lost_at = remote.unsure.map(|(since, _)| since);
            match target.origin {
                Origin::Configured | Origin::Name(_) => {
                    target.gossip_mode = 0;
                    let delay = delay.unwrap_or(REDIAL_DELAY).max(REDIAL_DELAY);
                    wanted.push((endpoint.clone(), turn.now + delay));
                }
                Origin::Gossiped if remote.is_lame => left.push(endpoint.clone()),
                Origin::Gossiped => {
                    target.forget_at = turn.now + MEMORY;
                    wanted.push((endpoint.clone(), turn.now + delay.unwrap_or(repair)));
                }
            }
        }
        for endpoint in left {
            self.drop_target(&endpoint);
        }
        for (endpoint, until) in wanted {
            self.name_changed(&endpoint, turn.now);
            self.schedule(Want { endpoint, account: None }, until);
        }
    }

    /// What was dialled and did not become a route is tried again later, or given up.
    fn handshake_ended(
        &mut self,
        id: ConnId,
        conn: &Conn,
        reason: CloseReason,
        gone: Gone,
        turn: &mut Turn<'_>,
    ) {
        let Role::Solicitor { want, .. } = &conn.role else { return };
        let is_ours = self.attempts.get(want).is_some_and(|attempt| attempt.is_for(id));
        if !is_ours {
            return;
        }
        self.attempts.remove(want);
        // Where there is no place for it, or no sense in it, another one would fare no better.
        // A server that other connections lead to is repaired by those; of a stranger's bad answer
        // nothing is known, it may be better next time.
        let is_known = want.account.is_some() || self.remotes.contains_key(&conn.remote_id);
        let is_settled = gone == Gone::Refused
            && (reason == CloseReason::DuplicateRoute
                || (reason == CloseReason::ProtocolViolation && is_known));
        if is_settled || gone == Gone::Reconfigured {
            return self.expect_repair(&conn.remote_id, turn.now);
        }
        self.attempt_failed(want.clone(), turn.now);
    }

    /// Gives whoever is expected to dial time to do so, and then dials what is missing.
    pub(super) fn expect_repair(&mut self, id: &str, now: Time) {
        let is_whole = self.remotes.get(id).is_some_and(|remote| self.is_whole(remote));
        let Some(remote) = self.remotes.get_mut(id) else { return };
        if is_whole {
            remote.repair_at = None;
            remote.repairs = 0;
            return;
        }
        let delay = doubled(REPAIR_DELAY, remote.repairs);
        remote.repair_at = Some(now + delay + jitter(&mut self.rng, delay));
    }

    pub(super) fn expire_repairs(&mut self, turn: &mut Turn<'_>) {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= turn.now);
        let due = self.remotes.iter().filter(|(_, remote)| is_due(remote.repair_at));
        let due: Vec<_> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Some(remote) = self.remotes.get_mut(&id) {
                remote.repairs = remote.repairs.saturating_add(1);
            }
            self.ensure(&id, turn.now);
            self.expect_repair(&id, turn.now);
        }
    }
}

/// What a peer says that takes no connection for an account.
const ACCOUNT_ERRORS: [&str; 3] =
    ["No route for account", "Unable to lookup account", "Not possible to have a dedicated route"];

/// The gossip mode of a connection that is no news to others.
pub(super) const GOSSIP_DISABLED: i64 = 1;
