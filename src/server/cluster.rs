//! Carries out what the mesh decides: its actions go to shards, names are resolved, time is kept.
//!
//! The mesh itself knows no socket and no clock; what shards see of routes comes here as notices and
//! goes to it as events.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::Time;
use tokio::sync::mpsc;

use crate::auth::HashJob;
use crate::cluster::{self, Action, Event, Mesh, MeshOptions, Task};
use crate::config::{ClusterOptions, Options};
use crate::engine::Control as Say;
use crate::files;
use crate::ids::ConnId;
use crate::monitor::{Member, MeshView, RouteRules};
use crate::proto::info::COMPATIBLE_VERSION;
use crate::proto::route_info;

use super::facts::Identity;

/// What clients are told of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterFacts {
    /// Its name; empty where there is none.
    pub(super) name: String,
    /// The name was made up.
    pub(super) dynamic: bool,
    /// Where its servers can be reached, this one first.
    pub(super) connect_urls: Vec<String>,
}

/// What the control loop is to do after the mesh has spoken.
pub(super) enum Outcome {
    /// Tell a shard something.
    Tell(u16, Say),
    /// Clients are to be told of the cluster.
    Facts,
    /// Another server is connected now.
    Joined,
    /// The last connection to a server is gone.
    Left(String),
}

/// See the module's documentation.
pub(super) struct Cluster {
    mesh: RefCell<Mesh>,
    /// Answers to what takes a while.
    answers: mpsc::UnboundedSender<Event>,
    facts: RefCell<ClusterFacts>,
    thresholds: RefCell<Vec<Duration>>,
    shards: u16,
    /// The last password that was right.
    proven: Arc<Mutex<Option<HashJob>>>,
}

impl Cluster {
    /// A mesh of this server alone, and where answers to what takes a while come out.
    pub(super) fn new(
        options: &Options,
        cluster: &ClusterOptions,
        identity: &Identity,
        shards: u16,
        now: Time,
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (answers, answered) = mpsc::unbounded_channel();
        let mesh = Mesh::new(mesh_options(options, cluster, identity), now.nanos(), now);
        let name = mesh.cluster_name().to_owned();
        let dynamic = cluster.name.is_none();
        let facts = ClusterFacts { name, dynamic, connect_urls: Vec::new() };
        let cluster = Self {
            mesh: RefCell::new(mesh),
            answers,
            facts: RefCell::new(facts),
            thresholds: RefCell::new(cluster.rtt_thresholds.clone()),
            shards,
            proven: Arc::default(),
        };
        (cluster, answered)
    }

    /// What clients are told of the cluster.
    pub(super) fn facts(&self) -> ClusterFacts {
        self.facts.borrow().clone()
    }

    /// The cluster as this server sees it.
    pub(super) fn view(&self, options: &Options) -> MeshView {
        let links = self.mesh.borrow().links();
        let conns = links.iter().flat_map(|link| &link.conns);
        let rules = |conn: &cluster::LinkConn| RouteRules {
            import: conn.import.clone(),
            export: conn.export.clone(),
        };
        MeshView {
            own_rules: options.cluster.as_ref().map(own_rules).unwrap_or_default(),
            remote_rules: conns.map(|conn| (conn.rid, rules(conn))).collect(),
            members: links
                .into_iter()
                .map(|link| Member {
                    expected: link.expected(),
                    actual: link.conns.len(),
                    missing: link.missing(),
                    id: link.id,
                    name: link.name,
                    ringmesh: link.ringmesh,
                    lame_duck: link.lame_duck,
                    url: link.url,
                })
                .collect(),
        }
    }

    /// When the mesh wants to be asked next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.mesh.borrow().deadline()
    }

    /// Something happened, or it is time.
    pub(super) fn handle(&self, now: Time, event: Option<Event>) -> Vec<Outcome> {
        let actions = self.mesh.borrow_mut().ask(now, event);
        actions.into_iter().filter_map(|action| self.carry_out(action)).collect()
    }

    /// The configuration was read again.
    pub(super) fn reload(&self, now: Time, options: &Options, identity: &Identity) -> Vec<Outcome> {
        let Some(cluster) = &options.cluster else { return Vec::new() };
        self.thresholds.borrow_mut().clone_from(&cluster.rtt_thresholds);
        let options = mesh_options(options, cluster, identity);
        self.handle(now, Some(Event::Options(Box::new(options))))
    }

    fn carry_out(&self, action: Action) -> Option<Outcome> {
        match action.task(self.shards, &self.thresholds.borrow())? {
            Task::Order(shard, order) => Some(Outcome::Tell(shard, Say::Route(order))),
            Task::Resolve { lookup, host, port } => {
                self.resolve(lookup, host, port);
                None
            }
            Task::CheckPassword { conn, job } => {
                self.check_password(conn, job);
                None
            }
            Task::ClientUrls(urls) => {
                self.facts.borrow_mut().connect_urls = urls;
                Some(Outcome::Facts)
            }
            Task::ClusterName(name) => {
                self.facts.borrow_mut().name = name;
                Some(Outcome::Facts)
            }
            Task::Joined => Some(Outcome::Joined),
            Task::Left(id) => Some(Outcome::Left(id)),
        }
    }

    /// Compares a password with its hash, on another thread. A pool's connections show the same one:
    /// what was right once is so again without the work.
    fn check_password(&self, conn: ConnId, job: HashJob) {
        let (answers, proven) = (self.answers.clone(), Arc::clone(&self.proven));
        tokio::task::spawn_blocking(move || {
            // One after the other: they would only take each other's time.
            let mut proven = proven.lock().unwrap_or_else(PoisonError::into_inner);
            let accepted = proven.as_ref().is_some_and(|known| job.is_same(known)) || {
                let is_right = job.is_right();
                *proven = is_right.then_some(job).or_else(|| proven.take());
                is_right
            };
            // The server may have ended meanwhile.
            let _ = answers.send(Event::Verdict { conn, accepted });
        });
    }

    /// Asks for the addresses of a name, without waiting.
    fn resolve(&self, lookup: u64, host: String, port: u16) {
        let answers = self.answers.clone();
        tokio::task::spawn_local(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            let addresses = match found {
                Ok(addresses) => Ok(addresses.collect::<Vec<SocketAddr>>()),
                Err(error) => Err(format!("lookup {host}: {error}")),
            };
            // The server may have ended meanwhile.
            let _ = answers.send(Event::Resolved { lookup, addresses });
        });
    }
}

