//! The command line, and the checks that need nothing but the arguments.

use crate::sys::SECOND_NS;
use crate::url::ServerUrl;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Latency histograms and throughput of any server that speaks the NATS client protocol.
///
/// Exit codes: 0 done; 1 messages were lost or connections cut; 2 wrong arguments, or no connection.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Open loop at one or several rates; latency counts from the time a message was due.
    Latency(LatencyArgs),
    /// Request and reply, one in flight.
    Request(RequestArgs),
    /// As fast as it goes; every delivery is awaited.
    Throughput(ThroughputArgs),
    /// As throughput, from one publisher to many subscribers.
    FanOut(FanOutArgs),
    /// Connections with one subscription each, held: memory and CPU of the server.
    Idle(IdleArgs),
    /// A healthy subscriber, alone and then beside one that never reads.
    Stall(StallArgs),
    /// Connect, PONG, close; several at once.
    Storm(StormArgs),
    /// Draw percentile curves from .hgrm files.
    Plot(PlotArgs),
}

/// Which server, and how it is looked at.
#[derive(Args, Debug)]
pub(crate) struct TargetArgs {
    /// Server: nats://[user:password@|token@]host[:port], or tls:// for one with TLS
    #[arg(short, long, default_value = "nats://127.0.0.1:4222", value_name = "URL")]
    pub(crate) server: ServerUrl,
    /// Server process on this machine, for its CPU time and memory; several with commas
    #[arg(short = 'i', long, value_name = "PID", value_delimiter = ',')]
    pub(crate) server_pid: Vec<u32>,
    /// Pin the load to this CPU
    #[arg(short, long, value_name = "CPU")]
    pub(crate) cpu: Option<usize>,
    /// Give up when what is due has not come for so long
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub(crate) lost_after: u64,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// How TLS is spoken, with servers of tls:// and those that require it. Any of these asks for TLS.
#[derive(Args, Debug, Default)]
pub(crate) struct TlsArgs {
    /// Authorities to trust instead of the system's, as PEM
    #[arg(long, visible_alias = "tlsca", value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Certificate to show, and those that lead to its authority, as PEM
    #[arg(long, visible_alias = "tlscert", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, visible_alias = "tlskey", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Begin with TLS and get INFO in it, for servers with handshake_first
    #[arg(long, visible_alias = "tlsfirst")]
    pub(crate) tls_first: bool,
}

/// How the results are shown.
#[derive(Args, Debug, Default)]
pub(crate) struct PrintArgs {
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar on a terminal
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// Where latencies go besides.
#[derive(Args, Debug, Default)]
pub(crate) struct OutputArgs {
    #[command(flatten)]
    pub(crate) print: PrintArgs,
    /// Name of this run in files and pictures (default: the server's product and version)
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Write the latencies as a percentile distribution; a run of several gets its name put in
    #[arg(long, value_name = "FILE", value_parser = new_file)]
    pub(crate) hgrm: Option<PathBuf>,
    /// Draw the percentiles
    #[arg(long, value_name = "FILE", value_parser = new_file)]
    pub(crate) svg: Option<PathBuf>,
}

/// What is sent.
#[derive(Args, Debug)]
pub(crate) struct PayloadArgs {
    /// Payload in bytes; at least 8, which carry the time
    #[arg(short = 'b', long, default_value_t = 128, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(8..=64 << 20))]
    pub(crate) size: u32,
    /// Fill it with random bytes instead of text that compresses
    #[arg(long)]
    pub(crate) random: bool,
    /// Subject to publish to
    #[arg(short = 'u', long, default_value = "load.x", value_name = "SUBJECT", value_parser = subject)]
    pub(crate) subject: String,
    /// Server of the subscribers, when it is another one of the same mesh
    #[arg(long, value_name = "URL")]
    pub(crate) subscribe_server: Option<ServerUrl>,
}

/// How the load waits for the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Never sleeps: sees a message as soon as it can be read.
    Spin,
    /// Sleeps like most applications. Latency then counts from the send, because the load's own
    /// waking is not the server's; what waited for room in the socket still counts from its due time.
    Sleep,
}

impl Wait {
    /// For reports.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Spin => "spinning",
            Self::Sleep => "sleeping",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) payload: PayloadArgs,
    /// Messages a second: 1000, or a sweep: 1k,20k,200k, or 1k..100k (doubling), or 1k..100k/5 (five rates)
    #[arg(short, long, default_value = "1000", value_parser = rates)]
    pub(crate) rate: Rates,
    /// Length of the run of each rate; its first tenth warms up and is not recorded
    #[arg(short, long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: u64,
    /// Subscribers, each of which gets every message
    #[arg(short = 'k', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) subs: u32,
    #[arg(short, long, value_enum, default_value_t = Wait::Spin)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) payload: PayloadArgs,
    /// Requests; the first tenth warms up and is not recorded
    #[arg(short = 'n', long, default_value = "50000", value_parser = count)]
    pub(crate) count: u64,
    #[arg(short, long, value_enum, default_value_t = Wait::Spin)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) payload: PayloadArgs,
    /// Messages, shared out among the publishers
    #[arg(short = 'n', long, default_value = "1m", value_parser = count)]
    pub(crate) count: u64,
    /// Publishers
    #[arg(short = 'p', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) pubs: u32,
    /// Subscribers, each of which gets every message
    #[arg(short = 'k', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) subs: u32,
    /// Publish to so many subjects in turn, SUBJECT.0 and on; subscribers take SUBJECT.*
    #[arg(short = 'v', long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subjects: Option<u32>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

#[derive(Args, Debug)]
pub(crate) struct FanOutArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) payload: PayloadArgs,
    /// Messages
    #[arg(short = 'n', long, default_value = "100k", value_parser = count)]
    pub(crate) count: u64,
    /// Subscribers, each of which gets every message
    #[arg(short = 'k', long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) subs: u32,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

