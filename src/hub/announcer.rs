//! The announcer: one thread that carries what was published to the subscribers' queues, in the order of ids.
//!
//! It never waits for a client. Where a stream's thread sleeps it writes in its place, as far as the client takes it at
//! once: that saves waking a thread. What is published while it makes its round goes with the next
//! round: batching comes by itself. An audience that does not keep up has a backlog here; publishers to its channels
//! wait, everybody else goes on. Started by the hub.

use super::subscriber::{now_ms, wake_all, Batch, Pace, Subscriber};
use super::table::{AudienceId, Errand};
use super::Hub;
use crate::event::{encode, Event, EventId, Form, Frame};
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A batch ends when it has this many bytes: large enough to make the cost of a write small beside that of its bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Batches that somebody has still to write may take this much memory together, in bytes.
const MAX_IN_FLIGHT: usize = 32 << 20;

/// Events that may wait for an audience that is behind, where publishing to it does not wait for the audience.
const OVERDUE: usize = 16 << 10;

/// How long the announcer pauses before it looks again whether the others have caught up.
const BREATH: Duration = Duration::from_millis(1);

pub(super) fn start(hub: Arc<Hub>) -> std::io::Result<()> {
    let announcer = Announcer {
        batch_messages: (hub.limits.client_queue / 2).clamp(1, 512),
        in_flight: Arc::new(AtomicUsize::new(0)),
        hub: hub.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("announcer".into())
        .spawn(move || announcer.run())?;
    // `start` is called once.
    let _ = hub.announcer.set(thread.thread().clone());
    Ok(())
}

struct Announcer {
    hub: Arc<Hub>,
    /// Messages that one batch may have: a part of a client's queue, so that one batch alone cannot fill it.
    batch_messages: usize,
    in_flight: Arc<AtomicUsize>,
}

/// What an audience has still to get.
struct Backlog {
    subscribers: Arc<[Arc<Subscriber>]>,
    events: Vec<Arc<Event>>,
    /// Most of those who read are behind: it has to wait.
    is_congested: bool,
}

type Backlogs = HashMap<AudienceId, Backlog>;

impl Announcer {
    fn run(&self) {
        let mut backlogs = Backlogs::new();
        while let Some(errands) = self.wait_for_errands(!backlogs.is_empty()) {
            for errand in errands {
                add(&mut backlogs, errand);
            }
            let mut made = Encoded::default();
            for backlog in backlogs.values_mut() {
                self.announce(backlog, &mut made);
            }
            backlogs.retain(|_, backlog| !backlog.events.is_empty() || backlog.is_congested);
            self.report(&backlogs);
        }
        self.end_all_streams();
    }

    /// Sleeps until something was published; with a backlog only for a moment. `None` once the hub closes and
    /// everything is on its way.
    fn wait_for_errands(&self, has_backlog: bool) -> Option<Vec<Errand>> {
        if has_backlog {
            std::thread::park_timeout(BREATH);
        }
        loop {
            let mut table = self.hub.lock();
            if let Some(errands) = table.take_errands() {
                drop(table);
                self.hub.room.notify_all();
                return Some(errands);
            }
            if has_backlog || table.memory_is_full {
                return Some(Vec::new());
            }
            if table.closing {
                return None;
            }
            table.announcer_asleep = true;
            drop(table);
            std::thread::park();
        }
    }

    /// Sends an audience what it has to get, as far as it keeps up.
    fn announce(&self, backlog: &mut Backlog, made: &mut Encoded) {
        // Nobody waits for this audience where events come from outside: it gets them, and who stays behind is cut.
        let is_overdue = self.hub.limits.ids_come_from_outside && backlog.events.len() > OVERDUE;
        if backlog.is_congested {
            backlog.is_congested = self.look(backlog).is_late() && !is_overdue;
        }
        let mut sent = 0;
        for events in self.batches(&backlog.events) {
            if backlog.is_congested {
                break;
            }
            let is_late = self.send(&backlog.subscribers, events, made).is_late();
            backlog.is_congested = is_late && !is_overdue;
            sent += events.len();
        }
        backlog.events.drain(..sent);
    }

    fn send(
        &self,
        subscribers: &[Arc<Subscriber>],
        events: &[Arc<Event>],
        made: &mut Encoded,
    ) -> Tally {
        let now = now_ms();
        let mut tally = Tally::default();
        made.turn_to(events);
        for subscriber in subscribers {
            let Some(batch) = made.batch_for(subscriber, events, &self.in_flight) else {
                continue;
            };
            let limit = self.hub.limits.client_queue;
            let pace = subscriber.send(batch, limit, now, &self.hub.counters);
            self.note(subscriber, pace, &mut tally);
        }
        tally
    }

    fn look(&self, backlog: &Backlog) -> Tally {
        let now = now_ms();
        let mut tally = Tally::default();
        for subscriber in backlog.subscribers.iter() {
            let pace = subscriber.look(self.hub.limits.client_queue, now);
            self.note(subscriber, pace, &mut tally);
        }
        tally
    }

    fn note(&self, subscriber: &Subscriber, pace: Pace, tally: &mut Tally) {
        match pace {
            Pace::Even => tally.even += 1,
            Pace::Late => tally.late += 1,
            Pace::Stuck => tally.stuck += 1,
            Pace::Lost => {}
            Pace::TooSlow => self.hub.cut_as_slow(subscriber),
        }
    }

    /// Tells the publishers who has to wait.
    fn report(&self, backlogs: &Backlogs) {
        let memory_is_full = self.in_flight.load(Ordering::Relaxed) > MAX_IN_FLIGHT;
        if memory_is_full {
            self.hub.cut_hoarders();
            // Those who got a batch need a moment to write it.
            std::thread::park_timeout(BREATH);
        }
        let congested = |backlog: &Backlog| backlog.is_congested;
        let mut table = self.hub.lock();
        let was_waiting = table.memory_is_full || !table.congested.is_empty();
        let is_waiting = memory_is_full || backlogs.values().any(congested);
        if !was_waiting && !is_waiting {
            return;
        }
        table.memory_is_full = memory_is_full;
        table.congested.clear();
        let audiences = backlogs.iter().filter(|(_, backlog)| congested(backlog));
        table
            .congested
            .extend(audiences.map(|(audience, _)| *audience));
        drop(table);
        self.hub.room.notify_all();
    }

    /// Cuts the events into pieces that are written at once.
    fn batches<'a>(&self, events: &'a [Arc<Event>]) -> impl Iterator<Item = &'a [Arc<Event>]> {
        let most = self.batch_messages;
        let mut rest = events;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let mut bytes = 0;
            let fitting = rest
                .iter()
                .take(most)
                .take_while(|event| {
                    bytes += event.cost();
                    bytes <= BATCH_BYTES
                })
                .count();
            let (batch, after) = rest.split_at(fitting.max(1));
            rest = after;
            Some(batch)
        })
    }

    /// Closes every subscriber's channel: each stream thread writes what it still has, and ends.
    fn end_all_streams(&self) {
        let subscribers = self.hub.lock().take_all();
        let wakers: Vec<_> = subscribers.iter().map(|s| s.waker()).collect();
        drop(subscribers);
        self.hub.closed.store(true, Ordering::SeqCst);
        wake_all(&wakers);
    }
}

