//! The control loop: signals, reloads, the lame duck's clock, and what the monitor asks.

use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::Time;
use tokio::sync::{mpsc, oneshot};

use crate::account::Accounts;
use crate::close::CloseReason;
use crate::cluster::Event;
use crate::config::{self, ChangedOption, Loaded, Options, Reloaded};
use crate::engine::{Control as Say, Notice, RouteTls};
use crate::events::{self, Answer};
use crate::files::{self, Ports, PortsFile};
use crate::logging::Logging;
use crate::monitor::{MeshView, Monitor, Source};
use crate::report::{ReportRequest, ServerFacts, ShardReport};
use crate::signals::Signal;

use super::Shared;
use super::cluster::{self, Outcome};
use super::facts::{self, Identity, Known};
use super::presence::{self, Presence, Told};
use super::shards::Shards;

/// See the module's documentation.
pub(super) struct Control {
    loaded: RefCell<Loaded>,
    identity: Identity,
    known: RefCell<Known>,
    cluster: cluster::Handle,
    /// What the server tells in the system account; nothing where there is none.
    pub(super) presence: Option<Presence>,
    monitor: OnceCell<Weak<Monitor<Rc<Self>>>>,
    shards: RefCell<Shards>,
    files: Files,
    facts: Shared<ServerFacts>,
    lame_duck: Cell<bool>,
    random: RefCell<fastrand::Rng>,
}

/// What the control loop listens to.
pub(super) struct Ways {
    /// Signals of this process.
    pub(super) signals: mpsc::UnboundedReceiver<Signal>,
    /// What shards tell.
    pub(super) notices: cluster::Notices,
    /// Answers for the mesh.
    pub(super) answers: mpsc::UnboundedReceiver<Event>,
    /// What was found out for the events.
    pub(super) told: mpsc::UnboundedReceiver<Told>,
}

/// The files that say where the server is.
pub(super) struct Files {
    program: String,
    ports: Ports,
    ports_file: RefCell<Option<PortsFile>>,
}

impl Files {
    pub(super) fn new(program: String, ports: Ports) -> Self {
        Self { program, ports, ports_file: RefCell::default() }
    }

    /// Writes the ports file, if the options name its directory; one written before goes away. The server
    /// runs without, too.
    pub(super) fn write_ports(&self, options: &Options) {
        *self.ports_file.borrow_mut() = None;
        let Some(directory) = &options.ports_file_dir else { return };
        match PortsFile::write(Path::new(directory), &self.program, &self.ports) {
            Ok(file) => *self.ports_file.borrow_mut() = Some(file),
            Err(error) => tracing::error!("{error}"),
        }
    }
}

/// Whether the control loop goes on.
pub(super) enum Next {
    /// It waits for what comes next.
    Wait,
    /// The server is to end.
    End,
}

impl Control {
    pub(super) fn new(
        loaded: Loaded,
        identity: Identity,
        (known, cluster): (Known, cluster::Handle),
        shards: Shards,
        files: Files,
    ) -> (Self, mpsc::UnboundedReceiver<Told>) {
        let now = wall_clock();
        let facts = ServerFacts {
            start: now,
            config_load_time: now,
            ..facts::monitoring(&loaded, &identity, &known, shards.count())
        };
        let (presence, told) =
            Presence::new(&loaded.options, &facts, &known.cluster.name, &known.accounts);
        let control = Self {
            loaded: RefCell::new(loaded),
            identity,
            known: RefCell::new(known),
            cluster,
            presence,
            monitor: OnceCell::new(),
            shards: RefCell::new(shards),
            files,
            facts: RefCell::new(Arc::new(facts)),
            lame_duck: Cell::new(false),
            random: RefCell::new(fastrand::Rng::with_seed(now.nanos())),
        };
        (control, told)
    }

    /// Learns who tells what the monitor tells.
    pub(super) fn set_monitor(&self, monitor: &Rc<Monitor<Rc<Self>>>) {
        self.monitor.get_or_init(|| Rc::downgrade(monitor));
    }

