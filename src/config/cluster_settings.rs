//! What a file and the flags said of the cluster, and how its options follow from it.

use std::time::Duration;

use super::cluster::{
    AUTH_TIMEOUT_DEFAULT, ClusterOptions, MAX_PENDING_DEFAULT, PING_INTERVAL_MAX,
    POOL_SIZE_DEFAULT, RouteAuthorization,
};
use super::duration;
use super::options::{Advertise, WriteTimeout};
use super::permissions::RoutePermissions;
use super::route_url::{CLUSTER_PORT_DEFAULT, RouteUrl, Url};
use super::settings::{parse_advertise, port_number};
use super::tls::TlsOptions;
use crate::transport::Mode;

/// Levels that a threshold can stand for.
const RTT_THRESHOLDS_MAX: usize = 4;

/// What was said of the cluster, unchecked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ClusterSettings {
    pub(super) name: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) advertise: Option<String>,
    pub(super) no_advertise: Option<bool>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) auth_timeout_seconds: Option<f64>,
    pub(super) routes: Option<Vec<RouteUrl>>,
    pub(super) connect_retries: Option<i64>,
    pub(super) connect_backoff: Option<bool>,
    pub(super) pool_size: Option<i64>,
    pub(super) accounts: Option<Vec<String>>,
    pub(super) compression: Option<String>,
    pub(super) rtt_thresholds: Vec<i64>,
    pub(super) ping_interval: Option<i64>,
    pub(super) ping_max: Option<i64>,
    pub(super) write_deadline: Option<i64>,
    pub(super) write_timeout: Option<WriteTimeout>,
    pub(super) permissions: Option<RoutePermissions>,
    pub(super) tls: Option<TlsOptions>,
    pub(super) max_pending: Option<i64>,
    /// The command line switched the cluster off.
    pub(super) off: bool,
}

/// What the cluster's options depend on beside the cluster's block.
pub(super) struct Around<'a> {
    pub(super) ping_interval: Duration,
    pub(super) ping_max: u32,
    pub(super) write_deadline: Duration,
    /// `None` when there is no system account.
    pub(super) system_account: Option<&'a str>,
    /// -1 is no pooling, as for the peer.
    pub(super) stands_in: bool,
}

impl ClusterSettings {
    /// Whether a cluster was asked for, by an address or by routes; a name alone does not.
    pub(super) fn listens(&self) -> bool {
        let host = self.host.as_ref().is_some_and(|host| !host.is_empty());
        let routes = self.routes.as_ref().is_some_and(|routes| !routes.is_empty());
        !self.off && (host || routes || self.port.is_some_and(|port| port != 0))
    }

    /// What deserves a line in the log although it is no mistake.
    pub(super) fn notices(&self, stands_in: bool) -> Vec<String> {
        if self.pool_size == Some(-1) && !stands_in {
            vec![format!(
                "cluster pool_size -1 means automatic here, which is {POOL_SIZE_DEFAULT} \
                 connections; -2 switches pooling off"
            )]
        } else {
            Vec::new()
        }
    }

    /// Fills in the defaults and checks everything. `None` when nothing asks for a cluster.
    pub(super) fn into_options(
        self,
        around: &Around<'_>,
    ) -> Result<Option<ClusterOptions>, String> {
        let named = self.name.as_ref().is_some_and(|name| !name.is_empty());
        if !named && !self.listens() {
            return Ok(None);
        }
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        let options = self.addresses(ClusterOptions::default())?;
        let options = self.timing(options, around)?;
        let options = self.pool(options, around)?;
        let options = self.compression(options)?;
        Ok(Some(self.rest(options)?))
    }

    fn addresses(&self, mut options: ClusterOptions) -> Result<ClusterOptions, String> {
        if let Some(host) = self.host.as_ref().filter(|host| !host.is_empty()) {
            options.host.clone_from(host);
        }
        options.port = match self.port {
            _ if !self.listens() => None,
            None | Some(0) => Some(CLUSTER_PORT_DEFAULT),
            Some(-1) => Some(0),
            Some(port) => Some(port_number(port)?),
        };
        if options.port.is_some() {
            options.routes = self.routes.clone().unwrap_or_default();
        }
        if let Some(text) = self.advertise.as_ref().filter(|text| !text.is_empty()) {
            options.advertise = Some(advertise(text)?);
        }
        Ok(options)
    }

    fn timing(
        &self,
        mut options: ClusterOptions,
        around: &Around<'_>,
    ) -> Result<ClusterOptions, String> {
        let time = |name: &str, nanos: Option<i64>, default: Duration| match nanos {
            None | Some(0) => Ok(default),
            Some(nanos) => u64::try_from(nanos)
                .map(Duration::from_nanos)
                .map_err(|_| format!("cluster {name} can not be negative")),
        };
        options.ping_interval = time("ping_interval", self.ping_interval, around.ping_interval)?;
        options.ping_interval = options.ping_interval.min(PING_INTERVAL_MAX);
        options.ping_max = count("ping_max", self.ping_max)?.unwrap_or(around.ping_max);
        options.write_deadline =
            time("write_deadline", self.write_deadline, around.write_deadline)?;
        options.write_timeout = self.write_timeout.unwrap_or_default();
        let tls_timeout = self.tls.as_ref().map(|tls| tls.timeout + Duration::from_secs(1));
        options.auth_timeout = match self.auth_timeout_seconds {
            Some(seconds) if seconds != 0.0 => {
                Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
            }
            _ => tls_timeout.unwrap_or(AUTH_TIMEOUT_DEFAULT),
        };
        Ok(options)
    }

