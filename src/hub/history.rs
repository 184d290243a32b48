//! What is retained: the newest events of each channel, bounded by number and all together by bytes, and what is known
//! about those that are not retained any more. It gives the ids, where they do not come from outside, and makes replays.
//! It knows nobody who follows.

use super::clock::{ClockWatch, Moment};
use super::former::FormerChannels;
use super::topics::Topics;
use super::unsaved::Unsaved;
use crate::event::{ChannelName, Event, EventId, Prefix, Topic};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a client that came back has to get before it goes live.
#[derive(Debug, Default)]
pub struct Replay {
    /// The id that the client named, as it named it.
    pub after: String,
    /// What the client follows of which messages after that id are, or may be, lost.
    pub gaps: Vec<Topic>,
    /// Retained events after that id, in order.
    pub events: Vec<Arc<Event>>,
}

/// One channel's events.
#[derive(Debug)]
struct Retained {
    /// Oldest first.
    events: VecDeque<Arc<Event>>,
    /// The newest id that this channel has had and no longer has: a client whose id is below it has missed something.
    dropped: EventId,
}

impl Retained {
    /// Nothing yet. Events up to `dropped` may have been in the channel before.
    fn new(dropped: EventId) -> Retained {
        Retained {
            events: VecDeque::new(),
            dropped,
        }
    }

    fn newest(&self) -> EventId {
        let newest = self.events.back().map_or(EventId::ZERO, |event| event.id);
        newest.max(self.dropped)
    }

    fn after(&self, after: EventId) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let first = self.events.partition_point(|event| event.id <= after);
        self.events.range(first..)
    }
}

/// Owned by the table, and guarded with it.
#[derive(Debug)]
pub(super) struct History {
    /// Events retained for each channel.
    max_events: usize,
    /// Memory of all events together, in bytes.
    max_bytes: usize,
    /// The channels that have had a message since they exist.
    channels: HashMap<ChannelName, Retained>,
    broadcast: Retained,
    pub(super) former: FormerChannels,
    /// The channel of each retained event, oldest first: who has to go when memory is full.
    by_age: BTreeMap<EventId, ChannelName>,
    bytes: usize,
    /// Ids below this may have been given by an earlier run, whose history is lost.
    born: EventId,
    clock: ClockWatch,
    /// The wall clock was set ahead, and no id was given since.
    has_clock_jumped: bool,
    newest: EventId,
    /// Any channel may have had messages up to this id that are not retained.
    pub(super) lost_up_to: EventId,
    /// What has changed since whoever keeps a copy has asked, if somebody does.
    pub(super) unsaved: Option<Unsaved>,
}

