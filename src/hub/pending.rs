//! What was published and waits for the announcer, and why publishers have to wait.

use super::audience::AudienceId;
use crate::event::Event;
use std::collections::HashSet;
use std::sync::Arc;

/// When this much waits, publishers wait too. Small beside the history, large enough for a round's batches.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 4 << 20;

/// Owned by the table, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    events: Vec<Arc<Event>>,
    bytes: usize,
    /// Audiences that do not keep up. Publishers to their channels wait.
    pub(super) congested: HashSet<AudienceId>,
    /// Batches take too much memory. All publishers wait.
    pub(super) memory_is_full: bool,
    /// The announcer sleeps, and has to be woken for news.
    pub(super) announcer_asleep: bool,
}

impl Pending {
    pub(super) fn add(&mut self, event: Arc<Event>) {
        self.bytes += event.cost();
        self.events.push(event);
    }

    /// In the order of ids.
    pub(super) fn take(&mut self) -> Vec<Arc<Event>> {
        self.bytes = 0;
        std::mem::take(&mut self.events)
    }

    /// Whether there are this many events, or this many bytes of them.
    pub(super) fn has(&self, events: usize, bytes: usize) -> bool {
        self.events.len() >= events || self.bytes >= bytes
    }

    /// Whether all publishers have to wait: the announcer is behind, or memory is full.
    pub(super) fn has_no_room(&self) -> bool {
        self.has(MAX_EVENTS, MAX_BYTES) || self.memory_is_full
    }

    /// Whether the announcer sleeps although something is pending. The caller then has to wake it.
    pub(super) fn wakes_announcer(&mut self) -> bool {
        !self.events.is_empty() && std::mem::take(&mut self.announcer_asleep)
    }
}
