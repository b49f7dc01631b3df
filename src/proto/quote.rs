//! Bytes of a peer as text that a person can read, in the form in which peers show them.

use std::fmt;

/// Bytes in double quotes, with what is not printable escaped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(self.0.len() + 2);
        quoted(&mut out, self.0);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Bytes as they are, but for those that are no UTF-8: they are shown as `\xff`.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Appends the bytes in double quotes, with what is not printable escaped as peers escape it.
pub(super) fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| escaped(out, c));
        chunk.invalid().iter().for_each(|byte| hexadecimal(out, b"\\x", u32::from(*byte), 2));
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, c: char) {
    let code = u32::from(c);
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{7}' => out.extend_from_slice(b"\\a"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{b}' => out.extend_from_slice(b"\\v"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\u{1f}' | '\u{7f}' => hexadecimal(out, b"\\x", code, 2),
        ' '..='~' => out.push(c as u8),
        _ if is_printable(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        '\0'..='\u{ffff}' => hexadecimal(out, b"\\u", code, 4),
        _above => hexadecimal(out, b"\\U", code, 8),
    }
}

/// Whether a character shows something, by the tables that `escape_debug` uses.
fn is_printable(c: char) -> bool {
    // A combining mark is escaped only at the start of a text, so it is asked for behind a letter.
    let mut text = [b'a'; 5];
    let len = 1 + c.encode_utf8(&mut text[1..]).len();
    let text = std::str::from_utf8(&text[..len]).unwrap_or_default();
    text.escape_debug().nth(1) == Some(c)
}

fn hexadecimal(out: &mut Vec<u8>, prefix: &[u8], value: u32, digits: u32) {
    out.extend_from_slice(prefix);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * place) & 0xf) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_by_its_bytes() {
        let bytes = b"a\"\xff\0\n\xc3\xa4";
        assert_eq!(Quoted(bytes).to_string(), "\"a\\\"\\xff\\x00\\n\u{e4}\"");
        assert_eq!(Plain(bytes).to_string(), "a\"\\xff\0\n\u{e4}");
    }
}
