//! The files by which others find a running server: the pid file and the ports file.
//!
//! The pid file stays when the server ends, the ports file goes; both as nats-server does it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Writes this process's number to `path`, decimal and without a newline, for its owner only.
///
/// # Errors
/// What the file system says of which file.
pub fn write_pid_file(path: &Path) -> Result<(), String> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(std::process::id().to_string().as_bytes()))
        .map_err(|error| open_error(path, &error))
}

/// What a log says of a file that cannot be opened, as Go says it.
#[must_use]
pub fn open_error(path: &Path, error: &io::Error) -> String {
    format!("open {}: {}", path.display(), os_error(error))
}

/// An operating system error in Go's words: the system's text in small letters.
#[must_use]
pub fn os_error(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| ring::Errno(code).to_string())
}

/// Where the server listens, as URLs. What it does not have is left out of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// For clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    /// For the monitor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
    /// For routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// For the profiler.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<String>,
    /// For clients over websocket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub websocket: Vec<String>,
}

/// The ports file of this process. It is removed when this is dropped.
#[derive(Debug)]
pub struct PortsFile {
    path: PathBuf,
}

impl PortsFile {
    /// Writes `<program>_<pid>.ports` in `directory`.
    ///
    /// # Errors
    /// The line to log.
    pub fn write(directory: &Path, program: &str, ports: &Ports) -> Result<Self, String> {
        let path = directory.join(format!("{program}_{}.ports", std::process::id()));
        let text = serde_json::to_vec(ports).map_err(io::Error::from);
        text.and_then(|text| fs::write(&path, text)).map_err(|error| {
            let why = open_error(&path, &error);
            format!("Error writing ports file ({}): {why}", path.display())
        })?;
        Ok(Self { path })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        // Somebody may have removed it already; nothing can be done about other failures.
        let _ = fs::remove_file(&self.path);
    }
}

/// The URLs under which a listener can be reached: its address, or, for a wildcard, every address of
/// this host (of both families for the IPv6 wildcard).
#[must_use]
pub fn listen_urls(scheme: &str, listener: SocketAddr) -> Vec<String> {
    let addresses = if listener.ip().is_unspecified() {
        let every = listener.is_ipv6();
        local_addresses().into_iter().filter(|ip| every || ip.is_ipv4()).collect()
    } else {
        vec![listener.ip()]
    };
    let url = |ip| format!("{scheme}://{}", SocketAddr::new(ip, listener.port()));
    addresses.into_iter().map(url).collect()
}

/// This host's addresses, loopback first; what `/proc` does not tell is left out.
#[must_use]
pub fn local_addresses() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let v4 = local_v4(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    let v6 = local_v6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6);
    let mut all: Vec<IpAddr> = v4.chain(v6).collect();
    all.sort_by_key(|ip| !ip.is_loopback());
    all
}

/// The leaves of the routing trie that are marked as local hosts; each is there several times.
fn local_v4(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf);
        }
    }
    found
}

/// One address a line, as 32 hexadecimal digits.
fn local_v6(if_inet6: &str) -> BTreeSet<Ipv6Addr> {
    let digits = if_inet6.lines().filter_map(|line| line.get(..32));
    digits.filter_map(|hex| u128::from_str_radix(hex, 16).ok()).map(Ipv6Addr::from_bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_pid_file_holds_the_number_alone_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "a longer text than any number").unwrap();
        fs::remove_file(&path).unwrap();
        write_pid_file(&path).unwrap();
        write_pid_file(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_ports_file_is_named_after_program_and_process_and_goes_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports { nats: vec!["nats://127.0.0.1:4222".into()], ..Ports::default() };
        let file = PortsFile::write(directory.path(), "ringmesh", &ports).unwrap();
        let path = directory.path().join(format!("ringmesh_{}.ports", std::process::id()));
        assert_eq!(file.path(), path);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"nats":["nats://127.0.0.1:4222"]}"#);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("no/such");
        let open = format!("open {}", nowhere.display());
        let missing = "no such file or directory";
        assert_eq!(write_pid_file(&nowhere), Err(format!("{open}: {missing}")));
        let path = nowhere.join(format!("x_{}.ports", std::process::id()));
        let said = PortsFile::write(&nowhere, "x", &Ports::default()).unwrap_err();
        let path = path.display();
        assert_eq!(said, format!("Error writing ports file ({path}): open {path}: {missing}"));
    }

    #[test]
    fn a_wildcard_stands_for_every_address_of_its_family() {
        let check = |listener: &str, url: &str, expected: bool| {
            let urls = listen_urls("nats", listener.parse().unwrap());
            assert_eq!(urls.iter().any(|u| u == url), expected, "{url} of {listener}: {urls:?}");
        };
        check("10.1.2.3:4222", "nats://10.1.2.3:4222", true);
        check("[::1]:4222", "nats://[::1]:4222", true);
        check("0.0.0.0:4222", "nats://127.0.0.1:4222", true);
        check("0.0.0.0:4222", "nats://[::1]:4222", false);
        check("[::]:4222", "nats://127.0.0.1:4222", true);
    }

    #[test]
    fn addresses_are_read_from_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
                    |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(local_v4(trie), BTreeSet::from([Ipv4Addr::new(10, 0, 0, 7)]));
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\nbad line\n";
        assert_eq!(local_v6(inet6), BTreeSet::from([Ipv6Addr::LOCALHOST]));
    }
}
