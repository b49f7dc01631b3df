//! Latency at one or several rates, each on fresh connections.

use super::paced::{self, Pace, Subscriber};
use super::{Bench, Meter, body, in_words, publisher, settle, subscriber};
use crate::args::LatencyArgs;
use crate::error::Fault;
use crate::report::{Report, Run, show};

/// Runs every rate; ends early when messages are lost.
///
/// # Errors
/// When there is no session, or the server cuts one.
pub(crate) fn run(args: &LatencyArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.output.print)?;
    let probe = publisher(&bench.server, &args.payload)?;
    let load = format!("{}, {}", in_words(&args.payload, args.subs), args.wait.in_words());
    let mut report = bench.report("latency", &probe, load);
    drop(probe);
    for &rate in &args.rate.0 {
        let (run, fault) = one_rate(&bench, args, rate)?;
        report.runs.push(run);
        report.fault = fault;
        if report.fault.is_some() {
            break;
        }
    }
    Ok(report)
}

fn one_rate(bench: &Bench, args: &LatencyArgs, rate: f64) -> Result<(Run, Option<Fault>), Fault> {
    let subject = &args.payload.subject;
    let from = bench.subscribe_server(&args.payload)?;
    let dial = |_| subscriber(&from, subject).map(Subscriber::new);
    let mut subscribers = (0..args.subs).map(dial).collect::<Result<Vec<_>, _>>()?;
    let mut publisher = publisher(&bench.server, &args.payload)?;
    settle();
    let mut run = Run::new(format!("{}/s", show(rate)));
    let pace = Pace {
        subject,
        body: &body(&args.payload),
        rate,
        duration_ns: args.duration,
        lost_after_ns: bench.lost_after_ns,
        wait: args.wait,
    };
    let total = paced::Plan::new(0, rate, args.duration).count;
    let progress = bench.display.start(&run.name, total);
    let meter = Meter::start(&bench.processes);
    let found = paced::run(&pace, &mut publisher, &mut subscribers, &progress)?;
    run.add_count("sent", found.sent);
    run.add_count("delivered", found.delivered);
    run.add_latencies(found.latencies);
    let counts = [("cpu_per_message_us", found.sent), ("cpu_per_delivery_us", found.delivered)];
    meter.add_to(&mut run, &counts);
    Ok((run, found.fault))
}
