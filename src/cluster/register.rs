//! Where a connection belongs once its handshake is done, and what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::Time;

use crate::close::CloseReason;
use crate::ids::ConnId;
use crate::proto::route_info::RouteInfo;
use crate::transport::Mode;

use super::close::Gone;
use super::conn::{Conn, Pooled, Remote, Stage};
use super::event::{Action, Lane, Registration};
use super::handshake::Refusal;
use super::mesh::{CAP_INTEREST_GRACE, CAP_QUEUES_ONLY, Mesh, REMOTES_MAX, Turn};
use super::target::Endpoint;
use super::urls;

impl Mesh {
    /// Gives a connection its place, or says why it has none.
    pub(super) fn register(
        &mut self,
        id: ConnId,
        mut info: RouteInfo,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.remote_id.clone_from(&info.server_id);
        if info.ip.is_empty() {
            let port = u16::try_from(info.port).unwrap_or_default();
            info.ip = Endpoint { port, ..Endpoint::from(conn.peer) }.url();
        }
        if let Some(want) = conn.want() {
            info.route_account = want.account.clone().unwrap_or_default();
        }
        self.note_answer(id, &info);
        let lane = self.lane_for(id, &info)?;
        if !self.remotes.contains_key(&info.server_id) && self.remotes.len() >= REMOTES_MAX {
            return Err(Refusal::silent(CloseReason::MaxConnectionsExceeded));
        }
        let lane = self.clear_way(id, lane, &info, turn)?;
        self.place(id, lane, info, turn);
        Ok(())
    }

    /// What the connection is for, as far as the two servers alone decide that. A connection that
    /// this server dialled for the pool has no index yet: the first free one follows.
    fn lane_for(&self, id: ConnId, info: &RouteInfo) -> Result<Lane, Refusal> {
        let violation = |text: String| Refusal::with(CloseReason::ProtocolViolation, text);
        let account = &info.route_account;
        if !account.is_empty() && !self.options.accounts_known.contains(account) {
            let text = format!("Unable to lookup account \"{account}\": account missing");
            return Err(Refusal::with(CloseReason::MissingAccount, text));
        }
        let is_acceptor = self.conns.get(&id).is_some_and(Conn::is_acceptor);
        let index = info.route_pool_idx;
        match self.pool_size_with(info) {
            None if !account.is_empty() => {
                return Err(violation(format!(
                    "Not possible to have a dedicated route for account \"{account}\" between \
                     those servers"
                )));
            }
            None => return Ok(Lane::Everything),
            Some(_) if !is_acceptor && index != 0 => {
                return Err(violation(format!(
                    "Route pool index should not be set but is set to {index}"
                )));
            }
            Some(size) if index < 0 || index >= i64::from(size) => {
                return Err(violation(format!(
                    "Invalid route pool index: {index} - pool size is {}",
                    info.route_pool_size
                )));
            }
            Some(_) => {}
        }
        if account.is_empty() {
            Ok(Lane::Pool(u16::try_from(index).unwrap_or_default()))
        } else if self.is_dedicated(account) {
            Ok(Lane::Account(account.clone()))
        } else {
            Err(violation(format!("No route for account \"{account}\"")))
        }
    }

    /// How many pool indexes there are with a server that says this; none if either end knows no
    /// pools.
    fn pool_size_with(&self, info: &RouteInfo) -> Option<u16> {
        let own = self.options.pool_size?;
        let theirs = u16::try_from(info.route_pool_size.clamp(0, POOL_SIZE_MAX)).ok()?;
        (theirs > 0).then(|| own.max(theirs))
    }