    pub(super) fn monitor(&self) -> Option<Rc<Monitor<Rc<Self>>>> {
        self.monitor.get()?.upgrade()
    }

    /// Says something to the shard that speaks for the server.
    pub(super) fn tell_first(&self, say: Say) {
        self.shards.borrow().tell(0, say);
    }

    /// Says something to every shard, in the order of their numbers.
    pub(super) fn tell_each(&self, mut say: impl FnMut() -> Say) {
        let shards = self.shards.borrow();
        for shard in 0..shards.count() {
            shards.tell(shard, say());
        }
    }

    /// What the monitor tells may have changed.
    fn renew_facts(&self, config_load_time: Time) {
        let before = Arc::clone(&self.facts.borrow());
        let (loaded, known) = (self.loaded.borrow(), self.known.borrow());
        let facts = ServerFacts {
            start: before.start,
            http_port: before.http_port,
            config_load_time,
            ..facts::monitoring(&loaded, &self.identity, &known, before.shards)
        };
        *self.facts.borrow_mut() = Arc::new(facts);
    }

    /// Learns where the monitor really listens.
    pub(super) fn set_monitor_port(&self, port: u16) {
        let facts = ServerFacts { http_port: port, ..(**self.facts.borrow()).clone() };
        *self.facts.borrow_mut() = Arc::new(facts);
    }

    /// Runs until the server has ended.
    pub(super) async fn run(self: &Rc<Self>, mut ways: Ways, logging: &Logging) {
        let (done, mut duck_is_done) = mpsc::unbounded_channel();
        self.ask_mesh(None);
        self.begin_presence().await;
        tracing::info!("Server is ready");
        loop {
            let next = tokio::select! {
                Some(signal) = ways.signals.recv() => self.on_signal(signal, logging, &done),
                Some(notice) = ways.notices.recv() => self.on_notice(notice),
                Some(event) = ways.answers.recv() => self.ask_mesh(Some(event)),
                Some(told) = ways.told.recv() => self.on_told(told, logging),
                () = cluster::due(self.cluster.as_ref(), wall_clock) => self.ask_mesh(None),
                () = Presence::due(self.presence.as_ref()) => self.ask_events(None),
                Some(()) = duck_is_done.recv() => Next::End,
                else => Next::End,
            };
            if matches!(next, Next::End) {
                break;
            }
        }
        tracing::info!("Initiating Shutdown...");
        self.say_goodbye().await;
        self.shards.borrow_mut().end();
        *self.files.ports_file.borrow_mut() = None;
    }

    /// A shard has something to tell.
    fn on_notice(self: &Rc<Self>, notice: Notice) -> Next {
        let event = match notice {
            Notice::Route(seen) => return self.ask_mesh(Some(seen.into())),
            Notice::Deliveries(deliveries) => events::Event::Deliveries(deliveries.take()),
            Notice::Accounts(accounts) => events::Event::Changed(accounts),
            Notice::Clients(news) => events::Event::Clients(news.take()),
        };
        self.ask_events(Some(event))
    }

    /// Something was found out for the events.
    fn on_told(self: &Rc<Self>, told: Told, logging: &Logging) -> Next {
        let (question, answer) = match told {
            Told::Answer(question, answer) => (question, answer),
            Told::Reload(question) => (question, Answer::Done(self.reload(logging))),
        };
        self.ask_events(Some(events::Event::Answer { question, answer }))
    }

    /// What the server's messages name may have changed.
    fn tell_facts(self: &Rc<Self>) {
        let facts = presence::facts_of(&self.facts(), &self.known.borrow().cluster.name);
        self.ask_events(Some(events::Event::Facts(Box::new(facts))));
    }

    /// Something happened to the mesh, or it is time; what it decides is carried out.
    pub(super) fn ask_mesh(self: &Rc<Self>, event: Option<Event>) -> Next {
        if let Some(cluster) = &self.cluster {
            let outcomes = cluster.handle(wall_clock(), event);
            self.carry_out(outcomes);
        }
        Next::Wait
    }

