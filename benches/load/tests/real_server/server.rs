//! The real server, this program beside it, and what is expected of a run.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// A real server on a port of its own, stopped at the end of the test.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    /// Starts one with `arguments` more; `None`, said aloud, where there is none to start.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let program = real_server()?;
        let process = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", "-1"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self { process, url: String::new() };
        server.await_port();
        Some(server)
    }

    /// The server chooses its port and says it in its log; the rest of the log is read away.
    fn await_port(&mut self) {
        let log = BufReader::new(self.process.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        for line in &mut lines {
            if let Some((_, address)) = line.split_once("Listening for client connections on ") {
                self.url = format!("nats://{address}");
            }
            if line.ends_with("Server is ready") {
                break;
            }
        }
        assert!(!self.url.is_empty(), "the server does not listen");
        std::thread::spawn(move || lines.for_each(drop));
    }

    pub(crate) fn pid(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn real_server() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_server).as_deref()
}

fn find_server() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/tools");
    let found = Command::new(script).output().ok().filter(|found| found.status.success());
    if let Some(found) = found {
        return Some(PathBuf::from(String::from_utf8(found.stdout).unwrap().trim()));
    }
    // Written past the test's capture: a skipped test that nobody sees looks like a passed one.
    let _ = writeln!(std::io::stderr(), "SKIPPED: scripts/tools provides no nats-server here");
    None
}

pub(crate) fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmesh-load")).args(arguments).output().unwrap()
}

/// Runs a mode against `server` and returns its runs; the mode must end well.
#[track_caller]
pub(crate) fn runs(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let target = ["--json", "--server", &server.url, "--server-pid", &server.pid()];
    let done = load(&[arguments, &target[..]].concat());
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{arguments:?}: {said}");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["server"], "nats-server 2.15.1");
    report["runs"].as_array().unwrap().clone()
}

#[track_caller]
pub(crate) fn check(run: &Value, counts: &[(&str, f64)]) {
    for (key, count) in counts {
        assert_eq!(run["figures"][key].as_f64(), Some(*count), "{key} in {run}");
    }
}

#[track_caller]
pub(crate) fn check_fails(arguments: &[&str], code: i32, why: &str) {
    let done = load(arguments);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(why), "{arguments:?}: {said}");
}

/// A directory of the test's own.
pub(crate) fn tempfile() -> PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    // Only the number must be unique.
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("load-{}-{number}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}
