//! Clusters of real processes: nodes of nats-server, of Ringmesh, and of both.
//!
//! Each test runs on every layout that [`mesh::layout`] gives, so that the real server has passed
//! it before Ringmesh has to. What goes over the wire is not looked at, only what clients and
//! operators see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mesh;
mod support;

mod cluster {
    mod accounts;
    mod clients;
    mod compression;
    mod doors;
    mod interest;
    mod load;
    mod matrix;
    mod membership;
    mod messages;
    mod monitoring;
    mod operators;
    mod queues;
}
