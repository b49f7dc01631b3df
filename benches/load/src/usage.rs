//! What the servers under test cost this machine, read from /proc. They must run here, which their
//! process ids say.

use crate::error::Fault;
use std::fs;

/// The processes whose cost is reported; may be none.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerProcesses {
    pids: Vec<u32>,
}

impl ServerProcesses {
    /// # Errors
    /// [`Fault::Usage`] when there is no such process, or it may not be looked at.
    pub(crate) fn new(pids: &[u32]) -> Result<Self, Fault> {
        match pids.iter().find(|pid| rss_kib(**pid).is_none()) {
            Some(pid) => Err(Fault::Usage(format!("--server-pid: no process {pid} to look at"))),
            None => Ok(Self { pids: pids.to_vec() }),
        }
    }

    pub(crate) fn are_known(&self) -> bool {
        !self.pids.is_empty()
    }

    /// CPU time of all threads so far, in nanoseconds: the scheduler's own count, not the ticks of
    /// /proc/PID/stat.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.pids.iter().map(|pid| cpu_ns(*pid)).sum()
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.pids.iter().filter_map(|pid| rss_kib(*pid)).sum()
    }
}

fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_has_memory_and_cpu_time() {
        let this = ServerProcesses::new(&[std::process::id()]).unwrap();
        assert!(this.are_known() && this.rss_kib() > 0 && this.cpu_ns() > 0);
    }

    #[test]
    fn a_process_that_does_not_run_is_refused() {
        assert_eq!(ServerProcesses::new(&[u32::MAX]).unwrap_err().exit_code(), 2);
    }
}
