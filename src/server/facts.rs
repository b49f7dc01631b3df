//! The options, taken apart into what each module owns.

use std::sync::Arc;

use crate::account::{self, Accounts};
use crate::auth::{AuthConfig, AuthMethod, Authenticator, User};
use crate::config::{
    ClusterOptions, Loaded, Options, RoutePermissions, RouteUrl, SubBarrier, SubjectRules,
    TlsVersion, WriteTimeout,
};
use crate::engine::{ClientLimits, EngineOptions, RouteOptions, RouteTls, TraceOptions};
use crate::ids::AccountId;
use crate::outbound::OutboundLimits;
use crate::proto::info::{COMPATIBLE_VERSION, InfoTemplate, LANGUAGE, OWN_VERSION, ServerInfo};
use crate::report::{ClusterSettings, ServerFacts};
use crate::session::SubjectRule;
use crate::transport::tls::{self, TlsAcceptor, TlsConnector};

use super::cluster::{ClusterFacts, client_urls};
use super::shards::shard_count;

/// Changes of interest that a turn makes: they take about a millisecond.
const CHANGES_A_TURN: usize = 512;

/// Who this server is, for as long as it runs.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// What of INFO never changes.
    pub(super) info: ServerInfo,
}

impl Identity {
    /// A new identity; the name is the id where none is configured.
    pub(super) fn new(name: Option<String>) -> Self {
        let server_id = nkeys::KeyPair::new_server().public_key();
        let server_name = name.unwrap_or_else(|| server_id.clone());
        Self { info: ServerInfo { server_id, server_name, ..ServerInfo::default() } }
    }

    /// What clients are told under these options.
    pub(super) fn server_info(
        &self,
        options: &Options,
        cluster: &ClusterFacts,
        lame_duck: bool,
    ) -> ServerInfo {
        let (host, port) = advertised(options);
        // Who stops does not recommend itself.
        let own = if lame_duck { client_urls(options) } else { Vec::new() };
        let connect_urls = cluster.connect_urls.iter().filter(|url| !own.contains(url));
        ServerInfo {
            host,
            port,
            headers: !options.no_header_support,
            auth_required: authenticator(options, &accounts(options, None)).connect_required(),
            max_payload: options.max_payload,
            cluster: cluster.name.clone(),
            cluster_dynamic: cluster.dynamic,
            connect_urls: connect_urls.cloned().collect(),
            lame_duck,
            ..self.info.clone()
        }
    }
}

fn advertised(options: &Options) -> (String, u16) {
    match &options.client_advertise {
        Some(advertise) => (advertise.host.clone(), advertise.port.unwrap_or(options.port)),
        None => (options.host.clone(), options.port),
    }
}

/// The accounts under these options; those that were there before keep their numbers.
pub(super) fn accounts(options: &Options, before: Option<&Accounts>) -> Accounts {
    let mut accounts = before.map_or_else(|| Accounts::new(&options.system_account), Clone::clone);
    for account in &options.accounts {
        accounts.add(&account.name, account.jetstream);
    }
    // Without accounts of their own, all clients may use what JetStream the cluster has.
    let only_global = options.accounts.iter().all(|account| account.name == options.system_account);
    let named = options.accounts.iter().any(|account| account.name == account::GLOBAL);
    if only_global && !named {
        accounts.add(account::GLOBAL, true);
    }
    accounts
}

/// Who may log in.
pub(super) fn authenticator(options: &Options, accounts: &Accounts) -> Authenticator {
    let authorization = &options.authorization;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let users: Vec<User> = options
        .users()
        .map(|(account, user)| User {
            name: user.user.clone(),
            password: user.password.clone(),
            account: accounts.find(account.as_bytes()).unwrap_or_default(),
        })
        .collect();
    let method = if !users.is_empty() {
        AuthMethod::Users(users)
    } else if authorization.token.is_some() {
        AuthMethod::Token(text(&authorization.token))
    } else if authorization.user.is_some() {
        let (name, password) = (text(&authorization.user), text(&authorization.password));
        AuthMethod::User(User { name, password, account: AccountId::GLOBAL })
    } else {
        AuthMethod::None
    };
    Authenticator::new(AuthConfig {
        method,
        no_auth_user: options.no_auth_user.clone(),
        lets_anonymous_in: options.lets_anonymous_in(),
        timeout: authorization.timeout,
    })
}

