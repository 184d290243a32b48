//! One round: some events on their way to all subscribers of one audience, by the announcer and its helpers together.
//!
//! A write to a client takes some microseconds, so for thousands of clients one thread is slower than the machine. Each
//! subscriber is served by one thread in a round, and the announcer waits for the end of a round before it begins the
//! next, so a stream's order is kept. Nobody waits for a client here. Made by the announcer.

use super::subscriber::{Batch, Pace, Subscriber};
use super::Hub;
use crate::event::{encode, Event, EventId, Form, Frame};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// A thread takes so many subscribers at a time: few enough that nobody waits long for the last one.
const PORTION: usize = 16;

/// So many subscribers are worth waking a helper for.
const WORTH_HELP: usize = 64;

/// Helpers at most: beyond that the system's own work for loopback or network is the limit.
const MOST_HELPERS: usize = 3;

/// How often the announcer looks whether a round has ended, if nobody wakes it.
const LOOK: Duration = Duration::from_millis(1);

/// How the subscribers of one audience keep up. Who surely does not read has no say.
#[derive(Debug, Default)]
pub(super) struct Tally {
    even: usize,
    late: usize,
    stuck: usize,
}

/// So many subscribers are stuck at the same time because a machine is busy, and not each for reasons of its own.
const MANY: usize = 16;

impl Tally {
    /// Most are behind: it is the machine, and not the clients.
    pub(super) fn is_late(&self) -> bool {
        let stuck = if self.stuck >= MANY { self.stuck } else { 0 };
        self.late + stuck > self.even
    }

    /// Takes note of one subscriber, and cuts it off if it is too slow.
    pub(super) fn note(&mut self, hub: &Hub, subscriber: &Subscriber, pace: Pace) {
        match pace {
            Pace::Even => self.even += 1,
            Pace::Late => self.late += 1,
            Pace::Stuck => self.stuck += 1,
            Pace::Lost => {}
            Pace::TooSlow => hub.cut_as_slow(subscriber),
        }
    }

    fn add(&mut self, other: &Tally) {
        self.even += other.even;
        self.late += other.late;
        self.stuck += other.stuck;
    }
}

/// Events in the forms that somebody wants, each made once: audiences with the same events share them.
#[derive(Debug)]
pub(super) struct Encoded {
    events: Vec<Arc<Event>>,
    plain: OnceLock<Arc<Batch>>,
    json: OnceLock<Arc<Batch>>,
}

impl Encoded {
    pub(super) fn new(events: &[Arc<Event>]) -> Encoded {
        Encoded {
            events: events.to_vec(),
            plain: OnceLock::new(),
            json: OnceLock::new(),
        }
    }

    /// Whether these are the events.
    pub(super) fn is_of(&self, events: &[Arc<Event>]) -> bool {
        fn ids(events: &[Arc<Event>]) -> impl Iterator<Item = EventId> + '_ {
            events.iter().map(|event| event.id)
        }
        ids(&self.events).eq(ids(events))
    }

    /// What this subscriber has to get of them; `None` if it joined after all of them.
    fn batch_for(
        &self,
        subscriber: &Subscriber,
        in_flight: &Arc<AtomicUsize>,
    ) -> Option<Arc<Batch>> {
        let joined_after = subscriber.joined_after;
        let had = self
            .events
            .partition_point(|event| event.id <= joined_after);
        if had > 0 {
            let rest = &self.events[had..];
            return (!rest.is_empty()).then(|| make_batch(rest, subscriber.form, in_flight));
        }
        let made = match subscriber.form {
            Form::Plain => &self.plain,
            Form::Json => &self.json,
        };
        let batch = made.get_or_init(|| make_batch(&self.events, subscriber.form, in_flight));
        Some(batch.clone())
    }
}

fn make_batch(events: &[Arc<Event>], form: Form, in_flight: &Arc<AtomicUsize>) -> Arc<Batch> {
    let frame = Frame::build(|out| {
        for event in events {
            encode(event, form, out);
        }
    });
    // Never empty; and a batch of nothing would have taken no time.
    let oldest = events.first().map_or_else(Instant::now, |event| event.at);
    Batch::new(frame, events.len(), oldest, in_flight)
}

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
    /// Held for a line, once a portion.
    tally: Mutex<Tally>,
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
            tally: Mutex::new(Tally::default()),
            announcer: std::thread::current(),
        }
    }

    /// Serves subscribers for as long as there are any that nobody serves.
    fn serve(&self) {
        loop {
            let first = self.next.fetch_add(PORTION, Ordering::Relaxed);
            let Some(rest) = self.subscribers.get(first..).filter(|r| !r.is_empty()) else {
                return;
            };
            let portion = &rest[..rest.len().min(PORTION)];
            let mut tally = Tally::default();
            for subscriber in portion {
                if let Some(pace) = self.send(subscriber) {
                    tally.note(&self.hub, subscriber, pace);
                }
            }
            self.total().add(&tally);
            if self.left.fetch_sub(portion.len(), Ordering::AcqRel) == portion.len() {
                self.announcer.unpark();
            }
        }
    }

    fn send(&self, subscriber: &Subscriber) -> Option<Pace> {
        let batch = self.encoded.batch_for(subscriber, &self.in_flight)?;
        let limit = self.hub.limits.client_queue;
        Some(subscriber.send(batch, limit, self.now_ms, &self.hub.counters))
    }

    fn total(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn run(&self, round: Round) -> Tally {
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
        let tally = std::mem::take(&mut *round.total());
        tally
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
