//! What a server will answer to a stream, as far as it can be told without any state but CONNECT's.

use ringmesh::proto::client::{ClientOp, ParseError, PublishLimits, Step, next, payload_end};
use ringmesh::proto::connect::Connect;

/// What comes of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Foresight {
    /// How many PINGs are answered.
    pub pongs: usize,
    /// The server closes the connection.
    pub closes: bool,
    /// What it says last.
    pub error: Option<&'static str>,
}

/// Reads a stream as one that is all there.
pub fn foresee(mut stream: &[u8], max_payload: u32) -> Foresight {
    let mut seen = Foresight::default();
    let mut about = None;
    loop {
        match operation(stream, max_payload, &mut about) {
            Ok(Some((len, is_ping))) => {
                seen.pongs += usize::from(is_ping);
                stream = &stream[len..];
            }
            Ok(None) => return seen,
            Err(error) => return Foresight { closes: true, error, ..seen },
        }
    }
}

type LastWords = Option<&'static str>;

/// The length of the first operation, and whether it is a PING.
fn operation(
    bytes: &[u8],
    max_payload: u32,
    about: &mut Option<Connect>,
) -> Result<Option<(usize, bool)>, LastWords> {
    let words = |error: ParseError| error.error().map(|text| text.as_str());
    let (op, line_len) = match next(bytes, 4096) {
        Step::Incomplete => return Ok(None),
        Step::Failed(error) => return Err(words(error)),
        Step::Op { op, line_len } => (op, line_len),
    };
    match op {
        ClientOp::Publish(publish) => {
            let headers = about.as_ref().is_some_and(|connect| connect.headers);
            publish.check(&PublishLimits { max_payload, headers }).map_err(words)?;
            let end = line_len + publish.size as usize;
            let behind = bytes.get(end..).unwrap_or_default();
            let is_whole = payload_end(behind).map_err(words)?;
            Ok(is_whole.then_some((end + 2, false)))
        }
        ClientOp::Connect(json) => {
            log_in(json, about)?;
            Ok(Some((line_len, false)))
        }
        ClientOp::Err(_) => Err(None),
        ClientOp::Ping => Ok(Some((line_len, true))),
        ClientOp::Subscribe { .. }
        | ClientOp::Unsubscribe { .. }
        | ClientOp::Pong
        | ClientOp::Info
        | ClientOp::Ok => Ok(Some((line_len, false))),
    }
}

fn log_in(json: &[u8], about: &mut Option<Connect>) -> Result<(), LastWords> {
    let connect = about.get_or_insert_default();
    connect.update(json).map_err(|_| None)?;
    if !(0..=1).contains(&connect.protocol) {
        return Err(Some("invalid client protocol"));
    }
    if connect.account_used {
        return Err(Some("Authorization Violation"));
    }
    if connect.no_responders && !connect.headers {
        return Err(Some("no responders requires headers support"));
    }
    Ok(())
}
