//! The table: every channel, who follows it, what it retains, and what waits for the announcer. One mutex (in `Shared`)
//! guards all of it, so nothing here takes a lock, waits, or writes to a client.

use super::arrivals::{gap_notices, Arrivals};
use super::audience::{AudienceId, Audiences, Delivery};
use super::channels::{Channel, Channels};
use super::clock::Moment;
use super::history::History;
use super::limits::{ChannelStats, Limits, Published, Refusal};
use super::pending::Pending;
use super::subscriber::Subscriber;
use super::time;
use super::topics::Topics;
use crate::event::{ChannelName, Event, EventId, EventName, Kind, Topic};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// A sequence number that no message reaches within a millisecond.
const UNUSED_SEQ: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Table {
    pub(super) limits: Limits,
    pub(super) channels: Channels,
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
        let born = if limits.ids_come_from_outside {
            EventId::ZERO
        } else {
            EventId {
                // No run gives this id, since none gets this far within a millisecond: whoever reads before the first
                // message gets it as the newest. An earlier run may have been in this very millisecond.
                ms: now.unix_ms() + 1,
                seq: UNUSED_SEQ,
            }
        };
        Table {
            channels: Channels::default(),
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
    /// While the hub closes, nobody waits.
    pub(super) fn has_no_room_for(&self, name: &ChannelName) -> bool {
        let congested = &self.pending.congested;
        let is_congested = || {
            name.is_broadcast()
                || self
                    .channels
                    .audiences_of(name)
                    .any(|id| congested.contains(&id))
        };
        let has_room = !self.pending.has_no_room() && (congested.is_empty() || !is_congested());
        !has_room && !self.closing
    }

    /// Whether a message to this channel would be taken.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn would_take(&self, name: &ChannelName) -> Result<(), Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        if !self.has_place_for(name) {
            return Err(Refusal::TooManyChannels(self.limits.max_channels));
        }
        Ok(())
    }

    pub(super) fn has_place_for(&self, name: &ChannelName) -> bool {
        let most = self.limits.max_channels;
        name.is_broadcast() || self.channels.have_place_for(name, most)
    }

    /// Gives each message its id and its place in the history, and leaves it for the announcer: all messages, or none.
    pub(super) fn publish(
        &mut self,
        name: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        self.would_take(name)?;
        let now = Moment::now();
        let newest = self.history.ids.newest();
        let mut published = Published::new(newest, newest, messages.len());
        for (number, text) in messages.into_iter().enumerate() {
            let id = self.history.ids.next(now);
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

    /// Takes an event that has an id: into the history and, once the table is filled, to the announcer. One that it has
    /// is skipped.
    pub(super) fn append(&mut self, event: Arc<Event>) {
        let newest = self.history.ids.newest();
        if event.id <= newest {
            return;
        }
        if newest == EventId::ZERO && self.arrivals.is_filled {
            // The first event of all: a client with an older id has it from a history that is lost.
            self.history.lose_up_to(event.id);
        }
        self.history.ids.skip_to(event.id);
        let name = &event.channel;
        if !self.has_place_for(name) && self.arrivals.makes_room(event.at) {
            // What was unused when this one came was gone, on the servers that were there.
            self.expire(event.at, |_| true);
        }
        let clients = if self.channels.is_named(name) || self.has_place_for(name) {
            self.retain(&event)
        } else {
            // Those who follow it by a pattern get it.
            self.history.pass_over(&event);
            self.clients_of(name)
        };
        if self.arrivals.is_filled && clients > 0 {
            self.pending.add(event);
        }
    }

    /// Adds the event to its channel's history. Returns the number of clients that it reaches.
    pub(super) fn retain(&mut self, event: &Arc<Event>) -> usize {
        self.history.append(event);
        if event.channel.is_broadcast() {
            return self.audiences.client_count();
        }
        self.channels.note_message(&event.channel, event.at)
    }

    /// Records that any channel may have had messages up to `id` that are lost. Clients are told at once, for each of
    /// their topics.
    pub(super) fn lose_up_to(&mut self, id: EventId) {
        let after = self.history.ids.newest();
        self.history.lose_up_to(id);
        // No message can have a lost id, so the notices can.
        self.history.ids.skip_to(id);
        self.tell_of_gaps(after);
    }

    /// Records that everything retained outside is here: from now on events are announced. Clients that are connected
    /// may have missed something: nobody can tell what was published after they came, nor what of that is lost.
    pub(super) fn set_filled(&mut self) {
        self.arrivals.is_filled = true;
        if self.audiences.client_count() > 0 {
            self.tell_of_gaps(EventId::ZERO);
        }
    }

    /// Tells every client, for each of its topics, that messages after `after` are, or may be, lost.
    fn tell_of_gaps(&mut self, after: EventId) {
        let broadcast = Topic::Channel(ChannelName::broadcast());
        let mut all: Vec<Topic> = self.channels.followed().chain([broadcast]).collect();
        // In one order, or a run of the simulation could not be repeated.
        all.sort_unstable();
        let notices = gap_notices(all, self.history.ids.newest(), after);
        notices.for_each(|notice| self.pending.add(notice));
    }

    pub(super) fn clients_of(&self, name: &ChannelName) -> usize {
        if name.is_broadcast() {
            return self.audiences.client_count();
        }
        self.channels.clients_of(name)
    }

    /// Returns the number for a new client of these topics, if there is room for it.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn admit(&mut self, topics: &Topics) -> Result<u64, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        if self.audiences.client_count() >= self.limits.max_clients {
            return Err(Refusal::TooManyClients(self.limits.max_clients));
        }
        let most = self.limits.max_channels;
        if !self.channels.have_place_for_all(topics, most) {
            self.channels.forget_empty();
        }
        if !self.channels.have_place_for_all(topics, most) {
            return Err(Refusal::TooManyChannels(most));
        }
        Ok(self.next_number)
    }

    /// Takes a client that was just admitted.
    pub(super) fn join(&mut self, topics: &Arc<Topics>, subscriber: Arc<Subscriber>) {
        self.next_number = subscriber.number + 1;
        if subscriber.joined_after > self.history.ids.newest() {
            self.arrivals
                .claim(subscriber.number, subscriber.joined_after);
        }
        let new_audience = self.audiences.join(topics, subscriber);
        self.channels.join(topics, new_audience);
    }

    /// `None` if the client has left already.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Subscriber>> {
        let left = self.audiences.leave(number)?;
        self.arrivals.forget(number);
        self.channels.leave(&left.topics, left.deserted);
        Some(left.subscriber)
    }

    /// Removes the clients that `goes` accepts, and returns them.
    pub(super) fn leave_if(&mut self, goes: impl Fn(&Subscriber) -> bool) -> Vec<Arc<Subscriber>> {
        let subscribers = self.audiences.subscribers();
        let going = subscribers.filter(|subscriber| goes(subscriber));
        let numbers: Vec<u64> = going.map(|subscriber| subscriber.number).collect();
        let left = numbers.into_iter().filter_map(|number| self.leave(number));
        left.collect()
    }

    /// Takes everything that is pending, by audience. `None` if there is nothing.
    pub(super) fn take_deliveries(&mut self) -> Option<Vec<Delivery>> {
        let events = self.pending.take();
        if events.is_empty() {
            return None;
        }
        let mut by_audience: HashMap<AudienceId, Vec<Arc<Event>>> = HashMap::new();
        for event in events {
            let add = |id| by_audience.entry(id).or_default().push(event.clone());
            match &event.kind {
                Kind::Gap { of, .. } if !of.is_broadcast() => {
                    let audiences = self.channels.audiences_by(of);
                    audiences.iter().copied().for_each(add);
                }
                _ if event.channel.is_broadcast() => self.audiences.ids().for_each(add),
                _ => self.channels.audiences_of(&event.channel).for_each(add),
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

    /// Removes the channels that nobody names and that had been unused for `CHANNEL_TTL` at this moment, if they may go.
    /// Returns their figures and their events, for the caller to drop after the lock is released.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        may_go: impl Fn(&Channel) -> bool,
    ) -> Vec<(ChannelStats, VecDeque<Arc<Event>>)> {
        let unused = self.channels.unused_for(self.limits.channel_ttl, now);
        let expired: Vec<_> = unused
            .filter(|(_, channel)| may_go(channel))
            .map(|(name, channel)| self.stats_of(name, channel))
            .collect();
        let take_out = |stats: ChannelStats| {
            self.channels.remove(&stats.name);
            let events = self.history.expire(&stats.name);
            (stats, events)
        };
        expired.into_iter().map(take_out).collect()
    }

    /// In no order.
    pub(super) fn channel_stats(&self) -> Vec<ChannelStats> {
        let stats_of = |(name, channel)| self.stats_of(name, channel);
        self.channels.iter().map(stats_of).collect()
    }

    fn stats_of(&self, name: &ChannelName, channel: &Channel) -> ChannelStats {
        ChannelStats {
            name: name.clone(),
            clients: self.clients_of(name),
            messages: channel.messages,
            history: self.history.len_of(name),
            idle: time::now().saturating_duration_since(channel.last_used),
        }
    }
}
