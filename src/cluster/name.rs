//! The name of the cluster, which servers agree on when nobody has given one.

/// What a server does about the name of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameVerdict {
    /// The names are the same.
    Same,
    /// Theirs is taken, and what belongs to the old one is left.
    Adopt,
    /// They belong elsewhere.
    Reject,
}

/// A cluster's name, and whether it was made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameClaim<'a> {
    pub(super) name: &'a str,
    pub(super) is_dynamic: bool,
}

/// The name that no cluster may have: it marks leaf interest without an origin.
pub(super) const RESERVED: &str = "_";

/// A configured name wins over one that was made up, and of two of those the greater.
pub(super) fn judge(ours: NameClaim<'_>, theirs: NameClaim<'_>) -> NameVerdict {
    if ours.name == theirs.name {
        return NameVerdict::Same;
    }
    let is_usable = !theirs.name.is_empty()
        && theirs.name.len() <= NAME_BYTES_MAX
        && !theirs.name.chars().any(|c| c.is_whitespace() || c.is_control());
    let they_win = ours.is_dynamic && (!theirs.is_dynamic || ours.name < theirs.name);
    if is_usable && they_win { NameVerdict::Adopt } else { NameVerdict::Reject }
}

/// The longest name that is taken from others. It goes into every INFO.
const NAME_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_wins_and_of_two_made_up_ones_the_greater() {
        let check = |ours: (&str, bool), theirs: (&str, bool), expected: NameVerdict| {
            let claim = |(name, is_dynamic)| NameClaim { name, is_dynamic };
            assert_eq!(judge(claim(ours), claim(theirs)), expected, "{ours:?} {theirs:?}");
        };
        check(("a", false), ("a", true), NameVerdict::Same);
        check(("a", false), ("b", false), NameVerdict::Reject);
        check(("a", false), ("b", true), NameVerdict::Reject);
        check(("b", true), ("a", false), NameVerdict::Adopt);
        check(("a", true), ("b", true), NameVerdict::Adopt);
        check(("b", true), ("a", true), NameVerdict::Reject);
        check(("a", true), ("", false), NameVerdict::Reject);
        check(("a", true), ("b c", false), NameVerdict::Reject);
    }
}
