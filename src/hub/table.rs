//! The channel table: every channel, who follows what, ids, and the history's memory. One mutex guards all of it (in
//! `Hub`), so nothing here takes a lock, waits, or writes to a client.
//!
//! Called by the hub, the announcer and the janitor, each for a few lines at a time.

use super::channel::Channel;
use super::clock::unix_ms;
use super::expired::Expired;
use super::subscriber::Subscriber;
use super::{ChannelStats, Claim, LastId, Limits, Published, Refusal};
use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of an audience, unique while the server runs.
pub(super) type AudienceId = u64;

/// All subscribers that follow the same set of channels. They get the same bytes.
#[derive(Debug)]
struct Audience {
    /// Sorted, each once, without `broadcast`; empty for those who want broadcasts alone.
    channels: Arc<[ChannelName]>,
    members: HashMap<u64, Arc<Subscriber>>,
    /// `members` as the announcer takes it along; made anew when somebody came or went.
    snapshot: Option<Arc<[Arc<Subscriber>]>>,
}

impl Audience {
    fn snapshot(&mut self) -> Arc<[Arc<Subscriber>]> {
        let members = &self.members;
        self.snapshot
            .get_or_insert_with(|| members.values().cloned().collect())
            .clone()
    }
}

/// What one audience has to get, in the order of ids.
pub(super) struct Delivery {
    pub(super) audience: AudienceId,
    pub(super) subscribers: Arc<[Arc<Subscriber>]>,
    pub(super) events: Vec<Arc<Event>>,
}

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

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    channels: HashMap<ChannelName, Channel>,
    broadcast: Channel,
    audiences: HashMap<AudienceId, Audience>,
    audience_of: HashMap<Arc<[ChannelName]>, AudienceId>,
    /// The audience of each client.
    clients: HashMap<u64, AudienceId>,
    next_number: u64,
    /// Clients that came with an id that is yet to come in here, if it was ever given.
    claims: HashMap<u64, EventId>,
    /// Messages up to this id may have been in any channel.
    unknown_up_to: EventId,
    /// The id of the newest event, or the start of the server.
    newest: EventId,
    /// Ids below this were given, if at all, by an earlier run, whose history is lost.
    born: EventId,
    /// What is known of channels that are not there.
    expired: Expired,
    /// False until everything that is retained elsewhere is in here, if events come with their ids.
    is_filled: bool,
    /// The channel of each retained event, oldest first, over all channels: who has to go when memory is full.
    by_age: BTreeMap<EventId, ChannelName>,
    history_bytes: usize,
    /// Published, and not yet taken by the announcer.
    pending: Vec<Arc<Event>>,
    pending_bytes: usize,
    /// Audiences that do not keep up: publishers to their channels have to wait.
    pub(super) congested: HashSet<AudienceId>,
    /// Batches take too much memory: all publishers have to wait.
    pub(super) memory_is_full: bool,
    /// The announcer sleeps and has to be woken when there is news.
    pub(super) announcer_asleep: bool,
    /// Nothing new is accepted.
    pub(super) closing: bool,
}

/// At most this much may wait for the announcer before publishers have to wait too. Small beside the history, large
/// enough for a round's batches.
const MAX_PENDING_EVENTS: usize = 4096;
const MAX_PENDING_BYTES: usize = 4 << 20;

impl Table {
    pub(super) fn new(limits: Limits) -> Table {
        // Ids from outside outlive a run.
        let born = if limits.ids_come_from_outside {
            EventId::ZERO
        } else {
            EventId {
                // One that an earlier run cannot have given, also if that was in this very millisecond.
                ms: unix_ms() + 1,
                seq: 0,
            }
        };
        Table {
            is_filled: !limits.ids_come_from_outside,
            expired: Expired::new(limits.max_channels),
            limits,
            channels: HashMap::new(),
            // Only ids of this run are compared with it, and of those it has lost nothing yet.
            broadcast: Channel::new(EventId::ZERO),
            audiences: HashMap::new(),
            audience_of: HashMap::new(),
            clients: HashMap::new(),
            next_number: 1,
            claims: HashMap::new(),
            unknown_up_to: EventId::ZERO,
            newest: born,
            born,
            by_age: BTreeMap::new(),
            history_bytes: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            congested: HashSet::new(),
            memory_is_full: false,
            announcer_asleep: false,
            closing: false,
        }
    }

