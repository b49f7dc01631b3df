//! What each line says was asked of nats-server 2.15.1 over a socket, byte by byte.

use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_CONTROL_LINE_DEFAULT, control_line_bytes_max};

const MAX: usize = MAX_CONTROL_LINE_DEFAULT;

/// Checks a line, and that every part of it asks for more or already fails as the whole does.
#[track_caller]
fn check(line: &[u8], expected: Result<ClientOp<'_>, ParseError>) {
    let step = match expected {
        Ok(op) => Step::Op { op, line_len: line.len() },
        Err(error) => Step::Failed(error),
    };
    let shown = line.escape_ascii();
    assert_eq!(next(line, MAX), step, "{shown}");
    for cut in 0..line.len() {
        let part = next(&line[..cut], MAX);
        let agrees = part == Step::Incomplete || (expected.is_err() && part == step);
        assert!(agrees, "{shown} cut at {cut}: {part:?}");
    }
    if expected.is_ok() {
        let more = [line, b"PUB x 1\r\n"].concat();
        assert_eq!(next(&more, MAX), step, "{shown} with more behind it");
    }
}

#[track_caller]
fn refuse(lines: &[&[u8]], error: ParseError) {
    for line in lines {
        check(line, Err(error));
    }
}

fn publish<'a>(
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    header_len: Option<u32>,
    size: u32,
) -> Result<ClientOp<'a>, ParseError> {
    Ok(ClientOp::Publish(Publish { subject, reply, header_len, size }))
}

#[test]
fn a_publish_has_a_subject_an_optional_reply_and_a_size() {
    check(b"PUB foo 5\r\n", publish(b"foo", None, None, 5));
    check(b"PUB foo bar 5\r\n", publish(b"foo", Some(b"bar"), None, 5));
    check(b"PUB foo 0\r\n", publish(b"foo", None, None, 0));
    check(b"PUB foo 7 5\r\n", publish(b"foo", Some(b"7"), None, 5));
    check(b"PUB foo 999999999\r\n", publish(b"foo", None, None, 999_999_999));
    check(b"PUB foo 000000005\r\n", publish(b"foo", None, None, 5));
}

#[test]
fn verbs_come_in_any_case_with_any_blanks_and_either_line_end() {
    for line in [
        &b"pub foo 5\r\n"[..],
        b"pUb foo 5\n",
        b"PUB\tfoo\t5\r\n",
        b"PUB  \t foo   5  \r\n",
        b"Pub foo 5\t\n",
    ] {
        check(line, publish(b"foo", None, None, 5));
    }
    check(b"hpub foo 1 5\n", publish(b"foo", None, Some(1), 5));
    check(b"sub a 1\n", Ok(ClientOp::Subscribe { subject: b"a", queue: None, sid: b"1" }));
    check(b"ping\n", Ok(ClientOp::Ping));
}

#[test]
fn a_subject_is_any_bytes_but_blanks() {
    for subject in [&b"a\x0bb"[..], b"a\0b", b"\xff\xfe", b"a\rb", b"a..b", ">.*".as_bytes()] {
        let line = [b"PUB ", subject, b" 5\r\n"].concat();
        check(&line, publish(subject, None, None, 5));
    }
    check(b"PUB foo\r 5\r\n", publish(b"foo\r", None, None, 5));
}

#[test]
fn a_publish_with_a_wrong_form_closes_silently() {
    refuse(
        &[
            b"PUB foo 5 extra junk\r\n",
            b"PUB foo bar 5 junk\r\n",
            b"PUB foo -1\r\n",
            b"PUB foo +5\r\n",
            b"PUB foo 9999999999\r\n",
            b"PUB foo 0000000005\r\n",
            b"PUB foo 0x5\r\n",
            b"PUB foo 5a\r\n",
            b"PUB foo 5\r\r\n",
            b"PUB foo\r\n",
            b"PUB \r\n",
            b"PUB \n",
        ],
        ParseError::BadArguments,
    );
}

#[test]
fn a_publish_with_headers_has_two_sizes() {
    check(b"HPUB foo 18 20\r\n", publish(b"foo", None, Some(18), 20));
    check(b"HPUB foo bar 18 20\r\n", publish(b"foo", Some(b"bar"), Some(18), 20));
    check(b"HPUB foo 0 2\r\n", publish(b"foo", None, Some(0), 2));
    check(b"HPUB foo 0 0\r\n", publish(b"foo", None, Some(0), 0));
    check(b"HPUB foo 5 6 7\r\n", publish(b"foo", Some(b"5"), Some(6), 7));
    refuse(
        &[
            b"HPUB foo 3 2\r\n",
            b"HPUB foo -1 2\r\n",
            b"HPUB foo 2\r\n",
            b"HPUB foo a b c 2\r\n",
            b"HPUB foo x 2\r\n",
            b"HPUB foo 2 x\r\n",
            b"HPUB foo 2 9999999999\r\n",
            b"HPUB foo 9999999999 9999999999\r\n",
            b"HPUB \r\n",
        ],
        ParseError::BadArguments,
    );
}

