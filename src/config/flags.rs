//! The command line, in the forms of Go's `flag` package.
//!
//! `-p 1`, `--p 1`, `-p=1` and `--p=1` are one and the same; a boolean takes its value only after
//! `=`; parsing ends at the first word that is no flag. [`parse`] brings the arguments into one form
//! (`--name=value`, long names only), finds what Go would find wrong with them, and only then lets
//! clap take them apart. It knows names and types, not what an option means.

use clap::{Arg, ArgMatches, Command};

use super::cluster_settings::ClusterSettings;
use super::duration::quote;
use super::options::{BusyPoll, Shards};
use super::route_url::{RouteUrl, Url};
use super::settings::Settings;
use super::signal::SignalRequest;

/// What the flags said. Applied over the file at start and again at each reload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    host: Option<String>,
    port: Option<i64>,
    server_name: Option<String>,
    client_advertise: Option<String>,
    debug: Option<bool>,
    trace: Option<bool>,
    trace_verbose: Option<bool>,
    logtime: Option<bool>,
    logtime_utc: Option<bool>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    http_port: Option<i64>,
    pid_file: Option<String>,
    ports_file_dir: Option<String>,
    log_file: Option<String>,
    log_size_limit: Option<i64>,
    max_traced_msg_len: Option<i64>,
    shards: Option<Shards>,
    busy_poll: Option<BusyPoll>,
    routes: Option<String>,
    cluster_listen: Option<String>,
    cluster_name: Option<String>,
    cluster_advertise: Option<String>,
    no_advertise: Option<bool>,
    connect_retries: Option<i64>,
}

impl Flags {
    /// What a file finds set that is read at start: some of it does not go together with accounts.
    pub(super) fn credentials(&self) -> Settings {
        Settings {
            user: self.user.clone(),
            password: self.password.clone(),
            token: self.token.clone(),
            ..Settings::default()
        }
    }

    /// Lets what the flags said win over what the file said.
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        over(&mut settings.host, &self.host);
        over(&mut settings.port, &self.port);
        over(&mut settings.server_name, &self.server_name);
        over(&mut settings.client_advertise, &self.client_advertise);
        over(&mut settings.debug, &self.debug);
        over(&mut settings.trace, &self.trace);
        over(&mut settings.trace_verbose, &self.trace_verbose);
        over(&mut settings.logtime, &self.logtime);
        over(&mut settings.logtime_utc, &self.logtime_utc);
        over(&mut settings.user, &self.user);
        over(&mut settings.password, &self.password);
        over(&mut settings.token, &self.token);
        over(&mut settings.http_port, &self.http_port);
        over(&mut settings.pid_file, &self.pid_file);
        over(&mut settings.ports_file_dir, &self.ports_file_dir);
        over(&mut settings.log_file, &self.log_file);
        over(&mut settings.log_size_limit, &self.log_size_limit);
        over(&mut settings.max_traced_msg_len, &self.max_traced_msg_len);
        over(&mut settings.shards, &self.shards);
        over(&mut settings.busy_poll, &self.busy_poll);
        self.apply_to_cluster(&mut settings.cluster)
    }

    fn apply_to_cluster(&self, cluster: &mut ClusterSettings) -> Result<(), String> {
        over(&mut cluster.name, &self.cluster_name);
        over(&mut cluster.advertise, &self.cluster_advertise);
        over(&mut cluster.no_advertise, &self.no_advertise);
        over(&mut cluster.connect_retries, &self.connect_retries);
        if let Some(text) = &self.cluster_listen {
            cluster_listen(text, cluster)?;
        }
        if let Some(text) = &self.routes {
            let routes = routes(text)?;
            if !routes.is_empty() && !cluster.listens() && !cluster.off {
                return Err("solicited routes require cluster capabilities, e.g. --cluster".into());
            }
            cluster.routes = Some(routes);
        }
        Ok(())
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let number = |name: &str| text(name).and_then(|text| go_integer(&text).ok());
        let truth = |name: &str| text(name).and_then(|text| go_bool(&text));
        let mut flags = Self {
            host: text("addr"),
            port: number("port"),
            server_name: text("server_name"),
            client_advertise: text("client_advertise"),
            debug: truth("debug"),
            trace: truth("trace"),
            trace_verbose: None,
            logtime: truth("logtime"),
            logtime_utc: truth("logtime_utc"),
            user: text("user"),
            password: text("pass"),
            token: text("auth"),
            http_port: number("http_port"),
            pid_file: text("pid"),
            ports_file_dir: text("ports_file_dir"),
            log_file: text("log"),
            log_size_limit: number("log_size_limit"),
            max_traced_msg_len: number("max_traced_msg_len"),
            shards: text("shards").and_then(|text| Shards::parse(&text).ok()),
            busy_poll: text("busy_poll").and_then(|text| BusyPoll::parse(&text).ok()),
            routes: text("routes"),
            cluster_listen: text("cluster_listen"),
            cluster_name: text("cluster_name"),
            cluster_advertise: text("cluster_advertise"),
            no_advertise: truth("no_advertise"),
            connect_retries: number("connect_retries"),
        };
        // The combined flags win over the single ones, in Go's order: by name.
        if let Some(on) = truth("DV") {
            (flags.debug, flags.trace) = (Some(on), Some(on));
        }
        if let Some(on) = truth("DVV") {
            (flags.debug, flags.trace, flags.trace_verbose) = (Some(on), Some(on), Some(on));
        }
        if let Some(on) = truth("VV") {
            (flags.trace, flags.trace_verbose) = (Some(on), Some(on));
        }
        flags
    }
}

