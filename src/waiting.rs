//! How many bytes are on their way to a store, Redis or the disk. No I/O here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of messages that may wait while the store does not answer; more are refused.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// Bytes of messages that wait, of all publishers.
#[derive(Debug, Default)]
pub struct WaitingBytes(Arc<AtomicUsize>);

/// Bytes that wait until this is dropped.
#[derive(Debug)]
pub struct Waits {
    /// Since when.
    pub since: Instant,
    /// How many.
    pub bytes: usize,
    all: Arc<AtomicUsize>,
}

impl WaitingBytes {
    /// Adds bytes, if there is room for them. A single publish always fits.
    pub fn add(&self, bytes: usize, now: Instant) -> Option<Waits> {
        let fits = |waiting: usize| {
            let all = waiting.saturating_add(bytes);
            (waiting == 0 || all <= MOST_WAITING_BYTES).then_some(all)
        };
        let (relaxed, all) = (Ordering::Relaxed, self.0.clone());
        all.fetch_update(relaxed, relaxed, fits).ok()?;
        Some(Waits {
            since: now,
            bytes,
            all,
        })
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
