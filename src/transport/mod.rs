//! Between a connection's plain bytes and those on the wire: bytes in, bytes out.
//!
//! A transport knows no protocol above it and no socket below it.

mod level;
mod mode;
pub mod s2;
mod stack;
pub mod tls;
mod worth;

pub use level::{Level, level_for_rtt};
pub use mode::{Mode, UnsupportedMode, negotiate};
pub use s2::Progress;
pub use stack::{Scratch, Transport, TransportCounts, TransportError};
pub use worth::Worth;
