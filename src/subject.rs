//! Subjects: which are valid, and which filter matches which subject.
//!
//! A subject is bytes, split into tokens by `.`; no charset is required. `*` as a whole token
//! matches one token, `>` as the last one matches all that follow, at least one; anywhere else both
//! are ordinary bytes (`foo*` and `a>` are literal tokens). The matcher here is the plain one that
//! needs no preparation; the subscription table is tested against it.

use memchr::{memchr, memchr_iter, memchr2};

/// Whether a subscription may ask for `filter`: no empty token, no whitespace, `>` only at the end.
///
/// Whitespace is space, tab, CR and LF. The other control characters are bytes like any other.
pub fn is_valid_filter(filter: &[u8]) -> bool {
    match shape(filter) {
        Shape::Literal | Shape::Wildcard => true,
        Shape::Invalid => false,
    }
}

/// Whether `subject` names one subject only: a valid filter without wildcards.
pub fn is_valid_literal(subject: &[u8]) -> bool {
    shape(subject) == Shape::Literal
}

/// Whether `subject` has a token `*`, or ends in a token `>`.
///
/// A `>` before the end makes a subject an invalid filter, not a wildcard.
pub fn has_wildcard(subject: &[u8]) -> bool {
    // Most subjects hold neither byte at all, and that is found out fastest.
    memchr2(b'*', b'>', subject).is_some() && has_wildcard_token(subject)
}

/// How many tokens `subject` has; the empty subject has one, an empty one.
pub fn token_count(subject: &[u8]) -> usize {
    1 + memchr_iter(b'.', subject).count()
}

/// Whether a message to `subject` reaches a subscription to `filter`.
///
/// `subject` is taken literally: wildcards in it match only themselves or a wildcard of the filter.
/// A subject with an empty token reaches nobody. `filter` must be valid
/// (see [`is_valid_filter`]); for another one the answer means nothing.
pub fn matches(filter: &[u8], subject: &[u8]) -> bool {
    let mut wanted = filter.split(|&b| b == b'.');
    let mut tokens = subject.split(|&b| b == b'.');
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(_), Some(b"")) => return false,
            (Some(b">"), Some(_)) => return tokens.all(|token| !token.is_empty()),
            (Some(want), Some(token)) if want == b"*" || want == token => {}
            (None, None) => return true,
            (Some(_) | None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// Whether only servers may publish to `subject`: it names a gateway or a consensus group.
#[inline]
pub fn is_reserved(subject: &[u8]) -> bool {
    is_below_any(subject, &[b"_GR_.", b"$GR.", b"$NRG."]) || subject == b"$NRG."
}

/// Whether only servers may ask for answers to `reply`.
#[inline]
pub fn is_reserved_reply(reply: &[u8]) -> bool {
    is_below_any(reply, &[b"_R_.", b"_GR_.", b"$GR.", b"$JS.ACK."]) || reply == b"_R_."
}

/// Under which subject and reply a routed message is delivered to a client.
///
/// What a stream sends to a consumer comes under the subject that the consumer listens to, with a
/// reply that holds both the subject for acknowledgements and, behind an `@`, the subject in the
/// stream. Names of streams and consumers may hold an `@`, too; so the first one counts that stands
/// behind all eight dots of a subject for acknowledgements.
#[inline]
pub fn delivered_as<'a>(
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
) -> (&'a [u8], Option<&'a [u8]>) {
    match reply {
        // Asked for each message; an inbox has another first byte.
        Some(reply @ [b'$', ..]) => match split_acknowledgement(reply) {
            Some((reply, subject)) => (subject, Some(reply)),
            None => (subject, Some(reply)),
        },
        Some(_) | None => (subject, reply),
    }
}

fn split_acknowledgement(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    const DOTS: usize = 8;
    let names = reply.starts_with(b"$JS.ACK.").then_some(reply)?;
    let last_dot = memchr_iter(b'.', names).nth(DOTS - 1)?;
    let at = last_dot + memchr(b'@', &reply[last_dot..])?;
    let subject = &reply[at + 1..];
    (!subject.is_empty()).then_some((&reply[..at], subject))
}

