//! Connections made and closed, several at once: connect, log in, wait for PONG, close.

use super::{Bench, Meter};
use crate::args::StormArgs;
use crate::client::{Client, Traffic, connect_fault};
use crate::error::Fault;
use crate::latency::Latencies;
use crate::progress::Progress;
use crate::report::{Report, Run, show};
use crate::sys::{self, Interest, Poller, Ready};
use crate::wire::{Event, Inbox};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// Longest wait for an event.
const WAIT_NS_MAX: u64 = 1_000_000_000;
/// First size of a slot's read buffer: INFO, PONG and the second INFO.
const INBOX_BYTES: usize = 4 << 10;

/// Keeps `at_once` connections under way until `count` were made; gives up when none came through for the bound.
///
/// # Errors
/// When there is no session, or the server cuts one.
pub(crate) fn run(args: &StormArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.output)?;
    let probe = Client::dial(&bench.server, "the first connection", Traffic::Idle)?;
    let load = format!("{} connections, {} at once", show(args.count as f64), args.at_once);
    let mut report = bench.report("storm", &probe.info, load);
    drop(probe);

    let progress = bench.display.start("connecting", args.count);
    let mut storm = Storm {
        bench: &bench,
        hello: bench.server.hello(),
        slots: Vec::new(),
        to_begin: args.count,
        done: 0,
        latencies: Latencies::new(),
    };
    let meter = Meter::start(&bench.processes);
    storm.run(args, &progress)?;
    let mut run = Run::new("storm");
    run.add_count("connections", storm.done);
    run.add("connects_per_s", storm.done as f64 / meter.elapsed_s());
    if storm.done < args.count {
        report.fault = Some(Fault::Lost { came: storm.done, wanted: args.count });
    }
    run.add_latencies(storm.latencies);
    meter.add_to(&mut run, &[("cpu_per_connect_us", args.count)]);
    run.add("load_busy", meter.load_busy());
    report.runs.push(run);
    Ok(report)
}

/// One connection on its way.
struct Slot {
    stream: TcpStream,
    began_ns: u64,
    said_hello: bool,
    inbox: Inbox,
}

struct Storm<'a> {
    bench: &'a Bench,
    hello: Vec<u8>,
    slots: Vec<Slot>,
    to_begin: u64,
    done: u64,
    latencies: Latencies,
}

impl Storm<'_> {
    fn run(&mut self, args: &StormArgs, progress: &Progress) -> Result<(), Fault> {
        let mut poller = Poller::new().map_err(Fault::machine("epoll"))?;
        for key in 0..(args.at_once as usize).min(usize::try_from(args.count).unwrap_or(usize::MAX))
        {
            let inbox = Inbox::with_capacity(INBOX_BYTES);
            let slot = self.begin(&poller, key, inbox)?;
            self.slots.push(slot);
        }
        let (mut moved_ns, mut seen) = (sys::now_ns(), 0);
        while self.done < args.count {
            let ready: Vec<Ready> =
                poller.wait(WAIT_NS_MAX).map_err(Fault::machine("epoll"))?.collect();
            for ready in ready {
                self.on_ready(&poller, ready)?;
            }
            progress.set(self.done);
            let now = sys::now_ns();
            if self.done != seen {
                (seen, moved_ns) = (self.done, now);
            } else if now - moved_ns > self.bench.lost_after_ns {
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin(&mut self, poller: &Poller, key: usize, mut inbox: Inbox) -> Result<Slot, Fault> {
        let server = &self.bench.server;
        let began_ns = sys::now_ns();
        let stream = sys::connect_nonblocking(server.address)
            .map_err(|error| connect_fault(&server.url, error))?;
        poller.add(&stream, key, Interest::Write).map_err(Fault::machine("epoll"))?;
        inbox.clear();
        self.to_begin -= 1;
        Ok(Slot { stream, began_ns, said_hello: false, inbox })
    }

    fn on_ready(&mut self, poller: &Poller, ready: Ready) -> Result<(), Fault> {
        let slot = &mut self.slots[ready.key];
        if !slot.said_hello {
            slot.say_hello(&self.hello)
                .map_err(|error| connect_fault(&self.bench.server.url, error))?;
            let changed = poller.change(&slot.stream, ready.key, Interest::Read);
            return changed.map_err(Fault::machine("epoll"));
        }
        if !slot.has_pong()? {
            return Ok(());
        }
        self.done += 1;
        self.latencies.record(sys::now_ns() - slot.began_ns);
        let inbox = std::mem::take(&mut slot.inbox);
        // Out of the set before it closes: the next connection may get the same descriptor.
        poller.remove(&slot.stream).map_err(Fault::machine("epoll"))?;
        if self.to_begin > 0 {
            self.slots[ready.key] = self.begin(poller, ready.key, inbox)?;
        } else {
            slot.close();
        }
        Ok(())
    }
}

impl Slot {
    fn say_hello(&mut self, hello: &[u8]) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.stream.set_nodelay(true)?;
        self.said_hello = true;
        // A fresh socket has room for a few hundred bytes.
        self.stream.write_all(hello)
    }

    fn has_pong(&mut self) -> Result<bool, Fault> {
        let cut = |why: String| Fault::Cut { whom: "a new connection".into(), why };
        match self.stream.read(self.inbox.room()) {
            Ok(0) => return Err(cut("closed before PONG".into())),
            Ok(len) => self.inbox.filled(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(cut(error.to_string())),
        }
        while let Some(event) = self.inbox.next()? {
            match event {
                Event::Pong => return Ok(true),
                Event::Error(text) => return Err(cut(text.into())),
                Event::Info(_) | Event::Ping | Event::Message(_) => {}
            }
        }
        Ok(false)
    }

    /// The last connection of a slot closes at once, too.
    fn close(&self) {
        // A connection that the server has closed already is closed as well.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
