//! Why connections end, and what the peer is told first.
//!
//! The texts are protocol: tools match on the reasons that `connz` reports, and clients match on
//! the `-ERR` texts, capitals included. This module knows no connection; it only holds the words
//! and which `-ERR` belongs to which end.

use std::fmt;

/// Why a connection ended. `Display` gives the text that `connz` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer closed the connection.
    ClientClosed,
    /// No CONNECT arrived in time.
    AuthenticationTimeout,
    /// The credentials were refused, or the first operation was not CONNECT.
    AuthenticationFailure,
    /// The TLS handshake failed.
    TlsHandshakeFailure,
    /// More than `max_pending` bytes waited for the peer.
    SlowConsumerPendingBytes,
    /// No byte could be written for `write_deadline`.
    SlowConsumerWriteDeadline,
    /// The socket refused a write.
    WriteError,
    /// The socket failed on a read.
    ReadError,
    /// The peer sent `-ERR`.
    ParseError,
    /// The peer did not answer our PINGs.
    StaleConnection,
    /// The peer sent what the protocol forbids.
    ProtocolViolation,
    /// CONNECT named a protocol version that does not exist.
    BadClientProtocolVersion,
    /// A client dialled a port meant for servers.
    IncorrectPort,
    /// The server holds `max_connections` already.
    MaxConnectionsExceeded,
    /// The account holds its maximum of connections already.
    MaxAccountConnectionsExceeded,
    /// A message was announced larger than `max_payload`.
    MaxPayloadExceeded,
    /// A control line grew beyond `max_control_line`.
    MaxControlLineExceeded,
    /// The connection holds more subscriptions than its limits allow.
    MaxSubscriptionsExceeded,
    /// Another route to the same server exists.
    DuplicateRoute,
    /// The route was removed from the configuration.
    RouteRemoved,
    /// The server is stopping.
    ServerShutdown,
    /// The credentials expired.
    AuthenticationExpired,
    /// A gateway belongs to another cluster than it claims.
    WrongGateway,
    /// The account does not exist any more.
    MissingAccount,
    /// The credentials were revoked.
    CredentialsRevoked,
    /// The connection was internal to the server.
    InternalClient,
    /// Headers came where they are not allowed.
    MessageHeaderViolation,
    /// CONNECT asked for `no_responders` without `headers`.
    NoRespondersRequiresHeaders,
    /// Two clusters use one name.
    ClusterNameConflict,
    /// The remote leaf node is connected already.
    DuplicateRemoteLeafNodeConnection,
    /// An MQTT client with the same id connected.
    DuplicateClientId,
    /// Another server with the same name is known.
    DuplicateServerName,
    /// The peer is older than the configured minimum.
    MinimumVersionRequired,
    /// A leaf node and its hub use one cluster name.
    ClusterNamesIdentical,
    /// An operator closed the connection.
    Kicked,
    /// The connection came through a proxy that is not trusted.
    ProxyNotTrusted,
    /// The connection must come through a proxy.
    ProxyRequired,
}

impl CloseReason {
    /// Every reason, in order of declaration.
    pub const ALL: [Self; 37] = [
        Self::ClientClosed,
        Self::AuthenticationTimeout,
        Self::AuthenticationFailure,
        Self::TlsHandshakeFailure,
        Self::SlowConsumerPendingBytes,
        Self::SlowConsumerWriteDeadline,
        Self::WriteError,
        Self::ReadError,
        Self::ParseError,
        Self::StaleConnection,
        Self::ProtocolViolation,
        Self::BadClientProtocolVersion,
        Self::IncorrectPort,
        Self::MaxConnectionsExceeded,
        Self::MaxAccountConnectionsExceeded,
        Self::MaxPayloadExceeded,
        Self::MaxControlLineExceeded,
        Self::MaxSubscriptionsExceeded,
        Self::DuplicateRoute,
        Self::RouteRemoved,
        Self::ServerShutdown,
        Self::AuthenticationExpired,
        Self::WrongGateway,
        Self::MissingAccount,
        Self::CredentialsRevoked,
        Self::InternalClient,
        Self::MessageHeaderViolation,
        Self::NoRespondersRequiresHeaders,
        Self::ClusterNameConflict,
        Self::DuplicateRemoteLeafNodeConnection,
        Self::DuplicateClientId,
        Self::DuplicateServerName,
        Self::MinimumVersionRequired,
        Self::ClusterNamesIdentical,
        Self::Kicked,
        Self::ProxyNotTrusted,
        Self::ProxyRequired,
    ];

