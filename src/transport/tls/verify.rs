//! Whose certificate is good enough.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

use super::TlsFileError;

/// Digits of a digest in hexadecimal.
const PIN_LEN: usize = 64;

/// The public keys that peers may have; any when there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(BTreeSet<String>);

impl Pins {
    pub(super) fn parse(pins: &[String]) -> Result<Self, TlsFileError> {
        let parse = |pin: &String| {
            let digits = pin.len() == PIN_LEN && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
            if digits {
                Ok(pin.to_ascii_lowercase())
            } else {
                Err(TlsFileError::BadPin { pin: pin.clone() })
            }
        };
        Ok(Self(pins.iter().map(parse).collect::<Result<_, _>>()?))
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.0.is_empty() || self.0.contains(&pin(certificate)?) {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }
}

/// The pin of a certificate's public key.
pub(super) fn pin(certificate: &CertificateDer<'_>) -> Result<String, Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let mut text = String::with_capacity(PIN_LEN);
    for byte in Sha256::digest(&key) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// A verifier of clients that also asks for a pinned key, when there are any.
pub(super) fn pinned_client_verifier(
    inner: Arc<dyn ClientCertVerifier>,
    pins: Pins,
) -> Arc<dyn ClientCertVerifier> {
    if pins.0.is_empty() { inner } else { Arc::new(PinnedClients { inner, pins }) }
}

#[derive(Debug)]
struct PinnedClients {
    inner: Arc<dyn ClientCertVerifier>,
    pins: Pins,
}

impl ClientCertVerifier for PinnedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        self.pins.check(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Checks the server that we dialled.
pub(super) struct ServerVerifier {
    /// Who vouches for servers; nothing when any certificate will do.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// How signatures are checked, without which even a pinned key proves nothing.
    algorithms: WebPkiSupportedAlgorithms,
    pins: Pins,
}

impl ServerVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        pins: Pins,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let authorities =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?;
        Ok(Self { authorities: Some(authorities), ..Self::insecure(provider, pins) })
    }

    pub(super) fn insecure(provider: &CryptoProvider, pins: Pins) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { authorities: None, algorithms, pins }
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier")
            .field("insecure", &self.authorities.is_none())
            .field("pins", &self.pins)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )?;
        }
        self.pins.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
