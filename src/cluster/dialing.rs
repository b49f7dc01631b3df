//! Dials: what is wanted, when it is tried, and what came of it.

use std::net::SocketAddr;
use std::time::Duration;

use ring::Time;

use crate::ids::ConnId;
use crate::proto::route;
use crate::proto::route_info::RouteInfo;

use super::conn::Conn;
use super::event::{Action, Lane};
use super::mesh::{Mesh, Turn};
use super::target::{
    Attempt, AttemptStage, Endpoint, MEMORY, NameStage, Origin, REDIAL_JITTER, RETRY_DELAY, Target,
    Want, jitter,
};

impl Mesh {
    /// Wants a connection no later than `until`. One that is on its way already is as good.
    pub(super) fn schedule(&mut self, want: Want, until: Time) {
        let is_first = self.targets.get(&want.endpoint).is_some_and(|target| !target.reached);
        let attempt = self
            .attempts
            .entry(want)
            .or_insert(Attempt { stage: AttemptStage::Waiting { until }, is_first });
        if let AttemptStage::Waiting { until: planned } = &mut attempt.stage {
            *planned = until.min(*planned);
        }
    }

    /// Wants an address dialled for the pool, and for each account beside it.
    pub(super) fn schedule_all(&mut self, endpoint: &Endpoint, until: Time) {
        self.schedule(Want { endpoint: endpoint.clone(), account: None }, until);
        if self.options.pool_size.is_some() {
            for account in self.options.accounts.clone() {
                self.schedule(Want { endpoint: endpoint.clone(), account: Some(account) }, until);
            }
        }
    }

    /// Wants what is missing between this server and a connected one.
    pub(super) fn ensure(&mut self, id: &str, until: Time) {
        let Some(remote) = self.remotes.get(id) else { return };
        let mut accounts: Vec<_> = self.missing_accounts(remote).into_iter().map(Some).collect();
        if remote.free_slot().is_some() && !self.is_probing(id) {
            accounts.insert(0, None);
        }
        self.ensure_target(id);
        let Some(endpoint) = self.target_of(id) else { return };
        for account in accounts {
            let want = Want { endpoint: endpoint.clone(), account };
            let elsewhere = self.attempts.keys().any(|other| {
                other.account == want.account
                    && *other != want
                    && self.targets.get(&other.endpoint).and_then(|t| t.remote.as_deref())
                        == Some(id)
            });
            if !elsewhere {
                self.schedule(want, until);
            }
        }
    }

    /// What follows from a new place that is taken.
    pub(super) fn after_registration(&mut self, id: &str, is_solicitor: bool, turn: &mut Turn<'_>) {
        self.ensure_target(id);
        self.expect_repair(id, turn.now);
        let is_pooled = self.remotes.get(id).is_some_and(|r| r.first_pooled().is_some());
        if is_solicitor && is_pooled {
            let Some(remote) = self.remotes.get(id) else { return };
            let mut missing = self.missing_accounts(remote);
            // Those that it takes no connection for have a time of their own.
            missing.retain(|account| !remote.pooled.contains_key(account));
            // The pool goes on by itself, one behind the other.
            if !missing.is_empty() {
                self.ensure_accounts(id, missing, turn.now);
            }
        }
        self.expire_attempts(turn);
    }

    pub(super) fn ensure_accounts(&mut self, id: &str, missing: Vec<String>, until: Time) {
        let Some(endpoint) = self.target_of(id) else { return };
        for account in missing {
            self.schedule(Want { endpoint: endpoint.clone(), account: Some(account) }, until);
        }
    }

    pub(super) fn handle_pong(&mut self, conn: ConnId, rtt: Duration, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        conn.rtt = Some(rtt);
        conn.heard_at = turn.now;
        let probed = std::mem::take(&mut conn.is_probing);
        let (id, lane) = (conn.remote_id.clone(), conn.lane.clone());
        // Whoever dialled: now the other one has been let in.
        for target in self.targets.values_mut().filter(|it| it.remote.as_ref() == Some(&id)) {
            target.failures = 0;
            target.forget_at = Time::MAX;
        }
        if let Some(remote) = self.remotes.get_mut(&id) {
            // The PING came behind what had to be said again, and so that has arrived.
            let is_sure = |(_, repeated): &mut (Time, Time)| turn.now.since(*repeated) > rtt;
            remote.unsure.take_if(is_sure);
            if std::mem::take(&mut remote.repairs) > 0 {
                self.expect_repair(&id, turn.now);
            }
        }
        if let Some(Lane::Account(account)) = &lane {
            // It would have refused the connection before it answered.
            self.account_taken(&id, account, turn);
        }
        if probed {
            self.ensure(&id, turn.now);
            self.expire_attempts(turn);
        }
    }

