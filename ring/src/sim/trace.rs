//! A fingerprint of everything that a simulation did.

use super::rng::scramble;
use crate::{EndReason, Errno, Outcome, Time, Token};

/// Folds completions into one number: two runs with the same fingerprint did the same things in the
/// same order.
pub(super) struct Trace {
    hash: u64,
}

impl Trace {
    pub(super) const fn new() -> Self {
        Self { hash: 0 }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds one completion of one ring.
    pub(super) fn note(&mut self, now: Time, ring: usize, token: Token, outcome: &Outcome) {
        self.fold(now.nanos());
        self.fold(ring as u64);
        self.fold((u64::from(token.generation) << 32) | u64::from(token.index));
        self.outcome(outcome);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted { socket, peer: _ } => self.tagged(1, socket.0),
            Outcome::AcceptEnded { error } => self.tagged(2, number(*error)),
            Outcome::Received { bytes } => {
                self.tagged(3, 0);
                self.bytes(bytes);
            }
            Outcome::ReceiveEnded { reason } => self.reason(*reason),
            Outcome::Sent { batch: _, bytes, error, copied, timely: _ } => {
                self.tagged(if *copied { 6 } else { 5 }, number(*error));
                self.fold(*bytes as u64);
            }
            Outcome::HasRoom => self.tagged(9, 0),
            Outcome::Connected { socket } => self.tagged(7, socket.0),
            Outcome::ConnectFailed { error } => self.tagged(8, error.0),
        }
    }

    const fn reason(&mut self, reason: EndReason) {
        match reason {
            EndReason::Eof => self.tagged(10, 0),
            EndReason::NoBuffers => self.tagged(11, 0),
            EndReason::Cancelled => self.tagged(12, 0),
            EndReason::Rearm => self.tagged(13, 0),
            EndReason::Error(error) => self.tagged(14, error.0),
        }
    }

    const fn tagged(&mut self, tag: u32, number: i32) {
        self.fold(((tag as u64) << 32) | number.cast_unsigned() as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    const fn fold(&mut self, word: u64) {
        self.hash = scramble(self.hash.rotate_left(5) ^ word).wrapping_add(1);
    }
}

fn number(error: Option<Errno>) -> i32 {
    error.map_or(0, |error| error.0)
}
