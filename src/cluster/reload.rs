//! What a configuration that was read again changes.

use crate::close::CloseReason;
use crate::ids::ConnId;
use crate::transport::Mode;

use super::close::Gone;
use super::event::Action;
use super::mesh::{ClusterName, Mesh, Turn, authenticator};
use super::options::{MeshOptions, RouteUrl};
use super::target::{Endpoint, Origin};

impl Mesh {
    pub(super) fn handle_options(&mut self, options: MeshOptions, turn: &mut Turn<'_>) {
        let before = std::mem::replace(&mut self.options, options);
        self.authenticator = authenticator(&self.options);
        if before.cluster != self.options.cluster {
            self.rename(turn);
        }
        self.change_routes(&before, turn);
        self.refresh_targets();
        let reason = self.reason_to_begin_again(&before);
        if let Some(reason) = reason {
            self.begin_again(reason, |_, _| true, turn);
        } else if before.auth != self.options.auth {
            // Those that were dialled are not checked here; the others have to show it again.
            self.begin_again(CloseReason::AuthenticationExpired, Self::is_accepted, turn);
        }
        self.change_accounts(&before.accounts, turn);
        let rules = (&self.options.import, &self.options.export);
        if rules != (&before.import, &before.export) {
            let info = self.own_info();
            for conn in self.registered() {
                turn.send_info(conn, &info);
            }
        }
        self.change_client_urls(&before, turn);
        self.expire_names(turn);
        self.expire_attempts(turn);
    }

    fn rename(&mut self, turn: &mut Turn<'_>) {
        self.cluster = ClusterName::new(self.options.cluster.as_deref(), &mut self.rng);
        tracing::info!("Cluster name is {}", self.cluster.name);
        turn.out.push(Action::ClusterName(self.cluster.name.clone()));
        self.begin_again(CloseReason::ClusterNameConflict, |_, _| true, turn);
    }

    fn change_routes(&mut self, before: &MeshOptions, turn: &mut Turn<'_>) {
        let (old, new) = (before.routes.clone(), self.options.routes.clone());
        let differs = |url: &&RouteUrl, others: &[RouteUrl]| !others.contains(url);
        for url in old.iter().filter(|url| differs(url, &new)) {
            self.remove_configured_route(&url.endpoint(), turn);
        }
        for url in new.iter().filter(|url| differs(url, &old)) {
            self.add_configured_route(url, turn.now);
        }
        self.mark_named(turn);
    }

    /// What gossiped peers are shown is this server's own, and may have changed.
    fn refresh_targets(&mut self) {
        let auth = self.gossip_auth();
        let names: Vec<_> = self
            .targets
            .iter()
            .map(|(endpoint, target)| match &target.origin {
                Origin::Name(name) => self.tls_name_for(name),
                Origin::Configured | Origin::Gossiped => self.tls_name_for(endpoint),
            })
            .collect();
        for (target, tls_name) in self.targets.values_mut().zip(names) {
            target.tls_name = tls_name;
            if target.auth.is_some() && !target.is_configured() {
                target.auth.clone_from(&auth);
            }
        }
    }

    fn remove_configured_route(&mut self, endpoint: &Endpoint, turn: &mut Turn<'_>) {
        self.names.remove(endpoint);
        let targets: Vec<_> = self
            .targets
            .iter()
            .filter(|(own, target)| match &target.origin {
                Origin::Configured => *own == endpoint,
                Origin::Name(name) => name == endpoint,
                Origin::Gossiped => false,
            })
            .map(|(endpoint, target)| (endpoint.clone(), target.remote.clone()))
            .collect();
        for (endpoint, remote) in targets {
            self.drop_target(&endpoint);
            let Some(remote) = remote else { continue };
            let conns: Vec<_> =
                self.remotes.get(&remote).into_iter().flat_map(|remote| remote.conns()).collect();
            for conn in conns {
                let is_configured = self.conns.get(&conn).is_some_and(|conn| conn.configured);
                if is_configured {
                    let reason = CloseReason::RouteRemoved;
                    self.end(conn, reason, None, Gone::Reconfigured, turn);
                }
            }
        }
    }

    /// Whether routes as they are do not fit what is configured now.
    fn reason_to_begin_again(&self, before: &MeshOptions) -> Option<CloseReason> {
        let now = &self.options;
        let switches = |mode: Mode| match mode {
            Mode::Off | Mode::NotSupported | Mode::Accept => mode,
            // Levels change while bytes flow.
            Mode::Auto | Mode::Uncompressed | Mode::Fast | Mode::Better | Mode::Best => Mode::Auto,
        };
        let changes = before.pool_size != now.pool_size
            || before.tls != now.tls
            || switches(before.mode()) != switches(now.mode());
        changes.then_some(CloseReason::RouteRemoved)
    }

    fn is_accepted(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| conn.is_acceptor())
    }

    /// Ends the routes that `pick` names, and dials again.
    fn begin_again(
        &mut self,
        reason: CloseReason,
        pick: impl Fn(&Self, ConnId) -> bool,
        turn: &mut Turn<'_>,
    ) {
        let conns: Vec<_> = self.conns.keys().copied().filter(|id| pick(self, *id)).collect();
        for conn in conns {
            self.end(conn, reason, None, Gone::Lost, turn);
        }
    }

    fn registered(&self) -> Vec<ConnId> {
        let registered = self.conns.iter().filter(|(_, conn)| conn.is_registered());
        registered.map(|(id, _)| *id).collect()
    }

    fn change_client_urls(&mut self, before: &MeshOptions, turn: &mut Turn<'_>) {
        let earlier = self.urls.list();
        self.urls.set_own(self.options.client_urls.clone());
        if before.no_advertise != self.options.no_advertise {
            for remote in self.remotes.values_mut() {
                let had = std::mem::take(&mut remote.client_urls);
                self.urls.remove(&had);
                if !self.options.no_advertise && !remote.is_lame {
                    remote.client_urls = super::urls::usable(&remote.info.connect_urls);
                    self.urls.add(&remote.client_urls);
                }
            }
        }
        if earlier != self.urls.list() {
            turn.out.push(Action::ClientUrls(self.urls.list()));
        }
    }
}
