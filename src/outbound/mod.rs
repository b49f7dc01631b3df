//! Bytes on their way out: queues, their memory, and the socket state that decides who waits.

mod lanes;
mod link;
mod outflow;
mod pool;
mod queue;

pub use lanes::Lanes;
pub use link::{Closing, Link, LinkTable, OutboundLimits};
pub use outflow::{Narrow, Outflow};
pub use pool::Pool;
pub use queue::{Queue, SHARE_BYTES_MIN};
