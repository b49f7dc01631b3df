//! A reload: the file read anew, the flags applied again, and what differs.
//!
//! All or nothing: one change that needs a restart refuses the whole reload, and nothing has
//! happened then. Carrying the changes out is the server's business; this module names them, with
//! the line to log for each.

use std::fmt;

use super::accounts::SYSTEM_ACCOUNT_DEFAULT;
use super::duration::show;
use super::options::Options;
use super::settings::Settings;
use super::{Loaded, finish_file, read_file};

/// A reload that may be carried out.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What holds from now on.
    pub loaded: Loaded,
    /// What changed, in the order in which to log and apply it.
    pub changes: Vec<Change>,
}

/// One option that changed; its new value is in the new options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub option: ChangedOption,
    /// The line to log, if this change has one.
    pub line: Option<String>,
}

/// The options that can change while the server runs.
///
/// [`Users`](Self::Users) and [`Accounts`](Self::Accounts) are named at every reload, as the peer
/// does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangedOption {
    /// `client_advertise`
    ClientAdvertise,
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `trace_verbose`
    TraceVerbose,
    /// `trace_headers`
    TraceHeaders,
    /// `logtime`
    Logtime,
    /// `logtime_utc`
    LogtimeUtc,
    /// `max_connections`
    MaxConnections,
    /// `authorization.users`
    Users,
    /// `accounts`
    Accounts,
    /// `authorization.user`
    Username,
    /// `authorization.password`
    Password,
    /// `authorization.token`
    Token,
    /// `ping_interval`
    PingInterval,
    /// `ping_max`
    PingMax,
    /// `authorization.timeout`
    AuthTimeout,
    /// `max_control_line`
    MaxControlLine,
    /// `max_payload`
    MaxPayload,
    /// `no_fast_producer_stall`
    NoFastProducerStall,
    /// `cluster.name`
    ClusterName,
    /// `cluster.advertise`
    ClusterAdvertise,
    /// `cluster.no_advertise`
    ClusterNoAdvertise,
    /// `cluster.authorization`: user, password or timeout. Accepted routes are checked again.
    ClusterAuthorization,
    /// `cluster.connect_retries` or `cluster.connect_backoff`
    ClusterConnectRetries,
    /// `cluster.permissions`
    ClusterPermissions,
    /// `cluster.pool_size`
    ClusterPoolSize,
    /// `cluster.accounts`
    ClusterAccounts,
    /// `cluster.compression`, with its thresholds where they matter
    ClusterCompression,
    /// `cluster.max_pending`
    ClusterMaxPending,
    /// `cluster.tls`. It is named at every reload with TLS, since files may have been replaced.
    ClusterTls,
    /// The interval or the number of pings that holds for routes
    ClusterPing,
    /// `write_deadline` or `write_timeout` as they hold for routes
    ClusterWriteDeadline,
    /// Anything in `cluster` but the routes; stands behind all of the above.
    Cluster,
    /// `cluster.routes`
    ClusterRoutes,
    /// `pid_file`
    PidFile,
    /// `ports_file_dir`
    PortsFileDir,
    /// `log_file`
    LogFile,
    /// `write_deadline`
    WriteDeadline,
    /// `max_traced_msg_len`
    MaxTracedMsgLen,
    /// `connect_error_reports`
    ConnectErrorReports,
    /// `reconnect_error_reports`
    ReconnectErrorReports,
    /// `server_tags`
    ServerTags,
    /// `server_metadata`
    ServerMetadata,
}

/// Reads the configuration file again and compares. The error is the text behind `Failed to reload
/// server configuration: `.
pub fn reload(current: &Loaded) -> Result<Reloaded, String> {
    let Some(path) = &current.config_file else {
        return Err("can only reload config when a file is provided using -c or --config".into());
    };
    let mut loaded =
        read_again(current, &path.to_string_lossy()).map_err(|text| text.trim_end().to_owned())?;
    if loaded.options.port == 0 {
        // Any free port was asked for, and the one that is bound serves.
        loaded.options.port = current.options.port;
    }
    let bound = current.options.cluster.as_ref().and_then(|cluster| cluster.port);
    if let Some(cluster) = &mut loaded.options.cluster
        && cluster.port == Some(0)
        && bound.is_some()
    {
        cluster.port = bound;
    }
    let changes = compare(&current.options, &loaded.options)?;
    Ok(Reloaded { loaded, changes })
}

