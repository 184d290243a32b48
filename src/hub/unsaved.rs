//! What has changed in the history since the disk last asked, apart from the events that came in.

use crate::event::{ChannelName, EventId};
use std::collections::HashSet;

/// Owned by the history, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Events that are no longer retained.
    pub(super) dropped: Vec<EventId>,
    /// Channels that have changed in other ways than by their events.
    pub(super) touched: HashSet<ChannelName>,
}

impl Unsaved {
    pub(super) fn drop_event(&mut self, id: EventId) {
        self.dropped.push(id);
    }

    pub(super) fn touch(&mut self, name: &ChannelName) {
        if !self.touched.contains(name) {
            self.touched.insert(name.clone());
        }
    }
}
