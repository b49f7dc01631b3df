//! What the process tests share: a broker to start, its log, and the tools beside it.
//!
//! Every test that says something about behaviour runs on the real nats-server first and then on
//! Ringmesh with one, two and four shards. Nothing here sleeps for a time that is hoped to be long
//! enough: tests wait for a log line, for bytes, or for a process to end, and [`LIMIT`] only says
//! when such a wait has failed.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tools::tool;

#[path = "../tools/mod.rs"]
mod tools;

/// How long a test waits for something that must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Which broker a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// nats-server, whose behaviour is the specification.
    Real,
    /// Ringmesh with that many shards.
    Ours {
        /// What `--shards` gets.
        shards: u8,
    },
}

impl Kind {
    /// The program: `RINGMESH_BIN` overrides the one that Cargo has just built.
    pub(crate) fn binary(self) -> PathBuf {
        match self {
            Self::Real => real_server(),
            Self::Ours { .. } => std::env::var_os("RINGMESH_BIN")
                .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ringmesh")), PathBuf::from),
        }
    }

    /// A command that runs this broker, with the flags that choose its kind.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new(self.binary());
        command.stdin(Stdio::null());
        if let Self::Ours { shards } = self {
            command.args(["--shards", &shards.to_string()]);
        }
        command
    }

    /// Runs the program until it ends by itself (`-t`, `-v`, bad flags).
    pub(crate) fn run(self, args: &[&str], dir: &Path) -> Output {
        run(&self.binary(), args, dir)
    }
}

/// Runs a program until it ends by itself.
///
/// # Panics
/// When it does not: who serves instead of ending would hold the test forever.
pub(crate) fn run(program: &Path, args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if wait_exit(&mut child).is_none() {
        let _ = child.kill();
        panic!("{} {args:?} did not end by itself", program.display());
    }
    child.wait_with_output().unwrap()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real => write!(f, "nats-server"),
            Self::Ours { shards } => write!(f, "ringmesh with {shards} shards"),
        }
    }
}

/// Makes a function of a [`Kind`] a test of each kind.
#[allow(unused_macros, reason = "not every test binary runs on each kind")]
macro_rules! on_each_kind {
    ($($test:ident)*) => {$(
        mod $test {
            use super::support::Kind;

            #[test]
            fn with_the_real_server() {
                super::$test(Kind::Real);
            }

            #[test]
            fn with_one_shard() {
                super::$test(Kind::Ours { shards: 1 });
            }

            #[test]
            fn with_two_shards() {
                super::$test(Kind::Ours { shards: 2 });
            }

            #[test]
            fn with_four_shards() {
                super::$test(Kind::Ours { shards: 4 });
            }
        }
    )*};
}
#[allow(unused_imports, reason = "not every test binary runs on each kind")]
pub(crate) use on_each_kind;

/// A running broker on a free loopback port; killed when dropped.
pub(crate) struct Broker {
    child: Child,
    kind: Kind,
    log: Arc<Log>,
    /// The client port.
    pub(crate) port: u16,
}

impl Broker {
    /// Starts a broker on a port of its own and waits until it is ready.
    ///
    /// # Panics
    /// With the log, when it ends or stays silent instead.
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(kind: Kind, args: &[S]) -> Self {
        Self::start_on(kind, -1, args)
    }

    /// The same on a given port, for tests that come back to an address.
    pub(crate) fn start_on<S: AsRef<std::ffi::OsStr>>(kind: Kind, port: i32, args: &[S]) -> Self {
        let mut command = kind.command();
        command.args(["-a", "127.0.0.1", "-p", &port.to_string()]).args(args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::follow(BufReader::new(child.stderr.take().unwrap()));
        let mut broker = Self { child, kind, log, port: 0 };
        broker.await_log("Server is ready");
        broker.port = broker.announced_port();
        broker
    }

    fn announced_port(&self) -> u16 {
        let log = self.log();
        let marker = "Listening for client connections on ";
        let (_, rest) = log.split_once(marker).expect("the log names the port");
        let address = rest.lines().next().unwrap();
        address.rsplit(':').next().unwrap().trim().parse().expect("a port")
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Where its monitor listens, which must be on: host and port.
    pub(crate) fn monitor(&self) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("Starting http monitor on ").expect("a monitor");
        rest.lines().next().unwrap().trim().to_owned()
    }

    /// Waits until the log contains `text`.
    #[track_caller]
    pub(crate) fn await_log(&self, text: &str) {
        if !self.log.await_text(text) {
            panic!("{}: no {text:?} in the log:\n{}", self.kind, self.log());
        }
    }

    /// Sends a signal, named as `kill` does (`TERM`, `HUP`).
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        match wait_exit(&mut self.child) {
            Some(status) => status,
            None => panic!("{} does not end; its log:\n{}", self.kind, self.log()),
        }
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn send_signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "cannot send {name} to {pid}");
}

/// Asks again and again until there is an answer; `None` after [`LIMIT`].
///
/// For what sends no event: a child's end and files that another process writes.
pub(crate) fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    const STEP: Duration = Duration::from_millis(5);
    // Asking may itself take long, so steps cannot be counted.
    let since = now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if now().duration_since(since) > LIMIT {
            return None;
        }
        std::thread::park_timeout(STEP);
    }
}

#[expect(clippy::disallowed_methods, reason = "tests wait for real processes, in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits for a process to end by itself; `None` after [`LIMIT`].
pub(crate) fn wait_exit(child: &mut Child) -> Option<ExitStatus> {
    poll(|| child.try_wait().unwrap())
}

/// What a broker has written to its standard error.
pub(crate) struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default)]
struct LogState {
    text: String,
    ended: bool,
}

impl Log {
    /// Reads on until the source ends, on a thread of its own.
    pub(crate) fn follow(source: impl BufRead + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self { state: Mutex::default(), grown: Condvar::new() });
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in source.lines().map_while(Result::ok) {
                writer.change(|state| {
                    state.text.push_str(&line);
                    state.text.push('\n');
                });
            }
            writer.change(|state| state.ended = true);
        });
        log
    }

    /// Everything logged so far.
    pub(crate) fn text(&self) -> String {
        self.state.lock().unwrap().text.clone()
    }

    fn change(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.state.lock().unwrap());
        self.grown.notify_all();
    }

    /// Waits until the log contains `text`; false when it ends or [`LIMIT`] passes without.
    pub(crate) fn await_text(&self, text: &str) -> bool {
        let waiting = |state: &mut LogState| !state.ended && !state.text.contains(text);
        let state = self.state.lock().unwrap();
        let (state, _) = self.grown.wait_timeout_while(state, LIMIT, waiting).unwrap();
        state.text.contains(text)
    }
}

/// The real nats-server, made by `scripts/tools` on first use.
pub(crate) fn real_server() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tool("server").expect("scripts/tools makes nats-server")).clone()
}

/// A Python that has nats-py.
pub(crate) fn python() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tool("python").expect("scripts/tools makes a Python")).clone()
}

/// The `nats` command line client; `None` where Go is not installed.
pub(crate) fn nats_cli() -> Option<PathBuf> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    PATH.get_or_init(|| tool("cli")).clone()
}

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
