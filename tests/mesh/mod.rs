//! Clusters for tests: which programs their nodes run, how they start, when they are whole.
//!
//! A test says what its nodes are in a [`Plan`] and gets a [`Cluster`] of real processes. Which
//! program a node runs comes from a [`Layout`], so that every test runs on nodes of nats-server, of
//! Ringmesh, and of both, in every order. Nothing here knows the wire between servers.
//!
//! Invariant: a cluster's processes end with it, and its ports stay its own while nodes restart.

#![allow(unused_imports, dead_code, reason = "each test binary uses its own part")]

pub(crate) mod certificates;
pub(crate) mod client;
mod cluster;
pub(crate) mod http;
pub(crate) mod layout;
pub(crate) mod node;
pub(crate) mod ports;
pub(crate) mod relay;
#[path = "../skipped/mod.rs"]
mod skipped;
pub(crate) mod space;

pub(crate) use client::{Client, Message, introduce};
pub(crate) use cluster::{Cluster, Plan};
pub(crate) use layout::{Layout, on_each_layout};
pub(crate) use node::NodePlan;
pub(crate) use skipped::skipped;
