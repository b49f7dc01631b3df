//! The keys of a configuration file: which option each one sets, and which are refused.
//!
//! Every key is decoded on its own through serde, in the order of the file, so that one wrong value
//! hides no other. The texts are the peer's; where ours says more, it says so behind them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::accounts::GLOBAL_ACCOUNT;
use super::duration::{self, quote};
use super::not_yet::{self, Answer, NotYet};
use super::options::{BusyPoll, Shards, SubBarrier, WriteTimeout};
use super::settings::{NAME_HAS_SPACES, Settings, split_host_port};
use super::tree::{ConfigError, Map, Node, Value, in_file_order};

/// What a file says, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) settings: Settings,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<ConfigError>,
}

/// Reads all keys of a file, over what was set before.
pub(super) fn read(root: &Map, settings: Settings) -> Reading {
    let mut reading = Reading { settings, ..Reading::default() };
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
            || self.sharing(&name, node)
            || self.own(&name, node);
        if !known {
            self.unknown(key, &name, node, not_yet::TOP_LEVEL);
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
            "no_header_support" => self.set(node, |s| &mut s.no_header_support),
            "disable_sublist_cache" | "no_sublist_cache" => {
                self.set(node, |s| &mut s.disable_sublist_cache);
            }
            _ => return false,
        }
        true
    }

    /// Who may connect, who shares subjects with whom, and with which servers.
    fn sharing(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "authorization" => self.authorization(node),
            "no_auth_user" => self.set(node, |s| &mut s.no_auth_user),
            "accounts" => self.accounts(node),
            "system_account" | "system" => match &node.value {
                Value::Text(name) if name == GLOBAL_ACCOUNT => self.errors.push(node.error(
                    "system_account \"$G\" is not supported yet: name an account of its own",
                )),
                Value::Text(name) => self.settings.system_account = Some(name.clone()),
                _ => self.errors.push(node.error("system account name must be a string")),
            },
            "no_system_account" | "no_system" | "no_sys_acc" => {
                self.set(node, |s| &mut s.no_system_account);
            }
            "cluster" => self.cluster(node),
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
            "sub_barrier" => self.set(node, |s| &mut s.sub_barrier),
            _ => return false,
        }
        true
    }

    /// Decodes one value into its place; an error leaves the place as it was.
    pub(super) fn set<'de, T: Deserialize<'de>>(
        &mut self,
        node: &'de Node,
        slot: impl FnOnce(&mut Settings) -> &mut Option<T>,
    ) {
        if let Some(value) = self.take(decode(node)) {
            *slot(&mut self.settings) = Some(value);
        }
    }

    pub(super) fn take<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    /// A duration; a bare number is seconds, and a warning.
    pub(super) fn duration(&mut self, field: &str, node: &Node) -> Option<i64> {
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
    pub(super) fn unknown(&mut self, key: &str, name: &str, node: &Node, list: &[NotYet]) {
        match not_yet::refusal(list, key, name, node) {
            Answer::Fine => {}
            Answer::Refused(error) => self.errors.push(error),
            Answer::Unknown if node.used => {}
            Answer::Unknown => {
                self.errors.push(node.error(format!("unknown field {}", quote(key))));
            }
        }
    }
}

pub(super) fn decode<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, ConfigError> {
    T::deserialize(node).map_err(|error| error.or_at(node))
}

/// A warning about a value that works, but hardly as meant.
pub(super) fn misused(node: &Node, field: &str, reason: &str) -> ConfigError {
    node.error(format!("invalid use of field {}: {reason}", quote(field)))
}

pub(super) struct Listen {
    pub(super) host: String,
    pub(super) port: i64,
}

pub(super) fn listen(node: &Node) -> Result<Listen, ConfigError> {
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

impl<'de> Deserialize<'de> for SubBarrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <&str>::deserialize(deserializer)? {
            "local" => Ok(Self::Local),
            "cluster" => Ok(Self::Cluster),
            _ => Err(de::Error::custom("sub_barrier must be 'local' or 'cluster'")),
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
