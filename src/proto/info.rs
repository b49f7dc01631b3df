//! The INFO that a server sends to its clients.
//!
//! Most of it is the same for every client, so it is rendered once ([`InfoTemplate`]) and only the
//! client's own fields are filled in on accept. Fields come in the order in which clients have
//! always seen them, and those that say nothing are left out.

use std::net::IpAddr;

use serde::de::IgnoredAny;

use super::encode::decimal;

/// The version that clients see: they gate features on it, so it names the server whose behaviour
/// this one has.
pub const COMPATIBLE_VERSION: &str = "2.15.1";

/// This server's own version.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What stands in the field `go`: the language of this server.
pub const LANGUAGE: &str = "rust";

/// The protocol that clients may speak: 1 brings later INFOs.
const PROTOCOL: u64 = 1;

/// The level of the JetStream interface that is announced, also without JetStream.
const API_LEVEL: u64 = 5;

/// What all clients are told alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server's public nkey.
    pub server_id: String,
    /// The configured name; the id if there is none.
    pub server_name: String,
    /// The commit this server was built from; left out if empty.
    pub git_commit: String,
    /// The host that clients are to use.
    pub host: String,
    /// The port that clients are to use.
    pub port: u16,
    /// Whether messages may have headers.
    pub headers: bool,
    /// Whether clients must give credentials.
    pub auth_required: bool,
    /// The largest message, in bytes.
    pub max_payload: u32,
    /// The cluster's name; left out if empty.
    pub cluster: String,
    /// Whether the cluster's name was made up.
    pub cluster_dynamic: bool,
    /// Where the cluster's servers can be reached, this one first; left out if empty.
    pub connect_urls: Vec<String>,
    /// Whether the server is about to stop and clients should move.
    pub lame_duck: bool,
    /// The server's public curve key; left out if empty.
    pub xkey: String,
}

/// What one client is told beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InfoExtra<'a> {
    /// What to sign with an nkey, where nkeys may be used.
    pub nonce: Option<&'a str>,
    /// The client's account; only in the INFO behind the first PONG.
    pub connect_info: Option<ConnectInfo<'a>>,
    /// This client is to move, although the server stays.
    pub lame_duck: bool,
}

/// Where the client's CONNECT brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectInfo<'a> {
    /// The name of the account.
    pub remote_account: &'a str,
    /// Whether that is the system account.
    pub is_system: bool,
}

/// The INFO line, rendered but for the client's own fields.
#[derive(Clone, Debug)]
pub struct InfoTemplate {
    /// Up to the client's id.
    head: Box<[u8]>,
    /// Between the nonce and the account.
    middle: Box<[u8]>,
    /// Behind the account.
    tail: Box<[u8]>,
    /// All clients are to move.
    lame_duck: bool,
}

impl InfoTemplate {
    /// Renders what all clients are told; to be done again when it changes.
    pub fn new(info: &ServerInfo) -> Self {
        Self { head: head(info), middle: middle(info), tail: tail(info), lame_duck: info.lame_duck }
    }

    /// Appends the line for one client, with its line end. Allocates only to grow `out`.
    pub fn encode(
        &self,
        out: &mut Vec<u8>,
        client_id: u64,
        client_ip: IpAddr,
        extra: InfoExtra<'_>,
    ) {
        out.extend_from_slice(&self.head);
        decimal(out, client_id);
        out.extend_from_slice(b",\"client_ip\":\"");
        ip(out, client_ip);
        out.push(b'"');
        if let Some(nonce) = extra.nonce {
            text_field(out, "nonce", nonce);
        }
        out.extend_from_slice(&self.middle);
        flag_if_set(out, "ldm", extra.lame_duck && !self.lame_duck);
        if let Some(connect_info) = extra.connect_info {
            out.extend_from_slice(b",\"connect_info\":true");
            text_field(out, "remote_account", connect_info.remote_account);
            flag_if_set(out, "acc_is_sys", connect_info.is_system);
        }
        out.extend_from_slice(&self.tail);
    }
}