    /// Whether a connection to this server is about to allow the next one.
    fn is_probing(&self, id: &str) -> bool {
        let pooled = self.remotes.get(id).into_iter().flat_map(|remote| &remote.slots).flatten();
        pooled.filter_map(|id| self.conns.get(id)).any(|conn| conn.is_probing)
    }

    /// Where to dial a connected server: rather as configured than as gossiped.
    fn target_of(&self, id: &str) -> Option<Endpoint> {
        let found = |configured: bool| {
            self.targets.iter().find(|(_, target)| {
                target.remote.as_deref() == Some(id) && target.is_configured() == configured
            })
        };
        found(true).or_else(|| found(false)).map(|(endpoint, _)| endpoint.clone())
    }

    /// Remembers where a connected server can be dialled, whoever dialled first.
    fn ensure_target(&mut self, id: &str) {
        if self.target_of(id).is_some() {
            return;
        }
        let Some(remote) = self.remotes.get(id) else { return };
        let (endpoint, info) = (remote.endpoint.clone(), remote.info.clone());
        if endpoint.port == 0 {
            return;
        }
        match self.configured_for(&info) {
            Some(configured) => {
                if let Some(target) = self.targets.get_mut(&configured)
                    && target.remote.is_none()
                {
                    target.remote = Some(id.to_owned());
                }
            }
            None => {
                self.gossiped_target(&endpoint, &info);
            }
        }
    }

    /// The configured route by which a server is dialled anyway.
    pub(super) fn configured_for(&self, info: &RouteInfo) -> Option<Endpoint> {
        let port = u16::try_from(info.port).ok()?;
        let told = Endpoint::new(&info.host, port);
        let seen = Endpoint::parse(&info.ip).map(|seen| Endpoint { port, ..seen });
        [Some(told), seen]
            .into_iter()
            .flatten()
            .find(|endpoint| self.names.contains_key(endpoint) || self.is_configured(endpoint))
    }

    pub(super) fn is_configured(&self, endpoint: &Endpoint) -> bool {
        self.targets.get(endpoint).is_some_and(Target::is_configured)
    }

    /// Notes an address that a peer told of; none, when there are too many.
    pub(super) fn gossiped_target(
        &mut self,
        endpoint: &Endpoint,
        info: &RouteInfo,
    ) -> Option<&mut Target> {
        if !self.targets.contains_key(endpoint) {
            if self.targets.len() >= TARGETS_MAX {
                tracing::warn!("Too many route addresses, leaving out {endpoint}");
                return None;
            }
            let auth = info.auth_required.then(|| self.gossip_auth()).flatten();
            let tls_name = self.tls_name_for(endpoint);
            let target = Target::new(Origin::Gossiped, auth, tls_name);
            self.targets.insert(endpoint.clone(), target);
        }
        let target = self.targets.get_mut(endpoint)?;
        if !target.is_configured() {
            target.set_remote(&info.server_id);
        }
        Some(target)
    }

    /// What a gossiped peer is shown: this server's own credentials. Where only their hash is
    /// known, a configured route of the same user knows the password.
    pub(super) fn gossip_auth(&self) -> Option<super::RouteAuth> {
        let own = self.options.auth.as_ref()?;
        if !crate::auth::is_bcrypt(&own.password) {
            return Some(own.clone());
        }
        let mut others = self.options.routes.iter().filter_map(|route| route.auth.as_ref());
        others.find(|auth| auth.user == own.user).cloned().or_else(|| Some(own.clone()))
    }

    pub(super) fn tls_name_for(&self, endpoint: &Endpoint) -> Option<String> {
        if !self.options.tls {
            return None;
        }
        let is_name = endpoint.address().is_none();
        let configured = self.options.tls_name().filter(|_| !is_name);
        Some(configured.map_or_else(|| endpoint.host.clone(), str::to_owned))
    }

    /// The time of the next dial, lookup or farewell.
    pub(super) fn dialing_deadline(&self) -> Option<Time> {
        let attempts = self.attempts.values().filter_map(|attempt| match attempt.stage {
            AttemptStage::Waiting { until } => Some(until),
            AttemptStage::Resolving { .. }
            | AttemptStage::Dialing { .. }
            | AttemptStage::Handshake { .. } => None,
        });
        let names = self.names.values().filter_map(|name| match name.stage {
            NameStage::Waiting { until } => Some(until),
            NameStage::Stable | NameStage::Resolving { .. } => None,
        });
        attempts.chain(names).min()
    }

