//! The keys of a configuration file: which option each one sets, and which are refused.
//!
//! Every key is decoded on its own through serde, in the order of the file, so that one wrong value
//! hides no other. The texts are the peer's; where ours says more, it says so behind them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::duration::{self, quote};
use super::options::{
    BusyPoll, NAME_HAS_SPACES, Settings, Shards, User, WriteTimeout, split_host_port,
};
use super::tree::{ConfigError, Map, Node, Value, in_file_order};

/// What a file says, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) settings: Settings,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<ConfigError>,
}

/// Reads all keys of a file.
pub(super) fn read(root: &Map) -> Reading {
    let mut reading = Reading::default();
    for (key, node) in in_file_order(root) {
        reading.top_level(key, node);
    }
    reading
}

impl Reading {
    fn top_level(&mut self, key: &str, node: &Node) {
        let name = key.to_lowercase();
        let known = self.network(&name, node)
            || self.logging(&name, node)
            || self.limits(&name, key, node)
            || self.timing(&name, node)
            || self.identity(&name, node)
            || self.own(&name, node);
        if !known {
            self.unknown(key, &name, node, TOP_LEVEL_NOT_YET);
        }
    }

    fn network(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "listen" => {
                if let Some(Listen { host, port }) = self.take(listen(node)) {
                    self.settings.host = Some(host);
                    self.settings.port = Some(port);
                }
            }
            "host" | "net" => self.set(node, |s| &mut s.host),
            "port" => self.set(node, |s| &mut s.port),
            "client_advertise" => self.set(node, |s| &mut s.client_advertise),
            "http" => {
                if let Some(Listen { host, port }) = self.take(listen(node)) {
                    self.settings.http_host = Some(host);
                    self.settings.http_port = Some(port);
                }
            }
            "http_port" | "monitor_port" => self.set(node, |s| &mut s.http_port),
            "http_base_path" => self.set(node, |s| &mut s.http_base_path),
            _ => return false,
        }
        true
    }

    fn logging(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "debug" => self.set(node, |s| &mut s.debug),
            "trace" => self.set(node, |s| &mut s.trace),
            "trace_verbose" => {
                self.set(node, |s| &mut s.trace_verbose);
                self.settings.trace = self.settings.trace_verbose.or(self.settings.trace);
            }
            "trace_headers" => {
                self.set(node, |s| &mut s.trace_headers);
                self.settings.trace = self.settings.trace_headers.or(self.settings.trace);
            }
            "logtime" => self.set(node, |s| &mut s.logtime),
            "logtime_utc" => self.set(node, |s| &mut s.logtime_utc),
            "logfile" | "log_file" => self.set(node, |s| &mut s.log_file),
            "logfile_size_limit" | "log_size_limit" => self.set(node, |s| &mut s.log_size_limit),
            "logfile_max_num" | "log_max_num" => self.set(node, |s| &mut s.log_max_num),
            "max_traced_msg_len" => self.set(node, |s| &mut s.max_traced_msg_len),
            "pidfile" | "pid_file" => self.set(node, |s| &mut s.pid_file),
            "ports_file_dir" => self.set(node, |s| &mut s.ports_file_dir),
            "connect_error_reports" => self.set(node, |s| &mut s.connect_error_reports),
            "reconnect_error_reports" => self.set(node, |s| &mut s.reconnect_error_reports),
            _ => return false,
        }
        true
    }

    fn limits(&mut self, name: &str, key: &str, node: &Node) -> bool {
        match name {
            "max_connections" | "max_conn" => self.set(node, |s| &mut s.max_connections),
            "max_subscriptions" | "max_subs" => self.set(node, |s| &mut s.max_subscriptions),
            "max_sub_tokens" | "max_subscription_tokens" => {
                self.settings.max_sub_tokens = self.take(tokens_max(key, node));
            }
            "max_control_line" => {
                self.settings.max_control_line = self.take(small_number(key, node));
            }
            "max_payload" => self.settings.max_payload = self.take(small_number(key, node)),
            "max_pending" => self.set(node, |s| &mut s.max_pending),
            "max_closed_clients" => self.set(node, |s| &mut s.max_closed_clients),
            _ => return false,
        }
        true
    }

    fn timing(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "ping_interval" => self.settings.ping_interval = self.duration("ping_interval", node),
            "ping_max" => self.set(node, |s| &mut s.ping_max),
            "write_deadline" => {
                self.settings.write_deadline = self.duration("write_deadline", node);
            }
            "write_timeout" => self.set(node, |s| &mut s.write_timeout),
            "lame_duck_duration" => {
                self.settings.lame_duck_duration = self.take(lame_duck_duration(node));
            }
            "lame_duck_grace_period" => {
                self.settings.lame_duck_grace_period = self.take(lame_duck_grace_period(node));
            }
            "no_fast_producer_stall" => self.set(node, |s| &mut s.no_fast_producer_stall),
            _ => return false,
        }
        true
    }

    fn identity(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "server_name" => self.settings.server_name = self.take(server_name(node)),
            "server_tags" => {
                if let Some(tags) = self.take(tags(node)) {
                    self.settings.server_tags = tags;
                }
            }
            "server_metadata" => {
                if let Some(metadata) = self.take(metadata(node)) {
                    self.settings.server_metadata = metadata;
                }
            }
            "authorization" => self.authorization(node),
            "no_auth_user" => self.set(node, |s| &mut s.no_auth_user),
            "no_header_support" => self.set(node, |s| &mut s.no_header_support),
            "disable_sublist_cache" | "no_sublist_cache" => {
                self.set(node, |s| &mut s.disable_sublist_cache);
            }
            _ => return false,
        }
        true
    }

    /// Options that the peer does not have.
    fn own(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "shards" => self.set(node, |s| &mut s.shards),
            "busy_poll" => self.set(node, |s| &mut s.busy_poll),
            "max_pending_total" => self.set(node, |s| &mut s.max_pending_total),
            _ => return false,
        }
        true
    }

    /// Decodes one value into its place; an error leaves the place as it was.
    fn set<'de, T: Deserialize<'de>>(
        &mut self,
        node: &'de Node,
        slot: impl FnOnce(&mut Settings) -> &mut Option<T>,
    ) {
        if let Some(value) = self.take(decode(node)) {
            *slot(&mut self.settings) = Some(value);
        }
    }

    fn take<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    /// A duration; a bare number is seconds, and a warning.
    fn duration(&mut self, field: &str, node: &Node) -> Option<i64> {
        if let Value::Text(text) = &node.value {
            let parsed = duration::parse(text);
            return self
                .take(parsed.map_err(|e| node.error(format!("error parsing {field}: {e}"))));
        }
        let reason = format!("{field} should be converted to a duration");
        self.warnings.push(misused(node, field, &reason));
        let seconds: i64 = self.take(decode(node))?;
        Some(seconds.saturating_mul(1_000_000_000))
    }

    /// A key that is not for us: refused by name if the peer has it, unknown otherwise.
    fn unknown(&mut self, key: &str, name: &str, node: &Node, not_yet: &[NotYet]) {
        if let Some(refused) = not_yet.iter().find(|refused| refused.keys.contains(&name)) {
            if !is_off(&node.value) {
                let text = format!("{} is not supported yet: {}", quote(key), refused.remedy);
                self.errors.push(node.error(text));
            }
        } else if !node.used {
            self.errors.push(node.error(format!("unknown field {}", quote(key))));
        }
    }
}

