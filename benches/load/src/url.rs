//! Where a server is and who we say we are: `nats://[user[:password]@]host[:port]`, or `token@`; `tls://` the same in TLS.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port that a URL without one means.
const DEFAULT_PORT: u16 = 4222;

/// A server's address, taken apart; made only by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// Whether TLS is asked for; a server may require it without.
    pub(crate) tls: bool,
    /// What the server's certificate must be for.
    pub(crate) host: String,
    port: u16,
    /// What CONNECT shows.
    pub(crate) credentials: Credentials,
}

/// What CONNECT carries to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    Token(String),
    Password { user: String, password: String },
}

impl ServerUrl {
    /// The first address that the host's name stands for.
    ///
    /// # Errors
    /// When the name is unknown.
    pub(crate) fn resolve(&self) -> std::io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| std::io::Error::other("the name has no address"))
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("nats", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is not spoken here, only nats:// and tls://"));
            }
        };
        let rest = rest.trim_end_matches('/');
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(l, p)| (Some(l), p));
        let (host, port) = split_port(place)?;
        Ok(Self { tls, host, port, credentials: credentials(login)? })
    }
}

fn credentials(login: Option<&str>) -> Result<Credentials, String> {
    Ok(match login.map(|login| login.split_once(':').ok_or(login)) {
        None => Credentials::None,
        Some(Err(token)) => Credentials::Token(unescape(token)?),
        Some(Ok((user, password))) => {
            Credentials::Password { user: unescape(user)?, password: unescape(password)? }
        }
    })
}

/// Splits `host:port`, `[v6]:port`, or either without a port.
fn split_port(place: &str) -> Result<(String, u16), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("the address lacks a ]")?;
            (host, after.strip_prefix(':'))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) => digits.parse().map_err(|_| format!("{digits:?} is not a port"))?,
    };
    Ok((host.into(), port))
}

/// Turns `%40` into `@` and so on.
fn unescape(text: &str) -> Result<String, String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let wrong = || format!("a % in the login needs two hexadecimal digits: {text:?}");
        let digits = part.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| "the login is not UTF-8".into())
}

/// Without the credentials: this goes into reports.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str, credentials: Credentials) {
        let url: ServerUrl = text.parse().unwrap();
        assert_eq!((url.to_string().as_str(), url.credentials), (shown, credentials), "{text}");
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn a_url_names_the_server_and_the_login() {
        check("localhost", "nats://localhost:4222", Credentials::None);
        check("nats://10.0.0.1:4333/", "nats://10.0.0.1:4333", Credentials::None);
        check("nats://[::1]:5", "nats://[::1]:5", Credentials::None);
        check("nats://[::1]", "nats://[::1]:4222", Credentials::None);
        check("nats://s3cret@h", "nats://h:4222", Credentials::Token("s3cret".into()));
        check("nats://a:b@h:1", "nats://h:1", password("a", "b"));
        check("nats://a:p%40ss@h:1", "nats://h:1", password("a", "p@ss"));
        check("tls://h", "tls://h:4222", Credentials::None);
        check("tls://a:b@[::1]:5", "tls://[::1]:5", password("a", "b"));
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for text in ["ws://h", "nats://", "nats://h:x", "nats://h:99999", "nats://[::1", "a%4@h"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