    /// Begins the attempts that are due.
    pub(super) fn expire_attempts(&mut self, turn: &mut Turn<'_>) {
        let is_due = |stage: AttemptStage| matches!(stage, AttemptStage::Waiting { until } if until <= turn.now);
        let due = self.attempts.iter().filter(|(_, attempt)| is_due(attempt.stage));
        let due: Vec<_> = due.map(|(want, _)| want.clone()).collect();
        for want in due {
            if self.is_needed(&want) {
                self.begin(&want, turn);
            } else {
                self.attempts.remove(&want);
            }
        }
    }

    /// Whether a connection would still find a place.
    fn is_needed(&self, want: &Want) -> bool {
        let Some(target) = self.targets.get(&want.endpoint) else { return false };
        if target.is_self || self.is_lame {
            return false;
        }
        if let Some(account) = &want.account
            && (self.options.pool_size.is_none() || !self.is_dedicated(account))
        {
            return false;
        }
        let remote = target.remote.as_ref().and_then(|id| self.remotes.get(id));
        match (remote, &want.account) {
            (None, _) => true,
            (Some(remote), None) => remote.free_slot().is_some(),
            (Some(remote), Some(account)) => {
                remote.pool_size.is_some() && !remote.accounts.contains_key(account)
            }
        }
    }

    fn begin(&mut self, want: &Want, turn: &mut Turn<'_>) {
        let on_the_way = self.attempts.values().filter(|attempt| attempt.is_on_the_way()).count();
        let stage = if on_the_way >= DIALS_MAX {
            AttemptStage::Waiting { until: turn.now + jitter(&mut self.rng, RETRY_DELAY) }
        } else {
            match want.endpoint.address() {
                Some(address) => self.dial(want, address, turn),
                None => {
                    let lookup = self.next_id();
                    let Endpoint { host, port } = want.endpoint.clone();
                    turn.out.push(Action::Resolve { lookup, host, port });
                    AttemptStage::Resolving { lookup }
                }
            }
        };
        if let Some(attempt) = self.attempts.get_mut(want) {
            attempt.stage = stage;
        }
    }

    fn dial(&mut self, want: &Want, address: SocketAddr, turn: &mut Turn<'_>) -> AttemptStage {
        tracing::debug!("Trying to connect to route on {}", want.endpoint);
        let dial = self.next_id();
        let target = self.targets.get(&want.endpoint);
        let remote = target.and_then(|t| t.remote.as_ref()).and_then(|id| self.remotes.get(id));
        let index = match (&want.account, remote) {
            (Some(account), _) => {
                route::pool_index(account.as_bytes(), self.options.pool_size.unwrap_or(1))
            }
            (None, Some(remote)) => remote.free_slot().map_or(0, |i| u16::try_from(i).unwrap_or(0)),
            (None, None) => 0,
        };
        let tls_name = target.and_then(|target| target.tls_name.clone());
        turn.out.push(Action::Dial { dial, address, tls_name, shard_hint: index });
        AttemptStage::Dialing { dial }
    }

    /// An address for a gossiped name.
    pub(super) fn attempt_resolved(
        &mut self,
        lookup: u64,
        addresses: Result<Vec<SocketAddr>, String>,
        turn: &mut Turn<'_>,
    ) {
        let resolving = AttemptStage::Resolving { lookup };
        let found = self.attempts.iter().find(|(_, attempt)| attempt.stage == resolving);
        let Some(want) = found.map(|(want, _)| want.clone()) else { return };
        let address = addresses.and_then(|addresses| {
            self.rng.choice(addresses).ok_or_else(|| "no addresses".to_owned())
        });
        match address {
            Ok(address) => {
                let stage = self.dial(&want, address, turn);
                if let Some(attempt) = self.attempts.get_mut(&want) {
                    attempt.stage = stage;
                }
            }
            Err(error) => self.dial_failed(want, &error, turn),
        }
    }

    pub(super) fn handle_dial_failed(&mut self, dial: u64, error: &str, turn: &mut Turn<'_>) {
        let dialing = AttemptStage::Dialing { dial };
        let found = self.attempts.iter().find(|(_, attempt)| attempt.stage == dialing);
        if let Some(want) = found.map(|(want, _)| want.clone()) {
            self.dial_failed(want, error, turn);
        }
    }

