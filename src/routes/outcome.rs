//! What a request comes to, for the server to bring to its client.

use super::addresses::AddressPlace;
use super::connected::ListedClient;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::hub::Subscription;
use std::time::Instant;

/// What a request comes to.
#[derive(Debug)]
pub enum Outcome {
    /// An answer.
    Reply(Reply),
    /// An event stream, from here on, or something else that waits for messages.
    Stream(Box<Stream>),
    /// An answer that is not there yet.
    Later(Later),
    /// Something that waits for somebody, and must not do so on a thread that others need.
    Waiting(Waiting),
    /// The body is needed, if it is no larger than this. Then the request has to come again, with it.
    ReadBody(usize),
}

/// The rest of the work on a request that has to wait for room or for another server.
pub struct Waiting(Box<dyn FnOnce() -> Outcome + Send>);

impl Waiting {
    pub(super) fn new(work: impl FnOnce() -> Outcome + Send + 'static) -> Waiting {
        Waiting(Box::new(work))
    }

    /// Waits, and finishes the work. What comes of it waits no more.
    pub fn finish(self) -> Outcome {
        (self.0)()
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting(…)")
    }
}

/// What takes an answer to its client, from whatever thread, without waiting.
pub type Answer = Box<dyn FnOnce(Reply) + Send>;

/// An answer that comes when somebody else has done something, so that no thread has to wait for it.
pub struct Later(Box<dyn FnOnce(Answer) + Send>);

impl Later {
    pub(super) fn new(begin: impl FnOnce(Answer) + Send + 'static) -> Later {
        Later(Box::new(begin))
    }

    /// Begins the work, which ends with a call of `answer`.
    pub fn begin(self, answer: Answer) {
        (self.0)(answer);
    }

    pub(super) fn with_all(self, headers: Vec<(&'static str, String)>) -> Later {
        Later::new(move |answer| {
            self.begin(Box::new(move |reply| answer(reply.with_all(headers))));
        })
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later(…)")
    }
}

/// An event stream that is ready to begin, or what a client waits for in the same way.
#[derive(Debug)]
pub struct Stream {
    /// The answer's head.
    pub head: Reply,
    /// What to write.
    pub subscription: Subscription,
    /// What the log calls the one who reads it.
    pub kind: &'static str,
    /// Heartbeats are events, not comments.
    pub heartbeat_is_event: bool,
    /// It is one answer, with what has come when something has come; at this moment with nothing.
    pub answer_by: Option<Instant>,
    /// Its place among the streams of its client's address, if those are limited.
    pub place: Option<AddressPlace>,
    /// Its line in the list of clients, unless it is a watcher.
    pub listed: Option<ListedClient>,
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Outcome {
        Outcome::Reply(problem.into())
    }
}
