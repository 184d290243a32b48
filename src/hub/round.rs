//! One round: the announcer and its helpers bring some events to all subscribers of one audience.
//!
//! A write takes some microseconds, so one thread alone would make thousands of clients wait. In a round each
//! subscriber is served by one thread, and the announcer waits for the end of a round before it begins the next: so a
//! stream's order is kept. Nobody waits for a client here.

use super::audience::Members;
use super::batch::Encoded;
use super::pace::{Pace, PaceCounts};
use super::shared::Shared;
use super::subscriber::Subscriber;
use crate::host;
use crate::locks::lock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Subscribers that a thread takes at a time: few enough that nobody waits long for the last one.
const CHUNK: usize = 16;

/// From this many subscribers on, helpers take part.
const WORTH_HELP: usize = 64;

/// Beyond this number of helpers the system's own work for the network is the limit.
const MOST_HELPERS: usize = 3;

/// How often the announcer checks whether a round has ended, if nobody wakes it.
const LOOK: Duration = Duration::from_millis(1);

/// Shared by the announcer and its helpers until all subscribers are served.
#[derive(Debug)]
pub(super) struct Round {
    shared: Arc<Shared>,
    subscribers: Members,
    encoded: Arc<Encoded>,
    in_flight: Arc<AtomicUsize>,
    now_ms: u64,
    /// The first subscriber that nobody has taken yet.
    next: AtomicUsize,
    /// Subscribers that are still to be served.
    left: AtomicUsize,
    /// How the subscribers keep up. Held for a line, once per chunk.
    counts: Mutex<PaceCounts>,
    announcer: Thread,
}

impl Round {
    pub(super) fn new(
        shared: &Arc<Shared>,
        subscribers: &Members,
        encoded: &Arc<Encoded>,
        in_flight: &Arc<AtomicUsize>,
        now_ms: u64,
    ) -> Round {
        Round {
            shared: shared.clone(),
            subscribers: subscribers.clone(),
            encoded: encoded.clone(),
            in_flight: in_flight.clone(),
            now_ms,
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(subscribers.len()),
            counts: Mutex::new(PaceCounts::default()),
            announcer: std::thread::current(),
        }
    }

    /// Serves subscribers until all are taken.
    fn serve(&self) {
        loop {
            let first = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(rest) = self.subscribers.get(first..).filter(|r| !r.is_empty()) else {
                return;
            };
            let chunk = &rest[..rest.len().min(CHUNK)];
            let mut counts = PaceCounts::default();
            for subscriber in chunk {
                match self.send(subscriber) {
                    Some(Pace::TooSlow) => self.shared.cut_as_slow(subscriber),
                    Some(pace) => counts.count(pace),
                    None => {}
                }
            }
            lock(&self.counts).add(&counts);
            if self.left.fetch_sub(chunk.len(), Ordering::AcqRel) == chunk.len() {
                self.announcer.unpark();
            }
        }
    }

    fn send(&self, subscriber: &Subscriber) -> Option<Pace> {
        let Subscriber {
            joined_after,
            newest,
            form,
            ..
        } = *subscriber;
        let batch = self
            .encoded
            .batch_for(joined_after, newest, form, &self.in_flight)?;
        let limit = self.shared.limits.client_queue;
        Some(subscriber.send(batch, limit, self.now_ms, &self.shared.counters))
    }
}

/// The announcer's helpers: threads that take part in large rounds. They end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    current: Arc<CurrentRound>,
    /// Their number; unknown until they are needed.
    count: OnceLock<usize>,
}

impl Helpers {
    /// Runs a round to its end, and returns how its subscribers keep up.
    pub(super) fn run(&self, round: Round) -> PaceCounts {
        let round = Arc::new(round);
        let is_shared = round.subscribers.len() >= WORTH_HELP && self.count() > 0;
        if is_shared {
            self.current.set(Some(round.clone()));
        }
        round.serve();
        if is_shared {
            while round.left.load(Ordering::Acquire) > 0 {
                std::thread::park_timeout(LOOK);
            }
            self.current.set(None);
        }
        let counts = std::mem::take(&mut *lock(&round.counts));
        counts
    }

    fn count(&self) -> usize {
        *self.count.get_or_init(|| self.start())
    }

    /// Starts one for each core but the announcer's own, as far as the system can start threads.
    fn start(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start_one = |_: &usize| {
            let current = self.current.clone();
            host::start("helper", move || current.help()).is_ok()
        };
        (1..cores.min(MOST_HELPERS + 1)).filter(start_one).count()
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        lock(&self.current.state).is_over = true;
        self.current.changed.notify_all();
    }
}

/// The round that helpers take part in.
#[derive(Debug, Default)]
struct CurrentRound {
    /// Held for a few lines.
    state: Mutex<CurrentState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CurrentState {
    /// Counts the rounds, so that each helper takes part in each once.
    number: u64,
    round: Option<Arc<Round>>,
    is_over: bool,
}

impl CurrentRound {
    fn set(&self, round: Option<Arc<Round>>) {
        let mut state = lock(&self.state);
        let is_news = round.is_some();
        state.number += u64::from(is_news);
        let before = std::mem::replace(&mut state.round, round);
        drop(state);
        drop(before);
        if is_news {
            self.changed.notify_all();
        }
    }

    fn help(&self) {
        let mut seen = 0;
        while let Some(round) = self.next(&mut seen) {
            round.serve();
        }
    }

    /// Waits for a round that was not seen yet; `None` when no more will come.
    fn next(&self, seen: &mut u64) -> Option<Arc<Round>> {
        let mut state = lock(&self.state);
        loop {
            if state.is_over {
                return None;
            }
            if state.number != *seen {
                *seen = state.number;
                if let Some(round) = &state.round {
                    return Some(round.clone());
                }
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
