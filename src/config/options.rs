//! The options a server runs with: checked, typed, with their defaults filled in.
//!
//! [`Settings`] is what a file and the flags said; [`Options`] is what holds then. Options know no
//! file and no flag; the server takes them apart into what each module owns.
//!
//! Invariant: an [`Options`] that came from this module has passed every check, also those across
//! options, so nobody checks it again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::accounts::{AccountOptions, GLOBAL_ACCOUNT, SYSTEM_ACCOUNT_DEFAULT};
use super::cluster::{Around, ClusterOptions, ClusterSettings};
use super::duration;
use super::parser::clean;

/// Everything the server can be told, in the order in which the peer compares options at reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `server_name`; `None` means the server's id.
    pub server_name: Option<String>,
    /// `host`, `net`, or the host of `listen`: the address to listen on.
    pub host: String,
    /// `port`, or the port of `listen`; 0 lets the system choose. The server writes the bound
    /// port back, so that a reload compares with it.
    pub port: u16,
    /// `client_advertise`: the address told to clients instead of host and port.
    pub client_advertise: Option<Advertise>,
    /// `trace`: log every protocol line.
    pub trace: bool,
    /// `debug`: log what helps to find a fault.
    pub debug: bool,
    /// `trace_verbose`: trace the system account too.
    pub trace_verbose: bool,
    /// `trace_headers`: trace messages' headers only, without their payloads.
    pub trace_headers: bool,
    /// `disable_sublist_cache`: match every subject anew.
    pub disable_sublist_cache: bool,
    /// `no_header_support`: refuse message headers.
    pub no_header_support: bool,
    /// `logtime`: begin log lines with the time.
    pub logtime: bool,
    /// `logtime_utc`: in UTC, not in local time.
    pub logtime_utc: bool,
    /// `max_connections`: clients at once; 0 turns everybody away, as the peer does.
    pub max_connections: u32,
    /// `max_subscriptions` of one connection.
    pub max_subscriptions: Option<u32>,
    /// `max_sub_tokens`: tokens a subscription's subject may have.
    pub max_sub_tokens: Option<u8>,
    /// `authorization`, and the flags `--user --pass --auth`.
    pub authorization: Authorization,
    /// `accounts`, in the order of the file. The global account `$G`, to which the users of
    /// `authorization` belong, is not among them; the system account is only if the file has it.
    pub accounts: Vec<AccountOptions>,
    /// `no_auth_user`: who a client is that gives no credentials; a user of any account.
    pub no_auth_user: Option<String>,
    /// `system_account`: the account in which servers speak with each other.
    pub system_account: String,
    /// `no_system_account`: there is none; the name above is then merely reserved.
    pub no_system_account: bool,
    /// `ping_interval`.
    pub ping_interval: Duration,
    /// `ping_max`: unanswered pings before a connection is stale.
    pub ping_max: u32,
    /// Host of `http`, else `host`: the address of monitoring.
    pub http_host: String,
    /// `http_port`, `monitor_port`, or the port of `http`; `None` is off, 0 lets the system choose.
    pub http_port: Option<u16>,
    /// `http_base_path`, cleaned, with a slash in front.
    pub http_base_path: String,
    /// `max_control_line` in bytes.
    pub max_control_line: u32,
    /// `max_payload` in bytes, headers included.
    pub max_payload: u32,
    /// `max_pending`: bytes that may wait for one client; at least `max_payload`.
    pub max_pending: u64,
    /// `no_fast_producer_stall`: drop for a slow recipient rather than hold the publisher.
    pub no_fast_producer_stall: bool,
    /// `cluster`, and its flags; `None` stands alone.
    pub cluster: Option<ClusterOptions>,
    /// `pid_file`: where to write the process id.
    pub pid_file: Option<String>,
    /// `ports_file_dir`: where to write the ports file.
    pub ports_file_dir: Option<String>,
    /// `log_file`; `None` logs to standard error.
    pub log_file: Option<String>,
    /// `log_size_limit` in bytes: the log file is rotated above it.
    pub log_size_limit: Option<u64>,
    /// `log_max_num`: rotated log files to keep.
    pub log_max_num: Option<u64>,
    /// `write_deadline`: how long queued bytes may make no progress.
    pub write_deadline: Duration,
    /// `write_timeout`: what happens at the deadline.
    pub write_timeout: WriteTimeout,
    /// `max_closed_clients`: closed connections that /connz remembers.
    pub max_closed_clients: u32,
    /// `lame_duck_duration`: time over which a leaving server closes its clients.
    pub lame_duck_duration: Duration,
    /// `lame_duck_grace_period`: pause before it begins; shorter than the duration.
    pub lame_duck_grace_period: Duration,
    /// `max_traced_msg_len` in bytes; `None` traces whole messages.
    pub max_traced_msg_len: Option<u32>,
    /// `connect_error_reports`: one failed dial in so many is logged. Nothing dials yet.
    pub connect_error_reports: i64,
    /// `reconnect_error_reports`: the same for links that once stood.
    pub reconnect_error_reports: i64,
    /// `server_tags`, in small letters, each once.
    pub server_tags: Vec<String>,
    /// `server_metadata`.
    pub server_metadata: BTreeMap<String, String>,
    /// `shards`, our own.
    pub shards: Shards,
    /// `busy_poll`, our own.
    pub busy_poll: BusyPoll,
    /// `max_pending_total`, our own: bytes that may wait for all connections together.
    pub max_pending_total: u64,
    /// `sub_barrier`, our own.
    pub sub_barrier: SubBarrier,
}

