//! What tests need that is not Rust, made by `scripts/tools` on first use.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The path of a tool, by the word that `scripts/tools` knows it by; `None` where it cannot be made.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tools");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| PathBuf::from(path.trim()))
}