#[test]
fn a_subscription_has_a_subject_an_optional_queue_and_a_sid() {
    let plain = |subject, sid| Ok(ClientOp::Subscribe { subject, queue: None, sid });
    check(b"SUB a 1\r\n", plain(b"a", b"1"));
    check(b"SUB a..b x-y\r\n", plain(b"a..b", b"x-y"));
    check(b"SUB a\x0cb 1\r\n", plain(b"a\x0cb", b"1"));
    check(b"SUB a 1\r\r\n", plain(b"a", b"1"));
    check(b"SUB a\r1\r\n", plain(b"a", b"1"));
    check(b"SUB \ra 1\n", plain(b"a", b"1"));
    let queue = Ok(ClientOp::Subscribe { subject: b"a", queue: Some(b"b"), sid: b"1" });
    check(b"SUB a b 1\r\n", queue);
    check(b"SUB a\rb 1\r\n", queue);
    refuse(&[b"SUB \r\n", b"SUB a\r\n", b"SUB a b c d\r\n"], ParseError::BadArguments);
}

#[test]
fn an_unsubscription_without_a_usable_max_is_meant_now() {
    for (line, max) in [
        (&b"UNSUB 1\r\n"[..], 0),
        (b"UNSUB 1 0\r\n", 0),
        (b"UNSUB 1 2\r\n", 2),
        (b"UNSUB 1 000000002\r\n", 2),
        (b"UNSUB 1\r2\r\n", 2),
        (b"UNSUB 1 999999999\r\n", 999_999_999),
        (b"UNSUB 1 9999999999\r\n", 0),
        (b"UNSUB 1 -1\r\n", 0),
        (b"UNSUB 1 +2\r\n", 0),
        (b"UNSUB 1 x\r\n", 0),
    ] {
        check(line, Ok(ClientOp::Unsubscribe { sid: b"1", max }));
    }
    refuse(&[b"UNSUB \r\n", b"UNSUB 1 2 3\r\n"], ParseError::BadArguments);
}

#[test]
fn what_follows_ping_pong_and_ok_is_ignored() {
    for line in ["PING\r\n", "PING xyz\r\n", "PINGxyz\r\n", "ping\n", "PING \t\r\n"] {
        check(line.as_bytes(), Ok(ClientOp::Ping));
    }
    for line in ["PONG\r\n", "PONGxx\r\n", "pong 1\n"] {
        check(line.as_bytes(), Ok(ClientOp::Pong));
    }
    for line in ["+OK\r\n", "+OKxx\r\n", "+ok\n"] {
        check(line.as_bytes(), Ok(ClientOp::Ok));
    }
}

#[test]
fn connect_needs_no_blank_before_its_json() {
    for line in ["CONNECT {}\r\n", "CONNECT{}\r\n", "CONNECT  \t {} \r\n", "connect {}\n"] {
        check(line.as_bytes(), Ok(ClientOp::Connect(b"{}")));
    }
    check(b"CONNECT\r\n", Ok(ClientOp::Connect(b"")));
    check(b"CONNECTX\r\n", Ok(ClientOp::Connect(b"X")));
}

#[test]
fn an_info_is_ignored_if_it_can_be_read() {
    for line in ["INFO {}\r\n", "INFO{}\r\n", "info null\n", "INFO {\"zz\":1} \r\n"] {
        check(line.as_bytes(), Ok(ClientOp::Info));
    }
    refuse(&[b"INFO\r\n", b"INFO \n", b"INFO x\r\n", b"INFO []\r\n"], ParseError::BadArguments);
}

#[test]
fn an_error_carries_its_text() {
    check(b"-ERR 'x'\r\n", Ok(ClientOp::Err(b"'x'")));
    check(b"-err x y \r\n", Ok(ClientOp::Err(b"x y")));
    check(b"-ERR \r\n", Ok(ClientOp::Err(b"")));
}

