//! Carries out what the events decide: their messages go to shards, their questions to whoever knows.
//!
//! The events themselves know no shard and no clock; what shards and the mesh tell comes here and goes
//! to them, and so do answers, each of which comes from a task of its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::account::Accounts;
use crate::config::Options;
use crate::engine::{ClientOrder, Control as Say, InternalOrder, Scope};
use crate::events::{Action, Answer, Event, Events, Facts, Question, Statistics, TrafficOfRoute};
use crate::monitor::{ProcessMeter, Source, cores, resident_bytes};
use crate::report::{AccountReport, ReportRequest, RouteReport, ServerFacts, ShardReport};

use super::control::{Control, Next, wall_clock};

/// How long shards may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last message may take to leave this thread.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// What tasks tell the control loop.
pub(super) enum Told {
    /// An answer.
    Answer(u64, Answer),
    /// Read the configuration again, which only the loop can do.
    Reload(u64),
}

/// See the module's documentation.
pub(super) struct Presence {
    events: RefCell<Events>,
    told: mpsc::UnboundedSender<Told>,
    meter: RefCell<ProcessMeter>,
    has_begun: Cell<bool>,
}

impl Presence {
    /// Of a server that has a system account, and where its tasks tell what they found.
    pub(super) fn new(
        options: &Options,
        facts: &ServerFacts,
        cluster: &str,
        accounts: &Arc<Accounts>,
    ) -> (Option<Self>, mpsc::UnboundedReceiver<Told>) {
        let (told, heard) = mpsc::unbounded_channel();
        let now = wall_clock();
        let presence = options.has_system_account().then(|| Self {
            events: RefCell::new(Events::new(
                facts_of(facts, cluster),
                Arc::clone(accounts),
                now.nanos(),
                now,
            )),
            told,
            meter: RefCell::default(),
            has_begun: Cell::new(false),
        });
        (presence, heard)
    }

