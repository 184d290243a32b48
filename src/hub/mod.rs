//! The hub: publish, subscribe, and everything between them. It knows no HTTP and no sockets.
//!
//! A publish takes the table's lock for a moment and is done; the announcer's thread carries the message to the
//! subscribers' crossbeam channels; each stream thread takes it from there. Called by the routes and by `main`.

mod announcer;
mod batch;
mod channel;
mod clock;
mod expired;
mod handoff;
mod janitor;
mod pace;
mod progress;
mod round;
mod subscriber;
mod subscription;
mod sync;
mod table;

pub use batch::{Batch, Queued};
pub use progress::{DirectWriter, End, Progress};
pub use subscription::{Next, Subscription};
pub use table::Replay;

use crate::access::Permit;
use crate::event::{ChannelName, Event, EventId, EventName, Form};
use crate::stats::Counters;
use crossbeam_channel::{Receiver, Sender};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime};
use table::Table;

/// How much the hub takes on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages retained per channel.
    pub history_events: usize,
    /// Memory of all channels' history together, in bytes.
    pub history_bytes: usize,
    /// How long a channel that nobody uses is kept.
    pub channel_ttl: Duration,
    /// Clients that may be connected.
    pub max_clients: usize,
    /// Channels that may exist, `broadcast` not counted.
    pub max_channels: usize,
    /// Messages that a client may lag behind.
    pub client_queue: usize,
    /// Events come in with their ids (`Hub::append`), which other hubs share.
    pub ids_come_from_outside: bool,
}

/// The id with which a client comes back.
#[derive(Clone, Debug)]
pub struct LastId {
    /// As the client named it.
    pub id: String,
    /// It may be one that was given outside and is yet to come in here.
    pub may_be_ahead: bool,
}

impl LastId {
    /// An id that only this server can have given.
    pub fn of_this_server(id: String) -> LastId {
        LastId {
            id,
            may_be_ahead: false,
        }
    }
}

/// A client's word that an id was given, which is newer than what the hub has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The client's number.
    client: u64,
    id: EventId,
}

/// Why the hub does not take a publish or a subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `MAX_CLIENTS` are connected; holds the limit.
    TooManyClients(usize),
    /// `MAX_CHANNELS` exist; holds the limit.
    TooManyChannels(usize),
    /// The server shuts down.
    Closing,
    /// Its Redis cannot be reached; nothing was published.
    RedisAway,
    /// Its Redis did not confirm the message: it was published, or not.
    Unconfirmed,
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The first message's id.
    pub first: EventId,
    /// The last message's id.
    pub last: EventId,
    /// Number of messages.
    pub count: usize,
    /// Clients that they are on their way to.
    pub clients: usize,
}

/// What came of a publish that must not wait.
#[derive(Debug)]
pub enum Attempt {
    /// It is done.
    Published(Published),
    /// It would have to wait; holds the messages.
    NoRoom(Vec<Box<str>>),
}

/// One channel's figures.
#[derive(Debug)]
pub struct ChannelStats {
    /// Its name.
    pub name: ChannelName,
    /// Clients that follow it.
    pub clients: usize,
    /// Messages published since it exists.
    pub messages: u64,
    /// Messages retained.
    pub history: usize,
    /// Time since the last publish or the last leaving, whichever is later.
    pub idle: Duration,
}

/// The hub's figures of one moment.
#[derive(Debug)]
pub struct HubStats {
    /// Channels, without `broadcast`.
    pub active_channels: usize,
    /// Clients with a stream.
    pub connected_clients: usize,
    /// Messages retained, of all channels.
    pub history_messages: usize,
    /// Memory of all histories in bytes, about.
    pub history_bytes: usize,
}

/// Events that are appended under one lock: enough to make its cost small, few enough to let others have it soon.
const APPEND_AT_ONCE: usize = 64;

