//! In place of the cluster, where the feature `redis` is not built in: `REDIS_URL` is refused.

use crate::counters::Histogram;
use crate::hub::{Hub, LastId, Published, Refusal};
use crate::idempotency::Publication;
use serde_json::Value;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// There is none.
#[derive(Clone, Debug)]
pub struct RedisAddress(Infallible);

impl RedisAddress {
    /// Refuses every URL.
    ///
    /// # Errors
    /// Always.
    pub fn parse(_url: &str) -> Result<RedisAddress, String> {
        Err("needs an sse-server built with the feature redis, and this one was built without (cargo build --no-default-features); build it with that feature, or unset REDIS_URL".into())
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

/// There is none, so none of its methods can be called.
pub struct Cluster(Infallible);

impl Cluster {
    ///
    /// # Errors
    /// Never.
    pub fn start(address: RedisAddress, _: Arc<Hub>, _: String) -> std::io::Result<Arc<Cluster>> {
        match address.0 {}
    }

    pub fn wait_until_connected(&self, _: Duration) {
        match self.0 {}
    }

    pub fn is_connected(&self) -> bool {
        match self.0 {}
    }

    pub fn publish(
        &self,
        _: Publication,
        _: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        match self.0 {}
    }

    pub fn has_to_wait_for(&self, _: &str) -> bool {
        match self.0 {}
    }

    pub fn judge(&self, _: String) -> LastId {
        match self.0 {}
    }

    pub fn leave(&self, _: Duration) {
        match self.0 {}
    }

    pub fn statistics(&self) -> Value {
        match self.0 {}
    }

    pub fn reconnects(&self) -> u64 {
        match self.0 {}
    }

    pub fn round_trip(&self) -> &Histogram {
        match self.0 {}
    }
}

/// Never called.
pub fn server_name(_: &str, _: [u8; 2]) -> String {
    String::new()
}
