//! The hub as the routes, the cluster and `main` see it.

use super::announcer::{self, Announcer};
use super::arrivals::Claim;
use super::janitor;
use super::limits::{ChannelStats, Limits, Published, Refusal};
use super::shared::Shared;
use super::subscriber::Subscriber;
use super::table::Table;
use crate::counters::Counters;
use crate::event::{ChannelName, Event, EventId, EventName};
use crossbeam_channel::{Receiver, Sender};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What came of a publish that must not wait.
#[derive(Debug)]
pub enum Attempt {
    /// It is done.
    Published(Published),
    /// It would have to wait; holds the messages.
    NoRoom(Vec<Box<str>>),
}

/// The hub's figures of one moment.
#[derive(Debug)]
pub struct HubStats {
    /// Channels, without `broadcast`.
    pub active_channels: usize,
    /// Of those that had a message and those that are only followed, the more numerous: each may be `max_channels`.
    pub channels_of_a_kind: usize,
    /// Clients with a stream.
    pub connected_clients: usize,
    /// Messages retained, of all channels.
    pub history_messages: usize,
    /// Memory of all histories in bytes, about.
    pub history_bytes: usize,
}

/// Events that are appended under one lock: enough to make its cost small, few enough to let others have it soon.
const APPEND_AT_ONCE: usize = 64;

/// Publish, subscribe, and what others have to know of both.
#[derive(Debug)]
pub struct Hub {
    pub(super) shared: Arc<Shared>,
    /// Every subscription holds a clone of it; none is left once all streams have ended.
    open: Mutex<Option<Sender<Infallible>>>,
}

