//! Clients are checked again when a reload has changed who may log in.
//!
//! Whose password has to be hashed for that goes on until it is known to be wrong: nearly all are
//! right, and to hold them would stop their messages for as long as the hashes of all others take.
//! One hash is under way at a time, so that log-ins get their turn; its outcome holds for all clients
//! that show the same password.

use std::time::Duration;

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use crate::auth::{Authenticator, HashJob, Standing};
use crate::close::CloseReason;
use crate::outbound::Closing;
use crate::session::Phase;

use super::timers::Timer;
use super::{Engine, Errand};

/// So long log-ins go first when they take all the hashing there is.
const STEP_BACK: Duration = Duration::from_millis(100);

/// Clients whose passwords are to be hashed.
pub(super) struct Rechecks {
    /// By their links' slots.
    waiting: HashMap<u32, HashJob, FixedState>,
    /// A hash is being computed, or it is to be tried again when the timer is due.
    is_busy: bool,
}

impl Rechecks {
    pub(super) fn new(seed: u64) -> Self {
        Self { waiting: HashMap::with_hasher(FixedState::with_seed(seed)), is_busy: false }
    }

    /// The client is gone, or shows something else.
    pub(super) fn forget(&mut self, index: u32) {
        self.waiting.remove(&index);
    }
}

impl Engine {
    /// Others may log in than `earlier`. Who has not logged in yet is checked when it does.
    pub(super) fn recheck_clients(&mut self, earlier: &Authenticator) {
        let open: Vec<u32> = self
            .links
            .iter()
            .filter(|(_, link)| link.closing == Closing::No)
            .map(|(index, _)| index)
            .collect();
        for index in open {
            if let Some(client) = self.clients[index as usize].as_deref()
                && client.phase == Phase::Open
            {
                let auth = &self.options.auth;
                let standing = auth.recheck(earlier, &client.credentials(), client.account);
                self.settle_standing(index, standing);
            }
        }
        if !self.rechecks.is_busy {
            self.recheck_next();
        }
    }

    /// Hashes the next password.
    pub(super) fn recheck_next(&mut self) {
        self.rechecks.is_busy = false;
        let Some(job) = self.rechecks.waiting.values().next().cloned() else { return };
        self.rechecks.is_busy = true;
        let errand = Errand::Hash { shard: self.mail.shard, token: None, job };
        if self.errands.try_send(errand).is_err() {
            let nobody = ring::Token::new(u32::MAX, 1);
            self.timers.schedule(self.now + STEP_BACK, (nobody, Timer::Recheck));
        }
    }

    /// It has turned out whether a password is right.
    pub(super) fn on_recheck(&mut self, job: &HashJob, is_right: bool) {
        let same = |(index, own): (&u32, &HashJob)| own.is_same(job).then_some(*index);
        let decided: Vec<u32> = self.rechecks.waiting.iter().filter_map(same).collect();
        for index in decided {
            let Some(job) = self.rechecks.waiting.remove(&index) else { continue };
            let standing =
                if is_right { Standing::Stays(job.into_identity()) } else { Standing::Wrong };
            self.settle_standing(index, standing);
        }
        self.recheck_next();
    }

    fn settle_standing(&mut self, index: u32, standing: Standing) {
        if !matches!(standing, Standing::Unchanged) {
            self.rechecks.forget(index);
        }
        match standing {
            Standing::Unchanged => {}
            Standing::Stays(identity) => {
                if let Some(client) = self.clients[index as usize].as_deref_mut() {
                    Self::enter(client, identity);
                }
            }
            // It is to come again, and is not told that anything was wrong.
            Standing::Moved => self.close(index, CloseReason::ClientClosed.into()),
            Standing::Wrong => self.close(index, CloseReason::AuthenticationFailure.into()),
            Standing::Hash(job) => {
                self.rechecks.waiting.insert(index, job);
            }
        }
    }
}
