//! The cluster as the routes and `main` see it.

use super::address::RedisAddress;
use super::answers::{Stored, Then};
use super::lot::Job;
use super::shared::ClusterShared;
use super::{follower, system, writer};
use crate::counters::Histogram;
use crate::event::EventId;
use crate::hub::{Hub, LastId, Published, Refusal};
use crate::idempotency::Publication;
use crate::waiting::WaitingBytes;
use crossbeam_channel::{Sender, TrySendError};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a question to Redis may take. The timeouts of a connection usually end it earlier; this one is for a thread
/// that is held up.
const ANSWER_TIME: Duration = Duration::from_secs(4);

/// How long a client that returns with another server's id waits until this server has that id.
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// The writer, the follower, and what they know.
pub struct Cluster {
    shared: Arc<ClusterShared>,
    jobs: Sender<Job>,
    /// Bytes of messages that the writer has, or is about to get.
    waiting_bytes: WaitingBytes,
}

impl Cluster {
    /// Starts both threads. Does not wait for Redis.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(
        address: RedisAddress,
        hub: Arc<Hub>,
        name: String,
    ) -> std::io::Result<Arc<Cluster>> {
        let shared = Arc::new(ClusterShared::new(address, hub, name));
        follower::start(shared.clone())?;
        let jobs = writer::start(shared.clone())?;
        Ok(Arc::new(Cluster {
            shared,
            jobs,
            waiting_bytes: WaitingBytes::default(),
        }))
    }

    /// Waits until both connections are up and the history is here, at most for `bound`.
    pub fn wait_until_connected(&self, bound: Duration) {
        self.shared.state.wait_until_up(bound);
    }

    /// Whether both connections are up.
    pub fn is_connected(&self) -> bool {
        self.shared.state.is_up()
    }

    /// Publishes messages, and calls `then` with the result, when Redis has stored all of them and this
    /// server's history and subscribers have them too. Never waits. `then` is called once, and must not wait. With an
    /// `attempt` the messages are published once, however often and on whichever server it is made. A refusal means
    /// that nothing was published, except for `Refusal::Unconfirmed`.
    pub fn publish(
        &self,
        publication: Publication,
        then: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        let hub = &self.shared.hub;
        if !self.is_connected() {
            return then(Err(self.shared.state.refusal()));
        }
        let place = match hub.feed().reserve(&publication.channel) {
            Ok(place) => place,
            Err(refusal) => return then(Err(refusal)),
        };
        let waits = self.waiting_bytes.add(publication.bytes(), system::now());
        let Some(waits) = waits else {
            return then(Err(Refusal::RedisAway));
        };
        let count = publication.messages.len();
        let (hub, to) = (hub.clone(), publication.channel.clone());
        let then: Then = Box::new(move |answer| {
            drop(place);
            then(answer.map(|stored| {
                if !stored.is_repeated {
                    hub.counters().published.add(count as u64);
                }
                Published {
                    first: stored.first,
                    last: stored.last,
                    count,
                    clients: stored.clients.unwrap_or_else(|| hub.feed().clients_of(&to)),
                    is_repeated: stored.is_repeated,
                }
            }));
        });
        self.send(Job::Publish(publication, then, waits));
    }

    /// Whether `judge` would have to wait for Redis, or for messages of other servers.
    pub fn has_to_wait_for(&self, id: &str) -> bool {
        EventId::parse(id).is_some_and(|id| id > self.shared.hub.feed().newest())
    }

    /// Judges the id of a returning client. If another server has given it and this one does not have it yet, waits for
    /// it.
    pub fn judge(&self, id: String) -> LastId {
        let may_be_ahead = EventId::parse(&id).is_some_and(|id| self.may_be_ahead(id));
        LastId { id, may_be_ahead }
    }

    fn may_be_ahead(&self, id: EventId) -> bool {
        if id <= self.shared.hub.feed().newest() {
            return false;
        }
        // Without Redis nobody can tell. It is judged when Redis is back.
        if !self.is_connected() {
            return true;
        }
        match wait(ANSWER_TIME, |then| self.send(Job::AskNewest(then))) {
            Ok(stream) if id > stream.last => false,
            Ok(_) => {
                let arrives = |then| self.shared.answers.wait_for(Stored::new(id, id), then);
                // A late id is no wrong one: live delivery begins after it in any case.
                let _ = wait(CATCH_UP_TIME, arrives);
                true
            }
            Err(_) => true,
        }
    }

    fn send(&self, job: Job) {
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => job.answer(Err(Refusal::RedisAway)),
            // The writer ends only when the server stops.
            Err(TrySendError::Disconnected(job)) => job.answer(Err(Refusal::Closing)),
        }
    }

    /// Removes this server from the others' statistics, after every publish under way. Nothing can be published
    /// afterwards.
    pub fn leave(&self, bound: Duration) {
        if self.is_connected() {
            // The others would notice anyway.
            let _ = wait(bound, |then| self.send(Job::Leave(then)));
        }
    }

    /// The figures of all live servers, and their sums.
    pub fn statistics(&self) -> Value {
        self.shared
            .reports
            .statistics(&self.shared.name, &self.shared.hub)
    }

    /// How often a connection to Redis was restored.
    pub fn reconnects(&self) -> u64 {
        self.shared.state.reconnects()
    }

    /// Time from sending publishes to Redis's answer.
    pub fn round_trip(&self) -> &Histogram {
        &self.shared.round_trip
    }
}

/// Waits for an answer, at most for `bound`.
fn wait(bound: Duration, begin: impl FnOnce(Then)) -> Result<Stored, Refusal> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    begin(Box::new(move |answer| {
        // Nobody waits any more once the time is over.
        let _ = sender.send(answer);
    }));
    system::receive(&answer, bound).unwrap_or(Err(Refusal::Unconfirmed))
}
