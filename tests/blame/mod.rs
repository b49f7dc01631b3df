//! What a failure of a test says before it ends: how to play again just what failed.

#![allow(clippy::print_stderr, reason = "a failure names what it played")]

/// Says something if its test fails while it is there.
pub(crate) struct Blame<F: Fn() -> String>(pub(crate) F);

impl<F: Fn() -> String> Drop for Blame<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", (self.0)());
        }
    }
}
