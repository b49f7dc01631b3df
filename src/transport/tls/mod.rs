//! TLS of one connection: bytes in, bytes out.
//!
//! [`Tls`] knows no socket. What arrives is [opened](Tls::open), what is to leave is
//! [sealed](Tls::seal), and what TLS itself has to say is [taken](Tls::take_wire). Invariant: what is
//! buffered is at most one record received and, before the handshake is over, 64 KiB to be sent.

mod options;
#[cfg(test)]
pub(super) mod tests;
mod verify;

use std::fmt;
use std::io::{BufRead as _, Write as _};

use rustls::{AlertDescription, CertificateError, Connection, InvalidMessage};
use rustls_pki_types::ServerName;

pub use options::{TlsAcceptor, TlsConnector, TlsFileError, TlsOptions, TlsVersion};

/// One end of a TLS connection.
pub struct Tls {
    connection: Connection,
}

/// Why a connection cannot go on. What [`Tls::take_wire`] gives then tells the peer.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsError {
    /// A name that no certificate can be checked against.
    BadServerName {
        /// The name.
        name: String,
    },
    /// What arrived is not TLS.
    NotTls,
    /// The peer presented no certificate.
    NoCertificate,
    /// The peer's certificate is not one to trust.
    BadCertificate(CertificateError),
    /// The peer's certificate is trusted and not among the pinned ones.
    NotPinned,
    /// The peer refused, for this reason.
    Refused(AlertDescription),
    /// More was to be sent before the end of the handshake than is kept.
    TooMuchWaits,
    /// Anything else that ends a TLS connection.
    Broken(rustls::Error),
}

impl Tls {
    /// The accepting end.
    ///
    /// # Errors
    /// When the system has no randomness to offer.
    pub fn accept(acceptor: &TlsAcceptor) -> Result<Self, TlsError> {
        let connection = rustls::ServerConnection::new(acceptor.config())?;
        Ok(Self { connection: connection.into() })
    }

    /// The dialling end; the peer must show a certificate for this name or address.
    ///
    /// # Errors
    /// When the name is none.
    pub fn connect(connector: &TlsConnector, server_name: &str) -> Result<Self, TlsError> {
        let bad_name = |_| TlsError::BadServerName { name: server_name.to_owned() };
        let bare = server_name.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(bad_name)?;
        let connection = rustls::ClientConnection::new(connector.config(), name)?;
        Ok(Self { connection: connection.into() })
    }

    /// Whether the ends have not agreed yet. What is sealed meanwhile leaves when they have.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether there are bytes for the peer that no one sealed: the handshake's, or an alert.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Appends the bytes that are ready to leave.
    pub fn take_wire(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() {
            match self.connection.write_tls(wire) {
                Ok(written) if written > 0 => {}
                // A vector takes all it is given.
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// Decrypts what arrived and appends the plain bytes.
    ///
    /// # Errors
    /// When the peer breaks the protocol or is not to be trusted.
    pub fn open(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        while !wire.is_empty() {
            match self.connection.read_tls(&mut wire) {
                // After the peer's farewell nothing more counts.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // A record or message that exceeds every bound.
                Err(_) => return Err(TlsError::NotTls),
            }
            self.connection.process_new_packets()?;
            let mut reader = self.connection.reader();
            while let Ok(bytes) = reader.fill_buf()
                && !bytes.is_empty()
            {
                plain.extend_from_slice(bytes);
                let length = bytes.len();
                reader.consume(length);
            }
        }
        Ok(())
    }

    /// Encrypts these bytes and appends what is to leave, whatever else was ready included.
    ///
    /// # Errors
    /// When too much waits for the end of the handshake.
    pub fn seal(&mut self, mut plain: &[u8], wire: &mut Vec<u8>) -> Result<(), TlsError> {
        while !plain.is_empty() {
            let taken = self.connection.writer().write(plain).unwrap_or_default();
            self.take_wire(wire);
            if taken == 0 {
                return Err(TlsError::TooMuchWaits);
            }
            plain = &plain[taken..];
        }
        self.take_wire(wire);
        Ok(())
    }

    /// Says farewell: nothing is sealed after this.
    pub fn close(&mut self, wire: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.take_wire(wire);
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
                Self::NotPinned
            }
            rustls::Error::InvalidCertificate(error) => Self::BadCertificate(error),
            rustls::Error::AlertReceived(alert) => Self::Refused(alert),
            other => Self::Broken(other),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadServerName { name } => write!(f, "tls: {name:?} is no name of a server"),
            Self::NotTls => f.write_str("tls: first record does not look like a TLS handshake"),
            Self::NoCertificate => f.write_str("tls: peer didn't provide a certificate"),
            Self::BadCertificate(error) => write!(f, "tls: bad certificate of the peer: {error}"),
            Self::NotPinned => f.write_str("tls: certificate not pinned"),
            Self::Refused(alert) => write!(f, "tls: refused by the peer: {alert:?}"),
            Self::TooMuchWaits => f.write_str("tls: too much waits for the handshake"),
            Self::Broken(error) => write!(f, "tls: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
