//! A virtual client: it speaks the protocol, and tells the history what it does and sees.

use std::collections::{BTreeMap, VecDeque};

use ring::sim::{Peer, SimWorld};

use crate::oracle::{History, IDENTITY_LEN, Message, Moment, Nature, payload};
use crate::server::Server;
use crate::wire::{self, Said};

/// How a client behaves, and with it how its connection may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It reads, answers, and stays.
    Stays,
    /// It stops reading at times.
    Dawdles,
    /// It stops reading for good at some time.
    Freezes,
    /// It leaves before the end: by a close, a reset or without a word.
    Leaves,
    /// It says what no client may say.
    Errs,
    /// It shows the wrong password.
    Lies,
    /// It does not log in.
    IsMute,
}

/// What a client says of itself in CONNECT.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    pub verbose: bool,
    pub pedantic: bool,
    pub no_echo: bool,
    pub headers: bool,
}

pub struct Client {
    pub id: usize,
    pub peer: Peer,
    pub fate: Fate,
    pub manners: Manners,
    /// Its number at the server, known from INFO.
    pub cid: Option<u64>,
    /// The end that it gave its connection itself.
    pub has_left: bool,
    pub is_frozen: bool,
    /// It was there to the end.
    pub has_stayed: bool,
    pub errors: Vec<String>,
    unread: Vec<u8>,
    /// Its PINGs that have no answer yet: when they were sent, and how many +OK come before it.
    pings: VecDeque<(Moment, usize)>,
    subs: BTreeMap<String, usize>,
    /// Replies on which it is to be told that nobody is there: since when, and whether it was.
    pub refusals: BTreeMap<String, (Moment, bool)>,
    /// It answers requests.
    pub serves: bool,
    oks_due: usize,
    oks: usize,
    sids: usize,
    pub pongs: usize,
}

impl Client {
    pub fn dial(server: &Server, history: &mut History, fate: Fate, manners: Manners) -> Self {
        let world: &SimWorld = server.sim.world();
        let may_leave = fate != Fate::Stays || server.may_close;
        let nature = Nature { echo: !manners.no_echo, headers: manners.headers, may_leave };
        history.has_shards = server.shards > 1;
        Self {
            id: history.add_client(nature),
            peer: world.dial(server.address),
            fate,
            manners,
            cid: None,
            has_left: false,
            is_frozen: false,
            has_stayed: false,
            errors: Vec::new(),
            unread: Vec::new(),
            pings: VecDeque::new(),
            subs: BTreeMap::new(),
            refusals: BTreeMap::new(),
            serves: false,
            oks_due: 0,
            oks: 0,
            sids: 0,
            pongs: 0,
        }
    }

    /// Whether its connection stands, as far as it knows.
    pub fn is_up(&self) -> bool {
        !self.has_left && self.peer.ended().is_none()
    }

    /// Whether everything it asked has been answered.
    pub fn is_answered(&self) -> bool {
        self.pings.is_empty()
    }

    fn acknowledged(&mut self) {
        self.oks_due += usize::from(self.manners.verbose);
    }