/// The mesh's share of the options.
fn mesh_options(options: &Options, cluster: &ClusterOptions, identity: &Identity) -> MeshOptions {
    let auth = |user: &str, password: &str| cluster::RouteAuth {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let RouteRules { import, export } = own_rules(cluster);
    let port = cluster.port.unwrap_or(0);
    let known = [crate::account::GLOBAL.to_owned(), options.system_account.clone()];
    MeshOptions {
        server_id: identity.info.server_id.clone(),
        server_name: identity.info.server_name.clone(),
        version: COMPATIBLE_VERSION.to_owned(),
        cluster: cluster.name.clone(),
        host: cluster.host.clone(),
        port,
        interfaces: files::local_addresses(),
        advertise: cluster
            .advertise
            .as_ref()
            .map(|advertise| (advertise.host.clone(), advertise.port.unwrap_or(port))),
        no_advertise: cluster.no_advertise,
        routes: cluster
            .routes
            .iter()
            .map(|url| cluster::RouteUrl {
                host: url.host.clone(),
                port: url.port,
                auth: url
                    .user
                    .as_ref()
                    .map(|user| auth(user, url.password.as_deref().unwrap_or_default())),
            })
            .collect(),
        auth: cluster.authorization.as_ref().map(|route| auth(&route.user, &route.password)),
        connect_retries: cluster.connect_retries,
        connect_backoff: cluster.connect_backoff,
        pool_size: cluster.pool_size,
        accounts: cluster.accounts.iter().cloned().collect(),
        accounts_known: options
            .accounts
            .iter()
            .map(|account| account.name.clone())
            .chain(known)
            .collect(),
        connect_error_reports: reports(options.connect_error_reports),
        reconnect_error_reports: reports(options.reconnect_error_reports),
        compression: Some(cluster.compression),
        tls: cluster.tls.is_some(),
        import,
        export,
        client_urls: client_urls(options),
        headers: !options.no_header_support,
        max_payload: options.max_payload,
    }
}

/// What may cross the routes by this server's configuration.
fn own_rules(cluster: &ClusterOptions) -> RouteRules {
    let rules = |rules: &crate::config::SubjectRules| route_info::SubjectRules {
        allow: rules.allow.clone(),
        deny: rules.deny.clone(),
    };
    let permissions = cluster.permissions.as_ref();
    RouteRules {
        import: permissions.and_then(|permissions| permissions.import.as_ref()).map(rules),
        export: permissions.and_then(|permissions| permissions.export.as_ref()).map(rules),
    }
}

/// One failure in so many is told; a number that is none of use tells each.
fn reports(every: i64) -> u32 {
    u32::try_from(every).unwrap_or(1)
}

/// Where clients reach this server.
pub(super) fn client_urls(options: &Options) -> Vec<String> {
    if let Some(advertise) = &options.client_advertise {
        let port = advertise.port.unwrap_or(options.port);
        return vec![format!("{}:{port}", advertise.host)];
    }
    match options.host.parse() {
        Ok(ip) => files::listen_urls("nats", SocketAddr::new(ip, options.port))
            .into_iter()
            .filter_map(|url| url.strip_prefix("nats://").map(str::to_owned))
            .filter(|url| {
                // A wildcard stands for the addresses by which others reach this host.
                let address: Option<SocketAddr> = url.parse().ok();
                !ip.is_unspecified() || address.is_some_and(|at| !at.ip().is_loopback())
            })
            .collect(),
        Err(_) => vec![format!("{}:{}", options.host, options.port)],
    }
}

/// How the shards tell the control loop what happens.
pub(super) type Notices = mpsc::UnboundedReceiver<crate::engine::Notice>;

/// One end for each shard, and the one that the control loop reads.
pub(super) fn notices() -> (mpsc::UnboundedSender<crate::engine::Notice>, Notices) {
    mpsc::unbounded_channel()
}

/// Waits until the mesh wants to be asked; for ever, when there is none or it wants nothing.
pub(super) async fn due(cluster: Option<&Rc<Cluster>>, now: impl Fn() -> Time) {
    match cluster.and_then(|cluster| cluster.deadline()) {
        Some(at) => tokio::time::sleep(at - now()).await,
        None => std::future::pending().await,
    }
}

/// A shared handle, as the control loop keeps it.
pub(super) type Handle = Option<Rc<Cluster>>;

/// Facts for clients where there is no cluster.
pub(super) fn facts_of(cluster: &Handle) -> ClusterFacts {
    cluster.as_ref().map_or_else(ClusterFacts::default, |cluster| cluster.facts())
}
