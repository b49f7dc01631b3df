//! Interest that outlives the connection it came by, for a short while.
//!
//! When a connection to another Ringmesh is lost, what was known of that server is taken out of the
//! tables, kept, and shown to all shards. Who has lost a connection supposes that the other end has
//! kept, too: when it comes back, it says for each account the digest of what it wants instead of all
//! of it. Where the other end has kept just that, it is put into force at this place of the stream, and
//! what changes afterwards follows in order. Where not, the other end asks for it.
//!
//! Nothing depends on both ends supposing the same: a digest that nobody expected is answered with a
//! question, interest that nobody needed changes nothing. Invariant: what is in force is what the other
//! end has announced, be it in one line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ring::Token;

use crate::ids::AccountId;
use crate::mailbox::Letter;
use crate::proto::route::{Digest, RouteError, digest_len_max, encode_differs, encode_digest};
use crate::router::{Lost, Want};
use crate::session::{Registration, Route};
use crate::sublist::{Owner, Subscription};

use super::routes::crosses;
use super::timers::Timer;
use super::{End, Engine};

/// Timers that belong to no connection have a token that names none.
const NOBODY: Token = Token::new(u32::MAX, 1);

impl Engine {
    /// Keeps what a server wanted by a connection that has just ended, where both know how to go on
    /// from there.
    pub(super) fn keep_interest(&mut self, route: &Route, wanted: Vec<Subscription>) {
        let Some(registration) = keeping(route).filter(|_| !self.ending) else { return };
        let count = wanted.len();
        let lost = Lost::new(&registration.remote_id, &registration.lane, wanted, self.now);
        let lost = Arc::new(lost);
        self.mail.post_all(self.mail.others(), || Letter::Lost(Arc::clone(&lost)));
        if self.note_lost(lost) {
            self.counters.interest_kept += count as u64;
            let (peer, rid) = (route.peer, route.rid);
            tracing::debug!(
                "{peer} - rid:{rid} - Interest in {count} subjects is kept for a while"
            );
        }
    }

    /// A connection was lost, here or on another shard. Says whether what the server wanted is kept.
    pub(super) fn note_lost(&mut self, lost: Arc<Lost>) -> bool {
        if lost.until <= self.now {
            return false;
        }
        self.timers.schedule(lost.until, (NOBODY, Timer::Grace));
        self.kept.insert(lost, self.now)
    }

    /// What was kept has had its time.
    pub(super) fn grace_due(&mut self) {
        self.kept.expire(self.now);
    }

    /// Whether the server at the other end of a connection that is being registered may have kept
    /// what it knew.
    pub(super) fn may_be_kept(&self, route: &Route) -> bool {
        keeping(route).is_some_and(|registration| {
            self.kept.was_lost(&registration.remote_id, &registration.lane, self.now)
        })
    }

    /// Tells a server for each account the digest of everything that is wanted here.
    pub(super) fn tell_digests(&mut self, index: u32, route: &mut Route) {
        let seed = self.random.u128(..);
        let mut digests = BTreeMap::<AccountId, Digest>::new();
        let import = &self.options.routes.import;
        for (want, sum) in self.wanted.iter().filter(|(want, _)| crosses(route, import, want)) {
            let digest = digests.entry(want.account).or_insert_with(|| Digest::new(seed));
            digest.add(want.subject, want.queue, sum.all());
        }
        let Some((link, pool)) = self.links.writer(index) else { return };
        for (account, digest) in digests {
            let name = self.options.accounts.name(account).as_bytes();
            let name = link.names_accounts.then_some(name);
            let room = digest_len_max(name);
            link.control_queue().write(pool, room, |out| encode_digest(out, name, &digest));
            route.summed_up.insert(account);
        }
    }

    /// Another server wants what it wanted before, if that has this digest.
    pub(super) fn on_same_interest(
        &mut self,
        index: u32,
        route: &mut Route,
        named: Option<&[u8]>,
        digest: &Digest,
    ) -> Result<(), End> {
        let Some(Registration { remote_id, lane, .. }) = keeping(route) else {
            return Err(RouteError::UnknownOperation.into());
        };
        // An account that is not known here has no clients here either.
        let Some(account) = self.account_of(route, named) else { return Ok(()) };
        let lost = self.kept.take(remote_id, lane, account, self.now);
        let export = &self.options.routes.export;
        let same = lost.as_deref().and_then(|lost| lost.if_same(account, digest));
        // Another shard may have lost it by rules that held there a moment longer.
        let same = same.filter(|same| same.iter().all(|one| export.permits(&one.subject)));
        route.active_at = self.now;
        let Some(same) = same else {
            self.write(index, |out| encode_differs(out, named));
            return Ok(());
        };
        for interest in same {
            self.put_in_force(index, route, interest.want(), interest.weight);
        }
        self.counters.interest_restored += same.len() as u64;
        let (peer, rid, count) = (route.peer, route.rid, same.len());
        tracing::debug!("{peer} - rid:{rid} - Interest in {count} subjects is in force again");
        Ok(())
    }

    /// So many want something behind a route now.
    pub(super) fn put_in_force(
        &mut self,
        index: u32,
        route: &mut Route,
        want: Want<'_>,
        weight: u32,
    ) {
        let before = self.router.set_interest(Owner::Route(index), want, weight);
        route.note_interest(before, weight);
        self.announce_for_routes(want, weight.cast_signed().wrapping_sub(before.cast_signed()));
        route.touched_shards = self.mail.others();
    }

    /// Another server has not kept what this one wants: it will be told all of it when the turn ends.
    ///
    /// PINGs that are under way prove nothing any more of what was wanted before them.
    pub(super) fn on_different_interest(
        &mut self,
        index: u32,
        route: &mut Route,
        named: Option<&[u8]>,
    ) -> Result<(), End> {
        if keeping(route).is_none() {
            return Err(RouteError::UnknownOperation.into());
        }
        let Some(account) = self.account_of(route, named) else { return Ok(()) };
        // Once for each digest: a peer that asks again and again makes no work.
        if !route.summed_up.remove(&account) {
            return Ok(());
        }
        if route.asked_for.is_empty() {
            self.asked.push(index);
        }
        route.asked_for.insert(account);
        for ping in route.pings.iter_mut().filter(|ping| !ping.is_void) {
            if let Some(round) = ping.round {
                ping.is_void = true;
                route.rounds_again.push(round);
            }
        }
        Ok(())
    }

    /// Tells servers what they asked for in this turn: one walk through the table for all accounts.
    pub(super) fn answer_asked(&mut self) {
        for index in std::mem::take(&mut self.asked) {
            let Some(mut route) = self.routes.remove(&index) else { continue };
            let accounts: BTreeSet<AccountId> = std::mem::take(&mut route.asked_for);
            self.tell_everything(index, &route, |account| accounts.contains(&account));
            let rounds = std::mem::take(&mut route.rounds_again);
            self.routes.insert(index, route);
            for round in rounds {
                self.ping_route(index, Some(round));
            }
        }
    }
}

/// What a connection became, if both its ends keep interest.
fn keeping(route: &Route) -> Option<&Registration> {
    route.registration.as_deref().filter(|registration| registration.keeps_interest)
}
