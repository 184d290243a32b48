//! What the routes' side of the cluster and both threads share, and how entries reach the hub.

use super::address::RedisAddress;
use super::answers::PendingAnswers;
use super::entry::StreamEntry;
use super::fault::Fault;
use super::link::Link;
use super::position::{Next, Position};
use super::report::Reports;
use super::state::State;
use super::stream::{self, StreamInfo};
use super::system::{lock, Mutex};
use crate::counters::Histogram;
use crate::event::EventId;
use crate::hub::Hub;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

pub(super) struct ClusterShared {
    pub(super) hub: Arc<Hub>,
    pub(super) address: RedisAddress,
    /// This server's name among the others.
    pub(super) name: String,
    /// Prefix of its marks. No other run of a server has it.
    pub(super) run: String,
    pub(super) state: State,
    /// Publishers whose messages are stored, and on their way to the hub.
    pub(super) answers: PendingAnswers,
    pub(super) reports: Reports,
    /// Guards where this server is in the stream. Held by whoever brings entries to the hub, so that they arrive in one
    /// order.
    position: Mutex<Position>,
    /// Time from sending publishes to Redis's answer.
    pub(super) round_trip: Histogram,
}

impl ClusterShared {
    pub(super) fn new(address: RedisAddress, hub: Arc<Hub>, name: String) -> ClusterShared {
        ClusterShared {
            state: State::new(address.to_string()),
            answers: PendingAnswers::default(),
            reports: Reports::default(),
            position: Mutex::new(Position::default()),
            round_trip: Histogram::default(),
            hub,
            address,
            name,
            run: format!("{:08x}", RandomState::new().hash_one(0_u8) as u32),
        }
    }

    /// Brings entries to the hub: all that the stream has after an id that the hub had when they were requested. Both
    /// threads do that, and may have read the same entries. Returns whether any were new.
    pub(super) fn take(&self, mut entries: Vec<StreamEntry>) -> bool {
        let mut position = lock(&self.position);
        position.advance(&mut entries);
        let Some(newest) = entries.last().map(|entry| entry.id) else {
            return false;
        };
        let mut events = Vec::new();
        for entry in entries {
            if let Some(generation) = entry.begins {
                let is_new = position.enter(&generation);
                // What was read as history also starts over there.
                if is_new || !self.hub.feed().is_filled() {
                    self.hub.feed().append(std::mem::take(&mut events));
                    self.lose(entry.id);
                }
            }
            events.extend(entry.event);
        }
        self.hub.feed().append(events);
        self.hub.feed().skip_to(newest);
        drop(position);
        self.answers.arrived(newest);
        true
    }

    /// Records that messages up to this id may be lost. All clients are told.
    fn lose(&self, lost: EventId) {
        if !self.hub.feed().is_filled() {
            return if self.hub.feed().newest() == EventId::ZERO {
                // Nothing has come in, so no client here can have what was before.
                self.hub.feed().know_nothing_up_to(lost);
            } else {
                self.hub.feed().begin_after(lost);
            };
        }
        let seen = self.hub.feed().newest();
        log::warn!(
            "event=redis_gap after={seen} up_to={lost} hint=\"Redis has lost messages, or the key sse-server:events was replaced, or trimmed before this server had read it; this server's clients were told of a gap\""
        );
        self.hub.feed().send_away_ahead_of(seen);
        self.hub.feed().lose_up_to(lost);
    }

    /// Looks at the stream, and reads what comes after an id.
    pub(super) fn look(
        &self,
        link: &mut Link,
        after: EventId,
        wanted: usize,
    ) -> Result<(StreamInfo, Vec<StreamEntry>), Fault> {
        let looked = stream::look(link, self.generation(), after, wanted);
        let intake = &mut lock(&self.position).intake;
        match &looked {
            Ok(_) => intake.was_answered(),
            Err(fault) if fault.is_cut_off() => intake.was_cut_off(wanted),
            Err(_) => {}
        }
        looked
    }

    pub(super) fn generation(&self) -> Option<String> {
        lock(&self.position).generation().map(Into::into)
    }

    /// Whether the stream, of which this comes next, goes on from where this server is.
    pub(super) fn goes_on(&self, stream: &StreamInfo, next: &Next) -> bool {
        lock(&self.position).goes_on(stream, next)
    }

    /// Checks whether something was lost before what comes next, and tells the clients.
    pub(super) fn judge(&self, stream: &StreamInfo, next: &Next) {
        let mut position = lock(&self.position);
        if !self.hub.feed().is_filled() {
            position.begin_with(stream);
            self.hub.feed().begin_after(stream.begin());
        } else if let Some(lost) = position.find_loss(stream, next) {
            self.lose(lost);
        }
    }

    /// Records that the whole stream, as it was then, is in the hub.
    pub(super) fn has_all_of(&self, stream: &StreamInfo) {
        let mut position = lock(&self.position);
        position.has_all_of(stream);
        self.hub.feed().skip_to(stream.newest);
        drop(position);
        // Also those whose last messages were removed before they were read.
        self.answers.arrived(stream.newest);
    }

    /// Makes this server start over, with ids smaller than before.
    pub(super) fn start_over(&self) {
        let mut position = lock(&self.position);
        *position = Position::default();
        self.hub.feed().start_over();
        drop(position);
        self.answers.start_over();
    }

    /// Entries to ask for at once.
    pub(super) fn at_once(&self) -> usize {
        lock(&self.position).intake.at_once()
    }

    /// Where the stream may begin now, if that has changed.
    pub(super) fn keep_from(&self) -> Option<EventId> {
        let channels = self.hub.stats().active_channels;
        let limits = self.hub.limits();
        lock(&self.position).intake.keep_from(limits, channels)
    }
}
