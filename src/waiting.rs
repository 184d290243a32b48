//! How much is on its way to a store, Redis or the disk. No I/O here. Called by the cluster and by the disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Messages that may wait while the store does not answer, in bytes; more are refused.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// How many bytes of messages wait, of all publishers.
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
    /// Adds so many, from now on, if there is room for them. There is for a single publish, however large.
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
