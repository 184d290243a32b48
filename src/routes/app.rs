//! What the routes work with.

use super::addresses::Addresses;
use super::connected::ConnectedClients;
use super::live::LiveStatistics;
use crate::access::Access;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::http::cors::Origins;
use crate::hub::Hub;
use crate::idempotency::Keys;
use std::sync::Arc;

/// One for the whole server.
pub struct App {
    /// Channels and clients.
    pub hub: Arc<Hub>,
    /// The other servers, if a Redis links them.
    pub cluster: Option<Arc<Cluster>>,
    /// Where the history is kept, if it outlives the process.
    pub disk: Option<Arc<Disk>>,
    /// Publishes with an `Idempotency-Key`.
    pub keys: Keys,
    /// The live statistics.
    pub live: Arc<LiveStatistics>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// The origins whose pages may use the server.
    pub origins: Origins,
    /// Size of the largest message, in bytes.
    pub max_message_bytes: usize,
    /// The number of streams of each client address.
    pub addresses: Addresses,
    /// The clients that have a stream.
    pub clients: ConnectedClients,
}
