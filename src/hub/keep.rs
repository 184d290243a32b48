//! What outlives the process where the disk keeps a copy of the hub: what a new hub is filled with, and what has
//! changed since. The events themselves come in by `Feed::append`.

use super::clock::Moment;
use super::feed::Feed;
use super::table::Table;
use super::unsaved::Unsaved;
use crate::event::{ChannelName, Event, EventId};
use crate::moments::before;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message as it was retained.
#[derive(Clone, Debug)]
pub struct KeptEvent {
    /// The message. Its running time means nothing; only its wall time counts.
    pub event: Arc<Event>,
    /// The newest id that its channel had, or may have had, before it.
    pub before: EventId,
    /// Its number in its channel; the first is 1.
    pub number: u64,
}

/// What the copy has of a channel beside its retained events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelRecord {
    /// It is gone, and had messages up to this id.
    Former(EventId),
    /// It exists.
    There {
        /// The newest id that it has had and no longer has. If events are retained, their `before` may tell more.
        dropped: EventId,
        /// Messages published since it exists.
        messages: u64,
        /// Wall time of the last use in ms, unless somebody follows it.
        last_used_ms: Option<u64>,
    },
}

/// Everything that a new hub is filled with.
#[derive(Debug, Default)]
pub struct Kept {
    /// In the order of their ids.
    pub events: Vec<KeptEvent>,
    /// Channels with more to tell than their events.
    pub channels: Vec<(ChannelName, ChannelRecord)>,
    /// The newest id that was given.
    pub newest: EventId,
    /// Channels that are not listed may have had messages up to this id.
    pub forgotten: EventId,
    /// Any channel may have had messages up to this id, which are lost.
    pub lost: EventId,
}

/// What has changed, apart from the events that came in.
#[derive(Debug, Default)]
pub struct Changes {
    /// Events that are no longer retained.
    pub dropped: Vec<EventId>,
    /// Channels that have changed, with what is now to be kept of them.
    pub channels: Vec<(ChannelName, Option<ChannelRecord>)>,
    /// As in `Kept`.
    pub forgotten: EventId,
}

/// How far a channel has come.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Its newest id, or one that it may have had.
    pub newest: EventId,
    /// Messages published since it exists.
    pub messages: u64,
}

impl Feed<'_> {
    /// Fills a hub with what was kept, before its first client and its first message. From then on the hub collects
    /// changes.
    pub fn fill(&self, kept: Kept) {
        let mut table = self.shared.lock();
        table.history.unsaved = Some(Unsaved::default());
        fill(&mut table, kept);
    }

    /// What has changed since the last call, or since `fill`.
    pub fn take_changes(&self) -> Changes {
        let mut table = self.shared.lock();
        let unsaved = table.history.unsaved.as_mut().map(std::mem::take);
        let Unsaved { dropped, touched } = unsaved.unwrap_or_default();
        let now = Moment::now();
        let channels = touched.into_iter().map(|name| {
            let record = record_of(&table, &name, now);
            (name, record)
        });
        Changes {
            dropped,
            channels: channels.collect(),
            forgotten: table.history.former.forgotten(),
        }
    }

    /// All channels with more to tell than their events.
    pub fn records(&self) -> HashMap<ChannelName, ChannelRecord> {
        let table = self.shared.lock();
        records(&table, Moment::now()).collect()
    }

    /// How far a channel has come.
    pub fn tail_of(&self, name: &ChannelName) -> Tail {
        let table = self.shared.lock();
        Tail {
            newest: table.history.newest_of(name),
            messages: messages_of(&table, name),
        }
    }

    /// Everything a new hub would need to become like this one. Holds the table's lock for as long as it takes to
    /// collect it.
    pub fn kept(&self) -> Kept {
        let table = self.shared.lock();
        let now = Moment::now();
        let broadcast = ChannelName::broadcast();
        let names = table.channels.names().chain([&broadcast]);
        let mut kept = Kept {
            events: names.flat_map(|name| kept_of(&table, name)).collect(),
            channels: records(&table, now).collect(),
            newest: table.history.ids.newest(),
            forgotten: table.history.former.forgotten(),
            lost: table.history.lost_up_to,
        };
        drop(table);
        kept.events.sort_unstable_by_key(|kept| kept.event.id);
        kept
    }
}

fn fill(table: &mut Table, kept: Kept) {
    let now = Moment::now();
    table.history.former.forget_up_to(kept.forgotten);
    let mut existing = Vec::new();
    for (name, record) in kept.channels {
        match record {
            ChannelRecord::Former(newest) if name.is_broadcast() => {
                table.history.begin_channel(&name, newest);
            }
            ChannelRecord::Former(newest) => drop(table.history.former.remember(name, newest)),
            ChannelRecord::There { .. } => existing.push((name, record)),
        }
    }
    let newest = newest_channels(&kept.events, table.limits.max_channels);
    for kept in kept.events {
        if newest.contains(&kept.event.channel) {
            take_back(table, kept, now);
        } else {
            table.history.pass_over(&kept.event);
        }
    }
    // After the events, which have their own dates.
    for (name, record) in existing {
        take_back_channel(table, name, record, now);
    }
    table.history.ids.skip_to(kept.newest);
    table.history.lose_up_to(kept.lost);
    table.set_filled();
}

