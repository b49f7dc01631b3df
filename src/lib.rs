//! Ringmesh: a message broker on io_uring that speaks the NATS protocols.
//!
//! The modules stand in reading order, from the vocabulary up; a module imports its own layer or a
//! lower one (`tests/tidy.rs` holds it). See ARCHITECTURE.md for the picture.

#![forbid(unsafe_code)]

pub mod close;
pub mod hist;
pub mod ids;
pub mod limits;
pub mod report;
pub mod stats;
pub mod subject;

pub mod proto;
pub mod transport;

pub mod outbound;
pub mod sublist;
pub mod timer;

pub mod account;
pub mod auth;

pub mod session;

pub mod router;

pub mod engine;
pub mod mailbox;

pub mod shard;

pub mod cluster;
pub mod config;
pub mod events;
pub mod files;
pub mod logging;
pub mod monitor;
pub mod signals;

pub mod server;
