//! Threads that serve others as well: whoever is about to wait on such a thread (for a client's bytes, for room, for
//! another server) says so here, and somebody else takes its place meanwhile.
//!
//! Neither side knows the other: the server's crew says how a stand-in comes, hub and server call for one. On a thread
//! that serves nobody else a call does nothing.

use std::cell::OnceCell;

thread_local! {
    static BRING: OnceCell<Box<dyn Fn()>> = const { OnceCell::new() };
}

/// Says how a stand-in for this thread comes, for as long as the thread lives. Once for each thread.
pub fn comes_by(bring: impl Fn() + 'static) {
    BRING.with(|own| {
        // The first one stays.
        let _ = own.set(Box::new(bring));
    });
}

/// To be called before waiting for somebody else. Cheap, and never waits itself.
pub fn call() {
    BRING.with(|own| {
        if let Some(bring) = own.get() {
            bring();
        }
    });
}