    /// Sees to it that the place is free: picks one, or ends one of two connections for it.
    fn clear_way(
        &mut self,
        id: ConnId,
        lane: Lane,
        info: &RouteInfo,
        turn: &mut Turn<'_>,
    ) -> Result<Lane, Refusal> {
        let pool_size = self.pool_size_with(info);
        let is_acceptor = self.conns.get(&id).is_some_and(Conn::is_acceptor);
        let Some(remote) = self.remotes.get_mut(&info.server_id) else { return Ok(lane) };
        if remote.first_pooled().is_none() {
            remote.pool_size = pool_size;
            remote.slots.resize(pool_size.map_or(1, usize::from), None);
        }
        let (occupant, lane) = match (&lane, remote.pool_size) {
            (Lane::Pool(index), Some(_)) => {
                // The peer may have a larger pool after it has read its configuration again.
                let size = pool_size.map_or(1, usize::from).max(remote.slots.len());
                remote.slots.resize(size, None);
                remote.pool_size = u16::try_from(size).ok();
                if is_acceptor {
                    (remote.at(&Lane::Pool(*index)), lane)
                } else if let Some(free) = remote.free_slot() {
                    (None, Lane::Pool(u16::try_from(free).unwrap_or_default()))
                } else {
                    tracing::debug!("Route pool size reached, closing extra connection");
                    (remote.first_pooled(), lane)
                }
            }
            (Lane::Pool(_) | Lane::Everything, _) => (remote.first_pooled(), lane),
            (Lane::Account(_), _) => (remote.at(&lane), lane),
        };
        let Some(occupant) = occupant else { return Ok(lane) };
        if is_acceptor && self.newer_survives(occupant, info, turn) {
            self.end(occupant, CloseReason::DuplicateRoute, None, Gone::Replaced { by: id }, turn);
            return Ok(lane);
        }
        self.inherit(id, occupant, &info.server_id, turn);
        Err(Refusal::silent(CloseReason::DuplicateRoute))
    }

    /// Whether a connection that was just accepted takes the place of the one that is there.
    ///
    /// Peers keep the older one always, and so two servers that dial each other at once may lose
    /// both. Between two Ringmesh the one survives that the smaller id dialled, on both ends. Who
    /// dials for a place knows it as free: when it cannot be a coincidence, the older connection
    /// is dead and nobody has said so.
    fn newer_survives(&self, occupant: ConnId, info: &RouteInfo, turn: &Turn<'_>) -> bool {
        let Some(older) = self.conns.get(&occupant) else { return true };
        let Stage::Registered { since } = older.stage else { return true };
        info.ringmesh.is_some()
            && (older.is_acceptor()
                || info.server_id < self.options.server_id
                || turn.now.since(since) > COINCIDENCE)
    }

    /// The connection that stays is to be dialled again as the one that goes would have been.
    fn inherit(&mut self, from: ConnId, to: ConnId, remote: &str, turn: &mut Turn<'_>) {
        let Some(want) = self.conns.get(&from).and_then(Conn::want).cloned() else { return };
        let is_configured = self.is_configured(&want.endpoint);
        let pooled = self.remotes.get(remote).into_iter().flat_map(|remote| &remote.slots);
        let heirs: Vec<_> = pooled.flatten().copied().chain([to]).collect();
        for heir in heirs {
            self.mark_solicited(heir, is_configured, turn);
        }
    }

    /// A connection is to be dialled again from here when it is lost, whoever dialled it.
    fn mark_solicited(&mut self, id: ConnId, is_configured: bool, turn: &mut Turn<'_>) {
        self.mark(id, turn, |conn| {
            conn.solicited = true;
            conn.configured |= is_configured;
        });
    }

    /// The configuration names servers that may be connected already.
    pub(super) fn mark_named(&mut self, turn: &mut Turn<'_>) {
        let of_remote = |remote: &Remote| {
            let is_named = self.configured_for(&remote.info).is_some();
            remote.conns().map(move |conn| (conn, is_named)).collect::<Vec<_>>()
        };
        let conns: Vec<_> = self.remotes.values().flat_map(of_remote).collect();
        for (conn, is_named) in conns {
            self.mark(conn, turn, |conn| conn.named = is_named);
        }
    }

