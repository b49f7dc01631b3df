//! The keys of the block `cluster {}`.

use serde::Deserialize;

use super::authorization::Of;
use super::cluster::PING_INTERVAL_MAX;
use super::cluster_settings::{ClusterSettings, check_name};
use super::duration::{self, quote};
use super::keys::{Listen, Reading, decode, listen, misused};
use super::permissions::route_permissions;
use super::route_url::RouteUrl;
use super::tls;
use super::tree::{ConfigError, Node, Value};

impl Reading {
    /// Reads the block into the settings; a later block replaces an earlier one.
    pub(super) fn cluster(&mut self, node: &Node) {
        if !matches!(node.value, Value::Map(_)) {
            let found = node.value.go_type();
            self.errors.push(node.error(format!("Expected map to define cluster, got {found}")));
            return;
        }
        self.settings.cluster = ClusterSettings::default();
        for (key, value) in node.entries() {
            let name = key.to_lowercase();
            let known = self.cluster_place(&name, value)
                || self.cluster_trust(&name, key, value)
                || self.cluster_links(&name, value)
                || self.cluster_times(&name, value);
            if !known && !value.used {
                self.errors.push(value.error(format!("unknown field {}", quote(key))));
            }
        }
    }

    /// Where the cluster listens, and whom it dials.
    fn cluster_place(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "name" => {
                let name = decode::<String>(node)
                    .and_then(|name| check_name(&name).map(|()| name).map_err(|e| node.error(e)));
                if let Some(name) = self.take(name) {
                    self.settings.cluster.name = Some(name);
                }
            }
            "listen" => {
                if let Some(Listen { host, port }) = self.take(listen(node)) {
                    self.settings.cluster.host = Some(host);
                    self.settings.cluster.port = Some(port);
                }
            }
            "host" | "net" => self.set_in_cluster(node, |c| &mut c.host),
            "port" => self.set_in_cluster(node, |c| &mut c.port),
            "advertise" | "cluster_advertise" => self.set_in_cluster(node, |c| &mut c.advertise),
            "no_advertise" => self.set_in_cluster(node, |c| &mut c.no_advertise),
            "routes" => self.settings.cluster.routes = self.routes(node),
            _ => return false,
        }
        true
    }

    /// Who may join, and what may cross.
    fn cluster_trust(&mut self, name: &str, key: &str, node: &Node) -> bool {
        match name {
            // The peer has these two in the authorization block only.
            "user" | "username" => self.set_in_cluster(node, |c| &mut c.user),
            "pass" | "password" => self.set_in_cluster(node, |c| &mut c.password),
            "authorization" => self.cluster_authorization(key, node),
            "permissions" => {
                if let Some(permissions) = route_permissions(self, node, node) {
                    // These win over those of the authorization block, wherever that stands.
                    self.settings.cluster.permissions = Some(permissions);
                }
            }
            "tls" => {
                if let Some(tls) = self.take(tls::read(node)) {
                    self.settings.cluster.tls = Some(tls);
                }
            }
            _ => return false,
        }
        true
    }

    fn cluster_authorization(&mut self, key: &str, node: &Node) {
        let Some(block) = self.authorization_block(node, Of::Routes(node)) else { return };
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let refused = if block.users.is_some() {
            Some("Cluster authorization does not allow multiple users")
        } else if given(&block.token) {
            Some("Cluster authorization does not support tokens")
        } else if block.has_callout {
            Some("Cluster authorization does not support callouts")
        } else {
            None
        };
        if let Some(text) = refused {
            self.errors.push(node.error(text));
            return;
        }
        let cluster = &mut self.settings.cluster;
        cluster.user = block.user;
        cluster.password = block.password;
        cluster.auth_timeout_seconds = block.timeout_seconds;
        if block.permissions.is_some() {
            let reason = "setting \"permissions\" within cluster authorization block is deprecated";
            self.warnings.push(misused(node, key, reason));
            if cluster.permissions.is_none() {
                cluster.permissions = block.permissions;
            }
        }
    }

    /// The connections to each other server.
    fn cluster_links(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "connect_retries" => self.set_in_cluster(node, |c| &mut c.connect_retries),
            "connect_backoff" => self.set_in_cluster(node, |c| &mut c.connect_backoff),
            "pool_size" => self.set_in_cluster(node, |c| &mut c.pool_size),
            "accounts" => {
                if let Some(names) = self.take(pinned_accounts(node)) {
                    self.settings.cluster.accounts = Some(names);
                }
            }
            "compression" => {
                if let Err(error) = compression(node, &mut self.settings.cluster) {
                    self.errors.push(error);
                }
            }
            "max_pending" => self.set_in_cluster(node, |c| &mut c.max_pending),
            _ => return false,
        }
        true
    }

    fn cluster_times(&mut self, name: &str, node: &Node) -> bool {
        match name {
            "ping_interval" => {
                let nanos = self.duration("ping_interval", node);
                if nanos.is_some_and(|nanos| {
                    u128::try_from(nanos).is_ok_and(|nanos| nanos > PING_INTERVAL_MAX.as_nanos())
                }) {
                    let max = duration::show(PING_INTERVAL_MAX);
                    self.warnings.push(node.error(format!(
                        "Cluster 'ping_interval' will reset to {max} which is the max for routes"
                    )));
                }
                self.settings.cluster.ping_interval = nanos;
            }
            "ping_max" => self.set_in_cluster(node, |c| &mut c.ping_max),
            "write_deadline" => {
                self.settings.cluster.write_deadline = self.duration("write_deadline", node);
            }
            "write_timeout" => self.set_in_cluster(node, |c| &mut c.write_timeout),
            _ => return false,
        }
        true
    }

    fn set_in_cluster<'de, T: Deserialize<'de>>(
        &mut self,
        node: &'de Node,
        slot: impl FnOnce(&mut ClusterSettings) -> &mut Option<T>,
    ) {
        self.set(node, |settings| slot(&mut settings.cluster));
    }

    fn routes(&mut self, node: &Node) -> Option<Vec<RouteUrl>> {
        let Value::Array(entries) = &node.value else {
            self.errors.push(node.not_a("[]interface {}"));
            return None;
        };
        let mut seen: Vec<&str> = Vec::with_capacity(entries.len());
        let mut routes = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Text(text) = &entry.value else {
                self.errors.push(entry.not_a("string"));
                break;
            };
            if seen.contains(&text.as_str()) {
                self.warnings.push(misused(entry, text, "Duplicate route entry detected"));
                continue;
            }
            seen.push(text);
            match RouteUrl::parse(text) {
                Ok(route) => routes.push(route),
                Err(error) => self.errors.push(entry.error(error.describe(text))),
            }
        }
        Some(routes)
    }
}

