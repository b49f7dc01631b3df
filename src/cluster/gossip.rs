//! What servers tell each other about third ones.
//!
//! A server that gets a new peer tells those it has already, and they dial the newcomer. The
//! gossip mode of a connection says whether its other end is to tell on.

use ring::Time;

use crate::close::CloseReason;
use crate::ids::ConnId;
use crate::proto::route_info::RouteInfo;

use super::close::GOSSIP_DISABLED;
use super::conn::{Remote, Role};
use super::event::Action;
use super::handshake::{Refusal, is_token};
use super::mesh::{Mesh, Turn};
use super::name::{self, NameVerdict};
use super::target::{Endpoint, Want};

impl Mesh {
    /// Tells the other servers about one that has just got its first connection, of the pool or
    /// for an account.
    pub(super) fn forward(&mut self, id: ConnId, info: &RouteInfo, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let is_configured = conn.want().is_some_and(|want| self.is_configured(&want.endpoint));
        let is_acceptor = conn.is_acceptor();
        let is_from_gossip = match conn.role {
            Role::Acceptor => false,
            Role::Solicitor { gossip_mode, .. } => !is_configured && gossip_mode != GOSSIP_OVERRIDE,
        };
        if is_from_gossip || info.gossip_mode == GOSSIP_DISABLED {
            return self.catch_up(info, turn);
        }
        let account = &info.route_account;
        let has_pool = |remote: &Remote| remote.first_pooled().is_some();
        let is_heard_of = self.remotes.get(&info.server_id).is_some_and(has_pool);
        for (other, remote) in &self.remotes {
            let is_for_account = !account.is_empty();
            // A Ringmesh dials a newcomer for all accounts at once, when it hears of it.
            let knows_anyway =
                is_for_account && is_heard_of && (remote.is_ringmesh || remote.pool_size.is_none());
            let through = remote.accounts.get(account).copied().or_else(|| remote.first_pooled());
            let Some(through) = through.filter(|_| *other != info.server_id && !knows_anyway)
            else {
                continue;
            };
            let other_is_configured = self.conns.get(&through).is_some_and(|conn| conn.configured);
            let gossip_mode = match (is_acceptor, is_configured, other_is_configured) {
                (true, _, true) | (false, true, _) => GOSSIP_OVERRIDE,
                (true, _, false) => GOSSIP_DISABLED,
                (false, false, _) => 0,
            };
            turn.gossip(through, info, gossip_mode);
        }
    }

    /// Tells of a server that was lost and is here again those that have come since it was last
    /// heard of: they cannot remember it, and nobody else tells them.
    fn catch_up(&mut self, info: &RouteInfo, turn: &mut Turn<'_>) {
        let found = self.targets.values_mut().find(|target| {
            target.remote.as_deref() == Some(&*info.server_id) && target.lost_at.is_some()
        });
        let Some(lost_at) = found.and_then(|target| target.lost_at.take()) else { return };
        for (other, remote) in &self.remotes {
            let is_newer = remote.joined > lost_at && *other != info.server_id;
            if let Some(through) = remote.first_pooled().filter(|_| is_newer) {
                turn.gossip(through, info, GOSSIP_DISABLED);
            }
        }
    }

    /// Says again what may have been said into a connection that was dead already.
    pub(super) fn repeat_news(&mut self, id: &str, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.get(id) else { return };
        let (Some(through), Some((since, _))) = (remote.first_pooled(), remote.unsure) else {
            return;
        };
        for (other, remote) in &self.remotes {
            if other != id && remote.joined > since {
                turn.gossip(through, &remote.info, GOSSIP_DISABLED);
            }
        }
    }