    /// Changes what operators see of a connection's origin, and tells its shard.
    fn mark(&mut self, id: ConnId, turn: &mut Turn<'_>, change: impl FnOnce(&mut Conn)) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let before = (conn.is_solicited(), conn.is_configured());
        change(conn);
        let (solicited, configured) = (conn.is_solicited(), conn.is_configured());
        if conn.is_registered() && before != (solicited, configured) {
            turn.out.push(Action::SetSolicited { conn: id, solicited, configured });
        }
    }

    /// Puts a connection in its place, which is free, and tells everybody concerned.
    fn place(&mut self, id: ConnId, lane: Lane, mut info: RouteInfo, turn: &mut Turn<'_>) {
        let Some(mut conn) = self.conns.remove(&id) else { return };
        let is_solicitor = !conn.is_acceptor();
        let is_configured = conn.want().is_some_and(|want| self.is_configured(&want.endpoint));
        conn.stage = Stage::Registered { since: turn.now };
        conn.heard_at = turn.now;
        conn.lane = Some(lane.clone());
        conn.import = info.import.clone();
        conn.export = info.export.clone();
        conn.solicited |= is_solicitor;
        conn.named = self.configured_for(&info).is_some();
        conn.configured |= is_configured;
        let index = if let Lane::Pool(index) = lane { index } else { 0 };
        self.send_registering_info(&mut conn, id, index, turn);

        let is_new = !self.remotes.contains_key(&info.server_id);
        let pool_size = self.pool_size_with(&info);
        let joined = self.joined_before(&info.server_id).unwrap_or(turn.now);
        if is_new {
            let pooled = self.unsure_accounts().collect();
            let remote = Remote::new(&info, pool_size, joined, pooled);
            self.remotes.insert(info.server_id.clone(), remote);
            self.forget_former(&info);
        }
        let is_unsure = self.settle_account(&info.server_id, &lane, is_solicitor, turn);
        let Some(remote) = self.remotes.get_mut(&info.server_id) else { return };
        let is_first_pooled = !matches!(lane, Lane::Account(_)) && remote.first_pooled().is_none();
        remote.set(&lane, Some(id));
        conn.is_probing =
            is_solicitor && matches!(lane, Lane::Pool(_)) && remote.free_slot().is_some();
        let is_asked = conn.is_probing || is_unsure;
        let registration = self.registration(&conn, &lane, &info);
        self.conns.insert(id, conn);
        if is_new {
            let (id, name) = (info.server_id.clone(), info.server_name.clone());
            turn.out.push(Action::RemoteJoined { id, name });
        }
        turn.out.push(Action::Register { conn: id, registration: Box::new(registration) });
        if is_asked {
            turn.out.push(Action::Ping { conn: id });
        }
        self.share_solicited(&info.server_id, id, turn);
        if is_first_pooled {
            self.apply_client_urls(&info, turn);
        }
        if is_first_pooled || matches!(lane, Lane::Account(_)) {
            // By the peer's rules the name of the cluster must be that of who is told, too.
            if !info.cluster.is_empty() {
                info.cluster.clone_from(&self.cluster.name);
            }
            self.forward(id, &info, turn);
        }
        let replaces_in = |remote: &Remote| remote.unsure.is_some_and(|(_, at)| at == turn.now);
        if self.remotes.get(&info.server_id).is_some_and(replaces_in) {
            // The connection whose place this one took may have been dead for a while.
            self.repeat_news(&info.server_id, turn);
        }
        self.finish_attempt(id);
        self.after_registration(&info.server_id, is_solicitor, turn);
    }

    /// A server that dials for an account takes connections for it, too. Whether one that was dialled
    /// does is unknown, if it has not said so: then a PING asks.
    fn settle_account(
        &mut self,
        id: &str,
        lane: &Lane,
        is_solicitor: bool,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Lane::Account(account) = lane else { return false };
        if !is_solicitor {
            self.account_taken(id, account, turn);
        }
        self.remotes.get(id).is_some_and(|remote| remote.pooled.contains_key(account))
    }