    /// Whether a publisher to this channel has to wait: for the announcer, or because the channel's clients are behind.
    pub(super) fn has_no_room_for(&self, name: &ChannelName) -> bool {
        self.has_no_room() || self.is_congested(name)
    }

    /// Whether nothing can be taken: the announcer is behind, or memory is full.
    pub(super) fn has_no_room(&self) -> bool {
        let is_pending_full =
            self.pending.len() >= MAX_PENDING_EVENTS || self.pending_bytes >= MAX_PENDING_BYTES;
        is_pending_full || self.memory_is_full
    }

    fn is_congested(&self, name: &ChannelName) -> bool {
        if self.congested.is_empty() || name.is_broadcast() {
            return !self.congested.is_empty();
        }
        self.channels.get(name).is_some_and(|channel| {
            let mut audiences = channel.audiences.iter();
            audiences.any(|audience| self.congested.contains(audience))
        })
    }

    /// Gives each message its id and its place in the history, and leaves them for the announcer: all, or none.
    pub(super) fn publish(
        &mut self,
        name: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        self.ensure_channel(name)?;
        let mut published = Published {
            first: self.newest,
            last: self.newest,
            count: messages.len(),
            clients: 0,
        };
        for (number, text) in messages.into_iter().enumerate() {
            self.newest = self.newest.next(unix_ms());
            let event = Arc::new(Event {
                id: self.newest,
                channel: name.clone(),
                name: event_name.cloned(),
                text,
                kind: Kind::Message,
                at: Instant::now(),
            });
            published.clients = self.retain(&event);
            published.last = self.newest;
            if number == 0 {
                published.first = self.newest;
            }
            if published.clients > 0 {
                self.leave_for_announcer(event);
            }
        }
        Ok(published)
    }

