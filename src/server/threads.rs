//! Threads for work that waits: streams, and requests that wait for room or for another server. Their number is
//! bounded. If there is none, the work comes back, so that somebody can answer.

use crate::host;
use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Memory that these threads leave to others, in bytes. A thread that cannot get what it needs to begin ends the
/// process.
const RESERVED_MEMORY: usize = 32 << 20;

/// A thread that has done its work waits this long for more. A browser connects again after one to three seconds, and a
/// script that polls at once; to make a thread costs several times as much as to wake one.
const SPARE_TIME: Duration = Duration::from_secs(5);

/// The threads of one kind, which all do the same with the work that they get.
pub struct Threads<W> {
    name: &'static str,
    /// Virtual memory for the stack of each, in bytes.
    stack: usize,
    /// Places, and how many of them are taken.
    most: usize,
    taken: Arc<AtomicUsize>,
    run: fn(W),
    /// Without a buffer: only a thread that is waiting takes work.
    work: Sender<W>,
    spare: Receiver<W>,
}

impl<W: Send + 'static> Threads<W> {
    /// No threads yet. `most` limits the places, not the threads.
    pub fn new(name: &'static str, stack: usize, most: usize, run: fn(W)) -> Threads<W> {
        let (work, spare) = crossbeam_channel::bounded(0);
        Threads {
            name,
            stack,
            most,
            taken: Arc::default(),
            run,
            work,
            spare,
        }
    }

    /// A place, if there is one.
    pub fn place(&self) -> Option<ThreadPlace> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = ThreadPlace(self.taken.clone());
        (before < self.most).then_some(place)
    }

    /// Gives work to a thread that waits for some, or else to a new one.
    ///
    /// # Errors
    /// If the system gives no thread, or has no memory to spare; the work comes back.
    pub fn give(&self, work: W) -> Result<(), (io::Error, Option<W>)> {
        match self.work.try_send(work) {
            Ok(()) => Ok(()),
            Err(error) => self.start(error.into_inner()),
        }
    }

    fn start(&self, work: W) -> Result<(), (io::Error, Option<W>)> {
        if !host::has_memory(RESERVED_MEMORY) {
            return Err((io::ErrorKind::OutOfMemory.into(), Some(work)));
        }
        // A thread that cannot start drops what it was given, so it is not given the work itself.
        let kept = Arc::new(Mutex::new(Some(work)));
        let (first, spare, run) = (kept.clone(), self.spare.clone(), self.run);
        let spawned = std::thread::Builder::new()
            .name(self.name.into())
            .stack_size(self.stack)
            .spawn(move || {
                let work = take(&first);
                drop(first);
                work.into_iter().for_each(run);
                while let Ok(work) = spare.recv_timeout(SPARE_TIME) {
                    run(work);
                }
            });
        spawned.map(drop).map_err(|error| (error, take(&kept)))
    }
}

fn take<W>(kept: &Mutex<Option<W>>) -> Option<W> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A place among the threads of one kind. Dropping it frees the place.
pub struct ThreadPlace(Arc<AtomicUsize>);

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
