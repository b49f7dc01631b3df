//! Handshakes between our own two ends, with certificates made on the spot.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::CertificateError;
use tempfile::TempDir;

use super::verify::pin;
use super::{Tls, TlsAcceptor, TlsConnector, TlsError, TlsFileError, TlsOptions, TlsVersion};

/// An authority, and the files of what it has signed.
pub(in crate::transport) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: TempDir,
}

impl Authority {
    pub(in crate::transport) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Authorities of one name would be taken for each other.
        let name = home.path().file_name().unwrap().to_str().unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, home };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate for these names.
    fn sign(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Options with a certificate for these names.
    pub(in crate::transport) fn options(&self, names: &[&str]) -> TlsOptions {
        let (certificate, key) = self.sign(names);
        let stem = names.join("_");
        let cert_file = self.write(&format!("{stem}.pem"), &certificate.pem());
        let key_file = self.write(&format!("{stem}.key"), &key.serialize_pem());
        TlsOptions::new(cert_file, key_file, Some(self.home.path().join("ca.pem")))
    }
}

/// Two ends and what stands between them.
struct Pair {
    acceptor: Tls,
    connector: Tls,
}

impl Pair {
    fn new(accepts: &TlsOptions, connects: &TlsOptions, name: &str) -> Self {
        let acceptor = Tls::accept(&TlsAcceptor::new(accepts).unwrap()).unwrap();
        let connector = Tls::connect(&TlsConnector::new(connects).unwrap(), name).unwrap();
        Self { acceptor, connector }
    }

    /// Carries bytes to and fro in pieces until neither end has anything to say; what arrived.
    fn settle(&mut self, piece: usize) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        let (mut accepted, mut connected) = (Vec::new(), Vec::new());
        // An end that has failed may still have an alert for the other one.
        let mut failed = None;
        for _ in 0..10 {
            let mut wire = Vec::new();
            self.connector.take_wire(&mut wire);
            for bytes in wire.chunks(piece) {
                if let Err(error) = self.acceptor.open(bytes, &mut accepted) {
                    failed.get_or_insert(error);
                    break;
                }
            }
            wire.clear();
            self.acceptor.take_wire(&mut wire);
            for bytes in wire.chunks(piece) {
                if let Err(error) = self.connector.open(bytes, &mut connected) {
                    failed.get_or_insert(error);
                    break;
                }
            }
        }
        failed.map_or(Ok((accepted, connected)), Err)
    }
}

#[test]
fn two_ends_agree_however_the_bytes_are_cut() {
    let authority = Authority::new();
    let (accepts, connects) = (authority.options(&["a.test"]), authority.options(&["b.test"]));
    for min_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for piece in [1, 7, 1000, usize::MAX] {
            let options = |options: &TlsOptions| TlsOptions { min_version, ..options.clone() };
            let mut pair = Pair::new(&options(&accepts), &options(&connects), "a.test");
            // What is sealed before the handshake leaves after it.
            let mut wire = Vec::new();
            pair.connector.seal(b"CONNECT {}\r\n", &mut wire).unwrap();
            let mut plain = Vec::new();
            pair.acceptor.open(&wire, &mut plain).unwrap();
            assert!(pair.connector.is_handshaking());
            let (accepted, _) = pair.settle(piece).unwrap();
            assert_eq!(accepted, b"CONNECT {}\r\n", "in pieces of {piece}");
            assert!(!pair.connector.is_handshaking() && !pair.acceptor.is_handshaking());

            let bulk = vec![b'x'; 300_000];
            let (mut wire, mut arrived) = (Vec::new(), Vec::new());
            pair.acceptor.seal(&bulk, &mut wire).unwrap();
            assert!(wire.len() > bulk.len());
            wire.chunks(piece).for_each(|bytes| pair.connector.open(bytes, &mut arrived).unwrap());
            assert!(arrived == bulk, "in pieces of {piece}");
        }
    }
}

#[test]
fn a_peer_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::new(&authority.options(&["a.test"])).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "a.test".try_into().unwrap();
    let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let acceptor = Tls::accept(&acceptor).unwrap();
    let mut pair = Pair { acceptor, connector: Tls { connection: connection.into() } };
    assert_eq!(pair.settle(usize::MAX), Err(TlsError::NoCertificate));
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let (one, other) = (Authority::new(), Authority::new());
    let unknown = Err(TlsError::BadCertificate(CertificateError::UnknownIssuer));
    let (ours, theirs) = (one.options(&["a.test"]), other.options(&["a.test"]));
    // The acceptor does not know who signed the connector's certificate.
    let trusting = TlsOptions { ca_file: ours.ca_file.clone(), ..theirs.clone() };
    assert_eq!(Pair::new(&ours, &trusting, "a.test").settle(usize::MAX), unknown);
    // The connector does not know who signed the acceptor's.
    let trusting = TlsOptions { ca_file: theirs.ca_file.clone(), ..ours.clone() };
    assert_eq!(Pair::new(&trusting, &theirs, "a.test").settle(usize::MAX), unknown);
}