/// Whether a client's own INFO can be read: a JSON object, or `null`. It is ignored if so;
/// otherwise the connection closes.
pub fn is_readable(json: &[u8]) -> bool {
    let text = String::from_utf8_lossy(json);
    let value = text.trim_ascii();
    (value.starts_with('{') || value == "null") && serde_json::from_str::<IgnoredAny>(value).is_ok()
}

fn head(info: &ServerInfo) -> Box<[u8]> {
    let mut out = b"INFO {".to_vec();
    out.extend_from_slice(b"\"server_id\":");
    json_text(&mut out, &info.server_id);
    text_field(&mut out, "server_name", &info.server_name);
    text_field(&mut out, "version", COMPATIBLE_VERSION);
    number_field(&mut out, "proto", PROTOCOL);
    text_if_set(&mut out, "git_commit", &info.git_commit);
    text_field(&mut out, "go", LANGUAGE);
    text_field(&mut out, "host", &info.host);
    number_field(&mut out, "port", info.port.into());
    flag_field(&mut out, "headers", info.headers);
    flag_if_set(&mut out, "auth_required", info.auth_required);
    number_field(&mut out, "max_payload", info.max_payload.into());
    key(&mut out, "client_id");
    out.into()
}

fn middle(info: &ServerInfo) -> Box<[u8]> {
    let mut out = Vec::new();
    text_if_set(&mut out, "cluster", &info.cluster);
    flag_if_set(&mut out, "cluster_dynamic", info.cluster_dynamic);
    list_if_any(&mut out, "connect_urls", &info.connect_urls);
    flag_if_set(&mut out, "ldm", info.lame_duck);
    out.into()
}

fn tail(info: &ServerInfo) -> Box<[u8]> {
    let mut out = Vec::new();
    number_field(&mut out, "api_lvl", API_LEVEL);
    text_if_set(&mut out, "xkey", &info.xkey);
    text_field(&mut out, "ringmesh", OWN_VERSION);
    // The space before the line end has always been there.
    out.extend_from_slice(b"} \r\n");
    out.into()
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    key(out, name);
    json_text(out, text);
}

fn text_if_set(out: &mut Vec<u8>, name: &str, text: &str) {
    if !text.is_empty() {
        text_field(out, name, text);
    }
}

fn number_field(out: &mut Vec<u8>, name: &str, number: u64) {
    key(out, name);
    decimal(out, number);
}

fn flag_field(out: &mut Vec<u8>, name: &str, flag: bool) {
    key(out, name);
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn flag_if_set(out: &mut Vec<u8>, name: &str, flag: bool) {
    if flag {
        flag_field(out, name, flag);
    }
}

fn list_if_any(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    key(out, name);
    for (index, text) in texts.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        json_text(out, text);
    }
    out.push(b']');
}

