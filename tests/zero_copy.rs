//! Sends without copying, by the program: tried where the peer is not on loopback, and given up on a
//! connection where the kernel says that it copied.
//!
//! Between two sockets of one machine the kernel always copies, also by the address of its network
//! card. So a client on that address sees the whole path: the try, the notification, the end of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod skipped;
mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};

use support::{Broker, Kind, LIMIT};

/// More than the smallest send that may go without copying.
const PAYLOAD_LEN: usize = 100_000;

/// An address of this machine that is not loopback.
fn own_address() -> Option<Ipv4Addr> {
    let routes = std::fs::read_to_string("/proc/net/fib_trie").ok()?;
    let mut last = None;
    for line in routes.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(own) = last.filter(|address| !address.is_loopback())
        {
            return Some(own);
        }
    }
    None
}

struct Client(TcpStream);

impl Client {
    fn connect(host: IpAddr, port: u16) -> Self {
        let socket = TcpStream::connect((host, port)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut client = Self(socket);
        client.say(b"CONNECT {\"verbose\":false}\r\n");
        client
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads up to and with an ending.
    fn hear(&mut self, ending: &[u8]) {
        let (mut heard, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while !heard.ends_with(ending) {
            let count = self.0.read(&mut buffer).unwrap();
            assert!(count > 0, "the broker closes");
            heard.extend_from_slice(&buffer[..count]);
        }
    }
}

/// The value of a counter of the only shard.
fn counter(broker: &Broker, host: IpAddr, name: &str) -> u64 {
    let port: u16 = broker.monitor().rsplit(':').next().unwrap().parse().unwrap();
    let mut socket = TcpStream::connect((host, port)).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let label = format!("ringmesh_{name}_total{{shard=\"0\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&label));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Takes some large messages at an address, and returns how many sends without copying were tried, and
/// how many were copied all the same.
fn tried_and_copied(host: IpAddr) -> (u64, u64) {
    let args = ["-a", "0.0.0.0", "-m", "-1"];
    let broker = Broker::start(Kind::Ours { shards: 1 }, &args);
    let mut taker = Client::connect(host, broker.port);
    taker.say(b"SUB big 1\r\nPING\r\n");
    taker.hear(b"PONG\r\n");
    let mut giver = Client::connect(host, broker.port);
    for number in 0..5_u8 {
        let payload = vec![b'a' + number; PAYLOAD_LEN];
        giver.say(format!("PUB big {PAYLOAD_LEN}\r\n").as_bytes());
        giver.say(&payload);
        giver.say(b"\r\n");
        taker.hear(&[&payload[..], b"\r\n"].concat());
    }
    let counted = |name| counter(&broker, host, name);
    (counted("zero_copy_sends"), counted("zero_copy_copied"))
}

#[test]
fn a_connection_on_which_the_kernel_copies_gives_up_sends_without_copying() {
    match own_address() {
        Some(own) => assert_eq!(tried_and_copied(IpAddr::V4(own)), (1, 1)),
        None => skipped::skipped("sends without copying: no address but loopback"),
    }
}

#[test]
fn on_loopback_sends_without_copying_are_not_tried() {
    assert_eq!(tried_and_copied(IpAddr::V4(Ipv4Addr::LOCALHOST)), (0, 0));
}
