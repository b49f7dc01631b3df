//! The server: builds everything from the checked options, runs it, and takes it down.
//!
//! It takes the options apart into what each module owns. Shards run on threads of their own; the
//! control plane (signals, monitoring, reloads, the lame duck's clock) runs on the calling thread, in
//! a tokio-uring runtime.

mod cluster;
mod control;
mod facts;
mod listener;
mod presence;
mod shards;

use std::rc::Rc;
use std::sync::Arc;

use ring::{Socket, uring};
use tokio::sync::mpsc;

use crate::config::{Loaded, Options};
use crate::files;
use crate::logging::{FATAL, LogOptions, Logging};
use crate::monitor::{Monitor, MonitorLimits};
use crate::signals::{Signal, SignalListener};
use cluster::Cluster;
use control::{Control, Ways};
use facts::{Identity, Known};
use shards::{Listeners, Shards};

/// The name under which tools look for the program.
pub const PEER_NAME: &str = "nats-server";

/// Runs a server until it is told to end. Returns the exit code.
///
/// # Errors
/// What to print on standard error when there is no log to say it in; the exit code is 1 then.
pub fn run(loaded: Loaded, program: &str) -> Result<u8, String> {
    let logging = Logging::install(log_options(&loaded.options))?;
    let ended = serve(loaded, program, &logging);
    if let Err(text) = &ended {
        tracing::error!(target: FATAL, "{text}");
    }
    logging.flush();
    Ok(u8::from(ended.is_err()))
}

fn serve(mut loaded: Loaded, program: &str, logging: &Logging) -> Result<(), String> {
    let identity = Identity::new(loaded.options.server_name.clone());
    announce(&loaded, &identity);
    uring::probe().map_err(|error| error.to_string())?;
    let _ = uring::raise_descriptor_limit();
    let signals = Signals::start()?;
    if let Some(path) = &loaded.options.pid_file {
        let written = files::write_pid_file(path.as_ref());
        written.map_err(|error| format!("Could not write pidfile: {error}"))?;
    }
    let monitor = listener::monitor(&loaded.options)?;
    let (listener, bound) = listener::clients(&loaded.options)?;
    loaded.options.port = bound.port();
    let address = listener::address(&loaded.options.host, bound.port());
    tracing::info!("Listening for client connections on {address}");
    let routes = listener::routes(&mut loaded.options)?;
    let files = files_of(program, (bound, routes), monitor.as_ref());
    files.write_ports(&loaded.options);
    let (notices, noticed) = cluster::notices();
    let (mesh, answers) = start_mesh(&loaded.options, &identity);
    let known = Known {
        accounts: Arc::new(facts::accounts(&loaded.options, None)),
        cluster: cluster::facts_of(&mesh),
        tls: facts::route_tls(&loaded.options)?,
    };
    let listeners = Listeners { clients: listener, routes: routes.map(|(socket, _)| socket) };
    let shards = Shards::start(&loaded.options, &identity, &known, listeners, &notices)?;
    tokio_uring::start(async {
        let (control, told) = Control::new(loaded, identity, (known, mesh), shards, files);
        let ways = Ways { signals: signals.events, notices: noticed, answers, told };
        let control = Rc::new(control);
        let teller = Monitor::new(Rc::clone(&control), MonitorLimits::default());
        control.set_monitor(&teller);
        if let Some(socket) = monitor {
            control.set_monitor_port(socket.local_addr().map_or(0, |at| at.port()));
            let monitor = Rc::clone(&teller);
            match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => drop(tokio::task::spawn_local(monitor.serve(listener))),
                Err(error) => tracing::error!("Monitoring does not run: {error}"),
            }
        }
        control.run(ways, logging).await;
    });
    drop(signals.listener);
    tracing::info!("Server Exiting..");
    Ok(())
}