/// A server that got its name by a flag is to find the same one in the file, or none.
fn read_again(current: &Loaded, path: &str) -> Result<Loaded, String> {
    let file = read_file(path, Settings::default())?;
    let named = file.reading.settings.server_name.clone().filter(|name| !name.is_empty());
    let mut loaded = finish_file(path, file, &current.flags, current.surroundings)?;
    loaded.options.server_name = named.or(loaded.options.server_name);
    Ok(loaded)
}

pub(super) fn compare(old: &Options, new: &Options) -> Result<Vec<Change>, String> {
    let mut changes = Changes(Vec::new());
    changes.addresses_and_logs(old, new)?;
    changes.clients(old, new)?;
    changes.monitoring_and_limits(old, new)?;
    changes.cluster(old, new)?;
    changes.files(old, new)?;
    changes.cluster_routes(old, new);
    changes.rest(old, new)?;
    Ok(changes.0)
}

pub(super) struct Changes(Vec<Change>);

/// The comparison, in the order of the peer's options, because the first refusal is the one told.
impl Changes {
    fn addresses_and_logs(&mut self, old: &Options, new: &Options) -> Result<(), String> {
        use ChangedOption as O;
        fixed("ServerName", text(&old.server_name), text(&new.server_name))?;
        fixed("Host", &old.host, &new.host)?;
        fixed("Port", old.port, new.port)?;
        if old.client_advertise != new.client_advertise {
            let value = new.client_advertise.as_ref().map_or("", |advertise| &advertise.text);
            self.add(O::ClientAdvertise, format!("Reload: client_advertise = {value}"));
        }
        self.named(O::Trace, "trace", old.trace, new.trace);
        self.named(O::Debug, "debug", old.debug, new.debug);
        self.named(O::TraceVerbose, "trace_verbose", old.trace_verbose, new.trace_verbose);
        self.named(O::TraceHeaders, "trace_headers", old.trace_headers, new.trace_headers);
        fixed("NoSublistCache", old.disable_sublist_cache, new.disable_sublist_cache)?;
        fixed("NoHeaderSupport", old.no_header_support, new.no_header_support)?;
        self.named(O::Logtime, "logtime", old.logtime, new.logtime);
        self.named(O::LogtimeUtc, "logtime_utc", old.logtime_utc, new.logtime_utc);
        Ok(())
    }

    fn clients(&mut self, old: &Options, new: &Options) -> Result<(), String> {
        use ChangedOption as O;
        let connections = |options: &Options| match options.max_connections {
            0 => -1,
            max => i64::from(max),
        };
        self.named(O::MaxConnections, "max_connections", connections(old), connections(new));
        let number = |max: Option<u32>| max.unwrap_or(0);
        fixed("MaxSubs", number(old.max_subscriptions), number(new.max_subscriptions))?;
        let tokens = |max: Option<u8>| max.unwrap_or(0);
        fixed("MaxSubTokens", tokens(old.max_sub_tokens), tokens(new.max_sub_tokens))?;
        self.add(O::Users, "Reloaded: authorization users");
        self.add(O::Accounts, "Reloaded: accounts");
        no_auth_user(old, new)?;
        // The name that is there without being said is shown as none.
        let system = |options: &Options| match options.system_account.as_str() {
            SYSTEM_ACCOUNT_DEFAULT => String::new(),
            name => name.to_owned(),
        };
        fixed("SystemAccount", system(old), system(new))?;
        fixed("NoSystemAccount", old.no_system_account, new.no_system_account)?;
        let (was, is) = (&old.authorization, &new.authorization);
        if was.user != is.user {
            self.add(O::Username, "Reloaded: authorization username");
        }
        if was.password != is.password {
            self.add(O::Password, "Reloaded: authorization password");
        }
        if was.token != is.token {
            self.add(O::Token, "Reloaded: authorization token");
        }
        let (was, is) = (show(old.ping_interval), show(new.ping_interval));
        self.named(O::PingInterval, "ping_interval", was, is);
        self.named(O::PingMax, "ping_max", old.ping_max, new.ping_max);
        Ok(())
    }

    fn monitoring_and_limits(&mut self, old: &Options, new: &Options) -> Result<(), String> {
        use ChangedOption as O;
        fixed("HTTPHost", &old.http_host, &new.http_host)?;
        let port = |port: Option<u16>| match port {
            None => 0,
            Some(0) => -1,
            Some(port) => i32::from(port),
        };
        fixed("HTTPPort", port(old.http_port), port(new.http_port))?;
        fixed("HTTPBasePath", &old.http_base_path, &new.http_base_path)?;
        let seconds = |options: &Options| options.authorization.timeout.as_secs_f64();
        self.named(O::AuthTimeout, "authorization timeout", seconds(old), seconds(new));
        let (was, is) = (old.max_control_line, new.max_control_line);
        self.named(O::MaxControlLine, "max_control_line", was, is);
        self.named(O::MaxPayload, "max_payload", old.max_payload, new.max_payload);
        fixed("MaxPending", old.max_pending, new.max_pending)?;
        if old.no_fast_producer_stall != new.no_fast_producer_stall {
            let not = if new.no_fast_producer_stall { "not " } else { "" };
            let line = format!("Reloaded: fast producers will {not}be stalled");
            self.add(O::NoFastProducerStall, line);
        }
        Ok(())
    }