/// See the module's comment.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    counters: Arc<Counters>,
    /// Guards all that is in the table. Held for a few lines, never while somebody writes or waits.
    table: Mutex<Table>,
    /// Signalled when there may be room for publishers again.
    room: Condvar,
    /// Set once, when the announcer's thread starts.
    announcer: std::sync::OnceLock<Thread>,
    /// Every subscription holds a clone of it; none is left once all streams have ended.
    open: Mutex<Option<Sender<Infallible>>>,
    /// All subscribers' channels are closed. Set after they are, read by stream threads before they sleep.
    closed: AtomicBool,
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
        let (open, all_ended) = crossbeam_channel::bounded(0);
        let hub = Arc::new(Hub {
            table: Mutex::new(Table::new(limits.clone())),
            limits,
            counters,
            room: Condvar::new(),
            announcer: std::sync::OnceLock::new(),
            open: Mutex::new(Some(open)),
            closed: AtomicBool::new(false),
        });
        announcer::start(hub.clone())?;
        janitor::start(hub.clone())?;
        Ok((hub, all_ended))
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
        let table = self.wait_for_room(channel);
        self.publish_now(table, channel, event_name, messages)
    }

    /// Connects a client to `channels` (`broadcast` comes with all of them). With `last_event_id` it first gets what
    /// it missed; replay and live delivery meet at one id, taken under one lock, so nothing is lost or repeated. The
    /// stream ends when its permit does.
    ///
    /// # Errors
    /// The refusal, and nothing has changed.
    pub fn subscribe(
        self: &Arc<Self>,
        channels: &[ChannelName],
        form: Form,
        last_event_id: Option<LastId>,
        permit: Permit,
    ) -> Result<Subscription, Refusal> {
        let mut channels: Vec<ChannelName> = channels
            .iter()
            .filter(|name| !name.is_broadcast())
            .cloned()
            .collect();
        channels.sort_unstable();
        channels.dedup();
        let Some(open) = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        else {
            return Err(Refusal::Closing);
        };
        let mut table = self.lock();
        table.admit(&channels)?;
        let number = table.next_client();
        let (replay, joined_after) = table.meet(&channels, last_event_id);
        let (subscriber, subscription) = subscription::pair(
            self.clone(),
            number,
            form,
            joined_after,
            permit,
            replay,
            open,
        );
        table.join(&channels, subscriber);
        Ok(subscription)
    }

    /// Ends the streams whose permit `still_grants` does not confirm, and returns how many. They get what is queued for
    /// them, and nothing that is published from now on.
    pub fn revoke(&self, still_grants: impl Fn(&Permit) -> bool) -> usize {
        let subscribers: Vec<_> = self.lock().subscribers().cloned().collect();
        let mut count = 0;
        for subscriber in subscribers {
            if !still_grants(&subscriber.permit) {
                self.leave(subscriber.number);
                subscriber.progress.revoke();
                count += 1;
            }
        }
        count
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
        let table = self.lock();
        if table.has_no_room_for(channel) && !table.closing {
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
        self.poke_announcer(table);
        self.counters.published.add(published.count as u64);
        Ok(published)
    }

    /// Whether a message to this channel, which will come in by `append`, would be taken.
    ///
    /// # Errors
    /// Why not.
    pub fn would_take(&self, channel: &ChannelName) -> Result<(), Refusal> {
        self.lock().would_take(channel)
    }

    /// Whether a publisher to this channel does not have to wait.
    pub fn has_room_for(&self, channel: &ChannelName) -> bool {
        let table = self.lock();
        !table.has_no_room_for(channel) || table.closing
    }

    /// Waits until a publisher to this channel does not have to wait.
    pub fn wait_until_room_for(&self, channel: &ChannelName) {
        drop(self.wait_for_room(channel));
    }

    /// Locks the table once there is room for messages to this channel.
    fn wait_for_room(&self, channel: &ChannelName) -> MutexGuard<'_, Table> {
        let mut table = self.lock();
        while table.has_no_room_for(channel) && !table.closing {
            table = self
                .room
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner);
        }
        table
    }

    /// Takes events that have their ids already, in their order, and carries them to their subscribers. One that it has
    /// is passed over. Waits while there is no room, but not for the clients of a single channel, who must not hold up
    /// all others.
    pub fn append(&self, events: Vec<Arc<Event>>) {
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let mut table = self.lock();
            while table.has_no_room() && !table.closing {
                table = self
                    .room
                    .wait(table)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            events
                .by_ref()
                .take(APPEND_AT_ONCE)
                .for_each(|event| table.append(event));
            self.poke_announcer(table);
        }
    }

    /// Takes note that what came up to `id` was not all for this hub, and that it has it all.
    pub fn skip_to(&self, id: EventId) {
        self.lock().skip_to(id);
    }

    /// Takes note that what was up to `id` is not retained anywhere, before the hub is filled.
    pub fn begin_after(&self, id: EventId) {
        self.lock().know_nothing_up_to(id);
    }

    /// Takes note that messages up to `id` are lost to this hub. Every client is told, for each of its channels.
    pub fn lose_up_to(&self, id: EventId) {
        let mut table = self.lock();
        table.lose_up_to(id);
        self.poke_announcer(table);
    }

    /// Whether everything that is retained elsewhere was appended.
    pub fn is_filled(&self) -> bool {
        self.lock().is_filled()
    }

    /// Takes note that everything retained elsewhere was appended: from now on events are announced. Clients that came
    /// back with an id before that, and so got nothing yet, are sent to come again; those without one are told that they
    /// may have missed something.
    pub fn set_filled(&self) {
        let mut table = self.lock();
        if table.is_filled() {
            return;
        }
        // First those, so that only who stays is told of a gap.
        let early = table.ahead_of(EventId::ZERO);
        let gone: Vec<_> = early
            .iter()
            .filter_map(|subscriber| table.leave(subscriber.number))
            .collect();
        table.set_filled();
        self.poke_announcer(table);
        gone.iter()
            .for_each(|subscriber| subscriber.progress.send_away());
    }

    /// Clients' ids that are yet to come in, or were never given.
    pub fn claims(&self) -> Vec<Claim> {
        self.lock().claims()
    }

    /// Settles claims with the newest id that there was after they were made. A client that named a newer one is sent to
    /// come again, and is told then.
    pub fn settle(&self, claims: &[Claim], newest: EventId) {
        if claims.is_empty() {
            return;
        }
        let liars = self.lock().settle(claims, newest);
        liars
            .iter()
            .for_each(|subscriber| subscriber.progress.send_away());
    }

    /// Ends the streams of clients that say that they have more than `id`, the newest that there is.
    pub fn send_away_ahead_of(&self, id: EventId) {
        let ahead = self.lock().ahead_of(id);
        self.send_away(&ahead);
    }

    fn send_away(&self, subscribers: &[Arc<subscriber::Subscriber>]) {
        for subscriber in subscribers {
            if self.lock().leave(subscriber.number).is_some() {
                subscriber.progress.send_away();
            }
        }
    }

    /// The newest id.
    pub fn newest(&self) -> EventId {
        self.lock().newest()
    }

    /// Clients that a message to this channel reaches.
    pub fn clients_of(&self, channel: &ChannelName) -> usize {
        self.lock().clients_of(channel)
    }

    /// How much it takes on.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn poke_announcer(&self, mut table: MutexGuard<'_, Table>) {
        let wake = table.wakes_announcer();
        drop(table);
        if wake {
            self.wake_announcer();
        }
    }

    /// Stops accepting. What was published still reaches everybody; then all streams end.
    pub fn close(&self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.lock().closing = true;
        self.room.notify_all();
        self.wake_announcer();
    }

    /// Whether nothing new is accepted any more.
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// The figures of this moment.
    pub fn stats(&self) -> HubStats {
        let table = self.lock();
        HubStats {
            active_channels: table.channel_count(),
            connected_clients: table.client_count(),
            history_messages: table.history_messages(),
            history_bytes: table.history_bytes(),
        }
    }

    /// Each channel's figures, sorted by name.
    pub fn channel_stats(&self) -> Vec<ChannelStats> {
        let mut stats = self.lock().channel_stats();
        stats.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        stats
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn leave(&self, number: u64) {
        // Bound to a name, so that the lock is free again when the subscriber's memory is given back.
        let left = self.lock().leave(number);
        drop(left);
    }

    /// Takes a client out that reads too slowly, and ends its stream.
    fn cut_as_slow(&self, subscriber: &subscriber::Subscriber) {
        if self.lock().leave(subscriber.number).is_some() {
            self.counters.slow_clients.add(1);
            subscriber.progress.cut_as_slow();
        }
    }

    /// Cuts every client off that stays behind although memory is full.
    fn cut_hoarders(&self) {
        let limit = self.limits.client_queue;
        self.cut_if(|subscriber, now_ms| subscriber.progress.hoards(limit, now_ms));
    }

    /// Cuts every client off that has been behind for too long, also when nothing is published to it any more.
    fn cut_laggards(&self) {
        self.cut_if(|subscriber, now_ms| {
            let progress = &subscriber.progress;
            progress.pace(self.limits.client_queue, now_ms) == pace::Pace::TooSlow
        });
    }

    /// Has the streams whose permit has run out end, also when the wall clock was set while they slept.
    fn wake_expired(&self) {
        let wall = SystemTime::now();
        for subscriber in self.lock().subscribers() {
            let expires = subscriber.permit.expires();
            if expires.is_some_and(|expires| wall >= expires) {
                subscriber.progress.handoff.wake();
            }
        }
    }

    fn cut_if(&self, is_to_go: impl Fn(&subscriber::Subscriber, u64) -> bool) {
        let now_ms = clock::running_ms();
        let to_go: Vec<_> = self
            .lock()
            .subscribers()
            .filter(|subscriber| is_to_go(subscriber, now_ms))
            .cloned()
            .collect();
        for subscriber in to_go {
            self.cut_as_slow(&subscriber);
        }
    }

    fn wake_announcer(&self) {
        if let Some(thread) = self.announcer.get() {
            thread.unpark();
        }
    }

    /// Nothing that holds the lock can panic half-way through a change, so a poisoned lock guards a good table.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