/// The authorization block.
impl Reading {
    fn authorization(&mut self, node: &Node) {
        if !matches!(node.value, Value::Map(_)) {
            self.errors.push(node.not_a("map[string]interface {}"));
            return;
        }
        let errors_before = self.errors.len();
        let s = &mut self.settings;
        (s.user, s.password, s.token, s.users) = (None, None, None, None);
        for (key, value) in node.entries() {
            self.authorization_key(key, value);
        }
        if self.errors.len() == errors_before
            && let Err(error) = self.check_authorization(node)
        {
            self.errors.push(error);
        }
    }

    fn authorization_key(&mut self, key: &str, node: &Node) {
        let name = key.to_lowercase();
        match name.as_str() {
            "user" | "username" => self.set(node, |s| &mut s.user),
            "pass" | "password" => self.set(node, |s| &mut s.password),
            "token" => self.set(node, |s| &mut s.token),
            "timeout" => self.settings.auth_timeout_seconds = self.auth_timeout(key, node),
            "users" => self.settings.users = self.users(node),
            _ => self.unknown(key, &name, node, AUTHORIZATION_NOT_YET),
        }
    }

    fn auth_timeout(&mut self, key: &str, node: &Node) -> Option<f64> {
        let context = "error parsing authorization config, 'timeout'";
        #[expect(clippy::cast_precision_loss, reason = "a timeout needs no 53 bits")]
        let seconds = match &node.value {
            Value::Integer(seconds) => *seconds as f64,
            Value::Float(seconds) => *seconds,
            Value::Text(text) => {
                let parsed = duration::parse(text);
                self.take(parsed.map_err(|e| node.error(format!("{context} {e}"))))? as f64 / 1e9
            }
            Value::Bool(_) | Value::Date(_) | Value::Array(_) | Value::Map(_) => {
                self.errors.push(node.error(format!("{context} wrong type")));
                return None;
            }
        };
        if seconds > AUTH_TIMEOUT_SECONDS_HIGH {
            let reason = format!(
                "timeout of {} ({seconds:.6} seconds) is high, consider keeping it under 60 \
                 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
                node.value
            );
            self.warnings.push(misused(node, key, &reason));
        }
        Some(seconds)
    }

