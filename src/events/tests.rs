//! What goes in, what comes out: no shard, no clock.

use std::sync::Arc;
use std::time::Duration;

use ring::Time;
use serde_json::{Value, json};

use super::*;
use crate::account::Accounts;
use crate::close::CloseReason;
use crate::engine::{ClientChange, ClientNews, ClientOrder, Scope};
use crate::ids::AccountId;
use crate::monitor::Body;
use crate::report::{AccountReport, ConnectionKind, ConnectionReport, End};
use crate::router::{Asker, Delivered};

const A: AccountId = AccountId(2);

/// The events of a server called X, and what it subscribed to.
struct World {
    events: Events,
    subscribed: Vec<(u32, AccountId, String, Scope)>,
    now: Time,
}

impl World {
    fn new() -> Self {
        let mut accounts = Accounts::new("SYS");
        accounts.add("A", false);
        accounts.add("B", false);
        let facts = Facts {
            id: "NX".into(),
            name: "X".into(),
            host: "127.0.0.1".into(),
            version: "2.15.1".into(),
            cluster: "C1".into(),
            tags: vec!["gpu".into()],
            ..Facts::default()
        };
        let now = Time::ZERO + Duration::from_secs(1000);
        let events = Events::new(facts, Arc::new(accounts), 7, now);
        let mut world = Self { events, subscribed: Vec::new(), now };
        let mut out = Vec::new();
        world.events.begin(&mut out);
        world.note(&out);
        world
    }

    fn note(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Subscribe { id, account, subject, scope } = action {
                self.subscribed.push((*id, *account, subject.clone(), *scope));
            }
        }
    }

    /// Hands in an event.
    fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.events.handle(self.now, event, &mut out);
        self.note(&out);
        out
    }

    /// Lets time pass until the events want to be asked.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.now.max(self.events.deadline());
        let mut out = Vec::new();
        self.events.expire(self.now, &mut out);
        out
    }

    /// Publishes something to whoever of the events' subscriptions it matches.
    fn publish(
        &mut self,
        account: AccountId,
        subject: &str,
        reply: &str,
        body: &str,
    ) -> Vec<Action> {
        let asker = Asker { cid: 9, user: "a".into() };
        let matching: Vec<u32> = self
            .subscribed
            .iter()
            .filter(|(_, of, filter, _)| {
                *of == account && crate::subject::matches(filter.as_bytes(), subject.as_bytes())
            })
            .map(|(id, ..)| *id)
            .collect();
        let deliveries = matching.iter().map(|id| Delivered {
            subscription: *id,
            account,
            subject: subject.as_bytes().into(),
            reply: (!reply.is_empty()).then(|| reply.as_bytes().into()),
            header_len: 0,
            body: body.as_bytes().into(),
            asker: Some(asker.clone()),
        });
        let deliveries = Event::Deliveries(deliveries.collect());
        self.handle(deliveries)
    }

    /// Asks in the system account, and gives that answer to what the events ask for it.
    fn ask(
        &mut self,
        subject: &str,
        body: &str,
        answer: impl Fn(Question) -> Answer,
    ) -> Vec<Value> {
        let mut out = self.publish(AccountId::SYSTEM, subject, "R", body);
        let mut at = 0;
        while at < out.len() {
            if let Action::Ask { question, what } = &out[at] {
                let (question, answer) = (*question, answer(what.clone()));
                let more = self.handle(Event::Answer { question, answer });
                out.extend(more);
            }
            at += 1;
        }
        published(&out).into_iter().filter(|(subject, _)| subject == "R").map(|it| it.1).collect()
    }
}

/// What was published, where.
fn published(actions: &[Action]) -> Vec<(String, Value)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Publish { subject, header_len, body, .. } => {
                let payload = &body[*header_len as usize..];
                Some((text(subject), serde_json::from_slice(payload).unwrap()))
            }
            Action::Subscribe { .. } | Action::Ask { .. } | Action::PeerLeaves { .. } => None,
        })
        .collect()
}

fn questions(actions: &[Action]) -> Vec<(u64, Question)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Ask { question, what } => Some((*question, what.clone())),
            Action::Subscribe { .. } | Action::Publish { .. } | Action::PeerLeaves { .. } => None,
        })
        .collect()
}

