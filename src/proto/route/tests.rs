//! What each line says was asked of nats-server 2.15.1 over a socket, byte by byte.

use proptest::prelude::*;

use super::*;
use crate::limits::CONTROL_LINE_FRAME_MAX;

mod answers;
mod streams;

/// Checks a line, and that every part of it asks for more or already fails as the whole does.
#[track_caller]
fn check(line: &[u8], accounts: bool, expected: Result<RouteOp<'_>, RouteError>) {
    let step = match expected {
        Ok(op) => Step::Op { op, line_len: line.len() },
        Err(error) => Step::Failed(error),
    };
    let shown = line.escape_ascii();
    assert_eq!(next(line, accounts), step, "{shown}");
    for cut in 0..line.len() {
        let part = next(&line[..cut], accounts);
        let agrees = part == Step::Incomplete || (expected.is_err() && part == step);
        assert!(agrees, "{shown} cut at {cut}: {part:?}");
    }
    if expected.is_ok() {
        let more = [line, b"RMSG $G x 1\r\n"].concat();
        assert_eq!(next(&more, accounts), step, "{shown} with more behind it");
    }
}

/// Checks a line as it is where accounts are named, and without `$G ` where they are not.
#[track_caller]
fn check_message(line: &str, expected: Routed<'_>) {
    check(line.as_bytes(), true, Ok(RouteOp::Message(expected)));
    let bare = line.replacen("$G ", "", 1);
    let expected = Routed { account: None, ..expected };
    check(bare.as_bytes(), false, Ok(RouteOp::Message(expected)));
}

#[track_caller]
fn check_interest(line: &str, expected: Interest<'_>) {
    check(line.as_bytes(), true, Ok(RouteOp::Interest(expected)));
    let bare = line.replacen("$G ", "", 1);
    let expected = Interest { account: None, ..expected };
    check(bare.as_bytes(), false, Ok(RouteOp::Interest(expected)));
}

const PLAIN: Routed<'_> = Routed {
    origin: None,
    account: Some(b"$G"),
    subject: b"foo",
    reply: None,
    queues: Queues::new(b""),
    has_queue_list: false,
    queues_only: false,
    header_len: None,
    size: 5,
};

const INTEREST: Interest<'_> = Interest {
    add: true,
    leaf: false,
    origin: None,
    account: Some(b"$G"),
    subject: b"foo",
    queue: None,
    weight: 0,
};

const fn listed<'a>(reply: Option<&'a [u8]>, queues: &'a [u8]) -> Routed<'a> {
    Routed { reply, queues: Queues::new(queues), has_queue_list: true, ..PLAIN }
}

