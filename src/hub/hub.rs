//! The hub as publishers and `main` see it.

use super::announcer::{self, Announcer};
use super::janitor;
use super::limits::{ChannelStats, Limits, Published, Refusal};
use super::shared::Shared;
use crate::counters::Counters;
use crate::event::{ChannelName, EventName};
use crate::locks::lock;
use crossbeam_channel::{Receiver, Sender};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// The result of a publish that must not wait.
#[derive(Debug)]
pub enum Attempted {
    Published(Published),
    /// It would have to wait. Holds the messages.
    NoRoom(Vec<Box<str>>),
}

/// The hub's figures at one moment.
#[derive(Debug)]
pub struct HubStats {
    /// Channels, without `broadcast`.
    pub active_channels: usize,
    /// The larger of two numbers: channels that had a message, and channels that are only followed. Each may be
    /// `max_channels`.
    pub channels_of_a_kind: usize,
    /// Clients with a stream.
    pub connected_clients: usize,
    /// Messages retained, in all channels.
    pub history_messages: usize,
    /// Approximate memory of all histories, in bytes.
    pub history_bytes: usize,
}

/// Publishes, and connects clients.
#[derive(Debug)]
pub struct Hub {
    pub(super) shared: Arc<Shared>,
    /// Every subscription holds a clone; when all streams have ended, none is left. `None` once the hub closes.
    pub(super) open: Mutex<Option<Sender<Infallible>>>,
}

impl Hub {
    /// Starts a hub with its announcer and its janitor. The receiver closes when the hub is closed and the last stream
    /// has ended.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(
        limits: Limits,
        counters: Arc<Counters>,
    ) -> std::io::Result<(Arc<Hub>, Receiver<Infallible>)> {
        let (hub, all_ended) = Hub::new(limits, counters);
        announcer::start(hub.shared.clone())?;
        janitor::start(hub.shared.clone())?;
        Ok((Arc::new(hub), all_ended))
    }

    /// A hub without threads, for a single publisher that calls `Turns::take` after each publish.
    pub fn without_threads(
        limits: Limits,
        counters: Arc<Counters>,
    ) -> (Arc<Hub>, Turns, Receiver<Infallible>) {
        let (hub, all_ended) = Hub::new(limits, counters);
        let turns = Turns {
            announcer: Announcer::new(hub.shared.clone()),
            shared: hub.shared.clone(),
        };
        (Arc::new(hub), turns, all_ended)
    }

    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> (Hub, Receiver<Infallible>) {
        let (open, all_ended) = crossbeam_channel::bounded(0);
        let hub = Hub {
            shared: Arc::new(Shared::new(limits, counters)),
            open: Mutex::new(Some(open)),
        };
        (hub, all_ended)
    }

    /// Publishes messages to one channel. When this returns they have their ids, are in the history, and are on their
    /// way to every subscriber. Waits only while most of the channel's clients are far behind: that slows publishing
    /// down to what the machine can do, instead of cutting off healthy clients.
    ///
    /// # Errors
    /// The refusal. Nothing was published.
    pub fn publish(
        &self,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        let table = self.shared.lock_with_room_for(channel);
        self.shared.publish(table, channel, event_name, messages)
    }

    /// As `publish`, but returns the messages instead of waiting.
    ///
    /// # Errors
    /// The refusal. Nothing was published.
    pub fn try_publish(
        &self,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Attempted, Refusal> {
        let table = self.shared.lock();
        if table.has_no_room_for(channel) {
            return Ok(Attempted::NoRoom(messages));
        }
        self.shared
            .publish(table, channel, event_name, messages)
            .map(Attempted::Published)
    }

    /// Whether a publisher to this channel need not wait.
    pub fn has_room_for(&self, channel: &ChannelName) -> bool {
        !self.shared.lock().has_no_room_for(channel)
    }

    /// Waits until a publisher to this channel need not wait.
    pub fn wait_until_room_for(&self, channel: &ChannelName) {
        drop(self.shared.lock_with_room_for(channel));
    }

    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Stops accepting. What was published still reaches everybody; then all streams end.
    pub fn close(&self) {
        lock(&self.open).take();
        self.shared.lock().closing = true;
        self.shared.tell_of_room();
        self.shared.wake_announcer();
    }

    /// Whether nothing new is accepted.
    pub fn is_closing(&self) -> bool {
        self.shared.lock().closing
    }

    pub fn stats(&self) -> HubStats {
        let table = self.shared.lock();
        let (all, with_messages) = (table.channels.len(), table.channels.places.with_messages);
        HubStats {
            active_channels: all,
            channels_of_a_kind: with_messages.max(all - with_messages),
            connected_clients: table.audiences.client_count(),
            history_messages: table.history.len(),
            history_bytes: table.history.bytes(),
        }
    }

    /// Each channel's figures, sorted by name.
    pub fn channel_stats(&self) -> Vec<ChannelStats> {
        let mut stats = self.shared.lock().channel_stats();
        stats.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        stats
    }

    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

/// Does the work of a hub's threads in the publisher's thread. Dropping it ends all streams.
#[derive(Debug)]
pub struct Turns {
    announcer: Announcer,
    shared: Arc<Shared>,
}

impl Turns {
    /// Brings what was published to the subscribers, and sweeps. Makes `Hub::close` wake the calling thread. Never
    /// waits.
    pub fn take(&mut self) {
        self.shared.become_announcer();
        let deliveries = self.shared.lock().take_deliveries();
        self.announcer.carry(deliveries.unwrap_or_default());
        janitor::sweep(&self.shared);
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.shared.end_all_streams();
    }
}