    fn carry_out(self: &Rc<Self>, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Tell(shard, say) => self.shards.borrow().tell(shard, say),
                Outcome::Facts => {
                    self.known.borrow_mut().cluster = cluster::facts_of(&self.cluster);
                    let loaded_at = self.facts.borrow().config_load_time;
                    self.renew_facts(loaded_at);
                    self.tell_options(false, true);
                    self.tell_facts();
                }
                Outcome::Joined => drop(self.ask_events(Some(events::Event::Joined))),
                Outcome::Left(id) => drop(self.ask_events(Some(events::Event::Left { id }))),
            }
        }
    }

    fn on_signal(
        self: &Rc<Self>,
        signal: Signal,
        logging: &Logging,
        done: &mpsc::UnboundedSender<()>,
    ) -> Next {
        tracing::info!("Trapped \"{}\" signal", signal.name());
        match signal {
            Signal::Interrupt => return Next::End,
            Signal::Terminate if !self.lame_duck.get() => return Next::End,
            Signal::Terminate => {}
            // What is wrong stands in the log.
            Signal::Reload => drop(self.reload(logging)),
            Signal::ReopenLog => logging.reopen(),
            Signal::LameDuck if !self.lame_duck.replace(true) => {
                let (control, done) = (Rc::clone(self), done.clone());
                tokio::task::spawn_local(async move {
                    control.retire().await;
                    // The loop may have ended before.
                    let _ = done.send(());
                });
            }
            Signal::LameDuck => {}
        }
        Next::Wait
    }

    /// Lame duck mode: no newcomers, a warning to those who are there, then they go one by one.
    async fn retire(self: &Rc<Self>) {
        let (closed, listener_is_closed) = oneshot::channel();
        // Nobody may wait any more.
        let told = Box::new(|| closed.send(()).unwrap_or_default());
        self.shards.borrow().tell(0, Say::StopAccepting(told));
        // An error means that the shard has ended, and the listener with it.
        let _ = listener_is_closed.await;
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        self.ask_mesh(Some(Event::LameDuck));
        self.ask_events(Some(events::Event::LameDuck));
        let (duration, grace) = {
            let loaded = self.loaded.borrow();
            (loaded.options.lame_duck_duration, loaded.options.lame_duck_grace_period)
        };
        if self.shards.borrow().clients() == 0 {
            return;
        }
        self.tell_options(false, true);
        tokio::time::sleep(grace).await;
        let clients = self.shards.borrow().clients();
        tracing::info!("Closing existing clients");
        /// Gaps are no longer: with few clients, the last would wait for nothing.
        const GAP_MAX: Duration = Duration::from_secs(1);
        /// A timer's gap; with many clients several are closed at once.
        const GAP_MIN: Duration = Duration::from_millis(1);
        let every = (duration.saturating_sub(grace) / count(clients)).min(GAP_MAX);
        let at_once =
            if every < GAP_MIN { GAP_MIN.as_nanos() / every.as_nanos().max(1) } else { 1 };
        let at_once = usize::try_from(at_once).unwrap_or(1);
        while self.shards.borrow().clients() > 0 {
            self.close_some(at_once, CloseReason::ServerShutdown);
            let share = 0.5 + self.random.borrow_mut().f64() / 2.0;
            tokio::time::sleep(every.max(GAP_MIN).mul_f64(share)).await;
        }
    }

    /// Closes so many clients, wherever they are.
    fn close_some(&self, how_many: usize, reason: CloseReason) {
        let left = Arc::new(AtomicUsize::new(how_many));
        self.shards.borrow().tell_all(|| Say::CloseSome { left: Arc::clone(&left), reason });
    }

    fn tell_options(&self, recheck: bool, announce: bool) {
        let engine = facts::engine(
            &self.loaded.borrow().options,
            &self.identity,
            &self.known.borrow(),
            self.lame_duck.get(),
        );
        let options = Arc::new(engine);
        self.shards.borrow().tell_all(|| Say::Options {
            options: Arc::clone(&options),
            recheck,
            announce,
        });
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// Why the one before still holds.
    fn reload(self: &Rc<Self>, logging: &Logging) -> Result<(), String> {
        let reloaded = config::reload(&self.loaded.borrow()).and_then(|reloaded| {
            let tls = facts::route_tls(&reloaded.loaded.options)?;
            Ok((reloaded, tls))
        });
        let (reloaded, tls) = reloaded.inspect_err(|text| {
            tracing::error!("Failed to reload server configuration: {text}");
        })?;
        self.take_over(reloaded, tls, logging);
        Ok(())
    }

    /// The new configuration holds from now on.
    fn take_over(
        self: &Rc<Self>,
        reloaded: Reloaded,
        tls: Option<Arc<RouteTls>>,
        logging: &Logging,
    ) {
        *self.loaded.borrow_mut() = reloaded.loaded;
        let changed = |option| reloaded.changes.iter().any(|change| change.option == option);
        for line in reloaded.changes.iter().filter_map(|change| change.line.as_ref()) {
            tracing::info!("{line}");
        }
        let loaded = self.loaded.borrow();
        let accounts = facts::accounts(&loaded.options, Some(&self.known.borrow().accounts));
        self.known.borrow_mut().accounts = Arc::new(accounts);
        self.known.borrow_mut().tls = tls;
        logging.reconfigure(super::log_options(&loaded.options));
        if changed(ChangedOption::PidFile)
            && let Some(path) = &loaded.options.pid_file
            && let Err(error) = files::write_pid_file(Path::new(path))
        {
            tracing::error!("Failed to write pidfile: {error}");
        }
        if changed(ChangedOption::PortsFileDir) {
            self.files.write_ports(&loaded.options);
        }
        self.renew_facts(wall_clock());
        self.tell_options(true, changed(ChangedOption::ClientAdvertise));
        self.close_excess(&loaded.options);
        if let Some(cluster) = &self.cluster {
            self.carry_out(cluster.reload(wall_clock(), &loaded.options, &self.identity));
        }
        let accounts = Arc::clone(&self.known.borrow().accounts);
        self.ask_events(Some(events::Event::Accounts(accounts)));
        self.tell_facts();
        let digest = loaded.digest.as_deref().unwrap_or_default();
        tracing::info!("Reloaded server configuration ({digest})");
    }

    /// More clients may be connected than the new limit allows.
    fn close_excess(&self, options: &Options) {
        let most = usize::try_from(options.max_connections).unwrap_or(usize::MAX);
        let excess = self.shards.borrow().clients().saturating_sub(most);
        if excess > 0 {
            tracing::info!("Closed {excess} connections to fall within max_connections");
            self.close_some(excess, CloseReason::MaxConnectionsExceeded);
        }
    }
}

impl Source for Rc<Control> {
    fn now(&self) -> Time {
        wall_clock()
    }

    fn facts(&self) -> Arc<ServerFacts> {
        Arc::clone(&self.facts.borrow())
    }

    fn unready(&self) -> Option<String> {
        // The peer's words: it listens no more.
        let text = "failed to be ready for connections after 1ms: server";
        self.lame_duck.get().then(|| text.to_owned())
    }

    fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.known.borrow().accounts)
    }

    fn mesh(&self) -> Option<MeshView> {
        let options = &self.loaded.borrow().options;
        self.cluster.as_ref().map(|cluster| cluster.view(options))
    }

    async fn reports(&self, request: ReportRequest) -> Vec<ShardReport> {
        self.ask_each(|answer| Say::Report { request: request.clone(), answer }).await
    }
}

fn count(clients: usize) -> u32 {
    u32::try_from(clients).unwrap_or(u32::MAX).max(1)
}

#[expect(clippy::disallowed_methods, reason = "the control plane is not simulated")]
pub(super) fn wall_clock() -> Time {
    Time::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
