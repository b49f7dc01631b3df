//! What a file and the flags said, and how the options follow from it.
//!
//! Settings know no key and no flag, only what they set. [`Settings::into_options`] is the one way
//! from here to [`Options`], and it makes every check that needs more than one key.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::accounts::AccountOptions;
use super::cluster_settings::{Around, ClusterSettings};
use super::duration;
use super::options::{
    Advertise, BusyPoll, DEFAULT_PORT, MEMORY_BYTES_ASSUMED, Options, PENDING_SHARE, Shards,
    SubBarrier, User, WriteTimeout,
};
use super::parser::clean;

/// What was said, unchecked; numbers as Go's, where 0 mostly means the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) server_name: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) client_advertise: Option<String>,
    pub(super) trace: Option<bool>,
    pub(super) debug: Option<bool>,
    pub(super) trace_verbose: Option<bool>,
    pub(super) trace_headers: Option<bool>,
    pub(super) disable_sublist_cache: Option<bool>,
    pub(super) no_header_support: Option<bool>,
    pub(super) logtime: Option<bool>,
    pub(super) logtime_utc: Option<bool>,
    pub(super) max_connections: Option<i64>,
    pub(super) max_subscriptions: Option<i64>,
    pub(super) max_sub_tokens: Option<u8>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) users: Option<Vec<User>>,
    pub(super) auth_timeout_seconds: Option<f64>,
    pub(super) has_authorization: bool,
    pub(super) accounts: Vec<AccountOptions>,
    pub(super) no_auth_user: Option<String>,
    pub(super) system_account: Option<String>,
    pub(super) no_system_account: Option<bool>,
    pub(super) cluster: ClusterSettings,
    pub(super) ping_interval: Option<i64>,
    pub(super) ping_max: Option<i64>,
    pub(super) http_host: Option<String>,
    pub(super) http_port: Option<i64>,
    pub(super) http_base_path: Option<String>,
    pub(super) max_control_line: Option<i64>,
    pub(super) max_payload: Option<i64>,
    pub(super) max_pending: Option<i64>,
    pub(super) no_fast_producer_stall: Option<bool>,
    pub(super) pid_file: Option<String>,
    pub(super) ports_file_dir: Option<String>,
    pub(super) log_file: Option<String>,
    pub(super) log_size_limit: Option<i64>,
    pub(super) log_max_num: Option<i64>,
    pub(super) write_deadline: Option<i64>,
    pub(super) write_timeout: Option<WriteTimeout>,
    pub(super) max_closed_clients: Option<i64>,
    pub(super) lame_duck_duration: Option<i64>,
    pub(super) lame_duck_grace_period: Option<i64>,
    pub(super) max_traced_msg_len: Option<i64>,
    pub(super) connect_error_reports: Option<i64>,
    pub(super) reconnect_error_reports: Option<i64>,
    pub(super) server_tags: Vec<String>,
    pub(super) server_metadata: BTreeMap<String, String>,
    pub(super) shards: Option<Shards>,
    pub(super) busy_poll: Option<BusyPoll>,
    pub(super) max_pending_total: Option<i64>,
    pub(super) sub_barrier: Option<SubBarrier>,
}

/// What the defaults depend on beside file and flags. It is found at start, so that a reload
/// derives the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Memory the process may use.
    pub(super) memory_bytes: u64,
    /// The program was started under the peer's name.
    pub(super) stands_in: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { memory_bytes: MEMORY_BYTES_ASSUMED, stands_in: false }
    }
}

impl Settings {
    /// Fills in the defaults and checks everything. The error is one line without a position: these
    /// checks come after the file was read.
    pub(super) fn into_options(mut self, surroundings: Surroundings) -> Result<Options, String> {
        let options = Options {
            max_pending_total: surroundings.memory_bytes / PENDING_SHARE,
            ..Options::default()
        };
        let cluster = std::mem::take(&mut self.cluster);
        let system_account = non_empty(self.system_account.as_ref());
        let options = self.timing(options)?;
        let options = self.limits(options)?;
        let options = self.logging(options)?;
        let options = self.addresses(options)?;
        let mut options = self.identity(options);
        validate(&options)?;
        let system = (!options.no_system_account).then_some(options.system_account.as_str());
        options.cluster = cluster.into_options(&Around {
            ping_interval: options.ping_interval,
            ping_max: options.ping_max,
            write_deadline: options.write_deadline,
            system_account: system,
            stands_in: surroundings.stands_in,
        })?;
        validate_system_account(system_account.as_deref(), &options)?;
        Ok(options)
    }