impl History {
    /// Retains nothing yet. Ids begin after `born`, which no run gives; `max_channels` without a history are remembered.
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
            channels: HashMap::new(),
            // Only ids of this run are compared with it, and of those it has lost nothing yet.
            broadcast: Retained::new(EventId::ZERO),
            former: FormerChannels::new(max_channels),
            by_age: BTreeMap::new(),
            bytes: 0,
            born,
            clock: ClockWatch::new(now),
            has_clock_jumped: false,
            newest: born,
            lost_up_to: EventId::ZERO,
            unsaved: None,
        }
    }

    /// The newest id, whether or not its event is retained.
    pub(super) fn newest(&self) -> EventId {
        self.newest
    }

    /// Gives the next id.
    pub(super) fn next_id(&mut self, now: Moment) -> EventId {
        self.watch_clock(now);
        self.newest = self.newest.next(now.unix_ms());
        if std::mem::take(&mut self.has_clock_jumped) {
            // The clock was behind so far, perhaps since before the start: an earlier run, with the right time, may have
            // given the very ids that this one has given, and those that it has skipped.
            self.born = self.newest;
        }
        self.newest
    }

    /// Looks whether the wall clock was set ahead. Once a second is often enough, and whenever an id is given.
    pub(super) fn watch_clock(&mut self, now: Moment) {
        self.has_clock_jumped |= self.clock.has_jumped(now);
    }

    /// Takes note of ids up to `id` that were given elsewhere.
    pub(super) fn skip_to(&mut self, id: EventId) {
        self.newest = self.newest.max(id);
    }

    /// Retains an event that is newer than all others, and drops what has to go for it.
    pub(super) fn append(&mut self, event: &Arc<Event>) {
        let name = &event.channel;
        let retained = if name.is_broadcast() {
            &mut self.broadcast
        } else {
            let (former, unsaved) = (&mut self.former, &mut self.unsaved);
            self.channels.entry(name.clone()).or_insert_with(|| {
                note(unsaved, |unsaved| unsaved.touch(name));
                Retained::new(former.take(name))
            })
        };
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

    /// As `append`, of a channel that may have no history.
    pub(super) fn pass_over(&mut self, event: &Event) {
        note(&mut self.unsaved, |unsaved| unsaved.drop_event(event.id));
        self.remember(event.channel.clone(), event.id);
    }

    /// Remembers a channel that has no history any more.
    fn remember(&mut self, name: ChannelName, newest: EventId) {
        note(&mut self.unsaved, |unsaved| unsaved.touch(&name));
        if let Some(forgotten) = self.former.remember(name, newest) {
            note(&mut self.unsaved, |unsaved| unsaved.touch(&forgotten));
        }
    }

    /// Drops what is older than `age`, in running time.
    pub(super) fn drop_older_than(&mut self, age: Duration, now: Instant) {
        while let Some(name) = self.by_age.values().next().cloned() {
            let oldest = self.retained(&name).and_then(|one| one.events.front());
            let is_old = |event: &Arc<Event>| now.saturating_duration_since(event.at) >= age;
            if !oldest.is_some_and(is_old) {
                return;
            }
            self.drop_oldest_of(&name);
        }
    }

    fn drop_oldest_of(&mut self, name: &ChannelName) {
        let retained = if name.is_broadcast() {
            Some(&mut self.broadcast)
        } else {
            self.channels.get_mut(name)
        };
        let Some(retained) = retained else { return };
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

    /// Takes note that any channel may have had messages up to `id` that are not retained.
    pub(super) fn lose_up_to(&mut self, id: EventId) {
        self.lost_up_to = self.lost_up_to.max(id);
        self.former.forget_up_to(id);
        let channels = self.channels.values_mut();
        for retained in channels.chain([&mut self.broadcast]) {
            retained.dropped = retained.dropped.max(id);
        }
    }

    fn retained(&self, name: &ChannelName) -> Option<&Retained> {
        if name.is_broadcast() {
            Some(&self.broadcast)
        } else {
            self.channels.get(name)
        }
    }

    /// The newest id that the channel has or may have had.
    pub(super) fn newest_of(&self, name: &ChannelName) -> EventId {
        self.retained(name)
            .map_or_else(|| self.former.newest_of(name), Retained::newest)
    }

    /// Whether something of the topic after `id` is, or may be, no longer retained.
    fn misses_after(&self, topic: &Topic, id: EventId) -> bool {
        self.any_retained(topic, |retained| retained.dropped > id) || self.former_after(topic, id)
    }

    fn any_retained(&self, topic: &Topic, fits: impl Fn(&Retained) -> bool) -> bool {
        match topic {
            Topic::Channel(name) => self.retained(name).is_some_and(fits),
            Topic::Prefix(prefix) => self.retained_by(std::slice::from_ref(prefix)).any(fits),
        }
    }

    /// Whether something after `id` was or may have been in channels of the topic that have no history now.
    fn former_after(&self, topic: &Topic, id: EventId) -> bool {
        match topic {
            Topic::Channel(name) => {
                self.retained(name).is_none() && self.former.newest_of(name) > id
            }
            Topic::Prefix(prefix) => self.former.has_had_after(prefix, id),
        }
    }

    /// What a client with the id `after` has to get of `topics` and of `broadcast`; of the messages the newest `last`.
    pub(super) fn replay(&self, topics: &Topics, after: String, last: Option<usize>) -> Replay {
        // `0` asks for everything; an id that this run cannot have given says nothing about what its client has.
        let id = EventId::parse(&after);
        let known = id.filter(|&id| id >= self.born && id <= self.newest);
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

    /// What was published to `topics` and to `broadcast` from this moment of the wall clock on, in ms; of that the newest
    /// `last`.
    pub(super) fn since(&self, topics: &Topics, ms: u64, last: Option<usize>) -> Replay {
        Replay {
            events: self.newest_events(topics, EventId::ZERO, ms, last),
            ..Replay::default()
        }
    }

    /// In the order of ids.
    fn newest_events(
        &self,
        topics: &Topics,
        after: EventId,
        since_ms: u64,
        last: Option<usize>,
    ) -> Vec<Arc<Event>> {
        let most = last.unwrap_or(usize::MAX);
        let by_name = topics.channels.iter();
        let by_name = by_name.filter_map(|name| self.channels.get(name));
        let by_patterns = self.retained_by(&topics.prefixes);
        let all = by_name.chain(by_patterns).chain([&self.broadcast]);
        let fitting = all.flat_map(|retained| {
            // Ids grow also when the clock steps back, and times do not.
            let newest_first = retained.after(after).rev();
            let fitting = newest_first.filter(|event| event.timestamp_ms >= since_ms);
            fitting.take(most)
        });
        let mut events: Vec<&Arc<Event>> = fitting.collect();
        events.sort_unstable_by_key(|event| event.id);
        let surplus = events.len().saturating_sub(most);
        events[surplus..].iter().copied().cloned().collect()
    }

    /// The channels that these cover.
    fn retained_by<'a>(&'a self, prefixes: &'a [Prefix]) -> impl Iterator<Item = &'a Retained> {
        // Nothing is looked through for those who have no pattern.
        let channels = (!prefixes.is_empty()).then_some(&self.channels).into_iter();
        let covered = channels.flatten().filter(|(name, _)| {
            let mut prefixes = prefixes.iter();
            prefixes.any(|prefix| prefix.covers(name))
        });
        covered.map(|(_, retained)| retained)
    }

    /// What a client has to be told that has all that is here, and more up to `id`, which it named `after`: of what is yet to
    /// come something may be lost already.
    pub(super) fn loss_after(&self, topics: &Topics, id: EventId, after: String) -> Option<Replay> {
        let gaps = followed(topics).filter(|topic| self.misses_after(topic, id));
        let gaps: Vec<Topic> = gaps.collect();
        (!gaps.is_empty()).then(|| Replay {
            after,
            gaps,
            events: Vec::new(),
        })
    }

    /// Takes a channel out, and remembers how far it had come.
    pub(super) fn expire(&mut self, name: &ChannelName) -> VecDeque<Arc<Event>> {
        let Some((name, retained)) = self.channels.remove_entry(name) else {
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
        self.retained(name)
            .map_or(EventId::ZERO, |retained| retained.dropped)
    }

    /// Begins a channel that has had messages up to `dropped`, before it gets those that are retained.
    pub(super) fn begin_channel(&mut self, name: &ChannelName, dropped: EventId) {
        if name.is_broadcast() {
            self.broadcast.dropped = self.broadcast.dropped.max(dropped);
        } else {
            self.former.take(name);
            self.channels
                .entry(name.clone())
                .or_insert_with(|| Retained::new(dropped));
        }
    }

    /// Each channel's retained events, oldest first.
    pub(super) fn events_of(
        &self,
        name: &ChannelName,
    ) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let retained = self.retained(name).into_iter();
        retained.flat_map(|retained| &retained.events)
    }

    /// Events retained of one channel.
    pub(super) fn len_of(&self, name: &ChannelName) -> usize {
        self.retained(name)
            .map_or(0, |retained| retained.events.len())
    }

    /// Events retained of all channels.
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Memory of all retained events, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Takes note of a change, where somebody keeps a copy.
fn note(unsaved: &mut Option<Unsaved>, change: impl FnOnce(&mut Unsaved)) {
    if let Some(unsaved) = unsaved {
        change(unsaved);
    }
}

/// What a client is told the gaps of.
fn followed(topics: &Topics) -> impl Iterator<Item = Topic> + '_ {
    let names = topics.channels.iter().cloned().map(Topic::Channel);
    let patterns = topics.prefixes.iter().cloned().map(Topic::Prefix);
    let broadcast = Topic::Channel(ChannelName::broadcast());
    names.chain(patterns).chain([broadcast])
}
