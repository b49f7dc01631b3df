//! The options a server runs with: checked, typed, with their defaults filled in.
//!
//! They know no file and no flag; [`Settings`](super::settings::Settings) is what those said. The
//! server takes options apart into what each module owns.
//!
//! Invariant: an [`Options`] that was loaded has passed every check, also those across options, so
//! nobody checks it again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::auth::is_bcrypt;

use super::accounts::{AccountOptions, GLOBAL_ACCOUNT, SYSTEM_ACCOUNT_DEFAULT};
use super::cluster::ClusterOptions;
use super::duration;

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
    /// `no_system_account`: there is none unless it is among the accounts; the name above is then
    /// merely reserved.
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
    /// `connect_error_reports`: one failed dial in so many is logged.
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

    /// Whether clients have to give credentials, so far as [`no_auth_user`](Self::no_auth_user) and
    /// [`lets_anonymous_in`](Self::lets_anonymous_in) do not excuse them.
    #[must_use]
    pub fn auth_required(&self) -> bool {
        self.authorization.required() || self.users().next().is_some()
    }

    /// Whether there is a system account: `no_system_account` does not undo one that the file has.
    #[must_use]
    pub fn has_system_account(&self) -> bool {
        let named = || self.accounts.iter().any(|account| account.name == self.system_account);
        !self.no_system_account || named()
    }

    /// Whether a password is not hashed, which is worth a warning at start; also one that nobody is
    /// asked for. A token is none, and an empty password counts only as a user's in a list.
    #[must_use]
    pub fn has_plaintext_password(&self) -> bool {
        let alone = self.authorization.password.iter().filter(|password| !password.is_empty());
        let listed = self.users().map(|(_, user)| &user.password);
        alone.chain(listed).any(|password| !is_bcrypt(password))
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
pub(super) const DEFAULT_PORT: u16 = 4222;

/// Memory assumed where the system does not tell: 1 GiB.
pub(super) const MEMORY_BYTES_ASSUMED: u64 = 1 << 30;

/// All queues together may take one part in so many of the memory.
pub(super) const PENDING_SHARE: u64 = 4;

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
    /// Whether this block alone makes clients give credentials; users of accounts may as well.
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
