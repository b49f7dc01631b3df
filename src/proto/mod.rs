//! The wire format, sans-io: bytes to operations, and answers to bytes.
//!
//! Nothing here reads a socket, keeps state between calls or knows a subscription. Parsers borrow
//! the receive buffer; encoders append to a buffer of the caller.
//!
//! Invariant: no peer input panics, and cutting a stream anywhere gives the same operations.

pub mod client;
pub mod connect;
pub mod encode;
pub mod headers;
pub mod info;
mod line;
pub mod quote;
pub mod redact;
pub mod refusal;
pub mod route;
pub mod route_info;
