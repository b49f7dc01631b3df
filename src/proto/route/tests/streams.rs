//! Streams: what is written is read again, and cuts change nothing.

use std::iter;

use super::*;

/// What a caller does with a stream that arrives in pieces: the operations, and how it ends.
fn run(pieces: &[&[u8]], accounts: bool) -> (Vec<String>, Option<RouteError>) {
    let mut ops = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Err(error) = drain(&mut buffer, accounts, &mut ops) {
            return (ops, Some(error));
        }
    }
    (ops, None)
}

fn drain(buffer: &mut Vec<u8>, accounts: bool, ops: &mut Vec<String>) -> Result<(), RouteError> {
    let mut start = 0;
    let ended = loop {
        let bytes = &buffer[start..];
        let (shown, len) = match next(bytes, accounts) {
            Step::Incomplete => break Ok(()),
            Step::Failed(error) => break Err(error),
            Step::Op { op, line_len } => match op {
                RouteOp::Message(routed) => {
                    let end = line_len + routed.size as usize;
                    let Some(behind) = bytes.get(end..) else { break Ok(()) };
                    match payload_end(behind) {
                        Ok(true) => {
                            let payload = bytes[line_len..end].escape_ascii();
                            (format!("{op:?} {payload}"), end + 2)
                        }
                        Ok(false) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
                other => (format!("{other:?}"), line_len),
            },
        };
        ops.push(shown);
        start += len;
    };
    buffer.drain(..start);
    ended
}

const LINES: &[&str] = &[
    "RMSG $G foo 5\r\nhello\r\n",
    "RMSG foo r 2\r\nhi\r\n",
    "RMSG $G foo | q1 q2 2\r\nhi\r\n",
    "HMSG $G a.b + r q 3 5\r\nabcde\r\n",
    "HMSG a.b 0 0\r\n\r\n",
    "LMSG L $G foo r 0 2\nhi\r\n",
    "RS+ $G foo\r\n",
    "RS- $G foo\r\n",
    "RS+ foo q 3\r\n",
    "LS+ _ $G a.> q 1\r\n",
    "LS- L a\r\n",
    "PING\r\n",
    "PONG\n",
    "INFO {}\r\n",
    "CONNECT {}\r\n",
    "+OK\r\n",
    "A+ x\r\n",
    "SUB a 1\r\n",
];

const PARTS: &[&str] = &[
    "RMSG",
    "HMSG ",
    "LMSG ",
    "RS+ ",
    "RS-",
    "LS+ ",
    "PING",
    "-ERR ",
    "PUB ",
    " ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "| ",
    "+ ",
    "|",
    "$G ",
    "foo",
    "5",
    " 2 3",
    "1234567890",
    "-1",
    "_",
    "a.b.c.d.e.f.g.h",
];

/// Streams that are mostly protocol, with all its separators, and now and then anything.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let text = |list: &'static [&'static str]| {
        prop::sample::select(list).prop_map(|text| text.as_bytes().to_vec())
    };
    let anything = prop::collection::vec(any::<u8>(), 0..12);
    let piece = prop_oneof![6 => text(LINES), 4 => text(PARTS), 1 => anything];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no blank", |b| !b" \t\r\n".contains(b));
    prop_oneof![
        prop::collection::vec(byte, 1..20),
        prop::sample::select(vec!["|", "+", "5", "_", "007", "12"]).prop_map(|s| s.into()),
    ]
}

