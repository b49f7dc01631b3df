//! The `ringmesh` program: flags to options, options to a server.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use ringmesh::config::{self, Invocation};
use ringmesh::{server, signals};

fn main() -> ExitCode {
    let program = program();
    ExitCode::from(match config::command_line(std::env::args_os()) {
        Invocation::Run(loaded) => {
            for warning in &loaded.warnings {
                say(&mut std::io::stderr(), &format!("{warning}\n"));
            }
            server::run(*loaded, &program).unwrap_or_else(|text| {
                say(&mut std::io::stderr(), &format!("{text}\n"));
                1
            })
        }
        Invocation::Exit { stdout, stderr, code } => {
            say(&mut std::io::stderr(), &stderr);
            say(&mut std::io::stdout(), &stdout);
            code
        }
        Invocation::Signal(request) => match signals::send(&request, &program) {
            Ok(()) => 0,
            Err(text) => {
                say(&mut std::io::stderr(), &format!("{program}: {text}\n"));
                1
            }
        },
    })
}

/// The name this program was started under.
fn program() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&first).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Prints; a reader that is gone is no reason to fail.
fn say(out: &mut impl Write, text: &str) {
    let _ = out.write_all(text.as_bytes());
}
