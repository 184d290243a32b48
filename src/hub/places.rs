//! Which of the `MAX_CHANNELS` places for channels with messages are taken: by such channels, and by publishes under way
//! that will make one.

use crate::event::ChannelName;
use std::collections::HashMap;

/// Owned by the channels.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Channels that had a message.
    pub(super) with_messages: usize,
    under_way: HashMap<ChannelName, UnderWay>,
    /// Of those under way, channels that have had no message.
    new: usize,
}

#[derive(Debug)]
struct UnderWay {
    publishes: usize,
    is_new: bool,
}

impl Places {
    /// Places that no other channel may take.
    pub(super) fn taken(&self) -> usize {
        self.with_messages + self.new
    }

    /// Whether a publish to this channel is under way.
    pub(super) fn are_held_for(&self, name: &ChannelName) -> bool {
        self.under_way.contains_key(name)
    }

    /// `is_new` if the channel has had no message.
    pub(super) fn hold(&mut self, name: &ChannelName, is_new: bool) {
        let under_way = self.under_way.entry(name.clone()).or_insert_with(|| {
            self.new += usize::from(is_new);
            UnderWay {
                publishes: 0,
                is_new,
            }
        });
        under_way.publishes += 1;
    }

    pub(super) fn give_back(&mut self, name: &ChannelName) {
        let Some(under_way) = self.under_way.get_mut(name) else {
            return;
        };
        under_way.publishes -= 1;
        if under_way.publishes == 0 {
            self.new -= usize::from(under_way.is_new);
            self.under_way.remove(name);
        }
    }

    /// The channel has its first message.
    pub(super) fn note_first(&mut self, name: &ChannelName) {
        self.with_messages += 1;
        if let Some(under_way) = self.under_way.get_mut(name) {
            self.new -= usize::from(under_way.is_new);
            under_way.is_new = false;
        }
    }
}