/// One name or a list of them.
fn pinned_accounts(node: &Node) -> Result<Vec<String>, ConfigError> {
    match &node.value {
        Value::Text(name) => Ok(vec![name.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| match &item.value {
                Value::Text(name) => Ok(name.clone()),
                other => Err(item.error(format!(
                    "error parsing accounts: unsupported type in array {}",
                    other.go_type()
                ))),
            })
            .collect(),
        other => {
            let found = other.go_type();
            Err(node.error(format!("error parsing accounts: unsupported type {found}")))
        }
    }
}

/// A mode, whether to compress at all, or a map of the mode and its thresholds. Whether there is
/// such a mode is checked at start, as the peer does.
fn compression(node: &Node, cluster: &mut ClusterSettings) -> Result<(), ConfigError> {
    match &node.value {
        Value::Text(mode) => cluster.compression = Some(mode.clone()),
        Value::Bool(on) => cluster.compression = Some(if *on { "on" } else { "off" }.into()),
        Value::Map(_) => {
            for (key, value) in node.entries() {
                match key.to_lowercase().as_str() {
                    "mode" => cluster.compression = Some(decode(value)?),
                    "rtt_thresholds" | "thresholds" | "rtts" | "rtt" => {
                        cluster.rtt_thresholds = thresholds(value)?;
                    }
                    _ if value.used => {}
                    _ => return Err(value.error(format!("unknown field {}", quote(key)))),
                }
            }
        }
        other => {
            return Err(node.error(format!(
                "field \"compression\" should be a boolean or a structure, got {}",
                other.go_type()
            )));
        }
    }
    Ok(())
}

fn thresholds(node: &Node) -> Result<Vec<i64>, ConfigError> {
    let Value::Array(items) = &node.value else { return Err(node.not_a("[]interface {}")) };
    items
        .iter()
        .map(|item| {
            let Value::Text(text) = &item.value else { return Err(item.not_a("string")) };
            duration::parse(text).map_err(|error| node.error(error))
        })
        .collect()
}
