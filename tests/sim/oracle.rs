//! What must, may and must not be delivered.
//!
//! Everything that a client does or sees gets a number, in the order in which it happened. What is
//! certain follows from these alone: a subscription is live since a PONG that answers a later PING of
//! its client, a message stands in all queues since a PONG of its publisher. Between asking and
//! knowing everything is allowed.

use std::collections::BTreeMap;

use ringmesh::subject;

use crate::wire::Delivered;

/// A place in the order of all that happened.
pub type Moment = u64;

/// A subscription.
pub struct Sub {
    pub client: usize,
    pub sid: String,
    pub filter: String,
    pub queue: Option<String>,
    /// The most messages it may get; zero for any number.
    pub max: usize,
    pub asked_at: Moment,
    /// Its client knows that it is live.
    pub live_at: Option<Moment>,
    /// Its end was asked for.
    pub ended_at: Option<Moment>,
    /// Its client knows that it is gone.
    pub gone_at: Option<Moment>,
    /// The numbers of what it got, by publisher.
    pub got: BTreeMap<usize, Vec<usize>>,
    /// How many of each publisher's messages have been looked at.
    checked: BTreeMap<usize, usize>,
}

/// A message; it is number so-and-so of its publisher's.
pub struct Message {
    pub subject: String,
    pub reply: Option<String>,
    pub headers: Option<Vec<u8>>,
    pub len: usize,
    pub sent_at: Moment,
    /// Its publisher knows that it stands in all queues.
    pub safe_at: Option<Moment>,
}

/// What there is to know about a client.
#[derive(Clone, Copy)]
pub struct Nature {
    pub echo: bool,
    pub headers: bool,
    /// Its connection may end before the others'.
    pub may_leave: bool,
}

#[derive(Default)]
pub struct History {
    pub now: Moment,
    pub natures: Vec<Nature>,
    pub subs: Vec<Sub>,
    pub messages: Vec<Vec<Message>>,
    /// Deliveries to queue groups: the group, the publisher and the message's number.
    queued: BTreeMap<(String, usize, usize), usize>,
    /// Members of queue groups are on different shards: what is passed on when one leaves may be
    /// overtaken by what was published later.
    pub has_shards: bool,
    pub deliveries: usize,
    /// Messages whose safe arrival a PONG proved.
    pub barriers: usize,
    /// Mixed from all deliveries in their order.
    pub hash: u64,
}

/// Payloads shorter than this do not name their message; the subject does.
pub const IDENTITY_LEN: usize = 12;

impl History {
    pub fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    pub fn add_client(&mut self, nature: Nature) -> usize {
        self.natures.push(nature);
        self.messages.push(Vec::new());
        self.natures.len() - 1
    }

    pub fn add_sub(
        &mut self,
        client: usize,
        sid: &str,
        filter: &str,
        queue: Option<&str>,
        max: usize,
    ) -> usize {
        let asked_at = self.tick();
        self.subs.push(Sub {
            client,
            sid: sid.to_owned(),
            filter: filter.to_owned(),
            queue: queue.map(str::to_owned),
            max,
            asked_at,
            live_at: None,
            ended_at: None,
            gone_at: None,
            got: BTreeMap::new(),
            checked: BTreeMap::new(),
        });
        self.subs.len() - 1
    }

    pub fn end_sub(&mut self, sub: usize) {
        let now = self.tick();
        self.subs[sub].ended_at.get_or_insert(now);
    }

    /// Notes a message to be sent, and returns its number.
    pub fn add_message(&mut self, publisher: usize, message: Message) -> usize {
        self.messages[publisher].push(message);
        self.messages[publisher].len() - 1
    }