    fn timing(&self, mut options: Options) -> Result<Options, String> {
        let set = |slot: &mut Duration, name: &str, nanos: Option<i64>| match nanos {
            None | Some(0) => Ok(()),
            Some(nanos) => match u64::try_from(nanos) {
                Ok(nanos) => {
                    *slot = Duration::from_nanos(nanos);
                    Ok(())
                }
                Err(_) => Err(format!("{name} can not be negative")),
            },
        };
        set(&mut options.ping_interval, "ping_interval", self.ping_interval)?;
        set(&mut options.write_deadline, "write_deadline", self.write_deadline)?;
        set(&mut options.lame_duck_duration, "lame_duck_duration", self.lame_duck_duration)?;
        set(
            &mut options.lame_duck_grace_period,
            "lame_duck_grace_period",
            self.lame_duck_grace_period,
        )?;
        if let Some(policy) = self.write_timeout {
            options.write_timeout = policy;
        }
        if let Some(busy_poll) = self.busy_poll {
            options.busy_poll = busy_poll;
        }
        Ok(options)
    }

    fn limits(&self, mut options: Options) -> Result<Options, String> {
        set_number(&mut options.max_control_line, "max_control_line", self.max_control_line)?;
        set_number(&mut options.max_payload, "max_payload", self.max_payload)?;
        // The peer says this of any max_pending below max_payload, a negative one too.
        if self.max_pending.is_some_and(|max| max < 0) {
            return Err(payload_over_pending(options.max_payload, self.max_pending.unwrap_or(0)));
        }
        set_number(&mut options.max_pending, "max_pending", self.max_pending)?;
        set_number(&mut options.max_pending_total, "max_pending_total", self.max_pending_total)?;
        set_number(&mut options.max_closed_clients, "max_closed_clients", self.max_closed_clients)?;
        set_number(&mut options.ping_max, "ping_max", self.ping_max)?;
        if let Some(max) = self.max_connections {
            options.max_connections = u32::try_from(max.max(0)).unwrap_or(u32::MAX);
        }
        options.max_subscriptions = positive(self.max_subscriptions);
        options.max_sub_tokens = self.max_sub_tokens;
        if let Some(shards) = self.shards {
            options.shards = shards;
        }
        Ok(options)
    }

    fn logging(&self, mut options: Options) -> Result<Options, String> {
        let set = |slot: &mut bool, value: Option<bool>| *slot = value.unwrap_or(*slot);
        set(&mut options.trace, self.trace);
        set(&mut options.debug, self.debug);
        set(&mut options.trace_verbose, self.trace_verbose);
        set(&mut options.trace_headers, self.trace_headers);
        set(&mut options.logtime, self.logtime);
        set(&mut options.logtime_utc, self.logtime_utc);
        options.log_file = non_empty(self.log_file.as_ref());
        options.log_size_limit = positive(self.log_size_limit);
        options.log_max_num = positive(self.log_max_num);
        options.max_traced_msg_len = positive(self.max_traced_msg_len);
        if let Some(reports @ ..=-1 | reports @ 1..) = self.connect_error_reports {
            options.connect_error_reports = reports;
        }
        if let Some(reports @ ..=-1 | reports @ 1..) = self.reconnect_error_reports {
            options.reconnect_error_reports = reports;
        }
        Ok(options)
    }

    fn addresses(&self, mut options: Options) -> Result<Options, String> {
        if let Some(host) = non_empty(self.host.as_ref()) {
            options.host = host;
        }
        options.port = match self.port {
            None | Some(0) => DEFAULT_PORT,
            Some(-1) => 0,
            Some(port) => port_number(port)?,
        };
        options.http_host =
            non_empty(self.http_host.as_ref()).unwrap_or_else(|| options.host.clone());
        options.http_port = match self.http_port {
            None | Some(0) => None,
            Some(-1) => Some(0),
            Some(port) => Some(port_number(port)?),
        };
        if let Some(path) = &self.http_base_path {
            options.http_base_path = clean(&format!("/{path}"));
        }
        options.client_advertise =
            non_empty(self.client_advertise.as_ref()).map(advertise).transpose()?;
        options.pid_file = non_empty(self.pid_file.as_ref());
        options.ports_file_dir = non_empty(self.ports_file_dir.as_ref());
        Ok(options)
    }

    fn identity(self, mut options: Options) -> Options {
        options.server_name = non_empty(self.server_name.as_ref());
        options.server_tags = self.server_tags;
        options.server_metadata = self.server_metadata;
        options.disable_sublist_cache = self.disable_sublist_cache.unwrap_or(false);
        options.no_header_support = self.no_header_support.unwrap_or(false);
        options.no_fast_producer_stall = self.no_fast_producer_stall.unwrap_or(false);
        options.no_auth_user = non_empty(self.no_auth_user.as_ref());
        options.accounts = self.accounts;
        if let Some(name) = non_empty(self.system_account.as_ref()) {
            options.system_account = name;
        }
        options.no_system_account = self.no_system_account.unwrap_or(false);
        options.sub_barrier = self.sub_barrier.unwrap_or_default();
        options.authorization.present = self.has_authorization;
        let authorization = &mut options.authorization;
        authorization.user = non_empty(self.user.as_ref());
        authorization.password = non_empty(self.password.as_ref());
        authorization.token = non_empty(self.token.as_ref());
        authorization.users = self.users.unwrap_or_default();
        if let Some(seconds) = self.auth_timeout_seconds
            && seconds != 0.0
        {
            authorization.timeout =
                Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
        }
        options
    }
}

