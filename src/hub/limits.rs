//! The hub's limits, and its answers.

use crate::event::{ChannelName, EventId};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages retained per channel.
    pub history_events: usize,
    /// Bytes of all channels' history together.
    pub history_bytes: usize,
    /// How long a message is retained, if not for ever; it may stay a few seconds longer.
    pub history_age: Option<Duration>,
    /// How long an unused channel is kept.
    pub channel_ttl: Duration,
    /// Clients that may be connected.
    pub max_clients: usize,
    /// Channels that may have messages, and as many again that are only followed; without `broadcast`.
    pub max_channels: usize,
    /// Messages that a client may lag behind.
    pub client_queue: usize,
    /// Time without traffic until a stream gets a heartbeat.
    pub heartbeat: Duration,
    /// Events come in with ids (`Feed::append`), from the disk or shared with other hubs.
    pub ids_come_from_outside: bool,
}

#[cfg(test)]
impl Limits {
    /// Enough for a unit test.
    pub(crate) const SMALL: Limits = Limits {
        history_events: 10,
        history_bytes: 1000,
        history_age: None,
        channel_ttl: Duration::from_secs(60),
        max_clients: 10,
        max_channels: 10,
        client_queue: 10,
        heartbeat: Duration::MAX,
        ids_come_from_outside: false,
    };
}

/// Why the hub refuses a publish or a subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `MAX_CLIENTS` are connected; holds the limit.
    TooManyClients(usize),
    /// `MAX_CHANNELS` exist; holds the limit.
    TooManyChannels(usize),
    /// The server shuts down.
    Closing,
    /// Not all that Redis retains has come in.
    NotFilled,
    /// Redis cannot be reached. Nothing was published.
    RedisAway,
    /// Redis refuses; holds its words. Nothing was published.
    RedisRefused(String),
    /// The disk refuses; holds why. Nothing was published.
    DiskFailed(String),
    /// Redis did not confirm the message: it may have been published, or not.
    Unconfirmed,
    /// Something else was published with the same key.
    KeyUsed,
    /// The earlier try with the same key ended without an answer.
    GivenUp,
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The first message's id.
    pub first: EventId,
    /// The last message's id.
    pub last: EventId,
    /// Number of messages.
    pub count: usize,
    /// Clients that they will reach.
    pub clients: usize,
    /// It had been published before, with the same key.
    pub is_repeated: bool,
}

impl Published {
    /// `clients` is 0.
    pub fn new(first: EventId, last: EventId, count: usize) -> Published {
        Published {
            first,
            last,
            count,
            clients: 0,
            is_repeated: false,
        }
    }
}

/// One channel's figures.
#[derive(Debug)]
pub struct ChannelStats {
    /// Its name.
    pub name: ChannelName,
    /// Clients that follow it.
    pub clients: usize,
    /// Messages published since it exists.
    pub messages: u64,
    /// Messages retained.
    pub history: usize,
    /// Time since the last publish or the last client left, whichever is later.
    pub idle: Duration,
}
