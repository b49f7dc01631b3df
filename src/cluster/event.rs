//! What goes into a mesh and what comes out.

use std::net::SocketAddr;

use crate::auth::HashJob;
use crate::close::CloseReason;
use crate::engine::RouteEvent;
use crate::ids::ConnId;
use crate::proto::route_info::SubjectRules;
use crate::transport::Mode;

use super::options::MeshOptions;

/// Something that happened.
///
/// A connection begins with [`Accepted`](RouteEvent::Accepted) or [`Dialed`](RouteEvent::Dialed), TLS
/// being done, and what comes for one that the mesh has closed is ignored.
#[derive(Debug)]
pub enum Event {
    /// A shard saw something on a route.
    Route(RouteEvent),
    /// The answer to [`CheckPassword`](Action::CheckPassword).
    Verdict {
        /// The connection.
        conn: ConnId,
        /// Whether the password was right.
        accepted: bool,
    },
    /// The answer to [`Resolve`](Action::Resolve).
    Resolved {
        /// Which question.
        lookup: u64,
        /// The addresses, or why there are none.
        addresses: Result<Vec<SocketAddr>, String>,
    },
    /// Clients find this server elsewhere now.
    ClientUrls(Vec<String>),
    /// This server is about to stop; peers are to keep new clients away.
    LameDuck,
    /// A server said in the system account that it stops: it is not missed once it is gone.
    Leaving {
        /// The server's id.
        id: String,
    },
    /// The configuration was read again.
    Options(Box<MeshOptions>),
}

impl From<RouteEvent> for Event {
    fn from(seen: RouteEvent) -> Self {
        Self::Route(seen)
    }
}

/// Something to be done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Ask for the addresses of a name.
    Resolve {
        /// Names the question.
        lookup: u64,
        /// The name.
        host: String,
        /// The port that the addresses are to carry.
        port: u16,
    },
    /// Dial, for a second at most.
    Dial {
        /// Names the dial.
        dial: u64,
        /// Where to.
        address: SocketAddr,
        /// The name that the certificate must carry; none without TLS.
        tls_name: Option<String>,
        /// The pool index it is likely to get, by which a shard may be chosen.
        shard_hint: u16,
    },
    /// Compare a password where that may take long.
    CheckPassword {
        /// The connection.
        conn: ConnId,
        /// The work.
        job: HashJob,
    },
    /// Send whole lines.
    Send {
        /// The connection.
        conn: ConnId,
        /// The lines.
        bytes: Vec<u8>,
    },
    /// Compress both directions from here on: what was sent so far leaves plain, and reading
    /// changes right behind the line that is being handled.
    Compress {
        /// The connection.
        conn: ConnId,
        /// How; [`Mode::Auto`] follows the round trip.
        mode: Mode,
    },
    /// The connection may carry messages: send interest on it, and read on.
    Register {
        /// The connection.
        conn: ConnId,
        /// What it is.
        registration: Box<Registration>,
    },
    /// Send a PING, whose PONG is to come back as an [event](RouteEvent::Pong).
    Ping {
        /// The connection.
        conn: ConnId,
    },
    /// Read on.
    Continue {
        /// The connection.
        conn: ConnId,
    },
    /// End the connection.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
        /// What to say last; nothing, if there is nothing to say.
        error: Option<String>,
    },
    /// Drop what was learned on the connection about an account, which is about to get one of
    /// its own.
    ForgetAccount {
        /// The connection.
        conn: ConnId,
        /// The account.
        account: String,
    },
    /// Interest of these accounts alone does not go with the pool from now on.
    SetApart {
        /// The connection.
        conn: ConnId,
        /// The accounts.
        accounts: Vec<String>,
    },
    /// Who is to dial when the connection is lost has changed.
    SetSolicited {
        /// The connection.
        conn: ConnId,
        /// Whether this server dials the peer.
        solicited: bool,
        /// Whether the peer is a configured route.
        configured: bool,
    },
    /// A peer changed what it lets pass.
    PeerRules {
        /// The connection.
        conn: ConnId,
        /// What the peer announces.
        import: Option<SubjectRules>,
        /// What the peer takes announcements of.
        export: Option<SubjectRules>,
    },
    /// Tell clients these URLs: this server's first.
    ClientUrls(Vec<String>),
    /// The cluster has this name now.
    ClusterName(String),
    /// The first connection with a server.
    RemoteJoined {
        /// The server's id.
        id: String,
        /// The server's name.
        name: String,
    },
    /// The last connection with a server is gone.
    RemoteLeft {
        /// The server's id.
        id: String,
    },
}

/// What a registered connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The peer's id.
    pub remote_id: String,
    /// The peer's name.
    pub remote_name: String,
    /// Whether the peer is a Ringmesh.
    pub ringmesh: bool,
    /// Whether the peer knows the mark of messages that only their queue groups get.
    pub takes_passed_on: bool,
    /// Whether the peer keeps interest for a while when the connection is lost.
    pub keeps_interest: bool,
    /// What the connection carries.
    pub lane: Lane,
    /// How many pool indexes there are between the two servers.
    pub pool_size: u16,
    /// Accounts whose interest does not go with the pool.
    pub apart: Vec<String>,
    /// Whether the peer takes headers, and this server, too.
    pub headers: bool,
    /// The peer's protocol level.
    pub proto: i64,
    /// Whether the peer knows `LS+`.
    pub lnoc: bool,
    /// Whether the peer knows `LS-` with an origin.
    pub lnocu: bool,
    /// Whether the peer knows leaf interest without an origin.
    pub ln: bool,
    /// Whether the peer stores streams.
    pub jetstream: bool,
    /// What the peer announces.
    pub import: Option<SubjectRules>,
    /// What the peer takes announcements of.
    pub export: Option<SubjectRules>,
    /// Whether this server dials the peer, if need be.
    pub solicited: bool,
    /// Whether the peer is a configured route.
    pub configured: bool,
    /// Where the peer is dialled.
    pub url: String,
    /// The negotiated compression.
    pub compression: Mode,
}

/// What a connection carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The accounts of a pool index, named in each line.
    Pool(u16),
    /// One account, named in no line.
    Account(String),
    /// All accounts, named in each line: the peer knows no pools, or this server has none.
    Everything,
}

impl Lane {
    /// Whether lines name their account.
    #[must_use]
    pub fn names_accounts(&self) -> bool {
        match self {
            Self::Pool(_) | Self::Everything => true,
            Self::Account(_) => false,
        }
    }
}