#[test]
fn a_server_must_be_the_one_that_was_dialled() {
    let authority = Authority::new();
    let options = authority.options(&["a.test", "127.0.0.1"]);
    for name in ["a.test", "127.0.0.1"] {
        assert!(Pair::new(&options, &options, name).settle(usize::MAX).is_ok(), "{name}");
    }
    for name in ["b.test", "127.0.0.2", "[::1]"] {
        let error = Pair::new(&options, &options, name).settle(usize::MAX).unwrap_err();
        assert!(
            matches!(
                error,
                TlsError::BadCertificate(CertificateError::NotValidForNameContext { .. })
            ),
            "{name}: {error}"
        );
    }
    let insecure = TlsOptions { insecure: true, ..options.clone() };
    assert!(Pair::new(&options, &insecure, "b.test").settle(usize::MAX).is_ok());
    let connector = TlsConnector::new(&options).unwrap();
    assert!(matches!(Tls::connect(&connector, "a b"), Err(TlsError::BadServerName { .. })));
}

#[test]
fn only_pinned_keys_are_let_in() {
    let authority = Authority::new();
    let (accepts, connects) = (authority.options(&["a.test"]), authority.options(&["b.test"]));
    let pin_of = |options: &TlsOptions| {
        use rustls_pki_types::pem::PemObject as _;
        pin(&rustls_pki_types::CertificateDer::from_pem_file(&options.cert_file).unwrap()).unwrap()
    };
    let pinned = |options: &TlsOptions, pin: String, insecure: bool| TlsOptions {
        pinned_certs: vec![pin.to_uppercase()],
        insecure,
        ..options.clone()
    };
    let (ours, theirs) = (pin_of(&accepts), pin_of(&connects));
    let check = |accepts: &TlsOptions, connects: &TlsOptions, expected: Option<TlsError>| {
        assert_eq!(Pair::new(accepts, connects, "a.test").settle(usize::MAX).err(), expected);
    };
    check(&pinned(&accepts, theirs.clone(), false), &connects, None);
    check(&pinned(&accepts, ours.clone(), false), &connects, Some(TlsError::NotPinned));
    check(&accepts, &pinned(&connects, ours, false), None);
    check(&accepts, &pinned(&connects, theirs, true), Some(TlsError::NotPinned));
}

#[test]
fn plain_text_is_refused_before_a_byte_of_it_is_taken() {
    let authority = Authority::new();
    let options = authority.options(&["a.test"]);
    let mut acceptor = Tls::accept(&TlsAcceptor::new(&options).unwrap()).unwrap();
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    let connect = b"CONNECT {\"echo\":true,\"verbose\":false}\r\nPING\r\n";
    assert_eq!(acceptor.open(connect, &mut plain), Err(TlsError::NotTls));
    acceptor.take_wire(&mut wire);
    assert!(plain.is_empty());
    assert!(wire.len() < 16, "an alert and nothing else: {wire:?}");
}

#[test]
fn what_waits_for_the_handshake_is_bounded() {
    let authority = Authority::new();
    let options = authority.options(&["a.test"]);
    let mut connector = Tls::connect(&TlsConnector::new(&options).unwrap(), "a.test").unwrap();
    let sealed = connector.seal(&vec![0; 1 << 20], &mut Vec::new());
    assert_eq!(sealed, Err(TlsError::TooMuchWaits));
}

#[test]
fn an_error_names_the_file() {
    let authority = Authority::new();
    let options = authority.options(&["a.test"]);
    let other = authority.options(&["b.test"]);
    let empty = authority.write("empty.pem", "");
    let check = |options: TlsOptions, file: &PathBuf| {
        let acceptor = TlsAcceptor::new(&options).err().unwrap();
        let connector = TlsConnector::new(&options).err().unwrap();
        for error in [acceptor, connector] {
            assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        }
    };
    let missing = PathBuf::from("/does/not/exist.pem");
    check(TlsOptions { cert_file: missing.clone(), ..options.clone() }, &missing);
    check(TlsOptions { key_file: missing.clone(), ..options.clone() }, &missing);
    check(TlsOptions { ca_file: Some(missing.clone()), ..options.clone() }, &missing);
    check(TlsOptions { cert_file: empty.clone(), ..options.clone() }, &empty);
    check(TlsOptions { key_file: empty.clone(), ..options.clone() }, &empty);
    check(TlsOptions { ca_file: Some(empty.clone()), ..options.clone() }, &empty);
    check(TlsOptions { key_file: other.key_file.clone(), ..options.clone() }, &other.key_file);
    let pin = "12ab".to_owned();
    let bad = TlsOptions { pinned_certs: vec![pin.clone()], ..options };
    assert_eq!(TlsAcceptor::new(&bad).err(), Some(TlsFileError::BadPin { pin }));
}

#[test]
fn old_versions_are_not_offered() {
    assert_eq!("1.2".parse(), Ok(TlsVersion::V1_2));
    assert_eq!("1.3".parse(), Ok(TlsVersion::V1_3));
    assert!("1.1".parse::<TlsVersion>().is_err());
}
