//! Threads for work that waits: streams, and requests that wait for room or for another server. Their number is
//! bounded. If there is none, the work comes back, so that somebody can answer.

use crate::host;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory that these threads leave to others, in bytes. A thread that cannot get what it needs to begin ends the
/// process.
const RESERVED_MEMORY: usize = 32 << 20;

/// A place among the threads of one kind. Dropping it frees the place.
pub struct ThreadPlace(Arc<AtomicUsize>);

impl ThreadPlace {
    /// Takes a place, if fewer than `most` are taken.
    pub fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<ThreadPlace> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let place = ThreadPlace(taken.clone());
        (before < most).then_some(place)
    }
}

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a job with its work on a thread of its own.
///
/// # Errors
/// If the system gives no thread, or has no memory to spare; the work comes back.
pub fn spawn<T: Send + 'static>(
    name: &str,
    stack: usize,
    work: T,
    job: impl FnOnce(T) + Send + 'static,
) -> Result<(), (io::Error, Option<T>)> {
    if !host::has_memory(RESERVED_MEMORY) {
        return Err((io::ErrorKind::OutOfMemory.into(), Some(work)));
    }
    // A thread that cannot start drops what it was given, so it is not given the work itself.
    let kept = Arc::new(Mutex::new(Some(work)));
    let taken = kept.clone();
    let spawned = std::thread::Builder::new()
        .name(name.into())
        .stack_size(stack)
        .spawn(move || {
            let work = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(taken);
            if let Some(work) = work {
                job(work);
            }
        });
    spawned.map(drop).map_err(|error| {
        (
            error,
            kept.lock().unwrap_or_else(PoisonError::into_inner).take(),
        )
    })
}
