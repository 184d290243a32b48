//! What is retained: the newest events of each channel, bounded by number and all together by bytes, and what is known
//! about those that are not retained any more. It gives the ids, where they do not come from outside, and makes replays.
//! It knows nobody who follows.

use super::clock::{ClockWatch, Moment};
use super::former::FormerChannels;
use crate::event::{ChannelName, Event, EventId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// What a client that came back has to get before it goes live.
#[derive(Debug, Default)]
pub struct Replay {
    /// The id that the client named, as it named it.
    pub after: String,
    /// Channels of which messages after that id are, or may be, lost.
    pub gaps: Vec<ChannelName>,
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

    fn after(&self, after: EventId) -> impl Iterator<Item = &Arc<Event>> {
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
    former: FormerChannels,
    /// The channel of each retained event, oldest first: who has to go when memory is full.
    by_age: BTreeMap<EventId, ChannelName>,
    bytes: usize,
    /// Ids below this may have been given by an earlier run, whose history is lost.
    born: EventId,
    clock: ClockWatch,
    /// The wall clock was set ahead, and no id was given since.
    has_clock_jumped: bool,
    newest: EventId,
}

impl History {
    /// Retains nothing yet. Ids begin after `born`, which no earlier run may have given; `max_channels` without a history
    /// are remembered.
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
            // The first that this run can give: also one that is `born` itself may be of an earlier run with its clock ahead.
            born: EventId {
                seq: born.seq + 1,
                ..born
            },
            clock: ClockWatch::new(now),
            has_clock_jumped: false,
            newest: born,
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
            let former = &mut self.former;
            self.channels
                .entry(name.clone())
                .or_insert_with(|| Retained::new(former.take(name)))
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
        self.former.remember(event.channel.clone(), event.id);
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
        }
    }

    /// Takes note that any channel may have had messages up to `id` that are not retained.
    pub(super) fn lose_up_to(&mut self, id: EventId) {
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

    /// Whether something of the channel after `id` is, or may be, no longer retained.
    fn misses_after(&self, name: &ChannelName, id: EventId) -> bool {
        let dropped = self
            .retained(name)
            .map_or_else(|| self.former.newest_of(name), |retained| retained.dropped);
        id < dropped
    }

    /// What a client with the id `after` has to get of `channels` and of `broadcast`.
    pub(super) fn replay(&self, channels: &[ChannelName], after: String) -> Replay {
        // `0` asks for everything; an id that this run cannot have given says nothing about what its client has.
        let id = EventId::parse(&after);
        let known = id.filter(|&id| id >= self.born && id <= self.newest);
        let from = known.unwrap_or(EventId::ZERO);
        let mut replay = Replay::default();
        for name in channels.iter().chain([&ChannelName::broadcast()]) {
            let may_miss = match known {
                Some(id) => id != EventId::ZERO && self.misses_after(name, id),
                None => id != Some(EventId::ZERO),
            };
            if may_miss {
                replay.gaps.push(name.clone());
            }
            if let Some(retained) = self.retained(name) {
                replay.events.extend(retained.after(from).cloned());
            }
        }
        replay.events.sort_unstable_by_key(|event| event.id);
        replay.after = after;
        replay
    }

    /// What a client has to be told that has all that is here, and more up to `id`, which it named `after`: of what is yet to
    /// come something may be lost already.
    pub(super) fn loss_after(
        &self,
        channels: &[ChannelName],
        id: EventId,
        after: String,
    ) -> Option<Replay> {
        let broadcast = ChannelName::broadcast();
        let names = channels.iter().chain([&broadcast]);
        let gaps = names.filter(|name| self.misses_after(name, id));
        let gaps: Vec<ChannelName> = gaps.cloned().collect();
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
        }
        self.former.remember(name, retained.newest());
        retained.events
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
