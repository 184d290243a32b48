//! An event as the hub retains and delivers it.

use super::id::EventId;
use super::names::{ChannelName, EventName};
use super::topic::Topic;
use std::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A published message.
    Message,
    /// The notice that messages of `of` after this id are, or may be, lost. It has no channel and no text, and is not
    /// retained.
    Gap {
        /// The topic.
        of: Topic,
        /// Everything up to this id has come.
        after: EventId,
    },
}

/// A published message, or a notice in its place.
#[derive(Debug)]
pub struct Event {
    /// Its place in the order of all events.
    pub id: EventId,
    /// The channel that it was published to; for a notice `broadcast`.
    pub channel: ChannelName,
    /// The type that the publisher chose, if any.
    pub name: Option<EventName>,
    /// The message, as it was published.
    pub text: Box<str>,
    /// Message or notice.
    pub kind: Kind,
    /// When it was published, by the wall clock, in ms since the Unix epoch. The id may be ahead of it, because ids
    /// grow even when the clock is set back.
    pub timestamp_ms: u64,
    /// The same moment in running time.
    pub at: Instant,
}

impl Event {
    /// The approximate cost of an event apart from its text: the struct, its allocations and its place in the history.
    pub const OVERHEAD_BYTES: usize = 160;

    /// Approximate memory of the retained event, in bytes.
    pub fn cost(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| name.as_str().len());
        self.text.len() + name + Self::OVERHEAD_BYTES
    }
}
