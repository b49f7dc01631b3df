//! `--signal cmd[=pid]`: which signal to send, and to whom.
//!
//! This module only reads the request; finding processes and sending is done elsewhere.

use super::duration::quote;

/// A signal to a running server, by the word `--signal` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSignal {
    /// `stop`: SIGKILL.
    Stop,
    /// `quit`: SIGINT.
    Quit,
    /// `term`: SIGTERM.
    Term,
    /// `reopen`: SIGUSR1, the log file is opened anew.
    Reopen,
    /// `reload`: SIGHUP, the configuration is read anew.
    Reload,
    /// `ldm`: SIGUSR2, lame duck mode.
    LameDuck,
}

impl ServerSignal {
    /// The word on the command line, which error texts repeat.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Quit => "quit",
            Self::Term => "term",
            Self::Reopen => "reopen",
            Self::Reload => "reload",
            Self::LameDuck => "ldm",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        [Self::Stop, Self::Quit, Self::Term, Self::Reopen, Self::Reload, Self::LameDuck]
            .into_iter()
            .find(|signal| signal.word() == word)
            .ok_or_else(|| format!("unknown signal {}", quote(word)))
    }
}

/// Who gets the signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalTarget {
    /// The one process with the server's name; an error if there are several.
    Only,
    /// The process of this id.
    Process(u64),
    /// Every process with the server's name whose id begins with these digits; all if there are
    /// none.
    Prefix(String),
}

/// What `--signal` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRequest {
    /// What to send.
    pub signal: ServerSignal,
    /// To whom.
    pub target: SignalTarget,
}

impl SignalRequest {
    /// Reads `cmd[=pid]`, where the pid may be the path of a file that holds it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('=');
        let word = parts.next().unwrap_or_default();
        let pid = parts.next();
        let rest: Vec<&str> = parts.collect();
        if !rest.is_empty() {
            return Err(format!("invalid signal parameters: [{}]", rest.join(" ")));
        }
        let target = match pid {
            Some(pid) => SignalTarget::parse(&pid_from_file(pid))?,
            None => SignalTarget::Only,
        };
        Ok(Self { signal: ServerSignal::parse(word)?, target })
    }
}

impl SignalTarget {
    fn parse(text: &str) -> Result<Self, String> {
        let (digits, is_prefix) = match text.strip_suffix('*') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        if digits.is_empty() {
            return Ok(if is_prefix { Self::Prefix(String::new()) } else { Self::Only });
        }
        match digits.parse::<u64>() {
            // More is no number to the peer, either.
            Ok(pid) if i64::try_from(pid).is_ok() && pid > 0 => {
                Ok(if is_prefix { Self::Prefix(digits.into()) } else { Self::Process(pid) })
            }
            _ => Err(format!("invalid pid: {digits}")),
        }
    }
}

/// The content of the file of that name if there is one, else the text itself.
fn pid_from_file(text: &str) -> String {
    match std::fs::read_to_string(text) {
        Ok(content) => content.trim().to_owned(),
        Err(_) => text.to_owned(),
    }
}