    /// A client got something.
    pub fn on_delivery(&mut self, sub: usize, delivered: &Delivered<'_>) {
        let now = self.tick();
        let (publisher, number) = identity(delivered);
        self.hash = mix(self.hash, (sub as u64) << 40 | (publisher as u64) << 32 | number as u64);
        self.deliveries += 1;
        let may_be_overtaken = self.may_be_overtaken(sub);
        let Self { subs, messages, natures, queued, .. } = self;
        let sub = &mut subs[sub];
        let what =
            format!("message {number} of client {publisher} to {} of {}", sub.sid, sub.client);
        let message = messages[publisher].get(number).unwrap_or_else(|| panic!("{what}: unknown"));
        let nature = natures[sub.client];
        check_content(&what, nature, publisher, number, message, delivered);
        assert!(
            subject::matches(sub.filter.as_bytes(), message.subject.as_bytes()),
            "{what}: {} does not match {}",
            message.subject,
            sub.filter
        );
        assert!(sub.gone_at.is_none_or(|gone| gone > now), "{what}: after its end");
        assert!(message.safe_at.is_none_or(|safe| safe > sub.asked_at), "{what}: from the past");
        assert!(nature.echo || publisher != sub.client, "{what}: without echo");
        let got = sub.got.entry(publisher).or_default();
        let is_next = got.last().is_none_or(|last| *last < number);
        assert!(is_next || may_be_overtaken, "{what}: twice or out of order");
        got.push(number);
        let count: usize = sub.got.values().map(Vec::len).sum();
        // Before its client has an answer, the limit may be on its way still.
        let limited = sub.max > 0 && sub.live_at.is_some();
        assert!(!limited || count <= sub.max, "{what}: more than its {}", sub.max);
        if let Some(queue) = &sub.queue {
            let copies = queued.entry((queue.clone(), publisher, number)).or_default();
            *copies += 1;
            assert_eq!(*copies, 1, "{what}: twice in group {queue}");
        }
    }

    /// Whether a subscription is in a queue group that somebody has left or may leave.
    fn may_be_overtaken(&self, sub: usize) -> bool {
        let queue = &self.subs[sub].queue;
        let may_leave = |sub: &Sub| sub.ended_at.is_some() || self.natures[sub.client].may_leave;
        self.has_shards
            && queue.is_some()
            && self.subs.iter().any(|other| other.queue == *queue && may_leave(other))
    }

    /// A client has the answer to a PING it sent at `asked_at`.
    pub fn on_pong(&mut self, client: usize, asked_at: Moment) {
        let now = self.tick();
        for sub in self.subs.iter_mut().filter(|sub| sub.client == client) {
            if sub.asked_at < asked_at {
                sub.live_at.get_or_insert(now);
            }
            if sub.ended_at.is_some_and(|ended| ended < asked_at) {
                sub.gone_at.get_or_insert(now);
            }
        }
        let unsafe_ones = self.messages[client].iter_mut().rev();
        for message in unsafe_ones.take_while(|message| message.safe_at.is_none()) {
            if message.sent_at < asked_at {
                message.safe_at = Some(now);
            }
        }
        self.check_barrier(client, asked_at);
    }

    /// What was safe before the PING must be there with the PONG.
    fn check_barrier(&mut self, client: usize, asked_at: Moment) {
        let Self { subs, messages, natures, barriers, .. } = self;
        for sub in subs.iter_mut().filter(|sub| sub.client == client && sub.is_plain_and_live()) {
            for (publisher, messages) in messages.iter().enumerate() {
                let from = sub.checked.entry(publisher).or_default();
                for (number, message) in messages.iter().enumerate().skip(*from) {
                    if message.safe_at.is_none_or(|safe| safe >= asked_at) {
                        break;
                    }
                    *from = number + 1;
                    if sub_wants(sub.live_at, &sub.filter, sub.client, publisher, message, natures)
                    {
                        *barriers += 1;
                        let got = sub.got.get(&publisher).map_or(&[][..], Vec::as_slice);
                        assert!(
                            got.binary_search(&number).is_ok(),
                            "message {number} of client {publisher} on {} is safe, and yet {} of \
                             client {client} has not got it before its PONG; it has the last of {:?}",
                            message.subject,
                            sub.sid,
                            got.last(),
                        );
                    }
                }
            }
        }
    }

