//! Who may write to a client: its stream's thread or, while that thread sleeps, the announcer or the janitor.
//!
//! Waking a thread costs more than a small write. No locks and no I/O here. `tests/loom` tries every interleaving: no
//! wake-up is lost, and nobody writes between the parts of a frame.

use super::sync::{current, fence, park, AtomicU8, Ordering, Thread};
use std::sync::OnceLock;

/// The stream's thread is up, and nobody else writes.
const AWAKE: u8 = 0;
/// It is parked, or about to be, and has to be woken for news.
const ASLEEP: u8 = 1;
/// It is parked, and somebody writes in its place.
const HELPED: u8 = 2;
/// Somebody writes in its place, and has to wake it when that is done.
const WANTED: u8 = 3;

/// Shared by the stream's thread, those who write in its place, and whoever has news for the thread.
#[derive(Debug)]
pub(super) struct Handoff {
    state: AtomicU8,
    /// Set by the stream's thread before it sleeps for the first time.
    thread: OnceLock<Thread>,
}

impl Handoff {
    pub(super) fn new() -> Handoff {
        Handoff {
            state: AtomicU8::new(AWAKE),
            thread: OnceLock::new(),
        }
    }

    /// Wakes the stream's thread if it sleeps. A thread that is about to sleep sees what the caller has changed before.
    pub(super) fn wake(&self) {
        // Pairs with the fence in `sleep`.
        fence(Ordering::SeqCst);
        loop {
            match self.state.load(Ordering::SeqCst) {
                // Whoever changes the state unparks.
                ASLEEP if self.change(ASLEEP, AWAKE) => return self.unpark(),
                HELPED if self.change(HELPED, WANTED) => return,
                AWAKE | WANTED => return,
                _ => {}
            }
        }
    }

    /// For the stream's thread: runs `sleep`, which parks it, unless `has_news`. When this returns, nobody else writes.
    /// That need not mean that there is news.
    pub(super) fn sleep(&self, has_news: impl FnOnce() -> bool, sleep: impl FnOnce()) {
        self.lie_down();
        // A change made before anybody could see that this thread sleeps has woken nobody, so it checks once more.
        if !has_news() {
            sleep();
        }
        self.get_up();
    }

    /// The first step of `sleep`.
    pub(super) fn lie_down(&self) {
        self.thread.get_or_init(current);
        self.state.store(ASLEEP, Ordering::SeqCst);
        // Pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    /// The last step of `sleep`.
    pub(super) fn get_up(&self) {
        loop {
            match self.state.load(Ordering::SeqCst) {
                AWAKE => return,
                ASLEEP if self.change(ASLEEP, AWAKE) => return,
                HELPED if !self.change(HELPED, WANTED) => {}
                // Who writes in its place never waits, and unparks this thread.
                HELPED | WANTED => park(),
                _ => {}
            }
        }
    }

    /// Runs `write` in the thread's place, if the thread sleeps and nobody else does that. `write` must not wait. It has to
    /// leave what it does not finish where the thread looks first: the thread may write as soon as `write` has
    /// returned.
    pub(super) fn write_in_place<T>(&self, write: impl FnOnce() -> T) -> Option<T> {
        if !self.change(ASLEEP, HELPED) {
            return None;
        }
        let result = write();
        if !self.change(HELPED, ASLEEP) {
            self.state.store(AWAKE, Ordering::SeqCst);
            self.unpark();
        }
        Some(result)
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let changed = self
            .state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        changed.is_ok()
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
