//! A bar on a terminal, and nothing anywhere else.
//!
//! The bar is drawn by a thread of its own from one number, so that the load never waits for a terminal.

use crate::sys;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Whether bars may be drawn at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Display {
    on: bool,
}

impl Display {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { on: !quiet && std::io::stderr().is_terminal() }
    }

    /// A bar named `name` that is full at `total`; it goes when the [`Progress`] goes.
    pub(crate) fn start(self, name: &str, total: u64) -> Progress {
        let shared = Arc::new(Shared::default());
        let drawer = self.on.then(|| draw(name.to_owned(), total, Arc::clone(&shared)));
        Progress { shared, drawer }
    }
}

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    over: AtomicBool,
}

/// How far one run is.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

impl Progress {
    #[inline]
    pub(crate) fn set(&self, done: u64) {
        // The drawer may see any of the numbers, so no order is needed.
        self.shared.done.store(done, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Only ends a loop; the join below orders everything else.
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer.take() {
            drawer.thread().unpark();
            // A drawer that panicked has cost the bar, not the figures.
            let _ = drawer.join();
        }
    }
}

fn draw(name: String, total: u64, shared: Arc<Shared>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        // Off the CPU that the load is pinned to; a bar that must share it is still a bar.
        let _ = sys::unpin();
        let style = ProgressStyle::with_template("{msg:24} {wide_bar} {percent:>3} %  {elapsed}");
        let bar = ProgressBar::new(total).with_message(name);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        while !shared.over.load(Ordering::Relaxed) {
            bar.set_position(shared.done.load(Ordering::Relaxed).min(total));
            bar.tick();
            std::thread::park_timeout(REDRAW);
        }
        bar.finish_and_clear();
    })
}
