//! Between a connection's plain bytes and those on the wire: bytes in, bytes out.
//!
//! A transport knows no protocol above it and no socket below it.

mod mode;

pub use mode::{Mode, UnsupportedMode, negotiate};
