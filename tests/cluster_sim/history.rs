//! What clients did and saw, and what of it may not be so.

use std::collections::BTreeMap;

use ringmesh::subject;

/// Counts what happens.
pub type Moment = u64;

pub struct Sub {
    pub client: usize,
    pub filter: String,
    pub queue: Option<String>,
    /// Since when the whole cluster knows of it.
    pub live_since: Option<Moment>,
    /// When it, or its connection, began to end.
    pub ended_at: Option<Moment>,
    /// The server has confirmed its end.
    pub is_over: bool,
    /// The last message of each publisher.
    last: BTreeMap<usize, usize>,
}

pub struct Message {
    pub publisher: usize,
    pub number: usize,
    pub subject: String,
    pub sent_at: Moment,
    /// Which subscriptions got it.
    pub got: Vec<usize>,
}

#[derive(Default)]
pub struct History {
    now: Moment,
    round_began: Moment,
    pub subs: Vec<Sub>,
    /// Messages of this round and those before, by publisher and number.
    pub messages: BTreeMap<(usize, usize), Message>,
    pub deliveries: u64,
    /// When everything asked for before was known in the whole cluster.
    settled_at: Moment,
    /// Members of groups may be gone without knowing it.
    pub is_troubled: bool,
}

impl History {
    pub fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    pub fn add_sub(&mut self, client: usize, filter: &str, queue: Option<&str>) -> usize {
        self.subs.push(Sub {
            client,
            filter: filter.to_owned(),
            queue: queue.map(str::to_owned),
            live_since: None,
            ended_at: None,
            is_over: false,
            last: BTreeMap::new(),
        });
        self.subs.len() - 1
    }

    pub fn publish(&mut self, publisher: usize, number: usize, subject: &str) {
        let sent_at = self.tick();
        let subject = subject.to_owned();
        let message = Message { publisher, number, subject, sent_at, got: Vec::new() };
        assert!(self.messages.insert((publisher, number), message).is_none());
    }

    /// A client got a message: never twice, never out of order, never unasked.
    pub fn on_delivery(&mut self, at: usize, subject: &str, publisher: usize, number: usize) {
        self.deliveries += 1;
        let sub = &mut self.subs[at];
        let about = format!(
            "message {number} of client {publisher} on {subject} for subscription \
                             {at} of client {} to {:?} {:?}",
            sub.client, sub.filter, sub.queue
        );
        assert!(subject::matches(sub.filter.as_bytes(), subject.as_bytes()), "unasked: {about}");
        assert!(!sub.is_over, "after the end: {about}");
        let sent = &self.messages[&(publisher, number)];
        let sent_at = sent.sent_at;
        let had = sent.got.contains(&at);
        assert!(!had, "twice: {about}");
        let last = sub.last.insert(publisher, number);
        if !self.may_be_late(at, sent_at) {
            assert!(last.is_none_or(|last| last < number), "behind {last:?}: {about}");
        }
        let message = self.messages.get_mut(&(publisher, number)).expect("a message that was sent");
        assert_eq!(message.subject, subject, "{about}");
        let message_got = std::mem::take(&mut message.got);
        let queue = self.subs[at].queue.as_ref();
        let in_group = |it: &&usize| queue.is_some() && self.subs[**it].queue.as_ref() == queue;
        assert_eq!(message_got.iter().find(in_group), None, "the queue group has it: {about}");
        let message = self.messages.get_mut(&(publisher, number)).expect("it was just there");
        message.got = message_got;
        message.got.push(at);
    }

    /// Whether a message may come behind later ones: it was for another member of the queue group,
    /// which had left, and so was passed on.
    fn may_be_late(&self, at: usize, sent_at: Moment) -> bool {
        let Some(queue) = &self.subs[at].queue else { return false };
        let mut group = self.subs.iter().filter(|sub| sub.queue.as_ref() == Some(queue));
        self.is_troubled
            || sent_at < self.settled_at
            || group.any(|sub| sub.ended_at.is_some_and(|ended| ended > self.settled_at))
    }

    /// What should have arrived and has not, if anything.
    pub fn missing(&self) -> Option<String> {
        let round = self.messages.values().filter(|it| it.sent_at > self.round_began);
        round.into_iter().find_map(|message| self.missing_of(message))
    }

    fn missing_of(&self, message: &Message) -> Option<String> {
        let mut groups: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        let Message { publisher, number, subject, sent_at, got } = message;
        let matching = self
            .subs
            .iter()
            .enumerate()
            .filter(|(_, sub)| subject::matches(sub.filter.as_bytes(), subject.as_bytes()));
        for (at, sub) in matching {
            // Members that come, or go, while a message is under way may miss it.
            let was_there = sub.live_since.is_some_and(|since| since < *sent_at);
            let has_it = got.contains(&at);
            match &sub.queue {
                None if was_there && sub.ended_at.is_none() && !has_it => {
                    return Some(format!(
                        "message {number} of client {publisher} on {subject} for subscription {at} \
                         of client {} to {:?}",
                        sub.client, sub.filter
                    ));
                }
                None => {}
                Some(queue) => {
                    let group = groups.entry(queue).or_insert((true, false));
                    let went = sub.ended_at.is_some_and(|ended| ended > *sent_at);
                    let stands = was_there && sub.ended_at.is_none();
                    let long_gone =
                        sub.ended_at.is_some_and(|ended| ended < *sent_at) && sub.is_over;
                    group.0 &= !went && (stands || long_gone);
                    group.1 |= has_it;
                }
            }
        }
        let is_stable = |queue: &str| {
            self.subs.iter().any(|sub| {
                sub.queue.as_deref() == Some(queue)
                    && sub.ended_at.is_none()
                    && subject::matches(sub.filter.as_bytes(), subject.as_bytes())
            })
        };
        let lost = groups.iter().find(|(queue, (all, got))| *all && !got && is_stable(queue));
        lost.map(|(queue, _)| {
            format!("message {number} of client {publisher} on {subject} for group {queue}")
        })
    }

    /// From now on everything must arrive; what was sent before may.
    pub fn begin_round(&mut self) {
        self.round_began = self.tick();
    }

    /// Everything asked for so far is known in the whole cluster.
    pub fn all_live(&mut self) {
        let now = self.tick();
        self.settled_at = now;
        for sub in self.subs.iter_mut().filter(|sub| sub.ended_at.is_none()) {
            sub.live_since.get_or_insert(now);
        }
    }

    pub fn end_client(&mut self, client: usize) {
        let now = self.tick();
        for sub in self.subs.iter_mut().filter(|sub| sub.client == client) {
            sub.ended_at.get_or_insert(now);
            sub.is_over = true;
        }
    }
}