fn add(backlogs: &mut Backlogs, errand: Errand) {
    match backlogs.entry(errand.audience) {
        Entry::Vacant(entry) => {
            entry.insert(Backlog {
                subscribers: errand.subscribers,
                events: errand.events,
                is_congested: false,
            });
        }
        Entry::Occupied(mut entry) => {
            let backlog = entry.get_mut();
            // Who joined since gets only what is newer than its replay.
            backlog.subscribers = errand.subscribers;
            backlog.events.extend(errand.events);
        }
    }
}

/// How the subscribers of one audience keep up. Who surely does not read has no say.
#[derive(Default)]
struct Tally {
    even: usize,
    late: usize,
    stuck: usize,
}

/// So many subscribers are stuck at the same time because a machine is busy, and not each for reasons of its own.
const MANY: usize = 16;

impl Tally {
    /// Most are behind: it is the machine, and not the clients.
    fn is_late(&self) -> bool {
        let stuck = if self.stuck >= MANY { self.stuck } else { 0 };
        self.late + stuck > self.even
    }
}

/// The batches of one round, so that audiences with the same events, and clients with the same form, share the bytes.
#[derive(Default)]
struct Encoded {
    events: Vec<EventId>,
    plain: Option<Arc<Batch>>,
    json: Option<Arc<Batch>>,
}

impl Encoded {
    /// Keeps what was made if it was for these events, and forgets it otherwise.
    fn turn_to(&mut self, events: &[Arc<Event>]) {
        if !self.is_for(events) {
            self.events = events.iter().map(|event| event.id).collect();
            self.plain = None;
            self.json = None;
        }
    }

    /// What this subscriber has to get of `events`, for which `turn_to` was called; `None` if it joined after all of
    /// them.
    fn batch_for(
        &mut self,
        subscriber: &Subscriber,
        events: &[Arc<Event>],
        in_flight: &Arc<AtomicUsize>,
    ) -> Option<Arc<Batch>> {
        let joined_after = subscriber.joined_after;
        let had = events.partition_point(|event| event.id <= joined_after);
        if had > 0 {
            let rest = &events[had..];
            return (!rest.is_empty()).then(|| make_batch(rest, subscriber.form, in_flight));
        }
        let made = match subscriber.form {
            Form::Plain => &mut self.plain,
            Form::Json => &mut self.json,
        };
        Some(
            made.get_or_insert_with(|| make_batch(events, subscriber.form, in_flight))
                .clone(),
        )
    }

    fn is_for(&self, events: &[Arc<Event>]) -> bool {
        self.events.len() == events.len()
            && self
                .events
                .iter()
                .zip(events)
                .all(|(id, event)| *id == event.id)
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