    fn files(&mut self, old: &Options, new: &Options) -> Result<(), String> {
        use ChangedOption as O;
        if old.pid_file != new.pid_file {
            let line = new.pid_file.as_ref().map(|path| format!("Reloaded: pid_file = {path}"));
            self.push(O::PidFile, line);
        }
        let (was, is) = (text(&old.ports_file_dir), text(&new.ports_file_dir));
        self.named(O::PortsFileDir, "ports_file_dir", was, is);
        self.named(O::LogFile, "log_file", text(&old.log_file), text(&new.log_file));
        let number = |max: Option<u64>| max.unwrap_or(0);
        fixed("LogSizeLimit", number(old.log_size_limit), number(new.log_size_limit))?;
        fixed("LogMaxFiles", number(old.log_max_num), number(new.log_max_num))
    }

    fn rest(&mut self, old: &Options, new: &Options) -> Result<(), String> {
        use ChangedOption as O;
        let (was, is) = (show(old.write_deadline), show(new.write_deadline));
        self.named(O::WriteDeadline, "write_deadline", was, is);
        fixed("WriteTimeout", old.write_timeout, new.write_timeout)?;
        fixed("MaxClosedClients", old.max_closed_clients, new.max_closed_clients)?;
        let (was, is) = (show(old.lame_duck_duration), show(new.lame_duck_duration));
        fixed("LameDuckDuration", was, is)?;
        let (was, is) = (show(old.lame_duck_grace_period), show(new.lame_duck_grace_period));
        fixed("LameDuckGracePeriod", was, is)?;
        let length = |options: &Options| options.max_traced_msg_len.unwrap_or(0);
        self.named(O::MaxTracedMsgLen, "max_traced_msg_len", length(old), length(new));
        let (was, is) = (old.connect_error_reports, new.connect_error_reports);
        self.named(O::ConnectErrorReports, "connect_error_reports", was, is);
        let (was, is) = (old.reconnect_error_reports, new.reconnect_error_reports);
        self.named(O::ReconnectErrorReports, "reconnect_error_reports", was, is);
        if old.server_tags != new.server_tags {
            self.add(O::ServerTags, "Reloaded: tags");
        }
        if old.server_metadata != new.server_metadata {
            self.add(O::ServerMetadata, "Reloaded: metadata");
        }
        fixed("Shards", old.shards, new.shards)?;
        fixed("BusyPoll", old.busy_poll, new.busy_poll)?;
        fixed("MaxPendingTotal", old.max_pending_total, new.max_pending_total)?;
        fixed("SubBarrier", old.sub_barrier, new.sub_barrier)
    }

    fn named<T: PartialEq + fmt::Display>(
        &mut self,
        option: ChangedOption,
        name: &str,
        old: T,
        new: T,
    ) {
        if old != new {
            self.add(option, format!("Reloaded: {name} = {new}"));
        }
    }

    pub(super) fn add(&mut self, option: ChangedOption, line: impl Into<String>) {
        self.push(option, Some(line.into()));
    }

    pub(super) fn push(&mut self, option: ChangedOption, line: Option<String>) {
        self.0.push(Change { option, line });
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// An option that only a restart can change.
fn fixed<T: PartialEq + fmt::Display>(field: &str, old: T, new: T) -> Result<(), String> {
    if old == new {
        return Ok(());
    }
    Err(format!("config reload not supported for {field}: old={old}, new={new}"))
}

/// The user of nameless clients may only go, and only together with its entry.
fn no_auth_user(old: &Options, new: &Options) -> Result<(), String> {
    let gone = new.no_auth_user.is_none()
        && !new.users().any(|(_, user)| Some(&user.user) == old.no_auth_user.as_ref());
    if gone {
        return Ok(());
    }
    fixed("NoAuthUser", text(&old.no_auth_user), text(&new.no_auth_user))
}

fn text(option: &Option<String>) -> &str {
    option.as_deref().unwrap_or_default()
}