    /// The text that `connz` reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationFailure => "Authentication Failure",
            Self::TlsHandshakeFailure => "TLS Handshake Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::IncorrectPort => "Incorrect Port",
            Self::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            Self::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            Self::MaxSubscriptionsExceeded => "Maximum Subscriptions Exceeded",
            Self::DuplicateRoute => "Duplicate Route",
            Self::RouteRemoved => "Route Removed",
            Self::ServerShutdown => "Server Shutdown",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::WrongGateway => "Wrong Gateway",
            Self::MissingAccount => "Missing Account",
            Self::CredentialsRevoked => "Credentials Revoked",
            Self::InternalClient => "Internal Client",
            Self::MessageHeaderViolation => "Message Header Violation",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::ClusterNameConflict => "Cluster Name Conflict",
            Self::DuplicateRemoteLeafNodeConnection => "Duplicate Remote LeafNode Connection",
            Self::DuplicateClientId => "Duplicate Client ID",
            Self::DuplicateServerName => "Duplicate Server Name",
            Self::MinimumVersionRequired => "Minimum Version Required",
            Self::ClusterNamesIdentical => "Cluster Names Identical",
            Self::Kicked => "Kicked",
            Self::ProxyNotTrusted => "Proxy Not Trusted",
            Self::ProxyRequired => "Proxy Required",
        }
    }

    /// The `-ERR` that precedes this close, where the reason alone decides it.
    ///
    /// A protocol violation is silent here, because most of them are; the parser's error says when
    /// one is not. Which port a client took by mistake is known only to the listener, so that is
    /// silent too.
    pub const fn error(self) -> Option<ErrorText> {
        match self {
            Self::AuthenticationTimeout => Some(ErrorText::AuthenticationTimeout),
            Self::AuthenticationFailure => Some(ErrorText::AuthorizationViolation),
            Self::StaleConnection => Some(ErrorText::StaleConnection),
            Self::BadClientProtocolVersion => Some(ErrorText::InvalidClientProtocol),
            Self::MaxConnectionsExceeded => Some(ErrorText::MaxConnectionsExceeded),
            Self::MaxAccountConnectionsExceeded => Some(ErrorText::MaxAccountConnectionsExceeded),
            Self::MaxPayloadExceeded => Some(ErrorText::MaxPayloadViolation),
            Self::MaxControlLineExceeded => Some(ErrorText::MaxControlLineExceeded),
            Self::MaxSubscriptionsExceeded => Some(ErrorText::MaxSubscriptionsExceeded),
            Self::AuthenticationExpired => Some(ErrorText::UserAuthenticationExpired),
            Self::MissingAccount => Some(ErrorText::FailedAccountRegistration),
            Self::CredentialsRevoked => Some(ErrorText::UserAuthenticationRevoked),
            Self::NoRespondersRequiresHeaders => Some(ErrorText::NoRespondersRequiresHeaders),
            Self::ClientClosed
            | Self::TlsHandshakeFailure
            | Self::SlowConsumerPendingBytes
            | Self::SlowConsumerWriteDeadline
            | Self::WriteError
            | Self::ReadError
            | Self::ParseError
            | Self::ProtocolViolation
            | Self::IncorrectPort
            | Self::DuplicateRoute
            | Self::RouteRemoved
            | Self::ServerShutdown
            | Self::WrongGateway
            | Self::InternalClient
            | Self::MessageHeaderViolation
            | Self::ClusterNameConflict
            | Self::DuplicateRemoteLeafNodeConnection
            | Self::DuplicateClientId
            | Self::DuplicateServerName
            | Self::MinimumVersionRequired
            | Self::ClusterNamesIdentical
            | Self::Kicked
            | Self::ProxyNotTrusted
            | Self::ProxyRequired => None,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fixed text of `-ERR '...'`. Its capitals are as mixed as the ones clients already match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorText {
    /// An unknown verb, a verb that only servers may send, or a payload without its line end.
    UnknownProtocolOperation,
    /// The arguments of a line are longer than `max_control_line`.
    MaxControlLineExceeded,
    /// The announced size is above `max_payload`.
    MaxPayloadViolation,
    /// The server is full.
    MaxConnectionsExceeded,
    /// The account is full.
    MaxAccountConnectionsExceeded,
    /// One subscription too many; the connection stays.
    MaxSubscriptionsExceeded,
    /// A SUB whose subject no message can match; the connection stays.
    InvalidSubject,
    /// A route's interest in a subject that no message can match; the connection stays.
    InvalidSubscription,
    /// A pedantic client published to a subject that is not literal; the connection stays.
    InvalidPublishSubject,
    /// The credentials were refused.
    AuthorizationViolation,
    /// No CONNECT in time.
    AuthenticationTimeout,
    /// The user's credentials expired.
    UserAuthenticationExpired,
    /// The account's credentials expired.
    AccountAuthenticationExpired,
    /// The user's credentials were revoked.
    UserAuthenticationRevoked,
    /// The account is no longer usable.
    FailedAccountRegistration,
    /// The peer did not answer our PINGs.
    StaleConnection,
    /// CONNECT named an unknown protocol version.
    InvalidClientProtocol,
    /// CONNECT asked for `no_responders` without `headers`.
    NoRespondersRequiresHeaders,
    /// The TLS handshake did not happen in time.
    TlsRequired,
    /// Too many TLS handshakes a second.
    ConnectionThrottling,
    /// A client dialled the route port.
    RoutePort,
    /// A client dialled the leaf node port.
    LeafNodePort,
    /// A client dialled the gateway port.
    GatewayPort,
}

impl ErrorText {
    /// The text between the quotes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownProtocolOperation => "Unknown Protocol Operation",
            Self::MaxControlLineExceeded => "maximum control line exceeded",
            Self::MaxPayloadViolation => "Maximum Payload Violation",
            Self::MaxConnectionsExceeded => "maximum connections exceeded",
            Self::MaxAccountConnectionsExceeded => "maximum account active connections exceeded",
            Self::MaxSubscriptionsExceeded => "maximum subscriptions exceeded",
            Self::InvalidSubject => "Invalid Subject",
            Self::InvalidSubscription => "Invalid Subscription",
            Self::InvalidPublishSubject => "Invalid Publish Subject",
            Self::AuthorizationViolation => "Authorization Violation",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::UserAuthenticationExpired => "User Authentication Expired",
            Self::AccountAuthenticationExpired => "Account Authentication Expired",
            Self::UserAuthenticationRevoked => "User Authentication Revoked",
            Self::FailedAccountRegistration => "Failed Account Registration",
            Self::StaleConnection => "Stale Connection",
            Self::InvalidClientProtocol => "invalid client protocol",
            Self::NoRespondersRequiresHeaders => "no responders requires headers support",
            Self::TlsRequired => "Secure Connection - TLS Required",
            Self::ConnectionThrottling => {
                "Connection throttling is active. Please try again later."
            }
            Self::RoutePort => "attempted to connect to route port",
            Self::LeafNodePort => "attempted to connect to leaf node port",
            Self::GatewayPort => "attempted to connect to gateway port",
        }
    }
}