fn over<T: Clone>(slot: &mut Option<T>, value: &Option<T>) {
    if value.is_some() {
        slot.clone_from(value);
    }
}

/// `--cluster`: an address to listen on, with the user and the password that routes have to give;
/// without them, those of the file do not hold either. Nothing switches the cluster off.
fn cluster_listen(text: &str, cluster: &mut ClusterSettings) -> Result<(), String> {
    if text.is_empty() {
        cluster.off = true;
        return Ok(());
    }
    // A negative port is none in a URL, so any free one is asked for beside it.
    let any_port = text.strip_suffix(":-1");
    let url = Url::parse(&any_port.map_or_else(|| text.to_owned(), |text| format!("{text}:0")))?;
    let (host, port) = url.host_and_port()?;
    cluster.host = Some(host.to_owned());
    cluster.port = Some(match any_port {
        Some(_) => -1,
        None => port.parse().map_err(|_| format!("invalid port {} in {text}", quote(port)))?,
    });
    match (url.user, url.password) {
        (Some(_), None) => return Err("expected cluster password to be set".into()),
        (user, password) => (cluster.user, cluster.password) = (user, password),
    }
    Ok(())
}

/// `--routes`: URLs with commas between them; an empty text is none.
fn routes(text: &str) -> Result<Vec<RouteUrl>, String> {
    let mut routes: Vec<RouteUrl> = Vec::new();
    for url in text.split(',').filter(|_| !text.is_empty()) {
        let route = RouteUrl::parse(url).map_err(|error| error.describe(url))?;
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    Ok(routes)
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum CommandLine {
    /// Start, or with `check` only read the file.
    Run { flags: Box<Flags>, config: Option<String>, check: bool },
    /// `--signal`.
    Signal(SignalRequest),
    /// `--version`.
    Version,
    /// `--help`.
    Help,
    /// `--help_tls`.
    HelpTls,
    /// A flag that Go would not take: its text, then the usage, and no error code.
    Misused(String),
    /// Anything else that is wrong: its text, and an error code.
    Failed(String),
}

/// Reads the arguments without the program's name.
pub(super) fn parse(args: &[String]) -> CommandLine {
    let normal = match normalise(args) {
        Ok(normal) => normal,
        Err(text) => return CommandLine::Misused(text),
    };
    let matches = match command().try_get_matches_from(&normal.flags) {
        Ok(matches) => matches,
        Err(error) => return CommandLine::Misused(error.to_string().trim_end().to_owned()),
    };
    let asked = |name: &str| {
        matches.get_one::<String>(name).is_some_and(|text| go_bool(text) == Some(true))
    };
    if asked("version") {
        return CommandLine::Version;
    }
    if asked("help") {
        return CommandLine::Help;
    }
    if asked("help_tls") {
        return CommandLine::HelpTls;
    }
    match normal.word.as_deref().map(str::to_lowercase).as_deref() {
        Some("version") => return CommandLine::Version,
        Some("help") => return CommandLine::Help,
        Some(_) => {
            let word = normal.word.unwrap_or_default();
            return CommandLine::Failed(format!("unrecognized command: {}", quote(&word)));
        }
        None => {}
    }
    if let Some(refusal) = refused(&matches) {
        return CommandLine::Failed(refusal);
    }
    if let Some(signal) = matches.get_one::<String>("signal").filter(|text| !text.is_empty()) {
        return match SignalRequest::parse(signal) {
            Ok(request) => CommandLine::Signal(request),
            Err(text) => CommandLine::Failed(text),
        };
    }
    CommandLine::Run {
        flags: Box::new(Flags::from_matches(&matches)),
        config: matches.get_one::<String>("config").filter(|path| !path.is_empty()).cloned(),
        check: asked("t"),
    }
}

/// A flag whose function does not exist yet, given with a value that would switch it on.
fn refused(matches: &ArgMatches) -> Option<String> {
    FLAGS.iter().find_map(|flag| {
        let remedy = flag.not_yet?;
        let value = matches.get_one::<String>(flag.id())?;
        let off = match flag.kind {
            Kind::Bool => go_bool(value) == Some(false),
            Kind::Integer => go_integer(value) == Ok(0),
            Kind::Text | Kind::Shards | Kind::BusyPoll => value.is_empty(),
        };
        (!off).then(|| format!("flag -{} is not supported yet: {remedy}", flag.id()))
    })
}

/// The arguments in one form.
struct Normal {
    /// Each as `--name=value`, behind the program's name.
    flags: Vec<String>,
    /// The first word that is no flag.
    word: Option<String>,
}

fn normalise(args: &[String]) -> Result<Normal, String> {
    let mut flags = vec![String::from("server")];
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(name) = arg.strip_prefix('-').filter(|name| !name.is_empty()) else {
            return Ok(Normal { flags, word: Some(arg.clone()) });
        };
        if name == "-" {
            break;
        }
        let name = name.strip_prefix('-').unwrap_or(name);
        if name.is_empty() || name.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {arg}"));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let flag = FLAGS
            .iter()
            .find(|flag| flag.names.contains(&name))
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let value = match (value, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true",
            (None, _) => {
                args.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?.as_str()
            }
        };
        flag.kind.check(name, value)?;
        flags.push(format!("--{}={value}", flag.id()));
    }
    Ok(Normal { flags, word: args.next().cloned() })
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Integer,
    Text,
    Shards,
    BusyPoll,
}

impl Kind {
    /// Refuses a value that is not of this kind, in Go's words.
    fn check(self, name: &str, value: &str) -> Result<(), String> {
        let wrong =
            |why: String| Err(format!("invalid value {} for flag -{name}: {why}", quote(value)));
        match self {
            Self::Bool if go_bool(value).is_none() => {
                Err(format!("invalid boolean value {} for -{name}: parse error", quote(value)))
            }
            Self::Bool | Self::Text => Ok(()),
            Self::Integer => go_integer(value).map(drop).or_else(|why| wrong(why.into())),
            Self::Shards => Shards::parse(value).map(drop).or_else(wrong),
            Self::BusyPoll => BusyPoll::parse(value).map(drop).or_else(wrong),
        }
    }
}

fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// An integer as Go reads it: also `0x1f`, `0o17`, `017`, `0b1`, and `1_000`.
fn go_integer(text: &str) -> Result<i64, &'static str> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // An underscore may also follow the prefix.
    let digits = if radix == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    let bare = digits.replace('_', "");
    if bare.is_empty() || bare.starts_with(['-', '+']) || (bare != digits && !evenly_spaced(digits))
    {
        return Err("parse error");
    }
    i64::from_str_radix(&format!("{sign}{bare}"), radix).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            "value out of range"
        }
        _ => "parse error",
    })
}

