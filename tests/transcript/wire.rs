//! One client connection of a conversation: bytes in chosen cuts out, lines in.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::{Map, Value};

use super::Chunks;
use super::pattern::Line;
use crate::support::LIMIT;

/// Of a long run only this many bytes at either end go one by one.
const SINGLE_BYTES: usize = 2_000;

/// A client's socket and what was heard on it.
pub(super) struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
    /// How much of `heard` has been taken; at most its length.
    taken: usize,
    cuts: fastrand::Rng,
}

/// What came when a line was awaited.
enum Heard {
    Line(Vec<u8>),
    End,
}

impl Wire {
    pub(super) fn open(port: u16) -> Result<Self, String> {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        // A fixed seed: a cut that finds a bug finds it again.
        Ok(Self { stream, heard: Vec::new(), taken: 0, cuts: fastrand::Rng::with_seed(2026) })
    }

    /// Sends all bytes. A failed write is no failure of the test: the server may have closed
    /// already, and the expectations tell whether it should have.
    pub(super) fn send(&mut self, bytes: &[u8], chunks: Chunks) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match chunks {
                Chunks::Whole => rest.len(),
                Chunks::Bytes => one_or_the_middle(bytes.len(), rest.len()),
                Chunks::Random => self.cuts.usize(1..=rest.len().min(4 + bytes.len() / 8)),
            };
            let (now, later) = rest.split_at(length);
            if self.stream.write_all(now).is_err() {
                return;
            }
            rest = later;
        }
    }

    pub(super) fn expect(&mut self, lines: &[Line]) -> Result<(), String> {
        for wanted in lines {
            let line = self.line().map_err(|error| format!("wanted {wanted:?}\n   but {error}"))?;
            if !wanted.matches(&line) {
                return Err(format!("wanted {wanted:?}\n   but heard {}", show(&line)));
            }
        }
        Ok(())
    }

    /// The groups, each whole, in whatever order the server likes.
    pub(super) fn expect_any_order(&mut self, groups: &[Vec<Line>]) -> Result<(), String> {
        let count: usize = groups.iter().map(Vec::len).sum();
        let lines = (0..count).map(|_| self.line()).collect::<Result<Vec<_>, _>>()?;
        let open: Vec<_> = groups.iter().collect();
        if arrange(&open, &lines) {
            return Ok(());
        }
        let heard: Vec<_> = lines.iter().map(|line| show(line)).collect();
        Err(format!("no order of the wanted lines gives {heard:#?}"))
    }

    /// An INFO with at least these fields; `"<any>"` wants presence, `"<absent>"` absence, and
    /// `"<port>"` is the server's port.
    pub(super) fn expect_info(
        &mut self,
        fields: &Map<String, Value>,
        port: u16,
    ) -> Result<(), String> {
        let line = self.line()?;
        let text = String::from_utf8_lossy(&line);
        // The space before the line's end is part of what clients have always been sent.
        let json = text.strip_prefix("INFO ").and_then(|rest| rest.strip_suffix(' '));
        let json = json.ok_or_else(|| format!("wanted an INFO but heard {}", show(&line)))?;
        let info: Map<String, Value> = serde_json::from_str(json).map_err(|e| e.to_string())?;
        for (name, wanted) in fields {
            let found = info.get(name);
            let fits = match wanted.as_str() {
                Some("<any>") => found.is_some(),
                Some("<absent>") => found.is_none(),
                Some("<port>") => found == Some(&Value::from(port)),
                _ => found == Some(wanted),
            };
            if !fits {
                return Err(format!("wanted {name:?}: {wanted} in {text}"));
            }
        }
        Ok(())
    }

    pub(super) fn expect_closed(&mut self) -> Result<(), String> {
        match self.next_line()? {
            Heard::End if self.taken == self.heard.len() => Ok(()),
            Heard::End => Err(format!("before the end: {}", show(&self.heard[self.taken..]))),
            Heard::Line(line) => Err(format!("wanted the end but heard {}", show(&line))),
        }
    }

    pub(super) fn count_until_pong(&mut self, prefix: &str) -> Result<usize, String> {
        let mut count = 0;
        loop {
            let line = self.line()?;
            if line == b"PONG" {
                return Ok(count);
            }
            count += usize::from(line.starts_with(prefix.as_bytes()));
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, String> {
        match self.next_line()? {
            Heard::Line(line) => Ok(line),
            Heard::End => Err("the server has closed the connection".to_owned()),
        }
    }

    fn next_line(&mut self) -> Result<Heard, String> {
        let mut searched = self.taken;
        loop {
            if let Some(end) = memchr::memmem::find(&self.heard[searched..], b"\r\n") {
                let line = self.heard[self.taken..searched + end].to_vec();
                self.taken = searched + end + 2;
                return Ok(Heard::Line(line));
            }
            // The CR may be there already and its LF not yet.
            searched = self.heard.len().saturating_sub(1).max(self.taken);
            if self.read_more()? == 0 {
                return Ok(Heard::End);
            }
        }
    }

    fn read_more(&mut self) -> Result<usize, String> {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(length) => {
                self.heard.extend_from_slice(&chunk[..length]);
                Ok(length)
            }
            // A server that closes with our bytes unread resets the connection: also an end.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            Err(_) => Err(format!("silence; unread: {}", show(&self.heard[self.taken..]))),
        }
    }
}

fn one_or_the_middle(total: usize, remaining: usize) -> usize {
    let sent = total - remaining;
    if sent < SINGLE_BYTES || remaining <= SINGLE_BYTES { 1 } else { remaining - SINGLE_BYTES }
}

/// Whether the lines are the groups in some order.
fn arrange(groups: &[&Vec<Line>], lines: &[Vec<u8>]) -> bool {
    groups.is_empty()
        || (0..groups.len()).any(|first| {
            let (head, tail) = lines.split_at(groups[first].len());
            let mut others = groups.to_vec();
            others.remove(first);
            groups[first].iter().zip(head).all(|(wanted, line)| wanted.matches(line))
                && arrange(&others, tail)
        })
}

fn show(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(400)].escape_ascii().to_string();
    if bytes.len() > 400 { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
