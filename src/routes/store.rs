//! Where messages are stored before they are published: Redis or the disk. Both answer later, and no thread waits for
//! that.

use super::app::App;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::hub::{Published, Refusal};
use crate::idempotency::Publication;
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

    /// Publishes messages, and calls `then` with the result. With an `attempt` they are published once, however often
    /// they are sent. Never waits.
    pub(super) fn publish(
        &self,
        publication: Publication,
        then: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        match self {
            MessageStore::Redis(cluster) => cluster.publish(publication, then),
            MessageStore::Disk(disk) => disk.publish(publication, then),
        }
    }
}
