//! Names of channels and of event types, parsed once.

use crate::log::Logged;
use std::fmt;
use std::sync::Arc;

/// The reserved channel that reaches every connected client.
const BROADCAST: &str = "broadcast";

/// The longest channel name, in bytes of UTF-8.
const MAX_CHANNEL_NAME_BYTES: usize = 128;

/// A valid channel name, which may be `broadcast`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Parses a decoded name.
    ///
    /// # Errors
    /// One line for the client, if the name is empty, too long, or has a forbidden character.
    pub fn parse(name: &str) -> Result<ChannelName, String> {
        if name.is_empty() {
            return Err(format!(
                "the channel name is empty; give 1 to {MAX_CHANNEL_NAME_BYTES} bytes"
            ));
        }
        if name.len() > MAX_CHANNEL_NAME_BYTES {
            return Err(format!(
                "the channel name has {} bytes; at most {MAX_CHANNEL_NAME_BYTES} are allowed",
                name.len()
            ));
        }
        match name
            .chars()
            .find(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | ',' | '*'))
        {
            None => Ok(ChannelName(name.into())),
            Some(bad) => Err(format!(
                "the channel name {name:?} contains {bad:?}; control characters, white space, '/', ',' and '*' are not allowed"
            )),
        }
    }

    /// The reserved name.
    pub fn broadcast() -> ChannelName {
        ChannelName(BROADCAST.into())
    }

    /// One of the server's own names, known to be valid.
    pub(crate) fn internal(name: &'static str) -> ChannelName {
        ChannelName(name.into())
    }

    pub fn is_broadcast(&self) -> bool {
        &*self.0 == BROADCAST
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As in a log line; `as_str` is the name itself.
impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Logged(&self.0).fmt(f)
    }
}

/// The name of an event's type, as `addEventListener` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(Arc<str>);

impl EventName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses a publisher's choice; an empty name means none.
    ///
    /// # Errors
    /// One line for the client, if the name does not fit on an `event:` line, or is reserved for the server.
    pub fn parse(name: &str) -> Result<Option<EventName>, String> {
        if name.contains(['\r', '\n', '\0']) {
            return Err(format!(
                "the event name {name:?} contains a line end or NUL; these are not allowed"
            ));
        }
        if name.starts_with("sse-") {
            return Err(format!(
                "the event name {name:?} begins with \"sse-\", which is reserved for the server's own events; choose another"
            ));
        }
        Ok((!name.is_empty()).then(|| EventName(name.into())))
    }
}
