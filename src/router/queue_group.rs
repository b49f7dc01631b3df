//! Which member of a queue group gets a message.

use crate::sublist::Member;

/// Members in the order in which they are asked: from a random one, chosen by weight, onwards and
/// around. A member that cannot take the message passes it to the next.
///
/// `random` is any number; a fresh one for each message.
pub(super) fn order(members: &[Member], random: u64) -> impl Iterator<Item = Member> {
    let first = pick(members, random);
    members[first..].iter().chain(&members[..first]).copied()
}

/// The place of the member whose share of the whole weight `random` falls into.
fn pick(members: &[Member], random: u64) -> usize {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let mut left = random % total.max(1);
    for (at, member) in members.iter().enumerate() {
        let weight = u64::from(member.weight);
        if left < weight {
            return at;
        }
        left -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_first_as_often_as_its_weight_says_and_all_are_asked() {
        let members: Vec<Member> =
            [1, 3, 0, 2].iter().zip(0..).map(|(&weight, id)| Member { id, weight }).collect();
        let mut first = [0; 4];
        for random in 0..6 {
            let asked: Vec<u32> = order(&members, random).map(|member| member.id).collect();
            first[asked[0] as usize] += 1;
            assert_eq!(asked.len(), 4);
        }
        assert_eq!(first, [1, 3, 0, 2]);
    }

    #[test]
    fn an_empty_group_asks_nobody() {
        assert_eq!(order(&[], 7).count(), 0);
    }
}
