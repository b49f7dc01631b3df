//! Finds out at start whether this kernel lets the broker work, by trying.

use std::fmt;
use std::fs;
use std::io;

use super::{Uring, UringOptions};

/// Why the ring cannot start: the cause, and what to do about it. One line.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        Self::other(error)
    }
}

/// Makes a ring, and receives and sends through it.
///
/// # Errors
/// The cause and the cure, in one line.
pub fn probe() -> Result<(), StartError> {
    let mut ring = Uring::new(UringOptions::default())?;
    trial(&mut ring).map_err(|error| explain(&error))
}

/// A byte over a loopback connection: accept, send, receive, as the broker does.
fn trial(ring: &mut Uring) -> io::Result<()> {
    use crate::{Batch, Op, Outcome, Ring, Segment, SendMode, Token};
    use std::time::Duration;

    let (listener, address) = super::listen(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let (accept, dial) = (Token::new(0, 0), Token::new(1, 0));
    ring.push(accept, Op::Accept { listener });
    ring.push(dial, Op::Connect { address });
    let (mut done, mut open, mut heard) = (Vec::new(), vec![listener], false);
    for _ in 0..100 {
        ring.turn(Duration::from_millis(100), &mut done)?;
        for completion in done.drain(..) {
            match completion.outcome {
                Outcome::Accepted { socket, .. } => {
                    open.push(socket);
                    ring.push(Token::new(2, 0), Op::Receive { socket });
                }
                Outcome::Connected { socket } => {
                    open.push(socket);
                    let batch = Batch::new(vec![Segment::Static(b"!")]);
                    ring.push(dial, Op::Send { socket, batch, mode: SendMode::Try });
                }
                Outcome::Received { .. } => heard = true,
                Outcome::ReceiveEnded { reason: crate::EndReason::Error(error) }
                | Outcome::ConnectFailed { error }
                | Outcome::AcceptEnded { error: Some(error) } => {
                    return Err(io::Error::from_raw_os_error(error.0));
                }
                Outcome::ReceiveEnded { .. }
                | Outcome::AcceptEnded { .. }
                | Outcome::Sent { .. }
                | Outcome::HasRoom => {}
            }
        }
        if heard {
            break;
        }
    }
    // The ring's end cancels what is still armed; the sockets go with the trial.
    open.into_iter().for_each(super::close);
    if heard { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)) }
}

/// The cause of a failed start and its cure.
pub(super) fn explain(error: &io::Error) -> StartError {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let filtered = fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Seccomp:\t2")));
    let cure = match error.raw_os_error() {
        Some(libc::EPERM) if matches!(sysctl.trim(), "1" | "2") => {
            "io_uring is switched off on this host; run `sysctl -w kernel.io_uring_disabled=0`"
        }
        Some(libc::EPERM | libc::ENOSYS) if filtered => {
            "a seccomp profile forbids io_uring; allow io_uring_setup, io_uring_enter and \
             io_uring_register in the container's profile (--security-opt seccomp=...)"
        }
        Some(libc::ENOSYS | libc::EINVAL) => "this kernel is too old; Linux 6.1 or later is needed",
        Some(libc::ENOMEM) => {
            "the limit of locked memory is too small; raise it (LimitMEMLOCK=, `ulimit -l`)"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is left; raise the limit of open files (LimitNOFILE=, `ulimit -n`)"
        }
        _ => "io_uring could not be started",
    };
    StartError(format!("{cure} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes_the_probe() {
        probe().expect("io_uring works here");
    }

    #[test]
    fn an_old_kernel_is_named_as_the_cause() {
        let text = explain(&io::Error::from_raw_os_error(libc::EINVAL)).to_string();
        assert!(text.contains("Linux 6.1"), "{text}");
    }
}
