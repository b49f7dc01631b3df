//! A server: where it is, what it says of itself, what it is told at the beginning, and when TLS begins.
//!
//! It knows no connection's progress: [`Client`](crate::client::Client) and the storm have their own.

use crate::error::Fault;
use crate::stream::Stream;
use crate::tls::Tls;
use crate::url::{Credentials, ServerUrl};
use crate::wire::Inbox;
use std::net::SocketAddr;

/// A server, its name resolved once.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Tls,
}

impl Server {
    /// # Errors
    /// [`Fault::Connect`] when the host's name is unknown.
    pub(crate) fn resolve(url: &ServerUrl, tls: Tls) -> Result<Self, Fault> {
        match url.resolve() {
            Ok(address) => Ok(Self { url: url.clone(), address, tls }),
            Err(error) => Err(connect_fault(url, error)),
        }
    }

    /// Whether TLS begins after INFO.
    ///
    /// # Errors
    /// [`Fault::Connect`] when TLS was asked for and the server has none.
    pub(crate) fn upgrades(&self, info: &ServerInfo) -> Result<bool, Fault> {
        if self.tls.first {
            return Ok(false);
        }
        let demanded = self.url.tls || self.tls.demanded;
        match info.tls {
            TlsOffer::None if demanded => {
                Err(connect_fault(&self.url, "TLS was asked for, and the server has none"))
            }
            TlsOffer::None => Ok(false),
            TlsOffer::Optional => Ok(demanded),
            TlsOffer::Required => Ok(true),
        }
    }

    /// Turns to TLS. What came before it must have been taken: nobody vouches for what follows INFO in plain.
    ///
    /// # Errors
    /// [`Fault::Connect`] when no certificate can be for the host; [`Fault::Protocol`] on bytes after INFO.
    pub(crate) fn secure(&self, stream: &mut Stream, inbox: &Inbox) -> Result<(), Fault> {
        if !inbox.is_empty() {
            return Err(Fault::Protocol("something between INFO and TLS".into()));
        }
        let connection =
            self.tls.connect(&self.url.host).map_err(|why| connect_fault(&self.url, why))?;
        stream.secure(connection, inbox.capacity());
        Ok(())
    }

    /// CONNECT and the PING whose answer says that it was taken.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut options = serde_json::json!({
            "verbose": false, "pedantic": false, "echo": true, "headers": true,
            "no_responders": true, "protocol": 1, "lang": "rust", "name": "ringmesh-load",
            "version": env!("CARGO_PKG_VERSION"),
        });
        match &self.url.credentials {
            Credentials::None => {}
            Credentials::Token(token) => options["auth_token"] = token.as_str().into(),
            Credentials::Password { user, password } => {
                options["user"] = user.as_str().into();
                options["pass"] = password.as_str().into();
            }
        }
        format!("CONNECT {options}\r\nPING\r\n").into_bytes()
    }
}

/// What a server says of itself in INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// Product and version, for reports.
    pub(crate) label: String,
    /// Largest payload it takes, in bytes.
    pub(crate) max_payload: u64,
    tls: TlsOffer,
}

/// What a server says of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TlsOffer {
    #[default]
    None,
    Optional,
    Required,
}

impl ServerInfo {
    /// # Errors
    /// [`Fault::Protocol`] when it is not JSON.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Fault> {
        let wrong = |error| Fault::Protocol(format!("INFO is not JSON: {error}"));
        let info: serde_json::Value = serde_json::from_slice(json).map_err(wrong)?;
        let (product, version) = match info["ringmesh"].as_str() {
            Some(version) => ("ringmesh", version),
            None => ("nats-server", info["version"].as_str().unwrap_or("(version unknown)")),
        };
        let max_payload = info["max_payload"].as_u64().unwrap_or(1 << 20);
        let tls = if info["tls_required"] == true {
            TlsOffer::Required
        } else if info["tls_available"] == true {
            TlsOffer::Optional
        } else {
            TlsOffer::None
        };
        Ok(Self { label: format!("{product} {version}"), max_payload, tls })
    }
}

pub(crate) fn connect_fault(url: &ServerUrl, why: impl ToString) -> Fault {
    Fault::Connect { to: url.to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::TlsArgs;

    #[track_caller]
    fn check(info: &str, label: &str, max_payload: u64) {
        let expected = ServerInfo { label: label.into(), max_payload, tls: TlsOffer::None };
        assert_eq!(ServerInfo::parse(info.as_bytes()).unwrap(), expected, "{info}");
    }

    #[test]
    fn info_names_the_product_behind_the_compatible_version() {
        check(r#"{"version":"2.15.1","max_payload":1048576}"#, "nats-server 2.15.1", 1_048_576);
        check(r#"{"version":"2.15.1","ringmesh":"0.1.0","max_payload":9}"#, "ringmesh 0.1.0", 9);
    }

    fn server(url: &str) -> Server {
        Server::resolve(&url.parse().unwrap(), Tls::new(&TlsArgs::default()).unwrap()).unwrap()
    }

    #[track_caller]
    fn check_upgrade(url: &str, info: &str, expected: Option<bool>) {
        let info = ServerInfo::parse(info.as_bytes()).unwrap();
        assert_eq!(server(url).upgrades(&info).ok(), expected, "{url} {info:?}");
    }

    #[test]
    fn tls_is_spoken_when_the_url_asks_for_it_or_the_server_requires_it() {
        let (plain, secure) = ("nats://127.0.0.1", "tls://127.0.0.1");
        for (info, of_plain, of_secure) in [
            ("{}", Some(false), None),
            (r#"{"tls_available":true}"#, Some(false), Some(true)),
            (r#"{"tls_required":true}"#, Some(true), Some(true)),
            (r#"{"tls_required":true,"tls_available":true}"#, Some(true), Some(true)),
        ] {
            check_upgrade(plain, info, of_plain);
            check_upgrade(secure, info, of_secure);
        }
    }

    #[test]
    fn connect_carries_the_login_of_the_url() {
        let shown = |url| String::from_utf8(server(url).hello()).unwrap();
        assert!(shown("nats://a:b@127.0.0.1").contains(r#""pass":"b""#));
        assert!(shown("nats://t0@127.0.0.1").contains(r#""auth_token":"t0""#));
        assert!(!shown("nats://127.0.0.1").contains("user"));
    }
}
