//! The announcer: one thread that carries what was published to the subscribers' queues, in the order of ids.
//!
//! It never writes to a client and never blocks on one. What is published while it makes its round goes with the next
//! round: batching comes by itself. Started by the hub.

use super::subscriber::{now_ms, wake_all, Batch, Pace, Subscriber};
use super::table::Errand;
use super::Hub;
use crate::event::{encode, Event, EventId, Form, Frame};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A batch ends when it has this many bytes: large enough to make the cost of a write small beside that of its bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Batches that somebody has still to write may take this much memory together, in bytes.
const MAX_IN_FLIGHT: usize = 32 << 20;

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

impl Announcer {
    fn run(&self) {
        while let Some(errands) = self.wait_for_errands() {
            let mut made = Encoded::default();
            for errand in &errands {
                self.announce(errand, &mut made);
            }
        }
        self.end_all_streams();
    }

    /// Sleeps until something was published. `None` once the hub closes and everything is on its way.
    fn wait_for_errands(&self) -> Option<Vec<Errand>> {
        loop {
            let mut table = self.hub.lock();
            if let Some(errands) = table.take_errands() {
                drop(table);
                self.hub.room.notify_all();
                return Some(errands);
            }
            if table.closing {
                return None;
            }
            table.announcer_asleep = true;
            drop(table);
            std::thread::park();
        }
    }

    /// Sends one audience what it has to get.
    fn announce(&self, errand: &Errand, made: &mut Encoded) {
        for events in self.batches(&errand.events) {
            let now = now_ms();
            let mut tally = Tally::default();
            made.turn_to(events);
            for subscriber in errand.subscribers.iter() {
                let Some(batch) = made.batch_for(subscriber, events, &self.in_flight) else {
                    continue;
                };
                let pace = subscriber.send(batch, self.hub.limits.client_queue, now);
                self.note(subscriber, pace, &mut tally);
            }
            self.let_them_catch_up(errand, tally);
        }
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

    /// If most of those who do read are behind, the machine is: pausing here fills the table's pending events, and
    /// through them slows publishing down, instead of throwing healthy clients out. Who does not read has no say.
    fn let_them_catch_up(&self, errand: &Errand, mut tally: Tally) {
        loop {
            let memory_is_full = self.in_flight.load(Ordering::Relaxed) > MAX_IN_FLIGHT;
            if memory_is_full {
                self.hub.cut_hoarders();
            } else if tally.late <= tally.even {
                return;
            }
            std::thread::park_timeout(BREATH);
            tally = Tally::default();
            if !memory_is_full {
                let now = now_ms();
                for subscriber in errand.subscribers.iter() {
                    let pace = subscriber.look(self.hub.limits.client_queue, now);
                    self.note(subscriber, pace, &mut tally);
                }
            }
        }
    }

    fn note(&self, subscriber: &Subscriber, pace: Pace, tally: &mut Tally) {
        match pace {
            Pace::Even => tally.even += 1,
            Pace::Late => tally.late += 1,
            Pace::Stuck => {}
            Pace::TooSlow => self.hub.cut_as_slow(subscriber),
        }
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

/// How the subscribers of one batch keep up.
#[derive(Default)]
struct Tally {
    even: usize,
    late: usize,
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
    Batch::new(frame, events.len(), in_flight)
}
