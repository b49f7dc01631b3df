//! One node of a cluster: what it is to be, and its process.

use std::ffi::OsString;
use std::fmt::Write;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use super::http;
use super::ports::Port;
use super::space::Space;
use crate::support::{Kind, Log, send_signal, wait_exit};

/// What a node is to be.
#[derive(Clone)]
pub(crate) struct NodePlan {
    /// Which program it runs.
    pub(crate) kind: Kind,
    /// `server_name`.
    pub(crate) name: String,
    /// The cluster's name; `None` lets the server make one.
    pub(crate) cluster_name: Option<String>,
    /// The routes it dials; `{0}` stands for the cluster address of the first node, and `{0.port}`
    /// for its port.
    pub(crate) routes: Vec<String>,
    /// `pool_size`; `None` says nothing.
    pub(crate) pool_size: Option<i32>,
    /// Accounts with a route of their own, beside the system account.
    pub(crate) accounts: Vec<String>,
    /// More lines for `cluster {}`.
    pub(crate) cluster: String,
    /// More lines for the top level.
    pub(crate) top: String,
    /// Where it lives, if not in the test's own network.
    pub(crate) home: Option<Home>,
}

/// A network of its own: a namespace, and the node's address there.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) space: Arc<Space>,
    pub(crate) address: String,
}

impl NodePlan {
    pub(crate) fn host(&self) -> &str {
        self.home.as_ref().map_or("127.0.0.1", |home| &home.address)
    }

    /// How many pool connections it wants with each peer; `None` when it does not pool.
    pub(crate) fn pool(&self) -> Option<usize> {
        match (self.kind, self.pool_size) {
            (_, None | Some(0)) | (Kind::Ours { .. }, Some(-1)) => Some(3),
            (_, Some(size)) => usize::try_from(size).ok(),
        }
    }

    fn configuration(&self, ports: &Ports, addresses: &[String]) -> String {
        let host = self.host();
        let routes: Vec<_> = self.routes.iter().map(|route| resolve(route, addresses)).collect();
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").unwrap();
        line(format!("server_name: {:?}", self.name));
        line(format!("listen: \"{host}:{}\"", ports.client.number));
        line(format!("http: \"{host}:{}\"", ports.monitor.number));
        line(self.top.clone());
        line("cluster {".to_owned());
        if let Some(name) = &self.cluster_name {
            line(format!("name: {name:?}"));
        }
        line(format!("listen: \"{host}:{}\"", ports.cluster.number));
        if let Some(size) = self.pool_size {
            line(format!("pool_size: {size}"));
        }
        if !self.accounts.is_empty() {
            line(format!("accounts: {:?}", self.accounts));
        }
        line(format!("routes: {routes:?}"));
        line(resolve(&self.cluster, addresses));
        line("}".to_owned());
        text
    }
}

fn resolve(text: &str, addresses: &[String]) -> String {
    addresses.iter().enumerate().fold(text.to_owned(), |text, (index, address)| {
        let (_, port) = address.rsplit_once(':').expect("a port");
        text.replace(&format!("{{{index}}}"), address).replace(&format!("{{{index}.port}}"), port)
    })
}

/// A node's ports.
pub(crate) struct Ports {
    pub(crate) client: Port,
    pub(crate) cluster: Port,
    monitor: Port,
}

impl Ports {
    pub(crate) fn reserve() -> Self {
        Self { client: Port::reserve(), cluster: Port::reserve(), monitor: Port::reserve() }
    }
}

/// A node, running or not.
pub(crate) struct Node {
    pub(crate) plan: NodePlan,
    pub(crate) ports: Ports,
    configuration: PathBuf,
    process: Option<(Child, Arc<Log>)>,
    /// The logs of earlier processes.
    earlier: String,
}

impl Node {
    /// Writes the configuration; nothing runs yet.
    pub(crate) fn new(plan: NodePlan, ports: Ports, addresses: &[String], dir: &Path) -> Self {
        let configuration = dir.join(format!("{}.conf", ports.client.number));
        std::fs::write(&configuration, plan.configuration(&ports, addresses)).unwrap();
        Self { plan, ports, configuration, process: None, earlier: String::new() }
    }

    /// Writes the configuration again, for a restart or a reload with other options.
    pub(crate) fn rewrite(&mut self, plan: NodePlan, addresses: &[String]) {
        std::fs::write(&self.configuration, plan.configuration(&self.ports, addresses)).unwrap();
        self.plan = plan;
    }

    /// Starts the process without waiting for it.
    pub(crate) fn spawn(&mut self) {
        self.kill();
        let command = self.plan.kind.command();
        let mut command = match &self.plan.home {
            Some(home) => inside(&home.space, &command),
            None => command,
        };
        command.arg("-D").arg("-c").arg(&self.configuration);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::follow(BufReader::new(child.stderr.take().unwrap()));
        self.process = Some((child, log));
    }

    /// Waits until the process serves; the log when it ends instead.
    pub(crate) fn await_ready(&self) -> Result<(), String> {
        let (_, log) = self.process.as_ref().expect("a process");
        if log.await_text("Server is ready") { Ok(()) } else { Err(self.log()) }
    }

    /// Everything that its processes have logged.
    pub(crate) fn log(&self) -> String {
        let now = self.process.as_ref().map(|(_, log)| log.text()).unwrap_or_default();
        format!("{}{now}", self.earlier)
    }

    /// Waits until the running process has logged a text.
    #[track_caller]
    pub(crate) fn await_log(&self, text: &str) {
        let (_, log) = self.process.as_ref().expect("a process");
        assert!(log.await_text(text), "{}: no {text:?} in its log", self.plan.name);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Sends a signal, named as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let (child, _) = self.process.as_ref().expect("a process");
        send_signal(child.id(), name);
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) {
        let (mut child, log) = self.process.take().expect("a process");
        let ended = wait_exit(&mut child);
        if ended.is_none() {
            let _ = child.kill();
        }
        self.earlier.push_str(&log.text());
        assert!(ended.is_some(), "{} does not end", self.plan.name);
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, log)) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
            self.earlier.push_str(&log.text());
        }
    }

    /// A connection to one of its ports, from where it lives.
    pub(crate) fn connect(&self, port: u16) -> Option<TcpStream> {
        let host = self.plan.host();
        let dial = || TcpStream::connect((host, port)).ok();
        match &self.plan.home {
            Some(home) => home.space.enter(dial),
            None => dial(),
        }
    }

    /// What monitoring answers; `None` when it does not.
    pub(crate) fn monitor(&self, path: &str) -> Option<Value> {
        http::get(self.connect(self.ports.monitor.number)?, path)
    }
}

impl Node {
    /// The sum of a counter over all shards.
    #[track_caller]
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let stream = self.connect(self.ports.monitor.number).expect("monitoring listens");
        let text = http::text(stream, "/metrics").expect("/metrics answers");
        let text = String::from_utf8(text).unwrap();
        let name = format!("ringmesh_{name}_total{{");
        let samples = text.lines().filter(|line| line.starts_with(&name));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The same command in a namespace. The tool replaces itself with it, so the process is the same.
fn inside(space: &Space, command: &Command) -> Command {
    let mut wrapped = Command::new("ip");
    wrapped.args(["netns", "exec", space.name()]).stdin(Stdio::null());
    let args: Vec<OsString> = command.get_args().map(OsString::from).collect();
    wrapped.arg(command.get_program()).args(args);
    wrapped
}