/// Appends a JSON string, escaped as peers escape it: also what HTML would read as markup.
fn json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            _plain => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                decimal(out, octet.into());
            }
        }
        IpAddr::V6(v6) => out.extend_from_slice(v6.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn server() -> ServerInfo {
        ServerInfo {
            server_id: "NID".into(),
            server_name: "n1".into(),
            host: "0.0.0.0".into(),
            port: 4222,
            headers: true,
            max_payload: 1_048_576,
            xkey: "XKEY".into(),
            ..ServerInfo::default()
        }
    }

    fn line(info: &ServerInfo, ip: IpAddr, extra: InfoExtra<'_>) -> String {
        let mut out = Vec::new();
        InfoTemplate::new(info).encode(&mut out, 5, ip, extra);
        String::from_utf8(out).unwrap()
    }

    /// Checks what stands between the client's address and the API level.
    #[track_caller]
    fn check(info: &ServerInfo, extra: InfoExtra<'_>, expected: &str) {
        let line = line(info, Ipv4Addr::LOCALHOST.into(), extra);
        let expected = format!("\"client_ip\":\"127.0.0.1\"{expected},\"api_lvl\":5,\"xkey\"");
        assert!(line.contains(&expected), "{line} lacks {expected}");
    }

    #[test]
    fn the_first_info_has_the_fields_that_clients_expect_in_their_order() {
        let expected = format!(
            "INFO {{\"server_id\":\"NID\",\"server_name\":\"n1\",\"version\":\"2.15.1\",\"proto\":1,\
             \"go\":\"rust\",\"host\":\"0.0.0.0\",\"port\":4222,\"headers\":true,\
             \"max_payload\":1048576,\"client_id\":5,\"client_ip\":\"127.0.0.1\",\
             \"api_lvl\":5,\"xkey\":\"XKEY\",\"ringmesh\":\"{OWN_VERSION}\"}} \r\n"
        );
        assert_eq!(line(&server(), Ipv4Addr::LOCALHOST.into(), InfoExtra::default()), expected);
    }

    #[test]
    fn the_second_info_names_the_account() {
        let user = ConnectInfo { remote_account: "$G", is_system: false };
        let extra = InfoExtra { connect_info: Some(user), ..InfoExtra::default() };
        check(&server(), extra, ",\"connect_info\":true,\"remote_account\":\"$G\"");
        let system = ConnectInfo { remote_account: "$SYS", is_system: true };
        let extra = InfoExtra { connect_info: Some(system), ..extra };
        let expected = ",\"connect_info\":true,\"remote_account\":\"$SYS\",\"acc_is_sys\":true";
        check(&server(), extra, expected);
    }

    #[test]
    fn fields_that_say_something_stand_at_their_places() {
        let info = ServerInfo {
            git_commit: "abc".into(),
            auth_required: true,
            cluster: "cc".into(),
            cluster_dynamic: true,
            connect_urls: vec!["10.0.0.1:4222".into(), "[::1]:4222".into()],
            lame_duck: true,
            ..server()
        };
        let extra = InfoExtra { nonce: Some("t2SlfVzS_1pxKV0"), ..InfoExtra::default() };
        let expected = ",\"nonce\":\"t2SlfVzS_1pxKV0\",\"cluster\":\"cc\",\"cluster_dynamic\":true,\
                        \"connect_urls\":[\"10.0.0.1:4222\",\"[::1]:4222\"],\"ldm\":true";
        check(&info, extra, expected);
        let line = line(&info, Ipv4Addr::LOCALHOST.into(), extra);
        assert!(line.contains("\"proto\":1,\"git_commit\":\"abc\",\"go\":\"rust\""), "{line}");
        assert!(line.contains("\"headers\":true,\"auth_required\":true,\"max_payload\""), "{line}");
    }

    #[test]
    fn the_line_is_json_whatever_the_names_hold() {
        let name = "a\"\\\n\r\t\u{8}\u{c}\u{1}<&>\u{2028}\u{e9}";
        let info = ServerInfo { server_name: name.into(), ..server() };
        let line = line(&info, Ipv4Addr::LOCALHOST.into(), InfoExtra::default());
        assert!(line.contains(r#""a\"\\\n\r\t\b\f\u0001\u003c\u0026\u003e\u2028é""#), "{line}");
        let json: serde_json::Value = serde_json::from_str(&line["INFO ".len()..]).unwrap();
        assert_eq!(json["server_name"], name);
    }

    #[test]
    fn addresses_are_written_plainly() {
        for (ip, expected) in [
            ("10.0.200.1", "10.0.200.1"),
            ("::1", "::1"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ] {
            let line = line(&server(), ip.parse().unwrap(), InfoExtra::default());
            assert!(line.contains(&format!("\"client_ip\":\"{expected}\"")), "{line}");
        }
    }

    #[test]
    fn only_an_object_or_null_is_a_readable_info() {
        for json in ["{}", " {\"zz\":1} ", "null", "{\"a\":[{}]}"] {
            assert!(is_readable(json.as_bytes()), "{json}");
        }
        for json in ["", "x", "[]", "5", "\"a\"", "{\"x\":[}", "{} x", "{"] {
            assert!(!is_readable(json.as_bytes()), "{json}");
        }
    }
}
