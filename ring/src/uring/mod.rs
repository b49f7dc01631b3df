//! The kernel ring.
