//! The hub's end of a subscriber.

use super::batch::{Batch, Queued};
use super::pace::Pace;
use super::progress::Progress;
use crate::access::Permit;
use crate::counters::Counters;
use crate::event::{EventId, Form};
use crossbeam_channel::Sender;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// In the table while the stream is open. The stream's thread finds its channel closed when the last holder has dropped
/// this.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// Number of the client, unique while the server runs.
    pub(super) number: u64,
    pub(super) form: Form,
    /// It has everything up to this id, or did not ask for it.
    pub(super) joined_after: EventId,
    /// It wants only the newest messages of a batch, at most this many.
    pub(super) newest: Option<NonZeroU32>,
    pub(super) permit: Arc<Permit>,
    /// Unbounded, which costs no memory while empty; the lag bounds it.
    pub(super) queue: Sender<Queued>,
    pub(super) progress: Arc<Progress>,
}

/// How much of a batch was written in the thread's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InPlace {
    Whole,
    /// The thread has the rest in its queue.
    Part,
    Nothing,
}

impl Subscriber {
    /// Writes a batch if that works without waiting; otherwise queues it, and wakes the thread if it sleeps. Returns
    /// how the client keeps up. Only the announcer and its helpers may call this, one at a time.
    pub(super) fn send(
        &self,
        batch: Arc<Batch>,
        queue_limit: usize,
        now_ms: u64,
        counters: &Counters,
    ) -> Pace {
        match self.write_in_place(&batch) {
            InPlace::Whole => {
                let progress = &self.progress;
                progress.wrote_at.store(now_ms, Ordering::Relaxed);
                let messages = batch.messages as u64;
                progress.messages.fetch_add(messages, Ordering::Relaxed);
                batch.count_delivery(counters);
                return Pace::Even;
            }
            InPlace::Part => {}
            InPlace::Nothing => self.enqueue(batch, 0),
        }
        self.progress.handoff.wake();
        self.progress.pace(queue_limit, now_ms)
    }

    /// Writes in the thread's place, if the thread sleeps and nothing is queued.
    fn write_in_place(&self, batch: &Arc<Batch>) -> InPlace {
        let Some(direct) = self.progress.direct.get() else {
            return InPlace::Nothing;
        };
        let write = || {
            // Nobody takes from the queue now, and only the caller adds to it.
            if self.has_unwritten() {
                return InPlace::Nothing;
            }
            match direct.try_write(&batch.frame) {
                (_, true) => InPlace::Whole,
                (0, false) => InPlace::Nothing,
                (written, false) => {
                    // Before the thread may write again, or it would write something else in between.
                    self.enqueue(batch.clone(), written);
                    InPlace::Part
                }
            }
        };
        let written = self.progress.handoff.write_in_place(write);
        written.unwrap_or(InPlace::Nothing)
    }

    /// Whether something has to be written before a new frame may begin, or nothing more may be.
    fn has_unwritten(&self) -> bool {
        let progress = &self.progress;
        !self.queue.is_empty() || progress.heartbeat.is_left() || progress.cut().is_some()
    }

    /// Whether nobody has written to it for this long.
    pub(super) fn is_quiet_for(&self, ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.progress.wrote_at.load(Ordering::Relaxed)) >= ms
    }

    /// Writes a heartbeat in the thread's place. What the client does not take at once is left to the thread. While the
    /// thread is up it writes something else, so there is no need for a heartbeat.
    pub(super) fn keep_alive(&self, now_ms: u64) {
        let progress = &self.progress;
        let Some(direct) = progress.direct.get() else {
            return;
        };
        let Some(heartbeat) = direct.heartbeat() else {
            return;
        };
        let write = || {
            if self.has_unwritten() {
                return;
            }
            let (written, is_whole) = direct.try_write(heartbeat);
            if !is_whole {
                progress.heartbeat.leave(written);
            }
        };
        if progress.handoff.write_in_place(write).is_some() {
            progress.wrote_at.store(now_ms, Ordering::Relaxed);
        }
        if progress.heartbeat.is_left() {
            progress.handoff.wake();
        }
    }

    /// Queues a batch of which the client has `written` bytes.
    fn enqueue(&self, batch: Arc<Batch>, written: usize) {
        let lag = &self.progress.lag;
        lag.fetch_add(batch.messages, Ordering::Relaxed);
        // If the stream's thread is gone, the client has just left.
        let _ = self.queue.send(Queued { batch, written });
    }
}