/// How the queue groups in a line are shown.
type Names = Vec<Vec<u8>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_operations(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        accounts: bool,
    ) {
        let whole = run(&[&stream], accounts);
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(&run(&bytes, accounts), &whole);

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
        prop_assert_eq!(&run(&pieces, accounts), &whole);
    }

    #[test]
    fn the_fast_path_agrees_with_the_slow_one(stream in stream(), accounts: bool) {
        for start in 0..stream.len() {
            let bytes = &stream[start..];
            prop_assert_eq!(next(bytes, accounts), any_line(bytes, accounts));
        }
    }

    #[test]
    fn a_head_that_was_written_is_read_the_fast_way(
        account in prop::option::of(name()),
        subject in name(),
        reply in prop::option::of(name()),
        queues in prop::collection::vec(name(), 0..5),
        queues_only: bool,
        header_len in prop::option::of(0_u32..10_000),
        payload_len in 0_u32..900_000,
    ) {
        let size = payload_len + header_len.unwrap_or(0);
        let head = RoutedHead {
            account: account.as_deref(),
            subject: &subject,
            reply: reply.as_deref(),
            queues: queues.iter().map(Vec::as_slice),
            queues_only,
            header_len,
            size,
        };
        let mut line = Vec::new();
        head.encode(&mut line);
        prop_assert!(line.len() <= head.len_max());
        let found = next(&line, account.is_some());
        let Step::Op { op: RouteOp::Message(routed), line_len } = found else {
            panic!("{}: {found:?}", line.escape_ascii());
        };
        let names: Names = routed.queues.iter().map(<[u8]>::to_vec).collect();
        prop_assert_eq!(&names, &queues);
        let expected = Routed {
            origin: None,
            account: account.as_deref(),
            subject: &subject,
            reply: reply.as_deref(),
            queues: routed.queues,
            has_queue_list: !queues.is_empty(),
            queues_only: queues_only && !queues.is_empty(),
            header_len,
            size,
        };
        prop_assert_eq!((routed, line_len), (expected, line.len()));

        // Control characters are for the slow path; servers do not write them.
        if line[..line.len() - 2].iter().all(|byte| *byte >= b' ') {
            let plain = plain_message(&line, account.is_some());
            prop_assert_eq!(plain, Some((expected, line.len())), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn interest_that_was_written_is_read_again(
        add: bool,
        account in prop::option::of(name()),
        subject in name(),
        queue in prop::option::of(name()),
        weight in 1_u32..1_000_000_000,
    ) {
        let (account, queue) = (account.as_deref(), queue.as_deref());
        let mut line = Vec::new();
        encode_interest(&mut line, add, account, &subject, queue, weight);
        prop_assert!(line.len() <= interest_len_max(account, &subject, queue));
        let weight = if add && queue.is_some() { weight } else { 0 };
        let (leaf, origin) = (false, None);
        let expected = Interest { add, leaf, origin, account, subject: &subject, queue, weight };
        let op = RouteOp::Interest(expected);
        prop_assert_eq!(next(&line, account.is_some()), Step::Op { op, line_len: line.len() });
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, accounts: bool) {
        next(&bytes, accounts);
    }
}

#[test]
fn lines_are_written_as_servers_write_them() {
    let head = RoutedHead {
        account: Some(&b"$G"[..]),
        subject: b"m",
        reply: Some(b"rep"),
        queues: [&b"g1"[..], b"g2"].into_iter(),
        queues_only: false,
        header_len: None,
        size: 2,
    };
    check_written(|out| head.encode(out), "RMSG $G m + rep g1 g2 2\r\n");
    let only = RoutedHead { queues_only: true, ..head.clone() };
    check_written(|out| only.encode(out), "RMSG $G m ++ rep g1 g2 2\r\n");
    let only = RoutedHead { reply: None, ..only };
    check_written(|out| only.encode(out), "RMSG $G m || g1 g2 2\r\n");
    let head = RoutedHead { reply: None, header_len: Some(0), ..head };
    check_written(|out| head.encode(out), "HMSG $G m | g1 g2 0 2\r\n");
    let head = RoutedHead {
        account: None,
        subject: head.subject,
        reply: Some(b"rep"),
        queues: iter::empty(),
        queues_only: false,
        header_len: Some(12),
        size: u32::MAX,
    };
    check_written(|out| head.encode(out), "HMSG m rep 12 4294967295\r\n");

    let (account, queue) = (Some(&b"$G"[..]), Some(&b"q"[..]));
    check_written(
        |out| encode_interest(out, true, account, b"a.*", queue, 3),
        "RS+ $G a.* q 3\r\n",
    );
    check_written(|out| encode_interest(out, false, account, b"a.*", queue, 3), "RS- $G a.* q\r\n");
    check_written(|out| encode_interest(out, true, None, b"a.*", None, 3), "RS+ a.*\r\n");
}

#[track_caller]
fn check_written(encode: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let mut out = b"before ".to_vec();
    encode(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), format!("before {expected}"));
}

/// Changes a few bytes: flips, losses, repetitions, and parts of other lines.
fn mutate(rng: &mut fastrand::Rng, stream: &mut Vec<u8>) {
    for _ in 0..rng.usize(0..5) {
        let at = rng.usize(0..=stream.len());
        match rng.u8(0..5) {
            0 if at < stream.len() => stream[at] = rng.u8(..),
            1 => stream.truncate(at),
            2 if at < stream.len() => drop(stream.remove(at)),
            3 => stream.insert(at, rng.choice(b" \t\r\n|+0 9\0\xff").copied().unwrap_or(0)),
            _insert => {
                let part = rng.choice(PARTS).copied().unwrap_or_default();
                stream.splice(at..at, part.bytes());
            }
        }
    }
}

#[test]
fn a_hundred_thousand_broken_streams_end_alike_however_they_are_cut() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut failed, mut stayed) = (0, 0);
    for round in 0..100_000 {
        let mut stream = Vec::new();
        for _ in 0..rng.usize(1..5) {
            stream.extend_from_slice(rng.choice(LINES).copied().unwrap_or_default().as_bytes());
        }
        mutate(&mut rng, &mut stream);
        let accounts = rng.bool();
        let whole = run(&[&stream], accounts);
        let cut = rng.usize(0..=stream.len());
        let (first, second) = stream.split_at(cut);
        assert_eq!(run(&[first, second], accounts), whole, "round {round} cut at {cut}");
        let bytes: Vec<_> = stream.chunks(1).collect();
        assert_eq!(run(&bytes, accounts), whole, "round {round} byte by byte");
        if whole.1.is_some() { failed += 1 } else { stayed += 1 }
    }
    assert!(failed > 10_000 && stayed > 10_000, "{failed} failed, {stayed} did not");
}