/// Underscores stand only between digits.
fn evenly_spaced(digits: &str) -> bool {
    !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__")
}

struct Flag {
    names: &'static [&'static str],
    kind: Kind,
    /// What to do instead, when we cannot do what it asks for.
    not_yet: Option<&'static str>,
}

impl Flag {
    /// The name it has among ours: the last, which is the long one.
    fn id(&self) -> &'static str {
        self.names[self.names.len() - 1]
    }
}

const fn flag(names: &'static [&'static str], kind: Kind) -> Flag {
    Flag { names, kind, not_yet: None }
}

const fn not_yet(names: &'static [&'static str], kind: Kind, remedy: &'static str) -> Flag {
    Flag { names, kind, not_yet: Some(remedy) }
}

const FLAGS: &[Flag] = &[
    flag(&["a", "net", "addr"], Kind::Text),
    flag(&["p", "port"], Kind::Integer),
    flag(&["n", "name", "server_name"], Kind::Text),
    flag(&["P", "pid"], Kind::Text),
    flag(&["m", "http_port"], Kind::Integer),
    flag(&["c", "config"], Kind::Text),
    flag(&["t"], Kind::Bool),
    flag(&["sl", "signal"], Kind::Text),
    flag(&["client_advertise"], Kind::Text),
    flag(&["ports_file_dir"], Kind::Text),
    flag(&["l", "log"], Kind::Text),
    flag(&["T", "logtime"], Kind::Bool),
    flag(&["logtime_utc"], Kind::Bool),
    flag(&["D", "debug"], Kind::Bool),
    flag(&["V", "trace"], Kind::Bool),
    flag(&["VV"], Kind::Bool),
    flag(&["DV"], Kind::Bool),
    flag(&["DVV"], Kind::Bool),
    flag(&["log_size_limit"], Kind::Integer),
    flag(&["max_traced_msg_len"], Kind::Integer),
    flag(&["user"], Kind::Text),
    flag(&["pass"], Kind::Text),
    flag(&["auth"], Kind::Text),
    flag(&["h", "help"], Kind::Bool),
    flag(&["v", "version"], Kind::Bool),
    flag(&["help_tls"], Kind::Bool),
    flag(&["shards"], Kind::Shards),
    flag(&["busy_poll"], Kind::BusyPoll),
    flag(&["routes"], Kind::Text),
    flag(&["cluster", "cluster_listen"], Kind::Text),
    flag(&["cluster_name"], Kind::Text),
    flag(&["cluster_advertise"], Kind::Text),
    flag(&["no_advertise"], Kind::Bool),
    flag(&["connect_retries"], Kind::Integer),
    not_yet(&["ms", "https_port"], Kind::Integer, "use -m, behind a proxy if it leaves the host"),
    not_yet(&["s", "syslog"], Kind::Bool, "use -l, or let the service manager collect the log"),
    not_yet(&["r", "remote_syslog"], Kind::Text, "use -l, or let the service manager collect it"),
    not_yet(&["js", "jetstream"], Kind::Bool, "leave it out, messages are not stored"),
    not_yet(&["sd", "store_dir"], Kind::Text, "leave it out, messages are not stored"),
    not_yet(&["tls"], Kind::Bool, TLS_REMEDY),
    not_yet(&["tlsverify"], Kind::Bool, TLS_REMEDY),
    not_yet(&["tlscert"], Kind::Text, TLS_REMEDY),
    not_yet(&["tlskey"], Kind::Text, TLS_REMEDY),
    not_yet(&["tlscacert"], Kind::Text, TLS_REMEDY),
    not_yet(&["profile"], Kind::Integer, "leave it out, and use perf"),
];

