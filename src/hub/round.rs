//! One round: some events on their way to all subscribers of one audience, by the announcer and its helpers together.
//!
//! A write to a client takes some microseconds, so for thousands of clients one thread is slower than the machine. Each
//! subscriber is served by one thread in a round, and the announcer waits for the end of a round before it begins the
//! next, so a stream's order is kept. Nobody waits for a client here. Made by the announcer.

use super::batch::Encoded;
use super::pace::{Pace, PaceCounts};
use super::subscriber::Subscriber;
use super::Hub;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// A thread takes so many subscribers at a time: few enough that nobody waits long for the last one.
const CHUNK: usize = 16;

/// So many subscribers are worth waking a helper for.
const WORTH_HELP: usize = 64;

/// Helpers at most: beyond that the system's own work for loopback or network is the limit.
const MOST_HELPERS: usize = 3;

/// How often the announcer looks whether a round has ended, if nobody wakes it.
const LOOK: Duration = Duration::from_millis(1);

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Round {
    hub: Arc<Hub>,
    subscribers: Arc<[Arc<Subscriber>]>,
    encoded: Arc<Encoded>,
    in_flight: Arc<AtomicUsize>,
    now_ms: u64,
    /// The first subscriber that nobody has taken yet.
    next: AtomicUsize,
    /// Subscribers that are still to be served.
    left: AtomicUsize,
    /// Held for a line, once a chunk.
    counts: Mutex<PaceCounts>,
    announcer: Thread,
}

impl Round {
    pub(super) fn new(
        hub: &Arc<Hub>,
        subscribers: &Arc<[Arc<Subscriber>]>,
        encoded: &Arc<Encoded>,
        in_flight: &Arc<AtomicUsize>,
        now_ms: u64,
    ) -> Round {
        Round {
            hub: hub.clone(),
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

    /// Serves subscribers for as long as there are any that nobody serves.
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
                    Some(Pace::TooSlow) => self.hub.cut_as_slow(subscriber),
                    Some(pace) => counts.count(pace),
                    None => {}
                }
            }
            self.total().add(&counts);
            if self.left.fetch_sub(chunk.len(), Ordering::AcqRel) == chunk.len() {
                self.announcer.unpark();
            }
        }
    }

    fn send(&self, subscriber: &Subscriber) -> Option<Pace> {
        let batch =
            self.encoded
                .batch_for(subscriber.joined_after, subscriber.form, &self.in_flight)?;
        let limit = self.hub.limits.client_queue;
        Some(subscriber.send(batch, limit, self.now_ms, &self.hub.counters))
    }

    fn total(&self) -> std::sync::MutexGuard<'_, PaceCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The announcer's helpers, and where they find what there is to do.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    desk: Arc<Desk>,
    /// How many there are, once they were needed.
    count: OnceLock<usize>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Held for a few lines.
    slot: Mutex<Slot>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    /// Counts the rounds, so that each helper takes each once.
    number: u64,
    round: Option<Arc<Round>>,
    is_over: bool,
}

impl Helpers {
    /// Sees a round to its end, and says how its subscribers keep up.
    pub(super) fn run(&self, round: Round) -> PaceCounts {
        let round = Arc::new(round);
        let is_shared = round.subscribers.len() >= WORTH_HELP && self.count() > 0;
        if is_shared {
            self.desk.put(Some(round.clone()));
        }
        round.serve();
        if is_shared {
            while round.left.load(Ordering::Acquire) > 0 {
                std::thread::park_timeout(LOOK);
            }
            self.desk.put(None);
        }
        let counts = std::mem::take(&mut *round.total());
        counts
    }

    fn count(&self) -> usize {
        *self.count.get_or_init(|| self.hire())
    }

    /// One for each core beside the announcer's own, as far as the system gives threads.
    fn hire(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let hire_one = |_: &usize| {
            let desk = self.desk.clone();
            std::thread::Builder::new()
                .name("helper".into())
                .spawn(move || desk.work())
                .is_ok()
        };
        (1..cores.min(MOST_HELPERS + 1)).filter(hire_one).count()
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.desk.lock().is_over = true;
        self.desk.news.notify_all();
    }
}

impl Desk {
    fn put(&self, round: Option<Arc<Round>>) {
        let mut slot = self.lock();
        let is_news = round.is_some();
        slot.number += u64::from(is_news);
        let before = std::mem::replace(&mut slot.round, round);
        drop(slot);
        drop(before);
        if is_news {
            self.news.notify_all();
        }
    }

    /// A helper's life.
    fn work(&self) {
        let mut seen = 0;
        while let Some(round) = self.next(&mut seen) {
            round.serve();
        }
    }

    fn next(&self, seen: &mut u64) -> Option<Arc<Round>> {
        let mut slot = self.lock();
        loop {
            if slot.is_over {
                return None;
            }
            if slot.number != *seen {
                *seen = slot.number;
                if let Some(round) = &slot.round {
                    return Some(round.clone());
                }
            }
            slot = self.news.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