impl fmt::Display for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{CloseReason as R, *};

    #[test]
    fn every_reason_is_listed_once_and_in_order() {
        for (index, reason) in R::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{reason:?}");
        }
        let mut texts: Vec<_> = R::ALL.iter().map(|r| r.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), R::ALL.len());
    }

    #[track_caller]
    fn check(reason: R, text: &str, error: Option<&str>) {
        assert_eq!(reason.to_string(), text);
        assert_eq!(reason.error().map(ErrorText::as_str), error, "{reason:?}");
    }

    #[test]
    fn a_close_is_announced_with_the_text_clients_match_on() {
        for (reason, text, error) in [
            (R::AuthenticationFailure, "Authentication Failure", "Authorization Violation"),
            (R::AuthenticationTimeout, "Authentication Timeout", "Authentication Timeout"),
            (R::StaleConnection, "Stale Connection", "Stale Connection"),
            (
                R::MaxPayloadExceeded,
                "Maximum Message Payload Exceeded",
                "Maximum Payload Violation",
            ),
            (
                R::MaxConnectionsExceeded,
                "Maximum Connections Exceeded",
                "maximum connections exceeded",
            ),
            (
                R::MaxControlLineExceeded,
                "Maximum Control Line Exceeded",
                "maximum control line exceeded",
            ),
            (R::BadClientProtocolVersion, "Bad Client Protocol Version", "invalid client protocol"),
            (
                R::NoRespondersRequiresHeaders,
                "No Responders Requires Headers",
                "no responders requires headers support",
            ),
        ] {
            check(reason, text, Some(error));
        }
    }

    #[test]
    fn a_slow_consumer_is_closed_without_a_word() {
        check(R::SlowConsumerPendingBytes, "Slow Consumer (Pending Bytes)", None);
        check(R::SlowConsumerWriteDeadline, "Slow Consumer (Write Deadline)", None);
    }
}
