//! The hub as the cluster and the disk see it: messages come in with ids, and some may be lost.

use super::arrivals::IdClaim;
use super::hub::Hub;
use super::limits::Refusal;
use super::shared::Shared;
use super::subscriber::Subscriber;
use super::table::Table;
use super::time;
use crate::event::{ChannelName, Event, EventId};
use std::sync::Arc;

/// Events appended under one lock: enough to make its cost small, few enough to let others have it soon.
const APPEND_AT_ONCE: usize = 64;

/// The hub's side for the cluster and the disk.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    pub(super) shared: &'a Arc<Shared>,
}

impl Hub {
    /// Where the cluster and the disk bring messages in.
    pub fn feed(&self) -> Feed<'_> {
        Feed {
            shared: &self.shared,
        }
    }
}

/// A channel's place among `MAX_CHANNELS`, for as long as a publish to it is under way.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    channel: ChannelName,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = self.shared.lock();
        table.channels.places.give_back(&self.channel);
    }
}

impl Feed<'_> {
    /// A place for a message to this channel, which will come in by `append`.
    ///
    /// # Errors
    /// The refusal.
    pub fn reserve(&self, channel: &ChannelName) -> Result<Reservation, Refusal> {
        let mut table = self.shared.lock();
        table.would_take(channel)?;
        if !channel.is_broadcast() {
            let known = table.channels.get(channel);
            let is_new = known.is_none_or(|known| known.messages == 0);
            table.channels.places.hold(channel, is_new);
        }
        Ok(Reservation {
            shared: self.shared.clone(),
            channel: channel.clone(),
        })
    }

    /// Takes events that have ids, in their order, and brings them to the subscribers. Those that it has are skipped.
    /// Waits while the hub has no room, but not for the clients of a single channel, which must not hold up all others.
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

    /// Records that everything up to `id` has been read, including entries that are not our messages.
    pub fn skip_to(&self, id: EventId) {
        self.shared.lock().history.ids.skip_to(id);
    }

    /// Records that any channel may have had messages up to `id`, before anything has come in.
    pub fn know_nothing_up_to(&self, id: EventId) {
        self.shared.lock().history.lose_up_to(id);
    }

    /// Records that nothing up to `id` is retained anywhere, before the hub is filled.
    pub fn begin_after(&self, id: EventId) {
        let mut table = self.shared.lock();
        let newest = table.history.ids.newest();
        if table.arrivals.begin_after(id, newest) {
            table.history.lose_up_to(id);
        }
    }

    /// Records that messages up to `id` are lost. Every client is told, for each of its topics.
    pub fn lose_up_to(&self, id: EventId) {
        let mut table = self.shared.lock();
        table.lose_up_to(id);
        self.shared.announce(table);
    }

    /// Whether everything retained elsewhere has come in.
    pub fn is_filled(&self) -> bool {
        self.shared.lock().arrivals.is_filled
    }

    /// Records that everything retained elsewhere has come in: from now on events are announced. Clients that returned
    /// with an id before this got nothing yet, and have to reconnect; the others are told that they may have missed
    /// something.
    pub fn set_filled(&self) {
        let mut table = self.shared.lock();
        if table.arrivals.is_filled {
            return;
        }
        // Those first, so that only the clients that stay are told of a gap.
        let early = table.leave_if(|subscriber| subscriber.joined_after > EventId::ZERO);
        // Nobody knows when they were left; their clients may have been there a moment ago.
        table.channels.all_used = Some(time::now());
        table.set_filled();
        self.shared.announce(table);
        send_away(&early);
    }

    /// Starts over, with ids smaller than before. Every client has to reconnect, and learns then that its id is of
    /// another time.
    pub fn start_over(&self) {
        let mut table = self.shared.lock();
        let left = table.leave_if(|_| true);
        let fresh = Table::new(self.shared.limits.clone());
        table.history = fresh.history;
        table.arrivals = fresh.arrivals;
        table.pending.take();
        drop(table);
        // What publishers waited behind is gone, and no announcer brings it anywhere.
        self.shared.tell_of_room();
        send_away(&left);
    }

    /// Clients' ids that have not come in, or were never given.
    pub fn claims(&self) -> Vec<IdClaim> {
        self.shared.lock().arrivals.claims()
    }

    /// Settles claims with the newest id found after they were made. A client that named a newer one has to reconnect,
    /// and is told then.
    pub fn settle(&self, claims: &[IdClaim], newest: EventId) {
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

    /// Ends the streams of clients that claim more than `id`, the newest there is.
    pub fn send_away_ahead_of(&self, id: EventId) {
        let mut table = self.shared.lock();
        let ahead = table.leave_if(|subscriber| subscriber.joined_after > id);
        drop(table);
        send_away(&ahead);
    }

    pub fn newest(&self) -> EventId {
        self.shared.lock().history.ids.newest()
    }

    /// Clients that a message to this channel reaches.
    pub fn clients_of(&self, channel: &ChannelName) -> usize {
        self.shared.lock().clients_of(channel)
    }
}