/// The channels that were published to last, and `broadcast`: all, unless `MAX_CHANNELS` is lower than it was.
fn newest_channels(events: &[KeptEvent], most: usize) -> HashSet<ChannelName> {
    let mut newest = HashSet::from([ChannelName::broadcast()]);
    for kept in events.iter().rev() {
        if newest.len() <= most {
            newest.insert(kept.event.channel.clone());
        }
    }
    newest
}

fn take_back(table: &mut Table, kept: KeptEvent, now: Moment) {
    let name = &kept.event.channel;
    let is_first = table.history.len_of(name) == 0;
    // Something larger than all room may have come between.
    if is_first || kept.before > table.history.newest_of(name) {
        table.history.begin_channel(name, kept.before);
    }
    let mut event = kept.event;
    if let Some(event) = Arc::get_mut(&mut event) {
        event.at = at(event.timestamp_ms, now);
    }
    table.retain(&event);
    if let Some(channel) = table.channels.get_mut(&event.channel) {
        channel.messages = kept.number;
    }
}

fn take_back_channel(table: &mut Table, name: ChannelName, record: ChannelRecord, now: Moment) {
    let ChannelRecord::There {
        dropped,
        messages,
        last_used_ms,
    } = record
    else {
        return;
    };
    let last_used = last_used_ms.map_or(now.at, |ms| at(ms, now));
    if let Some(channel) = table.channels.get_mut(&name) {
        channel.last_used = channel.last_used.max(last_used);
        channel.messages = channel.messages.max(messages);
        table.history.begin_channel(&name, dropped);
        return;
    }
    if !table.has_place_for(&name) {
        table.history.former.remember(name, dropped);
        return;
    }
    table.history.begin_channel(&name, dropped);
    table.channels.take_back(name, messages, last_used);
}

fn messages_of(table: &Table, name: &ChannelName) -> u64 {
    table
        .channels
        .get(name)
        .map_or(0, |channel| channel.messages)
}

fn records(table: &Table, now: Moment) -> impl Iterator<Item = (ChannelName, ChannelRecord)> + '_ {
    let existing = table.channels.names();
    let former = table.history.former.all().map(|(name, _)| name);
    let broadcast = std::iter::once(ChannelName::broadcast());
    let names = existing.chain(former).cloned().chain(broadcast);
    names.filter_map(move |name| Some((name.clone(), record_of(table, &name, now)?)))
}

/// If an event's date is off by more, the clock was set since: the date no longer says when the channel was used.
const SET_CLOCK: Duration = Duration::from_secs(1);

/// What is to be kept of the channel, unless its events say it.
fn record_of(table: &Table, name: &ChannelName, now: Moment) -> Option<ChannelRecord> {
    let history = &table.history;
    let dropped = history.dropped_of(name);
    // What was larger than all room was lost behind what is retained.
    let is_last = |event: &&Arc<Event>| event.id > dropped || dropped <= history.lost_up_to;
    let newest = history.events_of(name).next_back().filter(is_last);
    if name.is_broadcast() {
        let is_needed = newest.is_none() && dropped > EventId::ZERO;
        return is_needed.then_some(ChannelRecord::Former(dropped));
    }
    // A channel that is only followed had its messages before it was gone.
    let channel = table.channels.get(name);
    let Some(channel) = channel.filter(|channel| channel.messages > 0) else {
        return table.history.former.known(name).map(ChannelRecord::Former);
    };
    let is_said = newest.is_some_and(|event| {
        event.at >= channel.last_used
            && at(event.timestamp_ms, now) + SET_CLOCK >= channel.last_used
    });
    if is_said && channel.named == 0 {
        return None;
    }
    Some(ChannelRecord::There {
        dropped,
        messages: channel.messages,
        last_used_ms: (channel.named == 0).then(|| wall_ms(channel.last_used, now)),
    })
}

fn kept_of(table: &Table, name: &ChannelName) -> Vec<KeptEvent> {
    let mut before = table.history.dropped_of(name);
    let first = messages_of(table, name) + 1;
    let first = first.saturating_sub(table.history.len_of(name) as u64);
    let events = table.history.events_of(name).zip(first..);
    let kept = events.map(|(event, number)| KeptEvent {
        before: std::mem::replace(&mut before, event.id),
        event: event.clone(),
        number,
    });
    kept.collect()
}

/// The running time of a past moment. A future one counts as now.
fn at(wall_ms: u64, now: Moment) -> Instant {
    let age_ms = now.unix_ms().saturating_sub(wall_ms);
    before(now.at, Duration::from_millis(age_ms))
}

fn wall_ms(moment: Instant, now: Moment) -> u64 {
    let age = now.at.saturating_duration_since(moment);
    now.unix_ms().saturating_sub(age.as_millis() as u64)
}
