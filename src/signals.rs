//! Signals: those that the server acts on, and those that `--signal` sends to another one.

use std::fs;
use std::io;
use std::thread::{self, JoinHandle};

use rustix::io::Errno;
use rustix::process::{Pid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

use crate::config::{ServerSignal, SignalRequest, SignalTarget};

/// What a signal asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: shut down.
    Interrupt,
    /// SIGTERM: shut down, unless in lame duck mode.
    Terminate,
    /// SIGHUP: load the configuration again.
    Reload,
    /// SIGUSR1: open the log file again.
    ReopenLog,
    /// SIGUSR2: send the clients away, then shut down.
    LameDuck,
}

impl Signal {
    /// The signal's name in the log line `Trapped "…" signal`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Reload => "hangup",
            Self::ReopenLog => "user defined signal 1",
            Self::LameDuck => "user defined signal 2",
        }
    }

    const fn of(number: i32) -> Option<Self> {
        match number {
            SIGINT => Some(Self::Interrupt),
            SIGTERM => Some(Self::Terminate),
            SIGHUP => Some(Self::Reload),
            SIGUSR1 => Some(Self::ReopenLog),
            SIGUSR2 => Some(Self::LameDuck),
            _ => None,
        }
    }
}

/// A thread that waits for signals. It ends when this is dropped.
#[derive(Debug)]
pub struct SignalListener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalListener {
    /// From now on the signals of [`Signal`] do not end the process; `take` is called with each, on
    /// a thread of its own, and must not block for long.
    ///
    /// # Errors
    /// When the handlers cannot be installed or the thread cannot be started.
    pub fn start(mut take: impl FnMut(Signal) + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2])?;
        let handle = signals.handle();
        let wait = move || signals.forever().filter_map(Signal::of).for_each(&mut take);
        let thread = thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // Its panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Carries out `--signal`. Without a pid the one running process called `program` is meant.
