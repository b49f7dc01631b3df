//! Connections that hold one subscription each and get nothing: what they cost the server.

use super::{Bench, seconds};
use crate::args::IdleArgs;
use crate::client::{Client, Traffic, watch};
use crate::error::Fault;
use crate::report::{Report, Run, show};
use crate::sys::{self, Poller};

/// Descriptors that this program needs besides the connections.
const OWN_DESCRIPTORS: u64 = 32;
/// Longest wait for an event.
const WAIT_NS_MAX: u64 = 100_000_000;

/// Opens the connections, lets them rest, and measures.
///
/// # Errors
/// When there are too few descriptors or ports, or the server cuts a connection.
pub(crate) fn run(args: &IdleArgs) -> Result<Report, Fault> {
    let bench = Bench::new(&args.target, &args.print)?;
    let allowed = sys::raise_descriptor_limit();
    if args.connections + OWN_DESCRIPTORS > allowed {
        let wanted = args.connections;
        return Err(Fault::Usage(format!(
            "{wanted} connections: only {allowed} descriptors allowed"
        )));
    }
    let rss_before_kib = bench.processes.rss_kib();
    let progress = bench.display.start("connecting", args.connections);
    let mut clients = Vec::new();
    for number in 0..args.connections {
        let mut client = Client::dial(&bench.server, "an idle connection", Traffic::Idle)?;
        client.subscribe(&format!("idle.{number}"))?;
        clients.push(client);
        progress.set(number + 1);
    }
    drop(progress);
    let mut poller = watch(&clients)?;
    let load = format!("{} connections", show(args.connections as f64));
    let mut report = bench.report("idle", &clients[0], load);

    rest(&bench, "settling", args.settle, &mut poller, &mut clients)?;
    let cpu_before_ns = bench.processes.cpu_ns();
    rest(&bench, "measuring", args.duration, &mut poller, &mut clients)?;
    let mut run = Run::new("idle");
    run.add_count("connections", args.connections);
    if bench.processes.are_known() {
        let rss_kib = bench.processes.rss_kib();
        let grown_bytes = (rss_kib.saturating_sub(rss_before_kib) * 1024) as f64;
        let cpu_s = seconds(bench.processes.cpu_ns() - cpu_before_ns);
        run.add_count("server_rss_kib", rss_kib);
        run.add("bytes_each", grown_bytes / args.connections as f64);
        run.add("idle_cpu_percent", cpu_s / seconds(args.duration) * 100.0);
    }
    report.runs.push(run);
    Ok(report)
}

/// Answers PINGs for `length_ns`.
fn rest(
    bench: &Bench,
    name: &str,
    length_ns: u64,
    poller: &mut Poller,
    clients: &mut [Client],
) -> Result<(), Fault> {
    let began_ns = sys::now_ns();
    let progress = bench.display.start(name, length_ns);
    loop {
        let passed_ns = sys::now_ns() - began_ns;
        progress.set(passed_ns);
        if passed_ns >= length_ns {
            return Ok(());
        }
        let timeout_ns = WAIT_NS_MAX.min(length_ns - passed_ns);
        for ready in poller.wait(timeout_ns).map_err(Fault::machine("epoll"))? {
            let client = &mut clients[ready.key];
            client.receive()?;
            client.take_messages(|_| Ok(()))?;
            client.answer_pings()?;
        }
    }
}