#[test]
fn a_line_that_sums_interest_up_and_its_answer_are_between_ringmesh() {
    let (seed, sum) = ("0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2));
    let number = |text: &str| u128::from_str_radix(text, 16).unwrap();
    let digest = Digest { seed: number(&seed), count: 42, sum: number(&sum) };
    for (account, named) in [(Some(&b"$G"[..]), "$G "), (None, "")] {
        let line = format!("RI= {named}{seed} 42 {sum}\r\n");
        check(line.as_bytes(), account.is_some(), Ok(RouteOp::Same { account, digest }));
        let line = format!("RI-{}{}\r\n", if named.is_empty() { "" } else { " " }, named.trim());
        check(line.as_bytes(), account.is_some(), Ok(RouteOp::Differs { account }));
    }
    check(b"RI= $G 1 2 3\r\n", true, Err(RouteError::BadArguments));
    check(b"RI- $G $G\r\n", true, Err(RouteError::BadArguments));
    check(b"RI+ $G\r\n", true, Err(RouteError::UnknownOperation));
}

#[test]
fn a_message_names_a_subject_an_optional_reply_and_a_size() {
    check_message("RMSG $G foo 5\r\n", PLAIN);
    check_message("RMSG $G foo 000000005\r\n", PLAIN);
    check_message("RMSG $G foo bar 5\r\n", Routed { reply: Some(b"bar"), ..PLAIN });
    check_message("RMSG $G foo 7 5\r\n", Routed { reply: Some(b"7"), ..PLAIN });
    check_message("RMSG $G foo 0\r\n", Routed { size: 0, ..PLAIN });
    check_message("RMSG $G foo 999999999\r\n", Routed { size: 999_999_999, ..PLAIN });
}

#[test]
fn a_list_of_queue_groups_stands_behind_an_indicator() {
    check_message("RMSG $G foo | q 5\r\n", listed(None, b"q"));
    check_message("RMSG $G foo | q1 q2 q3 5\r\n", listed(None, b"q1 q2 q3"));
    check_message("RMSG $G foo + bar q1 q2 5\r\n", listed(Some(b"bar"), b"q1 q2"));
    check_message("RMSG $G foo + bar 5\r\n", listed(Some(b"bar"), b""));
    check_message("RMSG $G foo | | + 1 5\r\n", listed(None, b"| + 1"));
    check_message("RMSG $G foo + + + 5\r\n", listed(Some(b"+"), b"+"));
    check_message("RMSG $G foo\t|  q1 \t q2  5 \r\n", listed(None, b"q1 q2"));
}

#[test]
fn a_doubled_indicator_keeps_the_message_for_the_groups() {
    let only = |reply, queues| Routed { queues_only: true, ..listed(reply, queues) };
    check_message("RMSG $G foo || q 5\r\n", only(None, b"q"));
    check_message("RMSG $G foo ++ bar q1 q2 5\r\n", only(Some(b"bar"), b"q1 q2"));
    check_message("RMSG $G foo\t||  q1 \t q2  5 \r\n", only(None, b"q1 q2"));
    let with_headers = Routed { header_len: Some(2), ..only(None, b"q") };
    check_message("HMSG $G foo || q 2 5\r\n", with_headers);
    check_message("RMSG $G foo || 5\r\n", Routed { reply: Some(b"||"), ..PLAIN });
}

#[test]
fn an_indicator_without_anything_to_indicate_is_a_reply() {
    check_message("RMSG $G foo | 5\r\n", Routed { reply: Some(b"|"), ..PLAIN });
    check_message("RMSG $G foo + 5\r\n", Routed { reply: Some(b"+"), ..PLAIN });
    let with_headers = Routed { header_len: Some(2), ..PLAIN };
    check_message("HMSG $G foo | 2 5\r\n", Routed { reply: Some(b"|"), ..with_headers });
}

#[test]
fn a_message_with_headers_has_two_sizes() {
    let with_headers = Routed { header_len: Some(2), ..PLAIN };
    check_message("HMSG $G foo 2 5\r\n", with_headers);
    check_message("HMSG $G foo 0 5\r\n", Routed { header_len: Some(0), ..PLAIN });
    check_message("HMSG $G foo bar 2 5\r\n", Routed { reply: Some(b"bar"), ..with_headers });
    check_message("HMSG $G foo 1 2 5\r\n", Routed { reply: Some(b"1"), ..with_headers });
    let listed = |reply, queues| Routed { header_len: Some(2), ..listed(reply, queues) };
    check_message("HMSG $G foo | q 2 5\r\n", listed(None, b"q"));
    check_message("HMSG $G foo | 3 2 2 5\r\n", listed(None, b"3 2"));
    check_message("HMSG $G foo + bar q1 q2 2 5\r\n", listed(Some(b"bar"), b"q1 q2"));
    check_message("HMSG $G foo + bar 2 5\r\n", listed(Some(b"bar"), b""));
}

#[test]
fn a_message_through_a_leaf_node_names_its_cluster_and_always_two_sizes() {
    let through = Routed { origin: Some(b"L"), header_len: Some(0), ..PLAIN };
    check_message("LMSG L $G foo 0 5\r\n", through);
    check_message("LMSG _ $G foo 0 5\r\n", Routed { origin: None, ..through });
    check_message("LMSG L $G foo bar 0 5\r\n", Routed { reply: Some(b"bar"), ..through });
    let (queues, has_queue_list) = (Queues::new(b"q"), true);
    check_message("LMSG L $G foo | q 0 5\r\n", Routed { queues, has_queue_list, ..through });
    let reply = Some(&b"bar"[..]);
    let listed = Routed { reply, queues, has_queue_list, ..through };
    check_message("lmsg L $G foo + bar q 0 5\n", listed);
}

#[test]
fn verbs_come_in_any_case_with_any_blanks_and_either_line_end() {
    for line in ["rmsg $G foo 5\n", "RMSG\t$G \tfoo  5  \r\n", "rMsG  $G foo 5\r\n"] {
        check_message(line, PLAIN);
    }
    check(b"RMSG $G\rfoo\r5\r\r\n", true, Ok(RouteOp::Message(PLAIN)));
    check_interest("rs+ $G foo\n", INTEREST);
    check(b"RS+\t$G\r \tfoo\r\r\n", true, Ok(RouteOp::Interest(INTEREST)));
}

#[test]
fn names_are_any_bytes_but_blanks() {
    for name in [&b"a\x0bb"[..], b"\x0c", b"\0", b"\xff\xfe", b"a..b", b">.*"] {
        let line = [&b"RMSG "[..], name, b" ", name, b" + ", name, b" ", name, b" 5\r\n"].concat();
        let expected = Routed { account: Some(name), subject: name, ..listed(Some(name), name) };
        check(&line, true, Ok(RouteOp::Message(expected)));
        let line = [&b"RS- "[..], name, b" ", name, b" ", name, b"\r\n"].concat();
        let (account, queue) = (Some(name), Some(name));
        let expected = Interest { add: false, account, subject: name, queue, ..INTEREST };
        check(&line, true, Ok(RouteOp::Interest(expected)));
    }
}

#[test]
fn interest_in_a_queue_group_has_a_weight_where_it_begins() {
    let queue = Some(&b"q"[..]);
    check_interest("RS+ $G foo\r\n", INTEREST);
    check_interest("RS+ $G foo q 3\r\n", Interest { queue, weight: 3, ..INTEREST });
    check_interest("RS- $G foo\r\n", Interest { add: false, ..INTEREST });
    check_interest("RS- $G foo q\r\n", Interest { add: false, queue, ..INTEREST });
    check_interest("UNSUB $G foo q\r\n", Interest { add: false, queue, ..INTEREST });
}

#[test]
fn a_weight_that_is_none_means_that_nobody_is_there() {
    for weight in ["0", "x", "-1", "+1", "9999999999", "0000000001"] {
        let line = format!("RS+ $G foo q {weight}\r\n");
        check_interest(&line, Interest { queue: Some(b"q"), ..INTEREST });
    }
}

#[test]
fn interest_of_a_leaf_node_names_its_cluster() {
    let leaf = Interest { leaf: true, origin: Some(b"L"), ..INTEREST };
    let queue = Some(&b"q"[..]);
    check_interest("LS+ L $G foo\r\n", leaf);
    check_interest("LS+ _ $G foo\r\n", Interest { origin: None, ..leaf });
    check_interest("LS+ L $G foo q 3\r\n", Interest { queue, weight: 3, ..leaf });
    check_interest("LS- L $G foo\r\n", Interest { add: false, ..leaf });
    check_interest("LS- L $G foo q\r\n", Interest { add: false, queue, ..leaf });
}

#[test]
fn json_and_errors_are_handed_on_as_they_are() {
    for line in ["INFO {}\r\n", "INFO{}\r\n", "info \t {} \t\n"] {
        check(line.as_bytes(), true, Ok(RouteOp::Info(b"{}")));
    }
    for line in ["CONNECT {}\r\n", "CONNECT{}\r\n", "connect {}\n"] {
        check(line.as_bytes(), false, Ok(RouteOp::Connect(b"{}")));
    }
    check(b"INFO\r\n", true, Ok(RouteOp::Info(b"")));
    check(b"-ERR 'x y' \r\n", true, Ok(RouteOp::Err(b"'x y'")));
    check(b"-ERR \n", true, Ok(RouteOp::Err(b"")));
}

#[test]
fn a_wrong_verb_fails_at_its_first_wrong_byte() {
    for line in [
        "X", "\r", "\n", " ", "M", "RX", "RS*", "RS+x", "RS+\r", "RMSG\r", "RMSGx", "HP", "PU",
        "LX", "LMSG\n", "AX", "A+\r", "+x", "-ERR\r", "SUB\r", "UNSUBx", "PIN\r", "CONNECX",
    ] {
        let failed = Step::Failed(RouteError::UnknownOperation);
        let more = [line.as_bytes(), b" $G foo 5\r\n"].concat();
        assert_eq!(next(line.as_bytes(), true), failed, "{line:?}");
        assert_eq!(next(&more, true), failed, "{line:?} with more behind it");
        let before = &line.as_bytes()[..line.len() - 1];
        assert_eq!(next(before, true), Step::Incomplete, "{line:?} before its last byte");
    }
}

#[test]
fn the_arguments_of_a_line_are_bounded_whether_it_is_whole_or_not() {
    const MAX: usize = ROUTE_CONTROL_LINE_MAX;
    for verb in ["RS+ ", "RMSG ", "HMSG ", "INFO ", "CONNECT ", "-ERR ", "PING ", "A+ ", "SUB "] {
        for (filler, end) in [("a", "\r\n"), ("a", "\n"), (" ", ""), ("a", "\rx"), ("\t", "\r")] {
            let line = |len: usize| format!("{verb}{}{end}", filler.repeat(len));
            let too_long = Step::Failed(RouteError::ControlLineTooLong);
            assert_ne!(next(line(MAX - 2).as_bytes(), true), too_long, "{verb}{filler}{end:?}");
            assert_eq!(next(line(MAX + 2).as_bytes(), true), too_long, "{verb}{filler}{end:?}");
            let mut longest = line(MAX).into_bytes();
            longest.resize(MAX + CONTROL_LINE_FRAME_MAX, b'a');
            assert_ne!(next(&longest, true), Step::Incomplete, "{verb}{filler}{end:?}");
        }
    }
    // The fast path knows the same bound.
    let line = |len: usize| format!("RMSG $G {} 5\r\n", "a".repeat(len - "$G  5".len()));
    assert!(matches!(next(line(MAX).as_bytes(), true), Step::Op { .. }));
    let too_long = line(MAX + 1);
    assert_eq!(next(too_long.as_bytes(), true), Step::Failed(RouteError::ControlLineTooLong));
}

#[test]
fn a_payload_ends_in_crlf_and_nothing_else() {
    assert_eq!(payload_end(b"\r\nRS+"), Ok(true));
    assert_eq!(payload_end(b"\r"), Ok(false));
    assert_eq!(payload_end(b"\n"), Err(RouteError::UnknownOperation));
}

#[test]
fn each_failure_has_its_reason_and_its_words() {
    use CloseReason::{MaxControlLineExceeded, ProtocolViolation};
    for (error, reason, text) in [
        (RouteError::UnknownOperation, ProtocolViolation, Some("Unknown Protocol Operation")),
        (RouteError::BadArguments, ProtocolViolation, None),
        (
            RouteError::ControlLineTooLong,
            MaxControlLineExceeded,
            Some("maximum control line exceeded"),
        ),
    ] {
        assert_eq!(error.close_reason(), reason, "{error}");
        assert_eq!(error.error().map(ErrorText::as_str), text, "{error}");
    }
}

#[test]
fn the_names_of_a_list_are_told_apart_by_any_blanks() {
    let queues = Queues::new(b" q1 \t q2\rq1  ");
    assert_eq!(queues.iter().collect::<Vec<_>>(), [b"q1", b"q2", b"q1"]);
    assert_eq!(queues, Queues::new(b"q1 q2 q1"));
    assert_ne!(queues, Queues::new(b"q1 q2"));
    assert!(Queues::default().is_empty() && Queues::default().iter().next().is_none());
}
