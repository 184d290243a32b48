//! Several servers as one: every publish goes to a Redis stream, whose ids are the events' ids, and every server follows
//! that stream and brings what comes to its own clients.
//!
//! Two threads, each with a connection of its own: the writer stores what the routes publish, many at a time, and reports
//! this server's figures; the follower reads the stream and brings what comes to the hub. (With each lot that it stores the
//! writer reads as well: so on a busy server nobody waits for the follower.) Neither knows HTTP. While either has no
//! connection, nothing is accepted. Started by `main`, called by the routes.

mod connection;
mod entry;
mod follower;
mod intake;
mod position;
mod report;
mod state;
mod waiting;
mod writer;

pub use connection::Address;

use crate::counters::Histogram;
use crate::event::{ChannelName, EventId, EventName};
use crate::hub::{Hub, LastId, Published, Refusal};
use crossbeam_channel::{Sender, TrySendError};
use entry::Entry;
use position::{Position, Stream};
use report::Reports;
use serde_json::Value;
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use waiting::{Ids, Then, Waiting};
use writer::{Job, Publication};

/// How long a question to Redis may take. The timeouts of a connection end it earlier; this is for the case that a thread
/// is held up.
const ANSWER_TIME: Duration = Duration::from_secs(4);

/// How long a client that comes back with an id from another server waits until this server has come so far.
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// See the module's comment.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
}

/// What the routes and both threads see.
#[derive(Debug)]
struct Shared {
    hub: Arc<Hub>,
    address: Address,
    /// What this server is called among the others.
    name: String,
    state: State,
    /// Publishers whose messages are stored and on their way to the hub.
    waiting: Waiting,
    reports: Reports,
    /// Guards where this server is in the stream. Whoever brings entries to the hub holds it, so they come in one order.
    position: Mutex<Position>,
    /// Time from sending publishes to Redis to its answer.
    round_trip: Histogram,
}

impl Cluster {
    /// Starts both threads. Does not wait for Redis.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(address: Address, hub: Arc<Hub>, name: String) -> std::io::Result<Arc<Cluster>> {
        let shared = Arc::new(Shared {
            state: State::new(address.to_string()),
            waiting: Waiting::default(),
            reports: Reports::default(),
            position: Mutex::default(),
            round_trip: Histogram::default(),
            hub,
            address,
            name,
        });
        follower::start(shared.clone())?;
        let jobs = writer::start(shared.clone())?;
        Ok(Arc::new(Cluster { shared, jobs }))
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
    /// once, and must not wait for anybody. A refusal means that nothing was published, but see `Refusal::Unconfirmed`.
    pub fn publish(
        &self,
        channel: ChannelName,
        event_name: Option<EventName>,
        messages: Vec<Box<str>>,
        then: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        let hub = &self.shared.hub;
        if !self.is_connected() {
            return then(Err(Refusal::RedisAway));
        }
        if let Err(refusal) = hub.would_take(&channel) {
            return then(Err(refusal));
        }
        let count = messages.len();
        let (hub, to) = (hub.clone(), channel.clone());
        let then = Then::new(move |answer| {
            then(answer.map(|(first, last)| {
                hub.counters().published.add(count as u64);
                let clients = hub.clients_of(&to);
                Published {
                    first,
                    last,
                    count,
                    clients,
                }
            }));
        });
        self.send(Job::Publish(Publication {
            channel,
            event_name,
            messages,
            then,
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
            Ok((_, newest)) if id > newest => false,
            Ok(_) => {
                let arrives = |then| self.shared.waiting.wait_for((id, id), then);
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
        self.shared.reports.statistics(&self.shared)
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
fn wait(bound: Duration, begin: impl FnOnce(Then)) -> Result<Ids, Refusal> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    begin(Then::new(move |answer| {
        // Nobody waits any more if the time was over.
        let _ = sender.send(answer);
    }));
    answer
        .recv_timeout(bound)
        .unwrap_or(Err(Refusal::Unconfirmed))
}

impl Shared {
    /// Brings entries to the hub: all that the stream has after an id that the hub had when they were asked for. Both
    /// threads do that, and may have read the same. Whether there was anything new.
    fn take(&self, mut entries: Vec<Entry>) -> bool {
        let mut position = self.position();
        position.advance(&mut entries);
        let Some(newest) = entries.last().map(|entry| entry.id) else {
            return false;
        };
        let events = entries.into_iter().filter_map(|entry| entry.event);
        self.hub.append(events.collect());
        self.hub.skip_to(newest);
        drop(position);
        self.waiting.arrived(newest);
        true
    }

    fn begin_with(&self, stream: &Stream) {
        self.position().begin_with(stream);
    }

    fn has_all_of(&self, stream: &Stream) {
        let mut position = self.position();
        position.has_all_of(stream);
        self.hub.skip_to(stream.newest);
    }

    fn find_loss(&self, stream: &Stream) -> Option<(EventId, EventId)> {
        self.position().find_loss(stream)
    }

    /// Entries to ask for.
    fn at_once(&self) -> usize {
        self.position().intake.at_once()
    }

    /// Where the stream may begin, if that has changed.
    fn keep_from(&self) -> Option<EventId> {
        let channels = self.hub.stats().active_channels;
        let limits = self.hub.limits();
        self.position().intake.keep_from(limits, channels)
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name for this server that no other has.
pub fn server_name(port_or_path: &str, random: [u8; 2]) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "server",
        host => host,
    };
    format!("{host}:{port_or_path}-{:02x}{:02x}", random[0], random[1])
}

/// Pauses between tries: 50 ms, doubled each time up to 5 s, each a half longer or shorter at random, so that the
/// servers do not all come at once.
#[derive(Debug, Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const MOST: Duration = Duration::from_secs(5);

    fn next(&mut self) -> Duration {
        let pause = Self::MOST.min(Self::FIRST * 2_u32.pow(self.tries.min(10)));
        self.tries += 1;
        // The clock's last digits: all that is needed is that servers differ.
        let jitter = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.subsec_micros() % 1000);
        pause / 2 + pause * jitter / 1000
    }

    fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Time left until `end`.
fn until(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}
