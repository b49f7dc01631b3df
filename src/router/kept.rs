//! What servers wanted whose connections have just been lost.
//!
//! Kept interest is out of all tables: no message goes by it, and nobody counts as somebody who would
//! answer. It waits for the same server to come back with the same connection, and to say that it
//! still wants just that ([`Digest`]). Only then it is worth anything, so that it does no harm to
//! forget some, nor to keep what has long changed.
//!
//! Each shard knows what all shards have lost, as a server may come back to any of them; they share
//! the memory. Bounds: [`GRACE`], so many connections, so many bytes of a whole server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ring::Time;

use crate::ids::AccountId;
use crate::proto::route::Digest;
use crate::session::RouteLane;
use crate::sublist::Subscription;

use super::Interest;

/// How long interest is kept. The two ends of a silent cut notice it up to an interval of PINGs
/// apart, which is half a minute.
pub const GRACE: Duration = Duration::from_secs(30);
/// So many connections: of a mesh of 250 servers with the usual pool, all at once.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of kept interest. Half a million subscriptions of usual length; what is more is announced
/// anew.
const BYTES_MAX: usize = 64 << 20;
/// What an entry costs beside its texts: the entry, and what the allocator adds to two texts.
const ENTRY_BYTES: usize = size_of::<Interest>() + 32;

/// What a server wanted by a connection that was lost.
#[derive(Debug)]
pub struct Lost {
    /// The server's id.
    pub remote_id: Box<str>,
    /// What the connection was for.
    pub lane: RouteLane,
    /// Until when this means something.
    pub until: Time,
    accounts: BTreeMap<AccountId, Vec<Interest>>,
    bytes: usize,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Kept {
    lost: BTreeMap<(Box<str>, RouteLane), Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    until: Time,
    /// Nothing when there was no room for it: then it is only known that something was lost.
    lost: Option<Arc<Lost>>,
    /// Accounts that have been asked for.
    taken: BTreeSet<AccountId>,
}

impl Lost {
    /// What the server wanted, as it was taken out of the tables at `now`.
    #[must_use]
    pub fn new(remote_id: &str, lane: &RouteLane, wanted: Vec<Subscription>, now: Time) -> Self {
        let (mut accounts, mut bytes) = (BTreeMap::<_, Vec<_>>::new(), 0);
        for Subscription { account, subject, queue, weight, .. } in wanted {
            bytes += ENTRY_BYTES + subject.len() + queue.as_ref().map_or(0, |queue| queue.len());
            let interest = Interest { account, subject, queue, weight };
            accounts.entry(account).or_default().push(interest);
        }
        let (remote_id, lane, until) = (remote_id.into(), lane.clone(), now + GRACE);
        Self { remote_id, lane, until, accounts, bytes }
    }

    /// What it wanted of an account, if that has a digest.
    #[must_use]
    pub fn if_same(&self, account: AccountId, digest: &Digest) -> Option<&[Interest]> {
        let wanted = self.accounts.get(&account)?;
        // Counting is cheap, and tells most differences.
        if wanted.len() != digest.count as usize {
            return None;
        }
        let mut own = Digest::new(digest.seed);
        wanted.iter().for_each(|one| own.add(&one.subject, one.queue.as_deref(), one.weight));
        (own == *digest).then_some(wanted)
    }
}

impl Kept {
    /// A connection was lost, here or on another shard. Says whether there is room for what the server
    /// wanted.
    pub fn insert(&mut self, lost: Arc<Lost>, now: Time) -> bool {
        self.expire(now);
        let key = (lost.remote_id.clone(), lost.lane.clone());
        self.remove(&key);
        if self.lost.len() >= CONNECTIONS_MAX {
            return false;
        }
        let (until, fits) = (lost.until, self.bytes + lost.bytes <= BYTES_MAX);
        let lost = fits.then_some(lost);
        self.bytes += lost.as_ref().map_or(0, |lost| lost.bytes);
        self.lost.insert(key, Entry { until, lost, taken: BTreeSet::new() });
        fits
    }

    /// Whether such a connection was lost a short while ago; then its other end may know what was
    /// announced on it.
    #[must_use]
    pub fn was_lost(&self, remote_id: &str, lane: &RouteLane, now: Time) -> bool {
        let entry = self.lost.get(&(remote_id.into(), lane.clone()));
        entry.is_some_and(|entry| now < entry.until)
    }

    /// What was kept of a connection, for one account of it. Each is handed out once: a peer that asks
    /// again and again makes no work.
    pub fn take(
        &mut self,
        remote_id: &str,
        lane: &RouteLane,
        account: AccountId,
        now: Time,
    ) -> Option<Arc<Lost>> {
        let entry = self.lost.get_mut(&(remote_id.into(), lane.clone()))?;
        let is_due = now < entry.until && entry.taken.insert(account);
        entry.lost.clone().filter(|_| is_due)
    }

