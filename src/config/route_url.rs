//! Where another server's routes listen, as a URL: `nats://user:password@host:6222`.
//!
//! The reading follows Go's `net/url` as far as its verdicts are seen: what it refuses is refused,
//! and in its words, because the command line shows them. A route needs a host; a URL without a
//! port means the port on which clusters usually listen.

use std::fmt;

use super::duration::quote;
use super::settings::split_host_port;

/// The port of a cluster unless one is given.
pub(super) const CLUSTER_PORT_DEFAULT: u16 = 6222;

/// The URL of a route.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteUrl {
    /// `nats`, `nats-route`, `tls` or another word, in small letters: nothing depends on it, since
    /// the cluster's `tls` decides what is spoken.
    pub scheme: String,
    /// A name or an address, without brackets; never empty.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Who to be there.
    pub user: Option<String>,
    /// The password that belongs to the user, in plain.
    pub password: Option<String>,
}

impl RouteUrl {
    /// Reads a URL; the error tells what a route needs beyond being a URL.
    pub(super) fn parse(text: &str) -> Result<Self, RouteUrlError> {
        let url = Url::parse(text.trim()).map_err(RouteUrlError::Malformed)?;
        let (host, port) = match url.host_and_port() {
            Ok((host, "")) => (host, CLUSTER_PORT_DEFAULT),
            Ok((host, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or(RouteUrlError::Port)?)
            }
            // The only thing that a checked host can lack.
            Err(_) => (unbracketed(&url.host), CLUSTER_PORT_DEFAULT),
        };
        if host.is_empty() {
            return Err(RouteUrlError::NoHost);
        }
        let host = host.to_owned();
        Ok(Self { scheme: url.scheme, host, port, user: url.user, password: url.password })
    }

    /// Host and port, with brackets around an IPv6 address.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Shows no password.
impl fmt::Display for RouteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme.is_empty() { "nats" } else { &self.scheme };
        write!(f, "{scheme}://")?;
        if let Some(user) = &self.user {
            let hidden = if self.password.is_some() { ":xxxxx" } else { "" };
            write!(f, "{user}{hidden}@")?;
        }
        f.write_str(&self.address())
    }
}

impl fmt::Debug for RouteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteUrl({self})")
    }
}

/// Why a text is no URL of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteUrlError {
    /// It is no URL; Go's text.
    Malformed(String),
    /// It is one without a host, such as `host:6222`.
    NoHost,
    /// Its port is none.
    Port,
}

impl RouteUrlError {
    /// The peer's text, and behind it what ours knows better.
    pub(super) fn describe(&self, text: &str) -> String {
        let base = format!("error parsing route url [{}]", quote(text.trim()));
        match self {
            Self::Malformed(_) => base,
            Self::NoHost => format!("{base}: no host, write it as nats://host:6222"),
            Self::Port => format!("{base}: the port must be 1 to 65535"),
        }
    }
}

/// The parts of a URL that matter here; the host still holds its port.
pub(super) struct Url {
    pub(super) scheme: String,
    pub(super) host: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Url {
    /// Takes a URL apart as Go does; the error is Go's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::take_apart(text).map_err(|why| format!("parse {}: {why}", quote(text)))
    }

    fn take_apart(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let (scheme, rest) = scheme(text)?;
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        let nothing = |scheme| Self { scheme, host: String::new(), user: None, password: None };
        if !rest.starts_with('/') {
            // With a scheme it is an opaque URL, whatever follows; without one it is a path.
            let first = rest.split('/').next().unwrap_or_default();
            if scheme.is_empty() && first.contains(':') {
                return Err("first path segment in URL cannot contain colon".into());
            }
            return Ok(nothing(scheme));
        }
        let Some(authority) = rest.strip_prefix("//") else { return Ok(nothing(scheme)) };
        let authority = authority.split('/').next().unwrap_or_default();
        let (user, password, host) = match authority.rsplit_once('@') {
            None => (None, None, authority),
            Some((info, host)) => {
                let (user, password) = user_info(info)?;
                (Some(user), password, host)
            }
        };
        Ok(Self { scheme, host: checked_host(host)?, user, password })
    }

    /// The host and the port; the error is Go's.
    pub(super) fn host_and_port(&self) -> Result<(&str, &str), String> {
        split_host_port(&self.host).map_err(|why| {
            let address = &self.host;
            if address.is_empty() { why.to_owned() } else { format!("address {address}: {why}") }
        })
    }
}

/// Splits off the scheme, in small letters; empty when there is none.
fn scheme(text: &str) -> Result<(String, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at > 0 => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            ':' => return Err("missing protocol scheme".into()),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn user_info(info: &str) -> Result<(String, Option<String>), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !info.chars().all(allowed) {
        return Err("net/url: invalid userinfo".into());
    }
    match info.split_once(':') {
        None => Ok((unescaped(info)?, None)),
        Some((user, password)) => Ok((unescaped(user)?, Some(unescaped(password)?))),
    }
}

/// Resolves `%41` and the like.
fn unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(Ok(byte)) = code.map(|digits| u8::from_str_radix(digits, 16)) else {
            let shown = String::from_utf8_lossy(&rest[..rest.len().min(3)]);
            return Err(format!("invalid URL escape {}", quote(&shown)));
        };
        bytes.push(byte);
        rest = &after[2..];
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A host with or without a port, as Go lets it stand in a URL.
fn checked_host(host: &str) -> Result<String, String> {
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.find(':').map_or("", |colon| &host[colon..])
    };
    let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "x" });
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    let wrong = |c: &char| c.is_ascii() && !c.is_ascii_alphanumeric() && !HOST_MARKS.contains(*c);
    if let Some(c) = host.chars().find(wrong) {
        return Err(format!("invalid character {} in host name", quote(&c.to_string())));
    }
    unescaped(host)
}

/// What may stand in a host beside letters and digits.
const HOST_MARKS: &str = "-._~!$&'()*+,;=:[]<>\"%";

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
