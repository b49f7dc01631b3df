//! Which member of a queue group gets a message.

use crate::sublist::Member;

/// The place of the member that is asked first: a random one, chosen by weight among those that may
/// take the message. The others are asked from there onwards and [around](around).
///
/// `random` is any number; a fresh one for each message. Who may not take it has no share: else
/// whoever stands behind it would get that, too.
pub(super) fn first(members: &[Member], random: u64, may_take: impl Fn(Member) -> bool) -> usize {
    let weight = |member: &Member| if may_take(*member) { u64::from(member.weight) } else { 0 };
    let total: u64 = members.iter().map(weight).sum();
    let mut left = random % total.max(1);
    for (at, member) in members.iter().enumerate() {
        let weight = weight(member);
        if left < weight {
            return at;
        }
        left -= weight;
    }
    0
}

/// All members, from the one at a place onwards and around.
pub(super) fn around(members: &[Member], first: usize) -> impl Iterator<Item = Member> {
    members[first..].iter().chain(&members[..first]).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        weights.iter().zip(0..).map(|(&weight, id)| Member { id, weight }).collect()
    }

    #[test]
    fn a_member_is_first_as_often_as_its_weight_says_and_all_are_asked() {
        let members = members(&[1, 3, 0, 2]);
        let mut count = [0; 4];
        for random in 0..6 {
            let first = first(&members, random, |_| true);
            count[first] += 1;
            assert_eq!(around(&members, first).count(), 4);
        }
        assert_eq!(count, [1, 3, 0, 2]);
    }

    #[test]
    fn who_may_not_take_it_leaves_no_share_to_its_neighbour() {
        let members = members(&[1, 5, 1]);
        let mut count = [0; 3];
        for random in 0..10 {
            count[first(&members, random, |member| member.id != 1)] += 1;
        }
        assert_eq!(count, [5, 0, 5]);
    }

    #[test]
    fn an_empty_group_asks_nobody() {
        assert_eq!(around(&[], first(&[], 7, |_| true)).count(), 0);
    }
}
