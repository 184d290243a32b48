//! What the hub and the stream's thread share about a client: how far it is, who may write to it, and why its stream
//! has to end.

use super::handoff::Handoff;
use super::pace::{Behind, Figures, Pace};
use super::time;
use crate::counters::End;
use crate::event::Frame;
use crate::locks::lock;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// A way to write to a client from outside its stream's thread.
pub trait DirectWriter: Debug + Send + Sync {
    /// Writes as much of the frame as the client takes without waiting. Returns the number of bytes, and whether that
    /// is all of it.
    fn try_write(&self, frame: &Frame) -> (usize, bool);

    /// What keeps the connection alive when there is nothing else to write, if its form has something.
    fn heartbeat(&self) -> Option<&'static Frame>;

    /// Bytes that the client's system has confirmed.
    fn confirmed(&self) -> u64;

    /// Ends the connection, even while a thread writes to it.
    fn cut(&self);
}

/// A client's progress. Atomics, and one lock that is held for a few lines.
#[derive(Debug)]
pub struct Progress {
    pub(super) handoff: Handoff,
    /// Messages queued and not yet written.
    pub(super) lag: AtomicUsize,
    /// When the stream's thread began its current write, in ms of running time; 0 outside a write.
    pub(super) writing_since: AtomicU64,
    /// What the policy for slow clients remembers of it.
    behind: Mutex<Behind>,
    /// How to write to it while its thread sleeps, once known.
    pub(super) direct: OnceLock<Box<dyn DirectWriter>>,
    /// When somebody last wrote to it, in ms of running time.
    pub(super) wrote_at: AtomicU64,
    /// What was not written of a heartbeat in the thread's place.
    pub(super) heartbeat: HeartbeatRest,
    /// Messages written, live and replayed.
    pub(super) messages: AtomicU64,
    /// Why the stream ends without emptying its queue.
    cut: OnceLock<End>,
    /// Why and since when the stream has to end, although its client could go on.
    pub(super) over: OnceLock<(End, Instant)>,
}

/// A heartbeat that is left to the stream's thread: one more than the bytes that the client has of it; 0 for none.
/// Whoever may write to the client may change it, so `Handoff` orders what is done with it.
#[derive(Debug, Default)]
pub(super) struct HeartbeatRest(AtomicUsize);

impl HeartbeatRest {
    pub(super) fn leave(&self, written: usize) {
        self.0.store(written + 1, Ordering::Relaxed);
    }

    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// The bytes that the client has.
    pub(super) fn take(&self) -> Option<usize> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        self.0.store(0, Ordering::Relaxed);
        Some(left)
    }
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            handoff: Handoff::new(),
            lag: AtomicUsize::new(0),
            writing_since: AtomicU64::new(0),
            behind: Mutex::default(),
            direct: OnceLock::new(),
            wrote_at: AtomicU64::new(time::running_ms()),
            heartbeat: HeartbeatRest::default(),
            messages: AtomicU64::new(0),
            cut: OnceLock::new(),
            over: OnceLock::new(),
        }
    }

    /// Why the stream has to end without emptying its queue, if so.
    pub fn cut(&self) -> Option<End> {
        self.cut.get().copied()
    }

    /// Ends the stream because its client has gone.
    pub fn client_has_gone(&self) {
        self.cut_off(End::Gone);
    }

    /// Ends the stream, so that its client reconnects.
    pub(super) fn send_away(&self) {
        self.cut_off(End::SentAway);
    }

    /// Ends the stream and its connection because the client reads too slowly.
    pub fn cut_as_slow(&self) {
        self.cut_off(End::Slow);
        if let Some(direct) = self.direct.get() {
            direct.cut();
        }
    }

    fn cut_off(&self, why: End) {
        // The first reason stays.
        let _ = self.cut.set(why);
        self.handoff.wake();
    }

    /// Ends the stream, and tells the client the reason. What is queued is still delivered.
    pub(super) fn end(&self, why: End) {
        // The first reason stays.
        let _ = self.over.set((why, time::now()));
        self.handoff.wake();
    }

    /// Lets others write to this client while its thread sleeps. Only the first call has an effect.
    pub fn allow_help(&self, direct: Box<dyn DirectWriter>) {
        let _ = self.direct.set(direct);
    }

    /// Messages written to this client, by its thread and in its place, replays included.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages queued for it and not yet written.
    pub fn lag(&self) -> usize {
        self.lag.load(Ordering::Relaxed)
    }

    /// How the client keeps up; `limit` is `CLIENT_QUEUE`, in messages.
    pub(super) fn pace(&self, limit: usize, now_ms: u64) -> Pace {
        self.judge(self.figures(limit, now_ms))
    }

    /// As `pace`, for a client whose audience publishers wait for.
    pub(super) fn pace_if_awaited(&self, limit: usize, now_ms: u64) -> Pace {
        let mut figures = self.figures(limit, now_ms);
        figures.is_awaited = true;
        self.judge(figures)
    }

    fn judge(&self, figures: Figures) -> Pace {
        if self.cut().is_some() {
            // What it has not received no longer counts.
            return Pace::Lost;
        }
        lock(&self.behind).judge(&figures, || self.confirmed())
    }

    /// Whether the client occupies memory that others need.
    pub(super) fn hoards(&self, limit: usize, now_ms: u64) -> bool {
        let figures = self.figures(limit, now_ms);
        lock(&self.behind).hoards(&figures, || self.confirmed())
    }

    fn figures(&self, limit: usize, now_ms: u64) -> Figures {
        Figures {
            lag: self.lag.load(Ordering::Relaxed),
            limit,
            now_ms,
            writing_since_ms: self.writing_since.load(Ordering::Relaxed),
            is_awaited: false,
        }
    }

    fn confirmed(&self) -> u64 {
        self.direct.get().map_or(0, |direct| direct.confirmed())
    }
}
