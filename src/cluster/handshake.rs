//! The handshake of one connection, in both roles, up to its registration.

use std::net::SocketAddr;

use crate::auth::{Credentials, Verdict};
use crate::close::{CloseReason, ErrorText};
use crate::ids::ConnId;
use crate::proto::route_info::{RouteConnect, RouteInfo};
use crate::transport::{self, Mode};

use super::close::Gone;
use super::conn::{Conn, Role, Stage};
use super::event::Action;
use super::mesh::{HANDSHAKES_MAX, Mesh, Turn};
use super::name::{self, NameClaim, NameVerdict, RESERVED};
use super::target::{Attempt, AttemptStage};

/// Why a connection is ended in the middle of its handshake.
pub(super) struct Refusal {
    pub(super) reason: CloseReason,
    /// What the peer is told; mostly nothing.
    pub(super) error: Option<String>,
}

impl Refusal {
    pub(super) fn silent(reason: CloseReason) -> Self {
        Self { reason, error: None }
    }

    pub(super) fn with(reason: CloseReason, error: String) -> Self {
        Self { reason, error: Some(error) }
    }

    fn authorization() -> Self {
        let text = ErrorText::AuthorizationViolation.as_str();
        Self::with(CloseReason::AuthenticationFailure, text.to_owned())
    }
}

/// What comes after a line of the handshake.
pub(super) enum Next {
    /// The peer may send more.
    Continue,
    /// Nothing yet: a password is being compared.
    Wait,
    /// The peer's INFO is complete.
    Register,
}

impl Mesh {
    pub(super) fn handle_accepted(&mut self, id: ConnId, conn: Conn, turn: &mut Turn<'_>) {
        let handshakes = self.conns.values().filter(|conn| !conn.is_registered()).count();
        if handshakes >= HANDSHAKES_MAX {
            return turn.close(id, CloseReason::MaxConnectionsExceeded, None);
        }
        tracing::info!("{} - rid:{} - Route connection created", conn.peer, conn.rid);
        turn.send_info(id, &self.first_info(self.options.mode()));
        self.conns.insert(id, conn);
    }

    pub(super) fn handle_dialed(
        &mut self,
        dial: u64,
        id: ConnId,
        (rid, peer): (u64, SocketAddr),
        turn: &mut Turn<'_>,
    ) {
        let dialing = AttemptStage::Dialing { dial };
        let found = self.attempts.iter_mut().find(|(_, attempt)| attempt.stage == dialing);
        let Some((want, attempt)) = found else {
            // The wish for it is gone.
            return turn.close(id, CloseReason::RouteRemoved, None);
        };
        *attempt = Attempt { stage: AttemptStage::Handshake { conn: id }, ..*attempt };
        let want = want.clone();
        let target = self.targets.get(&want.endpoint);
        let gossip_mode = target.map_or(0, |target| target.gossip_mode);
        let auth = target.and_then(|target| target.auth.clone());
        let is_retry = self.is_refused(&want);
        if is_retry {
            tracing::debug!("{peer} - rid:{rid} - Route connection created");
        } else {
            tracing::info!("{peer} - rid:{rid} - Route connection created");
        }

        let (user, pass) = auth.map(|auth| (auth.user, auth.password)).unwrap_or_default();
        let connect = RouteConnect {
            echo: true,
            user,
            pass,
            tls_required: self.options.tls,
            headers: self.options.headers,
            name: self.options.server_id.clone(),
            cluster: self.cluster.name.clone(),
            cluster_dynamic: self.cluster.is_dynamic,
            lnoc: true,
            ln: true,
            ..RouteConnect::default()
        };
        let mut bytes = Vec::new();
        connect.encode_line(&mut bytes);
        turn.out.push(Action::Send { conn: id, bytes });

        let mut conn = Conn::new(rid, peer, Role::Solicitor { want, gossip_mode });
        conn.is_retry = is_retry;
        let is_pooled = conn.want().is_some_and(|want| want.account.is_none());
        // Otherwise INFO says what only the peer's INFO can tell: the pool index or the mode.
        if !self.options.mode().negotiates() && (!is_pooled || self.options.pool_size.is_none()) {
            self.send_registering_info(&mut conn, id, 0, turn);
        }
        self.conns.insert(id, conn);
    }