fn statistics(_: Question) -> Answer {
    Answer::Statistics(Box::new(Statistics { connections: 3, ..Statistics::default() }))
}

fn clients(account: AccountId, clients: u64) -> Answer {
    Answer::Accounts(vec![AccountReport { account, clients, ..AccountReport::default() }])
}

fn nothing(_: Question) -> Answer {
    Answer::Nothing
}

#[test]
fn a_server_subscribes_to_what_it_answers() {
    let world = World::new();
    let has = |account, subject: &str, scope| {
        let wanted = |(_, of, filter, s): &&(u32, AccountId, String, Scope)| {
            *of == account && filter == subject && *s == scope
        };
        assert!(world.subscribed.iter().any(|it| wanted(&it)), "{subject}");
    };
    for subject in [
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.PING.VARZ",
        "$SYS.REQ.SERVER.NX.STATSZ",
        "$SYS.REQ.SERVER.NX.KICK",
        "$SYS.REQ.ACCOUNT.*.CONNZ",
        "$SYS.SERVER.*.STATSZ",
        "$SYS._INBOX.Dglu96W1.*",
    ] {
        has(AccountId::SYSTEM, subject, Scope::Cluster);
    }
    for account in [AccountId::GLOBAL, A] {
        has(account, "$SYS.REQ.SERVER.PING.CONNZ", Scope::Shard);
    }
    has(AccountId::SYSTEM, "$SYS.REQ.USER.INFO", Scope::Shard);
    let in_system =
        world.subscribed.iter().filter(|(_, account, ..)| *account == AccountId::SYSTEM);
    let mut subjects: Vec<_> = in_system.map(|(_, _, subject, _)| subject).collect();
    let all = subjects.len();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(subjects.len(), all, "no request is answered twice");
}

#[test]
fn an_account_that_is_new_gets_its_subscriptions_once() {
    let mut world = World::new();
    let mut accounts = (*world.events.accounts).clone();
    let new = accounts.add("C", false);
    let out = world.handle(Event::Accounts(Arc::new(accounts.clone())));
    let in_new =
        |action: &Action| matches!(action, Action::Subscribe { account, .. } if *account == new);
    assert!(!out.is_empty() && out.iter().all(in_new));
    assert!(world.handle(Event::Accounts(Arc::new(accounts))).is_empty());
}

