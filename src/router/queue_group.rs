//! Which member of a queue group gets a message.

use crate::sublist::Member;

/// All members, beginning with the one at `first` and going around. A member that cannot take the
/// message passes it to the next.
pub(super) fn from(members: &[Member], first: usize) -> impl Iterator<Item = Member> {
    let (before, onwards) = members.split_at(first.min(members.len()));
    onwards.iter().chain(before).copied()
}

/// The place of the member whose share of the whole weight `random` falls into.
///
/// Only members that may take the message have a share: if one that may not were picked and skipped,
/// its neighbour would get that share on top of its own. `random` is any number; a fresh one for each
/// message.
pub(super) fn pick(members: &[Member], random: u64, may_take: impl Fn(Member) -> bool) -> usize {
    let share = |member: Member| if may_take(member) { u64::from(member.weight) } else { 0 };
    let total: u64 = members.iter().copied().map(&share).sum();
    let mut left = random % total.max(1);
    for (at, member) in members.iter().enumerate() {
        let share = share(*member);
        if left < share {
            return at;
        }
        left -= share;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        weights.iter().zip(0..).map(|(&weight, id)| Member { id, weight }).collect()
    }

    #[track_caller]
    fn check(weights: &[u32], may_take: impl Fn(Member) -> bool, shares: &[u32]) {
        let members = members(weights);
        let mut first = vec![0; members.len()];
        for random in 0..u64::from(shares.iter().sum::<u32>()) {
            first[pick(&members, random, &may_take)] += 1;
        }
        assert_eq!(first, shares);
    }

    #[test]
    fn a_member_is_first_as_often_as_its_weight_says() {
        check(&[1, 3, 0, 2], |_| true, &[1, 3, 0, 2]);
    }

    #[test]
    fn the_share_of_a_member_that_may_not_take_it_goes_to_nobody_in_particular() {
        check(&[1, 7, 1, 2], |member| member.id != 1, &[1, 0, 1, 2]);
    }

    #[test]
    fn all_members_are_asked_in_a_circle() {
        let asked = |first| from(&members(&[1, 1, 1]), first).map(|m| m.id).collect::<Vec<_>>();
        assert_eq!((asked(0), asked(2)), (vec![0, 1, 2], vec![2, 0, 1]));
    }

    #[test]
    fn an_empty_group_asks_nobody() {
        assert_eq!(from(&[], pick(&[], 7, |_| true)).count(), 0);
    }
}
