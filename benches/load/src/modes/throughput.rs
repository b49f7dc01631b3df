//! As fast as it goes: publishers send batches whenever their sockets take bytes, and every delivery is awaited.

use super::{Bench, Meter, body, in_words, publisher, settle, subscriber};
use crate::args::ThroughputArgs;
use crate::client::{Client, PONG};
use crate::error::Fault;
use crate::progress::Progress;
use crate::report::{Report, Run};
use crate::sys::{self, Interest, Poller};
use crate::wire::Batch;

/// Longest wait for an event: after it the bound of the run is looked at again.
const WAIT_NS_MAX: u64 = 1_000_000_000;

/// Sends all messages and waits for all deliveries; gives up when nothing came for the bound.
///
/// # Errors
/// When there is no session, or the server cuts one.
pub(crate) fn run(mode: &'static str, args: &ThroughputArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.print)?;
    let (subjects, filter) = subjects(&args.payload.subject, args.subjects);
    let from = bench.subscribe_server(&args.payload)?;
    let dial = |_| subscriber(&from, &filter).map(|client| Subscriber { client, got: 0 });
    let subscribers = (0..args.subs).map(dial).collect::<Result<Vec<_>, _>>()?;
    let batch = Batch::new(&subjects, &body(&args.payload));
    let dial = |number| {
        let client = publisher(&bench.server, &args.payload)?;
        let left = batch.wire_bytes(share(args.count, args.pubs, number));
        Ok(Publisher { client, left, offset: 0, pong_written: 0 })
    };
    let publishers = (0..args.pubs).map(dial).collect::<Result<Vec<_>, Fault>>()?;
    let load = format!("{} from {}", in_words(&args.payload, args.subs), args.pubs);
    let mut report = bench.report(mode, &publishers[0].client, load);

    settle();
    let wanted = args.count * u64::from(args.subs);
    let progress = bench.display.start(mode, wanted);
    let mut flow = Flow { subscribers, publishers, batch: &batch, delivered: 0 };
    let meter = Meter::start(&bench.processes);
    flow.run(wanted, bench.lost_after_ns, &progress)?;
    let (elapsed_s, busy) = (meter.elapsed_s(), meter.load_busy());
    report.fault = flow.fault(args.count, wanted);
    report.runs.push(figures(mode, args, flow.delivered, elapsed_s));
    let run = report.runs.last_mut().expect("it was pushed just now");
    let counts = [("cpu_per_message_us", args.count), ("cpu_per_delivery_us", flow.delivered)];
    meter.add_to(run, &counts);
    run.add("load_busy", busy);
    Ok(report)
}

fn figures(mode: &str, args: &ThroughputArgs, delivered: u64, elapsed_s: f64) -> Run {
    let mut run = Run::new(mode);
    let bytes = delivered as f64 * f64::from(args.payload.size);
    run.add_count("sent", args.count);
    run.add_count("delivered", delivered);
    run.add("in_per_s", args.count as f64 / elapsed_s);
    run.add("out_per_s", delivered as f64 / elapsed_s);
    run.add("mb_per_s", bytes / elapsed_s / 1e6);
    run
}

/// The subjects published to, and the filter that takes them all.
fn subjects(subject: &str, many: Option<u32>) -> (Vec<String>, String) {
    match many {
        None => (vec![subject.to_owned()], subject.to_owned()),
        Some(many) => {
            let subjects = (0..many).map(|number| format!("{subject}.{number}")).collect();
            (subjects, format!("{subject}.*"))
        }
    }
}

/// How many of `count` messages publisher `number` of `publishers` sends.
fn share(count: u64, publishers: u32, number: u32) -> u64 {
    let extra = u64::from(number) < count % u64::from(publishers);
    count / u64::from(publishers) + u64::from(extra)
}

struct Subscriber {
    client: Client,
    got: u64,
}

struct Publisher {
    client: Client,
    /// Bytes of the batch not yet sent.
    left: u64,
    /// Place in the batch of the next byte.
    offset: usize,
    /// Bytes of the PONG being sent that are on their way.
    pong_written: usize,
}

impl Publisher {
    fn is_done(&self) -> bool {
        self.left == 0 && !self.client.owes_pong() && !self.client.has_unsent()
    }

    /// Writes once. A PONG goes in where a message ends.
    fn push(&mut self, batch: &Batch) -> Result<(), Fault> {
        let boundary = batch.boundary(self.offset);
        let pong_is_due = self.client.owes_pong() || self.pong_written > 0;
        if pong_is_due && (boundary == self.offset || self.left == 0) {
            return self.push_pong();
        }
        let end = if pong_is_due { boundary } else { batch.bytes.len() };
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(end - self.offset);
        let sent = self.client.send(&batch.bytes[self.offset..self.offset + room])?;
        self.left -= sent as u64;
        self.offset = (self.offset + sent) % batch.bytes.len();
        Ok(())
    }

