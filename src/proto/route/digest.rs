//! What a server wants of an account, summed up in one line.
//!
//! After a short break of a connection both ends mostly want what they wanted before. Between two
//! Ringmesh that both say so in their INFO, the one that would announce its interest anew sends
//! `RI= [account] seed count sum` instead, before any other interest of that account: "I want what
//! you knew, if that has this digest". If it has, nothing more is said, and changes follow as ever. If
//! not, the answer is `RI- [account]`, and all of that account's interest is announced as usual.
//!
//! The digest depends on neither order nor tables: it adds up a keyed hash of each entry. The key is
//! drawn anew each time, so that nobody who may subscribe can prepare entries whose hashes cancel
//! each other out. As it is spoken between versions, the hash is one that never changes.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::RouteError;
use super::encode::{word, word_len};
use crate::proto::encode::{CRLF, U32_DIGITS_MAX, decimal};
use crate::proto::line::{Words, is_blank_or_cr, parse_size};

/// A digest of some interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The key of the hashes.
    pub seed: u128,
    /// How many entries there are.
    pub count: u32,
    /// Their hashes, added up.
    pub sum: u128,
}

impl Digest {
    /// The digest of nothing.
    #[must_use]
    pub const fn new(seed: u128) -> Self {
        Self { seed, count: 0, sum: 0 }
    }

    /// Adds an entry: of a subject alone only that it is wanted counts, of a queue group how many
    /// members want it.
    pub fn add(&mut self, subject: &[u8], queue: Option<&[u8]>, weight: u32) {
        let mut hasher = SipHasher13::new_with_key(&self.seed.to_le_bytes());
        // The length of the subject parts it from the group, whatever bytes they have.
        hasher.write(&(subject.len() as u64).to_le_bytes());
        hasher.write(subject);
        if let Some(queue) = queue {
            hasher.write(&weight.to_le_bytes());
            hasher.write(queue);
        }
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.wrapping_add(hasher.finish128().as_u128());
    }
}

/// Appends the line that says that interest has this digest.
///
/// `account` is `None` on a connection whose lines carry none.
pub fn encode_digest(out: &mut Vec<u8>, account: Option<&[u8]>, digest: &Digest) {
    out.reserve(digest_len_max(account));
    out.extend_from_slice(b"RI=");
    if let Some(account) = account {
        word(out, account);
    }
    out.push(b' ');
    hex(out, digest.seed);
    out.push(b' ');
    decimal(out, digest.count.into());
    out.push(b' ');
    hex(out, digest.sum);
    out.extend_from_slice(CRLF);
}

/// Appends the line that asks for the interest itself.
pub fn encode_differs(out: &mut Vec<u8>, account: Option<&[u8]>) {
    out.extend_from_slice(b"RI-");
    if let Some(account) = account {
        word(out, account);
    }
    out.extend_from_slice(CRLF);
}

/// The most bytes that either line has.
pub fn digest_len_max(account: Option<&[u8]>) -> usize {
    const FIXED: usize = "RI=".len() + 2 * (1 + HEX_DIGITS) + 1 + U32_DIGITS_MAX + CRLF.len();
    FIXED + account.map_or(0, word_len)
}

/// Reads the arguments of `RI=`.
pub(super) fn parse_digest(
    args: &[u8],
    accounts: bool,
) -> Result<(Option<&[u8]>, Digest), RouteError> {
    let words = Words::<4>::split(args, is_blank_or_cr).ok_or(RouteError::BadArguments)?;
    let (account, words) = named(words.as_slice(), accounts)?;
    let [seed, count, sum] = *words else { return Err(RouteError::BadArguments) };
    let (Some(seed), Some(count), Some(sum)) = (parse_hex(seed), parse_size(count), parse_hex(sum))
    else {
        return Err(RouteError::BadArguments);
    };
    Ok((account, Digest { seed, count, sum }))
}

/// Reads the arguments of `RI-`.
pub(super) fn parse_differs(args: &[u8], accounts: bool) -> Result<Option<&[u8]>, RouteError> {
    let words = Words::<1>::split(args, is_blank_or_cr).ok_or(RouteError::BadArguments)?;
    match named(words.as_slice(), accounts)? {
        (account, []) => Ok(account),
        (_, _more) => Err(RouteError::BadArguments),
    }
}