    fn pool(
        &self,
        mut options: ClusterOptions,
        around: &Around<'_>,
    ) -> Result<ClusterOptions, String> {
        options.pool_size = match self.pool_size.unwrap_or(0) {
            0 => Some(POOL_SIZE_DEFAULT),
            -1 if !around.stands_in => Some(POOL_SIZE_DEFAULT),
            ..=-1 => None,
            size => Some(u16::try_from(size).map_err(|_| "cluster pool_size value is too big")?),
        };
        options.accounts = self.accounts.clone().unwrap_or_default();
        if options.pool_size.is_none() && !options.accounts.is_empty() {
            return Err("pool_size cannot be negative if pinned accounts are specified".into());
        }
        if let Some(system) = around.system_account
            && options.pool_size.is_some()
            && !options.accounts.iter().any(|name| name == system)
        {
            options.accounts.push(system.to_owned());
        }
        if let Some(name) = repeated(&options.accounts) {
            return Err(format!(
                "found duplicate account name {} in pinned accounts list [{}]",
                duration::quote(name),
                options.accounts.iter().map(|n| duration::quote(n)).collect::<Vec<_>>().join(" ")
            ));
        }
        Ok(options)
    }

    fn compression(&self, mut options: ClusterOptions) -> Result<ClusterOptions, String> {
        let Some(text) = self.compression.as_ref().filter(|text| !text.is_empty()) else {
            return Ok(options);
        };
        options.compression = text
            .parse()
            .map_err(|_| format!("unsupported compression mode {}", duration::quote(text)))?;
        if options.compression == Mode::Auto && !self.rtt_thresholds.is_empty() {
            options.rtt_thresholds = thresholds(text, &self.rtt_thresholds)?;
        }
        Ok(options)
    }

    fn rest(self, mut options: ClusterOptions) -> Result<ClusterOptions, String> {
        options.connect_retries = match self.connect_retries {
            // Less than none is none, as for the peer.
            Some(..=-1) => 0,
            retries => count("connect_retries", retries)?.unwrap_or(0),
        };
        options.max_pending = match self.max_pending {
            None | Some(0) => MAX_PENDING_DEFAULT,
            Some(bytes) => u64::try_from(bytes)
                .map_err(|_| String::from("cluster max_pending can not be negative"))?,
        };
        options.name = self.name.filter(|name| !name.is_empty());
        options.no_advertise = self.no_advertise.unwrap_or(false);
        options.connect_backoff = self.connect_backoff.unwrap_or(false);
        // A password without a user protects nothing, as for the peer.
        options.authorization = self
            .user
            .filter(|user| !user.is_empty())
            .map(|user| RouteAuthorization { user, password: self.password.unwrap_or_default() });
        options.permissions = self.permissions;
        options.tls = self.tls;
        Ok(options)
    }
}

/// What a cluster may not be called.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.contains(' ') {
        return Err("cluster name cannot contain spaces");
    }
    if name == "_" {
        return Err("cluster name is reserved");
    }
    Ok(())
}

fn repeated(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name)
}

/// A number of which nothing and 0 mean the default.
fn count(name: &str, number: Option<i64>) -> Result<Option<u32>, String> {
    match number {
        None | Some(0) => Ok(None),
        Some(..=-1) => Err(format!("cluster {name} can not be negative")),
        Some(number) => {
            u32::try_from(number).map(Some).map_err(|_| format!("cluster {name} value is too big"))
        }
    }
}

/// An address told to other servers: a host, a host and a port, or a URL that holds them.
fn advertise(text: &str) -> Result<Advertise, String> {
    let parsed = if text.contains("://") {
        Url::parse(text).and_then(|url| parse_advertise(&url.host))
    } else {
        parse_advertise(text)
    };
    match parsed {
        Ok((host, port)) => Ok(Advertise { text: text.to_owned(), host, port }),
        Err(error) => Err(format!("invalid Cluster.Advertise value of {text}, err={error}")),
    }
}

/// Thresholds in ascending order, where zero leaves a level out; zeros at the end say nothing.
fn thresholds(mode: &str, given: &[i64]) -> Result<Vec<Duration>, String> {
    let mode = duration::quote(mode);
    let shown = || {
        let shown: Vec<_> = given.iter().map(|nanos| duration::show_signed(*nanos)).collect();
        format!("[{}]", shown.join(" "))
    };
    let mut times: Vec<Duration> = Vec::new();
    for nanos in given {
        let time = Duration::from_nanos(u64::try_from(*nanos).unwrap_or(0));
        if !time.is_zero() && times.iter().any(|earlier| time < *earlier) {
            return Err(format!("RTT threshold values {} should be in ascending order", shown()));
        }
        times.push(time);
    }
    while times.last().is_some_and(Duration::is_zero) {
        times.pop();
    }
    match times.len() {
        0 => Err(format!("compression mode {mode} requires at least one RTT threshold")),
        1..=RTT_THRESHOLDS_MAX => Ok(times),
        _ => Err(format!(
            "compression mode {mode} should have no more than {RTT_THRESHOLDS_MAX} RTT thresholds: \
             {}",
            shown()
        )),
    }
}
