//! The `ringmesh` program.
#![forbid(unsafe_code)]
fn main() {}