#[test]
fn a_wrong_verb_fails_at_its_first_wrong_byte() {
    for line in [
        &b"X"[..],
        b"\r",
        b"\n",
        b" ",
        b"M",
        b"R",
        b"L",
        b"A",
        b"HM",
        b"HX",
        b"HPX",
        b"HPUBx",
        b"HPUB\r",
        b"PUBX",
        b"PUB\r",
        b"PUB\n",
        b"PIN\r",
        b"PINx",
        b"SUB\r",
        b"SUBx",
        b"UNSUB\r",
        b"+x",
        b"-ERR\r",
        b"-ERRx",
        b"CONNECX",
        b"INFX",
        b"\0",
        b"\xff",
    ] {
        refuse(&[line], ParseError::UnknownOperation);
        assert_eq!(next(&line[..line.len() - 1], MAX), Step::Incomplete, "{}", line.escape_ascii());
    }
}

#[track_caller]
fn check_limit(verb: &str, args_len: usize, end: &str, expected_to_fit: bool) {
    // Two words at most, so that only the length is wrong with it.
    let line = format!("{verb} {} 1{end}", "a".repeat(args_len - 2));
    match next(line.as_bytes(), MAX) {
        Step::Failed(error) => {
            assert!(!expected_to_fit, "{verb} {args_len}");
            assert_eq!(error, ParseError::ControlLineTooLong { max: MAX });
        }
        Step::Incomplete => assert!(expected_to_fit && !end.ends_with('\n'), "{verb} {args_len}"),
        Step::Op { line_len, .. } => {
            assert!(expected_to_fit, "{verb} {args_len}");
            assert_eq!(line_len, line.len());
            assert!(line_len <= control_line_bytes_max(MAX));
        }
    }
}

#[test]
fn the_arguments_of_a_line_are_bounded_whether_it_is_whole_or_not() {
    for verb in ["PUB", "SUB", "UNSUB", "PING", "CONNECT", "-ERR", "+OK", "pub"] {
        for end in ["\r\n", "\n", "\r", ""] {
            check_limit(verb, MAX, end, true);
            check_limit(verb, MAX + 1, end, false);
            check_limit(verb, MAX + 1000, end, false);
        }
    }
    check_limit("INFO", MAX + 1, "\r\n", false);
}

#[test]
fn a_line_at_the_limit_waits_for_the_byte_behind_its_carriage_return() {
    let line = [&b"PUB "[..], &vec![b'a'; MAX], b"\r"].concat();
    assert_eq!(next(&line, MAX), Step::Incomplete);
    let longer = [&line[..], b"x"].concat();
    assert_eq!(next(&longer, MAX), Step::Failed(ParseError::ControlLineTooLong { max: MAX }));
}

#[test]
fn an_incomplete_line_never_outgrows_the_buffer() {
    for verb in ["PUB ", "HPUB ", "CONNECT", "CONNECT ", "PING", "+OK", "-ERR ", "INFO", "UNSUB "] {
        for filler in [b'a', b' ', b'\r'] {
            let mut line = verb.as_bytes().to_vec();
            line.resize(control_line_bytes_max(MAX), filler);
            assert_ne!(next(&line, MAX), Step::Incomplete, "{verb} {filler}");
        }
    }
}

#[test]
fn a_payload_ends_in_crlf_and_nothing_else() {
    assert_eq!(payload_end(b"\r\nPING"), Ok(true));
    assert_eq!(payload_end(b""), Ok(false));
    assert_eq!(payload_end(b"\r"), Ok(false));
    for bytes in [&b"\n"[..], b"x", b"\rx", b"\r\r"] {
        assert_eq!(payload_end(bytes), Err(ParseError::UnknownOperation));
    }
}

#[test]
fn a_message_is_checked_before_its_payload_is_read() {
    let plain = Publish { subject: b"a", reply: None, header_len: None, size: 10 };
    let with_headers = Publish { header_len: Some(2), ..plain };
    let limits = PublishLimits { max_payload: 10, headers: true };
    let too_large = Err(ParseError::PayloadTooLarge { size: 11, max: 10 });
    assert_eq!(plain.check(&limits), Ok(()));
    assert_eq!(with_headers.check(&limits), Ok(()));
    assert_eq!(Publish { size: 11, ..plain }.check(&limits), too_large);
    assert_eq!(Publish { size: 11, ..with_headers }.check(&limits), too_large);
    // Without headers an HPUB ends silently, whatever its size.
    let limits = PublishLimits { headers: false, ..limits };
    let unsupported = Err(ParseError::HeadersNotSupported);
    assert_eq!(plain.check(&limits), Ok(()));
    assert_eq!(with_headers.check(&limits), unsupported);
    assert_eq!(Publish { size: 11, ..with_headers }.check(&limits), unsupported);
}

