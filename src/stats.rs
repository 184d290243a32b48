//! Counters of what the server did, and its start. Atomics only: nobody waits here. Written by the hub and the stream
//! threads, read by the statistics routes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of `BOUNDS_MS`, and one for what took longer; each counts alone what lies above the bound before.
    buckets: [Counter; Histogram::BOUNDS_MS.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Upper bounds of the buckets, in milliseconds.
    pub const BOUNDS_MS: [f64; 13] = [
        0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 10_000.0,
    ];

    /// Counts `n` that took so long.
    pub fn observe(&self, duration: Duration, n: u64) {
        let ms = duration.as_secs_f64() * 1000.0;
        let bucket = Self::BOUNDS_MS.partition_point(|&bound| bound < ms);
        self.buckets[bucket].add(n);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.add(us.saturating_mul(n));
    }

    /// For each bound in seconds, and then for infinity, how many took at most so long.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = Self::BOUNDS_MS.iter().map(|ms| ms / 1000.0);
        let mut count = 0;
        bounds
            .chain([f64::INFINITY])
            .zip(&self.buckets)
            .map(move |(bound, bucket)| {
                count += bucket.get();
                (bound, count)
            })
    }

    /// All durations together, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
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
    /// Time from a message's publish to the end of its write to a client, live messages only.
    pub delay: Histogram,
}

impl Counters {
    /// All at zero, as of now.
    pub fn new() -> Counters {
        Counters {
            started: Instant::now(),
            published: Counter::default(),
            delivered: Counter::default(),
            slow_clients: Counter::default(),
            delay: Histogram::default(),
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
