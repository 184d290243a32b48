//! The announcer: one thread that brings what was published to the subscribers, in the order of ids.
//!
//! It never waits for a client. While a stream's thread sleeps, the announcer writes in its place, as much as the
//! client takes at once: that saves waking a thread. What is published during a round, and in the pause behind it, goes out
//! with the next one, so batches form by themselves. An audience that does not keep up gets a backlog here: publishers to
//! its channels wait, everybody else goes on.

use super::audience::{AudienceId, Delivery, Members};
use super::batch::Encoded;
use super::pace::{Pace, PaceCounts};
use super::round::{Helpers, Round};
use super::shared::Shared;
use super::table::Table;
use super::time::{now, running_ms};
use crate::event::Event;
use crate::host;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A batch ends at this many bytes: enough to make the cost of a write small beside that of its bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Memory that all batches with bytes left to write may take together.
const MAX_IN_FLIGHT: usize = 32 << 20;

/// Events that may wait for an audience that is behind, where publishers do not wait for it.
const OVERDUE: usize = 16 << 10;

/// The announcer's pause before it checks again whether the others have caught up.
const BREATH: Duration = Duration::from_millis(1);

/// After its rounds the announcer pauses for half of the time that they took, within these bounds. Under load the clients
/// read meanwhile and publishers publish, so the next write has more in it. With 4 publishers back to back that was worth
/// 1.8 million deliveries a second instead of 1.3 to 1,000 clients, for half of the CPU each.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<()> {
    host::start("announcer", move || Announcer::new(shared).run()).map(drop)
}

#[derive(Debug)]
pub(super) struct Announcer {
    shared: Arc<Shared>,
    /// Messages in one batch, at most: a part of a client's queue, so that one batch alone cannot fill it.
    batch_messages: usize,
    /// Bytes of all batches that are not yet written to everybody.
    in_flight: Arc<AtomicUsize>,
    helpers: Helpers,
    backlogs: Backlogs,
}

/// What an audience is still to get.
#[derive(Debug)]
struct Backlog {
    subscribers: Members,
    events: Vec<Arc<Event>>,
    /// Most of the clients that read are behind, so the events have to wait.
    is_congested: bool,
}

pub(super) enum Work {
    /// Bring these to their audiences, along with the backlogs.
    Carry(Vec<Delivery>),
    /// Sleep until woken.
    Nothing,
    /// End all streams: the hub closes, and nothing is pending.
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
                Work::Carry(deliveries) => {
                    let begin = now();
                    self.carry(deliveries);
                    self.pause(begin.elapsed() / 2);
                }
                Work::Nothing => std::thread::park(),
                Work::End => break,
            }
            if self.has_backlog() {
                std::thread::park_timeout(BREATH);
            }
        }
        self.shared.end_all_streams();
    }

    /// Lets messages gather for at most this long, until they fill a batch.
    fn pause(&self, most: Duration) {
        if most < SHORTEST_PAUSE {
            return;
        }
        let end = now() + most.min(LONGEST_PAUSE);
        let fills_a_batch = |table: &Table| table.pending.has(self.batch_messages, BATCH_BYTES);
        loop {
            let left = end.saturating_duration_since(now());
            if left.is_zero() || fills_a_batch(&self.shared.lock()) {
                return;
            }
            std::thread::sleep(left.min(BREATH));
        }
    }

    /// Sends each audience its events, as far as it keeps up, and tells publishers who has to wait.
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

    /// Whether an audience is still to get something, or publishers still have to wait for one.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlogs.is_empty()
    }

    /// What to do next. After `Nothing`, whoever publishes wakes the announcer.
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

    fn announce(&self, backlog: &mut Backlog, made: &mut Option<Arc<Encoded>>) {
        // Where events come from outside, nobody waits for the audience: it gets them, and whoever stays behind is cut
        // off.
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

    /// How the clients of a congested audience keep up. Sends nothing.
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

    fn report(&self, backlogs: &Backlogs) {
        let memory_is_full = self.in_flight.load(Ordering::Relaxed) > MAX_IN_FLIGHT;
        if memory_is_full {
            self.shared
                .cut_if_slow(|subscriber, limit, now_ms| subscriber.progress.hoards(limit, now_ms));
            // Gives those who got a batch a moment to write it.
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

    /// Cuts the events into pieces, each for one write.
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
            // Clients that joined meanwhile get only what is newer than their replay.
            backlog.subscribers = delivery.subscribers;
            backlog.events.extend(delivery.events);
        }
    }
}
