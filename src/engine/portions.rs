//! Changes of interest, so many in a turn.
//!
//! One is done in a microsecond or three, but a peer says a hundred thousand of them at once, or leaves
//! as many subscriptions behind. A turn makes a bounded number, and what is left is for the next ones:
//! whoever else has something to say is heard in between. What is rare is still done in one turn: all
//! subscriptions of a client that says CONNECT again, and what a reload or a digest changes.
//!
//! Invariant: each session is heard in the order in which it speaks, and goes on by one change a turn at
//! least; as much is taken out of the tables as comes in, while something is left to be taken out; a
//! connection's slot is not free before its last subscription is out of the tables.

use std::collections::VecDeque;

use ring::Token;

use crate::session::{Client, Hold, Route};
use crate::sublist::{Owner, Subscription};

use super::Engine;

/// What is left of this turn's portion, and for whom it was not enough.
#[derive(Default)]
pub(super) struct Portions {
    /// Changes that this turn may still make.
    left: usize,
    /// Changes that sessions have made in this turn.
    made: usize,
    /// Sessions whose bytes wait for the next turn.
    spent: VecDeque<Token>,
    /// Connections with subscriptions that are still to be taken out.
    departures: VecDeque<Departure>,
}

/// The end of a connection's interest.
pub(super) struct Departure {
    index: u32,
    /// Subscriptions that are still in the tables.
    ids: Vec<u32>,
    who: Departed,
}

/// Whose connection has ended.
pub(super) enum Departed {
    /// A client's.
    Client(Box<Client>),
    /// Another server's.
    Route {
        /// Its session.
        route: Box<Route>,
        /// What it wanted, as far as it is out of the tables.
        forgotten: Vec<Subscription>,
    },
}

impl Portions {
    /// Whether nothing is left for another turn.
    pub(super) fn is_empty(&self) -> bool {
        self.spent.is_empty() && self.departures.is_empty()
    }

    /// Subscriptions of other servers that are still to be taken out.
    pub(super) fn departing_foreign(&self) -> usize {
        let is_route = |it: &&Departure| matches!(it.who, Departed::Route { .. });
        self.departures.iter().filter(is_route).map(|departure| departure.ids.len()).sum()
    }

    /// Counts a session's change; says whether it was the last of this turn's portion, or beyond it.
    fn spend(&mut self) -> bool {
        self.made += 1;
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

impl Engine {
    /// A client has said something of its interest: with the portion spent, the rest of what it says is
    /// for the next turn.
    pub(super) fn count_change_by_client(&mut self, index: u32, client: &mut Client) {
        if self.portions.spend() {
            client.hold = Some(Box::new(Hold::Turn));
            self.portions.spent.push_back(self.links.token(index));
        }
    }

    /// As [`count_change_by_client`](Self::count_change_by_client), of another server.
    pub(super) fn count_change_by_route(&mut self, index: u32, route: &mut Route) {
        if self.portions.spend() {
            route.spent = true;
            self.portions.spent.push_back(self.links.token(index));
        }
    }

    /// A turn begins, with a portion of its own: those go on for whom the last one was not enough.
    pub(super) fn begin_portion(&mut self) {
        let made = std::mem::take(&mut self.portions.made);
        self.portions.left = self.options.changes_a_turn;
        if self.portions.is_empty() {
            return;
        }
        // Those who stay have the other half. What leaves does not fall behind what comes, however many
        // sessions there are.
        let mut most = (self.portions.left / 2).max(made).max(1);
        while most > 0
            && let Some(mut departure) = self.portions.departures.pop_front()
        {
            most -= self.take_out(&mut departure, most);
            if departure.ids.is_empty() {
                self.conclude(departure);
            } else {
                self.portions.departures.push_back(departure);
            }
        }
        for _ in 0..self.portions.spent.len() {
            let Some(token) = self.portions.spent.pop_front() else { break };
            if !self.links.is_live(token) {
                continue;
            }
            if let Some(route) = self.routes.get_mut(&token.index) {
                route.spent = false;
                self.resume_route(token.index);
            } else {
                self.resume(token.index);
            }
        }
    }

    /// Takes a connection's subscriptions out of the tables: at once, if they are not many.
    pub(super) fn depart(&mut self, index: u32, ids: Vec<u32>, who: Departed) {
        let mut departure = Departure { index, ids, who };
        self.take_out(&mut departure, self.portions.left.max(1));
        if departure.ids.is_empty() {
            return self.conclude(departure);
        }
        if let Some(link) = self.links.at_mut(index) {
            link.departing = true;
        }
        self.portions.departures.push_back(departure);
    }

    /// Takes some subscriptions out, and says how many.
    fn take_out(&mut self, departure: &mut Departure, most: usize) -> usize {
        let Departure { index, ids, who } = departure;
        let some = ids.len().min(most);
        self.portions.left = self.portions.left.saturating_sub(some);
        for id in ids.drain(ids.len() - some..) {
            let Some(subscription) = self.router.unsubscribe(id) else { continue };
            match who {
                Departed::Client(client) => {
                    debug_assert!(subscription.owner == Owner::Client(*index));
                    self.trace_ended(client, &subscription.sid);
                    self.tallies.of(subscription.account).subscriptions -= 1;
                    self.announce(subscription.want(), -1);
                }
                Departed::Route { forgotten, .. } => {
                    debug_assert!(subscription.owner == Owner::Route(*index));
                    let weight = subscription.weight.cast_signed();
                    self.announce_for_routes(subscription.want(), -weight);
                    forgotten.push(subscription);
                }
            }
        }
        some
    }

    /// Nothing of a connection is left in the tables.
    fn conclude(&mut self, departure: Departure) {
        if let Departed::Route { route, forgotten } = departure.who {
            self.keep_interest(&route, forgotten);
        }
        if let Some(link) = self.links.at_mut(departure.index)
            && std::mem::take(&mut link.departing)
        {
            self.advance_closing(departure.index, false);
        }
    }
}
