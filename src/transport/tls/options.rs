//! What is configured for TLS, made into the two ends of connections.
//!
//! Files are read here, once; connections share what came of it. Both ends show a certificate and
//! demand one: whoever joins a cluster is known by it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::verify::{Pins, ServerVerifier, pinned_client_verifier};

/// A `tls {}` block, for connections whose two ends both show a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Our certificate and those that lead to its authority, as PEM.
    pub cert_file: PathBuf,
    /// The certificate's private key, as PEM.
    pub key_file: PathBuf,
    /// The authorities that peers' certificates must come from; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// Whether a server that we dial may show any certificate.
    pub insecure: bool,
    /// The oldest protocol that is spoken.
    pub min_version: TlsVersion,
    /// When there are any, a peer's certificate must have one of these public keys: SHA-256 of the
    /// key's information, as 64 hexadecimal digits.
    pub pinned_certs: Vec<String>,
    /// How long a handshake may take.
    pub timeout: Duration,
}

/// How long a handshake may take unless `timeout` says otherwise.
pub(super) const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

static ONLY_V1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A version of TLS that is still good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Makes the accepting ends of connections.
#[derive(Clone)]
pub struct TlsAcceptor(Arc<ServerConfig>);

/// Makes the dialling ends of connections.
#[derive(Clone)]
pub struct TlsConnector(Arc<ClientConfig>);

/// Why a `tls {}` block is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFileError {
    /// A file that cannot be read, or holds no PEM.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system or the PEM reader says.
        reason: String,
    },
    /// A file without a certificate.
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A certificate that is not one to trust others by.
    BadAuthority {
        /// The file, or nothing for the system's authorities.
        file: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and a key that do not work together.
    BadPair {
        /// The certificate's file.
        cert_file: PathBuf,
        /// The key's file.
        key_file: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// A pin that is not 64 hexadecimal digits.
    BadPin {
        /// The pin.
        pin: String,
    },
}

impl TlsOptions {
    /// Options with these files and the default of everything else.
    #[must_use]
    pub fn new(cert_file: PathBuf, key_file: PathBuf, ca_file: Option<PathBuf>) -> Self {
        Self {
            cert_file,
            key_file,
            ca_file,
            insecure: false,
            min_version: TlsVersion::default(),
            pinned_certs: Vec::new(),
            timeout: HANDSHAKE_TIMEOUT_DEFAULT,
        }
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsFileError> {
        let key = PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(|error| unreadable(&self.key_file, &error))?;
        Ok((certificates(&self.cert_file)?, key))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsFileError> {
        let mut roots = RootCertStore::empty();
        let bad =
            |reason: String| TlsFileError::BadAuthority { file: self.ca_file.clone(), reason };
        if let Some(file) = &self.ca_file {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
        } else {
            // Of the system's many authorities some may be unusable; those are not asked.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() { Err(bad("no authority found".to_owned())) } else { Ok(roots.into()) }
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.min_version {
            TlsVersion::V1_2 => rustls::ALL_VERSIONS,
            TlsVersion::V1_3 => ONLY_V1_3,
        }
    }

    fn bad_pair(&self, error: &rustls::Error) -> TlsFileError {
        TlsFileError::BadPair {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            reason: error.to_string(),
        }
    }

    fn bad_authority(&self, error: &dyn fmt::Display) -> TlsFileError {
        TlsFileError::BadAuthority { file: self.ca_file.clone(), reason: error.to_string() }
    }
}

impl TlsAcceptor {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// When one cannot be read or is of no use; the error names it.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsFileError> {
        let provider = provider();
        let (chain, key) = options.own()?;
        let pins = Pins::parse(&options.pinned_certs)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(options.roots()?, Arc::clone(&provider))
                .build()
                .map_err(|error| options.bad_authority(&error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(options.versions())
            .map_err(|error| options.bad_pair(&error))?
            .with_client_cert_verifier(pinned_client_verifier(verifier, pins))
            .with_single_cert(chain, key)
            .map_err(|error| options.bad_pair(&error))?;
        // Every connection is a new handshake, so that a reload's authorities and pins count.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(config.into()))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl TlsConnector {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// When one cannot be read or is of no use; the error names it.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsFileError> {
        let provider = provider();
        let (chain, key) = options.own()?;
        let pins = Pins::parse(&options.pinned_certs)?;
        let verifier = if options.insecure {
            ServerVerifier::insecure(&provider, pins)
        } else {
            ServerVerifier::new(options.roots()?, &provider, pins)
                .map_err(|error| options.bad_authority(&error))?
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(options.versions())
            .map_err(|error| options.bad_pair(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|error| options.bad_pair(&error))?;
        config.resumption = Resumption::disabled();
        Ok(Self(config.into()))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unreadable(file, &error))?;
    if certificates.is_empty() {
        return Err(TlsFileError::NoCertificate { file: file.to_owned() });
    }
    Ok(certificates)
}

fn unreadable(file: &Path, error: &rustls_pki_types::pem::Error) -> TlsFileError {
    TlsFileError::Unreadable { file: file.to_owned(), reason: error.to_string() }
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            unknown => Err(format!("unsupported minimum TLS version {unknown:?}: 1.2 and 1.3 are")),
        }
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, reason } => write!(f, "tls: {}: {reason}", file.display()),
            Self::NoCertificate { file } => {
                write!(f, "tls: {}: no certificate in it", file.display())
            }
            Self::BadAuthority { file: Some(file), reason } => {
                write!(f, "tls: {}: {reason}", file.display())
            }
            Self::BadAuthority { file: None, reason } => {
                write!(f, "tls: authorities of the system: {reason}")
            }
            Self::BadPair { cert_file, key_file, reason } => {
                write!(f, "tls: {} with {}: {reason}", cert_file.display(), key_file.display())
            }
            Self::BadPin { pin } => write!(
                f,
                "tls: pinned certificate {pin:?} is not the SHA-256 of a key in 64 hexadecimal digits"
            ),
        }
    }
}

impl std::error::Error for TlsFileError {}
