//! What is retained: the newest events of each channel, bounded by number and, all together, by bytes; and what is
//! known of those that were dropped. It makes replays. It knows no clients.

use super::clock::Moment;
use super::former::FormerChannels;
use super::ids::Ids;
use super::retained::{Retained, RetainedChannels};
use super::topics::Topics;
use super::unsaved::Unsaved;
use crate::event::{ChannelName, Event, EventId, Topic};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a returning client gets before it goes live.
#[derive(Debug, Default)]
pub struct Replay {
    /// The id as the client named it.
    pub after: String,
    /// The topics of which messages after that id are, or may be, lost.
    pub gaps: Vec<Topic>,
    /// Retained events after that id, in order.
    pub events: Vec<Arc<Event>>,
}

/// Owned by the table, and guarded with it.
#[derive(Debug)]
pub(super) struct History {
    /// Events retained for each channel.
    max_events: usize,
    /// Bytes of all events together.
    max_bytes: usize,
    channels: RetainedChannels,
    pub(super) former: FormerChannels,
    /// The channel of each retained event, oldest first: the order in which they go when memory is full.
    by_age: BTreeMap<EventId, ChannelName>,
    bytes: usize,
    pub(super) ids: Ids,
    /// Any channel may have had messages up to this id that are lost.
    pub(super) lost_up_to: EventId,
    /// Changes that are not saved yet, if somebody keeps a copy.
    pub(super) unsaved: Option<Unsaved>,
}

impl History {
    /// Ids begin after `born`, which no run gives; `max_channels` without a history are remembered.
    pub(super) fn new(
        max_events: usize,
        max_bytes: usize,
        max_channels: usize,
        born: EventId,
        now: Moment,
    ) -> History {
        History {
            max_events,
            max_bytes,
            channels: RetainedChannels::new(),
            former: FormerChannels::new(max_channels),
            by_age: BTreeMap::new(),
            bytes: 0,
            ids: Ids::new(born, now),
            lost_up_to: EventId::ZERO,
            unsaved: None,
        }
    }

    /// Retains an event that is newer than all others, and drops what has to make room for it. One that is larger than all
    /// room is lost at once, and costs nobody else anything.
    pub(super) fn append(&mut self, event: &Arc<Event>) {
        let name = &event.channel;
        let (former, unsaved) = (&mut self.former, &mut self.unsaved);
        let retained = self.channels.get_or_begin(name, || {
            note(unsaved, |unsaved| unsaved.touch(name));
            former.take(name)
        });
        if event.cost() > self.max_bytes {
            retained.dropped = event.id;
            note(unsaved, |unsaved| {
                unsaved.drop_event(event.id);
                unsaved.touch(name);
            });
            return;
        }
        retained.events.push_back(event.clone());
        let is_full = retained.events.len() > self.max_events;
        self.bytes += event.cost();
        self.by_age.insert(event.id, name.clone());
        if is_full {
            self.drop_oldest_of(name);
        }
        while self.bytes > self.max_bytes {
            let Some((_, oldest)) = self.by_age.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            self.drop_oldest_of(&oldest);
        }
    }

    /// As `append`, for a channel that may have no history.
    pub(super) fn pass_over(&mut self, event: &Event) {
        note(&mut self.unsaved, |unsaved| unsaved.drop_event(event.id));
        self.remember(event.channel.clone(), event.id);
    }

    /// Remembers a channel that no longer has a history.
    fn remember(&mut self, name: ChannelName, newest: EventId) {
        note(&mut self.unsaved, |unsaved| unsaved.touch(&name));
        if let Some(forgotten) = self.former.remember(name, newest) {
            note(&mut self.unsaved, |unsaved| unsaved.touch(&forgotten));
        }
    }

    /// Drops what is older than `age`, in running time.
    pub(super) fn drop_older_than(&mut self, age: Duration, now: Instant) {
        while let Some(name) = self.by_age.values().next().cloned() {
            let oldest = self.channels.get(&name).and_then(|one| one.events.front());
            let is_old = |event: &Arc<Event>| now.saturating_duration_since(event.at) >= age;
            if !oldest.is_some_and(is_old) {
                return;
            }
            self.drop_oldest_of(&name);
        }
    }

    fn drop_oldest_of(&mut self, name: &ChannelName) {
        let Some(retained) = self.channels.get_mut(name) else {
            return;
        };
        if let Some(event) = retained.events.pop_front() {
            retained.dropped = retained.dropped.max(event.id);
            self.by_age.remove(&event.id);
            self.bytes -= event.cost();
            note(&mut self.unsaved, |unsaved| {
                unsaved.drop_event(event.id);
                if retained.events.is_empty() {
                    unsaved.touch(name);
                }
            });
        }
    }

    /// Records that any channel may have had messages up to `id` that are lost.
    pub(super) fn lose_up_to(&mut self, id: EventId) {
        self.lost_up_to = self.lost_up_to.max(id);
        self.former.forget_up_to(id);
        for retained in self.channels.all_mut() {
            retained.dropped = retained.dropped.max(id);
        }
    }

