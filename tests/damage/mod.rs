//! What happens to bytes on their way to a server that is to bear everything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Changes a stream in one place.
pub(crate) fn damage(stream: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if stream.is_empty() {
        return;
    }
    let at = random.usize(..stream.len());
    let len = random.usize(..64).min(stream.len() - at);
    match random.u8(..7) {
        0 => stream[at] = random.u8(..),
        1 => stream[at] ^= 1 << random.u8(..8),
        2 => stream.insert(at, random.u8(..)),
        3 => drop(stream.drain(at..at + len)),
        4 => stream.truncate(at),
        5 => {
            let copy = stream[at..at + len].to_vec();
            let to = random.usize(..=stream.len());
            stream.splice(to..to, copy);
        }
        // Numbers are where lengths and limits are.
        _ => {
            if let Some(digit) = stream[at..].iter().position(u8::is_ascii_digit) {
                let number = *random
                    .choice(&["0", "00", "1", "-1", "2147483648", "99999999999999999999", "1e3"])
                    .unwrap();
                stream.splice(at + digit..=at + digit, number.bytes());
            }
        }
    }
}
