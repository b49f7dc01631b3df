//! INFO and CONNECT between servers of a cluster: their JSON, both ways.
//!
//! Written in the order that peers write, with what says nothing left out. Read leniently: keys
//! in any case, unknown ones skipped, `null` as absent, the last of two equal keys wins. A value of
//! the wrong type spoils the line, and with it the connection.
//!
//! Invariant: what is written can be read back to the same value.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The INFO of a server towards its peers: at the start, later, and passed on as gossip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteInfo {
    /// The server's public key, new at each start.
    #[serde(deserialize_with = "lenient")]
    pub server_id: String,
    /// The server's name, unique in the cluster.
    #[serde(deserialize_with = "lenient")]
    pub server_name: String,
    /// The server's version.
    #[serde(deserialize_with = "lenient")]
    pub version: String,
    /// The protocol level: 2 knows accounts, 3 message traces.
    #[serde(deserialize_with = "lenient")]
    pub proto: i64,
    /// The server's commit; seen on no route.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    /// The server's language.
    #[serde(deserialize_with = "lenient")]
    pub go: String,
    /// Where the server listens for routes, or says it does.
    #[serde(deserialize_with = "lenient")]
    pub host: String,
    /// The port to that.
    #[serde(deserialize_with = "lenient")]
    pub port: i64,
    /// Whether the server takes headers.
    #[serde(deserialize_with = "lenient")]
    pub headers: bool,
    /// Whether routes must show credentials.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub auth_required: bool,
    /// Whether routes use TLS.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub tls_required: bool,
    /// Whether routes must show a certificate.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub tls_verify: bool,
    /// The largest message of clients.
    #[serde(deserialize_with = "lenient")]
    pub max_payload: i64,
    /// Whether the server stores streams.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub jetstream: bool,
    /// Where to dial the server, as a URL; who passes an INFO on fills it in.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Random; nothing uses it.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// The name of the cluster.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Whether that name was made up.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub cluster_dynamic: bool,
    /// The domain of the streams.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Where clients may connect.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// Where clients may connect by websocket.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub ws_connect_urls: Vec<String>,
    /// Whether the server is about to stop.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub ldm: bool,
    /// The mode of compression: what the acceptor has, what the solicitor chose.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// What the server announces and takes from others.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub import: Option<SubjectRules>,
    /// What the server takes announcements of.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub export: Option<SubjectRules>,
    /// Whether the server knows `LS+`.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub lnoc: bool,
    /// Whether the server knows `LS-` with an origin.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub lnocu: bool,
    /// Whether the server knows leaf interest without an origin; implies the two above.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub ln: bool,
    /// How many pooled connections the server wants to each peer; 0: it knows no pools.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub route_pool_size: i64,
    /// Which of them this is; only the solicitor says so.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub route_pool_idx: i64,
    /// The account that the connection is for.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub route_account: String,
    /// Names the question whether an account may get a connection of its own, and the answer.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub route_acc_add_reqid: String,
    /// Whether who hears this as gossip passes on what follows from it.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub gossip_mode: i64,
    /// The name of a gateway; then the INFO is not about routes.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Where the server takes leaf nodes; none or one.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub leafnode_urls: Vec<String>,
    /// Says that the server is a Ringmesh.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub ringmesh: Option<Ringmesh>,
}

/// What a Ringmesh tells others beyond the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ringmesh {
    /// The version of this extension.
    #[serde(deserialize_with = "lenient")]
    pub v: i64,
    /// What the server can do beyond the protocol.
    #[serde(deserialize_with = "lenient")]
    pub caps: Vec<String>,
}

impl Ringmesh {
    /// Whether the server has named something that it can do.
    pub fn can(&self, what: &str) -> bool {
        self.caps.iter().any(|cap| cap == what)
    }
}

/// Which subjects may cross; a denied one may not, and without an allowed one all others may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubjectRules {
    /// Those that may.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Those that may not.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// The CONNECT of a server that dials another.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteConnect {
    /// Whether the other may send back what it got; always true.
    #[serde(deserialize_with = "lenient")]
    pub echo: bool,
    /// Whether the other answers each line; always false.
    #[serde(deserialize_with = "lenient")]
    pub verbose: bool,
    /// Always false.
    #[serde(deserialize_with = "lenient")]
    pub pedantic: bool,
    /// User of the URL.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Password of the URL.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub pass: String,
    /// Whether the connection uses TLS.
    #[serde(deserialize_with = "lenient")]
    pub tls_required: bool,
    /// Whether the server takes headers.
    #[serde(deserialize_with = "lenient")]
    pub headers: bool,
    /// The id of the server, not its name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// The name of the cluster.
    #[serde(deserialize_with = "lenient")]
    pub cluster: String,
    /// Whether that name was made up.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub cluster_dynamic: bool,
    /// As in INFO.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub lnoc: bool,
    /// As in INFO.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub lnocu: bool,
    /// As in INFO.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub ln: bool,
    /// The name of a gateway, which has no business here.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// The language of a client, which has no business here either.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub lang: String,
    /// Of old clients; not allowed.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// Of old clients; not allowed.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "is_default")]
    pub new_account: bool,
}

/// JSON that is not what it should be. The connection closes without an `-ERR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteInfoError;

impl RouteInfo {
    /// Reads the JSON of an INFO.
    ///
    /// # Errors
    /// When it is no JSON object, or a known key has the wrong type.
    pub fn parse(json: &[u8]) -> Result<Self, RouteInfoError> {
        let mut info: Self = parse(json)?;
        info.lnocu |= info.ln;
        info.lnoc |= info.ln;
        Ok(info)
    }

