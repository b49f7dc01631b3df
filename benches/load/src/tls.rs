//! Whom we trust and what we show, read from files once and shared by every connection.
//!
//! It knows no socket and no record: [`Stream`](crate::stream::Stream) speaks what begins here.
//!
//! Invariant: every handshake is a whole one, as with most clients of NATS. Nothing is resumed, so the
//! thousandth connection of a storm costs a server what the first did.

use crate::args::TlsArgs;
use crate::error::Fault;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;

/// What was asked of TLS, ready for use. Whether it is used, URL and server decide.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    /// TLS begins at once, and INFO comes in it.
    pub(crate) first: bool,
    /// Some option asked for it, so that a server without will not do.
    pub(crate) demanded: bool,
}

impl Tls {
    /// Reads the files, also when no server may ask for them: what is wrong with them is told at the start.
    ///
    /// # Errors
    /// [`Fault::Usage`] names the file that is of no use, and says why.
    pub(crate) fn new(args: &TlsArgs) -> Result<Self, Fault> {
        let TlsArgs { tls_ca, tls_cert, tls_key, tls_first } = args;
        let provider = rustls::crypto::ring::default_provider();
        let builder = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("the provider speaks the versions that are the default")
            .with_root_certificates(roots(tls_ca.as_deref())?);
        let mut config = match (tls_cert, tls_key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(useless(key))?;
                builder.with_client_auth_cert(certificates(cert)?, key).map_err(useless(cert))?
            }
            // The command line has one with the other.
            (None, _) | (_, None) => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        let demanded = *tls_first || tls_ca.is_some() || tls_cert.is_some();
        Ok(Self { config: config.into(), first: *tls_first, demanded })
    }

    /// The beginning of TLS with a server that has to show a certificate for `host`.
    ///
    /// # Errors
    /// When no certificate can be for such a name.
    pub(crate) fn connect(&self, host: &str) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        ClientConnection::new(Arc::clone(&self.config), name).map_err(|error| error.to_string())
    }
}

/// The authorities in `file`; the system's without one. Of those some may be unusable, and are not asked.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    match file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(useless(file))?;
            }
        }
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(useless(file))?;
    if certificates.is_empty() {
        Err(useless(file)("no certificate in it"))
    } else {
        Ok(certificates)
    }
}

/// For `map_err`: names the file.
fn useless<E: ToString>(file: &Path) -> impl FnOnce(E) -> Fault {
    move |why| Fault::Usage(format!("{}: {}", file.display(), why.to_string()))
}
