//! A client of few words: the protocol as it is, one thread, nothing hidden.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{LIMIT, poll};

/// A client's connection.
pub(crate) struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
    /// How much of `heard` has been taken.
    taken: usize,
    waiting: VecDeque<Message>,
    /// The latest INFO.
    pub(crate) info: Value,
    sids: u32,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) sid: u32,
    pub(crate) reply: Option<String>,
    /// The whole header block, if there is one.
    pub(crate) headers: Option<String>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// Whether it says that nobody was there to answer.
    pub(crate) fn is_no_responders(&self) -> bool {
        self.headers.as_ref().is_some_and(|headers| headers.starts_with("NATS/1.0 503"))
    }
}

/// What a server says.
enum Said {
    Message(Message),
    Info,
    Pong,
    Other,
}

impl Client {
    /// Says CONNECT with these fields besides the usual ones, and waits until the server has
    /// taken it. Fields that come twice count as they come last.
    #[track_caller]
    pub(crate) fn login(stream: TcpStream, fields: &str) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let mut client = Self {
            stream,
            heard: Vec::new(),
            taken: 0,
            waiting: VecDeque::new(),
            info: Value::Null,
            sids: 0,
        };
        let more = if fields.is_empty() { String::new() } else { format!(",{fields}") };
        client.send(
            format!(
                "CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true,\
                 \"no_responders\":true{more}}}\r\n"
            )
            .as_bytes(),
        );
        client.flush();
        client
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what a client sends");
    }

    pub(crate) fn subscribe(&mut self, subject: &str) -> u32 {
        self.subscribe_in(subject, "")
    }

    /// As a member of a queue group.
    pub(crate) fn subscribe_in(&mut self, subject: &str, group: &str) -> u32 {
        self.sids += 1;
        self.send(format!("SUB {subject} {group} {}\r\n", self.sids).as_bytes());
        self.sids
    }

    pub(crate) fn unsubscribe(&mut self, sid: u32) {
        self.send(format!("UNSUB {sid}\r\n").as_bytes());
    }

    /// The subscription ends after that many messages.
    pub(crate) fn unsubscribe_after(&mut self, sid: u32, messages: u32) {
        self.send(format!("UNSUB {sid} {messages}\r\n").as_bytes());
    }

    pub(crate) fn publish(&mut self, subject: &str, payload: impl AsRef<[u8]>) {
        self.publish_for(subject, "", payload);
    }

    /// With a subject for replies.
    pub(crate) fn publish_for(&mut self, subject: &str, reply: &str, payload: impl AsRef<[u8]>) {
        self.send(&publication(subject, reply, payload.as_ref()));
    }

    /// With a header block, `headers` being lines without their ends.
    pub(crate) fn publish_headed(&mut self, subject: &str, headers: &[&str], payload: &str) {
        let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
        let sizes = format!("{} {}", block.len(), block.len() + payload.len());
        self.send(format!("HPUB {subject} {sizes}\r\n{block}{payload}\r\n").as_bytes());
    }

    /// Asks, and waits for the first answer, be it that there is nobody.
    #[track_caller]
    pub(crate) fn request(&mut self, subject: &str, payload: &str) -> Message {
        let inbox = fresh_inbox();
        let sid = self.subscribe(&inbox);
        self.publish_for(subject, &inbox, payload);
        let answer = self.message_of(sid);
        self.unsubscribe(sid);
        answer
    }

    /// Asks, and says whether the server has told that there is nobody; waits for no answer.
    pub(crate) fn request_briefly(&mut self, subject: &str) -> bool {
        let inbox = fresh_inbox();
        let sid = self.subscribe(&inbox);
        self.publish_for(subject, &inbox, "?");
        self.unsubscribe(sid);
        self.flush();
        let mine = |message: &Message| message.sid == sid;
        let told = self.waiting.iter().any(|message| mine(message) && message.is_no_responders());
        self.waiting.retain(|message| !mine(message));
        told
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Message {
        while self.waiting.is_empty() {
            self.read();
        }
        self.waiting.pop_front().expect("a message")
    }

    /// The next message of a subscription; those of others wait.
    #[track_caller]
    pub(crate) fn message_of(&mut self, sid: u32) -> Message {
        loop {
            if let Some(found) = self.waiting.iter().position(|message| message.sid == sid) {
                return self.waiting.remove(found).expect("the message found");
            }
            self.read();
        }
    }

    /// The next messages.
    #[track_caller]
    pub(crate) fn messages(&mut self, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.message()).collect()
    }

    /// Everything that has come and was not taken.
    pub(crate) fn take_all(&mut self) -> Vec<Message> {
        self.waiting.drain(..).collect()
    }

    /// PING, and everything up to its PONG.
    #[track_caller]
    pub(crate) fn flush(&mut self) {
        self.send(b"PING\r\n");
        while !matches!(self.read(), Said::Pong) {}
    }

    /// Waits for an INFO that fits; the latest may do already.
    #[track_caller]
    pub(crate) fn await_info(&mut self, fits: impl Fn(&Value) -> bool) {
        while !fits(&self.info) {
            while !matches!(self.read(), Said::Info) {}
        }
    }

    /// Reads one thing; a message waits to be taken.
    #[track_caller]
    fn read(&mut self) -> Said {
        let said = self.read_one().unwrap_or_else(|error| panic!("a client {error}"));
        match said {
            Said::Message(message) => {
                self.waiting.push_back(message);
                Said::Other
            }
            Said::Info | Said::Pong | Said::Other => said,
        }
    }

    fn read_one(&mut self) -> Result<Said, String> {
        let line = self.line()?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "MSG" | "HMSG" => self.read_message(word == "HMSG", rest).map(Said::Message),
            "INFO" => {
                self.info = serde_json::from_str(rest).map_err(|error| error.to_string())?;
                Ok(Said::Info)
            }
            "PONG" => Ok(Said::Pong),
            "PING" => {
                self.send(b"PONG\r\n");
                Ok(Said::Other)
            }
            "+OK" => Ok(Said::Other),
            _ => Err(format!("heard {line:?}")),
        }
    }

    fn read_message(&mut self, headed: bool, arguments: &str) -> Result<Message, String> {
        let words: Vec<_> = arguments.split_whitespace().collect();
        let sizes = if headed { 2 } else { 1 };
        let reply = words.get(2).filter(|_| words.len() == 3 + sizes);
        let number = |word: &str| word.parse::<usize>().map_err(|_| format!("bad {arguments:?}"));
        let total = number(words[words.len() - 1])?;
        let head = if headed { number(words[words.len() - 2])? } else { 0 };
        let mut body = self.bytes(total + 2)?;
        body.truncate(total);
        let payload = body.split_off(head);
        Ok(Message {
            subject: words[0].to_owned(),
            sid: words[1].parse().map_err(|_| format!("bad sid in {arguments:?}"))?,
            reply: reply.map(|reply| (*reply).to_owned()),
            headers: headed.then(|| String::from_utf8_lossy(&body).into_owned()),
            payload,
        })
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            let unread = &self.heard[self.taken..];
            if let Some(end) = memchr::memmem::find(unread, b"\r\n") {
                let line = String::from_utf8_lossy(&unread[..end]).into_owned();
                self.taken += end + 2;
                return Ok(line);
            }
            self.read_more()?;
        }
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.heard.len() - self.taken < count {
            self.read_more()?;
        }
        let bytes = self.heard[self.taken..self.taken + count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    fn read_more(&mut self) -> Result<(), String> {
        self.heard.drain(..self.taken);
        self.taken = 0;
        let start = self.heard.len();
        self.heard.resize(start + 65_536, 0);
        let read = self.stream.read(&mut self.heard[start..]);
        self.heard.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err("was closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("waits in vain: {error}")),
        }
    }
}

