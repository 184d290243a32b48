//! Counters of what the server did, and its start. Atomics only: nobody waits here. Written by the hub and the stream
//! threads, read by the statistics routes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened since the start.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    /// Messages that were accepted from publishers.
    pub published: Counter,
    /// Messages that were written to clients, replays too.
    pub delivered: Counter,
    /// Clients that were disconnected because they read too slowly.
    pub slow_clients: Counter,
}

impl Counters {
    /// All at zero, as of now.
    pub fn new() -> Counters {
        Counters {
            started: Instant::now(),
            published: Counter::default(),
            delivered: Counter::default(),
            slow_clients: Counter::default(),
        }
    }

    /// Whole seconds since the start.
    pub fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}