    fn registration(&self, conn: &Conn, lane: &Lane, info: &RouteInfo) -> Registration {
        let remote = &self.remotes[&info.server_id];
        let url = conn.want().map_or_else(|| remote.endpoint.url(), |want| want.endpoint.url());
        Registration {
            remote_id: info.server_id.clone(),
            remote_name: info.server_name.clone(),
            ringmesh: info.ringmesh.is_some(),
            takes_passed_on: info.ringmesh.as_ref().is_some_and(|it| it.can(CAP_QUEUES_ONLY)),
            keeps_interest: info.ringmesh.as_ref().is_some_and(|it| it.can(CAP_INTEREST_GRACE)),
            lane: lane.clone(),
            pool_size: remote.pool_size.unwrap_or(1),
            apart: self.apart(remote),
            headers: self.options.headers && info.headers,
            proto: info.proto,
            lnoc: info.lnoc,
            lnocu: info.lnocu,
            ln: info.ln,
            jetstream: info.jetstream,
            import: info.import.clone(),
            export: info.export.clone(),
            solicited: conn.is_solicited(),
            configured: conn.is_configured(),
            url,
            compression: conn.compression.unwrap_or(Mode::Off),
        }
    }

    /// When a server that was lost had come.
    fn joined_before(&self, id: &str) -> Option<Time> {
        let targets = self.targets.values().filter(|target| target.remote.as_deref() == Some(id));
        targets.filter(|target| target.lost_at.is_some()).filter_map(|target| target.joined).min()
    }

    /// Pooled connections are dialled again all, once one of them was dialled.
    fn share_solicited(&mut self, remote: &str, id: ConnId, turn: &mut Turn<'_>) {
        let Some(remote) = self.remotes.get(remote) else { return };
        if self.conns.get(&id).is_some_and(|conn| matches!(conn.lane, Some(Lane::Account(_)))) {
            return;
        }
        let pool: Vec<_> = remote.slots.iter().flatten().copied().collect();
        let marks =
            |pick: fn(&Conn) -> bool| pool.iter().any(|id| self.conns.get(id).is_some_and(pick));
        let (solicited, configured) = (marks(|c| c.solicited), marks(|c| c.configured));
        for id in pool.into_iter().filter(|_| solicited) {
            self.mark_solicited(id, configured, turn);
        }
    }

    /// A server that was lost is there again, under its name and another id: where its former self was is
    /// of no interest any more, unless the configuration says so.
    fn forget_former(&mut self, info: &RouteInfo) {
        self.forget_targets(|target| !target.is_configured() && target.name == info.server_name);
    }

    fn apply_client_urls(&mut self, info: &RouteInfo, turn: &mut Turn<'_>) {
        if self.options.no_advertise {
            return;
        }
        let urls = urls::usable(&info.connect_urls);
        if self.urls.add(&urls) {
            turn.out.push(Action::ClientUrls(self.urls.list()));
        }
        if let Some(remote) = self.remotes.get_mut(&info.server_id) {
            remote.client_urls = urls;
        }
    }
}

impl Remote {
    fn new(
        info: &RouteInfo,
        pool_size: Option<u16>,
        joined: Time,
        pooled: BTreeMap<String, Pooled>,
    ) -> Self {
        let endpoint = Endpoint::parse(&info.ip);
        Self {
            name: info.server_name.clone(),
            info: info.clone(),
            is_ringmesh: info.ringmesh.is_some(),
            pool_size,
            slots: vec![None; pool_size.map_or(1, usize::from)],
            accounts: BTreeMap::new(),
            pooled,
            endpoint: endpoint.unwrap_or_else(|| Endpoint::new(&info.host, 0)),
            client_urls: Vec::new(),
            joined,
            unsure: None,
            is_lame: false,
            leaves_at: None,
            repair_at: None,
            repairs: 0,
        }
    }
}

/// Within this time of each other two dials for one place may have crossed.
const COINCIDENCE: Duration = Duration::from_secs(2);

/// More connections between two servers than that help nobody; a peer that claims more gets these.
const POOL_SIZE_MAX: i64 = 256;