#[test]
fn each_failure_has_its_reason_and_its_words() {
    use CloseReason::{MaxControlLineExceeded, MaxPayloadExceeded, ProtocolViolation};
    for (error, reason, text) in [
        (ParseError::UnknownOperation, ProtocolViolation, Some("Unknown Protocol Operation")),
        (ParseError::BadArguments, ProtocolViolation, None),
        (ParseError::HeadersNotSupported, ProtocolViolation, None),
        (
            ParseError::ControlLineTooLong { max: 1 },
            MaxControlLineExceeded,
            Some("maximum control line exceeded"),
        ),
        (
            ParseError::PayloadTooLarge { size: 2, max: 1 },
            MaxPayloadExceeded,
            Some("Maximum Payload Violation"),
        ),
    ] {
        assert_eq!(error.close_reason(), reason, "{error}");
        assert_eq!(error.error().map(ErrorText::as_str), text, "{error}");
    }
}

#[test]
fn only_a_c_may_become_connect() {
    assert!(may_be_connect(b"") && may_be_connect(b"C") && may_be_connect(b"connect"));
    assert!(!may_be_connect(b"P") && !may_be_connect(b"\r\n"));
}

/// What a caller does with a stream that arrives in pieces: the operations, and how it ends.
fn run(pieces: &[&[u8]], max: usize) -> (Vec<String>, Option<ParseError>) {
    let mut ops = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        match drain(&mut buffer, max, &mut ops) {
            Ok(()) => {}
            Err(error) => return (ops, Some(error)),
        }
    }
    (ops, None)
}

fn drain(buffer: &mut Vec<u8>, max: usize, ops: &mut Vec<String>) -> Result<(), ParseError> {
    loop {
        let (shown, len) = match next(buffer, max) {
            Step::Incomplete => return Ok(()),
            Step::Failed(error) => return Err(error),
            Step::Op { op, line_len } => match op {
                ClientOp::Publish(publish) => {
                    publish.check(&PublishLimits { max_payload: 64, headers: true })?;
                    let end = line_len + publish.size as usize;
                    if buffer.len() < end || !payload_end(&buffer[end..])? {
                        return Ok(());
                    }
                    let payload = buffer[line_len..end].escape_ascii();
                    (format!("{op:?} {payload}"), end + 2)
                }
                other => (format!("{other:?}"), line_len),
            },
        };
        ops.push(shown);
        buffer.drain(..len);
    }
}

/// Streams that are mostly protocol, with all its separators, and now and then anything.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "PUB foo 5\r\nhello\r\n", "HPUB a.b r 3 5\r\nabcde\r\n", "SUB a.* q 1\r\n", "PING\r\n",
            "UNSUB 1 2\r\n", "PONG\n", "CONNECT {}\r\n", "+OK\r\n", "pub x y 0\n\r\n", "INFO {}\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        4 => prop::sample::select(vec![
            "PUB", "HPUB", "SUB ", "UNSUB", "PING", "CONNECT", "-ERR ", " ", "\t", "\r", "\n",
            "\r\n", "foo", "5", "1234567890", "-1", "MSG", "{}", "a.b.c.d.e.f.g.h.i.j",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_operations(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        max in 4_usize..40,
    ) {
        let whole = run(&[&stream], max);
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(&run(&bytes, max), &whole);

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
        prop_assert_eq!(&run(&pieces, max), &whole);
    }

    #[test]
    fn the_fast_path_agrees_with_the_slow_one(stream in stream(), max in 4_usize..40) {
        for start in 0..stream.len() {
            let bytes = &stream[start..];
            prop_assert_eq!(next(bytes, max), any_line(bytes, max));
        }
    }

    #[test]
    fn the_fast_path_takes_what_clients_write(
        subject in "[a-zA-Z0-9_.$é]{1,40}",
        reply in prop::option::of("_INBOX[.a-zA-Z0-9]{1,30}"),
        header_len in prop::option::of(0_u32..10_000),
        payload_len in 0_u32..900_000,
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let verb = if header_len.is_some() { "HPUB" } else { "PUB" };
        let size = payload_len + header_len.unwrap_or(0);
        let reply_word = reply.as_ref().map(|reply| format!(" {reply}")).unwrap_or_default();
        let header_word = header_len.map(|len| format!(" {len}")).unwrap_or_default();
        let line = format!("{verb} {subject}{reply_word}{header_word} {size}\r\n");
        let expected = Publish {
            subject: subject.as_bytes(),
            reply: reply.as_ref().map(String::as_bytes),
            header_len,
            size,
        };
        // The payload's line end and the next verb are there in all but the last line of a turn.
        let bytes = [line.as_bytes(), b"\r\nPING\r\n", &more].concat();
        prop_assert_eq!(plain_publish(&bytes, MAX), Some((expected, line.len())));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, max in 0_usize..50) {
        next(&bytes, max);
    }
}
