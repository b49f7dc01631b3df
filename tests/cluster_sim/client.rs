//! A virtual client of one of the servers.

use std::collections::{BTreeMap, VecDeque};

use ring::sim::Peer;

use crate::history::History;
use crate::wire::{self, Said};

pub struct Client {
    pub id: usize,
    /// Which server it is at.
    pub node: usize,
    pub peer: Peer,
    /// Its server, or its connection, is gone.
    pub is_gone: bool,
    unread: Vec<u8>,
    /// Its PINGs without an answer, and which subscriptions the answer is about: those that began
    /// and those that ended.
    pings: VecDeque<(Vec<usize>, Vec<usize>)>,
    fresh: (Vec<usize>, Vec<usize>),
    /// Its subscriptions, by sid.
    pub subs: BTreeMap<usize, usize>,
    sids: usize,
    published: usize,
    /// A PONG says that the whole cluster knows of its subscriptions.
    has_barrier: bool,
}

impl Client {
    pub fn new(id: usize, node: usize, peer: Peer, has_barrier: bool) -> Self {
        peer.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\n");
        Self {
            id,
            node,
            peer,
            is_gone: false,
            unread: Vec::new(),
            pings: VecDeque::new(),
            fresh: (Vec::new(), Vec::new()),
            subs: BTreeMap::new(),
            sids: 0,
            published: 0,
            has_barrier,
        }
    }

    pub fn is_answered(&self) -> bool {
        self.is_gone || self.pings.is_empty()
    }

    pub fn subscribe(&mut self, history: &mut History, filter: &str, queue: Option<&str>) {
        self.sids += 1;
        let sub = history.add_sub(self.id, filter, queue);
        self.subs.insert(self.sids, sub);
        self.fresh.0.push(sub);
        let group = queue.map_or_else(String::new, |queue| format!(" {queue}"));
        self.peer.send(format!("SUB {filter}{group} {}\r\n", self.sids).as_bytes());
    }

    /// Ends one of its subscriptions.
    pub fn unsubscribe(&mut self, history: &mut History, at: usize) {
        let live = self.subs.iter().filter(|(_, sub)| history.subs[**sub].ended_at.is_none());
        let live: Vec<_> = live.map(|(sid, sub)| (*sid, *sub)).collect();
        let Some((sid, sub)) = live.get(at % live.len().max(1)) else { return };
        history.subs[*sub].ended_at = Some(history.tick());
        self.fresh.1.push(*sub);
        self.peer.send(format!("UNSUB {sid}\r\n").as_bytes());
    }

    pub fn publish(&mut self, history: &mut History, subject: &str, padding: usize) {
        self.published += 1;
        history.publish(self.id, self.published, subject);
        let mut payload = format!("{} {} ", self.id, self.published);
        payload.extend(std::iter::repeat_n('x', padding));
        self.peer.send(format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()).as_bytes());
    }

    pub fn ping(&mut self) {
        self.pings.push_back(std::mem::take(&mut self.fresh));
        self.peer.send(b"PING\r\n");
    }

    /// Reads what came, and checks it.
    pub fn read(&mut self, history: &mut History) {
        if self.is_gone {
            return;
        }
        let mut fresh = self.peer.take();
        let mut bytes = std::mem::take(&mut self.unread);
        bytes.append(&mut fresh);
        self.unread = wire::hear(bytes, |said| self.hear(history, said));
        if self.peer.ended().is_some() {
            self.leave(history);
        }
    }

    pub fn leave(&mut self, history: &mut History) {
        self.is_gone = true;
        history.end_client(self.id);
    }

    fn hear(&mut self, history: &mut History, said: &Said<'_>) {
        match said {
            Said::Info(_) | Said::Ok => {}
            Said::Ping => self.peer.send(b"PONG\r\n"),
            Said::Pong => self.on_pong(history),
            Said::Error(text) => {
                let is_stale = text.starts_with("Stale Connection");
                assert!(is_stale, "client {} is told: {text}", self.id);
            }
            Said::Message(delivered) => {
                let sid: usize = delivered.sid.parse().unwrap();
                let sub = *self.subs.get(&sid).expect("a sid that was used");
                let text = std::str::from_utf8(delivered.payload).unwrap();
                let mut words = text.split(' ');
                let mut number = || words.next().unwrap().parse::<usize>().unwrap();
                let (publisher, number) = (number(), number());
                history.on_delivery(sub, delivered.subject, publisher, number);
            }
        }
    }

    fn on_pong(&mut self, history: &mut History) {
        let (begun, ended) = self.pings.pop_front().expect("a PONG without a PING");
        let now = history.tick();
        for sub in begun.into_iter().filter(|_| self.has_barrier) {
            history.subs[sub].live_since.get_or_insert(now);
        }
        for sub in ended {
            history.subs[sub].is_over = true;
        }
    }
}
