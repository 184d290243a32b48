//! Publishers whose messages are on their way to a store, Redis or the disk: how much they may be, and what is to be done
//! when it is known what came of them. No I/O here. Called by the cluster and by the disk.

use crate::event::EventId;
use crate::hub::Refusal;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Messages that may wait while the store does not answer, in bytes; more are refused.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// The first and the last id of what was published.
pub type Ids = (EventId, EventId);

/// What is to be done with an answer. It must not wait for anybody.
pub struct Then(Box<dyn FnOnce(Result<Ids, Refusal>) + Send>);

impl Then {
    /// This is to be done.
    pub fn new(then: impl FnOnce(Result<Ids, Refusal>) + Send + 'static) -> Then {
        Then(Box::new(then))
    }

    /// Does it.
    pub fn answer(self, answer: Result<Ids, Refusal>) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then(…)")
    }
}

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
    /// Adds so many, if there is room for them. There is for a single publish, however large.
    pub fn add(&self, bytes: usize) -> Option<Waits> {
        let fits = |waiting: usize| {
            let all = waiting.saturating_add(bytes);
            (waiting == 0 || all <= MOST_WAITING_BYTES).then_some(all)
        };
        let (relaxed, all) = (Ordering::Relaxed, self.0.clone());
        all.fetch_update(relaxed, relaxed, fits).ok()?;
        Some(Waits {
            since: Instant::now(),
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