    pub(super) fn handle_connect(&mut self, id: ConnId, json: &[u8], turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !matches!(conn.stage, Stage::AwaitConnect) {
            // A second CONNECT changes nothing.
            if !conn.is_registered() {
                turn.out.push(Action::Continue { conn: id });
            }
            return;
        }
        let next = match RouteConnect::parse(json) {
            Ok(connect) => match check_credentials(&self.authenticator, &connect) {
                Ok(None) => self.admit(id, &connect, turn),
                Ok(Some(job)) => {
                    conn.stage = Stage::AwaitVerdict(Box::new(connect));
                    turn.out.push(Action::CheckPassword { conn: id, job });
                    Ok(Next::Wait)
                }
                Err(refusal) => Err(refusal),
            },
            Err(_unreadable) => Err(Refusal::silent(CloseReason::ProtocolViolation)),
        };
        self.go_on(id, next, None, turn);
    }

    pub(super) fn handle_verdict(&mut self, id: ConnId, accepted: bool, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !matches!(conn.stage, Stage::AwaitVerdict(_)) {
            return;
        }
        let Stage::AwaitVerdict(connect) = std::mem::replace(&mut conn.stage, Stage::AwaitInfo)
        else {
            return;
        };
        let next =
            if accepted { self.admit(id, &connect, turn) } else { Err(Refusal::authorization()) };
        self.go_on(id, next, None, turn);
    }

    pub(super) fn handle_info(&mut self, id: ConnId, json: &[u8], turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let is_registered = conn.is_registered();
        let info = RouteInfo::parse(json);
        if is_registered {
            return match info {
                Ok(info) => self.handle_later_info(id, info, turn),
                Err(_unreadable) => {
                    self.refuse(id, Refusal::silent(CloseReason::ProtocolViolation), turn);
                }
            };
        }
        match info {
            Ok(info) => {
                let next = self.first_info_came(id, &info, turn);
                self.go_on(id, next, Some(info), turn);
            }
            Err(_unreadable) => {
                let refusal = match conn.stage {
                    Stage::AwaitConnect => Refusal::authorization(),
                    Stage::AwaitVerdict(_) | Stage::AwaitInfo | Stage::Registered { .. } => {
                        Refusal::silent(CloseReason::ProtocolViolation)
                    }
                };
                self.refuse(id, refusal, turn);
            }
        }
    }

    /// Takes the step that a line of the handshake led to.
    fn go_on(
        &mut self,
        id: ConnId,
        next: Result<Next, Refusal>,
        info: Option<RouteInfo>,
        turn: &mut Turn<'_>,
    ) {
        let next = match (next, info) {
            (Ok(Next::Register), Some(info)) => self.register(id, info, turn),
            (Ok(Next::Register | Next::Wait), _) => Ok(()),
            (Ok(Next::Continue), _) => {
                turn.out.push(Action::Continue { conn: id });
                Ok(())
            }
            (Err(refusal), _) => Err(refusal),
        };
        if let Err(refusal) = next {
            self.refuse(id, refusal, turn);
        }
    }