    fn dial_failed(&mut self, want: Want, error: &str, turn: &mut Turn<'_>) {
        let is_first = self.attempts.remove(&want).is_some_and(|attempt| attempt.is_first);
        let Some(target) = self.targets.get(&want.endpoint) else { return };
        let number = target.failures.saturating_add(1);
        let is_back = !is_first && target.is_configured();
        let every = if is_back {
            self.options.reconnect_error_reports
        } else {
            self.options.connect_error_reports
        };
        if number == 1 || number.is_multiple_of(every.max(1)) {
            tracing::error!("Error trying to connect to route (attempt {number}): {error}");
        } else {
            tracing::debug!("Error trying to connect to route (attempt {number}): {error}");
        }
        self.attempt_failed(want, turn.now);
    }

    /// Waits and tries again, as often as the address deserves.
    pub(super) fn attempt_failed(&mut self, want: Want, now: Time) {
        self.attempts.remove(&want);
        self.name_changed(&want.endpoint, now);
        let has_sibling = self.has_connected_sibling(&want.endpoint);
        let Some(target) = self.targets.get_mut(&want.endpoint) else { return };
        target.failures = target.failures.saturating_add(1);
        let pooled = Want { endpoint: want.endpoint.clone(), account: None };
        if want.account.is_some() && self.attempts.contains_key(&pooled) {
            // Once the pool is connected, accounts follow.
            return;
        }
        let options = &self.options;
        let mut delay = target.delay_after_failure(
            options.connect_retries,
            options.connect_backoff || has_sibling,
            &mut self.rng,
        );
        delay += jitter(&mut self.rng, REDIAL_JITTER);
        self.schedule(want, now + delay);
    }

    /// The server behind a connection is known now.
    pub(super) fn note_answer(&mut self, conn: ConnId, info: &RouteInfo) {
        let Some(want) = self.conns.get(&conn).and_then(Conn::want) else { return };
        if let Some(target) = self.targets.get_mut(&want.endpoint) {
            target.set_remote(&info.server_id);
            target.reached = true;
        }
    }

    /// An attempt has become a route.
    pub(super) fn finish_attempt(&mut self, id: ConnId) {
        let Some(want) = self.conns.get(&id).and_then(Conn::want).cloned() else { return };
        if self.attempts.get(&want).is_some_and(|attempt| attempt.is_for(id)) {
            self.attempts.remove(&want);
        }
    }

    pub(super) fn drop_target(&mut self, endpoint: &Endpoint) {
        self.targets.remove(endpoint);
        self.attempts.retain(|want, _| want.endpoint != *endpoint);
    }

    /// Forgets the addresses of which this is so, but those of connected servers.
    pub(super) fn forget_targets(&mut self, is_over: impl Fn(&Target) -> bool) {
        let is_connected = |target: &Target| {
            target.remote.as_ref().is_some_and(|id| self.remotes.contains_key(id))
        };
        let over = self.targets.iter();
        let over = over.filter(|(_, target)| is_over(target) && !is_connected(target));
        let over: Vec<_> = over.map(|(endpoint, _)| endpoint.clone()).collect();
        for endpoint in over {
            self.drop_target(&endpoint);
        }
    }

    /// Dials what a peer told of, now.
    pub(super) fn dial_gossiped(
        &mut self,
        endpoint: &Endpoint,
        info: &RouteInfo,
        turn: &mut Turn<'_>,
    ) {
        let Some(target) = self.gossiped_target(endpoint, info) else { return };
        target.gossip_mode = info.gossip_mode;
        target.failures = 0;
        target.forget_at = turn.now + MEMORY;
        if info.route_pool_size > 0 {
            self.schedule_all(endpoint, turn.now);
        } else {
            self.schedule(Want { endpoint: endpoint.clone(), account: None }, turn.now);
        }
        self.expire_attempts(turn);
    }
}

impl Attempt {
    pub(super) fn is_for(&self, conn: ConnId) -> bool {
        self.stage == AttemptStage::Handshake { conn }
    }

    fn is_on_the_way(&self) -> bool {
        match self.stage {
            AttemptStage::Waiting { .. } => false,
            AttemptStage::Resolving { .. }
            | AttemptStage::Dialing { .. }
            | AttemptStage::Handshake { .. } => true,
        }
    }
}

/// How many dials may be on their way: enough to join a large cluster within a second.
const DIALS_MAX: usize = 256;

/// How many addresses are known: several for each server, and then some that lead nowhere.
const TARGETS_MAX: usize = 4096;