/// What holds beside the options, and changes while the server runs.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The accounts.
    pub(super) accounts: Arc<Accounts>,
    /// What clients are told of the cluster.
    pub(super) cluster: ClusterFacts,
    /// What connections to other servers show and want to see.
    pub(super) tls: Option<Arc<RouteTls>>,
}

/// A shard's share of the options.
pub(super) fn engine(
    options: &Options,
    identity: &Identity,
    known: &Known,
    lame_duck: bool,
) -> EngineOptions {
    let Known { accounts, cluster, tls } = known;
    let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    EngineOptions {
        limits: ClientLimits {
            max_payload: options.max_payload,
            max_control_line: count(options.max_control_line),
            max_connections: count(options.max_connections),
            max_subscriptions: options.max_subscriptions.map_or(0, count),
            max_sub_tokens: options.max_sub_tokens.map_or(0, usize::from),
        },
        outbound: OutboundLimits {
            max_pending: bytes(options.max_pending),
            write_deadline: options.write_deadline,
        },
        max_pending_total: bytes(options.max_pending_total),
        ping_interval: options.ping_interval,
        ping_max: options.ping_max,
        auth: Arc::new(authenticator(options, accounts)),
        auth_timeout: options.authorization.timeout,
        headers: !options.no_header_support,
        changes_a_turn: CHANGES_A_TURN,
        info: InfoTemplate::new(&identity.server_info(options, cluster, lame_duck)),
        drop_for_slow: options.no_fast_producer_stall,
        // Each shard remembers its part.
        max_closed: count(options.max_closed_clients)
            .div_ceil(usize::from(shard_count(options.shards))),
        trace: options.trace.then(|| TraceOptions {
            payload_bytes_max: options.max_traced_msg_len.map_or(0, count),
            headers_only: options.trace_headers,
            verbose: options.trace_verbose,
        }),
        closes_late: options.write_timeout == WriteTimeout::Close,
        sublist_cache: !options.disable_sublist_cache,
        server_id: identity.info.server_id.as_str().into(),
        server_name: identity.info.server_name.as_str().into(),
        cluster_name: cluster.name.as_str().into(),
        accounts: Arc::clone(accounts),
        routes: routes(options, tls.clone()),
    }
}

/// A shard's share of the cluster's options.
fn routes(options: &Options, tls: Option<Arc<RouteTls>>) -> RouteOptions {
    let none = ClusterOptions::default();
    let cluster = options.cluster.as_ref().unwrap_or(&none);
    let rule = |side: fn(&RoutePermissions) -> Option<&SubjectRules>| {
        let rules = cluster.permissions.as_ref().and_then(side);
        rules.map_or_else(SubjectRule::default, |rules| SubjectRule {
            allow: Some(rules.allow.clone()).filter(|allow| !allow.is_empty()),
            deny: rules.deny.clone(),
        })
    };
    RouteOptions {
        enabled: options.cluster.as_ref().is_some_and(|cluster| cluster.port.is_some()),
        outbound: OutboundLimits {
            max_pending: usize::try_from(cluster.max_pending).unwrap_or(usize::MAX),
            write_deadline: cluster.write_deadline,
        },
        closes_late: cluster.write_timeout == WriteTimeout::Close,
        auth_timeout: cluster.authorization.as_ref().map(|_| cluster.auth_timeout),
        ping_interval: cluster.ping_interval,
        ping_max: cluster.ping_max,
        pool_size: cluster.pool_size.unwrap_or(1),
        import: rule(|permissions| permissions.import.as_ref()),
        export: rule(|permissions| permissions.export.as_ref()),
        compression: cluster.compression,
        thresholds: cluster.rtt_thresholds.clone(),
        barrier: options.sub_barrier == SubBarrier::Cluster,
        tls,
    }
}

