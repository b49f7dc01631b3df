//! The control line that a publisher used last.
//!
//! A stream of messages mostly repeats its line to the letter; then comparing is all the parsing there
//! is, and what the line leads to need not be found out again. The router fills in the leads.

use std::ops::Range;

use crate::ids::AccountId;

/// A control line that was seen, and what it leads to.
#[derive(Default)]
pub struct Line {
    /// The line as it came, with its end. Empty: none.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of payload that follow it.
    pub(crate) size: u32,
    /// The account in which its messages are published.
    pub(crate) account: AccountId,
    /// The state of interest for which the rest holds; `None` before it is known.
    pub(crate) generation: Option<u64>,
    /// Whether runs of this line may take this path.
    pub(crate) simple: bool,
    /// Encoded heads of messages, one a group.
    pub(crate) heads: Vec<u8>,
    pub(crate) groups: Vec<Group>,
    pub(crate) members: Vec<Recipient>,
}

/// Recipients that get the same bytes.
pub(crate) struct Group {
    /// Its part of the line's heads.
    pub(crate) head: Range<usize>,
    /// Its part of the line's members.
    pub(crate) members: Range<usize>,
}

/// A subscription of a client or a route of this shard.
#[derive(Clone, Copy)]
pub(crate) struct Recipient {
    /// Its link.
    pub(crate) index: u32,
    /// The subscription's slot.
    pub(crate) subscription: u32,
    /// It is a route.
    pub(crate) is_route: bool,
}

impl Line {
    /// How many messages with this very line stand at the beginning of `bytes`, and the length of one.
    #[must_use]
    pub fn count(&self, bytes: &[u8]) -> (usize, usize) {
        let (line, size) = (&self.bytes[..], self.size as usize);
        let stride = line.len() + size + 2;
        let mut count = 0;
        let mut rest = bytes;
        while rest.len() >= stride
            && rest.starts_with(line)
            && rest[stride - 2] == b'\r'
            && rest[stride - 1] == b'\n'
        {
            count += 1;
            rest = &rest[stride..];
        }
        (count, stride)
    }

    /// Whether `bytes` begin with this very line.
    #[must_use]
    pub fn begins(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(&self.bytes)
    }

    /// Whether this is the line.
    #[must_use]
    pub fn is(&self, line: &[u8]) -> bool {
        self.bytes == line
    }

    /// Whether a line is there to compare with.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Remembers a line; what it leads to is found out when it comes again.
    pub fn remember(&mut self, line: &[u8], size: u32, account: AccountId) {
        self.bytes.clear();
        self.bytes.extend_from_slice(line);
        (self.size, self.account) = (size, account);
        self.generation = None;
    }

    /// Forgets the line.
    pub fn forget(&mut self) {
        self.bytes.clear();
    }
}
