//! What nats-server 2.15.1 answered to one line of a peer in good standing.

use super::*;

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It stayed, and a PING behind the line was answered.
    Stays,
    /// It stayed, after an `-ERR 'Invalid Subscription'`, which the parser leaves to others.
    Complains,
    /// It was closed without a word.
    Silent,
    /// It was closed after this `-ERR`.
    Told(&'static str),
}

use Answer::{Complains, Silent, Stays, Told};

const UNKNOWN: Answer = Told("Unknown Protocol Operation");

/// Lines on a connection that names accounts. Payloads are `hi`.
const WITH_ACCOUNTS: &[(Answer, &[&str])] = &[
    (
        Stays,
        &[
            "SUB foo 1\r\n",
            "SUB \r\n",
            "SUB a b c d e f\r\n",
            "SUB foo\n",
            "UNSUB $G foo\r\n",
            "A+ $G\r\n",
            "A- $G\r\n",
            "A+ \r\n",
            "A+ a b c\r\n",
            "a+ x\r\n",
            "+OK\r\n",
            "+ok foo\r\n",
            "+OKX\r\n",
            "PING\n",
            "ping\r\n",
            "PINGX\r\n",
            "PING xyz\r\n",
            "PONG\r\n",
            "pong x\r\n",
            "PONGX\r\n",
            "RS+ $G foo\r\n",
            "rs+ $G foo\r\n",
            "RS+\t$G\tfoo\r\n",
            "RS+  $G \t foo  \r\n",
            "RS+ $G foo\n",
            "RS+ $G foo q 1\r\n",
            "RS+ $G foo q 0\r\n",
            "RS+ $G foo q x\r\n",
            "RS+ $G foo q -1\r\n",
            "RS+ $G foo q 9999999999\r\n",
            "RS+ NOPE foo\r\n",
            "RS+ $G foo\r q 1\r\n",
            "RS+ NOPE a..b\r\n",
            "RS- $G foo\r\n",
            "RS- $G foo q\r\n",
            "RS- $G a..b\r\n",
            "rs- NOPE foo\r\n",
            "RS- $G foo\n",
            "LS+ O $G foo\r\n",
            "LS+ O $G foo q 1\r\n",
            "LS+ _ $G foo\r\n",
            "LS- O $G foo\r\n",
            "LS- O $G foo q\r\n",
            "ls- O $G foo\r\n",
            "RMSG $G foo 2\r\nhi\r\n",
            "rmsg $G foo 2\r\nhi\r\n",
            "RMSG\t$G\tfoo\t2\r\nhi\r\n",
            "RMSG  $G  foo  2  \r\nhi\r\n",
            "RMSG $G foo 2\nhi\r\n",
            "RMSG $G foo r 2\r\nhi\r\n",
            "RMSG $G foo | 2\r\nhi\r\n",
            "RMSG $G foo + 2\r\nhi\r\n",
            "RMSG $G foo + r 2\r\nhi\r\n",
            "RMSG $G foo | q 2\r\nhi\r\n",
            "RMSG $G foo | q1 q2 q3 q4 q5 q6 q7 2\r\nhi\r\n",
            "RMSG $G foo + r q1 q2 2\r\nhi\r\n",
            "RMSG $G foo 000000002\r\nhi\r\n",
            "RMSG $G foo 2\r\r\nhi\r\n",
            "RMSG $G fo\ro 2\r\nhi\r\n",
            "RMSG $G foo \r2\r\nhi\r\n",
            "RMSG NOPE foo 2\r\nhi\r\n",
            "RMSG $G a..b 2\r\nhi\r\n",
            "RMSG $G * 2\r\nhi\r\n",
            "HMSG $G foo 0 2\r\nhi\r\n",
            "HMSG $G foo 2 2\r\nhi\r\n",
            "HMSG $G foo r 0 2\r\nhi\r\n",
            "HMSG $G foo | 0 2\r\nhi\r\n",
            "HMSG $G foo + r 0 2\r\nhi\r\n",
            "HMSG $G foo + r q 0 2\r\nhi\r\n",
            "HMSG $G foo | q 0 2\r\nhi\r\n",
            "hmsg $G foo 0 2\r\nhi\r\n",
            "HMSG $G foo 0 2\nhi\r\n",
            "LMSG O $G foo 0 2\r\nhi\r\n",
            "LMSG O $G foo r 0 2\r\nhi\r\n",
            "LMSG O $G foo | q 0 2\r\nhi\r\n",
            "LMSG O $G foo + r q 0 2\r\nhi\r\n",
            "LMSG O $G foo + r 0 2\r\nhi\r\n",
            "lmsg _ $G foo 0 2\r\nhi\r\n",
            "LMSG O NOPE foo 0 2\r\nhi\r\n",
        ],
    ),
    (
        Complains,
        &[
            "RS+ $G a..b\r\n",
            "RS+ $G >.a\r\n",
            "RS+ $G a..b q 1\r\n",
            "RS+ $G a.\r\n",
            "LS+ O $G a..b\r\n",
        ],
    ),
    (
        Silent,
        &[
            "UNSUB 1\r\n",
            "UNSUB \r\n",
            "RS+ \r\n",
            "RS+ $G\r\n",
            "RS+ $G foo q\r\n",
            "RS+ $G foo q 1 2\r\n",
            "RS+ $G foo\rbar\r\n",
            "RS- $G foo q 1\r\n",
            "RS- $G\r\n",
            "RS- \r\n",
            "LS+ O $G foo q\r\n",
            "LS+ $G foo\r\n",
            "LS- O $G foo q 1\r\n",
            "LS- $G foo\r\n",
            "RMSG $G foo * r q 2\r\nhi\r\n",
            "RMSG $G foo |+ q 2\r\nhi\r\n",
            "RMSG $G foo r q 2\r\nhi\r\n",
            "RMSG $G foo\r\n",
            "RMSG $G 2\r\nhi\r\n",
            "RMSG \r\n",
            "RMSG $G foo x\r\n",
            "RMSG $G foo -1\r\n",
            "RMSG $G foo +2\r\nhi\r\n",
            "RMSG $G foo 0000000002\r\nhi\r\n",
            "RMSG $G foo r\rx 2\r\nhi\r\n",
            "HMSG $G foo 3 2\r\nhi\r\n",
            "HMSG $G foo 2\r\nhi\r\n",
            "HMSG $G foo r q 0 2\r\nhi\r\n",
            "HMSG $G foo x 2\r\nhi\r\n",
            "HMSG $G foo 0 x\r\nhi\r\n",
            "HMSG $G foo -1 2\r\nhi\r\n",
            "HMSG $G foo q x 0 2\r\nhi\r\n",
            "HMSG \r\n",
            "LMSG O $G foo 2\r\nhi\r\n",
            "LMSG O $G foo r q 0 2\r\nhi\r\n",
            "LMSG O $G foo 3 2\r\nhi\r\n",
            "LMSG O $G foo x 2\r\nhi\r\n",
            "LMSG \r\n",
            "-ERR foo\r\n",
            "-ERR 'foo'\r\n",
            "-ERR \r\n",
            "-ERR foo\n",
        ],
    ),
    (
        UNKNOWN,
        &[
            "SUB\r\n",
            "A+\r\n",
            "AX x\r\n",
            "+O\r\n",
            "\r\n",
            "\n",
            " PING\r\n",
            "RS+$G foo\r\n",
            "RS+\r\n",
            "RS-\r\n",
            "RX+ $G foo\r\n",
            "RS* $G foo\r\n",
            "LS+O $G foo\r\n",
            "MSG foo 1 2\r\nhi\r\n",
            "XYZ\r\n",
            "RMSG$G foo 2\r\nhi\r\n",
            "RMSG\r\n",
            "RM\r\n",
            "RMSG $G foo 2\r\nhi\n",
            "RMSG $G foo 2\r\nhiX\r\n",
            "RMSG $G foo 2\r\nhi\rX",
            "HMSG\r\n",
            "LMSG\r\n",
            "-err\r\n",
            "-ERR\r\n",
            "-ERRX\r\n",
        ],
    ),
];

