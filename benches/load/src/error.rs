//! Why a run ended badly, and the exit code that says it to a script.

use std::fmt;
use std::io;

/// Everything that ends a run. The exit code separates what the server did from what the caller asked.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Messages did not arrive within the bound.
    Lost { came: u64, wanted: u64 },
    /// Messages came twice or out of their order.
    Disordered { messages: u64 },
    /// The server closed a connection, or said -ERR, in the middle of a run.
    Cut { whom: String, why: String },
    /// The bytes are not the NATS client protocol.
    Protocol(String),
    /// No session could be made: no answer, or the login was refused.
    Connect { to: String, why: String },
    /// The arguments ask for something that cannot be.
    Usage(String),
    /// This machine refuses: a file, a descriptor, a CPU.
    Machine { what: String, why: io::Error },
}

impl Fault {
    /// 1: the server lost messages or cut connections. 2: the run could not be made.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Lost { .. } | Self::Disordered { .. } | Self::Cut { .. } | Self::Protocol(_) => 1,
            Self::Connect { .. } | Self::Usage(_) | Self::Machine { .. } => 2,
        }
    }

    /// For `map_err`: says what was tried when the machine refused.
    pub(crate) fn machine(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |why| Self::Machine { what, why }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { came, wanted } => {
                write!(f, "lost: {came} of {wanted} messages came in time")
            }
            Self::Disordered { messages } => {
                write!(f, "{messages} messages came twice or out of order")
            }
            Self::Cut { whom, why } => write!(f, "{whom} was cut or refused by the server: {why}"),
            Self::Protocol(what) => write!(f, "not the NATS protocol: {what}"),
            Self::Connect { to, why } => write!(f, "cannot connect to {to}: {why}"),
            Self::Usage(what) => f.write_str(what),
            Self::Machine { what, why } => write!(f, "{what}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fault: &Fault, code: u8) {
        assert_eq!(fault.exit_code(), code, "{fault}");
    }

    #[test]
    fn the_exit_code_tells_a_bad_server_from_a_bad_question() {
        check(&Fault::Lost { came: 1, wanted: 2 }, 1);
        check(&Fault::Disordered { messages: 1 }, 1);
        check(&Fault::Cut { whom: "a publisher".into(), why: "slow".into() }, 1);
        check(&Fault::Protocol("HTTP".into()), 1);
        check(&Fault::Connect { to: "x".into(), why: "refused".into() }, 2);
        check(&Fault::Usage("size".into()), 2);
    }
}
