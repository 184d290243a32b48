//! How many streams each client address has, where that is limited (`MAX_CLIENTS_PER_ADDRESS`).

use crate::http::problem::Problem;
use crate::http::request::Peer;
use crate::locks::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// The number of streams of each client address that has any.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Streams that one address may have; 0 means no limit.
    limit: usize,
    /// Held for a line.
    streams: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One stream's place among those of its address. Dropping it frees the place.
#[derive(Debug)]
pub struct AddressPlace {
    addresses: Addresses,
    ip: IpAddr,
}

impl Addresses {
    pub fn new(limit: usize) -> Addresses {
        Addresses {
            limit,
            streams: Arc::default(),
        }
    }

    /// Takes a place for one more stream; `None` if nothing is limited.
    ///
    /// # Errors
    /// If the client's address has reached the limit.
    pub(super) fn take_place(&self, peer: &Peer) -> Result<Option<AddressPlace>, Problem> {
        let Some(ip) = peer.ip().filter(|_| self.limit > 0) else {
            return Ok(None);
        };
        let mut streams = lock(&self.streams);
        let count = streams.entry(ip).or_default();
        if *count >= self.limit {
            return Err(Problem::too_many(format!(
                "{ip} has reached its limit of streams (MAX_CLIENTS_PER_ADDRESS={}); close one or try again later",
                self.limit
            )));
        }
        *count += 1;
        Ok(Some(AddressPlace {
            addresses: self.clone(),
            ip,
        }))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut streams = lock(&self.addresses.streams);
        if let Some(count) = streams.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.ip);
            }
        }
    }
}
