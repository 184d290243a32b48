//! What the routes' side of the cluster and both threads share, and how entries come to the hub.

use super::address::Address;
use super::answers::PendingAnswers;
use super::entry::StreamEntry;
use super::fault::Fault;
use super::link::Link;
use super::position::Position;
use super::report::Reports;
use super::state::State;
use super::stream::{self, StreamInfo};
use super::system::Mutex;
use crate::counters::Histogram;
use crate::event::EventId;
use crate::hub::Hub;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, MutexGuard, PoisonError};

/// What the routes and both threads see.
#[derive(Debug)]
pub(super) struct ClusterShared {
    pub(super) hub: Arc<Hub>,
    pub(super) address: Address,
    /// What this server is called among the others.
    pub(super) name: String,
    /// What its marks begin with: no other run of a server has that.
    pub(super) run: String,
    pub(super) state: State,
    /// Publishers whose messages are stored and on their way to the hub.
    pub(super) answers: PendingAnswers,
    pub(super) reports: Reports,
    /// Guards where this server is in the stream. Whoever brings entries to the hub holds it, so they come in one order.
    position: Mutex<Position>,
    /// Time from sending publishes to Redis to its answer.
    pub(super) round_trip: Histogram,
}

impl ClusterShared {
    /// Without a connection, as yet.
    pub(super) fn new(address: Address, hub: Arc<Hub>, name: String) -> ClusterShared {
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

    /// Brings entries to the hub: all that the stream has after an id that the hub had when they were asked for. Both
    /// threads do that, and may have read the same. Whether there was anything new.
    pub(super) fn take(&self, mut entries: Vec<StreamEntry>) -> bool {
        let mut position = self.position();
        position.advance(&mut entries);
        let Some(newest) = entries.last().map(|entry| entry.id) else {
            return false;
        };
        let mut events = Vec::new();
        for entry in entries {
            if let Some(generation) = entry.begins {
                let is_new = position.enter(&generation);
                // Also what was read as history begins anew there.
                if is_new || !self.hub.is_filled() {
                    self.hub.append(std::mem::take(&mut events));
                    self.lose(entry.id);
                }
            }
            events.extend(entry.event);
        }
        self.hub.append(events);
        self.hub.skip_to(newest);
        drop(position);
        self.answers.arrived(newest);
        true
    }

    /// Messages up to this id may be lost, and all clients are told.
    fn lose(&self, lost: EventId) {
        if !self.hub.is_filled() {
            return if self.hub.newest() == EventId::ZERO {
                // Nothing has come in: nobody here can have had what was before.
                self.hub.know_nothing_up_to(lost);
            } else {
                self.hub.begin_after(lost);
            };
        }
        let seen = self.hub.newest();
        log::warn!(
            "event=redis_gap after={seen} up_to={lost} hint=\"Redis has lost messages, or what is in the key sse-server:events was replaced, or trimmed before this server had read it; this server's clients were told\""
        );
        self.hub.send_away_ahead_of(seen);
        self.hub.lose_up_to(lost);
    }

    /// Looks at the stream, and reads what comes after an id.
    pub(super) fn look(
        &self,
        link: &mut Link,
        after: EventId,
        wanted: usize,
    ) -> Result<(StreamInfo, Vec<StreamEntry>), Fault> {
        let looked = stream::look(link, self.generation(), after, wanted);
        let intake = &mut self.position().intake;
        match &looked {
            Ok(_) => intake.was_answered(),
            Err(fault) if fault.is_cut_off() => intake.was_cut_off(wanted),
            Err(_) => {}
        }
        looked
    }

    pub(super) fn generation(&self) -> Option<String> {
        self.position().generation().map(Into::into)
    }

    /// Finds out whether something was lost before these entries, which come next, and tells the clients.
    pub(super) fn judge(&self, stream: &StreamInfo, entries: &[StreamEntry]) {
        let mut position = self.position();
        if !self.hub.is_filled() {
            position.begin_with(stream);
            self.hub.begin_after(stream.begin());
        } else if let Some(lost) = position.find_loss(stream, entries) {
            self.lose(lost);
        }
    }

    /// Everything of the stream as it was then is in the hub. Whether it was all that there ever was.
    pub(super) fn has_all_of(&self, stream: &StreamInfo) -> bool {
        let mut position = self.position();
        let fits = position.has_all_of(stream);
        self.hub.skip_to(stream.newest);
        fits || !self.hub.is_filled()
    }

    /// Has this server begin again as one that has just started: ids are to be smaller than those that it has.
    pub(super) fn start_over(&self) {
        let mut position = self.position();
        *position = Position::default();
        self.hub.start_over();
        drop(position);
        self.answers.start_over();
    }

    /// Entries to ask for.
    pub(super) fn at_once(&self) -> usize {
        self.position().intake.at_once()
    }

    /// Where the stream may begin, if that has changed.
    pub(super) fn keep_from(&self) -> Option<EventId> {
        let channels = self.hub.stats().active_channels;
        let limits = self.hub.limits();
        self.position().intake.keep_from(limits, channels)
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
