//! The part of a reload that compares clusters.
//!
//! The peer says one line for the whole block; which of its options changed is named beside it,
//! without lines, so that each can be carried out on its own.

use std::time::Duration;

use super::accounts::{GLOBAL_ACCOUNT, SYSTEM_ACCOUNT_DEFAULT};
use super::cluster::{ClusterOptions, PING_INTERVAL_MAX};
use super::duration::quote;
use super::options::Options;
use super::reload::{ChangedOption, Changes};

impl Changes {
    /// Everything but the routes, which the peer compares later.
    pub(super) fn cluster(&mut self, old: &Options, new: &Options) -> Result<(), String> {
        use ChangedOption as O;
        fixed_address(old.cluster.as_ref(), new.cluster.as_ref())?;
        let (before, after) = (cluster(old), cluster(new));
        check_added_accounts(&before, &after, new)?;
        let named = before.name != after.name;
        if named {
            let line = after.name.as_ref().map(|name| format!("Cluster name updated to {name}"));
            self.push(O::ClusterName, line);
        }
        let own = self.cluster_own(&before, &after);
        let inherited = self.cluster_inherited(old, new, &before, &after);
        if named || own || inherited {
            self.add(O::Cluster, "Reloaded: cluster");
        }
        Ok(())
    }

    /// What only the cluster's block says; whether any of it changed.
    fn cluster_own(&mut self, old: &ClusterOptions, new: &ClusterOptions) -> bool {
        use ChangedOption as O;
        let before = self.count();
        self.silent(O::ClusterAdvertise, old.advertise != new.advertise);
        self.silent(O::ClusterNoAdvertise, old.no_advertise != new.no_advertise);
        let authorization =
            old.authorization != new.authorization || old.auth_timeout != new.auth_timeout;
        self.silent(O::ClusterAuthorization, authorization);
        let retries = (old.connect_retries, old.connect_backoff)
            != (new.connect_retries, new.connect_backoff);
        self.silent(O::ClusterConnectRetries, retries);
        self.silent(O::ClusterPermissions, old.permissions != new.permissions);
        self.silent(O::ClusterPoolSize, old.pool_size != new.pool_size);
        self.silent(O::ClusterAccounts, old.accounts != new.accounts);
        let compression = old.compression != new.compression
            || (new.compression == crate::transport::Mode::Auto
                && old.rtt_thresholds != new.rtt_thresholds);
        self.silent(O::ClusterCompression, compression);
        self.silent(O::ClusterMaxPending, old.max_pending != new.max_pending);
        // Files may have other contents under the same names.
        self.silent(O::ClusterTls, new.tls.is_some() || old.tls.is_some());
        self.count() > before
    }

    /// What the block takes over from the top level where it says nothing. The peer has a line for
    /// it only if the block itself changed.
    fn cluster_inherited(
        &mut self,
        old: &Options,
        new: &Options,
        before: &ClusterOptions,
        after: &ClusterOptions,
    ) -> bool {
        use ChangedOption as O;
        let ping = |options: &Options| options.ping_interval.min(PING_INTERVAL_MAX);
        let interval = Inherited {
            changed: before.ping_interval != after.ping_interval,
            own: before.ping_interval != ping(old) || after.ping_interval != ping(new),
        };
        let max = Inherited {
            changed: before.ping_max != after.ping_max,
            own: before.ping_max != old.ping_max || after.ping_max != new.ping_max,
        };
        let is_own =
            |cluster: &ClusterOptions, deadline: Duration| cluster.write_deadline != deadline;
        let deadline = Inherited {
            changed: before.write_deadline != after.write_deadline,
            own: is_own(before, old.write_deadline) || is_own(after, new.write_deadline),
        };
        let timeout = before.write_timeout != after.write_timeout;
        self.silent(O::ClusterPing, interval.changed || max.changed);
        self.silent(O::ClusterWriteDeadline, deadline.changed || timeout);
        timeout || [interval, max, deadline].iter().any(|value| value.changed && value.own)
    }

    /// The routes to dial.
    pub(super) fn cluster_routes(&mut self, old: &Options, new: &Options) {
        let routes = |options: &Options| {
            options.cluster.as_ref().map(|cluster| cluster.routes.clone()).unwrap_or_default()
        };
        let (before, after) = (routes(old), routes(new));
        let same = before.len() == after.len() && after.iter().all(|url| before.contains(url));
        if !same {
            self.add(ChangedOption::ClusterRoutes, "Reloaded: cluster routes");
        }
    }

    /// A change that has no line of its own.
    fn silent(&mut self, option: ChangedOption, changed: bool) {
        if changed {
            self.push(option, None);
        }
    }
}

/// An option of the cluster that defaults to one of the server.
struct Inherited {
    changed: bool,
    /// The cluster has, or had, another value than the server.
    own: bool,
}

/// The options of the cluster; without one, those of a cluster that neither listens nor dials.
fn cluster(options: &Options) -> ClusterOptions {
    options.cluster.clone().unwrap_or_else(|| ClusterOptions {
        port: None,
        accounts: system_account(options).into_iter().collect(),
        ping_interval: options.ping_interval.min(PING_INTERVAL_MAX),
        ping_max: options.ping_max,
        write_deadline: options.write_deadline,
        ..ClusterOptions::default()
    })
}

fn system_account(options: &Options) -> Option<String> {
    (!options.no_system_account).then(|| options.system_account.clone())
}

/// Where the cluster listens can only a restart change, and so whether it does.
fn fixed_address(old: Option<&ClusterOptions>, new: Option<&ClusterOptions>) -> Result<(), String> {
    let address = |cluster: Option<&ClusterOptions>| {
        let listening = cluster.and_then(|cluster| Some((cluster.host.clone(), cluster.port?)));
        listening.unwrap_or_default()
    };
    let ((old_host, old_port), (new_host, new_port)) = (address(old), address(new));
    if old_host != new_host {
        return Err(format!(
            "config reload not supported for cluster host: old={old_host}, new={new_host}"
        ));
    }
    if old_port != new_port {
        return Err(format!(
            "config reload not supported for cluster port: old={old_port}, new={new_port}"
        ));
    }
    Ok(())
}

/// An account can get connections of its own only if there is one of that name.
fn check_added_accounts(
    old: &ClusterOptions,
    new: &ClusterOptions,
    options: &Options,
) -> Result<(), String> {
    let exists = |name: &str| {
        [GLOBAL_ACCOUNT, SYSTEM_ACCOUNT_DEFAULT].contains(&name)
            || options.accounts.iter().any(|account| account.name == name)
    };
    let mut added = new.accounts.iter().filter(|name| !old.accounts.contains(name));
    match added.find(|name| !exists(name)) {
        Some(name) => Err(format!(
            "unable to add account {} to the list of dedicated routes: account missing",
            quote(name)
        )),
        None => Ok(()),
    }
}
