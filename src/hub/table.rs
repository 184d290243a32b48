//! The table: every channel, who follows it, what is retained of it, and what waits for the announcer. One mutex guards
//! all of it (in `Shared`), so nothing here takes a lock, waits, or writes to a client.

use super::arrivals::{gap_notices, Arrivals, LastId};
use super::audience::{AudienceId, Audiences, Delivery};
use super::clock::Moment;
use super::history::{History, Replay};
use super::limits::{ChannelStats, Limits, Published, Refusal};
use super::pending::Pending;
use super::subscriber::Subscriber;
use super::time;
use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// A channel that was published to or is followed. It goes when it was not used for `CHANNEL_TTL`.
#[derive(Debug)]
struct Channel {
    audiences: Vec<AudienceId>,
    clients: usize,
    messages: u64,
    last_used: Instant,
}

impl Channel {
    fn new() -> Channel {
        Channel {
            audiences: Vec::new(),
            clients: 0,
            messages: 0,
            last_used: time::now(),
        }
    }
}

/// Everything that the hub's mutex guards.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    /// Without `broadcast`.
    channels: HashMap<ChannelName, Channel>,
    /// Those of them that had a message. Each kind is bounded by `MAX_CHANNELS`, so that no subscriber keeps a publisher out.
    with_messages: usize,
    pub(super) history: History,
    pub(super) arrivals: Arrivals,
    pub(super) audiences: Audiences,
    pub(super) pending: Pending,
    next_number: u64,
    /// Nothing new is accepted.
    pub(super) closing: bool,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Table {
        let now = Moment::now();
        // Ids from outside outlive a run.
        let born = if limits.ids_come_from_outside {
            EventId::ZERO
        } else {
            EventId {
                // One that an earlier run cannot have given, also if that was in this very millisecond.
                ms: now.unix_ms() + 1,
                seq: 0,
            }
        };
        Table {
            channels: HashMap::new(),
            with_messages: 0,
            history: History::new(
                limits.history_events,
                limits.history_bytes,
                limits.max_channels,
                born,
                now,
            ),
            arrivals: Arrivals::new(!limits.ids_come_from_outside),
            audiences: Audiences::default(),
            pending: Pending::default(),
            next_number: 1,
            closing: false,
            limits,
        }
    }

    /// Whether a publisher to this channel has to wait: for the announcer, or because the channel's clients are behind.
    /// While the hub closes nobody waits.
    pub(super) fn has_no_room_for(&self, name: &ChannelName) -> bool {
        let congested = &self.pending.congested;
        let is_congested = || match self.channels.get(name) {
            // It reaches everybody.
            _ if name.is_broadcast() => true,
            Some(channel) => channel.audiences.iter().any(|id| congested.contains(id)),
            None => false,
        };
        let has_room = !self.pending.has_no_room() && (congested.is_empty() || !is_congested());
        !has_room && !self.closing
    }

    /// Whether a message to this channel could be taken.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn would_take(&self, name: &ChannelName) -> Result<(), Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        if !self.has_place_for(name) {
            return Err(Refusal::TooManyChannels(self.limits.max_channels));
        }
        Ok(())
    }

    /// Whether the channel can have a message. One that had none so far counts as new, whoever follows it.
    fn has_place_for(&self, name: &ChannelName) -> bool {
        let had_messages = |channel: &Channel| channel.messages > 0;
        let is_there = name.is_broadcast() || self.channels.get(name).is_some_and(had_messages);
        is_there || self.with_messages < self.limits.max_channels
    }

    /// Gives each message its id and its place in the history, and leaves them for the announcer: all, or none.
    pub(super) fn publish(
        &mut self,
        name: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        self.would_take(name)?;
        let now = Moment::now();
        let newest = self.history.newest();
        let mut published = Published {
            first: newest,
            last: newest,
            count: messages.len(),
            clients: 0,
        };
        for (number, text) in messages.into_iter().enumerate() {
            let id = self.history.next_id(now);
            let event = Arc::new(Event {
                id,
                channel: name.clone(),
                name: event_name.cloned(),
                text,
                kind: Kind::Message,
                timestamp_ms: now.unix_ms(),
                at: now.at,
            });
            published.clients = self.retain(&event);
            published.last = id;
            if number == 0 {
                published.first = id;
            }
            if published.clients > 0 {
                self.pending.add(event);
            }
        }
        Ok(published)
    }

    /// Takes an event that has its id already: into the history, and, once the table is filled, on to the announcer. One
    /// that it has is passed over.
    pub(super) fn append(&mut self, event: Arc<Event>) {
        let newest = self.history.newest();
        if event.id <= newest {
            return;
        }
        if newest == EventId::ZERO && self.arrivals.is_filled() {
            // The first of all: who comes with an older id has it from a history that is lost.
            self.history.lose_up_to(event.id);
        }
        self.history.skip_to(event.id);
        let is_followed = self.clients_of(&event.channel) > 0;
        if !is_followed && !self.has_place_for(&event.channel) {
            self.history.pass_over(&event);
            return;
        }
        let clients = self.retain(&event);
        if self.arrivals.is_filled() && clients > 0 {
            self.pending.add(event);
        }
    }

    /// Puts the event into its channel's history. Returns the number of clients that it reaches.
    fn retain(&mut self, event: &Arc<Event>) -> usize {
        self.history.append(event);
        if event.channel.is_broadcast() {
            return self.audiences.client_count();
        }
        let channel = self
            .channels
            .entry(event.channel.clone())
            .or_insert_with(Channel::new);
        channel.last_used = event.at;
        self.with_messages += usize::from(channel.messages == 0);
        channel.messages += 1;
        channel.clients
    }

    /// Takes note that messages up to `id` may have been in any channel, and are not retained anywhere. Clients are told at once,
    /// for each of their channels.
    pub(super) fn lose_up_to(&mut self, id: EventId) {
        let after = self.history.newest();
        self.history.lose_up_to(id);
        // No message can have the ids that are lost: the notices have a place there.
        self.history.skip_to(id);
        self.tell_of_gaps(after);
    }

    /// Takes note that everything retained outside is here: from now on events are announced. Clients that are here already
    /// may have missed something: nobody can tell what was published after they came, nor what of that is not retained any
    /// more.
    pub(super) fn set_filled(&mut self) {
        self.arrivals.set_filled();
        if self.audiences.client_count() > 0 {
            self.tell_of_gaps(EventId::ZERO);
        }
    }

    /// Tells everybody, for each of its channels, that messages after `after` are, or may be, lost.
    fn tell_of_gaps(&mut self, after: EventId) {
        let channels = self.channels.iter();
        let followed = channels.filter(|(_, channel)| channel.clients > 0);
        let names = followed.map(|(name, _)| name.clone());
        let names = names.chain([ChannelName::broadcast()]).collect();
        let notices = gap_notices(names, self.history.newest(), after);
        notices.for_each(|notice| self.pending.add(notice));
    }

    /// Clients that a message to this channel reaches.
    pub(super) fn clients_of(&self, name: &ChannelName) -> usize {
        if name.is_broadcast() {
            return self.audiences.client_count();
        }
        self.channels.get(name).map_or(0, |channel| channel.clients)
    }

    /// Gives the number for one more client, of these channels, if there is room for it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn admit(&mut self, channels: &[ChannelName]) -> Result<u64, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        if self.audiences.client_count() >= self.limits.max_clients {
            return Err(Refusal::TooManyClients(self.limits.max_clients));
        }
        let new = channels
            .iter()
            .filter(|name| !self.channels.contains_key(*name))
            .count();
        if self.channels.len() - self.with_messages + new > self.limits.max_channels {
            return Err(Refusal::TooManyChannels(self.limits.max_channels));
        }
        let number = self.next_number;
        self.next_number += 1;
        Ok(number)
    }

    /// The replay for a client that comes back, if there can be one, and the id after which live delivery begins. With both
    /// taken under one lock nothing is lost or repeated between them.
    pub(super) fn replay_for(
        &self,
        channels: &[ChannelName],
        last: Option<LastId>,
    ) -> (Option<Replay>, EventId) {
        let newest = self.history.newest();
        let Some(last) = last else {
            return (None, self.arrivals.live_from(newest));
        };
        match self.arrivals.live_after(&last, newest) {
            Some(id) if !self.arrivals.is_filled() => (None, id),
            Some(id) => (self.history.loss_after(channels, id, last.id), id),
            None => (Some(self.history.replay(channels, last.id)), newest),
        }
    }

    /// Adds a client that was admitted. `channels` is sorted, each once, without `broadcast`.
    pub(super) fn join(&mut self, channels: &[ChannelName], subscriber: Arc<Subscriber>) {
        if subscriber.joined_after > self.history.newest() {
            self.arrivals
                .claim(subscriber.number, subscriber.joined_after);
        }
        let new_audience = self.audiences.join(channels, subscriber);
        for name in channels {
            let channel = self
                .channels
                .entry(name.clone())
                .or_insert_with(Channel::new);
            channel.clients += 1;
            channel.audiences.extend(new_audience);
        }
    }

    /// Takes a client out; `None` if it is out already.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Subscriber>> {
        let left = self.audiences.leave(number)?;
        self.arrivals.forget(number);
        let now = time::now();
        for name in left.channels.iter() {
            if let Some(channel) = self.channels.get_mut(name) {
                channel.clients -= 1;
                channel.last_used = now;
                if left.deserted.is_some() {
                    channel.audiences.retain(|&id| Some(id) != left.deserted);
                }
            }
        }
        Some(left.subscriber)
    }

    /// Takes out the clients that `goes` fits, and returns them.
    pub(super) fn leave_if(&mut self, goes: impl Fn(&Subscriber) -> bool) -> Vec<Arc<Subscriber>> {
        let subscribers = self.audiences.subscribers();
        let going = subscribers.filter(|subscriber| goes(subscriber));
        let numbers: Vec<u64> = going.map(|subscriber| subscriber.number).collect();
        let left = numbers.into_iter().filter_map(|number| self.leave(number));
        left.collect()
    }

    /// Takes everything that was published since the last time, by audience. `None` if there is nothing.
    pub(super) fn take_deliveries(&mut self) -> Option<Vec<Delivery>> {
        let events = self.pending.take();
        if events.is_empty() {
            return None;
        }
        let mut by_audience: HashMap<AudienceId, Vec<Arc<Event>>> = HashMap::new();
        for event in events {
            let mut add = |id| by_audience.entry(id).or_default().push(event.clone());
            if event.channel.is_broadcast() {
                self.audiences.ids().for_each(&mut add);
            } else if let Some(channel) = self.channels.get(&event.channel) {
                channel.audiences.iter().copied().for_each(&mut add);
            }
        }
        let audiences = &mut self.audiences;
        let deliveries = by_audience.into_iter().filter_map(|(audience, events)| {
            Some(Delivery {
                audience,
                subscribers: audiences.members(audience)?,
                events,
            })
        });
        Some(deliveries.collect())
    }

    /// Takes out the channels that nobody follows and that were not used for `CHANNEL_TTL`: what they were, and what they
    /// retained, for the caller to drop when the lock is free again.
    pub(super) fn expire(&mut self) -> Vec<(ChannelStats, VecDeque<Arc<Event>>)> {
        let now = time::now();
        let ttl = self.limits.channel_ttl;
        let is_over = |channel: &Channel| {
            channel.clients == 0 && now.saturating_duration_since(channel.last_used) >= ttl
        };
        let channels = self.channels.iter();
        let expired: Vec<_> = channels
            .filter(|(_, channel)| is_over(channel))
            .map(|(name, channel)| self.stats_of(name, channel))
            .collect();
        let take_out = |stats: ChannelStats| {
            self.channels.remove(&stats.name);
            self.with_messages -= usize::from(stats.messages > 0);
            let events = self.history.expire(&stats.name);
            (stats, events)
        };
        expired.into_iter().map(take_out).collect()
    }

    /// Number of channels, without `broadcast`.
    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Each channel's figures, in no order.
    pub(super) fn channel_stats(&self) -> Vec<ChannelStats> {
        let stats_of = |(name, channel)| self.stats_of(name, channel);
        self.channels.iter().map(stats_of).collect()
    }

    fn stats_of(&self, name: &ChannelName, channel: &Channel) -> ChannelStats {
        ChannelStats {
            name: name.clone(),
            clients: channel.clients,
            messages: channel.messages,
            history: self.history.len_of(name),
            idle: time::now().saturating_duration_since(channel.last_used),
        }
    }
}
