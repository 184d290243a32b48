//! What becomes of a request, for the server to send to its client.

use super::addresses::AddressPlace;
use super::connected::ListedClient;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::hub::Subscription;
use std::time::Instant;

/// What becomes of a request.
pub enum Outcome {
    /// An answer.
    Reply(Reply),
    /// From here on an event stream, or an answer that waits for messages.
    Stream(Box<Stream>),
    /// An answer that comes later.
    Later(Later),
    /// Work that has to wait, and must not do so on a thread that others need.
    Waiting(Waiting),
    /// The body is needed, up to this many bytes. The request has to be handled again, with it.
    ReadBody(usize),
}

/// The rest of a request's work, which has to wait for room or for another server.
pub struct Waiting(Box<dyn FnOnce() -> Outcome + Send>);

impl Waiting {
    pub(super) fn new(work: impl FnOnce() -> Outcome + Send + 'static) -> Waiting {
        Waiting(Box::new(work))
    }

    /// Waits, and finishes the work. The result does not wait again.
    pub fn finish(self) -> Outcome {
        (self.0)()
    }
}

/// Sends an answer to its client, from any thread, without waiting.
pub type Answer = Box<dyn FnOnce(Reply) + Send>;

/// An answer that comes when somebody else is done, so that no thread has to wait for it.
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

/// An event stream that is ready to begin, or an answer that waits for messages.
#[derive(Debug)]
pub struct Stream {
    pub head: Reply,
    /// What to write.
    pub subscription: Subscription,
    /// What the log calls its reader.
    pub kind: &'static str,
    /// Heartbeats are events, not comments.
    pub heartbeat_is_event: bool,
    /// Not a stream but one answer: it ends with the first messages, or at this moment without any.
    pub answer_by: Option<Instant>,
    /// Its place among the streams of its client's address, if these are limited.
    pub place: Option<AddressPlace>,
    /// Its entry in the list of clients, unless it is a watcher's.
    pub listed: Option<ListedClient>,
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Outcome {
        Outcome::Reply(problem.into())
    }
}