impl Options {
    /// All users, each with the name of its account.
    pub fn users(&self) -> impl Iterator<Item = (&str, &User)> {
        let global = self.authorization.users.iter().map(|user| (GLOBAL_ACCOUNT, user));
        let others = self
            .accounts
            .iter()
            .flat_map(|account| account.users.iter().map(|user| (account.name.as_str(), user)));
        global.chain(others)
    }

    /// Whether clients without credentials belong to the global account although there are users,
    /// because all of those are the system account's and nothing else was said about clients.
    #[must_use]
    pub fn lets_anonymous_in(&self) -> bool {
        let authorization = &self.authorization;
        let [account] = self.accounts.as_slice() else { return false };
        account.name == self.system_account
            && !account.users.is_empty()
            && self.no_auth_user.is_none()
            && !authorization.present
    }
}

impl Default for Options {
    /// What holds when nothing is configured, on a machine with 1 GiB of memory.
    fn default() -> Self {
        Self {
            server_name: None,
            host: DEFAULT_HOST.into(),
            port: DEFAULT_PORT,
            client_advertise: None,
            trace: false,
            debug: false,
            trace_verbose: false,
            trace_headers: false,
            disable_sublist_cache: false,
            no_header_support: false,
            logtime: true,
            logtime_utc: false,
            max_connections: 65_536,
            max_subscriptions: None,
            max_sub_tokens: None,
            authorization: Authorization::default(),
            accounts: Vec::new(),
            no_auth_user: None,
            system_account: SYSTEM_ACCOUNT_DEFAULT.into(),
            no_system_account: false,
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            http_host: DEFAULT_HOST.into(),
            http_port: None,
            http_base_path: "/".into(),
            max_control_line: 4096,
            max_payload: 1 << 20,
            max_pending: 64 << 20,
            no_fast_producer_stall: false,
            cluster: None,
            pid_file: None,
            ports_file_dir: None,
            log_file: None,
            log_size_limit: None,
            log_max_num: None,
            write_deadline: Duration::from_secs(10),
            write_timeout: WriteTimeout::Default,
            max_closed_clients: 10_000,
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace_period: Duration::from_secs(10),
            max_traced_msg_len: None,
            connect_error_reports: 3600,
            reconnect_error_reports: 1,
            server_tags: Vec::new(),
            server_metadata: BTreeMap::new(),
            shards: Shards::Auto,
            busy_poll: BusyPoll::Auto,
            max_pending_total: MEMORY_BYTES_ASSUMED / PENDING_SHARE,
            sub_barrier: SubBarrier::Local,
        }
    }
}

