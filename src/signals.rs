//! Signals: those that the server acts on, and those that `--signal` sends to another one.

use std::fs;
use std::io;
use std::thread::{self, JoinHandle};

use rustix::io::Errno;
use rustix::process::{Pid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

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

/// Carries out `--signal argument`, where `argument` is `command[=pid]`: the pid is a number, the
/// path of a pid file, or the beginning of a pid and `*`. Without a pid it is that of the one running
/// process called `program`.
///
/// # Errors
/// What to print after the program's name; the exit status is 1 then, otherwise 0.
pub fn send(argument: &str, program: &str) -> Result<(), String> {
    let parts: Vec<&str> = argument.split('=').collect();
    let (command, target) = match parts.as_slice() {
        [command] => (*command, ""),
        [command, target] => (*command, *target),
        [_, _, rest @ ..] => {
            return Err(format!("invalid signal parameters: [{}]", rest.join(" ")));
        }
        [] => ("", ""),
    };
    let pids = resolve(target, program)?;
    let signal = signal_of(command);
    let mut failures = String::new();
    for pid in pids {
        let signal = signal.ok_or_else(|| format!("unknown signal \"{command}\""))?;
        if let Err(error) = kill_process(pid, signal) {
            let number = pid.as_raw_nonzero();
            failures.push_str(&format!("\nsignal \"{command}\" {number}: {}", errno_text(error)));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// The processes that are meant by what stands after the `=`.
fn resolve(target: &str, program: &str) -> Result<Vec<Pid>, String> {
    let (start, several) = match target.strip_suffix('*') {
        Some(start) => (start, true),
        None => (target, false),
    };
    // A pid file's content takes the place of its path.
    let text = fs::read_to_string(start).unwrap_or_else(|_| start.to_owned());
    let pid = if text.is_empty() { None } else { Some(parse_pid(&text)?) };
    match pid {
        Some(pid) if !several => return Ok(vec![pid]),
        Some(_) | None => {}
    }
    let running = running(program);
    match running.as_slice() {
        [] if pid.is_none() => Err(format!("no {program} processes running")),
        [_, _, ..] if !several => Err(ambiguous(program, &running)),
        _ => Ok(running.into_iter().filter(|pid| starts_with(*pid, &text)).collect()),
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

/// Zero and negative numbers would mean whole groups of processes, or all of them, so they are no
/// pids here.
fn parse_pid(text: &str) -> Result<Pid, String> {
    let number = text.parse::<i32>().ok().filter(|number| *number > 0);
    number.and_then(Pid::from_raw).ok_or_else(|| format!("invalid pid: {text}"))
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

fn signal_of(command: &str) -> Option<rustix::process::Signal> {
    match command {
        "stop" => Some(rustix::process::Signal::KILL),
        "quit" => Some(rustix::process::Signal::INT),
        "term" => Some(rustix::process::Signal::TERM),
        "reload" => Some(rustix::process::Signal::HUP),
        "reopen" => Some(rustix::process::Signal::USR1),
        "ldm" => Some(rustix::process::Signal::USR2),
        _ => None,
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

    #[track_caller]
    fn check_refused(argument: &str, expected: &str) {
        assert_eq!(send(argument, "no-such-name"), Err(expected.to_owned()), "{argument:?}");
    }

    #[test]
    fn what_cannot_be_signalled_is_named() {
        check_refused("reload", "no no-such-name processes running");
        check_refused("=", "no no-such-name processes running");
        check_refused("reload=*", "no no-such-name processes running");
        check_refused("reload=abc", "invalid pid: abc");
        check_refused("reload=abc*", "invalid pid: abc");
        check_refused("reload=/no/such/file", "invalid pid: /no/such/file");
        check_refused("reload=x=y", "invalid signal parameters: [y]");
        check_refused("reload=999999999", "\nsignal \"reload\" 999999999: no such process");
        check_refused("foo=999999999", "unknown signal \"foo\"");
        check_refused("=999999999", "unknown signal \"\"");
        assert_eq!(send("reload=99999*", "no-such-name"), Ok(()), "no pid begins like that");
    }

    #[test]
    fn a_group_of_processes_is_never_meant() {
        for group in ["0", "-1", "-5", "0*"] {
            check_refused(
                &format!("reload={group}"),
                &format!("invalid pid: {}", group.trim_end_matches('*')),
            );
        }
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
    fn a_process_is_found_by_number_pid_file_beginning_and_name() {
        let directory = tempfile::tempdir().unwrap();
        // Longer than the kernel keeps, and of this process alone.
        let name = &format!("{}-sleeps-longer", std::process::id());
        let check = |argument: &dyn Fn(u32) -> String| {
            let child = sleeper(&directory, name);
            assert_eq!(send(&argument(child.id()), name), Ok(()));
            assert_eq!(ended_by(child), Some(SIGTERM));
        };
        check(&|pid| format!("term={pid}"));
        check(&|_| "term".into());
        check(&|_| "term=*".into());
        check(&|pid| format!("term={pid}*"));
        let pid_file = directory.path().join("pid");
        check(&|pid| {
            fs::write(&pid_file, pid.to_string()).unwrap();
            format!("term={}", pid_file.display())
        });
        let (one, two) = (sleeper(&directory, name), sleeper(&directory, name));
        let mut pids = [one.id(), two.id()];
        pids.sort_unstable();
        let [first, second] = pids;
        let expected = format!("multiple {name} processes running:\n{first}\n{second}");
        assert_eq!(send("term", name), Err(expected));
        assert_eq!(send("stop=*", name), Ok(()));
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
