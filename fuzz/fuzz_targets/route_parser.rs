//! What servers send: cut anywhere, the operations are the same; and what is written again is read
//! as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh::proto::route::{
    Interest, RouteError, RouteOp, Routed, RoutedHead, Step, encode_interest, interest_len_max,
    next, payload_end,
};
use ringmesh_fuzz::{Next, check_cuts, message};

fuzz_target!(|stream: &[u8]| {
    for accounts in [true, false] {
        check_cuts(stream, |bytes| operation(bytes, accounts));
    }
});

fn operation(bytes: &[u8], accounts: bool) -> Next<RouteError> {
    match next(bytes, accounts) {
        Step::Incomplete => Next::More,
        Step::Failed(error) => Next::Failed(error),
        Step::Op { op: RouteOp::Message(routed), line_len } => {
            check_message(&routed, accounts);
            message(bytes, line_len, routed.size, format!("{routed:?}"), payload_end)
        }
        Step::Op { op, line_len } => {
            if let RouteOp::Interest(interest) = op {
                check_interest(&interest, accounts);
            }
            Next::Op(line_len, format!("{op:?}"))
        }
    }
}

fn check_message(routed: &Routed<'_>, accounts: bool) {
    let head = RoutedHead {
        account: routed.account,
        subject: routed.subject,
        reply: routed.reply,
        queues: routed.queues.iter(),
        queues_only: routed.queues_only,
        header_len: routed.header_len,
        size: routed.size,
    };
    let mut line = Vec::new();
    head.encode(&mut line);
    assert!(line.len() <= head.len_max());
    // Where a message came through is not written, and an empty list is none.
    let has_queue_list = !routed.queues.is_empty();
    let queues_only = has_queue_list && routed.queues_only;
    let expected = Routed { origin: None, has_queue_list, queues_only, ..*routed };
    let op = RouteOp::Message(expected);
    assert_eq!(next(&line, accounts), Step::Op { op, line_len: line.len() });
}

fn check_interest(interest: &Interest<'_>, accounts: bool) {
    let Interest { add, account, subject, queue, weight, .. } = *interest;
    let mut line = Vec::new();
    encode_interest(&mut line, add, account, subject, queue, weight);
    assert!(line.len() <= interest_len_max(account, subject, queue));
    let op = RouteOp::Interest(Interest { leaf: false, origin: None, ..*interest });
    assert_eq!(next(&line, accounts), Step::Op { op, line_len: line.len() });
}
