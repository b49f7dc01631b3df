//! Between the mesh and the shards: what they see as its events, what it decides as their orders.
//!
//! The program's control plane and simulations drive a mesh with the same three steps: an [`Event`] from what a
//! shard saw, [`Mesh::ask`], and [`Action::task`] for each thing to be done. It sends nothing itself.
//!
//! Invariant: a connection whose INFO was handed on is let go on, or ended, by what comes back.

use std::time::Duration;

use ring::Time;

use crate::auth::HashJob;
use crate::engine::{RouteEvent, RouteOrder};
use crate::ids::ConnId;
use crate::session::{self, RouteLane};

use super::event::{Action, Event, Lane, Registration};
use super::mesh::Mesh;

/// Something to be done outside the mesh, by whom it concerns.
pub enum Task {
    /// A shard has an order to follow.
    Order(u16, RouteOrder),
    /// A name is to be looked up; the answer is [`Event::Resolved`].
    Resolve {
        /// Names the question.
        lookup: u64,
        /// The name.
        host: String,
        /// The port that the addresses are to carry.
        port: u16,
    },
    /// A password is to be compared; the answer is [`Event::Verdict`].
    CheckPassword {
        /// The connection.
        conn: ConnId,
        /// The work.
        job: HashJob,
    },
    /// Clients are to be told these URLs.
    ClientUrls(Vec<String>),
    /// The cluster has this name now.
    ClusterName(String),
    /// Another server is connected now.
    Joined,
    /// The last connection to the server of this id is gone.
    Left(String),
}

impl Mesh {
    /// Something happened, or it is time: what is to be done.
    pub fn ask(&mut self, now: Time, event: Option<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        let told = match &event {
            Some(Event::Route(RouteEvent::Info { conn, .. })) => Some(*conn),
            Some(_) | None => None,
        };
        match event {
            Some(event) => self.handle(now, event, &mut actions),
            None => self.expire(now, &mut actions),
        }
        // Every INFO holds its connection, also one that needs no answer: so a flood of them waits.
        let answered = |conn: ConnId| actions.iter().any(|action| action.goes_on(conn));
        if let Some(conn) = told.filter(|conn| !answered(*conn)) {
            actions.push(Action::Continue { conn });
        }
        actions
    }
}

impl Action {
    /// Who is to do what, on a server of so many shards; `thresholds` are the round trips by which
    /// [`Mode::Auto`](crate::transport::Mode::Auto) picks.
    #[must_use]
    pub fn task(self, shards: u16, thresholds: &[Duration]) -> Option<Task> {
        let order = |conn: ConnId, order| Some(Task::Order(conn.shard, order));
        match self {
            Self::Resolve { lookup, host, port } => Some(Task::Resolve { lookup, host, port }),
            Self::Dial { dial, address, tls_name, shard_hint } => {
                let order = RouteOrder::Dial { dial, address, tls_name };
                Some(Task::Order(shard_hint % shards, order))
            }
            Self::CheckPassword { conn, job } => Some(Task::CheckPassword { conn, job }),
            Self::Send { conn, bytes } => {
                order(conn, RouteOrder::Send { token: conn.token, bytes })
            }
            Self::Compress { conn, mode } => {
                let thresholds = thresholds.to_vec();
                order(conn, RouteOrder::Compress { token: conn.token, mode, thresholds })
            }
            Self::Register { conn, registration } => {
                let registration = Box::new(registered(*registration));
                order(conn, RouteOrder::Register { token: conn.token, registration })
            }
            Self::Ping { conn } => order(conn, RouteOrder::Ping { token: conn.token }),
            Self::Continue { conn } => order(conn, RouteOrder::Continue { token: conn.token }),
            Self::Close { conn, reason, error } => {
                order(conn, RouteOrder::Close { token: conn.token, reason, error })
            }
            Self::ForgetAccount { conn, account } => {
                order(conn, RouteOrder::Forget { token: conn.token, account })
            }
            Self::SetApart { conn, accounts } => {
                order(conn, RouteOrder::SetApart { token: conn.token, accounts })
            }
            Self::SetSolicited { conn, solicited, configured } => {
                let token = conn.token;
                order(conn, RouteOrder::SetSolicited { token, solicited, configured })
            }
            Self::ClientUrls(urls) => Some(Task::ClientUrls(urls)),
            Self::ClusterName(name) => Some(Task::ClusterName(name)),
            Self::RemoteJoined { .. } => Some(Task::Joined),
            Self::RemoteLeft { id } => Some(Task::Left(id)),
            // What the peer lets through it filters itself.
            Self::PeerRules { .. } => None,
        }
    }

    /// Whether it lets a connection go on, or ends it.
    fn goes_on(&self, held: ConnId) -> bool {
        match self {
            Self::Register { conn, .. } | Self::Continue { conn } | Self::Close { conn, .. } => {
                *conn == held
            }
            Self::Resolve { .. }
            | Self::Dial { .. }
            | Self::CheckPassword { .. }
            | Self::Send { .. }
            | Self::Compress { .. }
            | Self::Ping { .. }
            | Self::ForgetAccount { .. }
            | Self::SetApart { .. }
            | Self::SetSolicited { .. }
            | Self::PeerRules { .. }
            | Self::ClientUrls(_)
            | Self::ClusterName(_)
            | Self::RemoteJoined { .. }
            | Self::RemoteLeft { .. } => false,
        }
    }
}

/// What the mesh registered, as a shard knows it.
fn registered(registration: Registration) -> session::Registration {
    session::Registration {
        remote_id: registration.remote_id.into(),
        remote_name: registration.remote_name.into(),
        lane: match registration.lane {
            Lane::Pool(index) => RouteLane::Pool(index),
            Lane::Account(name) => RouteLane::Account(name),
            Lane::Everything => RouteLane::Everything,
        },
        apart: registration.apart,
        headers: registration.headers,
        is_ringmesh: registration.ringmesh,
        takes_passed_on: registration.takes_passed_on,
        keeps_interest: registration.keeps_interest,
        solicited: registration.solicited,
        configured: registration.configured,
        compression: registration.compression,
    }
}
