//! Where messages are stored before they are published: Redis or the disk. Both answer later, and no thread waits for
//! that.

use super::app::App;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::event::{ChannelName, EventName};
use crate::hub::{Published, Refusal};
use crate::idempotency::Attempt;
use std::sync::Arc;

pub(super) enum MessageStore {
    Redis(Arc<Cluster>),
    Disk(Arc<Disk>),
}

impl MessageStore {
    pub(super) fn of(app: &App) -> Option<MessageStore> {
        let redis = app.cluster.clone().map(MessageStore::Redis);
        redis.or_else(|| app.disk.clone().map(MessageStore::Disk))
    }

    /// Publishes messages to one channel, and calls `then` with the result. With an `attempt` they are published once,
    /// however often they are sent. Never waits.
    pub(super) fn publish(
        &self,
        channel: ChannelName,
        event_name: Option<EventName>,
        messages: Vec<Box<str>>,
        attempt: Option<Attempt>,
        then: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        match self {
            MessageStore::Redis(cluster) => {
                cluster.publish(channel, event_name, messages, attempt, then)
            }
            MessageStore::Disk(disk) => disk.publish(channel, event_name, messages, attempt, then),
        }
    }
}