    /// Whether a message to this channel could be taken.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn would_take(&self, name: &ChannelName) -> Result<(), Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        let is_there = name.is_broadcast() || self.channels.contains_key(name);
        if !is_there && self.channels.len() >= self.limits.max_channels {
            return Err(Refusal::TooManyChannels(self.limits.max_channels));
        }
        Ok(())
    }

    /// Takes an event that has its id already: into the history, and, once the table is filled, on to the announcer. One
    /// that it has is passed over.
    pub(super) fn append(&mut self, event: Arc<Event>) {
        if event.id <= self.newest {
            return;
        }
        if self.newest == EventId::ZERO {
            // The first of all: who comes with an older id has it from a history that is lost.
            self.know_nothing_up_to(event.id);
        }
        self.newest = event.id;
        if self.ensure_channel(&event.channel).is_err() {
            // Nobody here follows it, or it would be there.
            self.expired.remember(event.channel.clone(), event.id);
            return;
        }
        let clients = self.retain(&event);
        if self.is_filled && clients > 0 {
            self.leave_for_announcer(event);
        }
    }

    fn leave_for_announcer(&mut self, event: Arc<Event>) {
        self.pending_bytes += event.cost();
        self.pending.push(event);
    }

    /// Whether the announcer sleeps although there is something for it. It does not from now on.
    pub(super) fn wakes_announcer(&mut self) -> bool {
        !self.pending.is_empty() && std::mem::take(&mut self.announcer_asleep)
    }

    /// Everything up to `id` is here.
    pub(super) fn skip_to(&mut self, id: EventId) {
        self.newest = self.newest.max(id);
    }

    /// Messages up to `id` may have been in any channel, and are not retained anywhere.
    pub(super) fn know_nothing_up_to(&mut self, id: EventId) {
        self.unknown_up_to = self.unknown_up_to.max(id);
        self.expired.forget_up_to(id);
        self.broadcast.lost(id);
        for channel in self.channels.values_mut() {
            channel.lost(id);
        }
    }

    /// The same, of a table that clients follow: each is told at once, for each of its channels.
    pub(super) fn lose_up_to(&mut self, id: EventId) {
        let after = self.newest;
        self.know_nothing_up_to(id);
        let names = self.followed(|_| true);
        self.tell_of_gaps(names, after);
    }

    /// The followed channels that fit, and `broadcast` if it does.
    fn followed(&self, fits: impl Fn(&Channel) -> bool) -> Vec<ChannelName> {
        let channels = self.channels.iter();
        let followed = channels.filter(|(_, channel)| channel.clients > 0 && fits(channel));
        let broadcast = fits(&self.broadcast).then(ChannelName::broadcast);
        let names = followed.map(|(name, _)| name.clone());
        names.chain(broadcast).collect()
    }

    /// Tells everybody who follows one of these channels that messages after `after` are, or may be, lost.
    fn tell_of_gaps(&mut self, channels: Vec<ChannelName>, after: EventId) {
        // A place in the order of their own, after what was there and before what comes.
        let newest = self.newest;
        let places = (1..).map(|n| EventId {
            ms: newest.ms,
            seq: newest.seq + n,
        });
        for (channel, id) in channels.into_iter().zip(places) {
            let notice = Event {
                id,
                channel,
                name: None,
                text: Box::default(),
                kind: Kind::Gap(after),
                at: Instant::now(),
            };
            self.leave_for_announcer(Arc::new(notice));
        }
    }

    /// Everything that is retained elsewhere is in here.
    pub(super) fn is_filled(&self) -> bool {
        self.is_filled
    }

    /// From now on events are announced. Clients that are here already may have missed some of what came before: nobody
    /// can tell what was published after they came.
    pub(super) fn set_filled(&mut self) {
        self.is_filled = true;
        if !self.clients.is_empty() {
            let unknown = self.unknown_up_to;
            let keeps_nothing = self.limits.history_events == 0;
            let had_messages = |channel: &Channel| {
                keeps_nothing || channel.retained() > 0 || channel.newest() > unknown
            };
            let names = self.followed(had_messages);
            self.tell_of_gaps(names, EventId::ZERO);
        }
    }

    /// The newest id.
    pub(super) fn newest(&self) -> EventId {
        self.newest
    }

    /// Clients that a message to this channel reaches.
    pub(super) fn clients_of(&self, name: &ChannelName) -> usize {
        if name.is_broadcast() {
            return self.clients.len();
        }
        self.channels.get(name).map_or(0, |channel| channel.clients)
    }

    /// Puts the event into its channel's history, and drops what has to go for it. Returns the number of clients.
    fn retain(&mut self, event: &Arc<Event>) -> usize {
        let all_clients = self.clients.len();
        let Some(channel) = channel_mut(&mut self.channels, &mut self.broadcast, &event.channel)
        else {
            return 0;
        };
        channel.last_used = Instant::now();
        channel.messages += 1;
        channel.append(event.clone());
        self.history_bytes += event.cost();
        self.by_age.insert(event.id, event.channel.clone());
        let clients = if event.channel.is_broadcast() {
            all_clients
        } else {
            channel.clients
        };
        if channel.retained() > self.limits.history_events {
            self.drop_oldest_of(&event.channel);
        }
        while self.history_bytes > self.limits.history_bytes {
            let Some((_, oldest)) = self.by_age.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            self.drop_oldest_of(&oldest);
        }
        clients
    }

    fn drop_oldest_of(&mut self, name: &ChannelName) {
        if let Some(event) = channel_mut(&mut self.channels, &mut self.broadcast, name)
            .and_then(Channel::drop_oldest)
        {
            self.by_age.remove(&event.id);
            self.history_bytes -= event.cost();
        }
    }

    fn ensure_channel(&mut self, name: &ChannelName) -> Result<(), Refusal> {
        if name.is_broadcast() || self.channels.contains_key(name) {
            return Ok(());
        }
        if self.channels.len() >= self.limits.max_channels {
            return Err(Refusal::TooManyChannels(self.limits.max_channels));
        }
        let dropped = self.expired.take(name);
        self.channels.insert(name.clone(), Channel::new(dropped));
        Ok(())
    }

    /// Whether one more client, of these channels, fits.
    pub(super) fn admit(&mut self, channels: &[ChannelName]) -> Result<(), Refusal> {
        if self.closing {
            return Err(Refusal::Closing);
        }
        if self.clients.len() >= self.limits.max_clients {
            return Err(Refusal::TooManyClients(self.limits.max_clients));
        }
        let new = channels
            .iter()
            .filter(|name| !self.channels.contains_key(*name))
            .count();
        if self.channels.len() + new > self.limits.max_channels {
            return Err(Refusal::TooManyChannels(self.limits.max_channels));
        }
        Ok(())
    }

    /// The number for a new client.
    pub(super) fn next_client(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// The replay for a client, if it comes back, and the id with which that ends and after which live delivery begins.
    pub(super) fn meet(
        &self,
        channels: &[ChannelName],
        last: Option<LastId>,
    ) -> (Option<Replay>, EventId) {
        let Some(last) = last else {
            return (None, self.newest);
        };
        let id = EventId::parse(&last.id);
        if !self.is_filled {
            // Nothing is known yet. It gets nothing before it has come again: see `ahead_of`.
            return (None, id.unwrap_or_default().max(EventId { ms: 0, seq: 1 }));
        }
        let ahead = id.filter(|id| last.may_be_ahead && *id > self.newest);
        if let Some(ahead) = ahead {
            // It has all that is here.
            return (None, ahead);
        }
        (Some(self.replay(channels, last.id)), self.newest)
    }

    /// Claims that were not settled.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let claims = self.claims.iter();
        claims.map(|(&client, &id)| Claim { client, id }).collect()
    }

    /// Settles claims, all of which are older than the knowledge that `newest` is the newest id. Clients whose claim was
    /// wrong are taken out.
    pub(super) fn settle(&mut self, claims: &[Claim], newest: EventId) -> Vec<Arc<Subscriber>> {
        let mut liars = Vec::new();
        for claim in claims {
            // Numbers are given once: this is the same claim, or its client has left.
            self.claims.remove(&claim.client);
            if claim.id > newest {
                liars.extend(self.leave(claim.client));
            }
        }
        liars
    }

    /// Clients that have, or say that they have, more than `id`.
    pub(super) fn ahead_of(&self, id: EventId) -> Vec<Arc<Subscriber>> {
        self.subscribers()
            .filter(|subscriber| subscriber.joined_after > id)
            .cloned()
            .collect()
    }

    /// Adds a client that was admitted. `channels` is sorted, each once, without `broadcast`.
    pub(super) fn join(&mut self, channels: &[ChannelName], subscriber: Arc<Subscriber>) {
        for name in channels {
            let expired = &mut self.expired;
            let channel = self
                .channels
                .entry(name.clone())
                .or_insert_with(|| Channel::new(expired.take(name)));
            channel.clients += 1;
        }
        let id = match self.audience_of.get(channels) {
            Some(&id) => id,
            None => self.found_audience(channels, subscriber.number),
        };
        self.clients.insert(subscriber.number, id);
        if subscriber.joined_after > self.newest {
            self.claims
                .insert(subscriber.number, subscriber.joined_after);
        }
        if let Some(audience) = self.audiences.get_mut(&id) {
            audience.members.insert(subscriber.number, subscriber);
            audience.snapshot = None;
        }
    }

    fn found_audience(&mut self, channels: &[ChannelName], id: AudienceId) -> AudienceId {
        let channels: Arc<[ChannelName]> = channels.into();
        for name in channels.iter() {
            if let Some(channel) = self.channels.get_mut(name) {
                channel.audiences.push(id);
            }
        }
        self.audience_of.insert(channels.clone(), id);
        self.audiences.insert(
            id,
            Audience {
                channels,
                members: HashMap::new(),
                snapshot: None,
            },
        );
        id
    }

    /// Takes a client out; nothing happens if it is out already.
    pub(super) fn leave(&mut self, number: u64) -> Option<Arc<Subscriber>> {
        let id = self.clients.remove(&number)?;
        self.claims.remove(&number);
        let audience = self.audiences.get_mut(&id)?;
        audience.snapshot = None;
        let subscriber = audience.members.remove(&number);
        let deserted = audience.members.is_empty();
        let channels = audience.channels.clone();
        let now = Instant::now();
        for name in channels.iter() {
            if let Some(channel) = self.channels.get_mut(name) {
                channel.clients -= 1;
                channel.last_used = now;
                if deserted {
                    channel.audiences.retain(|&other| other != id);
                }
            }
        }
        if deserted {
            self.audiences.remove(&id);
            self.audience_of.remove(&channels);
        }
        subscriber
    }

    /// What a client with the id `after` has to get of `channels` and of `broadcast`.
    fn replay(&self, channels: &[ChannelName], after: String) -> Replay {
        // `0` asks for everything; an id that this run cannot have given says nothing about what its client has.
        let id = EventId::parse(&after);
        let known = id.filter(|&id| id >= self.born && id <= self.newest);
        let from = known.unwrap_or(EventId::ZERO);
        let mut replay = Replay::default();
        let followed = channels
            .iter()
            .map(|name| (name.clone(), self.channels.get(name)))
            .chain([(ChannelName::broadcast(), Some(&self.broadcast))]);
        for (name, channel) in followed {
            let may_miss = match (id, known) {
                (Some(EventId::ZERO), _) => false,
                (_, None) => true,
                (_, Some(id)) => match channel {
                    Some(channel) => channel.misses_after(id),
                    None => id < self.expired.newest_of(&name),
                },
            };
            if may_miss {
                replay.gaps.push(name);
            }
            if let Some(channel) = channel {
                replay.events.extend(channel.after(from).cloned());
            }
        }
        replay.events.sort_unstable_by_key(|event| event.id);
        replay.after = after;
        replay
    }

    /// Takes everything that was published since the last time, by audience. `None` if there is nothing.
    pub(super) fn take_deliveries(&mut self) -> Option<Vec<Delivery>> {
        if self.pending.is_empty() {
            return None;
        }
        self.pending_bytes = 0;
        let mut by_audience: HashMap<AudienceId, Vec<Arc<Event>>> = HashMap::new();
        for event in std::mem::take(&mut self.pending) {
            let mut add = |id: &AudienceId| {
                by_audience.entry(*id).or_default().push(event.clone());
            };
            if event.channel.is_broadcast() {
                self.audiences.keys().for_each(&mut add);
            } else if let Some(channel) = self.channels.get(&event.channel) {
                channel.audiences.iter().for_each(&mut add);
            }
        }
        let deliveries = by_audience
            .into_iter()
            .filter_map(|(id, events)| {
                let subscribers = self.audiences.get_mut(&id)?.snapshot();
                Some(Delivery {
                    audience: id,
                    subscribers,
                    events,
                })
            })
            .collect();
        Some(deliveries)
    }

    /// Every subscriber there is.
    pub(super) fn subscribers(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.audiences
            .values()
            .flat_map(|audience| audience.members.values())
    }

    /// Takes every subscriber out.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Subscriber>> {
        let numbers: Vec<u64> = self.clients.keys().copied().collect();
        numbers
            .into_iter()
            .filter_map(|number| self.leave(number))
            .collect()
    }

    /// Takes the channels out that nobody follows and that were not used for `ttl`.
    pub(super) fn expire(&mut self, ttl: Duration) -> Vec<(ChannelName, Channel)> {
        let now = Instant::now();
        let expired: Vec<ChannelName> = self
            .channels
            .iter()
            .filter(|(_, channel)| {
                channel.clients == 0 && now.saturating_duration_since(channel.last_used) >= ttl
            })
            .map(|(name, _)| name.clone())
            .collect();
        expired
            .into_iter()
            .filter_map(|name| {
                let channel = self.channels.remove(&name)?;
                self.expired.remember(name.clone(), channel.newest());
                for id in channel.ids() {
                    self.by_age.remove(&id);
                }
                self.history_bytes -= channel.bytes();
                Some((name, channel))
            })
            .collect()
    }

    /// Number of channels, without `broadcast`.
    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Number of connected clients.
    pub(super) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Number of retained messages, of all channels.
    pub(super) fn history_messages(&self) -> usize {
        self.by_age.len()
    }

    /// Memory of all histories, in bytes, about.
    pub(super) fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    /// Each channel's figures, in no order.
    pub(super) fn channel_stats(&self) -> Vec<ChannelStats> {
        self.channels
            .iter()
            .map(|(name, channel)| ChannelStats {
                name: name.clone(),
                clients: channel.clients,
                messages: channel.messages,
                history: channel.retained(),
                idle: channel.last_used.elapsed(),
            })
            .collect()
    }
}

fn channel_mut<'a>(
    channels: &'a mut HashMap<ChannelName, Channel>,
    broadcast: &'a mut Channel,
    name: &ChannelName,
) -> Option<&'a mut Channel> {
    if name.is_broadcast() {
        Some(broadcast)
    } else {
        channels.get_mut(name)
    }
}
