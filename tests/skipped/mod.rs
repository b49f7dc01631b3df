//! What a test says that cannot run here. `scripts/test` gathers these lines.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

/// Says what is not tested here, past the harness, which keeps what is printed.
pub(crate) fn skipped(what: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED {what}").unwrap();
}