/// What the monitor tells that changes at most with the configuration.
pub(super) fn monitoring(
    loaded: &Loaded,
    identity: &Identity,
    known: &Known,
    shards: u16,
) -> ServerFacts {
    let options = &loaded.options;
    let (host, port) = advertised(options);
    ServerFacts {
        server_id: identity.info.server_id.clone(),
        server_name: identity.info.server_name.clone(),
        version: COMPATIBLE_VERSION.to_owned(),
        ringmesh: OWN_VERSION.to_owned(),
        runtime: LANGUAGE.to_owned(),
        host,
        port,
        auth_required: authenticator(options, &known.accounts).required(),
        connect_urls: known.cluster.connect_urls.clone(),
        max_connections: i64::from(options.max_connections),
        max_subscriptions: options.max_subscriptions.map_or(0, u64::from),
        ping_interval: options.ping_interval,
        ping_max: i64::from(options.ping_max),
        http_host: options.http_host.clone(),
        http_port: options.http_port.unwrap_or(0),
        http_base_path: options.http_base_path.trim_end_matches('/').to_owned(),
        auth_timeout: options.authorization.timeout.as_secs_f64(),
        max_control_line: i64::from(options.max_control_line),
        max_payload: i64::from(options.max_payload),
        max_pending: i64::try_from(options.max_pending).unwrap_or(i64::MAX),
        cluster: options.cluster.as_ref().map(|cluster| cluster_settings(options, cluster, known)),
        tls_timeout: TLS_TIMEOUT_DEFAULT,
        write_deadline: options.write_deadline,
        shards,
        config_digest: loaded.digest.clone().unwrap_or_default(),
        tags: options.server_tags.clone(),
        metadata: options.server_metadata.clone(),
        system_account: if options.has_system_account() {
            options.system_account.clone()
        } else {
            String::new()
        },
        accounts: accounts(options, None)
            .iter()
            .filter(|(id, _)| *id != AccountId::SYSTEM || options.has_system_account())
            .map(|(_, account)| account.name.to_string())
            .collect(),
        ..ServerFacts::default()
    }
}

/// What the monitor tells of the cluster's options; of one that does not listen, the name.
fn cluster_settings(options: &Options, cluster: &ClusterOptions, known: &Known) -> ClusterSettings {
    let own_name = cluster.name.clone().unwrap_or_default();
    let name = Some(known.cluster.name.clone()).filter(|name| !name.is_empty());
    let settings = ClusterSettings { name: name.unwrap_or(own_name), ..ClusterSettings::default() };
    let Some(port) = cluster.port else { return settings };
    let tls = cluster.tls.as_ref();
    ClusterSettings {
        addr: cluster.host.clone(),
        cluster_port: port,
        auth_timeout: cluster.auth_timeout.as_secs_f64(),
        urls: cluster.routes.iter().map(RouteUrl::address).collect(),
        tls_timeout: tls.map_or(TLS_TIMEOUT_DEFAULT, |tls| tls.timeout.as_secs_f64()),
        tls_required: tls.is_some(),
        tls_verify: tls.is_some(),
        pool_size: cluster.pool_size.map_or(-1, i64::from),
        write_deadline: Some(cluster.write_deadline)
            .filter(|deadline| *deadline != options.write_deadline)
            .unwrap_or_default(),
        write_timeout: match cluster.write_timeout {
            WriteTimeout::Default => String::new(),
            given @ (WriteTimeout::Close | WriteTimeout::Retry) => given.to_string(),
        },
        ..settings
    }
}

/// Seconds that a TLS handshake may take unless configured otherwise.
const TLS_TIMEOUT_DEFAULT: f64 = 2.0;

/// What connections to other servers show and want to see, read from the files that are named.
///
/// # Errors
/// What is wrong with a file.
pub(super) fn route_tls(options: &Options) -> Result<Option<Arc<RouteTls>>, String> {
    let tls = options.cluster.as_ref().and_then(|cluster| cluster.tls.as_ref());
    let Some(tls) = tls else { return Ok(None) };
    let Some(files) = tls.certificates.first() else {
        return Err("TLS for routes needs cert_file and key_file".into());
    };
    let options = tls::TlsOptions {
        cert_file: (&files.cert_file).into(),
        key_file: (&files.key_file).into(),
        ca_file: tls.ca_file.as_ref().map(Into::into),
        insecure: tls.insecure,
        min_version: match tls.min_version {
            TlsVersion::Tls12 => tls::TlsVersion::V1_2,
            TlsVersion::Tls13 => tls::TlsVersion::V1_3,
        },
        pinned_certs: tls.pinned_certs.iter().map(|pin| hex(pin)).collect(),
        timeout: tls.timeout,
    };
    let failed = |error: tls::TlsFileError| error.to_string();
    Ok(Some(Arc::new(RouteTls {
        acceptor: TlsAcceptor::new(&options).map_err(failed)?,
        connector: TlsConnector::new(&options).map_err(failed)?,
        timeout: tls.timeout,
    })))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