    /// The checks of a CONNECT behind the password.
    fn admit(
        &mut self,
        id: ConnId,
        connect: &RouteConnect,
        turn: &mut Turn<'_>,
    ) -> Result<Next, Refusal> {
        if !connect.lang.is_empty() {
            let text = ErrorText::RoutePort.as_str().to_owned();
            return Err(Refusal::with(CloseReason::IncorrectPort, text));
        }
        if !connect.gateway.is_empty() {
            let text = format!(
                "Rejecting connection from gateway \"{}\" on the Route port",
                connect.gateway
            );
            return Err(Refusal::with(CloseReason::WrongGateway, text));
        }
        let theirs = NameClaim { name: &connect.cluster, is_dynamic: connect.cluster_dynamic };
        if theirs.name == RESERVED {
            let text = format!("Rejecting connection, cluster name \"{RESERVED}\" is reserved");
            return Err(Refusal::with(CloseReason::ClusterNameConflict, text));
        }
        match name::judge(self.cluster.claim(), theirs) {
            NameVerdict::Same => {}
            NameVerdict::Adopt => {
                // A name that somebody has chosen is not given up again.
                self.cluster.is_dynamic &= connect.cluster_dynamic;
                self.adopt_name(&connect.cluster, &connect.name, turn);
            }
            NameVerdict::Reject => {
                let text = mismatch(&connect.cluster, &self.cluster.name);
                return Err(Refusal::with(CloseReason::ClusterNameConflict, text));
            }
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = Stage::AwaitInfo;
            conn.remote_id.clone_from(&connect.name);
        }
        Ok(Next::Continue)
    }

    /// The checks of an INFO, and the agreement on compression.
    fn first_info_came(
        &mut self,
        id: ConnId,
        info: &RouteInfo,
        turn: &mut Turn<'_>,
    ) -> Result<Next, Refusal> {
        let Some(conn) = self.conns.get(&id) else { return Ok(Next::Wait) };
        match conn.stage {
            // The first thing on a connection that was accepted must be CONNECT.
            Stage::AwaitConnect => return Err(Refusal::authorization()),
            Stage::AwaitVerdict(_) => return Ok(Next::Wait),
            Stage::AwaitInfo | Stage::Registered { .. } => {}
        }
        let is_acceptor = conn.is_acceptor();
        if info.server_id == self.options.server_id {
            self.mark_self(id);
            return Err(Refusal::silent(CloseReason::DuplicateRoute));
        }
        if !is_token(&info.server_id) {
            return Err(Refusal::silent(CloseReason::ProtocolViolation));
        }
        self.check_name_in_info(info, turn)?;
        if is_acceptor && info.server_name == self.options.server_name {
            tracing::error!("Remote server has a duplicate name: \"{}\"", info.server_name);
            return Err(Refusal::silent(CloseReason::DuplicateServerName));
        }
        self.negotiate(id, info, turn)
    }

    fn check_name_in_info(&mut self, info: &RouteInfo, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        let theirs = NameClaim { name: &info.cluster, is_dynamic: info.cluster_dynamic };
        if theirs.name == RESERVED {
            return Err(Refusal::silent(CloseReason::ClusterNameConflict));
        }
        if theirs.name.is_empty() {
            return Ok(());
        }
        match name::judge(self.cluster.claim(), theirs) {
            NameVerdict::Same => Ok(()),
            NameVerdict::Adopt => {
                self.adopt_name(&info.cluster, &info.server_id, turn);
                Ok(())
            }
            NameVerdict::Reject => {
                tracing::error!("{}", mismatch(&self.cluster.name, &info.cluster));
                Err(Refusal::silent(CloseReason::ClusterNameConflict))
            }
        }
    }

