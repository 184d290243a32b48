//! The cluster as the routes and `main` see it.

use super::address::Address;
use super::answers::{Stored, Then};
use super::lot::{Job, Publication};
use super::shared::ClusterShared;
use super::{follower, system, writer};
use crate::counters::Histogram;
use crate::event::{ChannelName, EventId, EventName};
use crate::hub::{Hub, LastId, Published, Refusal};
use crate::idempotency::Attempt;
use crate::waiting::WaitingBytes;
use crossbeam_channel::{Sender, TrySendError};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a question to Redis may take. The timeouts of a connection end it earlier; this is for the case that a thread
/// is held up.
const ANSWER_TIME: Duration = Duration::from_secs(4);

/// How long a client that comes back with an id from another server waits until this server has come so far.
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// The writer and the follower, and what they know.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<ClusterShared>,
    jobs: Sender<Job>,
    /// Messages that the writer has, or is to get.
    waiting_bytes: WaitingBytes,
}

impl Cluster {
    /// Starts both threads. Does not wait for Redis.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(address: Address, hub: Arc<Hub>, name: String) -> std::io::Result<Arc<Cluster>> {
        let shared = Arc::new(ClusterShared::new(address, hub, name));
        follower::start(shared.clone())?;
        let jobs = writer::start(shared.clone())?;
        Ok(Arc::new(Cluster {
            shared,
            jobs,
            waiting_bytes: WaitingBytes::default(),
        }))
    }

    /// Waits until both connections stand and the history is here, at most so long. Whether that is so.
    pub fn wait_until_connected(&self, bound: Duration) -> bool {
        self.shared.state.wait_until_up(bound)
    }

    /// Whether both connections stand.
    pub fn is_connected(&self) -> bool {
        self.shared.state.is_up()
    }

    /// Publishes messages to one channel, and calls `then` with what came of it: when Redis has stored all of them, and
    /// this server's own subscribers and history have them, too. Never waits. `then` is called
    /// once, and must not wait for anybody. With an `attempt` they are published once, whichever server is asked, and how
    /// often. A refusal means that nothing was published, but see `Refusal::Unconfirmed`.
    pub fn publish(
        &self,
        channel: ChannelName,
        event_name: Option<EventName>,
        messages: Vec<Box<str>>,
        attempt: Option<Attempt>,
        then: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        let hub = &self.shared.hub;
        if !self.is_connected() {
            return then(Err(self.shared.state.refusal()));
        }
        if let Err(refusal) = hub.would_take(&channel, 0) {
            return then(Err(refusal));
        }
        let bytes = messages.iter().map(|message| message.len()).sum();
        let Some(waits) = self.waiting_bytes.add(bytes, system::now()) else {
            return then(Err(Refusal::RedisAway));
        };
        let count = messages.len();
        let (hub, to) = (hub.clone(), channel.clone());
        let then = Then::new(move |answer| {
            then(answer.map(|stored| {
                if !stored.is_repeated {
                    hub.counters().published.add(count as u64);
                }
                Published {
                    first: stored.first,
                    last: stored.last,
                    count,
                    clients: stored.clients.unwrap_or_else(|| hub.clients_of(&to)),
                    is_repeated: stored.is_repeated,
                }
            }));
        });
        self.send(Job::Publish(Publication {
            channel,
            event_name,
            messages,
            attempt,
            then,
            waits,
        }));
    }

    /// Whether `judge` would have to wait for Redis, or for what other servers have published.
    pub fn has_to_wait_for(&self, id: &str) -> bool {
        EventId::parse(id).is_some_and(|id| id > self.shared.hub.newest())
    }

    /// What to think of the id with which a client comes back. If another server has given it to the client, and this
    /// one has not come so far, waits for that.
    pub fn judge(&self, id: String) -> LastId {
        let may_be_ahead = EventId::parse(&id).is_some_and(|id| self.may_be_ahead(id));
        LastId { id, may_be_ahead }
    }

    fn may_be_ahead(&self, id: EventId) -> bool {
        if id <= self.shared.hub.newest() {
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
                // Late is not never: live delivery begins after the id in any case.
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
            // The writer ends when the server stops.
            Err(TrySendError::Disconnected(job)) => job.answer(Err(Refusal::Closing)),
        }
    }

    /// Takes this server out of the others' statistics, behind every publish that is under way. Nothing can be published
    /// afterwards.
    pub fn leave(&self, bound: Duration) {
        if self.is_connected() {
            // The others would notice anyway.
            let _ = wait(bound, |then| self.send(Job::Leave(then)));
        }
    }

    /// The figures of all servers that are alive, and their sums.
    pub fn statistics(&self) -> Value {
        self.shared
            .reports
            .statistics(&self.shared.name, &self.shared.hub)
    }

    /// Connections to Redis that were made again after they had been lost.
    pub fn reconnects(&self) -> u64 {
        self.shared.state.reconnects()
    }

    /// Time from sending publishes to Redis to its answer.
    pub fn round_trip(&self) -> &Histogram {
        &self.shared.round_trip
    }
}

/// Waits for an answer, at most so long.
fn wait(bound: Duration, begin: impl FnOnce(Then)) -> Result<Stored, Refusal> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    begin(Then::new(move |answer| {
        // Nobody waits any more if the time was over.
        let _ = sender.send(answer);
    }));
    system::receive(&answer, bound).unwrap_or(Err(Refusal::Unconfirmed))
}
