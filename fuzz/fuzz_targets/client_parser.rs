//! What clients send: cut anywhere, the operations are the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh::proto::client::{ClientOp, ParseError, PublishLimits, Step, next, payload_end};
use ringmesh_fuzz::{Next, check_cuts, message};

/// So short that inputs come across it.
const MAX_CONTROL_LINE: usize = 64;

const LIMITS: PublishLimits = PublishLimits { max_payload: 200, headers: true };

fuzz_target!(|stream: &[u8]| check_cuts(stream, operation));

fn operation(bytes: &[u8]) -> Next<ParseError> {
    match next(bytes, MAX_CONTROL_LINE) {
        Step::Incomplete => Next::More,
        Step::Failed(error) => Next::Failed(error),
        Step::Op { op: ClientOp::Publish(publish), line_len } => match publish.check(&LIMITS) {
            Ok(()) => message(bytes, line_len, publish.size, format!("{publish:?}"), payload_end),
            Err(error) => Next::Failed(error),
        },
        Step::Op { op, line_len } => Next::Op(line_len, format!("{op:?}")),
    }
}
