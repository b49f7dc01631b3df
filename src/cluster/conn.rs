//! One route connection, and the server at its other end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ring::Time;

use crate::ids::ConnId;
use crate::proto::route_info::{RouteConnect, RouteInfo, SubjectRules};
use crate::transport::Mode;

use super::event::Lane;
use super::target::{Endpoint, Want};

/// A connection, from the moment there is one.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) rid: u64,
    pub(super) peer: SocketAddr,
    pub(super) role: Role,
    pub(super) stage: Stage,
    /// None while it is not agreed.
    pub(super) compression: Option<Mode>,
    /// Empty before the peer has said it.
    pub(super) remote_id: String,
    pub(super) lane: Option<Lane>,
    /// Whether it is tried once more after the same was refused: nothing to speak of.
    pub(super) is_retry: bool,
    /// Whether our INFO has left already, on a connection we dialled.
    pub(super) info_sent: bool,
    /// Whether the next PONG allows to dial the next pooled connection.
    pub(super) is_probing: bool,
    /// Whether this server dials again when the connection is lost: it dialled it, or another one
    /// for the same purpose.
    pub(super) solicited: bool,
    /// Whether such a dial was configured.
    pub(super) configured: bool,
    /// Whether the configuration names the peer, which dialled before this server had to.
    pub(super) named: bool,
    pub(super) rtt: Option<Duration>,
    /// The last sign that the peer gets what it is sent.
    pub(super) heard_at: Time,
    pub(super) import: Option<SubjectRules>,
    pub(super) export: Option<SubjectRules>,
}

/// Who dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Acceptor,
    Solicitor { want: Want, gossip_mode: i64 },
}

/// How far the handshake is.
#[derive(Debug)]
pub(super) enum Stage {
    AwaitConnect,
    AwaitVerdict(Box<RouteConnect>),
    AwaitInfo,
    Registered { since: Time },
}

impl Conn {
    pub(super) fn new(rid: u64, peer: SocketAddr, role: Role) -> Self {
        let stage = match role {
            Role::Acceptor => Stage::AwaitConnect,
            Role::Solicitor { .. } => Stage::AwaitInfo,
        };
        Self {
            rid,
            peer,
            role,
            stage,
            compression: None,
            remote_id: String::new(),
            lane: None,
            is_retry: false,
            info_sent: false,
            is_probing: false,
            solicited: false,
            configured: false,
            named: false,
            rtt: None,
            heard_at: Time::ZERO,
            import: None,
            export: None,
        }
    }

    pub(super) fn is_registered(&self) -> bool {
        matches!(self.stage, Stage::Registered { .. })
    }

    /// What it was dialled for, if this server dialled it.
    pub(super) fn want(&self) -> Option<&Want> {
        match &self.role {
            Role::Acceptor => None,
            Role::Solicitor { want, .. } => Some(want),
        }
    }

    /// Whether its peer is one that this server dials, as operators see it.
    pub(super) fn is_solicited(&self) -> bool {
        self.solicited || self.named
    }

    /// Whether its peer is a configured one, as operators see it.
    pub(super) fn is_configured(&self) -> bool {
        self.configured || self.named
    }

    pub(super) fn is_acceptor(&self) -> bool {
        matches!(self.role, Role::Acceptor)
    }

    /// What its INFO says about gossip.
    pub(super) fn gossip_mode(&self) -> i64 {
        match self.role {
            Role::Acceptor => 0,
            Role::Solicitor { gossip_mode, .. } => gossip_mode,
        }
    }
}

/// A server with at least one registered connection.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    /// Its registering INFO, with the address to dial filled in.
    pub(super) info: RouteInfo,
    pub(super) is_ringmesh: bool,
    /// How many pool indexes there are; none: one connection carries everything.
    pub(super) pool_size: Option<u16>,
    /// By pool index; the only one without pools.
    pub(super) slots: Vec<Option<ConnId>>,
    pub(super) accounts: BTreeMap<String, ConnId>,
    /// Accounts that are to have a connection of their own, and go with the pool for now.
    pub(super) pooled: BTreeMap<String, Pooled>,
    /// Where it listens.
    pub(super) endpoint: Endpoint,
    /// Those of its URLs that clients are told.
    pub(super) client_urls: Vec<String>,
    /// When it came for the first time, as far as this server remembers.
    pub(super) joined: Time,
    /// After the loss of a connection: what was said since the first time may have been lost with
    /// it, and was said again at the second.
    pub(super) unsure: Option<(Time, Time)>,
    /// It is about to stop.
    pub(super) is_lame: bool,
    /// When it said to everybody that it stops now.
    pub(super) leaves_at: Option<Time>,
    /// When this server dials what is missing, whoever is expected to.
    pub(super) repair_at: Option<Time>,
    pub(super) repairs: u32,
}

impl Remote {
    /// The pool index for the next connection.
    pub(super) fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(Option::is_none)
    }

    /// The first of its connections that carries gossip.
    pub(super) fn first_pooled(&self) -> Option<ConnId> {
        self.slots.iter().flatten().next().copied()
    }

    pub(super) fn conns(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.slots.iter().flatten().chain(self.accounts.values()).copied()
    }

    pub(super) fn at(&self, lane: &Lane) -> Option<ConnId> {
        match lane {
            Lane::Pool(index) => self.slots.get(usize::from(*index)).copied().flatten(),
            Lane::Everything => self.slots.first().copied().flatten(),
            Lane::Account(account) => self.accounts.get(account).copied(),
        }
    }

    /// Puts a connection in its place, or takes it out.
    pub(super) fn set(&mut self, lane: &Lane, conn: Option<ConnId>) {
        let index = match lane {
            Lane::Pool(index) => usize::from(*index),
            Lane::Everything => 0,
            Lane::Account(account) => {
                match conn {
                    Some(conn) => self.accounts.insert(account.clone(), conn),
                    None => self.accounts.remove(account),
                };
                return;
            }
        };
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = conn;
        }
    }
}

/// Why an account goes with the pool that is to have a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooled {
    /// Nobody knows yet whether the server takes one.
    Unsure,
    /// It has said that it takes none.
    Refused,
}