impl From<FanOutArgs> for ThroughputArgs {
    fn from(fan: FanOutArgs) -> Self {
        let FanOutArgs { target, payload, count, subs, print } = fan;
        Self { target, payload, count, pubs: 1, subs, subjects: None, print }
    }
}

#[derive(Args, Debug)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Connections
    #[arg(short = 'k', long, default_value = "1k", value_parser = count)]
    pub(crate) connections: u64,
    /// Time between the last connection and the measurement: past the server's first PINGs
    #[arg(long, default_value = "4s", value_name = "TIME", value_parser = duration)]
    pub(crate) settle: u64,
    /// Length of the measurement
    #[arg(short, long, default_value = "3s", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: u64,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

#[derive(Args, Debug)]
pub(crate) struct StallArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) payload: PayloadArgs,
    /// Messages a second
    #[arg(short, long, default_value = "2000", value_parser = rate)]
    pub(crate) rate: f64,
    /// Length of each of the two runs; its first tenth is not recorded
    #[arg(short, long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: u64,
    #[arg(short, long, value_enum, default_value_t = Wait::Spin)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Connections to make and close
    #[arg(short = 'n', long, default_value = "4k", value_parser = count)]
    pub(crate) count: u64,
    /// So many at once
    #[arg(short, long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) at_once: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PlotArgs {
    /// Percentile distributions in microseconds: FILE, or LABEL=FILE
    #[arg(required = true, value_name = "HGRM")]
    pub(crate) files: Vec<String>,
    /// The picture
    #[arg(short, long, value_name = "SVG", value_parser = new_file)]
    pub(crate) output: PathBuf,
    /// Line above the picture
    #[arg(short, long, default_value = "Latency by percentile")]
    pub(crate) title: String,
}

/// One or more rates, in messages a second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rates(pub(crate) Vec<f64>);

/// Most rates of a sweep: more is a slip of the keyboard.
const RATES_MAX: usize = 100;
/// Longest time that an option may name.
const DURATION_NS_MAX: f64 = 86_400.0 * SECOND_NS as f64;

/// A file that may be there after the run: that its directory is missing shows before.
fn new_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    match directory.filter(|it| !it.is_dir()) {
        Some(missing) => Err(format!("there is no directory {}", missing.display())),
        None if path.is_dir() => Err("it is a directory".into()),
        None => Ok(path),
    }
}

fn rates(text: &str) -> Result<Rates, String> {
    let listed: Result<Vec<Vec<f64>>, String> = text.split(',').map(rate_or_range).collect();
    let rates = listed?.concat();
    if rates.len() > RATES_MAX {
        return Err(format!("{} rates, at most {RATES_MAX}", rates.len()));
    }
    Ok(Rates(rates))
}

fn rate_or_range(text: &str) -> Result<Vec<f64>, String> {
    let Some((from, rest)) = text.split_once("..") else { return Ok(vec![rate(text)?]) };
    let (to, steps) = rest.split_once('/').map_or((rest, None), |(to, steps)| (to, Some(steps)));
    let (from, to) = (rate(from)?, rate(to)?);
    if to <= from {
        return Err("a sweep goes up: LOW..HIGH".into());
    }
    let Some(steps) = steps else { return Ok(doubling(from, to)) };
    match steps.parse::<u32>() {
        Ok(steps @ 2..=100) => Ok(evenly(from, to, steps)),
        _ => Err(format!("{steps:?} is not a number of rates from 2 to {RATES_MAX}")),
    }
}

fn doubling(from: f64, to: f64) -> Vec<f64> {
    let below = std::iter::successors(Some(from), |rate| Some(rate * 2.0));
    below.take_while(|rate| *rate < to).chain([to]).collect()
}

/// Rates that grow by the same factor each.
fn evenly(from: f64, to: f64, steps: u32) -> Vec<f64> {
    let share = |step: u32| f64::from(step) / f64::from(steps - 1);
    (0..steps).map(|step| (from * (to / from).powf(share(step))).round()).collect()
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = scaled(text)?;
    if (0.01..=1e9).contains(&rate) { Ok(rate) } else { Err("a rate is from 0.01 to 1e9".into()) }
}

