//! One channel: its history, and what the server knows about messages that are no longer in it.
//!
//! No locks and no threads here; the table owns every channel and guards it. Called by the table alone.

use super::table::AudienceId;
use crate::event::{Event, EventId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A channel's state.
#[derive(Debug)]
pub(super) struct Channel {
    /// Retained events, oldest first.
    history: VecDeque<Arc<Event>>,
    /// The newest id that this channel has had and no longer has; a client whose id is below it has missed something.
    dropped: EventId,
    /// The audiences that follow this channel.
    pub(super) audiences: Vec<AudienceId>,
    /// Clients that follow this channel.
    pub(super) clients: usize,
    /// Messages published since the channel exists.
    pub(super) messages: u64,
    /// The last publish or the last leaving, whichever is later.
    pub(super) last_used: Instant,
}

impl Channel {
    /// A channel without history. Events up to `dropped` may have been in it before.
    pub(super) fn new(dropped: EventId) -> Channel {
        Channel {
            history: VecDeque::new(),
            dropped,
            audiences: Vec::new(),
            clients: 0,
            messages: 0,
            last_used: Instant::now(),
        }
    }

    /// Appends the newest event.
    pub(super) fn append(&mut self, event: Arc<Event>) {
        self.history.push_back(event);
    }

    /// Takes the oldest retained event away, and remembers that it is missing.
    pub(super) fn drop_oldest(&mut self) -> Option<Arc<Event>> {
        let event = self.history.pop_front()?;
        self.dropped = self.dropped.max(event.id);
        Some(event)
    }

    /// Remembers that events up to `id` may be missing.
    pub(super) fn lost(&mut self, id: EventId) {
        self.dropped = self.dropped.max(id);
    }

    /// Number of retained events.
    pub(super) fn retained(&self) -> usize {
        self.history.len()
    }

    /// The retained events with an id above `after`, oldest first.
    pub(super) fn after(&self, after: EventId) -> impl Iterator<Item = &Arc<Event>> {
        let first = self.history.partition_point(|event| event.id <= after);
        self.history.range(first..)
    }

    /// Whether something after `after` is, or may be, no longer retained.
    pub(super) fn misses_after(&self, after: EventId) -> bool {
        after < self.dropped
    }

    /// The newest id that this channel has or had.
    pub(super) fn newest(&self) -> EventId {
        self.history
            .back()
            .map_or(self.dropped, |event| event.id.max(self.dropped))
    }

    /// Ids of the retained events.
    pub(super) fn ids(&self) -> impl Iterator<Item = EventId> + '_ {
        self.history.iter().map(|event| event.id)
    }

    /// Memory of the retained events, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.history.iter().map(|event| event.cost()).sum()
    }
}
