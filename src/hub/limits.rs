//! How much the hub takes on, and the answers that it gives.

use crate::event::{ChannelName, EventId};
use std::time::Duration;

/// How much the hub takes on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages retained per channel.
    pub history_events: usize,
    /// Memory of all channels' history together, in bytes.
    pub history_bytes: usize,
    /// How long a message is retained, if not for ever; at most a few seconds longer.
    pub history_age: Option<Duration>,
    /// How long a channel that nobody uses is kept.
    pub channel_ttl: Duration,
    /// Clients that may be connected.
    pub max_clients: usize,
    /// Channels that may have messages, and as many again that are only followed; `broadcast` not counted.
    pub max_channels: usize,
    /// Messages that a client may lag behind.
    pub client_queue: usize,
    /// Events come in with their ids (`Hub::append`), which other hubs share, or the disk has.
    pub ids_come_from_outside: bool,
}

/// Why the hub does not take a publish or a subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `MAX_CLIENTS` are connected; holds the limit.
    TooManyClients(usize),
    /// `MAX_CHANNELS` exist; holds the limit.
    TooManyChannels(usize),
    /// The server shuts down.
    Closing,
    /// What its Redis retains has not come in yet.
    NotFilled,
    /// Its Redis cannot be reached; nothing was published.
    RedisAway,
    /// Its Redis refuses what it is asked for; holds its words. Nothing was published.
    RedisRefused(String),
    /// Its disk does not take it; holds why. Nothing was published.
    DiskFailed(String),
    /// Its Redis did not confirm the message: it was published, or not.
    Unconfirmed,
    /// Something else was published with the same key.
    KeyUsed,
    /// The try with the same key that was under way has ended without an answer.
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
    /// Clients that they are on their way to.
    pub clients: usize,
    /// It was published before, with the same key.
    pub is_repeated: bool,
}

impl Published {
    /// So many messages from one id to another, for nobody as yet.
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
    /// Time since the last publish or the last leaving, whichever is later.
    pub idle: Duration,
}
