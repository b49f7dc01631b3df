//! Plays the conversations in `tests/transcripts/` against a server and compares every byte.
//!
//! The real nats-server must pass each of them, so that a transcript states what clients meet in
//! the wild and not what we believe; then Ringmesh must, with one, two and four shards. Each file
//! is played three times: with whole writes, byte by byte, and cut at random places.
//! `TRANSCRIPT=part-of-a-name cargo test --test transcripts` plays some of them only.
//! The format is described in `tests/transcripts/README.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
mod transcript;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Kind, on_each_kind, root};
use transcript::{Chunks, Transcript};

on_each_kind! { every_transcript_passes }

/// Most of the time goes into waiting for timers and processes, so more threads than cores help.
const PLAYERS: usize = 8;

fn every_transcript_passes(kind: Kind) {
    let transcripts: Vec<_> = files().iter().map(|path| Transcript::load(path)).collect();
    let jobs: Vec<(&Transcript, Chunks)> = transcripts
        .iter()
        .flat_map(|transcript| transcript.chunks.iter().map(move |&chunks| (transcript, chunks)))
        .collect();
    let failures = play_in_parallel(kind, &jobs);
    let cases: usize = transcripts.iter().map(|transcript| transcript.cases.len()).sum();
    assert!(
        failures.is_empty(),
        "{kind}: {} of {} plays ({cases} cases) failed\n{}",
        failures.len(),
        jobs.len(),
        failures.join("\n")
    );
}

fn play_in_parallel(kind: Kind, jobs: &[(&Transcript, Chunks)]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some((transcript, chunks)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if let Err(failure) = transcript.play(kind, *chunks) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    failures
}

fn files() -> Vec<PathBuf> {
    let wanted = std::env::var("TRANSCRIPT").unwrap_or_default();
    let entries = root().join("tests/transcripts").read_dir().unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter(|path| path.file_stem().unwrap().to_string_lossy().contains(&wanted))
        .collect();
    assert!(!files.is_empty(), "no transcript is called {wanted:?}");
    files.sort();
    files
}