    fn push_pong(&mut self) -> Result<(), Fault> {
        self.pong_written += self.client.send(&PONG[self.pong_written..])?;
        if self.pong_written == PONG.len() {
            self.pong_written = 0;
            self.client.take_pong();
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Fault> {
        self.client.receive()?;
        self.client.take_messages(|_| Ok(()))
    }
}

struct Flow<'a> {
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    batch: &'a Batch,
    delivered: u64,
}

impl Flow<'_> {
    fn run(&mut self, wanted: u64, lost_after_ns: u64, progress: &Progress) -> Result<(), Fault> {
        let mut poller = self.watch()?;
        let mut sending = self.publishers.len();
        let (mut moved_ns, mut seen) = (sys::now_ns(), 0);
        while self.delivered < wanted || sending > 0 {
            let mut stopped = Vec::new();
            for ready in poller.wait(WAIT_NS_MAX).map_err(Fault::machine("epoll"))? {
                stopped.extend(self.on_ready(ready)?);
            }
            for key in stopped {
                let publisher = &self.publishers[key - self.subscribers.len()];
                let changed = poller.change(publisher.client.socket(), key, Interest::Read);
                changed.map_err(Fault::machine("epoll"))?;
                sending -= 1;
            }
            progress.set(self.delivered);
            let now = sys::now_ns();
            if self.delivered != seen {
                (seen, moved_ns) = (self.delivered, now);
            } else if now - moved_ns > lost_after_ns {
                break;
            }
        }
        Ok(())
    }

    /// Subscribers have the first keys, publishers the ones after them.
    fn watch(&self) -> Result<Poller, Fault> {
        let poller = Poller::new().map_err(Fault::machine("epoll"))?;
        let subscribers = self.subscribers.iter().map(|one| (one.client.socket(), Interest::Read));
        let publishers =
            self.publishers.iter().map(|one| (one.client.socket(), Interest::ReadWrite));
        for (key, (socket, what)) in subscribers.chain(publishers).enumerate() {
            poller.add(socket, key, what).map_err(Fault::machine("epoll"))?;
        }
        Ok(poller)
    }

    /// Serves one socket; the key of a publisher that has just sent its last byte comes back.
    #[inline]
    fn on_ready(&mut self, ready: sys::Ready) -> Result<Option<usize>, Fault> {
        if let Some(subscriber) = self.subscribers.get_mut(ready.key) {
            self.delivered += take_deliveries(subscriber)?;
            return Ok(None);
        }
        let publisher = &mut self.publishers[ready.key - self.subscribers.len()];
        let was_done = publisher.is_done();
        if ready.readable {
            publisher.receive()?;
        }
        if ready.writable && !publisher.is_done() {
            publisher.push(self.batch)?;
        } else if was_done {
            publisher.client.answer_pings()?;
        }
        Ok((!was_done && publisher.is_done()).then_some(ready.key))
    }

    fn fault(&self, each: u64, wanted: u64) -> Option<Fault> {
        let missing: u64 = self.subscribers.iter().map(|one| each.saturating_sub(one.got)).sum();
        let twice: u64 = self.subscribers.iter().map(|one| one.got.saturating_sub(each)).sum();
        if missing > 0 {
            return Some(Fault::Lost { came: wanted - missing, wanted });
        }
        (twice > 0).then_some(Fault::Disordered { messages: twice })
    }
}

fn take_deliveries(subscriber: &mut Subscriber) -> Result<u64, Fault> {
    let Subscriber { client, got } = subscriber;
    let before = *got;
    if client.receive()? {
        client.take_messages(|_| {
            *got += 1;
            Ok(())
        })?;
        client.answer_pings()?;
    }
    Ok(*got - before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::tests::unheard;

    #[test]
    fn a_publisher_in_tls_is_done_when_everything_has_left() {
        let (stream, _silence) = unheard();
        let batch = Batch::new(&["a".into()], &[b'x'; 1000]);
        let mut publisher =
            Publisher { client: Client::over(stream), left: 0, offset: 0, pong_written: 0 };
        while !publisher.client.has_unsent() {
            publisher.left = batch.wire_bytes(1);
            publisher.push(&batch).unwrap();
            assert_eq!(publisher.is_done(), !publisher.client.has_unsent());
        }
    }

    #[test]
    fn publishers_share_all_messages() {
        for (count, publishers) in [(10, 3), (2, 5), (1_000_001, 512)] {
            let sum: u64 = (0..publishers).map(|number| share(count, publishers, number)).sum();
            assert_eq!(sum, count, "{count} among {publishers}");
        }
    }

    #[test]
    fn many_subjects_are_taken_by_one_filter() {
        assert_eq!(subjects("a", None), (vec!["a".into()], "a".into()));
        assert_eq!(subjects("a", Some(2)), (vec!["a.0".into(), "a.1".into()], "a.*".into()));
    }
}