type Named<'a, 'w> = (Option<&'a [u8]>, &'w [&'a [u8]]);

fn named<'a, 'w>(words: &'w [&'a [u8]], accounts: bool) -> Result<Named<'a, 'w>, RouteError> {
    match words {
        words if !accounts => Ok((None, words)),
        [account, words @ ..] => Ok((Some(account), words)),
        [] => Err(RouteError::BadArguments),
    }
}

fn hex(out: &mut Vec<u8>, number: u128) {
    for shift in (0..HEX_DIGITS).rev() {
        let digit = (number >> (4 * shift)) & 0xf;
        out.push(b"0123456789abcdef"[digit as usize]);
    }
}

fn parse_hex(word: &[u8]) -> Option<u128> {
    // The standard parser takes a sign, too.
    if word.len() != HEX_DIGITS || !word.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()
}

/// Hexadecimal digits of 128 bits.
const HEX_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (&'static [u8], Option<&'static [u8]>, u32);

    fn digest(seed: u128, entries: &[Entry]) -> Digest {
        let mut digest = Digest::new(seed);
        entries.iter().for_each(|(subject, queue, weight)| digest.add(subject, *queue, *weight));
        digest
    }

    #[test]
    fn a_digest_does_not_depend_on_order() {
        let entries: [Entry; 3] = [(b"a", None, 1), (b"b", Some(b"q"), 2), (b"c.>", None, 1)];
        let turned = [entries[2], entries[0], entries[1]];
        assert_eq!(digest(7, &entries), digest(7, &turned));
        assert_ne!(digest(7, &entries).sum, digest(8, &entries).sum, "the seed counts");
    }

    #[test]
    fn everything_that_makes_an_entry_another_one_changes_the_digest() {
        let base: Entry = (b"a.b", Some(b"q"), 2);
        let others: [Entry; 6] = [
            (b"a.c", Some(b"q"), 2),
            (b"a.b", Some(b"p"), 2),
            (b"a.b", Some(b"q"), 3),
            (b"a.b", None, 2),
            (b"a.bq", Some(b""), 2),
            (b"a", Some(b".bq"), 2),
        ];
        for other in others {
            assert_ne!(digest(7, &[base]), digest(7, &[other]), "{other:?}");
        }
        assert_ne!(digest(7, &[base]), digest(7, &[base, base]));
        assert_eq!(digest(7, &[(b"a", None, 1)]), digest(7, &[(b"a", None, 9)]), "one or none");
    }

    #[test]
    fn the_hash_is_the_one_that_other_versions_have() {
        let sum = digest(7, &[(b"orders.*", None, 1), (b"jobs", Some(b"workers"), 3)]).sum;
        assert_eq!(format!("{sum:032x}"), "2302a4609264ea2c7c2aaca9d69102a0");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let expected = digest(u128::MAX - 5, &[(b"a", None, 1), (b"b", Some(b"q"), 2)]);
        for account in [None, Some(&b"$G"[..])] {
            let mut line = Vec::new();
            encode_digest(&mut line, account, &expected);
            assert!(line.len() <= digest_len_max(account));
            let args = line.strip_prefix(b"RI=").unwrap().strip_suffix(b"\r\n").unwrap();
            assert_eq!(parse_digest(args, account.is_some()), Ok((account, expected)));
            let mut line = Vec::new();
            encode_differs(&mut line, account);
            let args = line.strip_prefix(b"RI-").unwrap().strip_suffix(b"\r\n").unwrap();
            assert_eq!(parse_differs(args, account.is_some()), Ok(account));
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let (good, short) = ("0".repeat(32), "0".repeat(31));
        let check = |args: String| {
            assert_eq!(
                parse_digest(args.as_bytes(), false),
                Err(RouteError::BadArguments),
                "{args}"
            );
        };
        check(String::new());
        check(format!("{good} 1"));
        check(format!("{good} 1 {good} 1"));
        check(format!("{short} 1 {good}"));
        check(format!("{good} x {good}"));
        check(format!("{good} 1 +{short}"));
        check(format!("{good} 1 g{short}"));
        assert_eq!(parse_digest(b"", true), Err(RouteError::BadArguments));
        assert_eq!(parse_differs(b"", true), Err(RouteError::BadArguments));
        assert_eq!(parse_differs(b"$G", false), Err(RouteError::BadArguments));
    }
}
