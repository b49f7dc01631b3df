//! Configured routes, and the addresses behind those of them that are names.
//!
//! A name may stand for many servers. It is asked for again until the answer does not change any
//! more, and each address is dialled as if it were configured. When one of them cannot be
//! reached, the name is asked for again.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ring::Time;

use super::event::Action;
use super::mesh::{Mesh, Turn};
use super::options::RouteUrl;
use super::target::{
    Endpoint, Name, NameStage, Origin, REDIAL_JITTER, RETRY_DELAY, Target, doubled, jitter,
};

impl Mesh {
    pub(super) fn add_configured_routes(&mut self, now: Time) {
        for url in self.options.routes.clone() {
            self.add_configured_route(&url, now);
        }
    }

    pub(super) fn add_configured_route(&mut self, url: &RouteUrl, now: Time) {
        let endpoint = url.endpoint();
        if let Some(address) = endpoint.address() {
            if !self.is_own(address) {
                self.add_configured_target(endpoint, Origin::Configured, url.auth.clone(), now);
            }
        } else {
            let stage = NameStage::Waiting { until: now };
            let name = Name {
                auth: url.auth.clone(),
                addresses: BTreeSet::new(),
                same_answers: 0,
                failures: 0,
                stage,
            };
            self.names.entry(endpoint).or_insert(name);
        }
    }

    fn add_configured_target(
        &mut self,
        endpoint: Endpoint,
        origin: Origin,
        auth: Option<super::RouteAuth>,
        now: Time,
    ) {
        let named = match &origin {
            Origin::Name(name) => name.clone(),
            Origin::Configured | Origin::Gossiped => endpoint.clone(),
        };
        let tls_name = self.tls_name_for(&named);
        let target = self
            .targets
            .entry(endpoint.clone())
            .or_insert_with(|| Target::new(Origin::Gossiped, None, None));
        if target.is_configured() {
            return;
        }
        *target = Target { remote: target.remote.take(), ..Target::new(origin, auth, tls_name) };
        self.schedule_all(&endpoint, now);
    }

    /// Whether an address is this server's own route port.
    fn is_own(&self, address: SocketAddr) -> bool {
        address.port() == self.options.port && self.options.interfaces.contains(&address.ip())
    }

    pub(super) fn expire_names(&mut self, turn: &mut Turn<'_>) {
        let is_due =
            |stage: NameStage| matches!(stage, NameStage::Waiting { until } if until <= turn.now);
        let due = self.names.iter().filter(|(_, name)| is_due(name.stage));
        let due: Vec<_> = due.map(|(endpoint, _)| endpoint.clone()).collect();
        for endpoint in due {
            let lookup = self.next_id();
            if let Some(name) = self.names.get_mut(&endpoint) {
                name.stage = NameStage::Resolving { lookup };
            }
            let Endpoint { host, port } = endpoint;
            turn.out.push(Action::Resolve { lookup, host, port });
        }
    }

    pub(super) fn handle_resolved(
        &mut self,
        lookup: u64,
        addresses: Result<Vec<SocketAddr>, String>,
        turn: &mut Turn<'_>,
    ) {
        let resolving = NameStage::Resolving { lookup };
        let found = self.names.iter().find(|(_, name)| name.stage == resolving);
        match found.map(|(endpoint, _)| endpoint.clone()) {
            Some(endpoint) => self.name_resolved(&endpoint, addresses, turn),
            None => self.attempt_resolved(lookup, addresses, turn),
        }
    }

    fn name_resolved(
        &mut self,
        endpoint: &Endpoint,
        addresses: Result<Vec<SocketAddr>, String>,
        turn: &mut Turn<'_>,
    ) {
        let slack = jitter(&mut self.rng, REDIAL_JITTER);
        let has_backoff = self.options.connect_backoff;
        let Some(name) = self.names.get_mut(endpoint) else { return };
        let addresses = match addresses {
            Ok(addresses) if !addresses.is_empty() => addresses,
            Ok(_) | Err(_) => {
                name.failures = name.failures.saturating_add(1);
                let (number, error) = (name.failures, addresses.err().unwrap_or_default());
                tracing::error!("Error trying to connect to route (attempt {number}): {error}");
                let doublings = if has_backoff { number - 1 } else { 0 };
                let until = turn.now + doubled(RETRY_DELAY, doublings) + slack;
                name.stage = NameStage::Waiting { until };
                return;
            }
        };
        let found: BTreeSet<_> = addresses.into_iter().take(ADDRESSES_MAX).collect();
        name.failures = 0;
        name.same_answers = if name.addresses == found { name.same_answers + 1 } else { 0 };
        name.stage = if name.same_answers >= SAME_ANSWERS {
            NameStage::Stable
        } else {
            NameStage::Waiting { until: turn.now + doubled(RETRY_DELAY, name.same_answers) + slack }
        };
        name.addresses.clone_from(&found);
        let auth = name.auth.clone();
        let others: Vec<_> = found.into_iter().filter(|address| !self.is_own(*address)).collect();
        for address in others {
            let origin = Origin::Name(endpoint.clone());
            self.add_configured_target(address.into(), origin, auth.clone(), turn.now);
        }
        self.expire_attempts(turn);
    }

    /// Asks for a name again, one of whose addresses cannot be reached; drops the address if it
    /// is none of the name's any more.
    pub(super) fn name_changed(&mut self, endpoint: &Endpoint, now: Time) {
        let Some(target) = self.targets.get(endpoint) else { return };
        let Origin::Name(parent) = target.origin.clone() else { return };
        let is_listed = self.names.get(&parent).is_some_and(|name| {
            name.addresses.iter().any(|address| Endpoint::from(*address) == *endpoint)
        });
        if !is_listed {
            self.drop_target(endpoint);
        }
        let slack = jitter(&mut self.rng, REDIAL_JITTER);
        if let Some(name) = self.names.get_mut(&parent)
            && name.stage == NameStage::Stable
        {
            name.same_answers = 0;
            name.stage = NameStage::Waiting { until: now + RETRY_DELAY + slack };
        }
    }

    /// Whether another address of the same name leads to a connected server. A name may have
    /// addresses where nobody listens: an IPv6 one, for instance.
    pub(super) fn has_connected_sibling(&self, endpoint: &Endpoint) -> bool {
        let Some(target) = self.targets.get(endpoint) else { return false };
        let Origin::Name(parent) = &target.origin else { return false };
        self.targets.values().any(|sibling| {
            matches!(&sibling.origin, Origin::Name(other) if other == parent)
                && sibling.remote.as_ref().is_some_and(|id| self.remotes.contains_key(id))
        })
    }
}

/// After so many answers that are the same as the one before, a name is taken as stable.
const SAME_ANSWERS: u32 = 3;

/// How many addresses of a name are dialled.
const ADDRESSES_MAX: usize = 256;