    fn users(&mut self, node: &Node) -> Option<Vec<User>> {
        let Value::Array(entries) = &node.value else {
            let text = format!("Expected users field to be an array, got {}", node.value);
            self.errors.push(node.error(text));
            return None;
        };
        let mut users = Vec::with_capacity(entries.len());
        for entry in entries {
            users.extend(self.user(entry));
        }
        Some(users)
    }

    fn user(&mut self, node: &Node) -> Option<User> {
        if !matches!(node.value, Value::Map(_)) {
            let text = format!("Expected user entry to be a map/struct, got {}", node.value);
            self.errors.push(node.error(text));
            return None;
        }
        let errors_before = self.errors.len();
        let mut user = User { user: String::new(), password: String::new() };
        let mut last = node;
        for (key, value) in node.entries() {
            last = value;
            let name = key.to_lowercase();
            match name.as_str() {
                "user" | "username" => user.user = self.take(decode(value)).unwrap_or_default(),
                "pass" | "password" => user.password = self.take(decode(value)).unwrap_or_default(),
                _ => self.unknown(key, &name, value, USER_NOT_YET),
            }
        }
        if user.user.is_empty() {
            if self.errors.len() == errors_before {
                self.errors.push(last.error("User entry requires a user"));
            }
            return None;
        }
        Some(user)
    }

    /// What may not stand together, worded as the peer words it.
    fn check_authorization(&self, node: &Node) -> Result<(), ConfigError> {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let Settings { user, password, token, users, .. } = &self.settings;
        if (given(user) || given(password)) && given(token) {
            return Err(node.error("Cannot have a user/pass and token"));
        }
        let Some(users) = users else { return Ok(()) };
        if given(user) {
            return Err(node.error("Can not have a single user/pass and a users array"));
        }
        if given(token) {
            return Err(node.error("Can not have a token and a users array"));
        }
        let mut names: Vec<&str> = users.iter().map(|user| user.user.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(node.error(format!("Duplicate user {} detected", quote(pair[0])))),
            None => Ok(()),
        }
    }
}

/// Above this an authentication timeout is probably a mistake.
const AUTH_TIMEOUT_SECONDS_HIGH: f64 = 60.0;

fn decode<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, ConfigError> {
    T::deserialize(node).map_err(|error| error.or_at(node))
}

/// A warning about a value that works, but hardly as meant.
fn misused(node: &Node, field: &str, reason: &str) -> ConfigError {
    node.error(format!("invalid use of field {}: {reason}", quote(field)))
}

struct Listen {
    host: String,
    port: i64,
}

fn listen(node: &Node) -> Result<Listen, ConfigError> {
    match &node.value {
        Value::Integer(port) => Ok(Listen { host: String::new(), port: *port }),
        Value::Text(text) => {
            let (host, port) = split_host_port(text).map_err(|_| {
                node.error(format!("could not parse address string {}", quote(text)))
            })?;
            let port = port
                .parse()
                .map_err(|_| node.error(format!("could not parse port {}", quote(port))))?;
            Ok(Listen { host: host.to_owned(), port })
        }
        other => Err(node.error(format!("expected port or host:port, got {}", other.go_type()))),
    }
}

fn server_name(node: &Node) -> Result<String, ConfigError> {
    let name: String = decode(node)?;
    if name.contains(' ') {
        return Err(node.error(NAME_HAS_SPACES));
    }
    Ok(name)
}

fn tokens_max(key: &str, node: &Node) -> Result<u8, ConfigError> {
    match decode::<i64>(node)? {
        ..=0 => Err(node.error(format!("{key} value can not be negative"))),
        number => u8::try_from(number).map_err(|_| node.error(format!("{key} value is too big"))),
    }
}

/// A number below 2^31.
fn small_number(key: &str, node: &Node) -> Result<i64, ConfigError> {
    match decode(node)? {
        number if number > i64::from(i32::MAX) => {
            Err(node.error(format!("{key} value is too big")))
        }
        number => Ok(number),
    }
}

fn lame_duck_duration(node: &Node) -> Result<i64, ConfigError> {
    let text: String = decode(node)?;
    let nanos = duration::parse(&text)
        .map_err(|e| node.error(format!("error parsing lame_duck_duration: {e}")))?;
    if nanos < 30_000_000_000 {
        return Err(node.error(format!(
            "invalid lame_duck_duration of {}, minimum is 30 seconds",
            duration::show_signed(nanos)
        )));
    }
    Ok(nanos)
}

