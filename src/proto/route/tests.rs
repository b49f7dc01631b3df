//! What each line says was asked of nats-server 2.15.1 over a socket, byte by byte.

use super::*;

#[test]
fn a_message_names_an_account_a_subject_and_a_size() {
    let Step::Op { op: RouteOp::Message(routed), line_len } = next(b"RMSG $G foo | q 5\r\n", true)
    else {
        panic!("no message");
    };
    assert_eq!(line_len, 19);
    assert_eq!(routed.queues.iter().collect::<Vec<_>>(), [b"q"]);
}
