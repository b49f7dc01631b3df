//! The command line and the configuration file: from arguments to checked [`Options`].
//!
//! The steps are lexer → parser → keys → settings → options: text becomes tokens, tokens a tree that
//! knows its positions, each key sets one thing, and what was set becomes options that have passed
//! every check.
//! Flags win over the file. This module reads files and the environment; it prints nothing and ends
//! no process: it says what to print and how to end.
//!
//! Invariant: defaults < configuration file < command line, at start and at every reload.

mod accounts;
mod authorization;
mod cluster;
mod cluster_keys;
mod cluster_settings;
mod duration;
mod flags;
mod keys;
mod lexer;
mod memory;
mod not_yet;
mod options;
mod parser;
mod permissions;
mod reload;
mod reload_cluster;
mod route_url;
mod settings;
mod signal;
#[cfg(test)]
mod tests;
mod tls;
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use accounts::{AccountOptions, GLOBAL_ACCOUNT, SYSTEM_ACCOUNT_DEFAULT};
pub use cluster::{ClusterOptions, PING_INTERVAL_MAX, RouteAuthorization};
pub use flags::Flags;
pub use options::{
    Advertise, Authorization, BusyPoll, Options, Shards, SubBarrier, User, WriteTimeout,
};
pub use permissions::{RoutePermissions, SubjectRules};
pub use reload::{Change, ChangedOption, Reloaded, reload};
pub use route_url::RouteUrl;
pub use signal::{ServerSignal, SignalRequest, SignalTarget};
pub use tls::{CertificateFiles, TlsOptions, TlsVersion};

use flags::CommandLine;
use parser::World;
use settings::{Settings, Surroundings};

/// What the command line asks the program to do.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Run a server. Each of the warnings is to be printed on standard error first.
    Run(Box<Loaded>),
    /// Print these and end.
    Exit {
        /// For standard output.
        stdout: String,
        /// For standard error.
        stderr: String,
        /// The exit code.
        code: u8,
    },
    /// Send a signal to a running server.
    Signal(SignalRequest),
}

/// A configuration that passed all checks.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What holds.
    pub options: Options,
    /// The flags, which are applied again at each reload.
    pub flags: Flags,
    /// One line each, without a newline.
    pub warnings: Vec<String>,
    /// What to log at start, one line each: how a setting is meant here.
    pub notices: Vec<String>,
    /// `sha256:` and the hash of the parsed file.
    pub digest: Option<String>,
    /// The file, as named on the command line.
    pub config_file: Option<PathBuf>,
    surroundings: Surroundings,
}

impl Loaded {
    /// Options that come from no file and no flag.
    #[must_use]
    pub fn with_options(options: Options) -> Self {
        Self {
            options,
            flags: Flags::default(),
            warnings: Vec::new(),
            notices: Vec::new(),
            digest: None,
            config_file: None,
            surroundings: Surroundings::default(),
        }
    }
}

/// Reads the arguments, the program's name first, and what they name.
pub fn command_line(args: impl Iterator<Item = OsString>) -> Invocation {
    let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
    let program = program_name(args.next().as_deref());
    let args: Vec<String> = args.collect();
    match flags::parse(&args) {
        CommandLine::Run { flags, config, check } => run(program, *flags, config, check),
        CommandLine::Signal(request) => Invocation::Signal(request),
        CommandLine::Version => Invocation::Exit {
            stdout: format!("{program}: v{}\n", version(program)),
            stderr: String::new(),
            code: 0,
        },
        CommandLine::Help => help(program, String::new()),
        CommandLine::HelpTls => {
            Invocation::Exit { stdout: flags::TLS_HELP.to_owned(), stderr: String::new(), code: 0 }
        }
        CommandLine::Misused(text) => help(program, format!("{text}\n")),
        CommandLine::Failed(text) => failed(program, &text),
    }
}

fn run(program: &str, flags: Flags, config: Option<String>, check: bool) -> Invocation {
    if check {
        return match config {
            Some(path) => check_file(program, &path, &flags),
            None => failed(
                program,
                "must specify [-c, --config] option to check configuration file syntax",
            ),
        };
    }
    let surroundings =
        Surroundings { memory_bytes: memory::usable_bytes(), stands_in: program == PEER };
    let loaded = match config {
        Some(path) => read_file(&path, flags.credentials())
            .and_then(|file| finish_file(&path, file, &flags, surroundings)),
        None => finish(Settings::default(), &flags, surroundings),
    };
    match loaded {
        Ok(loaded) => Invocation::Run(Box::new(loaded)),
        Err(text) => failed(program, &text),
    }
}