/// The bytes of a PUB.
pub(crate) fn publication(subject: &str, reply: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A subject that nobody else uses.
pub(crate) fn fresh_inbox() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed is enough: only the number's uniqueness counts.
    format!("_INBOX.{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Comes back when one client's messages reach the other.
///
/// Interest and messages of an account travel in order. So by then all that `to` has subscribed to
/// or given up before is known where `from` is, and all that `from` has published before has
/// arrived.
#[track_caller]
pub(crate) fn introduce(from: &mut Client, to: &mut Client) {
    let inbox = fresh_inbox();
    let sid = to.subscribe(&inbox);
    to.flush();
    let arrived = poll(|| {
        from.publish(&inbox, "");
        from.flush();
        std::thread::park_timeout(Duration::from_millis(1));
        to.flush();
        to.waiting.iter().any(|message| message.sid == sid).then_some(())
    });
    assert!(arrived.is_some(), "nothing arrives");
    to.unsubscribe(sid);
    to.flush();
    to.waiting.retain(|message| message.sid != sid);
}

/// Introduces every client to every other one.
#[track_caller]
pub(crate) fn introduce_all(clients: &mut [Client]) {
    for one in 0..clients.len() {
        for other in 0..clients.len() {
            if one == other {
                continue;
            }
            let [from, to] = clients.get_disjoint_mut([one, other]).expect("two clients");
            introduce(from, to);
        }
    }
}
