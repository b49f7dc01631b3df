//! Keys that nats-server has and this server does not act on yet, with what to do instead.
//!
//! Such a key is refused by name, because a setting that is silently ignored is worse than one that
//! is missing. A value that switches the thing off may stand.

use super::duration::quote;
use super::tree::{ConfigError, Node, Value};

/// What becomes of a key that nobody else knows.
pub(super) enum Answer {
    /// It says nothing, since its value switches off what is not there.
    Fine,
    /// It would be needed.
    Refused(ConfigError),
    /// The peer has no such key either.
    Unknown,
}

/// Looks a key up; `name` is the key in small letters.
pub(super) fn refusal(list: &[NotYet], key: &str, name: &str, node: &Node) -> Answer {
    match list.iter().find(|refused| refused.keys.contains(&name)) {
        None => Answer::Unknown,
        Some(refused) if is_off(&node.value, refused.empty_is_off) => Answer::Fine,
        Some(refused) if refused.has_switch && is_switched_off(node) => Answer::Fine,
        Some(refused) => {
            let text = format!("{} is not supported yet: {}", quote(key), refused.remedy);
            Answer::Refused(node.error(text))
        }
    }
}

/// Keys that the peer knows and we do not act on yet, and what to do without them.
pub(super) struct NotYet {
    keys: &'static [&'static str],
    remedy: &'static str,
    /// An empty block says nothing; of some, the peer takes it as the wish for all that is usual.
    empty_is_off: bool,
    /// In its block the peer has `enabled`, which switches it off whatever else stands there.
    has_switch: bool,
}

const fn not_yet(keys: &'static [&'static str], remedy: &'static str) -> NotYet {
    NotYet { keys, remedy, empty_is_off: true, has_switch: false }
}

/// The same for blocks that act even when there is nothing in them.
const fn not_even_empty(keys: &'static [&'static str], remedy: &'static str) -> NotYet {
    NotYet { keys, remedy, empty_is_off: false, has_switch: false }
}

/// A value that switches something off can stand, since it is off.
fn is_off(value: &Value, empty_is_off: bool) -> bool {
    match value {
        Value::Bool(truth) => !truth,
        Value::Integer(number) => *number == 0,
        Value::Text(text) => text.is_empty() || text.eq_ignore_ascii_case("disabled"),
        Value::Array(items) => items.is_empty(),
        Value::Map(map) => empty_is_off && map.is_empty(),
        Value::Float(_) | Value::Date(_) => false,
    }
}

fn is_switched_off(node: &Node) -> bool {
    node.entries().into_iter().any(|(key, node)| {
        let is_switch = ["enabled", "enable"].iter().any(|name| key.eq_ignore_ascii_case(name));
        is_switch && matches!(node.value, Value::Bool(false))
    })
}

pub(super) const TOP_LEVEL: &[NotYet] = &[
    not_yet(&["gateway"], "remove it, servers meet by the routes of a cluster"),
    not_yet(&["leaf", "leafnodes"], "remove it, servers meet by the routes of a cluster"),
    NotYet {
        has_switch: true,
        ..not_even_empty(
            &["jetstream", "store_dir", "storedir", "default_js_domain"],
            "remove it, messages are not stored",
        )
    },
    not_yet(&["websocket", "ws", "mqtt"], "remove it, clients connect by TCP"),
    not_even_empty(
        &["tls", "allow_non_tls", "ocsp", "ocsp_cache"],
        "remove it, and let a proxy terminate TLS",
    ),
    not_yet(&["https", "https_port"], "use http_port, behind a proxy if it leaves the host"),
    not_yet(&["mappings", "maps"], "remove it, messages keep their subjects"),
    not_yet(
        &[
            "operator",
            "operators",
            "root",
            "roots",
            "root_operator",
            "root_operators",
            "resolver",
            "account_resolver",
            "accounts_resolver",
            "resolver_tls",
            "resolver_preload",
            "resolver_pinned_accounts",
            "trusted",
            "trusted_keys",
            "default_sentinel",
        ],
        "remove it, and list users in authorization or accounts",
    ),
    not_yet(
        &["syslog", "remote_syslog"],
        "use log_file, or let the service manager collect standard error",
    ),
    not_yet(&["prof_port", "prof_block_rate"], "remove it, and use perf"),
    not_yet(&["proxy_protocol", "proxies"], "remove it, clients connect directly"),
    not_yet(&["feature_flags"], "remove it, no flag has an effect"),
];

pub(super) const AUTHORIZATION: &[NotYet] = &[
    not_yet(
        &["default_permission", "default_permissions", "permissions"],
        "remove it, every user may publish and subscribe everywhere",
    ),
    not_even_empty(&["auth_callout", "auth_hook"], "remove it, and list users"),
    not_yet(&["proxy_required"], "remove it, clients connect directly"),
];

pub(super) const USER: &[NotYet] = &[
    not_yet(
        &["permission", "permissions", "authorization"],
        "remove it, every user may publish and subscribe everywhere",
    ),
    not_yet(&["nkey"], "use user and password"),
    not_yet(
        &["allowed_connection_types", "connection_types", "clients"],
        "remove it, clients connect by TCP",
    ),
    not_yet(&["proxy_required"], "remove it, clients connect directly"),
];

/// In an account.
pub(super) const ACCOUNT: &[NotYet] = &[
    not_yet(&["nkey"], "list users with passwords"),
    not_yet(&["imports", "exports"], "remove it, accounts share nothing"),
    not_yet(&["default_permissions"], "remove it, every user may publish and subscribe everywhere"),
    not_yet(&["mappings", "maps"], "remove it, messages keep their subjects"),
    not_yet(&["limits"], "remove it, the server's limits hold"),
    not_yet(&["msg_trace", "trace_dest"], "remove it, messages are not traced"),
];

/// In the authorization block of a cluster.
pub(super) const ROUTE_AUTHORIZATION: &[NotYet] =
    &[not_yet(&["proxy_required"], "remove it, servers connect directly")];

/// In a `tls` block.
pub(super) const TLS: &[NotYet] = &[
    not_yet(&["verify_and_map"], "use verify, and name users in authorization"),
    not_yet(
        &["verify_cert_and_check_known_urls"],
        "use verify, the names of dialled servers are checked",
    ),
    not_yet(
        &["cipher_suites", "allow_insecure_cipher_suites", "curve_preferences"],
        "remove it, only secure ones are offered",
    ),
    not_yet(
        &["handshake_first", "first", "immediate"],
        "remove it, between servers the handshake comes first",
    ),
    not_yet(&["connection_rate_limit"], "remove it, handshakes are not counted"),
    not_yet(&["ocsp_peer"], "remove it, and pin or renew certificates"),
    not_yet(
        &["cert_store", "cert_match_by", "cert_match", "cert_match_skip_invalid", "ca_certs_match"],
        "use cert_file and key_file",
    ),
];