    /// The newest id that the channel has had, or may have had.
    pub(super) fn newest_of(&self, name: &ChannelName) -> EventId {
        self.channels
            .get(name)
            .map_or_else(|| self.former.newest_of(name), Retained::newest)
    }

    /// Whether something of the topic after `id` is, or may be, lost.
    fn misses_after(&self, topic: &Topic, id: EventId) -> bool {
        let has_gone_with_its_channel = match topic {
            Topic::Channel(name) => {
                self.channels.get(name).is_none() && self.former.newest_of(name) > id
            }
            Topic::Prefix(prefix) => self.former.has_had_after(prefix, id),
        };
        has_gone_with_its_channel || self.channels.any(topic, |retained| retained.dropped > id)
    }

    /// The replay of `topics` and `broadcast` for a client with the id `after`; at most the newest `last` messages.
    pub(super) fn replay(&self, topics: &Topics, after: String, last: Option<usize>) -> Replay {
        // `0` asks for everything. An id that this run cannot have given says nothing about what the client has.
        let id = EventId::parse(&after);
        let known = id.filter(|&id| self.ids.is_known(id));
        let from = known.unwrap_or(EventId::ZERO);
        let may_miss = |topic: &Topic| match known {
            Some(id) => id != EventId::ZERO && self.misses_after(topic, id),
            None => id != Some(EventId::ZERO),
        };
        Replay {
            after,
            gaps: followed(topics).filter(may_miss).collect(),
            events: self.newest_events(topics, from, 0, last),
        }
    }

    /// What was published to `topics` and `broadcast` since this moment of the wall clock, in ms; at most the newest
    /// `last` messages.
    pub(super) fn since(&self, topics: &Topics, ms: u64, last: Option<usize>) -> Replay {
        Replay {
            events: self.newest_events(topics, EventId::ZERO, ms, last),
            ..Replay::default()
        }
    }

    fn newest_events(
        &self,
        topics: &Topics,
        after: EventId,
        since_ms: u64,
        last: Option<usize>,
    ) -> Vec<Arc<Event>> {
        let most = last.unwrap_or(usize::MAX);
        let fitting = self.channels.of(topics).flat_map(|retained| {
            // Ids grow even when the clock steps back; times do not.
            let newest_first = retained.after(after).rev();
            let fitting = newest_first.filter(|event| event.timestamp_ms >= since_ms);
            fitting.take(most)
        });
        let mut events: Vec<&Arc<Event>> = fitting.collect();
        events.sort_unstable_by_key(|event| event.id);
        let surplus = events.len().saturating_sub(most);
        events[surplus..].iter().copied().cloned().collect()
    }

    /// The notice for a client that has everything up to `id`, which it named `after` and which has not arrived:
    /// something of what is to come may be lost already.
    pub(super) fn loss_after(&self, topics: &Topics, id: EventId, after: String) -> Option<Replay> {
        let gaps = followed(topics).filter(|topic| self.misses_after(topic, id));
        let gaps: Vec<Topic> = gaps.collect();
        (!gaps.is_empty()).then(|| Replay {
            after,
            gaps,
            events: Vec::new(),
        })
    }

    /// Removes a channel, and remembers its newest id.
    pub(super) fn expire(&mut self, name: &ChannelName) -> VecDeque<Arc<Event>> {
        let Some((name, retained)) = self.channels.remove(name) else {
            return VecDeque::new();
        };
        for event in &retained.events {
            self.by_age.remove(&event.id);
            self.bytes -= event.cost();
            note(&mut self.unsaved, |unsaved| unsaved.drop_event(event.id));
        }
        self.remember(name, retained.newest());
        retained.events
    }

    /// The newest id that the channel has had and no longer has.
    pub(super) fn dropped_of(&self, name: &ChannelName) -> EventId {
        self.channels
            .get(name)
            .map_or(EventId::ZERO, |retained| retained.dropped)
    }

    /// Begins a channel that has had messages up to `dropped`, before its retained events come in.
    pub(super) fn begin_channel(&mut self, name: &ChannelName, dropped: EventId) {
        self.former.take(name);
        let retained = self.channels.get_or_begin(name, || dropped);
        retained.dropped = retained.dropped.max(dropped);
    }

    /// The channel's retained events, oldest first.
    pub(super) fn events_of(
        &self,
        name: &ChannelName,
    ) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let retained = self.channels.get(name).into_iter();
        retained.flat_map(|retained| &retained.events)
    }

    pub(super) fn len_of(&self, name: &ChannelName) -> usize {
        self.channels
            .get(name)
            .map_or(0, |retained| retained.events.len())
    }

    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Approximate memory of all retained events, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Records a change, if somebody keeps a copy.
fn note(unsaved: &mut Option<Unsaved>, change: impl FnOnce(&mut Unsaved)) {
    if let Some(unsaved) = unsaved {
        change(unsaved);
    }
}

/// The topics of which a client is told gaps.
fn followed(topics: &Topics) -> impl Iterator<Item = Topic> + '_ {
    let names = topics.channels.iter().cloned().map(Topic::Channel);
    let patterns = topics.prefixes.iter().cloned().map(Topic::Prefix);
    let broadcast = Topic::Channel(ChannelName::broadcast());
    names.chain(patterns).chain([broadcast])
}