///
/// # Errors
/// What to print after the program's name; the exit status is 1 then, otherwise 0.
pub fn send(request: &SignalRequest, program: &str) -> Result<(), String> {
    let (word, signal) = (request.signal.word(), number_of(request.signal));
    let failure =
        |number: u64, error| format!("\nsignal \"{word}\" {number}: {}", errno_text(error));
    let mut failures = String::new();
    for pid in resolve(&request.target, program, |number| failure(number, Errno::SRCH))? {
        if let Err(error) = kill_process(pid, signal) {
            let number = pid.as_raw_nonzero().get().unsigned_abs().into();
            failures.push_str(&failure(number, error));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// The processes that are meant; a number that no process can have is `missing`.
fn resolve(
    target: &SignalTarget,
    program: &str,
    missing: impl Fn(u64) -> String,
) -> Result<Vec<Pid>, String> {
    let nobody = || format!("no {program} processes running");
    match target {
        SignalTarget::Process(pid) => {
            let found = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            Ok(vec![found.ok_or_else(|| missing(*pid))?])
        }
        SignalTarget::Only => match running(program).as_slice() {
            [] => Err(nobody()),
            [one] => Ok(vec![*one]),
            several => Err(ambiguous(program, several)),
        },
        SignalTarget::Prefix(digits) => {
            let running = running(program);
            if running.is_empty() && digits.is_empty() {
                return Err(nobody());
            }
            Ok(running.into_iter().filter(|pid| starts_with(*pid, digits)).collect())
        }
    }
}

fn starts_with(pid: Pid, text: &str) -> bool {
    pid.as_raw_nonzero().to_string().starts_with(text)
}

fn ambiguous(program: &str, pids: &[Pid]) -> String {
    let mut text = format!("multiple {program} processes running:");
    for pid in pids {
        text.push_str(&format!("\n{}", pid.as_raw_nonzero()));
    }
    text
}

/// The running processes whose name is `program`, without this one.
fn running(program: &str) -> Vec<Pid> {
    let mut found: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| i64::from(*pid) != i64::from(std::process::id()) && is_called(*pid, program))
        .collect();
    found.sort_unstable();
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// Whether a process has that name (of which the kernel keeps 15 bytes) and is not dead already.
fn is_called(pid: i32, program: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let Some((head, tail)) = stat.rsplit_once(") ") else {
        return false;
    };
    let name = head.split_once('(').map_or("", |(_, name)| name);
    let kept = program.get(..NAME_BYTES_MAX).unwrap_or(program);
    name == kept && !tail.starts_with(['Z', 'X'])
}

fn number_of(signal: ServerSignal) -> rustix::process::Signal {
    match signal {
        ServerSignal::Stop => rustix::process::Signal::KILL,
        ServerSignal::Quit => rustix::process::Signal::INT,
        ServerSignal::Term => rustix::process::Signal::TERM,
        ServerSignal::Reload => rustix::process::Signal::HUP,
        ServerSignal::Reopen => rustix::process::Signal::USR1,
        ServerSignal::LameDuck => rustix::process::Signal::USR2,
    }
}

fn errno_text(error: Errno) -> String {
    match error {
        Errno::SRCH => "no such process".into(),
        Errno::PERM => "operation not permitted".into(),
        other => other.to_string(),
    }
}

const NAME_BYTES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::sync::mpsc;
    use std::time::Duration;

    fn ask(signal: ServerSignal, target: SignalTarget, program: &str) -> Result<(), String> {
        send(&SignalRequest { signal, target }, program)
    }

    #[track_caller]
    fn check_refused(target: SignalTarget, expected: &str) {
        let said = ask(ServerSignal::Reload, target.clone(), "no-such-name");
        assert_eq!(said, Err(expected.to_owned()), "{target:?}");
    }

    #[test]
    fn what_cannot_be_signalled_is_named() {
        check_refused(SignalTarget::Only, "no no-such-name processes running");
        check_refused(SignalTarget::Prefix(String::new()), "no no-such-name processes running");
        let gone = "\nsignal \"reload\" 999999999: no such process";
        check_refused(SignalTarget::Process(999_999_999), gone);
        let gone = "\nsignal \"reload\" 4000000000: no such process";
        check_refused(SignalTarget::Process(4_000_000_000), gone);
        let nobody = SignalTarget::Prefix("99999".into());
        assert_eq!(ask(ServerSignal::Reload, nobody, "no-such-name"), Ok(()), "no pid begins so");
    }

    /// A process that ends with its signal.
    fn sleeper(directory: &tempfile::TempDir, name: &str) -> Child {
        let program = directory.path().join(name);
        let _ = std::os::unix::fs::symlink("/bin/sleep", &program);
        Command::new(program).arg("60").spawn().unwrap()
    }

    fn ended_by(mut child: Child) -> Option<i32> {
        std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap())
    }

    #[test]
    fn a_process_is_found_by_number_beginning_and_name() {
        let directory = tempfile::tempdir().unwrap();
        // Longer than the kernel keeps, and of this process alone.
        let name = &format!("{}-sleeps-longer", std::process::id());
        let check = |target: &dyn Fn(u32) -> SignalTarget| {
            let child = sleeper(&directory, name);
            assert_eq!(ask(ServerSignal::Term, target(child.id()), name), Ok(()));
            assert_eq!(ended_by(child), Some(SIGTERM));
        };
        check(&|pid| SignalTarget::Process(pid.into()));
        check(&|_| SignalTarget::Only);
        check(&|_| SignalTarget::Prefix(String::new()));
        check(&|pid| SignalTarget::Prefix(pid.to_string()));
        let (one, two) = (sleeper(&directory, name), sleeper(&directory, name));
        let mut pids = [one.id(), two.id()];
        pids.sort_unstable();
        let [first, second] = pids;
        let expected = format!("multiple {name} processes running:\n{first}\n{second}");
        assert_eq!(ask(ServerSignal::Term, SignalTarget::Only, name), Err(expected));
        let all = SignalTarget::Prefix(String::new());
        assert_eq!(ask(ServerSignal::Stop, all, name), Ok(()));
        assert_eq!((ended_by(one), ended_by(two)), (Some(9), Some(9)));
    }

    #[test]
    fn each_signal_is_told_by_what_it_asks() {
        let (sender, receiver) = mpsc::channel();
        let listener = SignalListener::start(move |signal| sender.send(signal).unwrap()).unwrap();
        let check = |number, expected: Signal, name| {
            signal_hook::low_level::raise(number).unwrap();
            assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(expected));
            assert_eq!(expected.name(), name);
        };
        check(SIGHUP, Signal::Reload, "hangup");
        check(SIGUSR1, Signal::ReopenLog, "user defined signal 1");
        check(SIGUSR2, Signal::LameDuck, "user defined signal 2");
        check(SIGTERM, Signal::Terminate, "terminated");
        check(SIGINT, Signal::Interrupt, "interrupt");
        drop(listener);
    }
}
