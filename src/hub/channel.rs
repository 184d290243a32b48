//! What the table knows of one channel.

use super::audience::AudienceId;
use super::time;
use std::time::Instant;

/// A channel that was published to or is followed. It goes when it was not used for `CHANNEL_TTL`.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) audiences: Vec<AudienceId>,
    pub(super) clients: usize,
    pub(super) messages: u64,
    pub(super) last_used: Instant,
}

impl Channel {
    pub(super) fn new() -> Channel {
        Channel {
            audiences: Vec::new(),
            clients: 0,
            messages: 0,
            last_used: time::now(),
        }
    }
}