/// Lines on a connection for one account.
const WITHOUT_ACCOUNTS: &[(Answer, &[&str])] = &[
    (
        Stays,
        &[
            "RS+ foo\r\n",
            "RS+ foo q 1\r\n",
            "RS- foo\r\n",
            "RS- foo q\r\n",
            "LS+ O foo\r\n",
            "LS+ O foo q 1\r\n",
            "LS- O foo\r\n",
            "LS- O foo q\r\n",
            "RMSG foo 2\r\nhi\r\n",
            "RMSG foo r 2\r\nhi\r\n",
            "RMSG foo | q 2\r\nhi\r\n",
            "RMSG foo + r q 2\r\nhi\r\n",
            "RMSG foo + r 2\r\nhi\r\n",
            "HMSG foo 0 2\r\nhi\r\n",
            "HMSG foo r 0 2\r\nhi\r\n",
            "HMSG foo | q 0 2\r\nhi\r\n",
            "HMSG foo + r q 0 2\r\nhi\r\n",
            "LMSG O foo 0 2\r\nhi\r\n",
            "LMSG O foo r 0 2\r\nhi\r\n",
            "LMSG O foo + r q 0 2\r\nhi\r\n",
            "UNSUB foo\r\n",
        ],
    ),
    (
        Silent,
        &[
            "RS+ $SYS foo\r\n",
            "RS+ a b c d\r\n",
            "RS+ \r\n",
            "RS- foo q 1\r\n",
            "LS- foo\r\n",
            "RMSG foo r q 2\r\nhi\r\n",
            "RMSG 2\r\nhi\r\n",
            "HMSG foo 2\r\nhi\r\n",
            "LMSG O foo 2\r\nhi\r\n",
            "UNSUB foo q 1\r\n",
        ],
    ),
];

