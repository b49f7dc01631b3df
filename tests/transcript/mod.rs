//! One transcript: what it says, and how it is played against a broker.

mod parse;
mod pattern;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Broker, Kind};
use pattern::Line;
use wire::Wire;

/// A file of `tests/transcripts/`: a server's options and the conversations held with it.
pub(crate) struct Transcript {
    name: String,
    config: String,
    flags: Vec<String>,
    pub(crate) chunks: Vec<Chunks>,
    pub(crate) cases: Vec<Case>,
}

/// How the bytes of a client are cut into writes; the server must not tell the difference.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chunks {
    /// All lines up to the next expectation in one write.
    Whole,
    /// Each byte in a write of its own (long runs: their beginning and end).
    Bytes,
    /// Cut at random places.
    Random,
}

/// One conversation; its connections are its own.
pub(crate) struct Case {
    title: String,
    steps: Vec<(usize, Step)>,
}

/// One line of a conversation, or several that belong together.
enum Step {
    Open { conn: String },
    Send { conn: String, bytes: Vec<u8> },
    HangUp { conn: String },
    Expect { conn: String, lines: Vec<Line> },
    ExpectAnyOrder { conn: String, groups: Vec<Vec<Line>> },
    Info { conn: String, fields: serde_json::Map<String, serde_json::Value> },
    Closed { conn: String },
    Count { conns: Vec<String>, total: usize, each_min: usize, prefix: String },
    Signal { name: String },
    Exit { code: i32 },
}

impl Transcript {
    /// Reads a file.
    ///
    /// # Panics
    /// When it is not a transcript; the message names the line.
    pub(crate) fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
        parse::transcript(&name, &text).unwrap_or_else(|error| panic!("{name}.txt:{error}"))
    }

    /// Holds all conversations of the file with one fresh broker; all failures are told.
    pub(crate) fn play(&self, kind: Kind, chunks: Chunks) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = self.start(kind, dir.path());
        let mut failures = String::new();
        for case in &self.cases {
            if let Err(failure) = case.play(&mut broker, chunks) {
                failures += &format!(
                    "\n== {}.txt ({chunks:?}): {}\n{failure}\n   log: {}\n",
                    self.name,
                    case.title,
                    last_lines(&broker.log(), 3)
                );
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    fn start(&self, kind: Kind, dir: &Path) -> Broker {
        let mut args = self.flags.clone();
        if !self.config.is_empty() {
            let path = dir.join("server.conf");
            std::fs::write(&path, &self.config).unwrap();
            args.extend(["-c".to_owned(), path.to_string_lossy().into_owned()]);
        }
        Broker::start(kind, &args)
    }
}

impl Case {
    fn play(&self, broker: &mut Broker, chunks: Chunks) -> Result<(), String> {
        let mut talk = Talk { wires: BTreeMap::new(), broker, chunks };
        for (line, step) in &self.steps {
            talk.step(step).map_err(|failure| format!("   line {line}: {failure}"))?;
        }
        Ok(())
    }
}

/// A conversation under way.
struct Talk<'a> {
    wires: BTreeMap<String, Wire>,
    broker: &'a mut Broker,
    chunks: Chunks,
}

impl Talk<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Open { conn } => self.greeted(conn).map(|_| ()),
            Step::Send { conn, bytes } => {
                let chunks = self.chunks;
                self.greeted(conn)?.send(bytes, chunks);
                Ok(())
            }
            Step::HangUp { conn } => {
                self.wires.remove(conn).map(drop).ok_or_else(|| format!("{conn:?} is not open"))
            }
            Step::Expect { conn, lines } => self.open(conn)?.expect(lines),
            Step::ExpectAnyOrder { conn, groups } => self.open(conn)?.expect_any_order(groups),
            Step::Info { conn, fields } => {
                let port = self.broker.port;
                self.open(conn)?.expect_info(fields, port)
            }
            Step::Closed { conn } => self.open(conn)?.expect_closed(),
            Step::Count { conns, total, each_min, prefix } => {
                self.count(conns, *total, *each_min, prefix)
            }
            Step::Signal { name } => {
                self.broker.signal(name);
                Ok(())
            }
            Step::Exit { code } => {
                let status = self.broker.wait_exit();
                if status.code() == Some(*code) { Ok(()) } else { Err(format!("exit: {status}")) }
            }
        }
    }

    /// The connection of that name, opened when it is new.
    fn open(&mut self, conn: &str) -> Result<&mut Wire, String> {
        if !self.wires.contains_key(conn) {
            self.wires.insert(conn.to_owned(), Wire::open(self.broker.port)?);
        }
        Ok(self.wires.get_mut(conn).unwrap())
    }

    /// The same; a new one has its INFO read first, because most cases do not care.
    fn greeted(&mut self, conn: &str) -> Result<&mut Wire, String> {
        let new = !self.wires.contains_key(conn);
        let port = self.broker.port;
        let wire = self.open(conn)?;
        if new {
            wire.expect_info(&serde_json::Map::new(), port)?;
        }
        Ok(wire)
    }

    /// Lines that several connections got together, up to a PONG on each.
    fn count(
        &mut self,
        conns: &[String],
        total: usize,
        each_min: usize,
        prefix: &str,
    ) -> Result<(), String> {
        let mut counts = Vec::new();
        for conn in conns {
            let wire = self.open(conn)?;
            wire.send(b"PING\r\n", Chunks::Whole);
            counts.push(wire.count_until_pong(prefix)?);
        }
        if counts.iter().sum::<usize>() == total && counts.iter().all(|&count| count >= each_min) {
            return Ok(());
        }
        Err(format!("{counts:?} begin with {prefix:?}; wanted {total}, each at least {each_min}"))
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n        ")
}
