//! What the simulation turns: shards, and in place of each server's control thread its mesh.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use ring::sim::{Node, SimRing};
use ring::{Doorbell, Ring};
use ringmesh::close::CloseReason;
use ringmesh::cluster::{Event, Mesh, Task};
use ringmesh::engine::{Control, Notice, RouteEvent, RouteOrder};
use ringmesh::shard::Shard;

/// Round trips for `s2_auto`: those of nats-server.
const THRESHOLDS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
];

pub enum Turning {
    Shard(Box<Shard<SimRing>>),
    Control(Box<ControlLoop>),
}

impl Node for Turning {
    fn turn(&mut self) -> io::Result<()> {
        match self {
            Self::Shard(shard) => shard.turn(Duration::MAX),
            Self::Control(control) => control.turn(),
        }
    }
}

/// How to speak to each shard.
#[derive(Clone)]
pub struct Voices(pub Vec<(mpsc::Sender<Control>, Doorbell)>);

impl Voices {
    pub fn tell(&self, shard: u16, control: Control) {
        let (sender, bell) = &self.0[usize::from(shard)];
        sender.send(control).unwrap();
        bell.ring();
    }
}

/// The control thread's work for the mesh, on a ring of its own that only keeps time.
pub struct ControlLoop {
    pub ring: SimRing,
    pub mesh: Mesh,
    pub notices: mpsc::Receiver<Notice>,
    pub voices: Voices,
    /// The server is ending: the mesh is asked no more.
    pub has_ended: Arc<AtomicBool>,
    /// Where clients are told to find the cluster.
    pub client_urls: Vec<String>,
    pub dials: u64,
    /// Lines that the mesh has sent: of handshakes, and gossip.
    pub lines: u64,
    /// Why routes ended.
    pub ended: Vec<CloseReason>,
}

impl ControlLoop {
    fn turn(&mut self) -> io::Result<()> {
        let due = self.mesh.deadline().filter(|_| !self.has_ended.load(Relaxed));
        let wait = due.map_or(Duration::MAX, |at| at - self.ring.now());
        let mut done = Vec::new();
        self.ring.turn(wait, &mut done)?;
        assert!(done.is_empty(), "a ring without operations");
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Route(seen) => {
                    if let RouteEvent::Closed { reason, .. } = &seen {
                        self.ended.push(*reason);
                    }
                    self.ask(Some(seen.into()));
                }
                Notice::Deliveries(_) | Notice::Accounts(_) | Notice::Clients(_) => {}
            }
        }
        if self.mesh.deadline().is_some_and(|at| at <= self.ring.now()) {
            self.ask(None);
        }
        Ok(())
    }

    fn ask(&mut self, event: Option<Event>) {
        if self.has_ended.load(Relaxed) {
            return;
        }
        let shards = u16::try_from(self.voices.0.len()).unwrap();
        for action in self.mesh.ask(self.ring.now(), event) {
            match action.task(shards, &THRESHOLDS) {
                Some(Task::Order(shard, order)) => {
                    self.dials += u64::from(matches!(order, RouteOrder::Dial { .. }));
                    self.lines += u64::from(matches!(order, RouteOrder::Send { .. }));
                    self.voices.tell(shard, Control::Route(order));
                }
                Some(Task::Resolve { host, .. }) => panic!("{host} is no address"),
                Some(Task::CheckPassword { conn, job }) => {
                    let accepted = job.is_right();
                    self.ask(Some(Event::Verdict { conn, accepted }));
                }
                Some(Task::ClientUrls(urls)) => self.client_urls = urls,
                Some(Task::ClusterName(_) | Task::Joined | Task::Left(_)) | None => {}
            }
        }
    }
}
