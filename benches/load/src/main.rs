//! `ringmesh-load`: latency histograms and throughput of any server that speaks the NATS client protocol.
//!
//! One thread, non-blocking sockets and epoll, so that the server and not the load is measured:
//! [`client`] is one connection to a [`server`], on a [`stream`] that may be in [`tls`] and with the protocol of
//! [`wire`]; the modes in [`modes`] drive many of them, and [`report`] says what they found. [`sys`] is the only
//! module that talks to the kernel without the standard library.

mod args;
mod client;
mod error;
mod latency;
mod modes;
mod plot;
mod progress;
mod report;
mod server;
mod stream;
mod sys;
mod tls;
mod url;
mod usage;
mod wire;

use args::{Cli, Mode, OutputArgs, PlotArgs, PrintArgs};
use clap::Parser as _;
use error::Fault;
use latency::Curve;
use report::Report;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse().mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "ringmesh-load: {fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

fn run(mode: Mode) -> Result<(), Fault> {
    match mode {
        Mode::Latency(args) => keep(modes::latency::run(&args)?, &args.output),
        Mode::Request(args) => keep(modes::request::run(&args)?, &args.output),
        Mode::Throughput(args) => finish(modes::throughput::run("throughput", &args)?, &args.print),
        Mode::FanOut(args) => {
            let args = args.into();
            finish(modes::throughput::run("fan-out", &args)?, &args.print)
        }
        Mode::Idle(args) => finish(modes::idle::run(&args)?, &args.print),
        Mode::Stall(args) => keep(modes::stall::run(&args)?, &args.output),
        Mode::Storm(args) => keep(modes::storm::run(&args)?, &args.output),
        Mode::Plot(args) => plot(&args),
    }
}

/// Prints and writes what was found; what went wrong in the run comes after it.
fn keep(report: Report, output: &OutputArgs) -> Result<(), Fault> {
    print(&report, &output.print)?;
    report.write_files(output)?;
    report.fault.map_or(Ok(()), Err)
}

/// As [`keep`], of a mode that measures no latencies.
fn finish(report: Report, output: &PrintArgs) -> Result<(), Fault> {
    print(&report, output)?;
    report.fault.map_or(Ok(()), Err)
}

fn print(report: &Report, output: &PrintArgs) -> Result<(), Fault> {
    let text = if output.json { format!("{}\n", report.to_json()) } else { report.to_table() };
    io::stdout().write_all(text.as_bytes()).map_err(Fault::machine("standard output"))
}

fn plot(args: &PlotArgs) -> Result<(), Fault> {
    let curves = args.files.iter().map(|file| read_curve(file)).collect::<Result<Vec<_>, _>>()?;
    report::write_picture(&args.output, &args.title, &curves)
}

/// `LABEL=FILE`, or a file whose name is its label.
fn read_curve(argument: &str) -> Result<Curve, Fault> {
    let stem = |path: &str| {
        let stem = Path::new(path).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    let (label, path) = match argument.split_once('=') {
        Some((label, path)) => (label.to_owned(), path),
        None => (stem(argument), argument),
    };
    let text = fs::read_to_string(path).map_err(Fault::machine(path))?;
    Curve::parse(&label, &text).map_err(|why| Fault::Usage(format!("{path}: {why}")))
}