/// The queue group that only servers may join.
pub const RESERVED_QUEUE: &[u8] = b"_sys_";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Literal,
    Wildcard,
    Invalid,
}

fn shape(subject: &[u8]) -> Shape {
    if subject.iter().any(|&b| is_whitespace(b)) {
        return Shape::Invalid;
    }
    let mut shape = Shape::Literal;
    let mut rest = Some(subject);
    while let Some(tail) = rest {
        let (token, next) = split_token(tail);
        match token {
            b"" => return Shape::Invalid,
            b">" if next.is_some() => return Shape::Invalid,
            b">" | b"*" => shape = Shape::Wildcard,
            _literal => {}
        }
        rest = next;
    }
    shape
}

fn has_wildcard_token(subject: &[u8]) -> bool {
    let mut rest = Some(subject);
    while let Some(tail) = rest {
        let (token, next) = split_token(tail);
        if token == b"*" || (token == b">" && next.is_none()) {
            return true;
        }
        rest = next;
    }
    false
}

fn split_token(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'.', subject) {
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
        None => (subject, None),
    }
}

/// Asked for each message, so the first byte decides nearly always.
fn is_below_any(subject: &[u8], prefixes: &[&[u8]]) -> bool {
    matches!(subject, [b'_' | b'$', ..])
        && prefixes
            .iter()
            .any(|&prefix| subject.len() > prefix.len() && subject.starts_with(prefix))
}

const fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LITERAL: (bool, bool) = (true, true);
    const WILDCARD: (bool, bool) = (true, false);
    const INVALID: (bool, bool) = (false, false);

    #[track_caller]
    fn check(subject: &str, expected: (bool, bool)) {
        let bytes = subject.as_bytes();
        let found = (is_valid_filter(bytes), is_valid_literal(bytes));
        assert_eq!(found, expected, "subject {subject:?}");
        if is_valid_filter(bytes) {
            assert_eq!(has_wildcard(bytes), !expected.1, "subject {subject:?}");
        }
    }

    #[test]
    fn a_filter_has_no_empty_token_and_ends_in_its_only_full_wildcard() {
        for subject in ["foo", "foo.bar", "foo*", "*x", "a>", ">a", "**", ">>", "a.b*c.d", "$SYS"] {
            check(subject, LITERAL);
        }
        for subject in ["*", ">", "a.*", "*.a", "a.>", "*.*", "*.>", "a.*.b"] {
            check(subject, WILDCARD);
        }
        for subject in ["", ".", "..", ".a", "a.", "a..b", ">.a", "a.>.b", "a b", "a\tb", "a\r"] {
            check(subject, INVALID);
        }
    }

    #[test]
    fn control_characters_other_than_whitespace_are_ordinary() {
        for subject in ["a\0b", "a\x0bb", "a\x0cb", "\u{a0}"] {
            check(subject, LITERAL);
        }
    }

    #[test]
    fn subjects_of_servers_are_reserved_below_their_prefix() {
        for subject in ["_GR_.x", "$GR.x", "$NRG.x"] {
            assert!(is_reserved(subject.as_bytes()), "subject {subject:?}");
        }
        for subject in ["_GR_", "_GR_.", "_R_.x", "$JS.ACK.x", "$SYS.x", "", "a"] {
            assert!(!is_reserved(subject.as_bytes()), "subject {subject:?}");
        }
        for reply in ["_R_.x", "_GR_.x", "$GR.x", "$JS.ACK.x"] {
            assert!(is_reserved_reply(reply.as_bytes()), "reply {reply:?}");
        }
        for reply in ["$NRG.x", "$SYS.x", "_GR_.", "_INBOX.x", ""] {
            assert!(!is_reserved_reply(reply.as_bytes()), "reply {reply:?}");
        }
    }

    #[track_caller]
    fn check_delivered(reply: &str, expected: Option<(&str, &str)>) {
        let (subject, reply_to) = expected.unwrap_or(("foo", reply));
        let found = delivered_as(b"foo", Some(reply.as_bytes()));
        assert_eq!(found, (subject.as_bytes(), Some(reply_to.as_bytes())), "reply {reply:?}");
    }

    #[test]
    fn a_message_of_a_stream_is_delivered_under_its_subject_in_the_stream() {
        let ack = "$JS.ACK.S.C.1.1.1.17.0";
        check_delivered(&format!("{ack}@s.a"), Some(("s.a", ack)));
        check_delivered(&format!("{ack}@s.a@b"), Some(("s.a@b", ack)));
        check_delivered(&format!("{ack}@a..b"), Some(("a..b", ack)));
        let ack = "$JS.ACK.S@x.C@y.1.1.1.17.0";
        check_delivered(&format!("{ack}@s.a"), Some(("s.a", ack)));
        let ack = "$JS.ACK._.h.S.C.1.1.1.17.0.x";
        check_delivered(&format!("{ack}@s.a"), Some(("s.a", ack)));
        let ack = "$JS.ACK.........";
        check_delivered(&format!("{ack}@s"), Some(("s", ack)));
    }

    #[test]
    fn other_replies_stay_what_they_are() {
        for reply in [
            "$JS.ACK.S.C.1.1.1.17.0",
            "$JS.ACK.S.C.1.1.1.17.0@",
            "$JS.ACK.S.C.1.1.17.0@s.a",
            "$JS.ACK@.......@s.a",
            "$JS.ACX.S.C.1.1.1.17.0@s.a",
            "_INBOX.a.b.c.d.e.f.g.h.i@s.a",
            "$SYS.a",
            "$",
            "",
        ] {
            check_delivered(reply, None);
        }
        assert_eq!(delivered_as(b"foo", None), (&b"foo"[..], None));
    }

    #[test]
    fn tokens_are_counted_by_their_dots() {
        for (subject, count) in [("", 1), ("a", 1), ("a.b", 2), ("a..", 3)] {
            assert_eq!(token_count(subject.as_bytes()), count, "subject {subject:?}");
        }
    }

    #[track_caller]
    fn check_match(filter: &str, subject: &str, expected: bool) {
        let found = matches(filter.as_bytes(), subject.as_bytes());
        assert_eq!(found, expected, "filter {filter:?} subject {subject:?}");
    }

    #[test]
    fn a_star_matches_one_token_and_the_full_wildcard_the_rest() {
        for (filter, subject) in [
            ("a", "a"),
            ("*", "a"),
            (">", "a"),
            (">", "a.b.c"),
            ("a.*", "a.b"),
            ("a.>", "a.b"),
            ("a.>", "a.b.c"),
            ("*.b.*", "a.b.c"),
            ("foo*", "foo*"),
        ] {
            check_match(filter, subject, true);
        }
        for (filter, subject) in [
            ("a", "A"),
            ("a", "a.b"),
            ("*", "a.b"),
            ("a.>", "a"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("foo*", "foobar"),
            ("a>", "ab"),
        ] {
            check_match(filter, subject, false);
        }
    }

    #[test]
    fn wildcards_that_are_published_are_taken_literally() {
        check_match("foo.*", "foo.*", true);
        check_match("foo.bar", "foo.*", false);
        check_match("foo.*", "foo.>", true);
        check_match("foo.>", "foo.>.bar", true);
    }

    #[test]
    fn a_subject_with_an_empty_token_reaches_nobody() {
        for filter in [">", "*", "a.>", "*.*", "*.>"] {
            for subject in ["", ".", "a.", ".a", "a..b", "a.b."] {
                check_match(filter, subject, false);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(filter: Vec<u8>, subject: Vec<u8>) {
            delivered_as(&filter, Some(&subject));
            matches(&filter, &subject);
            has_wildcard(&subject);
            prop_assert!(!is_valid_literal(&subject) || is_valid_filter(&subject));
        }

        #[test]
        fn every_valid_literal_matches_itself_and_everything(subject in "[ab*>.]{1,8}") {
            let subject = subject.as_bytes();
            if is_valid_literal(subject) {
                prop_assert!(matches(subject, subject));
                prop_assert!(matches(b">", subject));
                prop_assert!(!has_wildcard(subject));
            }
        }
    }
}
