//! The announcer: one thread that carries what was published to the subscribers, in the order of ids.
//!
//! It never waits for a client. Where a stream's thread sleeps it writes in its place, as far as the client takes it at
//! once: that saves waking a thread. What is published while it makes its round goes with the next round: batching comes
//! by itself. An audience that does not keep up has a backlog here; publishers to its channels wait, everybody else goes
//! on.

use super::audience::{AudienceId, Delivery, Members};
use super::batch::Encoded;
use super::pace::{Pace, PaceCounts};
use super::round::{Helpers, Round};
use super::shared::Shared;
use super::time::running_ms;
use crate::event::Event;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A batch ends when it has this many bytes: large enough to make the cost of a write small beside that of its bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Batches that somebody has still to write may take this much memory together, in bytes.
const MAX_IN_FLIGHT: usize = 32 << 20;

/// Events that may wait for an audience that is behind, where publishing to it does not wait for the audience.
const OVERDUE: usize = 16 << 10;

/// How long the announcer pauses before it looks again whether the others have caught up.
const BREATH: Duration = Duration::from_millis(1);

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("announcer".into())
        .spawn(move || Announcer::new(shared).run())?;
    Ok(())
}

/// Owned by the thread that carries.
#[derive(Debug)]
pub(super) struct Announcer {
    shared: Arc<Shared>,
    /// Messages that one batch may have: a part of a client's queue, so that one batch alone cannot fill it.
    batch_messages: usize,
    /// Bytes of the batches that somebody has still to write.
    in_flight: Arc<AtomicUsize>,
    helpers: Helpers,
    backlogs: Backlogs,
}

/// What an audience has still to get.
#[derive(Debug)]
struct Backlog {
    subscribers: Members,
    events: Vec<Arc<Event>>,
    /// Most of those who read are behind: it has to wait.
    is_congested: bool,
}

/// What the announcer finds to do.
pub(super) enum Work {
    /// Bring these to their audiences, beside what those have still to get.
    Carry(Vec<Delivery>),
    /// Sleep until somebody wakes it.
    Nothing,
    /// End all streams: the hub closes, and everything is on its way.
    End,
}

type Backlogs = HashMap<AudienceId, Backlog>;

impl Announcer {
    pub(super) fn new(shared: Arc<Shared>) -> Announcer {
        Announcer {
            batch_messages: (shared.limits.client_queue / 2).clamp(1, 512),
            in_flight: Arc::new(AtomicUsize::new(0)),
            helpers: Helpers::default(),
            backlogs: Backlogs::new(),
            shared,
        }
    }

    fn run(mut self) {
        self.shared.become_announcer();
        loop {
            match self.next_work() {
                Work::Carry(deliveries) => self.carry(deliveries),
                Work::Nothing => std::thread::park(),
                Work::End => break,
            }
            if self.has_backlog() {
                std::thread::park_timeout(BREATH);
            }
        }
        self.shared.end_all_streams();
    }

    /// Brings each audience what it has to get, as far as it keeps up, and tells publishers who has to wait.
    pub(super) fn carry(&mut self, deliveries: Vec<Delivery>) {
        let mut backlogs = std::mem::take(&mut self.backlogs);
        for delivery in deliveries {
            add(&mut backlogs, delivery);
        }
        let mut made = None;
        for backlog in backlogs.values_mut() {
            self.announce(backlog, &mut made);
        }
        backlogs.retain(|_, backlog| !backlog.events.is_empty() || backlog.is_congested);
        self.report(&backlogs);
        self.backlogs = backlogs;
    }

    /// Whether an audience has still to get something, or publishers still have to wait for one.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlogs.is_empty()
    }

    /// What there is to do now. After `Nothing` whoever publishes wakes the announcer.
    pub(super) fn next_work(&self) -> Work {
        let mut table = self.shared.lock();
        if let Some(deliveries) = table.take_deliveries() {
            drop(table);
            self.shared.tell_of_room();
            return Work::Carry(deliveries);
        }
        if self.has_backlog() || table.pending.memory_is_full {
            return Work::Carry(Vec::new());
        }
        if table.closing {
            return Work::End;
        }
        table.pending.announcer_asleep = true;
        Work::Nothing
    }

    /// Sends an audience what it has to get, as far as it keeps up.
    fn announce(&self, backlog: &mut Backlog, made: &mut Option<Arc<Encoded>>) {
        // Nobody waits for this audience where events come from outside: it gets them, and who stays behind is cut.
        let is_overdue = self.shared.limits.ids_come_from_outside && backlog.events.len() > OVERDUE;
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
        subscribers: &Members,
        events: &[Arc<Event>],
        made: &mut Option<Arc<Encoded>>,
    ) -> PaceCounts {
        let encoded = match made.take().filter(|made| made.is_of(events)) {
            Some(made) => made,
            None => Arc::new(Encoded::new(events)),
        };
        *made = Some(encoded.clone());
        let round = Round::new(
            &self.shared,
            subscribers,
            &encoded,
            &self.in_flight,
            running_ms(),
        );
        self.helpers.run(round)
    }

    /// How the clients of a congested audience keep up, without sending anything.
    fn look(&self, backlog: &Backlog) -> PaceCounts {
        let limit = self.shared.limits.client_queue;
        let now_ms = running_ms();
        let mut counts = PaceCounts::default();
        for subscriber in backlog.subscribers.iter() {
            match subscriber.progress.pace_if_awaited(limit, now_ms) {
                Pace::TooSlow => self.shared.cut_as_slow(subscriber),
                pace => counts.count(pace),
            }
        }
        counts
    }

    /// Tells the publishers who has to wait.
    fn report(&self, backlogs: &Backlogs) {
        let memory_is_full = self.in_flight.load(Ordering::Relaxed) > MAX_IN_FLIGHT;
        if memory_is_full {
            self.shared
                .cut_if_slow(|subscriber, limit, now_ms| subscriber.progress.hoards(limit, now_ms));
            // Those who got a batch need a moment to write it.
            std::thread::park_timeout(BREATH);
        }
        let congested = |backlog: &Backlog| backlog.is_congested;
        let mut table = self.shared.lock();
        let pending = &mut table.pending;
        let was_waiting = pending.memory_is_full || !pending.congested.is_empty();
        let is_waiting = memory_is_full || backlogs.values().any(congested);
        if !was_waiting && !is_waiting {
            return;
        }
        pending.memory_is_full = memory_is_full;
        pending.congested.clear();
        let audiences = backlogs.iter().filter(|(_, backlog)| congested(backlog));
        pending
            .congested
            .extend(audiences.map(|(&audience, _)| audience));
        drop(table);
        self.shared.tell_of_room();
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
}

fn add(backlogs: &mut Backlogs, delivery: Delivery) {
    match backlogs.entry(delivery.audience) {
        Entry::Vacant(entry) => {
            entry.insert(Backlog {
                subscribers: delivery.subscribers,
                events: delivery.events,
                is_congested: false,
            });
        }
        Entry::Occupied(mut entry) => {
            let backlog = entry.get_mut();
            // Who joined since gets only what is newer than its replay.
            backlog.subscribers = delivery.subscribers;
            backlog.events.extend(delivery.events);
        }
    }
}
