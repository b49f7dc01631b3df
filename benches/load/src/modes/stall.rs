//! What a subscriber that never reads costs one that does.

use super::paced::{self, Outcome, Pace, Subscriber};
use super::{Bench, body, in_words, publisher, settle, subscriber};
use crate::args::StallArgs;
use crate::client::Client;
use crate::error::Fault;
use crate::report::{Report, Run, show};

/// After the run the stalled subscriber reads, to learn whether it was cut: until nothing came for so long.
const DRAIN_QUIET_NS: u64 = 300_000_000;
/// And so many bytes at most: more than a server queues for one client by default.
const DRAIN_BYTES_MAX: u64 = 256 << 20;

/// Runs the load twice: alone, and beside the stalled subscriber.
///
/// # Errors
/// When there is no session, or the server cuts the healthy subscriber or the publisher.
pub(crate) fn run(args: &StallArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.output.print)?;
    let from = bench.subscribe_server(&args.payload)?;
    let subject = &args.payload.subject;
    let mut healthy = [Subscriber::new(subscriber(&from, subject)?)];
    let mut publisher = publisher(&bench.server, &args.payload)?;
    let load = format!("{} at {}/s", in_words(&args.payload, 1), show(args.rate));
    let mut report = bench.report("stall", &publisher, load);

    settle();
    let alone = phase(&bench, args, "alone", &mut publisher, &mut healthy)?;
    let alone_p99_us = alone.latencies.percentile_us(99.0);
    push(&mut report, "alone", alone);
    if report.fault.is_some() {
        return Ok(report);
    }
    let mut stalled = subscriber(&from, subject)?;
    settle();
    let beside = phase(&bench, args, "beside", &mut publisher, &mut healthy)?;
    let ratio = beside.latencies.percentile_us(99.0) / alone_p99_us;
    push(&mut report, "beside", beside);
    let was_cut = stalled.drain(DRAIN_QUIET_NS, DRAIN_BYTES_MAX)?;
    let last = report.runs.last_mut().expect("both runs were pushed");
    last.add("p99_ratio", ratio);
    last.add("stalled_was_cut", f64::from(u8::from(was_cut)));
    Ok(report)
}

fn phase(
    bench: &Bench,
    args: &StallArgs,
    name: &str,
    publisher: &mut Client,
    healthy: &mut [Subscriber],
) -> Result<Outcome, Fault> {
    let pace = Pace {
        subject: &args.payload.subject,
        body: &body(&args.payload),
        rate: args.rate,
        duration_ns: args.duration,
        lost_after_ns: bench.lost_after_ns,
        wait: args.wait,
    };
    let total = paced::Plan::new(0, args.rate, args.duration).count;
    let progress = bench.display.start(name, total);
    paced::run(&pace, publisher, healthy, &progress)
}

fn push(report: &mut Report, name: &str, found: Outcome) {
    let mut run = Run::new(name);
    run.add_count("sent", found.sent);
    run.add_count("delivered", found.delivered);
    run.add_latencies(found.latencies);
    report.runs.push(run);
    report.fault = found.fault;
}