fn count(text: &str) -> Result<u64, String> {
    let number = scaled(text)?;
    if !(1.0..=1e12).contains(&number) || number.fract() != 0.0 {
        return Err("a whole number from 1".into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(number as u64)
}

/// A number with k or m behind it for thousands and millions.
fn scaled(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.to_ascii_lowercase() {
        lower if lower.ends_with('k') => (&text[..text.len() - 1], 1e3),
        lower if lower.ends_with('m') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is not a number"))?;
    Ok(number * factor)
}

/// A time in nanoseconds from `5`, `5s`, `300ms` or `2m`.
fn duration(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match &text[split..] {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "m" => 60e9,
        other => return Err(format!("{other:?} is not a unit of time: ms, s or m")),
    };
    let wrong = || format!("{text:?} is not a time from 1ms to 24 hours");
    let ns = text[..split].parse::<f64>().map_err(|_| wrong())? * factor;
    if !(1e6..=DURATION_NS_MAX).contains(&ns) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(ns as u64)
}

fn subject(text: &str) -> Result<String, String> {
    let token_is_fine = |token: &str| {
        !token.is_empty() && !matches!(token, "*" | ">") && !token.contains(char::is_whitespace)
    };
    if text.len() <= 200 && text.split('.').all(token_is_fine) {
        return Ok(text.into());
    }
    Err("a subject to publish to has no wildcard, no space, no empty token, and 200 bytes at most"
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check_rates(text: &str, expected: &[f64]) {
        assert_eq!(rates(text), Ok(Rates(expected.to_vec())), "{text}");
    }

    #[test]
    fn a_rate_is_a_number_a_list_or_a_sweep() {
        check_rates("1000", &[1000.0]);
        check_rates("0.5", &[0.5]);
        check_rates("1k,20K,1.5m", &[1e3, 2e4, 1.5e6]);
        check_rates("1k..5k", &[1e3, 2e3, 4e3, 5e3]);
        check_rates("1k..4k", &[1e3, 2e3, 4e3]);
        check_rates("100..10k/3", &[100.0, 1000.0, 10_000.0]);
        check_rates("10,1k..2k", &[10.0, 1e3, 2e3]);
    }

    #[test]
    fn a_time_has_a_unit_or_means_seconds() {
        let times = ["5", "5s", "300ms", "2m", "0.5"].map(|text| duration(text).unwrap());
        assert_eq!(
            times,
            [5 * SECOND_NS, 5 * SECOND_NS, 300_000_000, 120 * SECOND_NS, 500_000_000]
        );
    }

    #[test]
    fn the_last_of_two_equal_options_counts() {
        let line = ["ringmesh-load", "plot", "a", "-o", "x", "b", "c", "-o", "y"];
        let Mode::Plot(plot) = Cli::try_parse_from(line).unwrap().mode else { panic!("no plot") };
        assert_eq!((plot.files.len(), plot.output), (3, PathBuf::from("y")));
    }

    #[track_caller]
    fn check_refused(line: &str, why: &str) {
        let words = ["ringmesh-load"].into_iter().chain(line.split_whitespace());
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(why), "{line}: {error}");
    }

    #[test]
    fn wrong_arguments_are_refused_with_the_reason() {
        check_refused("latency --rate 0", "a rate is from");
        check_refused("latency --rate fast", "not a number");
        check_refused("latency --rate 5k..1k", "goes up");
        check_refused("latency --rate 1..2/1", "number of rates");
        check_refused("latency --rate 1..1000/100,1..1000/100", "at most 100");
        check_refused("latency --size 7", "8..=");
        check_refused("latency --subs 0", "1..=");
        check_refused("latency --duration 0", "not a time");
        check_refused("latency --duration 5h", "unit of time");
        check_refused("latency --subject a..b", "no empty token");
        check_refused("latency --subject a.>", "no wildcard");
        check_refused("latency --server ws://h", "only nats:// and tls://");
        check_refused("latency --tls-cert a.pem", "--tls-key");
        check_refused("storm --tlskey a.pem", "--tls-cert");
        check_refused("request --count 1.5", "whole number");
        check_refused("throughput --count 0", "whole number");
        check_refused("storm --at-once 0", "1..=");
        check_refused("plot a.hgrm", "--output");
        check_refused("plot -o x.svg", "HGRM");
        check_refused("plot -o none/x.svg a.hgrm", "no directory none");
        check_refused("latency --hgrm /no/such/x.hgrm", "no directory /no/such");
        check_refused("storm --svg /", "it is a directory");
        // They measure no latencies.
        check_refused("throughput --hgrm x.hgrm", "--hgrm");
        check_refused("fan-out --svg x.svg", "--svg");
        check_refused("idle --hgrm x.hgrm", "--hgrm");
        check_refused("dance", "dance");
    }
}
