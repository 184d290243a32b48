//! Rights: what somebody may do, with which channels. Read from JSON, for the rules and for signed tokens.

use super::object::Shape;
use super::patterns::Patterns;
use crate::event::ChannelName;
use serde::Deserialize;
use std::fmt;

/// What somebody wants to do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to it.
    Publish,
    /// Follow it.
    Subscribe,
}

/// What somebody may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    publish: Patterns,
    subscribe: Patterns,
    /// The right to see each channel's figures.
    pub stats: bool,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rights = Vec::new();
        for (right, channels) in [("subscribe", &self.subscribe), ("publish", &self.publish)] {
            if !channels.is_empty() {
                let names: Vec<_> = channels.names().collect();
                rights.push(format!("{right} {}", names.join(" ")));
            }
        }
        if self.stats {
            rights.push("see statistics".into());
        }
        f.write_str(if rights.is_empty() { "nothing" } else { "" })?;
        f.write_str(&rights.join("; "))
    }
}

impl Shape for Grant {
    const SHAPE: &'static str = "an object such as {\"publish\": […], \"subscribe\": […]}";
}

impl Grant {
    pub fn new(subscribe: Patterns, publish: Patterns, stats: bool) -> Grant {
        Grant {
            publish,
            subscribe,
            stats,
        }
    }

    pub fn allows(&self, action: Action, channel: &ChannelName) -> bool {
        self.channels(action).include(channel)
    }

    /// The channels that the right covers.
    pub fn channels(&self, action: Action) -> &Patterns {
        match action {
            Action::Publish => &self.publish,
            Action::Subscribe => &self.subscribe,
        }
    }
}
