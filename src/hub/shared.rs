//! What the hub's threads and all streams' threads share: the table behind its mutex, and the ways to wake those who
//! wait for it.

use super::limits::{Limits, Published, Refusal};
use super::subscriber::Subscriber;
use super::sync::{current, Thread};
use super::table::Table;
use super::time::running_ms;
use crate::counters::Counters;
use crate::event::{ChannelName, EventName};
use crate::locks::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Held by the hub, its threads, and every subscription.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    /// Held for a few lines, never while somebody writes or waits.
    table: Mutex<Table>,
    /// Signalled when there may be room for publishers again.
    room: Condvar,
    /// Set once, when the announcer's thread starts.
    announcer: OnceLock<Thread>,
    /// All subscribers' channels are closed. Set after they are, read by stream threads before they sleep.
    closed: AtomicBool,
}

impl Shared {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Shared {
        Shared {
            table: Mutex::new(Table::new(limits.clone())),
            limits,
            counters,
            room: Condvar::new(),
            announcer: OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Locks the table once `has_no_room` is false.
    pub(super) fn lock_unless(
        &self,
        has_no_room: impl Fn(&Table) -> bool,
    ) -> MutexGuard<'_, Table> {
        self.room
            .wait_while(self.lock(), |table| has_no_room(table))
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the table once a publisher to this channel need not wait.
    pub(super) fn lock_with_room_for(&self, channel: &ChannelName) -> MutexGuard<'_, Table> {
        self.lock_unless(|table| table.has_no_room_for(channel))
    }

    /// Publishes messages, and unlocks the table.
    pub(super) fn publish(
        &self,
        mut table: MutexGuard<'_, Table>,
        channel: &ChannelName,
        event_name: Option<&EventName>,
        messages: Vec<Box<str>>,
    ) -> Result<Published, Refusal> {
        let published = table.publish(channel, event_name, messages)?;
        self.announce(table);
        self.counters.published.add(published.count as u64);
        Ok(published)
    }

    /// Lets those who wait for room check again.
    pub(super) fn tell_of_room(&self) {
        self.room.notify_all();
    }

    /// Makes `wake_announcer` wake the calling thread.
    pub(super) fn become_announcer(&self) {
        self.announcer.get_or_init(current);
    }

    /// Wakes the announcer, even if nothing is pending.
    pub(super) fn wake_announcer(&self) {
        if let Some(thread) = self.announcer.get() {
            thread.unpark();
        }
    }

    /// Unlocks the table, and wakes the announcer if something is pending.
    pub(super) fn announce(&self, mut table: MutexGuard<'_, Table>) {
        let wake = table.pending.wakes_announcer();
        drop(table);
        if wake {
            self.wake_announcer();
        }
    }

    /// Removes a client; does nothing if it has left already.
    pub(super) fn leave(&self, number: u64) {
        // Bound to a name, so that the lock is released before the subscriber's memory is freed.
        let left = self.lock().leave(number);
        drop(left);
    }

    /// Removes a client that reads too slowly, and ends its stream.
    pub(super) fn cut_as_slow(&self, subscriber: &Subscriber) {
        let left = self.lock().leave(subscriber.number);
        if left.is_some() {
            self.counters.slow_clients.add(1);
            subscriber.progress.cut_as_slow();
        }
    }

    /// As `cut_as_slow`, for every client that `is_slow` accepts. It gets the limit, and the running time in ms.
    pub(super) fn cut_if_slow(&self, is_slow: impl Fn(&Subscriber, usize, u64) -> bool) {
        let limit = self.limits.client_queue;
        let now_ms = running_ms();
        let slow = self
            .lock()
            .leave_if(|subscriber| is_slow(subscriber, limit, now_ms));
        for subscriber in slow {
            self.counters.slow_clients.add(1);
            subscriber.progress.cut_as_slow();
        }
    }

    /// Closes every subscriber's channel. Each stream's thread writes what it still has, and ends.
    pub(super) fn end_all_streams(&self) {
        let subscribers = self.lock().leave_if(|_| true);
        let progress: Vec<_> = subscribers.iter().map(|s| s.progress.clone()).collect();
        drop(subscribers);
        self.closed.store(true, Ordering::SeqCst);
        progress.iter().for_each(|progress| progress.handoff.wake());
    }

    /// Whether all subscribers' channels are closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
