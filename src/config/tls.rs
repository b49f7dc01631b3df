//! The keys of a `tls {}` block.
//!
//! This module checks that what is named can be read; what is in the certificates is checked by
//! who uses them.

use std::time::Duration;

use super::authorization::timeout_seconds;
use super::duration::quote;
use super::not_yet;
use super::parser::read_file;
use super::tree::{ConfigError, Node, Value};

/// How to speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// `cert_file` and `key_file`, or `certs`: the chains to choose from, the first one preferred.
    pub certificates: Vec<CertificateFiles>,
    /// `ca_file`: the roots to trust, as PEM; `None` trusts the system's.
    pub ca_file: Option<String>,
    /// `verify`: the other side has to show a certificate. A cluster asks for one in any case.
    pub verify: bool,
    /// `insecure`: do not check the certificate of the server that is dialled.
    pub insecure: bool,
    /// `timeout`: how long the handshake may take.
    pub timeout: Duration,
    /// `min_version`.
    pub min_version: TlsVersion,
    /// `pinned_certs`: SHA-256 of the public keys (`SubjectPublicKeyInfo` in DER) that are
    /// accepted, sorted; empty accepts all.
    pub pinned_certs: Vec<[u8; 32]>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            ca_file: None,
            verify: false,
            insecure: false,
            timeout: TIMEOUT_DEFAULT,
            min_version: TlsVersion::Tls12,
            pinned_certs: Vec::new(),
        }
    }
}

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// A certificate chain and its key, both as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Path of the chain.
    pub cert_file: String,
    /// Path of the key.
    pub key_file: String,
}

/// The oldest version of the protocol to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    Tls12,
    /// 1.3
    Tls13,
}

/// Reads a block, and whether its files can be read. The first error is the one told.
pub(super) fn read(node: &Node) -> Result<TlsOptions, ConfigError> {
    if !matches!(node.value, Value::Map(_)) {
        return Err(node.not_a("map[string]interface {}"));
    }
    let mut options = TlsOptions::default();
    let mut single = CertificateFiles::default();
    for (key, value) in node.entries() {
        match key.to_lowercase().as_str() {
            "cert_file" => single.cert_file = filename("cert_file", value)?,
            "key_file" => single.key_file = filename("key_file", value)?,
            "ca_file" => options.ca_file = Some(filename("ca_file", value)?),
            "certs" | "certificates" => options.certificates = certificates(value)?,
            "verify" => options.verify = truth("verify", value)?,
            "insecure" => options.insecure = truth("insecure", value)?,
            "timeout" => options.timeout = timeout(value)?,
            "min_version" => options.min_version = version(value)?,
            "pinned_certs" => options.pinned_certs = pinned(value)?,
            name => other(key, name, value)?,
        }
    }
    options.ca_file = options.ca_file.filter(|path| !path.is_empty());
    let listed = !options.certificates.is_empty();
    combine(&mut options, single).map_err(|text| node.error(text))?;
    check_files(&options, listed).map_err(|text| node.error(text))?;
    Ok(options)
}

/// A key that is not read here: refused by name if the peer has it.
fn other(key: &str, name: &str, node: &Node) -> Result<(), ConfigError> {
    match not_yet::refusal(not_yet::TLS, key, name, node) {
        not_yet::Answer::Fine => Ok(()),
        not_yet::Answer::Refused(error) => Err(error),
        not_yet::Answer::Unknown if node.used => Ok(()),
        not_yet::Answer::Unknown => {
            Err(node.error(format!("error parsing tls config, unknown field {}", quote(key))))
        }
    }
}

fn filename(name: &str, node: &Node) -> Result<String, ConfigError> {
    let Value::Text(path) = &node.value else {
        let text = format!("error parsing tls config, expected '{name}' to be filename");
        return Err(node.error(text));
    };
    Ok(path.clone())
}

fn truth(name: &str, node: &Node) -> Result<bool, ConfigError> {
    let Value::Bool(truth) = node.value else {
        let text = format!("error parsing tls config, expected '{name}' to be a boolean");
        return Err(node.error(text));
    };
    Ok(truth)
}

