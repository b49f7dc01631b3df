//! Request and reply, a closed loop with one request in flight: a responder and a requester, both here.

use super::{Bench, Meter, body, publisher, settle, subscriber};
use crate::args::{PayloadArgs, RequestArgs, Wait};
use crate::client::{Client, watch};
use crate::error::Fault;
use crate::latency::Latencies;
use crate::report::{Report, Run};
use crate::sys::{self, Poller};
use crate::wire::encode_pub;

/// Sends the requests one after the other, each with an inbox of its own.
///
/// # Errors
/// When there is no session, or the server cuts one.
pub(crate) fn run(args: &RequestArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.output.print)?;
    let inbox = format!("_INBOX.load{}", std::process::id());
    let responder = subscriber(&bench.subscribe_server(&args.payload)?, &args.payload.subject)?;
    let requester = subscriber(&bench.server, &format!("{inbox}.*"))?;
    let probe = publisher(&bench.server, &args.payload)?;
    let PayloadArgs { size, .. } = args.payload;
    let load = format!("{size} B each way, one in flight, {}", args.wait.in_words());
    let mut report = bench.report("request", &probe, load);
    drop(probe);

    settle();
    let ends = [responder, requester];
    let poller = watch(&ends)?;
    let [responder, requester] = ends;
    let (inbox, body) = (inbox.into_bytes(), body(&args.payload));
    let mut pair = Pair { responder, requester, poller, inbox, body, out: Vec::new() };
    let progress = bench.display.start("requests", args.count);
    let (mut latencies, mut answered) = (Latencies::new(), 0);
    let meter = Meter::start(&bench.processes);
    while answered < args.count && report.fault.is_none() {
        match pair.round_trip(args, answered, bench.lost_after_ns)? {
            None => report.fault = Some(Fault::Lost { came: answered, wanted: args.count }),
            // The first tenth warms up.
            Some(ns) if answered >= args.count / 10 => latencies.record(ns),
            Some(_) => {}
        }
        answered += u64::from(report.fault.is_none());
        progress.set(answered);
    }
    let mut run = Run::new("request");
    run.add_count("answered", answered);
    run.add("requests_per_s", answered as f64 / meter.elapsed_s());
    run.add_latencies(latencies);
    meter.add_to(&mut run, &[("cpu_per_request_us", answered)]);
    report.runs.push(run);
    Ok(report)
}

struct Pair {
    responder: Client,
    requester: Client,
    poller: Poller,
    inbox: Vec<u8>,
    body: Vec<u8>,
    /// The bytes of one request or answer.
    out: Vec<u8>,
}

impl Pair {
    /// One request; its time in nanoseconds, or `None` when no answer came within the bound.
    fn round_trip(
        &mut self,
        args: &RequestArgs,
        number: u64,
        lost_after_ns: u64,
    ) -> Result<Option<u64>, Fault> {
        let reply = [&self.inbox[..], b".", number.to_string().as_bytes()].concat();
        self.out.clear();
        encode_pub(&mut self.out, args.payload.subject.as_bytes(), Some(&reply), &self.body);
        let asked_ns = sys::now_ns();
        self.requester.send_all(&self.out)?;
        loop {
            if args.wait == Wait::Sleep {
                self.poller.wait(lost_after_ns).map_err(Fault::machine("epoll"))?.count();
            }
            self.respond()?;
            if self.take_answer(&reply)? {
                return Ok(Some(sys::now_ns() - asked_ns));
            }
            if sys::now_ns() - asked_ns > lost_after_ns {
                return Ok(None);
            }
        }
    }

    fn respond(&mut self) -> Result<(), Fault> {
        if !self.responder.receive()? {
            return Ok(());
        }
        let out = &mut self.out;
        out.clear();
        self.responder.take_messages(|message| {
            let no_reply = || Fault::Protocol("a request without its reply subject".into());
            encode_pub(out, message.reply().ok_or_else(no_reply)?, None, message.body);
            Ok(())
        })?;
        self.responder.send_all(&self.out)?;
        self.responder.answer_pings()
    }

    fn take_answer(&mut self, reply: &[u8]) -> Result<bool, Fault> {
        if !self.requester.receive()? {
            return Ok(false);
        }
        let mut answers = 0;
        self.requester.take_messages(|message| {
            if message.is_no_responders() {
                return Err(Fault::Cut { whom: "a request".into(), why: "no responders".into() });
            }
            answers += 1;
            let subject = message.line.split(|&byte| byte == b' ').nth(1);
            if subject == Some(reply) { Ok(()) } else { Err(Fault::Disordered { messages: 1 }) }
        })?;
        self.requester.answer_pings()?;
        match answers {
            0 => Ok(false),
            1 => Ok(true),
            more => Err(Fault::Disordered { messages: more - 1 }),
        }
    }
}
