//! Several servers as one: every publish goes to a Redis stream, whose ids are the events' ids, and every server follows
//! that stream and brings what comes to its own clients.
//!
//! Two threads, each with a connection of its own: the writer stores what the routes publish, many at a time, and reports
//! this server's figures; the follower reads the stream and appends to the hub. Neither knows HTTP. While either has no
//! connection, nothing is accepted. Started by `main`, called by the routes.

mod connection;
mod entry;
mod follower;
mod report;
mod state;
mod waiting;
mod writer;

pub use connection::Address;

use crate::event::{ChannelName, EventId, EventName};
use crate::hub::{Hub, LastId, Published, Refusal};
use crate::stats::Histogram;
use crossbeam_channel::Sender;
use report::Reports;
use serde_json::Value;
use state::State;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use waiting::{Slot, Waiting};
use writer::{Job, Publication};

/// How long a publisher waits for its answer. The timeouts of a connection end it earlier; this is for the case that a
/// thread is held up.
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
    /// Messages to keep in the stream.
    keep: AtomicUsize,
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
            waiting: Waiting::new(),
            reports: Reports::default(),
            keep: AtomicUsize::new(follower::LEAST_KEPT),
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

    /// Publishes messages to one channel. When this returns, Redis has stored all of them, and this server's own
    /// subscribers and history have them, too, unless its follower is held up.
    ///
    /// # Errors
    /// The refusal; nothing was published, but see `Refusal::Unconfirmed`.
    pub fn publish(
        &self,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        let hub = &self.shared.hub;
        hub.prepare(channel)?;
        if !self.is_connected() {
            return Err(Refusal::RedisAway);
        }
        let count = messages.len();
        let slot = Arc::new(Slot::new());
        let publication = Publication {
            channel: channel.clone(),
            event_name: event_name.cloned(),
            messages,
            slot: slot.clone(),
        };
        self.send(Job::Publish(publication))?;
        let (first, last) = slot.wait(ANSWER_TIME)?;
        hub.counters().published.add(count as u64);
        Ok(Published {
            first,
            last,
            count,
            clients: hub.clients_of(channel),
        })
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
        let slot = Arc::new(Slot::new());
        if self.send(Job::AskNewest(slot.clone())).is_err() {
            return true;
        }
        match slot.wait(ANSWER_TIME) {
            Ok((_, newest)) if id > newest => false,
            Ok(_) => {
                let arrived = Arc::new(Slot::new());
                self.shared.waiting.wait_for(id, &arrived);
                let _ = arrived.wait(CATCH_UP_TIME);
                true
            }
            Err(_) => true,
        }
    }

    fn send(&self, job: Job) -> Result<(), Refusal> {
        // The writer is there for as long as the process is.
        self.jobs.send(job).map_err(|_| Refusal::RedisAway)
    }

    /// Takes this server out of the others' statistics.
    pub fn leave(&self, bound: Duration) {
        let slot = Arc::new(Slot::new());
        if self.is_connected() && self.send(Job::Leave(slot.clone())).is_ok() {
            let _ = slot.wait(bound);
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
