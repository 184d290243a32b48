//! What the writer stores in one go: publications, each with who waits for its answer, and the ids that they get. No I/O here.

use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use crate::hub::{Hub, KeptEvent, Refusal, Tail};
use crate::waiting::{Ids, Then, Waits};
use crossbeam_channel::Receiver;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// How much is stored in one go.
const JOBS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What a publisher brings.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: ChannelName,
    pub(super) event_name: Option<EventName>,
    /// All are stored, one behind the other, or none.
    pub(super) messages: Vec<Box<str>>,
    pub(super) then: Then,
    /// Held for as long as the messages are.
    pub(super) waits: Waits,
}

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    Publish(Publication),
    /// This server stops.
    Stop(Then),
}

impl Job {
    /// Ends it with this refusal.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            Job::Publish(publication) => publication.then.answer(Err(refusal)),
            Job::Stop(then) => then.answer(Err(refusal)),
        }
    }
}

/// What waits, as far as it is stored in one go.
#[derive(Debug, Default)]
pub(super) struct Lot {
    publications: Vec<Publication>,
    /// It is the last, and who asked for that.
    pub(super) stop: Option<Then>,
}

impl Lot {
    pub(super) fn gather(first: Job, jobs: &Receiver<Job>) -> Lot {
        let mut lot = Lot::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Publish(publication) => {
                    bytes += publication.waits.bytes;
                    lot.publications.push(publication);
                }
                Job::Stop(then) => {
                    lot.stop = Some(then);
                    break;
                }
            }
            let is_full = lot.publications.len() >= JOBS_AT_ONCE || bytes >= BYTES_AT_ONCE;
            next = (!is_full).then(|| jobs.try_recv().ok()).flatten();
        }
        lot
    }

    /// Gives every message its id. Who cannot be taken is told so.
    pub(super) fn number(self, numbering: &mut Numbering<'_>) -> NumberedLot {
        let mut numbered = NumberedLot::default();
        for publication in self.publications {
            let taken = numbering.take(
                &publication.channel,
                publication.event_name.as_ref(),
                publication.messages,
            );
            match taken {
                Ok(events) => {
                    if let (Some(first), Some(last)) = (events.first(), events.last()) {
                        let ids = (first.event.id, last.event.id);
                        let answer = (ids, publication.then, publication.waits);
                        numbered.answers.push(answer);
                    }
                    numbered.events.extend(events);
                }
                Err(refusal) => publication.then.answer(Err(refusal)),
            }
        }
        numbered
    }
}

/// A lot whose messages have their ids.
#[derive(Debug, Default)]
pub(super) struct NumberedLot {
    pub(super) events: Vec<KeptEvent>,
    answers: Vec<(Ids, Then, Waits)>,
}

impl NumberedLot {
    /// Everything is stored, and in the hub.
    pub(super) fn confirm(self) {
        for (ids, then, _) in self.answers {
            then.answer(Ok(ids));
        }
    }

    /// Nothing is stored.
    pub(super) fn refuse(self, refusal: &Refusal) {
        for (_, then, _) in self.answers {
            then.answer(Err(refusal.clone()));
        }
    }
}

/// Gives the ids.
#[derive(Debug)]
pub(super) struct Numbering<'a> {
    hub: &'a Hub,
    newest: EventId,
    /// How far channels have come with what is not in the hub yet.
    tails: HashMap<ChannelName, Tail>,
    now_ms: u64,
    at: Instant,
}

impl Numbering<'_> {
    /// Ids come after all that the hub has. It is `now_ms` by the wall clock, and `at` in running time.
    pub(super) fn new(hub: &Hub, now_ms: u64, at: Instant) -> Numbering<'_> {
        Numbering {
            hub,
            newest: hub.newest(),
            tails: HashMap::new(),
            now_ms,
            at,
        }
    }

    /// Gives messages of one channel their ids.
    pub(super) fn take(
        &mut self,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Vec<KeptEvent>, Refusal> {
        match self.hub.would_take(channel) {
            // It was taken before that.
            Ok(()) | Err(Refusal::Closing) => {}
            Err(refusal) => return Err(refusal),
        }
        let hub = self.hub;
        let tails = &mut self.tails;
        let tail = tails
            .entry(channel.clone())
            .or_insert_with(|| hub.tail_of(channel));
        let mut events = Vec::with_capacity(messages.len());
        for text in messages {
            self.newest = self.newest.next(self.now_ms);
            let event = Event {
                id: self.newest,
                channel: channel.clone(),
                name: event_name.cloned(),
                text,
                kind: Kind::Message,
                timestamp_ms: self.now_ms,
                at: self.at,
            };
            tail.messages += 1;
            events.push(KeptEvent {
                before: std::mem::replace(&mut tail.newest, event.id),
                number: tail.messages,
                event: Arc::new(event),
            });
        }
        Ok(events)
    }
}