/// The mesh of a server that is to be part of a cluster, and where its answers come out.
fn start_mesh(
    options: &Options,
    identity: &Identity,
) -> (cluster::Handle, mpsc::UnboundedReceiver<crate::cluster::Event>) {
    let cluster = options.cluster.as_ref().filter(|cluster| cluster.port.is_some());
    match cluster {
        Some(cluster) => {
            let shards = shards::shard_count(options.shards);
            let now = control::wall_clock();
            let (mesh, answers) = Cluster::new(options, cluster, identity, shards, now);
            (Some(Rc::new(mesh)), answers)
        }
        None => (None, mpsc::unbounded_channel().1),
    }
}

/// The signals of this process, as events.
struct Signals {
    listener: SignalListener,
    events: mpsc::UnboundedReceiver<Signal>,
}

impl Signals {
    fn start() -> Result<Self, String> {
        let (sender, events) = mpsc::unbounded_channel();
        let listener = SignalListener::start(move |signal| {
            // Nobody listens any more once the server ends.
            let _ = sender.send(signal);
        })
        .map_err(|error| format!("Signals cannot be handled: {error}"))?;
        Ok(Self { listener, events })
    }
}

/// Says what starts, in the lines that tools look for.
fn announce(loaded: &Loaded, identity: &Identity) {
    let facts = &identity.info;
    tracing::info!("Starting nats-server");
    tracing::info!("  Version:  {}", crate::proto::info::COMPATIBLE_VERSION);
    tracing::info!("  Git:      [not set]");
    tracing::info!("  Ringmesh: {}", crate::proto::info::OWN_VERSION);
    // A generated one is told when the servers of the cluster have agreed on it.
    if let Some(cluster) = loaded.options.cluster.as_ref().and_then(|it| it.name.as_ref()) {
        tracing::info!("  Cluster:  {cluster}");
    }
    tracing::info!("  Name:     {}", facts.server_name);
    tracing::info!("  ID:       {}", facts.server_id);
    if let (Some(file), Some(digest)) = (&loaded.config_file, &loaded.digest) {
        tracing::info!("Using configuration file: {} ({digest})", file.display());
    }
    for notice in &loaded.notices {
        tracing::info!("{notice}");
    }
    if loaded.options.has_plaintext_password() {
        tracing::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    if loaded.options.max_payload > crate::limits::MAX_PAYLOAD_WARN {
        tracing::warn!(
            "Maximum payloads over {}.00 MB are generally discouraged and could lead to poor performance",
            crate::limits::MAX_PAYLOAD_WARN >> 20
        );
    }
    let system = &loaded.options.system_account;
    let is_named = loaded.options.accounts.iter().any(|account| account.name == *system);
    if !loaded.options.no_system_account && !is_named {
        tracing::debug!("Created system account: \"{system}\"");
    }
}

/// The files by which others find the server, with where it listens.
fn files_of(
    program: &str,
    (bound, routes): (std::net::SocketAddr, Option<(Socket, std::net::SocketAddr)>),
    monitor: Option<&std::net::TcpListener>,
) -> control::Files {
    let monitoring = monitor.and_then(|socket| socket.local_addr().ok());
    let ports = files::Ports {
        nats: files::listen_urls("nats", bound),
        monitoring: monitoring.map_or_else(Vec::new, |at| files::listen_urls("http", at)),
        cluster: routes.map_or_else(Vec::new, |(_, at)| files::listen_urls("nats", at)),
        ..files::Ports::default()
    };
    control::Files::new(program.to_owned(), ports)
}

/// The log's share of the options.
fn log_options(options: &Options) -> LogOptions {
    LogOptions {
        file: options.log_file.as_ref().map(Into::into),
        time: options.logtime,
        utc: options.logtime_utc,
        debug: options.debug,
        trace: options.trace,
        file_bytes_max: options.log_size_limit.unwrap_or(0),
        files_max: options.log_max_num.map_or(0, |most| usize::try_from(most).unwrap_or(0)),
    }
}

/// A shared flag or fact that the monitor and the control loop both see.
type Shared<T> = std::cell::RefCell<Arc<T>>;
