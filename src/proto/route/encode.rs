//! What the server sends over a route: heads of messages and changes of interest.
//!
//! As for clients, everything is appended to a buffer of the caller, which has its capacity already
//! on the data plane.

use crate::proto::encode::{CRLF, U32_DIGITS_MAX, decimal};

/// The line before a message: `RMSG`, or `HMSG` if there are headers.
#[derive(Clone, Debug)]
pub struct RoutedHead<'a, Q> {
    /// The account; `None` on a connection whose lines carry none.
    pub account: Option<&'a [u8]>,
    /// The subject that was published to.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// The queue groups of which the peer is to choose one member each.
    pub queues: Q,
    /// Only they are to get it; not for peers that are no Ringmesh. Without effect where no group
    /// is named.
    pub queues_only: bool,
    /// How many of the `size` bytes are headers; `None` makes an RMSG.
    pub header_len: Option<u32>,
    /// Bytes of headers and payload, without the CRLF behind them.
    pub size: u32,
}

impl<'a, Q: Iterator<Item = &'a [u8]> + Clone> RoutedHead<'a, Q> {
    /// Appends the head with its line end.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.len_max());
        out.extend_from_slice(if self.header_len.is_some() { b"HMSG" } else { b"RMSG" });
        if let Some(account) = self.account {
            word(out, account);
        }
        word(out, self.subject);
        let mut queues = self.queues.clone().peekable();
        if queues.peek().is_some() {
            let indicator = if self.reply.is_some() { b"++" } else { b"||" };
            word(out, &indicator[..if self.queues_only { 2 } else { 1 }]);
        }
        if let Some(reply) = self.reply {
            word(out, reply);
        }
        queues.for_each(|queue| word(out, queue));
        if let Some(header_len) = self.header_len {
            out.push(b' ');
            decimal(out, header_len.into());
        }
        out.push(b' ');
        decimal(out, self.size.into());
        out.extend_from_slice(CRLF);
    }

    /// The most bytes that [`encode`](Self::encode) appends.
    #[inline]
    pub fn len_max(&self) -> usize {
        const FIXED: usize = "HMSG".len() + " ++".len() + 2 * (1 + U32_DIGITS_MAX) + CRLF.len();
        let words = self.account.into_iter().chain([self.subject]).chain(self.reply);
        let words: usize = words.map(word_len).sum();
        FIXED + words + self.queues.clone().map(word_len).sum::<usize>()
    }
}

/// Appends a line that says that interest begins (`add`) or ends.
///
/// `account` is `None` on a connection whose lines carry none. The `weight` is how many members the
/// queue group has here, all of them and not only the new ones.
pub fn encode_interest(
    out: &mut Vec<u8>,
    add: bool,
    account: Option<&[u8]>,
    subject: &[u8],
    queue: Option<&[u8]>,
    weight: u32,
) {
    out.reserve(interest_len_max(account, subject, queue));
    out.extend_from_slice(if add { b"RS+" } else { b"RS-" });
    if let Some(account) = account {
        word(out, account);
    }
    word(out, subject);
    if let Some(queue) = queue {
        word(out, queue);
        if add {
            out.push(b' ');
            decimal(out, weight.into());
        }
    }
    out.extend_from_slice(CRLF);
}

/// The most bytes that [`encode_interest`] appends.
pub fn interest_len_max(account: Option<&[u8]>, subject: &[u8], queue: Option<&[u8]>) -> usize {
    const FIXED: usize = "RS+".len() + 1 + U32_DIGITS_MAX + CRLF.len();
    let words = account.into_iter().chain([subject]).chain(queue);
    FIXED + words.map(word_len).sum::<usize>()
}

#[inline]
pub(super) fn word(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(word);
}

#[inline]
pub(super) const fn word_len(word: &[u8]) -> usize {
    1 + word.len()
}