const TLS_REMEDY: &str = "leave it out, and let a proxy terminate TLS";

/// The command as clap sees it: long names and values only, the last one given holds.
fn command() -> Command {
    let arg = |flag: &'static Flag| Arg::new(flag.id()).long(flag.id()).allow_hyphen_values(true);
    Command::new("server")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .args(FLAGS.iter().map(arg))
}

/// The usage text for a program of that name.
pub(super) fn usage(program: &str) -> String {
    format!("\nUsage: {program} [options]\n{USAGE}")
}

/// What `--help_tls` shows.
pub(super) const TLS_HELP: &str = r#"
TLS between servers is specified in the cluster section of a configuration file:

    cluster {
        tls {
            cert_file: "./certs/server-cert.pem"
            key_file:  "./certs/server-key.pem"
            ca_file:   "./certs/ca.pem"
            verify:    true
            timeout:   2
        }
    }

TLS for clients is not supported yet: let a proxy terminate it.

"#;

const USAGE: &str = "
Server:
    -a, --addr, --net <host>         Listen on this address (default: 0.0.0.0)
    -p, --port <port>                Listen on this port (default: 4222, -1: any free one)
    -n, --name, --server_name <name> Name of this server (default: its id)
    -P, --pid <file>                 Write the process id to this file
    -m, --http_port <port>           Serve monitoring by HTTP on this port
    -c, --config <file>              Read this configuration file
    -t                               Check the configuration file and exit
    -sl,--signal <signal>[=<pid>]    Signal a running server: ldm, stop, quit, term, reopen, reload;
                                     <pid> is a number, a file that holds it, or a prefix and '*'
        --client_advertise <address> Address to tell clients
        --ports_file_dir <dir>       Write <program>_<pid>.ports into this directory
        --shards <auto|n>            Threads with a ring of their own, 1 to 64 (default: auto)
        --busy_poll <when>           Spin before sleeping: auto, off, always or a duration
                                     (default: auto)

Logging:
    -l, --log <file>                 Log to this file (default: standard error)
    -T, --logtime                    Begin log lines with the time (default: true)
        --logtime_utc                In UTC, not in local time
    -D, --debug                      Log what helps to find a fault
    -V, --trace                      Log every protocol line
    -VV                              -V, and what the server itself says in the system account
    -DV, -DVV                        -D with -V, -D with -VV
        --log_size_limit <bytes>     Rotate the log file above this size
        --max_traced_msg_len <bytes> Cut traced messages to this length

Authorization:
        --user <user>                User that clients have to give
        --pass <password>            Password that clients have to give
        --auth <token>               Token that clients have to give

Cluster:
        --routes <url,...>           Servers to connect to: nats://[user:password@]host:port
        --cluster, --cluster_listen <url>
                                     Accept routes at nats://[user:password@]host:port
                                     (port -1: any free one); empty: no cluster
        --cluster_name <name>        Name of the cluster (default: a generated one)
        --cluster_advertise <address>
                                     Address to tell other servers: a host, host:port, or a URL
        --no_advertise               Do not tell clients the addresses of other servers
        --connect_retries <n>        Dials of a server that others told of, after the first
                                     (default: 0)

Common:
    -h, --help                       Show this message
    -v, --version                    Show the version
        --help_tls                   Show how TLS is configured
";
