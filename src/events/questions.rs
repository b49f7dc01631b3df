//! Questions whose answers have not come, and what they are for.
//!
//! So many are asked at one time, so many wait for their turn, and what comes on top is not answered:
//! a flood of requests costs the server a bounded share of its time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::{Action, Question};
use crate::ids::AccountId;

/// Questions of others that are asked at one time.
const RUNNING_MAX: usize = 8;
/// Questions of others that wait for their turn: some tools that ask for everything at once.
const WAITING_MAX: usize = 256;
/// Requests that one answer serves.
const SHARED_MAX: usize = 256;

/// Where an answer goes, in the system account.
pub(super) type ReplyTo = Box<[u8]>;

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To tell everybody how the server is.
    Heartbeat,
    /// To tell so many how the server is.
    Statistics(Vec<ReplyTo>),
    /// It is the data of the answer to a request.
    Data(ReplyTo),
    /// Whether clients can be served; with the code if they cannot.
    Health { reply: ReplyTo, code: u16 },
    /// Whether something was done; nobody may want to know.
    Done(Option<ReplyTo>),
    /// To tell everybody how many clients these accounts have, and all that have any.
    Counts { accounts: BTreeSet<AccountId>, all: bool },
    /// To tell one how many clients an account has.
    Count { reply: ReplyTo, account: AccountId },
    /// What the clients of accounts do; without any, nobody is told.
    AccountStats(ReplyTo),
    /// What is known of an account, without what stands around it.
    AccountDetail(ReplyTo),
    /// How many subscriptions a subject matches.
    Subscribers(ReplyTo),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Questions {
    running: BTreeMap<u64, Purpose>,
    waiting: VecDeque<(Question, Purpose)>,
    last: u64,
}

impl Questions {
    /// Asks for somebody else, when it is the question's turn.
    pub(super) fn ask(&mut self, what: Question, purpose: Purpose, out: &mut Vec<Action>) {
        if self.running.len() < RUNNING_MAX {
            self.ask_now(what, purpose, out);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((what, purpose));
        }
    }

    /// Asks for the server's own sake, which waits for nobody.
    pub(super) fn ask_now(&mut self, what: Question, purpose: Purpose, out: &mut Vec<Action>) {
        self.last += 1;
        self.running.insert(self.last, purpose);
        out.push(Action::Ask { question: self.last, what });
    }

    /// What an answer is for; the next question has its turn.
    pub(super) fn answered(&mut self, question: u64, out: &mut Vec<Action>) -> Option<Purpose> {
        let purpose = self.running.remove(&question)?;
        while self.running.len() < RUNNING_MAX
            && let Some((what, purpose)) = self.waiting.pop_front()
        {
            self.ask_now(what, purpose, out);
        }
        Some(purpose)
    }

    /// Has a request share an answer that is under way; says whether there is one.
    pub(super) fn share_statistics(&mut self, reply: &[u8]) -> bool {
        let waiting = self.waiting.iter_mut().map(|(_, purpose)| purpose);
        for purpose in self.running.values_mut().chain(waiting) {
            if let Purpose::Statistics(replies) = purpose {
                if replies.len() < SHARED_MAX {
                    replies.push(reply.into());
                }
                return true;
            }
        }
        false
    }

    /// Whether the server itself has asked how it is, and has no answer.
    pub(super) fn is_measuring(&self) -> bool {
        self.running.values().any(|purpose| matches!(purpose, Purpose::Heartbeat))
    }

    /// Whether the server itself has asked for its accounts' clients, and has no answer.
    pub(super) fn is_counting(&self) -> bool {
        self.running.values().any(|purpose| matches!(purpose, Purpose::Counts { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_asked_so_many_wait_and_no_more() {
        let (mut questions, mut out) = (Questions::default(), Vec::new());
        for _ in 0..2 * WAITING_MAX {
            let purpose = Purpose::Data(b"R".as_slice().into());
            questions.ask(Question::Accounts, purpose, &mut out);
        }
        assert_eq!(out.len(), RUNNING_MAX);
        for question in 1..=RUNNING_MAX + WAITING_MAX {
            assert!(questions.answered(question as u64, &mut out).is_some());
        }
        assert_eq!(out.len(), RUNNING_MAX + WAITING_MAX);
        assert!(questions.answered(1, &mut out).is_none());
    }

    #[test]
    fn requests_share_an_answer_that_is_under_way() {
        let (mut questions, mut out) = (Questions::default(), Vec::new());
        assert!(!questions.share_statistics(b"A"));
        let purpose = Purpose::Statistics(vec![b"A".as_slice().into()]);
        questions.ask(Question::Statistics, purpose, &mut out);
        for _ in 0..2 * SHARED_MAX {
            assert!(questions.share_statistics(b"B"));
        }
        let Some(Purpose::Statistics(replies)) = questions.answered(1, &mut out) else {
            panic!("a purpose")
        };
        assert_eq!((replies.len(), out.len()), (SHARED_MAX, 1));
    }
}