/// The checks across options, in the peer's order and words.
fn validate(options: &Options) -> Result<(), String> {
    if options.lame_duck_grace_period >= options.lame_duck_duration {
        return Err(format!(
            "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
            duration::show(options.lame_duck_grace_period),
            duration::show(options.lame_duck_duration)
        ));
    }
    if u64::from(options.max_payload) > options.max_pending {
        return Err(payload_over_pending(options.max_payload, options.max_pending));
    }
    if options.server_name.as_ref().is_some_and(|name| name.contains(' ')) {
        return Err(NAME_HAS_SPACES.into());
    }
    validate_no_auth_user(options)
}

fn validate_no_auth_user(options: &Options) -> Result<(), String> {
    let Some(name) = &options.no_auth_user else { return Ok(()) };
    if options.users().next().is_none() {
        return Err(format!("no_auth_user: \"{name}\" present, but users/nkeys are not defined"));
    }
    if !options.users().any(|(_, user)| user.user == *name) {
        return Err(format!(
            "no_auth_user: \"{name}\" not present as user or nkey in authorization block or \
             account configuration"
        ));
    }
    Ok(())
}

/// A system account that was named has to be one of the accounts.
fn validate_system_account(named: Option<&str>, options: &Options) -> Result<(), String> {
    let exists = |name: &str| options.accounts.iter().any(|account| account.name == name);
    match named {
        Some(name) if !exists(name) => {
            Err("error resolving system account: account missing".into())
        }
        Some(_) | None => Ok(()),
    }
}

/// The peer's words for a server name with a space in it.
pub(super) const NAME_HAS_SPACES: &str = "server name cannot contain spaces";

fn payload_over_pending(payload: u32, pending: impl fmt::Display) -> String {
    format!("max_payload ({payload}) cannot be higher than max_pending ({pending})")
}

/// Sets a limit of which 0 means the default.
fn set_number<T: TryFrom<i64>>(slot: &mut T, name: &str, value: Option<i64>) -> Result<(), String> {
    match value {
        None | Some(0) => return Ok(()),
        Some(..=-1) => return Err(format!("{name} can not be negative")),
        Some(number) => {
            *slot = T::try_from(number).map_err(|_| format!("{name} value is too big"))?;
        }
    }
    Ok(())
}

/// A limit of which 0 or less means none.
fn positive<T: TryFrom<i64>>(value: Option<i64>) -> Option<T> {
    value.filter(|number| *number > 0).and_then(|number| T::try_from(number).ok())
}

fn non_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

pub(super) fn port_number(port: i64) -> Result<u16, String> {
    u16::try_from(port)
        .map_err(|_| format!("invalid port {port}: use 1 to 65535, or -1 for any free one"))
}

fn advertise(text: String) -> Result<Advertise, String> {
    match parse_advertise(&text) {
        Ok((host, port)) => Ok(Advertise { text, host, port }),
        Err(error) => Err(format!("invalid ClientAdvertise value of {text}, err={error}")),
    }
}

pub(super) fn parse_advertise(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match split_host_port(text) {
        Err(MISSING_PORT) => {
            let with_port = format!("{text}:0");
            let (host, _) = split_host_port(&with_port).map_err(|e| address(&with_port, e))?;
            return Ok((host.trim().to_owned(), None));
        }
        split => split.map_err(|e| address(text, e))?,
    };
    let port = port.trim();
    let number: i64 = port
        .parse()
        .map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", duration::quote(port)))?;
    let port = if matches!(number, 0 | -1) { None } else { Some(port_number(number)?) };
    Ok((host.trim().to_owned(), port))
}

fn address(text: &str, error: &str) -> String {
    format!("address {text}: {error}")
}

const MISSING_PORT: &str = "missing port in address";

/// Splits `host:port` as Go's `net.SplitHostPort`; the error is its text without the address.
pub(super) fn split_host_port(text: &str) -> Result<(&str, &str), &'static str> {
    let colon = text.rfind(':').ok_or(MISSING_PORT)?;
    let (host, rest_of_host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let end = 1 + inner.find(']').ok_or("missing ']' in address")?;
        match text.as_bytes().get(end + 1) {
            Some(b':') if end + 1 == colon => {}
            Some(b':') => return Err("too many colons in address"),
            _ => return Err(MISSING_PORT),
        }
        (&text[1..end], &text[1..], &text[end + 1..])
    } else {
        let host = &text[..colon];
        if host.contains(':') {
            return Err("too many colons in address");
        }
        (host, text, text)
    };
    if rest_of_host.contains('[') {
        return Err("unexpected '[' in address");
    }
    if rest.contains(']') {
        return Err("unexpected ']' in address");
    }
    Ok((host, &text[colon + 1..]))
}
