//! Simulated threads, in the place of `src/hub/sync.rs`: each sleeps until somebody unparks it, and runs in steps that the
//! simulation gives it.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
pub(super) use std::sync::atomic::{fence, AtomicU8, Ordering};
use std::sync::Arc;

/// A simulated thread: whether it was unparked since it last looked.
#[derive(Clone, Debug, Default)]
pub(super) struct Thread(Arc<AtomicBool>);

thread_local! {
    static CURRENT: RefCell<Thread> = RefCell::default();
}

impl Thread {
    pub(super) fn unpark(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was unparked since the last call.
    pub(super) fn takes_token(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    /// Makes it the current one.
    pub(super) fn run(&self) {
        CURRENT.set(self.clone());
    }
}

pub(super) fn current() -> Thread {
    CURRENT.with_borrow(Thread::clone)
}

pub(super) fn park() {
    panic!("this would wait for another thread, and there is only one");
}