    /// Agrees on compression, once. With S2 the peer sends another INFO inside it.
    fn negotiate(
        &mut self,
        id: ConnId,
        info: &RouteInfo,
        turn: &mut Turn<'_>,
    ) -> Result<Next, Refusal> {
        let own = self.options.mode();
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(Next::Wait) };
        if conn.compression.is_some() {
            return Ok(Next::Register);
        }
        let remote = info.compression.as_deref();
        let mode = transport::negotiate(own, remote).map_err(|unsupported| {
            Refusal::with(CloseReason::ProtocolViolation, unsupported.to_string())
        })?;
        let says_nothing = remote.is_none_or(str::is_empty) || own == Mode::NotSupported;
        conn.compression = Some(match mode {
            Mode::Off if says_nothing => Mode::NotSupported,
            mode => mode,
        });
        if !mode.compresses() {
            return Ok(Next::Register);
        }
        let account = conn.want().and_then(|want| want.account.clone());
        let is_acceptor = conn.is_acceptor();
        let mut told = self.first_info(mode);
        told.route_account = account.unwrap_or_default();
        // The solicitor's INFO is the last plain line of its direction, the acceptor's the first
        // compressed one.
        if is_acceptor {
            turn.out.push(Action::Compress { conn: id, mode });
            turn.send_info(id, &told);
        } else {
            turn.send_info(id, &told);
            turn.out.push(Action::Compress { conn: id, mode });
        }
        Ok(Next::Continue)
    }

    /// Sends the INFO by which the other end registers a connection that this one dialled.
    pub(super) fn send_registering_info(
        &self,
        conn: &mut Conn,
        id: ConnId,
        index: u16,
        turn: &mut Turn<'_>,
    ) {
        if conn.info_sent || conn.is_acceptor() {
            return;
        }
        conn.info_sent = true;
        let mut info = self.first_info(conn.compression.unwrap_or_else(|| self.options.mode()));
        info.route_pool_idx = index.into();
        info.gossip_mode = conn.gossip_mode();
        let account = conn.want().and_then(|want| want.account.clone());
        info.route_account = account.unwrap_or_default();
        turn.send_info(id, &info);
    }

    /// Takes another name for the cluster, and leaves all but the server that told it.
    fn adopt_name(&mut self, name: &str, except: &str, turn: &mut Turn<'_>) {
        tracing::info!("Cluster name updated to {name}");
        name.clone_into(&mut self.cluster.name);
        turn.out.push(Action::ClusterName(name.to_owned()));
        let is_other =
            |(_, conn): &(&ConnId, &Conn)| conn.is_registered() && conn.remote_id != except;
        let others: Vec<_> = self.conns.iter().filter(is_other).map(|(id, _)| *id).collect();
        for id in others {
            self.end(id, CloseReason::ClusterNameConflict, None, Gone::Lost, turn);
        }
    }

    /// Never again dials an address that led back here.
    fn mark_self(&mut self, id: ConnId) {
        let endpoint = self.conns.get(&id).and_then(Conn::want).map(|want| want.endpoint.clone());
        if let Some(endpoint) = endpoint {
            tracing::debug!("Route to {endpoint} leads to this server");
            if let Some(target) = self.targets.get_mut(&endpoint) {
                target.is_self = true;
            }
        }
    }

    pub(super) fn refuse(&mut self, id: ConnId, refusal: Refusal, turn: &mut Turn<'_>) {
        if let Some(error) = &refusal.error
            && let Some(conn) = self.conns.get(&id)
        {
            let is_login = refusal.reason == CloseReason::AuthenticationFailure;
            let text = if is_login { "authentication error" } else { error };
            tracing::error!("{} - rid:{} - {text}", conn.peer, conn.rid);
        }
        self.end(id, refusal.reason, refusal.error, Gone::Refused, turn);
    }
}

impl super::mesh::ClusterName {
    pub(super) fn claim(&self) -> NameClaim<'_> {
        NameClaim { name: &self.name, is_dynamic: self.is_dynamic }
    }
}

/// Two servers belong to clusters of different names.
fn mismatch(theirs: &str, own: &str) -> String {
    format!("Rejecting connection, cluster name \"{theirs}\" does not match \"{own}\"")
}

/// Whether the peer may come in: at once, or after the work that is returned.
fn check_credentials(
    authenticator: &crate::auth::Authenticator,
    connect: &RouteConnect,
) -> Result<Option<crate::auth::HashJob>, Refusal> {
    if !connect.account.is_empty() || connect.new_account {
        return Err(Refusal::authorization());
    }
    let credentials =
        Credentials { user: Some(&connect.user), pass: Some(&connect.pass), token: None };
    match authenticator.check(&credentials) {
        Verdict::Accepted(_) => Ok(None),
        Verdict::Rejected => Err(Refusal::authorization()),
        Verdict::Hash(job) => Ok(Some(job)),
    }
}

/// Whether a text can stand in a subject: ids of servers do.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'.' | b'*' | b'>'))
}

/// Several times as long as the ids that servers have.
const ID_BYTES_MAX: usize = 256;