    pub fn connect(&mut self, password: Option<&str>) {
        let Manners { verbose, pedantic, no_echo, headers } = self.manners;
        let login =
            password.map_or_else(String::new, |pass| format!(r#","user":"sim","pass":"{pass}""#));
        let line = format!(
            "CONNECT {{\"verbose\":{verbose},\"pedantic\":{pedantic},\"echo\":{},\"headers\":{headers},\
             \"no_responders\":{headers},\"protocol\":1,\"name\":\"c{}\"{login}}}\r\n",
            !no_echo, self.id
        );
        self.acknowledged();
        self.peer.send(line.as_bytes());
    }

    /// Subscribes, and with `max` above zero asks for no more messages than that.
    pub fn subscribe(
        &mut self,
        history: &mut History,
        filter: &str,
        queue: Option<&str>,
        max: usize,
        sid: Option<&str>,
    ) -> usize {
        self.sids += 1;
        let sid = sid.map_or_else(|| format!("{}", self.sids), str::to_owned);
        let sub = history.add_sub(self.id, &sid, filter, queue, max);
        let group = queue.map_or_else(String::new, |queue| format!(" {queue}"));
        let mut line = format!("SUB {filter}{group} {sid}\r\n");
        self.acknowledged();
        if max > 0 {
            line.push_str(&format!("UNSUB {sid} {max}\r\n"));
            self.acknowledged();
        }
        self.subs.insert(sid, sub);
        self.peer.send(line.as_bytes());
        sub
    }

    /// Ends one of its subscriptions.
    pub fn unsubscribe(&mut self, history: &mut History, at: usize) {
        let live = |sub: &&usize| history.subs[**sub].ended_at.is_none();
        let subs: Vec<usize> = self.subs.values().filter(live).copied().collect();
        let Some(sub) = subs.get(at % subs.len().max(1)) else { return };
        if history.subs[*sub].filter.starts_with("_INBOX") {
            return;
        }
        history.end_sub(*sub);
        self.acknowledged();
        self.peer.send(format!("UNSUB {}\r\n", history.subs[*sub].sid).as_bytes());
    }

    /// Publishes a message; one that is too short to name itself gets a subject that does.
    pub fn publish(
        &mut self,
        history: &mut History,
        subject: &str,
        reply: Option<&str>,
        headers: Option<&[u8]>,
        len: usize,
    ) {
        let number = history.messages[self.id].len();
        let subject = if len < IDENTITY_LEN {
            format!("{subject}.{}.{number}", self.id)
        } else {
            subject.to_owned()
        };
        let headers = headers.filter(|_| self.manners.headers);
        let sent_at = history.tick();
        let mut line = Vec::new();
        let mut part = |text: &str| line.extend_from_slice(text.as_bytes());
        part(if headers.is_some() { "HPUB " } else { "PUB " });
        part(&subject);
        part(" ");
        reply.iter().for_each(|reply| part(&format!("{reply} ")));
        let header_len = headers.map_or(0, <[u8]>::len);
        if headers.is_some() {
            part(&format!("{header_len} "));
        }
        part(&format!("{}\r\n", header_len + len));
        line.extend_from_slice(headers.unwrap_or_default());
        line.extend_from_slice(&payload(self.id, number, len));
        line.extend_from_slice(b"\r\n");
        let message = Message {
            subject,
            reply: reply.map(str::to_owned),
            headers: headers.map(<[u8]>::to_vec),
            len,
            sent_at,
            safe_at: None,
        };
        history.add_message(self.id, message);
        self.acknowledged();
        self.peer.send(&line);
    }

    /// Asks something that nobody answers.
    pub fn request_in_vain(&mut self, history: &mut History) {
        let reply = format!("_INBOX.{}.v{}", self.id, self.refusals.len());
        self.publish(history, "void.x", Some(&reply), None, 20);
        self.refusals.insert(reply, (history.now, false));
    }

    pub fn ping(&mut self, history: &mut History) {
        self.pings.push_back((history.tick(), self.oks_due));
        self.peer.send(b"PING\r\n");
    }

    /// Reads what came, answers it, and checks it.
    pub fn read(&mut self, history: &mut History) {
        let mut fresh = self.peer.take();
        if fresh.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.unread);
        bytes.append(&mut fresh);
        self.unread = wire::hear(bytes, |said| self.hear(history, said));
    }

    fn hear(&mut self, history: &mut History, said: &Said<'_>) {
        match said {
            Said::Info(json) => self.on_info(json),
            Said::Ok => self.oks += 1,
            Said::Ping => self.peer.send(b"PONG\r\n"),
            Said::Pong => self.on_pong(history),
            Said::Error(text) => self.errors.push((*text).to_owned()),
            Said::Message(delivered) => self.on_message(history, delivered),
        }
    }

    fn on_info(&mut self, json: &str) {
        let cid = json.split_once("\"client_id\":").expect("every INFO names the client").1;
        let digits = cid.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        self.cid = Some(digits.parse().unwrap());
    }

    fn on_pong(&mut self, history: &mut History) {
        let (asked_at, oks) = self.pings.pop_front().expect("a PONG without a PING");
        self.pongs += 1;
        history.on_pong(self.id, asked_at);
        assert_eq!(self.oks, oks, "client {}: +OK for every operation", self.id);
        for (reply, (since, is_told)) in &self.refusals {
            assert!(*is_told || *since > asked_at, "client {}: no 503 on {reply}", self.id);
        }
    }

    fn on_message(&mut self, history: &mut History, delivered: &wire::Delivered<'_>) {
        let sub = *self.subs.get(delivered.sid).expect("a message on a sid that was never used");
        if delivered.headers.is_some_and(|headers| headers.starts_with(b"NATS/1.0 503")) {
            return self.on_refusal(delivered);
        }
        history.on_delivery(sub, delivered);
        if let Some(reply) = delivered.reply.filter(|_| self.serves && self.is_up()) {
            self.publish(history, reply, None, None, 16);
        }
    }

    /// Nobody answers a request. For a service that comes and goes that may be so.
    fn on_refusal(&mut self, delivered: &wire::Delivered<'_>) {
        assert!(delivered.payload.is_empty());
        let text = std::str::from_utf8(delivered.headers.unwrap_or_default()).unwrap();
        let subject = text.strip_prefix("NATS/1.0 503\r\nNats-Subject: ").unwrap();
        if subject == "void.x\r\n\r\n" {
            let refusal = self.refusals.get_mut(delivered.subject);
            let (_, is_told) = refusal.expect("a 503 for a request");
            assert!(!*is_told, "client {}: told twice", self.id);
            *is_told = true;
        } else {
            assert_eq!(subject, "svc.x\r\n\r\n");
        }
    }

    /// What must hold of a client that stayed to the end.
    pub fn check_answers(&self) {
        assert!(self.is_answered(), "client {}: a PING has no answer", self.id);
        assert_eq!(self.errors, Vec::<String>::new(), "client {}", self.id);
    }
}