    /// Appends the line as a server writes its own INFO, with a space before the line end.
    pub fn encode_info_line(&self, out: &mut Vec<u8>) {
        line(out, b"INFO ", self, b" \r\n");
    }

    /// Appends the line as a server passes on the INFO of another, without the space.
    pub fn encode_forwarded_line(&self, out: &mut Vec<u8>) {
        line(out, b"INFO ", self, b"\r\n");
    }
}

impl RouteConnect {
    /// Reads the JSON of a CONNECT.
    ///
    /// # Errors
    /// When it is no JSON object, or a known key has the wrong type.
    pub fn parse(json: &[u8]) -> Result<Self, RouteInfoError> {
        parse(json)
    }

    /// Appends the line.
    pub fn encode_line(&self, out: &mut Vec<u8>) {
        line(out, b"CONNECT ", self, b"\r\n");
    }
}

/// Without the password.
impl fmt::Debug for RouteConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteConnect")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RouteInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a JSON object with the known keys")
    }
}

impl std::error::Error for RouteInfoError {}

/// By way of a map, in which the last of two equal keys has won.
fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, RouteInfoError> {
    // Bytes that are no UTF-8 become replacement characters, they do not spoil the line.
    let text = String::from_utf8_lossy(json);
    let Ok(Value::Object(map)) = serde_json::from_str(&text) else {
        return Err(RouteInfoError);
    };
    let folded = map.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
    serde_json::from_value(Value::Object(folded)).map_err(|_| RouteInfoError)
}

/// `null` is as good as nothing.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn line(out: &mut Vec<u8>, verb: &[u8], value: &impl Serialize, end: &[u8]) {
    out.extend_from_slice(verb);
    // Texts, numbers and lists of them can always be written.
    let json = serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned());
    for byte in json.bytes() {
        match byte {
            // Only strings can hold these, and peers escape what HTML would read as markup.
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            plain => out.push(plain),
        }
    }
    out.extend_from_slice(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server of the peer's wrote it, with permissions and a port for leaf nodes.
    const REAL: &str = concat!(
        r#"{"server_id":"NB25","server_name":"A","version":"2.15.1","proto":3,"go":"go1.27.2","#,
        r#""host":"127.0.0.1","port":37839,"headers":true,"auth_required":true,"#,
        r#""max_payload":1048576,"nonce":"Sxhy2v53AM2AuVg","cluster":"C1","#,
        r#""connect_urls":["192.0.2.2:41643","[fd00::2]:41643"],"compression":"off","#,
        r#""import":{"allow":["a.\u003e"],"deny":["b"]},"export":{"allow":["c.\u003e"]},"#,
        r#""lnoc":true,"lnocu":true,"ln":true,"route_pool_size":3,"route_account":"$SYS","#,
        r#""leafnode_urls":["127.0.0.1:37027"]}"#
    );

    #[test]
    fn a_peers_info_is_written_back_to_the_letter() {
        let info = RouteInfo::parse(REAL.as_bytes()).unwrap();
        let mut out = Vec::new();
        info.encode_info_line(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("INFO {REAL} \r\n"));
        let mut out = Vec::new();
        info.encode_forwarded_line(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("INFO {REAL}\r\n"));
    }

    #[test]
    fn a_peers_connect_is_written_back_to_the_letter() {
        let json = concat!(
            r#"{"echo":true,"verbose":false,"pedantic":false,"user":"u","pass":"p","#,
            r#""tls_required":false,"headers":true,"name":"NB25","cluster":"C1","#,
            r#""lnoc":true,"ln":true}"#
        );
        let connect = RouteConnect::parse(json.as_bytes()).unwrap();
        let mut out = Vec::new();
        connect.encode_line(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("CONNECT {json}\r\n"));
        assert!(!format!("{connect:?}").contains("\"p\""));
    }

    #[test]
    fn what_is_unknown_null_or_said_twice_spoils_nothing() {
        let json = br#"{"Server_ID":"A","server_id":"B","x":{"y":[1]},"cluster":null,"ln":true}"#;
        let info = RouteInfo::parse(json).unwrap();
        assert!(info.lnoc && info.lnocu, "the newest kind of leaf interest implies the others");
        assert_eq!((info.server_id.as_str(), info.cluster.as_str()), ("B", ""));
        assert!(RouteInfo::parse(br#"{"connect_urls":null,"import":null}"#).is_ok());
    }

    #[test]
    fn what_is_no_object_or_has_a_wrong_type_is_refused() {
        for json in ["", "null", "[]", "{", "{}x", r#"{"port":"1"}"#, r#"{"connect_urls":[1]}"#] {
            assert_eq!(RouteInfo::parse(json.as_bytes()), Err(RouteInfoError), "{json}");
        }
        assert_eq!(RouteConnect::parse(br#"{"name":1}"#), Err(RouteInfoError));
    }

    #[test]
    fn our_own_key_comes_last() {
        let ringmesh = Some(Ringmesh { v: 1, caps: vec!["pick".into()] });
        let mut out = Vec::new();
        RouteInfo { ringmesh, ..RouteInfo::default() }.encode_info_line(&mut out);
        let text = String::from_utf8(out).unwrap();
        let end = "\"ringmesh\":{\"v\":1,\"caps\":[\"pick\"]}} \r\n";
        assert!(text.ends_with(end), "{text}");
    }
}