fn timeout(node: &Node) -> Result<Duration, ConfigError> {
    let context = "error parsing tls config, 'timeout'";
    let seconds = timeout_seconds(node, context)?;
    if seconds == 0.0 {
        return Ok(TIMEOUT_DEFAULT);
    }
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

fn version(node: &Node) -> Result<TlsVersion, ConfigError> {
    let error = |text: String| node.error(format!("error parsing tls config: {text}"));
    let Value::Text(text) = &node.value else {
        return Err(error(format!("'min_version' wrong type: {}", node.value)));
    };
    match text.as_str() {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        "1.0" | "1.1" => Err(error(format!("unsupported TLS version: TLS {text}"))),
        _ => Err(error(format!("unknown version: {text}"))),
    }
}

fn certificates(node: &Node) -> Result<Vec<CertificateFiles>, ConfigError> {
    let context = "error parsing certificates config:";
    let Value::Array(entries) = &node.value else {
        // Whatever stands there, the peer names the type of the block around it.
        return Err(node.error(format!("{context} unsupported type map[string]interface {{}}")));
    };
    let mut chains = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut files = CertificateFiles::default();
        let mut last = entry;
        for (key, value) in entry.entries() {
            last = value;
            let Value::Text(path) = &value.value else {
                let text = format!("{context} unsupported type {}", value.value.go_type());
                return Err(value.error(text));
            };
            match key.as_str() {
                "cert_file" => files.cert_file.clone_from(path),
                "key_file" => files.key_file.clone_from(path),
                _ => {
                    let key = quote(key);
                    let text = format!("error parsing tls certs config, unknown field {key}");
                    return Err(value.error(text));
                }
            }
        }
        if files.cert_file.is_empty() || files.key_file.is_empty() {
            return Err(last
                .error(format!("{context} both 'cert_file' and 'cert_key' options are required")));
        }
        chains.push(files);
    }
    Ok(chains)
}

fn pinned(node: &Node) -> Result<Vec<[u8; 32]>, ConfigError> {
    let Value::Array(entries) = &node.value else {
        return Err(node.error(
            "error parsing tls config, expected 'pinned_certs' to be a list of hex-encoded sha256 \
             of DER encoded SubjectPublicKeyInfo",
        ));
    };
    let mut hashes = Vec::with_capacity(entries.len());
    for entry in entries {
        let Value::Text(text) = &entry.value else { return Err(entry.not_a("string")) };
        let text = text.to_lowercase();
        hashes.push(hash(&text).ok_or_else(|| {
            entry.error(format!(
                "error parsing tls config, 'pinned_certs' key {text} does not look like \
                 hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
            ))
        })?);
    }
    hashes.sort_unstable();
    hashes.dedup();
    Ok(hashes)
}

/// The 32 bytes of 64 hexadecimal digits.
fn hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// One certificate or a list, not both; a certificate and its key, never one of them.
fn combine(options: &mut TlsOptions, single: CertificateFiles) -> Result<(), &'static str> {
    let (cert, key) = (!single.cert_file.is_empty(), !single.key_file.is_empty());
    if !options.certificates.is_empty() {
        return if cert {
            Err("error parsing tls config, cannot combine 'cert_file' option with 'certs' option")
        } else {
            Ok(())
        };
    }
    match (cert, key) {
        (false, false) => {}
        (true, false) => return Err("missing 'key_file' in TLS configuration"),
        (false, true) => return Err("missing 'cert_file' in TLS configuration"),
        (true, true) => options.certificates.push(single),
    }
    Ok(())
}

/// The pairs of a list are numbered in errors.
fn check_files(options: &TlsOptions, listed: bool) -> Result<(), String> {
    let all = options.certificates.len();
    for (at, files) in options.certificates.iter().enumerate() {
        let context = if listed {
            format!("error parsing X509 certificate/key pair {}/{all}", at + 1)
        } else {
            String::from("error parsing X509 certificate/key pair")
        };
        for (path, what) in [(&files.cert_file, "certificate"), (&files.key_file, "key")] {
            let bytes = read_file(path).map_err(|error| format!("{context}: {error}"))?;
            if !is_pem(&bytes) {
                return Err(format!("{context}: tls: failed to find any PEM data in {what} input"));
            }
        }
    }
    if let Some(path) = &options.ca_file
        && !is_pem(&read_file(path)?)
    {
        return Err("failed to parse root ca certificate".into());
    }
    Ok(())
}

fn is_pem(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"-----BEGIN ").is_some()
}
