//! The server's own part in its messages: what it wants and what it publishes.
//!
//! The control plane is to the shard that serves it what a client is, without a socket.

use ring::Time;

use crate::ids::AccountId;
use crate::router::{Asker, Message, Origin, Want};
use crate::session::Client;
use crate::sublist::{Owner, Subscription};

use super::{Engine, imports};

/// What the control plane asks of the shard that serves it.
#[derive(Debug)]
pub enum InternalOrder {
    /// It wants messages.
    Subscribe {
        /// Its number for the subscription.
        id: u32,
        /// The account.
        account: AccountId,
        /// The subject, possibly with wildcards.
        subject: Box<[u8]>,
        /// The queue group to join.
        queue: Option<Box<[u8]>>,
        /// Whose messages it wants.
        scope: Scope,
    },
    /// It publishes a message.
    Publish {
        /// The account.
        account: AccountId,
        /// The subject.
        subject: Vec<u8>,
        /// Where answers go.
        reply: Option<Vec<u8>>,
        /// How many bytes of the body are headers.
        header_len: u32,
        /// Headers, payload, and a line end.
        body: Vec<u8>,
    },
}

/// Whose messages come to a subscription of the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's: other shards and other servers hear of it.
    Cluster,
    /// Those of this shard's clients. Nobody else hears of it.
    Shard,
}

impl Engine {
    pub(super) fn on_internal_order(&mut self, order: InternalOrder) {
        match order {
            InternalOrder::Subscribe { id, account, subject, queue, scope } => {
                let want = Want { account, subject: &subject, queue: queue.as_deref() };
                match scope {
                    Scope::Cluster => {
                        self.trace_own_subscription(id, want);
                        self.announce(want, 1);
                    }
                    Scope::Shard => {}
                }
                self.router.subscribe(Subscription {
                    owner: Owner::Internal(id),
                    account,
                    weight: 1,
                    sid: Box::default(),
                    subject,
                    queue,
                    max: 0,
                    delivered: 0,
                });
                self.internal_subscriptions += 1;
            }
            InternalOrder::Publish { account, subject, reply, header_len, body } => {
                let message = Message {
                    account,
                    subject: &subject,
                    reply: reply.as_deref(),
                    header_len: Some(header_len).filter(|len| *len > 0),
                    body: &body,
                    block: None,
                    origin: Origin::Internal,
                };
                self.trace_own_message(&message);
                self.publish_internal(&message);
            }
        }
    }

    /// Delivers a message of the server's own.
    pub(super) fn publish_internal(&mut self, message: &Message<'_>) {
        let delivery = self.deliver(None, message);
        if delivery.remote {
            self.post_to_shards(NOBODY, message, false);
        }
        while let Some(id) = self.router.exhausted.pop() {
            self.end_exhausted(None, id);
        }
        self.hand_over_inbox(None);
        debug_assert!(self.now > Time::ZERO, "the engine has turned");
    }

    /// Sets aside what the control plane is to get when the turn ends. All of it was published by
    /// `client`, if by a client of this shard.
    pub(super) fn hand_over_inbox(&mut self, client: Option<&Client>) {
        if self.router.inbox.is_empty() {
            return;
        }
        let mut inbox = std::mem::take(&mut self.router.inbox);
        for answer in inbox.extract_if(.., |one| one.subscription == imports::ANSWERS) {
            self.answer_import(&answer);
        }
        if let Some(client) = client {
            let user = client.about.as_ref().map(|about| about.user.clone()).unwrap_or_default();
            let asker = Asker { cid: client.cid, user };
            inbox.iter_mut().for_each(|delivered| delivered.asker = Some(asker.clone()));
        }
        self.note_deliveries(inbox);
    }
}

/// In place of a publisher: a token that names no link.
const NOBODY: ring::Token = ring::Token::new(u32::MAX, 2);
