//! The headers of a message, as far as a broker reads them.
//!
//! A block is `NATS/1.0[ status[ text]]`, then `Key: value` lines, then an empty line, each with a
//! CRLF. The broker does not validate it: garbage of the right length passes through. So these
//! functions answer `None` where a block is none, and never fail.

use memchr::memmem;

/// The value of the first header called `key`, without the white space around it.
///
/// Keys are told apart by case, as peers do.
pub fn value<'a>(block: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    lines(block).find_map(|line| line.strip_prefix(key)?.strip_prefix(b":")).map(<[u8]>::trim_ascii)
}

/// Whether a message is only to show which way one like it would go: nobody is to get it.
pub fn is_probe(block: &[u8]) -> bool {
    let only = value(block, b"Nats-Trace-Only").unwrap_or_default();
    let is_set = ["1", "true", "on"].iter().any(|on| only.eq_ignore_ascii_case(on.as_bytes()));
    is_set && value(block, b"Nats-Trace-Dest").is_some_and(|subject| !subject.is_empty())
}

/// The payload of a message whose first `header_len` bytes are headers, for a receiver that does
/// not know them. Empty if there are fewer bytes.
pub fn strip(message: &[u8], header_len: u32) -> &[u8] {
    message.get(header_len as usize..).unwrap_or_default()
}

/// The lines behind the version line, without their ends.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_line_end(block);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memmem::find(text, b"\r\n")?;
        rest = after_line_end(text);
        Some(&text[..end])
    })
}

fn after_line_end(text: &[u8]) -> Option<&[u8]> {
    memmem::find(text, b"\r\n").map(|end| &text[end + 2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(block: &str, key: &str, expected: Option<&str>) {
        let found = value(block.as_bytes(), key.as_bytes());
        assert_eq!(found, expected.map(str::as_bytes), "key {key:?} block {block:?}");
    }

    #[test]
    fn a_header_is_found_by_its_exact_key() {
        let block = "NATS/1.0\r\nA: 1\r\nAb:2\r\nc:  x: y \r\nA: 3\r\nEmpty:\r\n\r\n";
        check(block, "A", Some("1"));
        check(block, "Ab", Some("2"));
        check(block, "c", Some("x: y"));
        check(block, "Empty", Some(""));
        check(block, "C", None);
        check(block, "NATS/1.0", None);
    }

    #[test]
    fn a_block_that_is_none_has_no_headers() {
        for block in ["", "\r", "\r\n", "A: 1\r\n", "NATS/1.0\r\nA: 1", "NATS/1.0 503\r\n\r\n"] {
            check(block, "A", None);
        }
    }

    #[test]
    fn a_probe_names_a_place_for_traces_and_says_that_it_is_nothing_else() {
        for (dest, only, expected) in [
            ("tr", "true", true),
            ("tr", " On ", true),
            ("tr", "1", true),
            ("tr", "false", false),
            ("", "true", false),
        ] {
            let block =
                format!("NATS/1.0\r\nNats-Trace-Dest:{dest}\r\nNats-Trace-Only:{only}\r\n\r\n");
            assert_eq!(is_probe(block.as_bytes()), expected, "{block:?}");
        }
        assert!(!is_probe(b"NATS/1.0\r\nNats-Trace-Only: true\r\n\r\n"));
    }

    #[test]
    fn stripping_leaves_the_payload() {
        assert_eq!(strip(b"NATS/1.0\r\n\r\nhello", 12), b"hello");
        assert_eq!(strip(b"hello", 0), b"hello");
        assert_eq!(strip(b"hello", 9), b"");
    }
}
