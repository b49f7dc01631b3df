//! The server's own part in its messages: what it wants and what it publishes.
//!
//! The control plane is to the shard that serves it what a client is, without a socket.

use ring::Time;

use crate::ids::AccountId;
use crate::router::{Message, Origin, Want};
use crate::sublist::{Owner, Subscription};

use super::{Engine, Notice, imports};

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

impl Engine {
    pub(super) fn on_internal_order(&mut self, order: InternalOrder) {
        match order {
            InternalOrder::Subscribe { id, account, subject, queue } => {
                let want = Want { account, subject: &subject, queue: queue.as_deref() };
                self.announce(want, 1);
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
                self.publish_internal(&message);
            }
        }
    }

    /// Delivers a message of the server's own.
    pub(super) fn publish_internal(&mut self, message: &Message<'_>) {
        let delivery = self.router.deliver(&mut self.links, message);
        self.count_out(delivery, message.body.len() - 2);
        if delivery.remote {
            self.post_to_shards(NOBODY, message);
        }
        while let Some(id) = self.router.exhausted.pop() {
            self.end_exhausted(None, id);
        }
        self.hand_over_inbox();
        debug_assert!(self.now > Time::ZERO, "the engine has turned");
    }

    /// Hands what the server itself wanted to the control plane.
    pub(super) fn hand_over_inbox(&mut self) {
        if !self.router.inbox.is_empty() {
            let mut inbox = std::mem::take(&mut self.router.inbox);
            for answer in inbox.extract_if(.., |one| one.subscription == imports::ANSWERS) {
                self.answer_import(&answer);
            }
            if !inbox.is_empty() {
                self.notify(Notice::Deliveries(inbox));
            }
        }
    }
}

/// In place of a publisher: a token that names no link.
const NOBODY: ring::Token = ring::Token::new(u32::MAX, 2);