    /// What a subscription got of a publisher has no hole, whoever lost his connection.
    pub fn check_holes(&self) {
        for sub in self.subs.iter().filter(|sub| sub.is_plain_and_live_at_all()) {
            for (publisher, got) in &sub.got {
                let last = got.last().copied().unwrap_or(0);
                for (number, message) in self.messages[*publisher][..last].iter().enumerate() {
                    let wants = sub_wants(
                        sub.live_at,
                        &sub.filter,
                        sub.client,
                        *publisher,
                        message,
                        &self.natures,
                    );
                    assert!(
                        !wants || got.binary_search(&number).is_ok(),
                        "message {number} of client {publisher} is missing at {} of client {}, \
                         which has {last}",
                        sub.sid,
                        sub.client,
                    );
                }
            }
        }
    }

    /// A queue group with a member all along gets each message, unless a member left that may have
    /// been the chosen one.
    pub fn check_groups(&self, has_left: impl Fn(usize) -> bool) -> usize {
        let mut checked = 0;
        let names: std::collections::BTreeSet<&String> =
            self.subs.iter().filter_map(|sub| sub.queue.as_ref()).collect();
        for name in names {
            let members: Vec<&Sub> =
                self.subs.iter().filter(|sub| sub.queue.as_ref() == Some(name)).collect();
            if members.iter().any(|sub| has_left(sub.client)) {
                continue;
            }
            for (publisher, messages) in self.messages.iter().enumerate() {
                for (number, message) in messages.iter().enumerate() {
                    let stays = |sub: &&Sub| {
                        sub.ended_at.is_none()
                            && sub_wants(
                                sub.live_at,
                                &sub.filter,
                                sub.client,
                                publisher,
                                message,
                                &self.natures,
                            )
                    };
                    if message.safe_at.is_some() && members.iter().any(stays) {
                        checked += 1;
                        let key = (name.clone(), publisher, number);
                        assert!(
                            self.queued.contains_key(&key),
                            "message {number} of client {publisher} on {} reached nobody in {name}",
                            message.subject,
                        );
                    }
                }
            }
        }
        checked
    }
}

impl Sub {
    fn is_plain_and_live(&self) -> bool {
        self.is_plain_and_live_at_all() && self.ended_at.is_none()
    }

    fn is_plain_and_live_at_all(&self) -> bool {
        let full = self.max > 0 && self.got.values().map(Vec::len).sum::<usize>() >= self.max;
        self.queue.is_none() && self.live_at.is_some() && !full
    }
}

/// Whether a message was sent when a subscription that it matches was known to be live.
fn sub_wants(
    live_at: Option<Moment>,
    filter: &str,
    client: usize,
    publisher: usize,
    message: &Message,
    natures: &[Nature],
) -> bool {
    live_at.is_some_and(|live| live < message.sent_at)
        && (natures[client].echo || client != publisher)
        && subject::matches(filter.as_bytes(), message.subject.as_bytes())
}

/// Which message this is: by its payload, or when that is short by the last tokens of its subject.
fn identity(delivered: &Delivered<'_>) -> (usize, usize) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if delivered.payload.len() >= IDENTITY_LEN {
        let head = text(&delivered.payload[..IDENTITY_LEN]);
        (head[..3].parse().unwrap(), head[3..11].parse().unwrap())
    } else {
        let mut tokens = delivered.subject.rsplit('.');
        let number = tokens.next().unwrap().parse().unwrap();
        (tokens.next().unwrap().parse().unwrap(), number)
    }
}

/// The payload of a message.
pub fn payload(publisher: usize, number: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    if len >= IDENTITY_LEN {
        bytes.extend_from_slice(format!("{publisher:03}{number:08}.").as_bytes());
    }
    bytes.extend((number..).map(|at| at.to_le_bytes()[0]).take(len - bytes.len()));
    bytes
}

fn check_content(
    what: &str,
    nature: Nature,
    publisher: usize,
    number: usize,
    message: &Message,
    delivered: &Delivered<'_>,
) {
    assert_eq!(delivered.subject, message.subject, "{what}: subject");
    assert_eq!(delivered.reply, message.reply.as_deref(), "{what}: reply");
    let headers = message.headers.as_deref().filter(|_| nature.headers);
    assert_eq!(delivered.headers, headers, "{what}: headers");
    let expected = payload(publisher, number, message.len);
    assert!(delivered.payload == expected, "{what}: payload");
}

pub fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}
