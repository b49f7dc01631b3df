//! The servers of the cluster that were heard of.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::Time;

/// Servers that are remembered: some times more than a full mesh can have.
const PEERS_MAX: usize = 1024;
/// A server that was not heard of for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// When each was last heard of, by id.
    heard: BTreeMap<String, Time>,
}

impl Peers {
    /// A server was heard of; says whether it is new.
    pub(super) fn hear(&mut self, id: &str, now: Time) -> bool {
        if let Some(at) = self.heard.get_mut(id) {
            *at = now;
            return false;
        }
        if self.heard.len() >= PEERS_MAX {
            self.forget_silent(now);
        }
        if self.heard.len() >= PEERS_MAX {
            return false;
        }
        self.heard.insert(id.to_owned(), now);
        true
    }

    /// A server is gone.
    pub(super) fn leave(&mut self, id: &str) {
        self.heard.remove(id);
    }

    /// Servers that are silent for long are gone, too.
    pub(super) fn forget_silent(&mut self, now: Time) {
        self.heard.retain(|_, at| now.since(*at) < SILENCE_MAX);
    }

    /// How many others there are.
    pub(super) fn len(&self) -> usize {
        self.heard.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_silent_for_long_is_gone() {
        let mut peers = Peers::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert!(peers.hear("A", at(0)) && peers.hear("B", at(0)) && !peers.hear("A", at(100)));
        peers.forget_silent(at(200));
        assert_eq!(peers.len(), 1);
        peers.leave("A");
        assert_eq!(peers.len(), 0);
    }

    #[test]
    fn so_many_servers_are_remembered_and_no_more() {
        let mut peers = Peers::default();
        for number in 0..2 * PEERS_MAX {
            peers.hear(&number.to_string(), Time::ZERO);
        }
        assert_eq!(peers.len(), PEERS_MAX);
    }
}
