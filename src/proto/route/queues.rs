//! The names of queue groups in a line, as they stand there.

/// A list of queue groups that borrows the line; its names are told apart when they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queues<'a> {
    raw: &'a [u8],
}

impl<'a> Queues<'a> {
    /// The list in `raw`, with blanks between the names and, maybe, around them.
    #[inline]
    pub const fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The bytes of the list, as they stand in the line.
    #[inline]
    pub const fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Whether no group is named.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// The names, in order. The same name may come twice.
    #[inline]
    pub const fn iter(self) -> QueueNames<'a> {
        QueueNames { rest: self.raw }
    }
}

/// Two lists are equal if they name the same groups in the same order.
impl PartialEq for Queues<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Queues<'_> {}

impl<'a> IntoIterator for Queues<'a> {
    type Item = &'a [u8];
    type IntoIter = QueueNames<'a>;

    #[inline]
    fn into_iter(self) -> QueueNames<'a> {
        self.iter()
    }
}

/// Iterates over the names of [`Queues`].
#[derive(Clone, Debug)]
pub struct QueueNames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for QueueNames<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        super::take_word(&mut self.rest)
    }
}
