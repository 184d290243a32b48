//! Panics that are expected: whoever catches them says in words what they mean.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// What the work returns, or `None` if it panics. What it works on must not be used afterwards.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let was_catching = IS_CATCHING.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CATCHING.set(was_catching);
    done.ok()
}

/// Keeps the panic hook silent about what `catch_panic` catches.
pub fn silence_caught_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_CATCHING.get() {
            hook(panic);
        }
    }));
}