impl Hub {
    /// A hub with its announcer and its janitor running. The receiver closes when the hub was closed and the last
    /// stream has ended.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        limits: Limits,
        counters: Arc<Counters>,
    ) -> std::io::Result<(Arc<Hub>, Receiver<Infallible>)> {
        let (hub, all_ended) = Hub::new(limits, counters);
        announcer::start(hub.shared.clone())?;
        janitor::start(hub.shared.clone())?;
        Ok((Arc::new(hub), all_ended))
    }

    /// A hub without threads, for a single publisher that takes one of the `Turns` after each publish.
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

    /// A hub for which nobody works yet.
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> (Hub, Receiver<Infallible>) {
        let (open, all_ended) = crossbeam_channel::bounded(0);
        let hub = Hub {
            shared: Arc::new(Shared::new(limits, counters)),
            open: Mutex::new(Some(open)),
        };
        (hub, all_ended)
    }

    /// Publishes messages to one channel: when this returns they are ordered, in the history, and on their way to every
    /// subscriber.
    /// Waits only when most of the channel's clients are far behind: that slows publishing down to what the machine can
    /// do, instead of throwing healthy clients out.
    ///
    /// # Errors
    /// The refusal, and nothing was published.
    pub fn publish(
        &self,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        let table = self.lock_with_room_for(channel);
        self.publish_now(table, channel, event_name, messages)
    }

    /// As `publish`, if that does not have to wait.
    ///
    /// # Errors
    /// The refusal, and nothing was published.
    pub fn try_publish(
        &self,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Attempt, Refusal> {
        let table = self.shared.lock();
        if table.has_no_room_for(channel) {
            return Ok(Attempt::NoRoom(messages));
        }
        self.publish_now(table, channel, event_name, messages)
            .map(Attempt::Published)
    }

    fn publish_now(
        &self,
        mut table: MutexGuard<'_, Table>,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        let published = table.publish(channel, event_name, messages)?;
        self.shared.announce(table);
        self.counters().published.add(published.count as u64);
        Ok(published)
    }

    fn lock_with_room_for(&self, channel: &ChannelName) -> MutexGuard<'_, Table> {
        self.shared
            .lock_unless(|table| table.has_no_room_for(channel))
    }

    /// Whether a publisher to this channel does not have to wait.
    pub fn has_room_for(&self, channel: &ChannelName) -> bool {
        !self.shared.lock().has_no_room_for(channel)
    }

    /// Waits until a publisher to this channel does not have to wait.
    pub fn wait_until_room_for(&self, channel: &ChannelName) {
        drop(self.lock_with_room_for(channel));
    }

    /// Whether a message to this channel, which will come in by `append`, would be taken; `beside` so many that come in before
    /// it, each to another channel that has had none yet.
    ///
    /// # Errors
    /// Why not.
    pub fn would_take(&self, channel: &ChannelName, beside: usize) -> Result<(), Refusal> {
        self.shared.lock().would_take(channel, beside)
    }

    /// Takes events that have their ids already, in their order, and carries them to their subscribers. One that it has
    /// is passed over. Waits while there is no room, but not for the clients of a single channel, who must not hold up
    /// all others.
    pub fn append(&self, events: Vec<Arc<Event>>) {
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let has_no_room = |table: &Table| table.pending.has_no_room() && !table.closing;
            let mut table = self.shared.lock_unless(has_no_room);
            let some = events.by_ref().take(APPEND_AT_ONCE);
            some.for_each(|event| table.append(event));
            self.shared.announce(table);
        }
    }

    /// Takes note that what came up to `id` was not all for this hub, and that it has it all.
    pub fn skip_to(&self, id: EventId) {
        self.shared.lock().history.skip_to(id);
    }

    /// Takes note that messages up to `id` may have been in any channel, before anything has come in.
    pub fn know_nothing_up_to(&self, id: EventId) {
        self.shared.lock().history.lose_up_to(id);
    }

    /// Takes note that what was up to `id` is not retained anywhere, before the hub is filled.
    pub fn begin_after(&self, id: EventId) {
        let mut table = self.shared.lock();
        let newest = table.history.newest();
        if table.arrivals.begin_after(id, newest) {
            table.history.lose_up_to(id);
        }
    }

    /// Takes note that messages up to `id` are lost to this hub. Every client is told, for each of its channels.
    pub fn lose_up_to(&self, id: EventId) {
        let mut table = self.shared.lock();
        table.lose_up_to(id);
        self.shared.announce(table);
    }

    /// Whether everything that is retained elsewhere was appended.
    pub fn is_filled(&self) -> bool {
        self.shared.lock().arrivals.is_filled()
    }

    /// Takes note that everything retained elsewhere was appended: from now on events are announced. Clients that came
    /// back with an id before that, and so got nothing yet, are sent to come again; those without one are told that they
    /// may have missed something.
    pub fn set_filled(&self) {
        let mut table = self.shared.lock();
        if table.arrivals.is_filled() {
            return;
        }
        // First those, so that only who stays is told of a gap.
        let early = table.leave_if(|subscriber| subscriber.joined_after > EventId::ZERO);
        table.set_filled();
        self.shared.announce(table);
        send_away(&early);
    }

    /// Begins again as a hub that has just started, with ids that are smaller than those that it has. Every client is sent to
    /// come again, and is told then that its id is of another time.
    pub fn start_over(&self) {
        let mut table = self.shared.lock();
        let left = table.leave_if(|_| true);
        let fresh = Table::new(self.limits().clone());
        table.history = fresh.history;
        table.arrivals = fresh.arrivals;
        table.pending.take();
        drop(table);
        send_away(&left);
    }

    /// Clients' ids that are yet to come in, or were never given.
    pub fn claims(&self) -> Vec<Claim> {
        self.shared.lock().arrivals.claims()
    }

    /// Settles claims with the newest id that there was after they were made. A client that named a newer one is sent to
    /// come again, and is told then.
    pub fn settle(&self, claims: &[Claim], newest: EventId) {
        if claims.is_empty() {
            return;
        }
        let mut table = self.shared.lock();
        let wrong = table.arrivals.settle(claims, newest);
        let left: Vec<_> = wrong
            .into_iter()
            .filter_map(|client| table.leave(client))
            .collect();
        drop(table);
        send_away(&left);
    }

    /// Ends the streams of clients that say that they have more than `id`, the newest that there is.
    pub fn send_away_ahead_of(&self, id: EventId) {
        let mut table = self.shared.lock();
        let ahead = table.leave_if(|subscriber| subscriber.joined_after > id);
        drop(table);
        send_away(&ahead);
    }

    /// The newest id.
    pub fn newest(&self) -> EventId {
        self.shared.lock().history.newest()
    }

    /// Clients that a message to this channel reaches.
    pub fn clients_of(&self, channel: &ChannelName) -> usize {
        self.shared.lock().clients_of(channel)
    }

    /// How much it takes on.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Stops accepting. What was published still reaches everybody; then all streams end.
    pub fn close(&self) {
        self.open().take();
        self.shared.lock().closing = true;
        self.shared.tell_of_room();
        self.shared.wake_announcer();
    }

    /// Whether nothing new is accepted any more.
    pub fn is_closing(&self) -> bool {
        self.shared.lock().closing
    }

    /// The figures of this moment.
    pub fn stats(&self) -> HubStats {
        let table = self.shared.lock();
        let (all, with_messages) = (table.channel_count(), table.channels.with_messages());
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

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// What shows that a stream is open.
    ///
    /// # Errors
    /// If nothing new is accepted any more.
    pub(super) fn open_sender(&self) -> Result<Sender<Infallible>, Refusal> {
        self.open().clone().ok_or(Refusal::Closing)
    }

    fn open(&self) -> MutexGuard<'_, Option<Sender<Infallible>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a hub's own threads would do, in a thread of the publisher's. All streams end when it is dropped.
#[derive(Debug)]
pub struct Turns {
    announcer: Announcer,
    shared: Arc<Shared>,
}

impl Turns {
    /// Carries what was published to the subscribers, and takes away what nobody needs any more. Has `Hub::close` wake the
    /// thread that calls. Waits for nobody.
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

/// Ends the streams of clients that were taken out, so that they come again.
fn send_away(subscribers: &[Arc<Subscriber>]) {
    for subscriber in subscribers {
        subscriber.progress.send_away();
    }
}