    /// Forgets what has had its time.
    pub fn expire(&mut self, now: Time) {
        let bytes = &mut self.bytes;
        self.lost.retain(|_, entry| {
            let stays = now < entry.until;
            if !stays {
                *bytes -= entry.bytes();
            }
            stays
        });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn remove(&mut self, key: &(Box<str>, RouteLane)) {
        if let Some(entry) = self.lost.remove(key) {
            self.bytes -= entry.bytes();
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.lost.as_ref().map_or(0, |lost| lost.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sublist::Owner;

    const ACCOUNT: AccountId = AccountId::GLOBAL;
    const LANE: RouteLane = RouteLane::Pool(1);

    fn subscription(subject: &str, queue: Option<&str>, weight: u32) -> Subscription {
        Subscription {
            owner: Owner::Route(3),
            account: ACCOUNT,
            weight,
            sid: Box::default(),
            subject: subject.as_bytes().into(),
            queue: queue.map(|queue| queue.as_bytes().into()),
            max: 0,
            delivered: 0,
        }
    }

    fn lost(id: &str, subjects: &[&str], now: Time) -> Arc<Lost> {
        let wanted = subjects.iter().map(|subject| subscription(subject, None, 1)).collect();
        Arc::new(Lost::new(id, &LANE, wanted, now))
    }

    fn digest(subjects: &[&str]) -> Digest {
        let mut digest = Digest::new(9);
        subjects.iter().for_each(|subject| digest.add(subject.as_bytes(), None, 1));
        digest
    }

    #[test]
    fn what_was_lost_is_handed_out_once_to_the_same_connection() {
        let (mut kept, now) = (Kept::default(), Time::ZERO);
        kept.insert(lost("A", &["a", "b"], now), now);
        assert!(kept.was_lost("A", &LANE, now));
        assert!(!kept.was_lost("B", &LANE, now), "another server");
        assert!(kept.take("B", &LANE, ACCOUNT, now).is_none());
        assert!(kept.take("A", &RouteLane::Pool(2), ACCOUNT, now).is_none(), "another connection");
        let found = kept.take("A", &LANE, ACCOUNT, now).unwrap();
        assert_eq!(found.if_same(ACCOUNT, &digest(&["b", "a"])).map(<[_]>::len), Some(2));
        assert!(kept.take("A", &LANE, ACCOUNT, now).is_none(), "a second time");
        assert!(kept.take("A", &LANE, AccountId::SYSTEM, now).is_some(), "of another account");
    }

    #[test]
    fn only_just_the_same_interest_is_the_same() {
        let lost = lost("A", &["a", "b"], Time::ZERO);
        for other in [&["a"][..], &["a", "b", "c"], &["a", "c"], &[]] {
            assert_eq!(lost.if_same(ACCOUNT, &digest(other)), None, "{other:?}");
        }
        assert_eq!(lost.if_same(AccountId::SYSTEM, &digest(&["a", "b"])), None);
        let queued = [subscription("a", Some("q"), 2)].into();
        let lost = Lost::new("A", &LANE, queued, Time::ZERO);
        for (weight, same) in [(2, true), (3, false)] {
            let mut digest = Digest::new(9);
            digest.add(b"a", Some(b"q"), weight);
            assert_eq!(lost.if_same(ACCOUNT, &digest).is_some(), same, "{weight}");
        }
    }

    #[test]
    fn what_is_kept_is_forgotten_when_the_grace_is_over() {
        let (mut kept, start) = (Kept::default(), Time::ZERO);
        kept.insert(lost("A", &["a"], start), start);
        let late = start + GRACE;
        assert!(!kept.was_lost("A", &LANE, late) && kept.take("A", &LANE, ACCOUNT, late).is_none());
        kept.expire(late);
        assert!(kept.lost.is_empty() && kept.bytes == 0);
    }

    #[test]
    fn a_connection_that_is_lost_again_takes_the_place_of_the_first_time() {
        let (mut kept, now) = (Kept::default(), Time::ZERO);
        kept.insert(lost("A", &["a"], now), now);
        kept.take("A", &LANE, ACCOUNT, now);
        kept.insert(lost("A", &["a", "b"], now), now);
        let found = kept.take("A", &LANE, ACCOUNT, now).unwrap();
        assert!(found.if_same(ACCOUNT, &digest(&["a", "b"])).is_some());
        assert_eq!(kept.bytes, found.bytes);
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let (mut kept, now) = (Kept::default(), Time::ZERO);
        let large = |id| {
            let wanted = vec![subscription(&"x".repeat(BYTES_MAX / 2), None, 1)];
            Arc::new(Lost::new(id, &LANE, wanted, now))
        };
        assert!(kept.insert(large("A"), now));
        assert!(!kept.insert(large("B"), now));
        assert!(kept.bytes <= BYTES_MAX);
        assert!(kept.was_lost("B", &LANE, now), "that it was there is known");
        assert!(kept.take("B", &LANE, ACCOUNT, now).is_none(), "but not what it wanted");
        for number in 0..2 * CONNECTIONS_MAX {
            kept.insert(lost(&number.to_string(), &["a"], now), now);
        }
        assert_eq!(kept.lost.len(), CONNECTIONS_MAX);
        kept.clear();
        assert!(kept.lost.is_empty() && kept.bytes == 0);
    }
}
