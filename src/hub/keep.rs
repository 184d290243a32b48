//! What outlives the process, where somebody keeps a copy of the hub (the disk): what a new hub is filled with, and what has
//! changed since. The events themselves come in by `Hub::append`.

use super::clock::Moment;
use super::hub::Hub;
use super::table::Table;
use super::unsaved::Unsaved;
use crate::event::{ChannelName, Event, EventId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message as it was retained.
#[derive(Clone, Debug)]
pub struct KeptEvent {
    /// The message. Its running time counts nothing: the wall time stands for it.
    pub event: Arc<Event>,
    /// The newest id that its channel has had, or may have had, before it.
    pub before: EventId,
    /// Which message of its channel it is; the first is 1.
    pub number: u64,
}

/// What is to be known of a channel beside its retained events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelRecord {
    /// It is gone, and has had messages up to this id.
    Former(EventId),
    /// It exists.
    There {
        /// The newest id that it has had and no longer has. Said better by its oldest event, where one is retained.
        dropped: EventId,
        /// Messages published since it exists.
        messages: u64,
        /// Wall time of the last use in ms, where nobody follows it.
        last_used_ms: Option<u64>,
    },
}

/// Everything that a new hub is filled with.
#[derive(Debug, Default)]
pub struct Kept {
    /// In the order of their ids.
    pub events: Vec<KeptEvent>,
    /// Channels of which more is to be known.
    pub channels: Vec<(ChannelName, ChannelRecord)>,
    /// The newest id that was given.
    pub newest: EventId,
    /// Channels of which nothing is known may have had messages up to this id.
    pub forgotten: EventId,
    /// Messages up to this id may have been in any channel, and are lost.
    pub lost: EventId,
}

/// What has changed, beside the events that came in.
#[derive(Debug, Default)]
pub struct Changes {
    /// Events that are not retained any more.
    pub dropped: Vec<EventId>,
    /// Channels, with what is to be known of them now.
    pub channels: Vec<(ChannelName, Option<ChannelRecord>)>,
    /// As in `Kept`.
    pub forgotten: EventId,
}

/// How far a channel has come.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// The newest id that it has had, or may have had.
    pub newest: EventId,
    /// Messages published since it exists.
    pub messages: u64,
}

impl Hub {
    /// Fills a hub whose ids come from outside with what was kept, before its first client and its first message. From
    /// then on it collects changes.
    pub fn fill(&self, kept: Kept) {
        let mut table = self.shared.lock();
        table.history.unsaved = Some(Unsaved::default());
        table.fill(kept);
    }

    /// What has changed since the last call, or since `fill`.
    pub fn take_changes(&self) -> Changes {
        let mut table = self.shared.lock();
        let unsaved = table.history.unsaved.as_mut().map(std::mem::take);
        let Unsaved { dropped, touched } = unsaved.unwrap_or_default();
        let now = Moment::now();
        let channels = touched.into_iter().map(|name| {
            let record = table.record_of(&name, now);
            (name, record)
        });
        Changes {
            dropped,
            channels: channels.collect(),
            forgotten: table.history.former.forgotten(),
        }
    }

    /// All channels of which more is to be known than their events say.
    pub fn records(&self) -> HashMap<ChannelName, ChannelRecord> {
        let table = self.shared.lock();
        table.records(Moment::now()).collect()
    }

    /// How far a channel has come.
    pub fn tail_of(&self, name: &ChannelName) -> Tail {
        let table = self.shared.lock();
        Tail {
            newest: table.history.newest_of(name),
            messages: table.messages_of(name),
        }
    }

    /// Everything that a new hub would have to be filled with to be like this one.
    pub fn kept(&self) -> Kept {
        let table = self.shared.lock();
        let now = Moment::now();
        let broadcast = ChannelName::broadcast();
        let names = table.channels.names().chain([&broadcast]);
        let mut kept = Kept {
            events: names.flat_map(|name| table.kept_of(name)).collect(),
            channels: table.records(now).collect(),
            newest: table.history.newest(),
            forgotten: table.history.former.forgotten(),
            lost: table.history.lost_up_to,
        };
        drop(table);
        kept.events.sort_unstable_by_key(|kept| kept.event.id);
        kept
    }
}