#[test]
fn heartbeats_come_ever_more_slowly_and_are_counted() {
    let mut world = World::new();
    let (mut last, mut seq, mut gaps) = (world.now, 0, Vec::new());
    while gaps.len() < 8 {
        let asked = questions(&world.wait());
        let Some((question, Question::Statistics)) = asked.first().cloned() else { continue };
        gaps.push((world.now - last).as_millis());
        last = world.now;
        let out =
            world.handle(Event::Answer { question, answer: statistics(Question::Statistics) });
        let told = published(&out);
        assert_eq!(told[0].0, "$SYS.SERVER.NX.STATSZ");
        assert_eq!(told[0].1["statsz"]["connections"], 3);
        assert_eq!(told[0].1["statsz"]["ringmesh"], env!("CARGO_PKG_VERSION"));
        assert!(told[0].1["server"]["seq"].as_u64() > Some(seq));
        seq = told[0].1["server"]["seq"].as_u64().unwrap();
    }
    assert_eq!(gaps, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
}

#[test]
fn a_new_server_hears_soon_how_this_one_is_and_no_storm_of_them_brings_more() {
    let mut world = World::new();
    for _ in 0..10 {
        for (question, what) in questions(&world.wait()) {
            world.handle(Event::Answer { question, answer: statistics(what) });
        }
    }
    let now = world.now;
    world.publish(AccountId::SYSTEM, "$SYS.SERVER.NY.STATSZ", "", "{}");
    assert_eq!(world.events.deadline() - now, Duration::from_secs(1));
    world.now = world.now + Duration::from_secs(5);
    world.publish(AccountId::SYSTEM, "$SYS.SERVER.NZ.STATSZ", "", "{}");
    let answers = world.ask("$SYS.REQ.SERVER.PING", "", statistics);
    assert_eq!(answers[0]["statsz"]["active_servers"], 3);
    let out = world.publish(AccountId::SYSTEM, "$SYS.SERVER.NZ.SHUTDOWN", "", "{}");
    let told = matches!(&out[..], [Action::PeerLeaves { id }] if id == "NZ");
    assert!(told, "the mesh is told: {out:?}");
    world.handle(Event::Left { id: "NY".into() });
    let answers = world.ask("$SYS.REQ.SERVER.PING", "", statistics);
    assert_eq!(answers[0]["statsz"]["active_servers"], 1);
    world.publish(AccountId::SYSTEM, "$SYS.SERVER.NX.STATSZ", "", "{}");
    let answers = world.ask("$SYS.REQ.SERVER.NX.STATSZ", "", statistics);
    assert_eq!(answers[0]["statsz"]["active_servers"], 1, "itself it knows already");
}

#[test]
fn a_request_is_answered_by_those_whom_it_means() {
    let mut world = World::new();
    let mut check = |body: &str, answers: usize| {
        let found = world.ask("$SYS.REQ.SERVER.PING.STATSZ", body, statistics);
        assert_eq!(found.len(), answers, "{body}");
    };
    check("{}", 1);
    check("", 1);
    check("null", 1);
    check(r#"{"server_name":"X","cluster":"C","host":"127"}"#, 1);
    check(r#"{"server_name":"Y"}"#, 0);
    check(r#"{"cluster":"C","exact_match":true}"#, 0);
    check(r#"{"cluster":"C1","exact_match":true}"#, 1);
    check(r#"{"host":"10."}"#, 0);
    check(r#"{"tags":["GPU"]}"#, 1);
    check(r#"{"tags":["gpu","cpu"]}"#, 0);
    check(r#"{"domain":"d"}"#, 0);
    check(r#"{"tags":null,"server_name":null}"#, 1);
}

#[test]
fn a_request_that_cannot_be_read_is_refused() {
    let mut world = World::new();
    let mut check = |body: &str| {
        let found = world.ask("$SYS.REQ.SERVER.NX.VARZ", body, nothing);
        assert_eq!(found[0]["error"]["code"], 400, "{body}");
        assert!(found[0].get("data").is_none() && found[0]["server"]["id"] == "NX");
    };
    check("{bad");
    check("[]");
    check("7");
    check(r#"{"server_name":7}"#);
    check(r#"{"tags":"gpu"}"#);
    check(&"[".repeat(100_000));
    check(&format!(r#"{{"server_name":"{}"}}"#, "x".repeat(70_000)));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let mut world = World::new();
    for subject in ["$SYS.REQ.SERVER.NX.PROFILEZ", "$SYS.REQ.SERVER.PING.PROFILEZ"] {
        let found = world.ask(subject, r#"{"name":"allocs"}"#, nothing);
        assert_eq!(found[0]["error"]["description"], "profiling is not supported");
    }
    let found = world.ask("$SYS.REQ.SERVER.PING.EXPVARZ", "", nothing);
    assert_eq!(found[0]["error"]["description"], "a list of Go's variables is not supported");
}

#[test]
fn a_body_is_asked_for_and_passed_on() {
    let mut world = World::new();
    let body = |what| match what {
        Question::Body { body: Body::Connz, options } => {
            assert_eq!(options, json!({"sort": "idle", "limit": 2}));
            Answer::Body(Ok(json!({"num_connections": 5})))
        }
        _ => panic!("asked for {what:?}"),
    };
    let found = world.ask("$SYS.REQ.SERVER.PING.CONNZ", r#"{"sort":"idle","limit":2}"#, body);
    assert_eq!(found[0]["data"], json!({"num_connections": 5}));
    let refused = |_| Answer::Body(Err((500, "invalid sorting option: nope".into())));
    let found = world.ask("$SYS.REQ.SERVER.PING.CONNZ", r#"{"sort":"nope"}"#, refused);
    assert_eq!(found[0]["error"]["code"], 500);
    assert_eq!(found[0].get("data"), Some(&Value::Null));
    let well = |_| Answer::Body(Ok(json!({"status": "ok"})));
    let found = world.ask("$SYS.REQ.SERVER.PING.HEALTHZ", "", well);
    assert_eq!(found[0]["data"], json!({"status": "ok", "status_code": 200}));
}

#[test]
fn identity_is_told_to_whoever_asks() {
    let mut world = World::new();
    let found = world.ask("$SYS.REQ.SERVER.PING.IDZ", "{bad", nothing);
    assert_eq!(found, [json!({"name": "X", "host": "127.0.0.1", "id": "NX"})]);
}

#[test]
fn requests_about_an_account_are_about_no_other() {
    let mut world = World::new();
    let asked = |what| match what {
        Question::Body { options, .. } => Answer::Body(Ok(options)),
        _ => panic!("asked for {what:?}"),
    };
    let found = world.ask("$SYS.REQ.ACCOUNT.A.CONNZ", r#"{"acc":"B"}"#, asked);
    assert_eq!(found[0]["data"]["acc"], "A");
    let found = world.ask("$SYS.REQ.ACCOUNT.A.SUBSZ", r#"{"account":"B"}"#, asked);
    assert_eq!(found[0]["data"]["account"], "A");
    let stats = |what: Question| match what {
        Question::Body { body: Body::Accstatz, options } => {
            let names = options["accounts"].as_array().unwrap().clone();
            let known: Vec<_> = names.into_iter().filter(|name| name == "A").collect();
            Answer::Body(Ok(json!({"account_statz": known})))
        }
        _ => panic!("asked for {what:?}"),
    };
    let found = world.ask("$SYS.REQ.ACCOUNT.A.STATZ", r#"{"accounts":["B"]}"#, stats);
    assert_eq!(found[0]["data"]["account_statz"], json!(["A"]));
    assert!(world.ask("$SYS.REQ.ACCOUNT.B.STATZ", "", stats).is_empty(), "nobody is there");
    let detail = |what: Question| match what {
        Question::Body { body: Body::Accountz, options } if options["account"] == "A" => {
            Answer::Body(Ok(json!({"account_detail": {"client_connections": 2}})))
        }
        _ => Answer::Body(Err((500, "Account NONE does not exist".into()))),
    };
    let found = world.ask("$SYS.REQ.ACCOUNT.NONE.INFO", "", detail);
    assert_eq!(found[0]["error"]["description"], "Account NONE does not exist");
    let found = world.ask("$SYS.REQ.ACCOUNT.A.INFO", "", detail);
    assert_eq!(found[0]["data"]["client_connections"], 2);
    let found = world.ask("$SYS.REQ.ACCOUNT.PING.STATZ", r#"{"accounts":["A"]}"#, stats);
    assert_eq!(found.len(), 1, "PING is no account's name");
    assert_eq!(world.ask("$SYS.REQ.ACCOUNT.A.CONNS", "", |_| clients(A, 2))[0]["conns"], 2);
    assert!(world.ask("$SYS.REQ.ACCOUNT.A.CONNS", "", |_| clients(A, 0)).is_empty());
}

#[test]
fn clients_of_an_account_are_counted_when_they_change_and_now_and_then() {
    let mut world = World::new();
    world.handle(Event::Changed([A].into()));
    world.handle(Event::Changed([A, AccountId::GLOBAL].into()));
    let told = |world: &mut World, count| loop {
        for (question, what) in questions(&world.wait()) {
            let answer =
                if what == Question::Accounts { clients(A, count) } else { statistics(what) };
            let out = world.handle(Event::Answer { question, answer });
            let told = published(&out);
            if told.iter().any(|(subject, _)| subject.ends_with("CONNS")) {
                return told;
            }
        }
    };
    let before = world.now;
    let counts = told(&mut world, 2);
    let subjects: Vec<_> = counts.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["$SYS.SERVER.ACCOUNT.A.CONNS", "$SYS.ACCOUNT.A.SERVER.CONNS"]);
    assert_eq!(counts[0].1["conns"], 2);
    assert!(world.now - before < Duration::from_secs(1));
    assert_eq!(told(&mut world, 2)[0].1["conns"], 2, "it is told again");
    assert!(world.now - before >= Duration::from_secs(30));
    world.handle(Event::Changed([A].into()));
    assert_eq!(told(&mut world, 0)[0].1["conns"], 0, "the last one is gone");
}

#[test]
fn news_of_clients_are_told() {
    let mut world = World::new();
    let client = |end| ConnectionReport {
        cid: 9,
        kind: ConnectionKind::Client,
        peer: "127.0.0.1:5".parse().unwrap(),
        start: Time::ZERO,
        last_activity: Time::ZERO,
        end,
        rtt: Duration::ZERO,
        pending_bytes: 0,
        in_msgs: 4,
        out_msgs: 5,
        in_bytes: 40,
        out_bytes: 50,
        stalls: 0,
        subscriptions: 0,
        name: "n".into(),
        lang: String::new(),
        version: String::new(),
        authorized_user: "a".into(),
        account: "A".into(),
        closed_subscriptions: Vec::new(),
    };
    let end = Some(End { at: world.now, reason: CloseReason::Kicked.as_str() });
    let news = |change, end| ClientNews { change, client: client(end) };
    let out = world.handle(Event::Clients(vec![
        news(ClientChange::Connected, None),
        news(ClientChange::Disconnected, end),
        news(ClientChange::Refused, end),
    ]));
    let told = published(&out);
    let subjects: Vec<_> = told.iter().map(|(subject, _)| subject.as_str()).collect();
    let refused = "$SYS.SERVER.NX.CLIENT.AUTH.ERR";
    assert_eq!(subjects, ["$SYS.ACCOUNT.A.CONNECT", "$SYS.ACCOUNT.A.DISCONNECT", refused]);
    assert_eq!(told[0].1["client"]["user"], "a");
    assert!(told[0].1.get("reason").is_none());
    assert_eq!(told[1].1["reason"], "Kicked");
    assert_eq!(
        (&told[1].1["sent"]["msgs"], &told[1].1["received"]["bytes"]),
        (&json!(4), &json!(50))
    );
}

#[test]
fn a_client_learns_who_it_is_and_what_its_account_does() {
    let mut world = World::new();
    let out = world.publish(A, "$SYS.REQ.USER.INFO", "R", "{bad");
    let data = json!({"user": "a", "account": "A", "account_name": "A"});
    assert_eq!(published(&out)[0].1["data"], data);
    // What it asks of its account is asked of all servers, this one among them.
    let out = world.publish(A, "$SYS.REQ.SERVER.PING.CONNZ", "R", r#"{"acc":"B"}"#);
    let [Action::Publish { account, subject, reply: Some(reply), body, .. }] = &out[..] else {
        panic!("one request is passed on: {out:?}")
    };
    assert_eq!((*account, &subject[..]), (AccountId::SYSTEM, &b"$SYS.REQ.ACCOUNT.A.CONNZ"[..]));
    assert_eq!(body, br#"{"acc":"B"}"#);
    let reply = String::from_utf8(reply.clone()).unwrap();
    for server in ["X", "Y"] {
        let answer = format!(r#"{{"server":"{server}"}}"#);
        let out = world.publish(AccountId::SYSTEM, &reply, "", &answer);
        let [Action::Publish { account, subject, .. }] = &out[..] else { panic!("{out:?}") };
        assert_eq!((*account, &subject[..]), (A, &b"R"[..]));
    }
    assert!(world.publish(AccountId::SYSTEM, "$SYS._INBOX.Dglu96W1.other", "", "{}").is_empty());
}

#[test]
fn subscriptions_of_the_whole_cluster_are_added_up() {
    let mut world = World::new();
    world.publish(AccountId::SYSTEM, "$SYS.SERVER.NY.STATSZ", "", "{}");
    let out = world.publish(AccountId::SYSTEM, "$SYS.DEBUG.SUBSCRIBERS", "R", "foo.bar workers");
    let [Action::Publish { subject, reply: Some(reply), body, .. }] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(&subject[..], b"$SYS.REQ.ACCOUNT.NSUBS");
    let (reply, body) = (reply.clone(), String::from_utf8(body.clone()).unwrap());
    let total = |_| Answer::Body(Ok(json!({"total": 3})));
    assert_eq!(world.ask("$SYS.REQ.ACCOUNT.NSUBS", &body, total), [json!(3)]);
    let reply = String::from_utf8(reply).unwrap();
    assert!(world.publish(AccountId::SYSTEM, &reply, "", "3").is_empty());
    let out = world.publish(AccountId::SYSTEM, &reply, "", "4");
    assert_eq!(published(&out), [("R".to_owned(), json!(7))]);
}

#[test]
fn a_client_is_kicked_or_warned_and_the_configuration_read_again() {
    let mut world = World::new();
    let done = |what| match what {
        Question::Client { cid: 9, order: ClientOrder::Kick } | Question::Reload => {
            Answer::Done(Ok(()))
        }
        Question::Client { .. } => Answer::Done(Err("no such client id".into())),
        _ => panic!("asked for {what:?}"),
    };
    let found = world.ask("$SYS.REQ.SERVER.NX.KICK", r#"{"cid":9}"#, done);
    assert!(found[0].get("error").is_none() && found[0]["server"]["id"] == "NX");
    let found = world.ask("$SYS.REQ.SERVER.NX.LDM", r#"{"cid":8}"#, done);
    assert_eq!(found[0]["error"], json!({"code": 500, "description": "no such client id"}));
    let found = world.ask("$SYS.REQ.SERVER.NX.LDM", "{}", done);
    assert_eq!(found[0]["error"], json!({"code": 500, "description": "no such client id"}));
    for unreadable in ["{bad", ""] {
        assert!(world.ask("$SYS.REQ.SERVER.NX.KICK", unreadable, done).is_empty());
    }
    assert_eq!(world.ask("$SYS.REQ.SERVER.NX.RELOAD", "", done).len(), 1);
}

#[test]
fn a_server_that_leaves_says_so() {
    let mut world = World::new();
    for (event, subject) in [(Event::LameDuck, "LAMEDUCK"), (Event::Shutdown, "SHUTDOWN")] {
        let told = published(&world.handle(event));
        assert_eq!(told[0].0, format!("$SYS.SERVER.NX.{subject}"));
        assert_eq!(told[0].1["name"], "X");
    }
}

#[test]
fn a_flood_of_requests_asks_for_little() {
    let mut world = World::new();
    let mut asked = 0;
    for number in 0..10_000 {
        let z = ["VARZ", "CONNZ", "STATSZ", "ACCOUNTZ"][number % 4];
        let subject = format!("$SYS.REQ.SERVER.PING.{z}");
        asked += questions(&world.publish(AccountId::SYSTEM, &subject, "R", "{}")).len();
    }
    assert!(asked < 20, "{asked} questions at one time");
}

#[test]
fn whatever_comes_is_survived() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut world = World::new();
    let subscribed = world.subscribed.clone();
    for _ in 0..20_000 {
        let (id, account, filter, _) = random.choice(&subscribed).unwrap().clone();
        let some: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
        let bodies = ["{}", "", "{\"cid\":1}", "[[", "{\"limit\":-1,\"offset\":99}", "\u{0}"];
        let body = if random.bool() { some.clone() } else { random.choice(bodies).unwrap().into() };
        let subject = if random.bool() { filter.into_bytes() } else { some };
        let delivered = Delivered {
            subscription: if random.u8(..10) == 0 { random.u32(..) } else { id },
            account,
            subject: subject.into(),
            reply: random.bool().then(|| b"R".as_slice().into()),
            header_len: if random.u8(..10) == 0 { random.u32(..) } else { 0 },
            body: body.into(),
            asker: random.bool().then(Asker::default),
        };
        let out = world.handle(Event::Deliveries(vec![delivered]));
        for (question, _) in questions(&out) {
            let answer = match random.u8(..4) {
                0 => statistics(Question::Statistics),
                1 => clients(A, random.u64(..3)),
                2 => Answer::Body(Ok(json!({"total": "many"}))),
                _ => Answer::Nothing,
            };
            world.handle(Event::Answer { question, answer });
        }
        if random.u8(..20) == 0 {
            world.wait();
        }
    }
}
