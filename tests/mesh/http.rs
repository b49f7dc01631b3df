//! As much HTTP as monitoring needs.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::LIMIT;

/// The JSON at a path; `None` when there is no answer, as from a server that is going down.
pub(crate) fn get(stream: TcpStream, path: &str) -> Option<Value> {
    serde_json::from_slice(&text(stream, path)?).ok()
}

/// The body at a path.
pub(crate) fn text(mut stream: TcpStream, path: &str) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // In this version a body ends with its connection, never in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    Some(answer.split_off(body))
}