/// What we answer; where nats-server complains of a subject, the parser sees nothing wrong.
fn ours(line: &[u8], accounts: bool) -> Answer {
    let failed = |error: RouteError| error.error().map_or(Silent, |text| Told(text.as_str()));
    match next(line, accounts) {
        Step::Failed(error) => failed(error),
        Step::Op { op: RouteOp::Err(_), .. } => Silent,
        Step::Op { op: RouteOp::Message(routed), line_len } => {
            let end = line_len + routed.size as usize;
            match payload_end(&line[end..]) {
                Ok(true) if line.len() == end + 2 => Stays,
                Ok(_) => panic!("{} is not a whole message", line.escape_ascii()),
                Err(error) => failed(error),
            }
        }
        Step::Op { line_len, .. } if line_len == line.len() => Stays,
        step => panic!("{}: {step:?}", line.escape_ascii()),
    }
}

#[track_caller]
fn check_answers(table: &[(Answer, &[&str])], accounts: bool) {
    for (answer, lines) in table {
        for line in *lines {
            let expected = if *answer == Complains { Stays } else { *answer };
            assert_eq!(ours(line.as_bytes(), accounts), expected, "{line:?}");
        }
    }
}

#[test]
fn each_line_ends_as_it_ends_with_nats_server() {
    check_answers(WITH_ACCOUNTS, true);
    check_answers(WITHOUT_ACCOUNTS, false);
}

#[test]
fn a_publish_of_a_client_is_refused_though_nats_server_swallows_it() {
    // It drops the message without a trace, and no server sends one.
    for line in ["PUB foo 2\r\nhi\r\n", "HPUB foo 0 2\r\nhi\r\n"] {
        assert_eq!(ours(line.as_bytes(), true), UNKNOWN, "{line:?}");
    }
}

#[test]
fn ignored_words_are_bounded_too_though_nats_server_skips_any_number() {
    let words = "x".repeat(ROUTE_CONTROL_LINE_MAX + 1);
    for verb in ["PING", "PONG", "+OK"] {
        let line = format!("{verb} {words}\r\n");
        let expected = Told("maximum control line exceeded");
        assert_eq!(ours(line.as_bytes(), true), expected, "{verb}");
    }
}