const DEFAULT_HOST: &str = "0.0.0.0";
const DEFAULT_PORT: u16 = 4222;

/// Memory assumed where the system does not tell: 1 GiB.
pub(super) const MEMORY_BYTES_ASSUMED: u64 = 1 << 30;

/// All queues together may take one part in so many of the memory.
const PENDING_SHARE: u64 = 4;

/// An address given to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// As configured.
    pub text: String,
    /// The host in it.
    pub host: String,
    /// The port in it; `None` means the port of the listener.
    pub port: Option<u16>,
}

/// Who may connect.
///
/// A connection must authenticate when [`required`](Self::required); users of the list are looked
/// up first, then a token decides if there is one, then the single user.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    /// The single user.
    pub user: Option<String>,
    /// Its password, plain or bcrypt.
    pub password: Option<String>,
    /// The token, plain or bcrypt.
    pub token: Option<String>,
    /// The list of users, each name once.
    pub users: Vec<User>,
    /// How long a client may take to authenticate.
    pub timeout: Duration,
    /// The file has such a block, even if an empty one.
    pub present: bool,
}

impl Authorization {
    /// Whether clients have to give credentials.
    #[must_use]
    pub fn required(&self) -> bool {
        !self.users.is_empty() || self.user.is_some() || self.token.is_some()
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            token: None,
            users: Vec::new(),
            timeout: Duration::from_secs(2),
            present: false,
        }
    }
}

/// One entry of `users`, in `authorization` or in an account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name, never empty.
    pub user: String,
    /// The password, plain or bcrypt; may be empty.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What happens to a connection whose bytes make no progress for `write_deadline`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteTimeout {
    /// Clients close, servers' links retry.
    #[default]
    Default,
    /// Close the connection.
    Close,
    /// Keep it if anything left.
    Retry,
}

impl fmt::Display for WriteTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "",
            Self::Close => "close",
            Self::Retry => "retry",
        })
    }
}

/// How many shards (threads with a ring each) serve clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    /// The server chooses.
    #[default]
    Auto,
    /// So many, from 1 to 64.
    Count(u8),
}

impl Shards {
    /// Most shards one server may have.
    pub const MAX: u8 = 64;

    /// Reads `auto` or a count.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(count @ 1..=Self::MAX) => Ok(Self::Count(count)),
            _ => Err(format!("shards must be 'auto' or a number from 1 to {}", Self::MAX)),
        }
    }
}

impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// Whether a shard spins for a while before it sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Only while the traffic makes the next arrival likely soon.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Without end: for a core of one's own.
    Always,
    /// For so long after each arrival.
    For(Duration),
}

impl BusyPoll {
    /// Reads `auto`, `off`, `always` or a duration.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "off" | "false" | "no" => Ok(Self::Off),
            "always" => Ok(Self::Always),
            _ => match duration::parse(text).ok().and_then(|nanos| u64::try_from(nanos).ok()) {
                Some(0) => Ok(Self::Off),
                Some(nanos) => Ok(Self::For(Duration::from_nanos(nanos))),
                None => Err("busy_poll must be 'auto', 'off', 'always' or a duration such as \
                             '100us'"
                    .into()),
            },
        }
    }
}

impl fmt::Display for BusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Always => f.write_str("always"),
            Self::For(time) => f.write_str(&duration::show(*time)),
        }
    }
}

/// What the PONG to a client promises of the subscriptions before its PING.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubBarrier {
    /// This server knows them.
    #[default]
    Local,
    /// Every server of the cluster does.
    Cluster,
}

impl fmt::Display for SubBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Cluster => "cluster",
        })
    }
}

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
    let exists = |name: &str| {
        name == GLOBAL_ACCOUNT || options.accounts.iter().any(|account| account.name == name)
    };
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