impl Table {
    fn fill(&mut self, kept: Kept) {
        let now = Moment::now();
        self.history.former.forget_up_to(kept.forgotten);
        let mut existing = Vec::new();
        for (name, record) in kept.channels {
            match record {
                ChannelRecord::Former(newest) if name.is_broadcast() => {
                    self.history.begin_channel(&name, newest);
                }
                ChannelRecord::Former(newest) => drop(self.history.former.remember(name, newest)),
                ChannelRecord::There { .. } => existing.push((name, record)),
            }
        }
        for kept in kept.events {
            self.take_back(kept, now);
        }
        // Behind the events, which have their dates.
        for (name, record) in existing {
            self.take_back_channel(name, record, now);
        }
        self.history.skip_to(kept.newest);
        self.history.lose_up_to(kept.lost);
        self.set_filled();
    }

    fn take_back(&mut self, kept: KeptEvent, now: Moment) {
        let name = &kept.event.channel;
        if !self.has_place_for(name, 0) {
            // MAX_CHANNELS is lower than it was.
            self.history.pass_over(&kept.event);
            return;
        }
        if self.history.len_of(name) == 0 {
            self.history.begin_channel(name, kept.before);
        }
        let mut event = kept.event;
        if let Some(event) = Arc::get_mut(&mut event) {
            event.at = at(event.timestamp_ms, now);
        }
        self.retain(&event);
        if let Some(channel) = self.channels.get_mut(&event.channel) {
            channel.messages = kept.number;
        }
    }

    fn take_back_channel(&mut self, name: ChannelName, record: ChannelRecord, now: Moment) {
        let ChannelRecord::There {
            dropped,
            messages,
            last_used_ms,
        } = record
        else {
            return;
        };
        let last_used = last_used_ms.map_or(now.at, |ms| at(ms, now));
        if let Some(channel) = self.channels.get_mut(&name) {
            channel.last_used = channel.last_used.max(last_used);
            return;
        }
        if !self.has_place_for(&name, 0) {
            self.history.former.remember(name, dropped);
            return;
        }
        self.history.begin_channel(&name, dropped);
        self.channels.take_back(name, messages, last_used);
    }

    fn messages_of(&self, name: &ChannelName) -> u64 {
        self.channels
            .get(name)
            .map_or(0, |channel| channel.messages)
    }

    fn records(&self, now: Moment) -> impl Iterator<Item = (ChannelName, ChannelRecord)> + '_ {
        let existing = self.channels.names();
        let former = self.history.former.all().map(|(name, _)| name);
        let broadcast = std::iter::once(ChannelName::broadcast());
        let names = existing.chain(former).cloned().chain(broadcast);
        names.filter_map(move |name| Some((name.clone(), self.record_of(&name, now)?)))
    }

    /// What is to be known of the channel, where its events do not say it.
    fn record_of(&self, name: &ChannelName, now: Moment) -> Option<ChannelRecord> {
        let newest = self.history.events_of(name).next_back();
        if name.is_broadcast() {
            let dropped = self.history.dropped_of(name);
            let is_needed = newest.is_none() && dropped > EventId::ZERO;
            return is_needed.then_some(ChannelRecord::Former(dropped));
        }
        // One that is only followed has had what it had before it was gone.
        let channel = self.channels.get(name);
        let Some(channel) = channel.filter(|channel| channel.messages > 0) else {
            return self.history.former.known(name).map(ChannelRecord::Former);
        };
        let is_said = newest.is_some_and(|event| event.at >= channel.last_used);
        if channel.messages == 0 || (is_said && channel.named == 0) {
            return None;
        }
        Some(ChannelRecord::There {
            dropped: self.history.dropped_of(name),
            messages: channel.messages,
            last_used_ms: (channel.named == 0).then(|| wall_ms(channel.last_used, now)),
        })
    }

    fn kept_of(&self, name: &ChannelName) -> Vec<KeptEvent> {
        let mut before = self.history.dropped_of(name);
        let first = self.messages_of(name) + 1;
        let first = first.saturating_sub(self.history.len_of(name) as u64);
        let events = self.history.events_of(name).zip(first..);
        let kept = events.map(|(event, number)| KeptEvent {
            before: std::mem::replace(&mut before, event.id),
            event: event.clone(),
            number,
        });
        kept.collect()
    }
}

/// The running time of a moment of the past. One of the future counts as now.
fn at(wall_ms: u64, now: Moment) -> Instant {
    let age = Duration::from_millis(now.unix_ms().saturating_sub(wall_ms));
    // A system whose running time cannot be before its start makes the moment its start.
    now.at.checked_sub(age).unwrap_or(now.at)
}

fn wall_ms(moment: Instant, now: Moment) -> u64 {
    let age = now.at.saturating_duration_since(moment);
    now.unix_ms().saturating_sub(age.as_millis() as u64)
}