/// `-t`: reads the file without the checks across options; a warning is an error here.
fn check_file(program: &str, path: &str, flags: &Flags) -> Invocation {
    let found = read_file(path, flags.credentials()).and_then(|file| match file.complaints() {
        complaints if complaints.is_empty() => Ok(file.digest),
        complaints => Err(complaints),
    });
    match found {
        Ok(digest) => Invocation::Exit {
            stdout: String::new(),
            stderr: format!("{program}: configuration file {path} is valid ({digest})\n"),
            code: 0,
        },
        Err(text) => failed(program, &text),
    }
}

/// Loads the text of a configuration file that includes no other one and knows no environment.
///
/// # Errors
/// What the program would print on standard error.
pub fn load_text(text: &[u8]) -> Result<Loaded, String> {
    const PATH: &str = "text";
    let read_file = |path: &str| match path {
        PATH => Ok(text.to_vec()),
        other => Err(format!("open {other}: no such file or directory")),
    };
    let world = World { read_file: &read_file, variable: &|_name| None };
    let file = read(PATH, &world, Settings::default())?;
    finish_file(PATH, file, &Flags::default(), Surroundings::default())
}

/// Checks what a file says, and applies the flags over it.
fn finish_file(
    path: &str,
    file: File,
    flags: &Flags,
    surroundings: Surroundings,
) -> Result<Loaded, String> {
    if !file.reading.errors.is_empty() {
        return Err(file.complaints());
    }
    let warnings = file.warnings();
    let loaded = finish(file.reading.settings, flags, surroundings)?;
    Ok(Loaded {
        warnings,
        digest: Some(file.digest),
        config_file: Some(Path::new(path).to_path_buf()),
        ..loaded
    })
}

fn finish(
    mut settings: Settings,
    flags: &Flags,
    surroundings: Surroundings,
) -> Result<Loaded, String> {
    flags.apply(&mut settings)?;
    let notices = settings.cluster.notices(surroundings.stands_in);
    let options = settings.into_options(surroundings)?;
    Ok(Loaded { flags: flags.clone(), notices, surroundings, ..Loaded::with_options(options) })
}

/// A file that could be parsed.
struct File {
    reading: keys::Reading,
    digest: String,
    /// The warning about a file that says nothing.
    empty: Option<String>,
}

fn read_file(path: &str, before: Settings) -> Result<File, String> {
    let world = World { read_file: &parser::read_file, variable: &|name| std::env::var(name).ok() };
    read(path, &world, before)
}

fn read(path: &str, world: &World<'_>, before: Settings) -> Result<File, String> {
    let tree = parser::parse_file(path, world)?;
    let empty = tree.is_empty().then(|| format!("{path}: config has no values or is empty"));
    Ok(File { reading: keys::read(&tree, before), digest: tree::digest(&tree), empty })
}

impl File {
    fn warnings(&self) -> Vec<String> {
        let from_keys = self.reading.warnings.iter().map(ToString::to_string);
        self.empty.iter().cloned().chain(from_keys).collect()
    }

    /// All warnings, then all errors, each on a line with its newline.
    fn complaints(&self) -> String {
        let errors = self.reading.errors.iter().map(ToString::to_string);
        self.warnings().into_iter().chain(errors).map(|line| line + "\n").collect()
    }
}

fn help(program: &str, stderr: String) -> Invocation {
    Invocation::Exit { stdout: flags::usage(program) + "\n", stderr, code: 0 }
}

fn failed(program: &str, text: &str) -> Invocation {
    Invocation::Exit { stdout: String::new(), stderr: format!("{program}: {text}\n"), code: 1 }
}

const PEER: &str = "nats-server";

/// The name under which the program speaks of itself: the peer's where it stands in for it.
fn program_name(arg: Option<&str>) -> &'static str {
    let name = arg.and_then(|arg| Path::new(arg).file_name());
    if name.is_some_and(|name| name == PEER) { PEER } else { env!("CARGO_PKG_NAME") }
}

/// Clients' test suites ask for the version under the peer's name, and want the peer's.
fn version(program: &str) -> &'static str {
    if program == PEER { PEER_VERSION } else { env!("CARGO_PKG_VERSION") }
}

/// The version of nats-server whose behaviour this server has.
const PEER_VERSION: &str = "2.15.1";
