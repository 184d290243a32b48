//! The retained events of each channel. Which of them have to go is for the history to decide.

use super::topics::Topics;
use crate::event::{ChannelName, Event, EventId, Prefix, Topic};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// One channel's events.
#[derive(Debug)]
pub(super) struct Retained {
    /// Oldest first.
    pub(super) events: VecDeque<Arc<Event>>,
    /// The newest id that this channel has had and no longer has. A client whose id is below it has missed something.
    pub(super) dropped: EventId,
}

impl Retained {
    /// Events up to `dropped` may have been in the channel before.
    fn new(dropped: EventId) -> Retained {
        Retained {
            events: VecDeque::new(),
            dropped,
        }
    }

    pub(super) fn newest(&self) -> EventId {
        let newest = self.events.back().map_or(EventId::ZERO, |event| event.id);
        newest.max(self.dropped)
    }

    pub(super) fn after(&self, after: EventId) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let first = self.events.partition_point(|event| event.id <= after);
        self.events.range(first..)
    }
}

/// Owned by the history.
#[derive(Debug)]
pub(super) struct RetainedChannels {
    /// `broadcast`, and channels that have had a message since they exist.
    by_name: HashMap<ChannelName, Retained>,
    broadcast: ChannelName,
}

impl RetainedChannels {
    pub(super) fn new() -> RetainedChannels {
        let broadcast = ChannelName::broadcast();
        // It is compared only with ids of this run, and none of those are lost yet.
        let retained = Retained::new(EventId::ZERO);
        RetainedChannels {
            by_name: HashMap::from([(broadcast.clone(), retained)]),
            broadcast,
        }
    }

    pub(super) fn get(&self, name: &ChannelName) -> Option<&Retained> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &ChannelName) -> Option<&mut Retained> {
        self.by_name.get_mut(name)
    }

    /// A new channel has had messages up to what `dropped` returns.
    pub(super) fn get_or_begin(
        &mut self,
        name: &ChannelName,
        dropped: impl FnOnce() -> EventId,
    ) -> &mut Retained {
        let entry = self.by_name.entry(name.clone());
        entry.or_insert_with(|| Retained::new(dropped()))
    }

    pub(super) fn remove(&mut self, name: &ChannelName) -> Option<(ChannelName, Retained)> {
        self.by_name.remove_entry(name)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Retained> {
        self.by_name.values_mut()
    }

    /// What a client of these topics gets, `broadcast` included.
    pub(super) fn of<'a>(&'a self, topics: &'a Topics) -> impl Iterator<Item = &'a Retained> {
        let names = topics.channels.iter().chain([&self.broadcast]);
        let by_name = names.filter_map(|name| self.by_name.get(name));
        by_name.chain(self.covered_by(&topics.prefixes))
    }

    pub(super) fn any(&self, topic: &Topic, is_so: impl Fn(&Retained) -> bool) -> bool {
        match topic {
            Topic::Channel(name) => self.get(name).is_some_and(is_so),
            Topic::Prefix(prefix) => self.covered_by(std::slice::from_ref(prefix)).any(is_so),
        }
    }

    fn covered_by<'a>(&'a self, prefixes: &'a [Prefix]) -> impl Iterator<Item = &'a Retained> {
        // Clients without a pattern cost no search.
        let channels = (!prefixes.is_empty()).then_some(&self.by_name).into_iter();
        let covered = channels.flatten().filter(|(name, _)| {
            let mut prefixes = prefixes.iter();
            prefixes.any(|prefix| prefix.covers(name))
        });
        covered.map(|(_, retained)| retained)
    }
}
