//! Batches: events that are encoded once and shared by every client that gets the same bytes.

use super::time;
use crate::counters::Counters;
use crate::event::{encode, Event, EventId, Form, Frame, Kind};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// One encoded batch. Dropped when the last of its clients has it, or has left.
#[derive(Debug)]
pub struct Batch {
    /// The bytes to write.
    pub frame: Frame,
    /// A client that has the batch has everything up to this id.
    pub last: EventId,
    pub(super) messages: usize,
    /// When the oldest message was published.
    pub(super) oldest: Instant,
    /// Bytes of all batches that are not yet written to everybody.
    in_flight: Arc<AtomicUsize>,
}

impl Batch {
    /// `None` if there is nothing to write: only notices, in a form that has none.
    pub(super) fn new(
        events: &[Arc<Event>],
        form: Form,
        in_flight: &Arc<AtomicUsize>,
    ) -> Option<Batch> {
        let frame = Frame::build(|out| {
            for event in events {
                encode(event, form, out);
            }
        })?;
        in_flight.fetch_add(frame.size(), Ordering::Relaxed);
        Some(Batch {
            frame,
            last: events.last().map_or(EventId::ZERO, |event| event.id),
            messages: events.len(),
            oldest: events.first().map_or_else(time::now, |event| event.at),
            in_flight: in_flight.clone(),
        })
    }

    pub(super) fn count_delivery(&self, counters: &Counters) {
        let messages = self.messages as u64;
        counters.delivered.add(messages);
        let delay = time::now().saturating_duration_since(self.oldest);
        counters.delay.observe(delay, messages);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.in_flight
            .fetch_sub(self.frame.size(), Ordering::Relaxed);
    }
}

/// A batch in a client's queue.
#[derive(Debug)]
pub struct Queued {
    pub batch: Arc<Batch>,
    /// Bytes of the frame that this client already has, in the framing of its connection.
    pub written: usize,
}

/// The newest messages, and all notices.
fn newest_of(events: &[Arc<Event>], count: NonZeroU32) -> Vec<Arc<Event>> {
    let is_message = |event: &&Arc<Event>| matches!(event.kind, Kind::Message);
    let messages = events.iter().filter(is_message).count();
    let mut older = messages.saturating_sub(count.get() as usize);
    let mut is_wanted = |event: &&Arc<Event>| {
        let is_older = is_message(event) && older > 0;
        older -= usize::from(is_older);
        !is_older
    };
    events
        .iter()
        .filter(|event| is_wanted(event))
        .cloned()
        .collect()
}

/// Events for audiences that get the same bytes. Encoded when the first client needs its form.
#[derive(Debug)]
pub(super) struct Encoded {
    events: Vec<Arc<Event>>,
    by_form: [OnceLock<Option<Arc<Batch>>>; Form::COUNT],
}

impl Encoded {
    /// `events` is not empty, and in the order of ids.
    pub(super) fn new(events: &[Arc<Event>]) -> Encoded {
        Encoded {
            events: events.to_vec(),
            by_form: Default::default(),
        }
    }

    pub(super) fn is_of(&self, events: &[Arc<Event>]) -> bool {
        // Ids do not tell: all notices of one gap share one.
        let mut pairs = self.events.iter().zip(events);
        self.events.len() == events.len() && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// What a client that has everything up to `joined_after` is to get, or only the newest messages of it; `None` if
    /// nothing.
    pub(super) fn batch_for(
        &self,
        joined_after: EventId,
        newest: Option<NonZeroU32>,
        form: Form,
        in_flight: &Arc<AtomicUsize>,
    ) -> Option<Arc<Batch>> {
        let had = self.events.partition_point(|event| match &event.kind {
            Kind::Message => event.id <= joined_after,
            // It comes after the event of the same id, which the client has or did not ask for.
            Kind::Gap { .. } => event.id < joined_after,
        });
        let rest = &self.events[had..];
        if let Some(newest) = newest {
            return Batch::new(&newest_of(rest, newest), form, in_flight).map(Arc::new);
        }
        if had > 0 {
            return Batch::new(rest, form, in_flight).map(Arc::new);
        }
        let batch = self.by_form[form as usize]
            .get_or_init(|| Batch::new(&self.events, form, in_flight).map(Arc::new));
        batch.clone()
    }
}
