//! The channels that exist, and who follows them, by name or by pattern.

use super::audience::AudienceId;
use super::patterns::PatternFollowers;
use super::places::Places;
use super::time;
use super::topics::Topics;
use crate::event::{ChannelName, Topic};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A channel that was published to, or that a client names. It is removed when it has been unused for `CHANNEL_TTL`.
#[derive(Debug)]
pub(super) struct Channel {
    /// Audiences that follow it by name; others may by patterns.
    audiences: Vec<AudienceId>,
    clients: usize,
    /// Clients that name it, even if a pattern of theirs covers it. The channel exists while there are any.
    pub(super) named: usize,
    pub(super) messages: u64,
    pub(super) last_used: Instant,
}

impl Channel {
    fn new(last_used: Instant) -> Channel {
        Channel {
            audiences: Vec::new(),
            clients: 0,
            named: 0,
            messages: 0,
            last_used,
        }
    }
}

/// All channels but `broadcast`. Owned by the table, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_name: HashMap<ChannelName, Channel>,
    /// Of channels that had a message. They and the others are each bounded by `MAX_CHANNELS`, so that subscribers
    /// cannot keep publishers out.
    pub(super) places: Places,
    patterns: PatternFollowers,
    /// When the last use of all of them may have been, whatever is known of each.
    pub(super) all_used: Option<Instant>,
}

impl Channels {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChannelName, &Channel)> {
        self.by_name.iter()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ChannelName> {
        self.by_name.keys()
    }

    pub(super) fn get(&self, name: &ChannelName) -> Option<&Channel> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &ChannelName) -> Option<&mut Channel> {
        self.by_name.get_mut(name)
    }

    pub(super) fn take_back(&mut self, name: ChannelName, messages: u64, last_used: Instant) {
        let mut channel = Channel::new(last_used);
        channel.messages = messages;
        self.places.with_messages += usize::from(messages > 0);
        self.by_name.insert(name, channel);
    }

    /// Whether the channel may have a message if at most `most` channels may. One that had none so far counts as new,
    /// whoever follows it.
    pub(super) fn have_place_for(&self, name: &ChannelName, most: usize) -> bool {
        let channel = self.by_name.get(name);
        channel.is_some_and(|channel| channel.messages > 0)
            || self.places.are_held_for(name)
            || self.places.taken() < most
    }

    /// Whether a client may name these channels if at most `most` without messages may exist.
    pub(super) fn have_place_for_all(&self, topics: &Topics, most: usize) -> bool {
        let is_new = |name: &&ChannelName| !self.by_name.contains_key(*name);
        let new = topics.named().filter(is_new).count();
        self.by_name.len() - self.places.with_messages + new <= most
    }

    pub(super) fn is_named(&self, name: &ChannelName) -> bool {
        let channel = self.by_name.get(name);
        channel.is_some_and(|channel| channel.named > 0)
    }

    /// Counts a message. Returns the number of clients that it reaches.
    pub(super) fn note_message(&mut self, name: &ChannelName, at: Instant) -> usize {
        let by_patterns = self.clients_by_patterns(name);
        let channel = self
            .by_name
            .entry(name.clone())
            .or_insert_with(|| Channel::new(at));
        // A client may have left since.
        channel.last_used = channel.last_used.max(at);
        if channel.messages == 0 {
            self.places.note_first(name);
        }
        channel.messages += 1;
        channel.clients + by_patterns
    }

    pub(super) fn clients_of(&self, name: &ChannelName) -> usize {
        let by_name = self.by_name.get(name).map_or(0, |channel| channel.clients);
        by_name + self.clients_by_patterns(name)
    }

    fn clients_by_patterns(&self, name: &ChannelName) -> usize {
        let followers = self.patterns.of(name);
        followers.map(|followers| followers.clients).sum()
    }

    /// The audiences that a message to this channel reaches, each once.
    pub(super) fn audiences_of<'a>(
        &'a self,
        name: &'a ChannelName,
    ) -> impl Iterator<Item = AudienceId> + 'a {
        let by_name = self.by_name.get(name).into_iter();
        let by_name = by_name.flat_map(|channel| &channel.audiences);
        let by_patterns = self.patterns.of(name);
        let by_patterns = by_patterns.flat_map(|followers| &followers.audiences);
        by_name.chain(by_patterns).copied()
    }

    /// The audiences that follow by exactly this topic.
    pub(super) fn audiences_by(&self, topic: &Topic) -> &[AudienceId] {
        let audiences = match topic {
            Topic::Channel(name) => self.by_name.get(name).map(|channel| &channel.audiences),
            Topic::Prefix(prefix) => self.patterns.by(prefix).map(|found| &found.audiences),
        };
        audiences.map_or(&[], Vec::as_slice)
    }

    /// Every topic that a client follows.
    pub(super) fn followed(&self) -> impl Iterator<Item = Topic> + '_ {
        let channels = self.by_name.iter();
        let names = channels.filter(|(_, channel)| channel.clients > 0);
        let names = names.map(|(name, _)| Topic::Channel(name.clone()));
        let patterns = self.patterns.all();
        names.chain(patterns.map(|followers| Topic::Prefix(followers.prefix.clone())))
    }

    /// `new_audience` is the client's audience, if that is new.
    pub(super) fn join(&mut self, topics: &Topics, new_audience: Option<AudienceId>) {
        self.patterns.join(&topics.prefixes, new_audience);
        let now = time::now();
        for name in topics.named() {
            let channel = self
                .by_name
                .entry(name.clone())
                .or_insert_with(|| Channel::new(now));
            channel.named += 1;
        }
        for name in &topics.channels {
            if let Some(channel) = self.by_name.get_mut(name) {
                channel.clients += 1;
                channel.audiences.extend(new_audience);
            }
        }
    }

    /// `deserted` is the client's audience, if that is now empty.
    pub(super) fn leave(&mut self, topics: &Topics, deserted: Option<AudienceId>) {
        self.patterns.leave(&topics.prefixes, deserted);
        let now = time::now();
        for name in topics.named() {
            if let Some(channel) = self.by_name.get_mut(name) {
                channel.named -= 1;
                channel.last_used = now;
            }
        }
        for name in &topics.channels {
            if let Some(channel) = self.by_name.get_mut(name) {
                channel.clients -= 1;
                if deserted.is_some() {
                    channel.audiences.retain(|&id| Some(id) != deserted);
                }
            }
        }
    }

    /// Channels that nobody names or publishes to, unused for `ttl` at this moment.
    pub(super) fn unused_for(
        &self,
        ttl: Duration,
        now: Instant,
    ) -> impl Iterator<Item = (&ChannelName, &Channel)> {
        self.iter().filter(move |(name, channel)| {
            let used = self.all_used.max(Some(channel.last_used));
            let is_unused = used.is_some_and(|used| now.saturating_duration_since(used) >= ttl);
            channel.named == 0 && is_unused && !self.places.are_held_for(name)
        })
    }

    /// Gives up the channels that nobody names and that had no message: there is nothing to be lost with them.
    pub(super) fn forget_empty(&mut self) {
        self.by_name
            .retain(|_, channel| channel.named > 0 || channel.messages > 0);
    }

    pub(super) fn remove(&mut self, name: &ChannelName) {
        if let Some(channel) = self.by_name.remove(name) {
            self.places.with_messages -= usize::from(channel.messages > 0);
        }
    }
}
