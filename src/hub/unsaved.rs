//! What has changed in the history since whoever keeps a copy of it (the disk) has asked, beside the events that came in.
//! It knows no history.

use crate::event::{ChannelName, EventId};
use std::collections::HashSet;

/// Owned by the history, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Events that are not retained any more.
    pub(super) dropped: Vec<EventId>,
    /// Channels of which something else has changed than which events are retained.
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
