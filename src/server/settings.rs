//! The server's settings: limits and deadlines that depend on the configuration and on the system.

use crate::http::proxies::TrustedProxies;
use crate::http::request::Peer;
use std::net::SocketAddr;

/// Descriptors reserved for everything but connections: the log, the line, Redis, files.
const RESERVED_DESCRIPTORS: usize = 48;

/// What all connections together may always hold: plenty for friendly clients, since what comes whole or is taken at
/// once does not count.
const LEAST_MAX_HELD: usize = 64 << 20;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Streams that may be open at once: some connections are reserved for requests.
    pub max_streams: usize,
    /// Bytes of incomplete requests and of untaken answers that all connections together may hold.
    pub max_held: usize,
    /// The proxies that may name a request's client.
    pub trusted_proxies: TrustedProxies,
}

impl Settings {
    /// What this many descriptors allow, with bodies of at most this size.
    pub fn new(
        descriptor_limit: usize,
        max_body: usize,
        trusted_proxies: TrustedProxies,
    ) -> Settings {
        let max_connections = descriptor_limit.saturating_sub(RESERVED_DESCRIPTORS).max(8);
        Settings {
            max_connections,
            max_streams: max_connections - (max_connections / 8).clamp(4, 64),
            max_held: LEAST_MAX_HELD.max(4 * max_body),
            trusted_proxies,
        }
    }

    /// The client of a request from this address with these fields.
    pub fn peer(&self, address: Option<SocketAddr>, fields: &[(&'static str, String)]) -> Peer {
        let forwarded = fields
            .iter()
            .filter(|(name, _)| *name == "X-Forwarded-For")
            .map(|(_, value)| value.as_str());
        let own = address.map(|address| address.ip());
        let client = self.trusted_proxies.client(own, forwarded);
        match (address, client) {
            (Some(address), Some(client)) if client == address.ip().to_canonical() => {
                Peer::Address(address)
            }
            (_, Some(client)) => Peer::Forwarded(client),
            (_, None) => Peer::Unix,
        }
    }
}
