//! What the writer stores in one go: publications, each with who waits for its answer, and the ids that they get. No I/O here.

use super::record::{event_key, event_value, published_key, published_value, KeyRecord, Pair};
use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use crate::hub::{Hub, KeptEvent, Published, Refusal, Tail};
use crate::idempotency::Publication;
use crate::waiting::Waits;
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

/// How much is stored in one go.
const JOBS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What is to be done with an answer. It must not wait for anybody.
pub(super) type Then = Box<dyn FnOnce(Result<Published, Refusal>) + Send>;

/// Something for the writer to do.
pub(super) enum Job {
    Publish(Publication, Then, Waits),
    /// This server stops. Dropped when everything is stored.
    Stop(Sender<Infallible>),
}

impl Job {
    /// Ends it with this refusal.
    pub(super) fn refuse(self, refusal: Refusal) {
        if let Job::Publish(_, then, _) = self {
            then(Err(refusal));
        }
    }
}

/// What waits, as far as it is stored in one go.
#[derive(Default)]
pub(super) struct Lot {
    publications: Vec<(Publication, Then, Waits)>,
    /// It is the last, and who asked for that.
    pub(super) stop: Option<Sender<Infallible>>,
}

impl Lot {
    pub(super) fn gather(first: Job, jobs: &Receiver<Job>) -> Lot {
        let mut lot = Lot::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Publish(publication, then, waits) => {
                    bytes += waits.bytes;
                    lot.publications.push((publication, then, waits));
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

    /// Gives every message its id.
    pub(super) fn number(self, numbering: &mut Numbering<'_>) -> NumberedLot {
        let mut numbered = NumberedLot::default();
        for (publication, then, waits) in self.publications {
            let channel = publication.channel;
            let name = publication.event_name.as_ref();
            let events = numbering.take(&channel, name, publication.messages);
            let ids = (numbering.first, numbering.newest);
            let mut published = Published::new(ids.0, ids.1, events.len());
            if let Some(attempt) = publication.attempt {
                // Every try gets the same answer, so this is stored, too.
                published.clients = numbering.hub.feed().clients_of(&channel);
                numbered.keys.push(KeyRecord {
                    attempt,
                    published,
                    at_ms: numbering.now_ms,
                });
            }
            numbered.answers.push(Waiting {
                channel,
                published,
                is_fixed: publication.attempt.is_some(),
                then,
                _waits: waits,
            });
            numbered.events.extend(events);
        }
        numbered
    }
}

/// Who waits for an answer.
struct Waiting {
    channel: ChannelName,
    published: Published,
    is_fixed: bool,
    then: Then,
    _waits: Waits,
}

/// A lot whose messages have their ids.
#[derive(Default)]
pub(super) struct NumberedLot {
    pub(super) events: Vec<KeptEvent>,
    pub(super) keys: Vec<KeyRecord>,
    answers: Vec<Waiting>,
}

impl NumberedLot {
    /// What has its ids already, and nobody waits for.
    pub(super) fn of_all(events: Vec<KeptEvent>, keys: Vec<KeyRecord>) -> NumberedLot {
        NumberedLot {
            events,
            keys,
            answers: Vec::new(),
        }
    }

    /// As it is stored.
    pub(super) fn records(&self) -> Vec<Pair> {
        let events = self.events.iter();
        let events = events.map(|kept| (event_key(kept.event.id), event_value(kept)));
        let keys = self.keys.iter();
        let keys = keys.map(|known| (published_key(known.published.first), published_value(known)));
        events.chain(keys).collect()
    }

    /// The newest of its ids.
    pub(super) fn newest(&self) -> EventId {
        let last = self.events.last();
        last.map_or(EventId::ZERO, |kept| kept.event.id)
    }

    /// Everything is stored, and in the hub.
    pub(super) fn confirm(self, hub: &Hub) {
        for waiting in self.answers {
            let mut published = waiting.published;
            if !waiting.is_fixed {
                published.clients = hub.feed().clients_of(&waiting.channel);
            }
            hub.counters().published.add(published.count as u64);
            (waiting.then)(Ok(published));
        }
    }

    /// Nothing is stored.
    pub(super) fn refuse(self, refusal: &Refusal) {
        for waiting in self.answers {
            (waiting.then)(Err(refusal.clone()));
        }
    }
}

/// Gives the ids.
#[derive(Debug)]
pub(super) struct Numbering<'a> {
    hub: &'a Hub,
    /// Of the messages that were taken last.
    first: EventId,
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
            first: EventId::ZERO,
            newest: hub.feed().newest(),
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
    ) -> Vec<KeptEvent> {
        let tail = self.tails.entry(channel.clone());
        let tail = tail.or_insert_with(|| self.hub.feed().tail_of(channel));
        self.first = self.newest.next(self.now_ms);
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
        events
    }
}
