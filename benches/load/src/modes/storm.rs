//! Connections made and closed, several at once: connect, TLS where it is spoken, log in, wait for PONG, close.

use super::{Bench, Meter};
use crate::args::StormArgs;
use crate::client::{Client, Traffic};
use crate::error::Fault;
use crate::latency::Latencies;
use crate::progress::Progress;
use crate::report::{Report, Run, show};
use crate::server::{Server, connect_fault};
use crate::stream::Stream;
use crate::sys::{self, Interest, Poller, Ready};
use crate::wire::{Event, Inbox};
use std::io;

/// Longest wait for an event.
const WAIT_NS_MAX: u64 = 1_000_000_000;
/// First size of a slot's read buffer: INFO, PONG and the second INFO.
const INBOX_BYTES: usize = 4 << 10;

/// Keeps `at_once` connections under way until `count` were made; gives up when none came through for the bound.
///
/// # Errors
/// When there is no session, or the server cuts one.
pub(crate) fn run(args: &StormArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.output.print)?;
    let probe = Client::dial(&bench.server, "the first connection", Traffic::Idle)?;
    let load = format!("{} connections, {} at once", show(args.count as f64), args.at_once);
    let mut report = bench.report("storm", &probe, load);
    let upgrades = bench.server.upgrades(&probe.info)?;
    drop(probe);

    let progress = bench.display.start("connecting", args.count);
    let mut storm = Storm {
        bench: &bench,
        greeting: Greeting { server: &bench.server, hello: bench.server.hello(), upgrades },
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

/// How every connection begins; the first one has shown it.
struct Greeting<'a> {
    server: &'a Server,
    /// CONNECT and PING.
    hello: Vec<u8>,
    /// Whether INFO is awaited, and TLS follows it.
    upgrades: bool,
}

/// One connection on its way.
struct Slot {
    stream: Stream,
    /// What epoll watches the socket for: writing while it connects.
    watched: Interest,
    began_ns: u64,
    said_hello: bool,
    inbox: Inbox,
}

struct Storm<'a> {
    bench: &'a Bench,
    greeting: Greeting<'a>,
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
        let socket = sys::connect_nonblocking(server.address)
            .map_err(|error| connect_fault(&server.url, error))?;
        let watched = Interest::Write;
        poller.add(&socket, key, watched).map_err(Fault::machine("epoll"))?;
        inbox.clear();
        self.to_begin -= 1;
        Ok(Slot { stream: Stream::new(socket), watched, began_ns, said_hello: false, inbox })
    }

    fn on_ready(&mut self, poller: &Poller, ready: Ready) -> Result<(), Fault> {
        let slot = &mut self.slots[ready.key];
        let has_pong = match slot.watched {
            Interest::Write => slot.on_connected(&self.greeting).map(|()| false)?,
            Interest::Read | Interest::ReadWrite => slot.has_pong(&self.greeting)?,
        };
        if !has_pong {
            return slot.watch(poller, ready.key).map_err(Fault::machine("epoll"));
        }
        self.done += 1;
        self.latencies.record(sys::now_ns() - slot.began_ns);
        let inbox = std::mem::take(&mut slot.inbox);
        // Out of the set before it closes: the next connection may get the same descriptor.
        poller.remove(slot.stream.socket()).map_err(Fault::machine("epoll"))?;
        if self.to_begin > 0 {
            self.slots[ready.key] = self.begin(poller, ready.key, inbox)?;
        } else {
            slot.close();
        }
        Ok(())
    }
}

/// The server has let the first connection in, and not this one.
fn cut(why: String) -> Fault {
    Fault::Cut { whom: "a new connection".into(), why }
}

impl Slot {
    fn on_connected(&mut self, greeting: &Greeting<'_>) -> Result<(), Fault> {
        let fault = |error: io::Error| cut(error.to_string());
        if let Some(error) = self.stream.socket().take_error().map_err(fault)? {
            return Err(fault(error));
        }
        self.stream.socket().set_nodelay(true).map_err(fault)?;
        if greeting.server.tls.first {
            greeting.server.secure(&mut self.stream, &self.inbox)?;
        }
        if greeting.upgrades { Ok(()) } else { self.say_hello(greeting) }
    }

    fn say_hello(&mut self, Greeting { hello, .. }: &Greeting<'_>) -> Result<(), Fault> {
        self.said_hello = true;
        match self.stream.send(hello) {
            Ok(sent) if sent == hello.len() => Ok(()),
            // A fresh socket has room for a few hundred bytes.
            Ok(_) => Err(cut("it has no room for CONNECT".into())),
            Err(error) => Err(cut(error.to_string())),
        }
    }

    fn has_pong(&mut self, greeting: &Greeting<'_>) -> Result<bool, Fault> {
        if !self.stream.receive(&mut self.inbox).map_err(|error| cut(error.to_string()))? {
            return Ok(false);
        }
        while let Some(event) = self.inbox.next()? {
            match event {
                Event::Pong => return Ok(true),
                Event::Error(text) => return Err(cut(text.into())),
                Event::Info(_) if !self.said_hello => {
                    greeting.server.secure(&mut self.stream, &self.inbox)?;
                    self.say_hello(greeting)?;
                }
                Event::Info(_) | Event::Ping | Event::Message(_) => {}
            }
        }
        Ok(false)
    }

    fn watch(&mut self, poller: &Poller, key: usize) -> io::Result<()> {
        let wanted = self.stream.interest();
        if self.watched != wanted {
            self.watched = wanted;
            poller.change(self.stream.socket(), key, wanted)?;
        }
        Ok(())
    }

    /// The last connection of a slot closes at once, too.
    fn close(&self) {
        // A connection that the server has closed already is closed as well.
        let _ = self.stream.socket().shutdown(std::net::Shutdown::Both);
    }
}