    /// Waits until the events want to be asked.
    pub(super) async fn due(this: Option<&Self>) {
        match this {
            Some(presence) => {
                let at = presence.events.borrow().deadline();
                tokio::time::sleep(at - wall_clock()).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// What of the server its messages name.
pub(super) fn facts_of(facts: &ServerFacts, cluster: &str) -> Facts {
    Facts {
        id: facts.server_id.clone(),
        name: facts.server_name.clone(),
        host: facts.host.clone(),
        version: facts.version.clone(),
        cluster: cluster.to_owned(),
        tags: facts.tags.clone(),
        metadata: facts.metadata.clone(),
        start: facts.start,
    }
}

impl Control {
    /// Something happened that the events are to know; without one, it is time.
    pub(super) fn ask_events(self: &Rc<Self>, event: Option<Event>) -> Next {
        let Some(presence) = &self.presence else { return Next::Wait };
        let (now, mut actions) = (wall_clock(), Vec::new());
        {
            let mut events = presence.events.borrow_mut();
            if !presence.has_begun.replace(true) {
                events.begin(&mut actions);
            }
            match event {
                Some(event) => events.handle(now, event, &mut actions),
                None => events.expire(now, &mut actions),
            }
        }
        for action in actions {
            match action {
                Action::Subscribe { id, account, subject, scope } => {
                    let subject = subject.into_bytes().into_boxed_slice();
                    let order = || InternalOrder::Subscribe {
                        id,
                        account,
                        subject: subject.clone(),
                        queue: None,
                        scope,
                    };
                    match scope {
                        Scope::Cluster => self.tell_first(Say::Internal(order())),
                        Scope::Shard => self.tell_each(|| Say::Internal(order())),
                    }
                }
                Action::Publish { account, subject, reply, header_len, mut body } => {
                    body.extend_from_slice(b"\r\n");
                    let order =
                        InternalOrder::Publish { account, subject, reply, header_len, body };
                    self.tell_first(Say::Internal(order));
                }
                Action::PeerLeaves { id } => {
                    self.ask_mesh(Some(crate::cluster::Event::Leaving { id }));
                }
                Action::Ask { question, what } => self.find_out(presence, question, what),
            }
        }
        Next::Wait
    }

    /// Finds out what the events ask, without keeping the loop.
    fn find_out(self: &Rc<Self>, presence: &Presence, question: u64, what: Question) {
        if what == Question::Reload {
            // The loop ends after this at most.
            let _ = presence.told.send(Told::Reload(question));
            return;
        }
        let (control, told) = (Rc::clone(self), presence.told.clone());
        tokio::task::spawn_local(async move {
            let answer = timeout(ANSWER_TIMEOUT, control.answer(what)).await;
            let answer = answer.unwrap_or(Answer::Nothing);
            // The loop may have ended meanwhile.
            let _ = told.send(Told::Answer(question, answer));
        });
    }

    async fn answer(self: &Rc<Self>, what: Question) -> Answer {
        match what {
            Question::Statistics => {
                let request =
                    ReportRequest { accounts: true, routes: true, ..ReportRequest::default() };
                let reports = self.reports(request).await;
                Answer::Statistics(Box::new(self.statistics(&reports)))
            }
            Question::Accounts => {
                let request = ReportRequest { accounts: true, ..ReportRequest::default() };
                Answer::Accounts(AccountReport::joined(&self.reports(request).await))
            }
            Question::Body { body, options } => match self.monitor() {
                Some(monitor) => Answer::Body(monitor.body(body, &options).await),
                None => Answer::Nothing,
            },
            Question::Client { cid, order } => Answer::Done(self.order_client(cid, order).await),
            Question::Reload => Answer::Nothing,
        }
    }

    /// Has something done with a client, wherever it is.
    async fn order_client(self: &Rc<Self>, cid: u64, order: ClientOrder) -> Result<(), String> {
        let answers = self.ask_each(|answer| Say::Client { cid, order, answer });
        if answers.await.contains(&true) {
            return Ok(());
        }
        Err(match order {
            ClientOrder::Kick => "no such client or leafnode id".into(),
            ClientOrder::Warn => "no such client id".into(),
        })
    }

    fn statistics(self: &Rc<Self>, reports: &[ShardReport]) -> Statistics {
        let facts = Source::facts(self);
        let (now, mut sums) = (wall_clock(), Statistics::default());
        for report in reports {
            sums.connections += report.connections_open;
            sums.subscriptions += report.subscriptions();
            sums.counters.merge(&report.counters);
        }
        let used =
            AccountReport::joined(reports).iter().filter(|account| account.clients > 0).count();
        let cpu_percent = self
            .presence
            .as_ref()
            .map_or(0.0, |presence| presence.meter.borrow_mut().cpu_percent(facts.start, now));
        Statistics {
            memory_bytes: resident_bytes(),
            cores: cores(),
            cpu_percent,
            shards: facts.shards,
            active_accounts: used,
            routes: reports.iter().flat_map(|report| &report.routes).map(traffic).collect(),
            ..sums
        }
    }

    /// Tells everybody that the server stops, and waits until that has left for the sockets: shards
    /// that end take nothing from each other any more.
    pub(super) async fn say_goodbye(self: &Rc<Self>) {
        if self.presence.is_none() {
            return;
        }
        self.ask_events(Some(Event::Shutdown));
        // A shard that hangs does not keep the server from ending.
        let _ = timeout(LEAVE_TIMEOUT, self.settled()).await;
    }

    /// Subscribes to what the server answers, and waits until all shards know.
    pub(super) async fn begin_presence(self: &Rc<Self>) {
        self.ask_events(None);
        // A shard that hangs does not keep the others from serving.
        let _ = timeout(ANSWER_TIMEOUT, self.settled()).await;
    }

    /// Waits until all shards have read what they were told, and what the first one has passed on of it: a
    /// shard answers before it reads what other shards sent.
    async fn settled(self: &Rc<Self>) {
        for _ in 0..4 {
            self.reports(ReportRequest::default()).await;
        }
    }

    /// Asks every shard for something; a shard that ends meanwhile is left out.
    pub(super) fn ask_each<T: Send + 'static, F: Fn(Box<dyn FnOnce(T) + Send>) -> Say>(
        &self,
        say: F,
    ) -> impl Future<Output = Vec<T>> + use<T, F> {
        let mut asked = Vec::new();
        self.tell_each(|| {
            let (answer, answered) = oneshot::channel();
            asked.push(answered);
            // Nobody waits for an answer once its reader is gone.
            say(Box::new(|found| drop(answer.send(found))))
        });
        async move {
            let mut answers = Vec::new();
            for answered in asked {
                answers.extend(answered.await.ok());
            }
            answers
        }
    }
}

/// What passes over a route.
fn traffic(route: &RouteReport) -> TrafficOfRoute {
    TrafficOfRoute {
        rid: route.rid,
        name: route.remote_name.clone(),
        out_msgs: route.out_msgs,
        out_bytes: route.out_bytes,
        in_msgs: route.in_msgs,
        in_bytes: route.in_bytes,
        pending_bytes: route.pending_bytes,
    }
}
