//! The modes, one a module, and what several of them need: the servers, the payload, the cost of a run.

pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod paced;
pub(crate) mod request;
pub(crate) mod stall;
pub(crate) mod storm;
pub(crate) mod throughput;

use crate::args::{PayloadArgs, PrintArgs, TargetArgs};
use crate::client::{Client, Traffic};
use crate::error::Fault;
use crate::progress::Display;
use crate::report::{Report, Run};
use crate::server::Server;
use crate::sys::{self, SECOND_NS};
use crate::tls::Tls;
use crate::usage::ServerProcesses;

/// Between the last subscription and the first message: the server's own work of the set-up is done by then.
const SETTLE_NS: u64 = 300_000_000;

/// The target of a run, its arguments checked and its CPU chosen.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) processes: ServerProcesses,
    pub(crate) lost_after_ns: u64,
    pub(crate) display: Display,
}

impl Bench {
    /// # Errors
    /// When a process, a CPU, a host or a certificate does not exist.
    pub(crate) fn new(target: &TargetArgs, print: &PrintArgs) -> Result<Self, Fault> {
        sys::raise_descriptor_limit();
        let processes = ServerProcesses::new(&target.server_pid)?;
        let server = Server::resolve(&target.server, Tls::new(&target.tls)?)?;
        let display = Display::new(print.quiet);
        if let Some(cpu) = target.cpu {
            sys::pin_to_cpu(cpu).map_err(Fault::machine(format!("--cpu {cpu}")))?;
        }
        Ok(Self { server, processes, lost_after_ns: target.lost_after, display })
    }

    /// The server that subscribers connect to.
    pub(crate) fn subscribe_server(&self, payload: &PayloadArgs) -> Result<Server, Fault> {
        match &payload.subscribe_server {
            None => Ok(self.server.clone()),
            Some(url) => Server::resolve(url, self.server.tls.clone()),
        }
    }

    /// The report of a run against the server of `client`; its URL says whether TLS is spoken.
    pub(crate) fn report(&self, mode: &'static str, client: &Client, load: String) -> Report {
        let mut url = self.server.url.clone();
        url.tls = client.is_secure();
        let (server, url) = (client.info.label.clone(), url.to_string());
        Report { mode, server, url, load, runs: Vec::new(), fault: None }
    }
}

/// A session that subscribes to `subject`.
pub(crate) fn subscriber(server: &Server, subject: &str) -> Result<Client, Fault> {
    let mut client = Client::dial(server, "a subscriber", Traffic::Busy)?;
    client.subscribe(subject)?;
    Ok(client)
}

/// A session that will publish payloads of `payload`'s size.
pub(crate) fn publisher(server: &Server, payload: &PayloadArgs) -> Result<Client, Fault> {
    let client = Client::dial(server, "a publisher", Traffic::Idle)?;
    let max = client.info.max_payload;
    if u64::from(payload.size) > max {
        let size = payload.size;
        return Err(Fault::Usage(format!("--size {size}: the server takes {max} bytes at most")));
    }
    Ok(client)
}

/// Lets the server finish what the set-up made it do.
pub(crate) fn settle() {
    sys::sleep_ns(SETTLE_NS);
}

/// The bytes of every message: text that compresses like most messages do, or noise that does not.
pub(crate) fn body(payload: &PayloadArgs) -> Vec<u8> {
    let len = payload.size as usize;
    if payload.random {
        return noise().take(len).collect();
    }
    TEXT.iter().copied().cycle().take(len).collect()
}

const TEXT: &[u8] =
    br#"{"station":"north-12","wind":{"speed":7.4,"from":215},"hPa":1013.2,"note":"clear"},"#;

/// Bytes without a pattern, the same in every run (xorshift64*).
fn noise() -> impl Iterator<Item = u8> {
    let step = |state: &u64| {
        let state = state ^ (state >> 12);
        let state = state ^ (state << 25);
        Some(state ^ (state >> 27))
    };
    std::iter::successors(Some(0x9e37_79b9_7f4a_7c15), step)
        .map(|state| state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0])
}

/// "128 B to 16 subscribers, ..." for the report.
pub(crate) fn in_words(payload: &PayloadArgs, subs: u32) -> String {
    let plural = if subs == 1 { "" } else { "s" };
    let what = if payload.random { " of noise" } else { "" };
    format!("{} B{what} to {subs} subscriber{plural}", payload.size)
}

/// What the servers and the load used since a moment.
pub(crate) struct Meter<'a> {
    processes: &'a ServerProcesses,
    server_cpu_ns: u64,
    own_cpu_ns: u64,
    began_ns: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(processes: &'a ServerProcesses) -> Self {
        let server_cpu_ns = processes.cpu_ns();
        Self { processes, server_cpu_ns, own_cpu_ns: sys::own_cpu_ns(), began_ns: sys::now_ns() }
    }

    pub(crate) fn elapsed_s(&self) -> f64 {
        seconds(sys::now_ns() - self.began_ns)
    }

    /// CPU time of the servers so far, in microseconds.
    fn server_cpu_us(&self) -> f64 {
        self.processes.cpu_ns().saturating_sub(self.server_cpu_ns) as f64 / 1e3
    }

    /// Adds the servers' CPU time over each of `counts`, and their memory, when they are known.
    pub(crate) fn add_to(&self, run: &mut Run, counts: &[(&'static str, u64)]) {
        if self.processes.are_known() {
            let cpu_us = self.server_cpu_us();
            for (key, count) in counts {
                run.add(key, cpu_us / *count as f64);
            }
            run.add_count("server_rss_kib", self.processes.rss_kib());
        }
    }

    /// Share of the time that the load was busy: near 1, the load and not the server was the limit.
    pub(crate) fn load_busy(&self) -> f64 {
        seconds(sys::own_cpu_ns() - self.own_cpu_ns) / self.elapsed_s()
    }
}

pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_no_pattern() {
        let mut seen = [0u32; 256];
        noise().take(65_536).for_each(|byte| seen[usize::from(byte)] += 1);
        assert!(seen.iter().all(|&times| (150..400).contains(&times)), "{seen:?}");
    }
}