fn lame_duck_grace_period(node: &Node) -> Result<i64, ConfigError> {
    let text: String = decode(node)?;
    let nanos = duration::parse(&text)
        .map_err(|e| node.error(format!("error parsing lame_duck_grace_period: {e}")))?;
    if nanos < 0 {
        return Err(node.error("invalid lame_duck_grace_period, needs to be positive"));
    }
    Ok(nanos)
}

/// Tags in small letters, each once; one text or a list.
fn tags(node: &Node) -> Result<Vec<String>, ConfigError> {
    let mut tags = Vec::new();
    let mut add = |text: &str| {
        let tag = text.trim().to_lowercase();
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    };
    match &node.value {
        Value::Text(text) => add(text),
        Value::Array(items) => {
            for item in items {
                let Value::Text(text) = &item.value else {
                    return Err(node.error(
                        "error parsing tags: unsupported type *conf.token where string is expected",
                    ));
                };
                add(text);
            }
        }
        other => {
            let found = other.go_type();
            return Err(node.error(format!("error parsing tags: unsupported type {found}")));
        }
    }
    Ok(tags)
}

fn metadata(node: &Node) -> Result<BTreeMap<String, String>, ConfigError> {
    match &node.value {
        Value::Map(_) => decode(node),
        other => {
            let found = other.go_type();
            Err(node.error(format!("error parsing metadata: unsupported type {found}")))
        }
    }
}

impl<'de> Deserialize<'de> for WriteTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <&str>::deserialize(deserializer)? {
            "default" => Ok(Self::Default),
            "close" => Ok(Self::Close),
            "retry" => Ok(Self::Retry),
            _ => Err(de::Error::custom("write_timeout must be 'default', 'close' or 'retry'")),
        }
    }
}

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrNumber(Self::parse))
    }
}

impl<'de> Deserialize<'de> for BusyPoll {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrNumber(Self::parse))
    }
}

/// Hands a text, a number or a truth value (a bare `off` is one) to a function as text.
struct WordOrNumber<T>(fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for WordOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.0(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<T, E> {
        self.visit_str(if truth { "true" } else { "false" })
    }
}

/// Keys that the peer knows and we do not act on yet, and what to do without them.
struct NotYet {
    keys: &'static [&'static str],
    remedy: &'static str,
}

const fn not_yet(keys: &'static [&'static str], remedy: &'static str) -> NotYet {
    NotYet { keys, remedy }
}

/// A value that switches something off can stand, since it is off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => !truth,
        Value::Integer(number) => *number == 0,
        Value::Text(text) => text.is_empty() || text.eq_ignore_ascii_case("disabled"),
        Value::Array(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Float(_) | Value::Date(_) => false,
    }
}

const TOP_LEVEL_NOT_YET: &[NotYet] = &[
    not_yet(&["cluster", "gateway"], "remove it, this server stands alone"),
    not_yet(&["leaf", "leafnodes"], "remove it, this server stands alone"),
    not_yet(
        &["jetstream", "store_dir", "storedir", "default_js_domain"],
        "remove it, messages \
             are not stored",
    ),
    not_yet(&["websocket", "ws", "mqtt"], "remove it, clients connect by TCP"),
    not_yet(
        &["tls", "allow_non_tls", "ocsp", "ocsp_cache"],
        "remove it, and let a proxy \
             terminate TLS",
    ),
    not_yet(&["https", "https_port"], "use http_port, behind a proxy if it leaves the host"),
    not_yet(&["accounts", "mappings", "maps"], "remove it, all clients share one account"),
    not_yet(
        &["system_account", "system", "no_system_account", "no_system", "no_sys_acc"],
        "remove it, there is no system account",
    ),
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
        "remove it, and list users in authorization",
    ),
    not_yet(
        &["syslog", "remote_syslog"],
        "use log_file, or let the service manager collect \
             standard error",
    ),
    not_yet(&["prof_port", "prof_block_rate"], "remove it, and use perf"),
    not_yet(&["proxy_protocol", "proxies"], "remove it, clients connect directly"),
    not_yet(&["feature_flags"], "remove it, no flag has an effect"),
];

const AUTHORIZATION_NOT_YET: &[NotYet] = &[
    not_yet(
        &["default_permission", "default_permissions", "permissions"],
        "remove it, every user may publish and subscribe everywhere",
    ),
    not_yet(&["auth_callout", "auth_hook"], "remove it, and list users"),
    not_yet(&["proxy_required"], "remove it, clients connect directly"),
];

const USER_NOT_YET: &[NotYet] = &[
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