    /// An INFO on a connection that is registered already.
    pub(super) fn handle_later_info(&mut self, id: ConnId, info: RouteInfo, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(&id) else { return };
        if !info.route_acc_add_reqid.is_empty() {
            return self.hear_of_account(id, info, turn);
        }
        if !info.gateway.is_empty() {
            tracing::debug!("Ignoring the gateway \"{}\" that a route told of", info.gateway);
            return;
        }
        if info.server_id != conn.remote_id {
            return self.hear_gossip(&info, turn);
        }
        if info.ldm {
            return self.peer_is_lame(&info.server_id, turn);
        }
        let (claim, name) = (self.cluster.claim(), info.cluster.as_str());
        let theirs = name::NameClaim { name, is_dynamic: info.cluster_dynamic };
        if !name.is_empty() && name::judge(claim, theirs) == NameVerdict::Reject {
            return self.refuse(id, Refusal::silent(CloseReason::ClusterNameConflict), turn);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.import != info.import || conn.export != info.export {
            conn.import.clone_from(&info.import);
            conn.export.clone_from(&info.export);
            let (import, export) = (info.import, info.export);
            turn.out.push(Action::PeerRules { conn: id, import, export });
        }
    }

    fn hear_gossip(&mut self, info: &RouteInfo, turn: &mut Turn<'_>) {
        if info.server_id == self.options.server_id || !is_token(&info.server_id) {
            return;
        }
        let account = &info.route_account;
        let is_known = self.remotes.get(&info.server_id).is_some_and(|remote| {
            if account.is_empty() {
                remote.first_pooled().is_some()
            } else {
                remote.accounts.contains_key(account)
            }
        });
        let has_lane =
            account.is_empty() || (self.options.pool_size.is_some() && self.is_dedicated(account));
        if is_known || !has_lane {
            return;
        }
        if let Some(configured) = self.configured_for(info) {
            // It is dialled without this; only now it is worth a try.
            self.hurry(&configured, turn);
            return;
        }
        match Endpoint::parse(&info.ip) {
            Some(endpoint) => self.dial_gossiped(&endpoint, info, turn),
            None => tracing::error!("Error parsing URL from INFO: \"{}\"", info.ip),
        }
    }

    /// Brings a waiting dial forward.
    fn hurry(&mut self, endpoint: &Endpoint, turn: &mut Turn<'_>) {
        let want = Want { endpoint: endpoint.clone(), account: None };
        if self.attempts.contains_key(&want) {
            self.schedule(want, turn.now);
            self.expire_attempts(turn);
        }
    }

    /// A peer says that it stops, or what it said overtakes nobody any more and it has. Whoever says so for
    /// it while it stays does no harm.
    pub(super) fn peer_leaves(&mut self, id: &str, now: Time) {
        if let Some(remote) = self.remotes.get_mut(id) {
            remote.leaves_at = Some(now);
            return;
        }
        let of_it = self.targets.values_mut().filter(|it| it.remote.as_deref() == Some(id));
        of_it.for_each(|target| target.has_ended = true);
    }

    /// Keeps clients away from a peer that is about to stop.
    pub(super) fn peer_is_lame(&mut self, id: &str, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.get_mut(id) else { return };
        if !remote.is_lame {
            tracing::info!("Server {} is about to stop", remote.name);
        }
        remote.is_lame = true;
        let urls = std::mem::take(&mut remote.client_urls);
        if self.urls.remove(&urls) {
            turn.out.push(Action::ClientUrls(self.urls.list()));
        }
    }

    /// Tells peers that this server is about to stop.
    pub(super) fn handle_lame_duck(&mut self, turn: &mut Turn<'_>) {
        self.is_lame = true;
        let info = RouteInfo { ldm: true, ..self.own_info() };
        for conn in self.remotes.values().filter_map(|remote| remote.first_pooled()) {
            turn.send_info(conn, &info);
        }
    }
}

impl Turn<'_> {
    /// Passes on the INFO of another server.
    fn gossip(&mut self, through: ConnId, info: &RouteInfo, gossip_mode: i64) {
        let told = RouteInfo { gossip_mode, nonce: String::new(), ..info.clone() };
        let mut bytes = Vec::new();
        told.encode_forwarded_line(&mut bytes);
        if bytes.len() <= GOSSIP_BYTES_MAX {
            self.out.push(Action::Send { conn: through, bytes });
        }
    }
}

/// The gossip mode that says: tell on, although you heard it yourself.
const GOSSIP_OVERRIDE: i64 = 2;

/// The longest line of gossip: far longer than those of servers with many addresses, and well below
/// what peers take as a line.
const GOSSIP_BYTES_MAX: usize = 32 * 1024;