/// Ends the streams of clients that have left the table, so that they reconnect.
fn send_away(subscribers: &[Arc<Subscriber>]) {
    for subscriber in subscribers {
        subscriber.progress.send_away();
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Moment;
    use super::super::hub::Turns;
    use super::super::limits::Limits;
    use super::super::start::Start;
    use super::super::subscription::{Next, Subscription};
    use super::*;
    use crate::access::{Access, Rules};
    use crate::event::{Form, Kind, Topic};
    use std::time::{Duration, Instant};

    fn message(channel: &ChannelName, seq: u64) -> Arc<Event> {
        Arc::new(Event {
            id: EventId { ms: 5, seq },
            channel: channel.clone(),
            name: None,
            text: "hello".into(),
            kind: Kind::Message,
            timestamp_ms: 5,
            at: Instant::now(),
        })
    }

    /// A filled hub whose announcer is the test, and a client that follows this channel.
    fn followed() -> (Arc<Hub>, Turns, ChannelName, Subscription) {
        let limits = Limits {
            history_bytes: 10_000,
            ids_come_from_outside: true,
            ..Limits::SMALL
        };
        let (hub, turns, _) = Hub::without_threads(limits, Arc::default());
        let channel = ChannelName::parse("a").expect("a good name");
        let access = Access::new(None, None, Rules::without_file());
        let caller = access.identify(None).expect("no token is fine");
        let permit = caller.follow(&[]).expect("everybody may follow nothing");
        hub.feed().set_filled();
        let topics = [Topic::from(channel.clone())];
        let subscription = hub.subscribe(&topics, Form::Plain, Start::NOW, permit);
        (hub, turns, channel, subscription.expect("there is room"))
    }

    #[test]
    fn what_a_channels_newest_event_says_is_not_kept_twice() {
        let limits = Limits {
            ids_come_from_outside: true,
            ..Limits::SMALL
        };
        let (hub, _, _) = Hub::without_threads(limits, Arc::default());
        hub.feed().set_filled();
        let channel = ChannelName::parse("a").expect("a good name");
        let now = Moment::now();
        // It was stored before it came here, which took its time.
        let mut event = message(&channel, 1);
        if let Some(event) = Arc::get_mut(&mut event) {
            event.timestamp_ms = now.unix_ms();
            event.at = now.at - Duration::from_millis(5);
        }
        hub.feed().append(vec![event]);
        assert!(!hub.feed().records().contains_key(&channel));
    }

    #[test]
    fn who_has_the_notice_of_a_gap_still_gets_the_next_message_of_that_millisecond() {
        let (hub, mut turns, channel, subscription) = followed();
        let feed = hub.feed();
        // Those of the channel and of broadcast.
        feed.lose_up_to(EventId { ms: 5, seq: 3 });
        turns.take();
        let Next::Batch(notices) = subscription.try_next() else {
            panic!("the client is told of the gap");
        };
        let next = message(&channel, 4);
        feed.append(vec![next.clone()]);
        assert!(notices.batch.last < next.id, "it would skip that one");
        turns.take();
        let Next::Batch(queued) = subscription.try_next() else {
            panic!("the client gets the message");
        };
        assert_eq!(queued.batch.last, next.id);
    }

    #[test]
    fn publishers_that_wait_for_room_go_on_when_ids_start_over() {
        let (hub, mut turns, channel, client) = followed();
        let messages = (1..=4096).map(|seq| message(&channel, seq));
        hub.feed().append(messages.collect());
        assert!(!hub.has_room_for(&channel));
        let (report, reports) = crossbeam_channel::unbounded();
        let publisher = hub.clone();
        std::thread::spawn(move || {
            let _ = report.send("waits");
            publisher.wait_until_room_for(&channel);
            let _ = report.send("goes on");
        });
        assert_eq!(reports.recv(), Ok("waits"));
        // Most likely it does by now.
        (0..10_000).for_each(|_| std::thread::yield_now());
        hub.feed().start_over();
        turns.take();
        let report = reports.recv_timeout(std::time::Duration::from_secs(10));
        hub.close();
        assert_eq!(report, Ok("goes on"));
        drop(client);
    }
}
