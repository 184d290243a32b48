//! What somebody publishes.

use super::attempt::Attempt;
use crate::event::{ChannelName, EventName};

/// Messages for one channel: all are published, with no others in between, or none.
#[derive(Debug)]
pub struct Publication {
    pub channel: ChannelName,
    pub event_name: Option<EventName>,
    pub messages: Vec<Box<str>>,
    /// With a key. Whoever stores the messages stores what was published with it.
    pub attempt: Option<Attempt>,
}

impl Publication {
    /// Size of all messages, in bytes.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.len()).sum()
    }
}
