//! Threads for work that waits: streams, and requests that wait for room or for another server. Their number is
//! bounded. If there is none, the work comes back, so that somebody can answer.

use crate::host;
use crossbeam_channel::{Receiver, Sender};
use std::ffi::CStr;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Memory that these threads leave to others, in bytes. Who finds none for a few bytes ends the process.
const RESERVED_MEMORY: usize = 32 << 20;

/// Threads that begin between two looks at the memory: they take less than what is reserved.
const BETWEEN_LOOKS: usize = 64;

/// A thread that has done its work waits this long for more. A browser connects again after one to three seconds, and
/// a script that polls at once; to make a thread costs several times as much as to wake one.
const SPARE_TIME: Duration = Duration::from_secs(5);

/// And this much longer for each that waits already: the threads of a crowd that has left end one after the other. All at
/// once they would hold up everybody else.
const BETWEEN_ENDS: Duration = Duration::from_millis(5);

/// The threads of one kind, which all do the same with the work that they get.
pub struct Threads<W> {
    name: &'static CStr,
    /// Virtual memory for the stack of each, in bytes.
    stack: usize,
    /// Places, and how many of them are taken.
    most: usize,
    taken: Arc<AtomicUsize>,
    /// Threads that may begin before the next look at the memory.
    unlooked: AtomicUsize,
    run: fn(W),
    /// Without a buffer: only a thread that is waiting takes work.
    work: Sender<W>,
    spare: Receiver<W>,
    /// Their number.
    waiting: Arc<AtomicU32>,
}

impl<W: Send + 'static> Threads<W> {
    /// No threads yet. `most` limits the places, not the threads.
    pub fn new(name: &'static CStr, stack: usize, most: usize, run: fn(W)) -> Threads<W> {
        let (work, spare) = crossbeam_channel::bounded(0);
        Threads {
            name,
            stack,
            most,
            taken: Arc::default(),
            unlooked: AtomicUsize::new(0),
            run,
            work,
            spare,
            waiting: Arc::default(),
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
    pub fn give(&self, work: W) -> Result<(), (io::Error, W)> {
        match self.work.try_send(work) {
            Ok(()) => Ok(()),
            Err(error) => self.start(error.into_inner()),
        }
    }

    fn start(&self, work: W) -> Result<(), (io::Error, W)> {
        if !self.has_memory() {
            return Err((io::ErrorKind::OutOfMemory.into(), work));
        }
        let life = Life {
            run: self.run,
            first: work,
            spare: self.spare.clone(),
            waiting: self.waiting.clone(),
        };
        host::spawn(self.name, self.stack, Life::live, life)
            .map_err(|(error, life)| (error, life.first))
    }

    fn has_memory(&self) -> bool {
        let one_less = |unlooked: usize| unlooked.checked_sub(1);
        let order = Ordering::Relaxed;
        if self.unlooked.fetch_update(order, order, one_less).is_ok() {
            return true;
        }
        let has_memory = host::has_memory(RESERVED_MEMORY);
        if has_memory {
            self.unlooked.store(BETWEEN_LOOKS, order);
        }
        has_memory
    }
}

/// What a thread does until there is no more work for it.
struct Life<W> {
    run: fn(W),
    first: W,
    spare: Receiver<W>,
    waiting: Arc<AtomicU32>,
}

impl<W> Life<W> {
    fn live(self) {
        (self.run)(self.first);
        while let Some(work) = wait(&self.spare, &self.waiting) {
            (self.run)(work);
        }
    }
}

fn wait<W>(spare: &Receiver<W>, waiting: &AtomicU32) -> Option<W> {
    let before = waiting.fetch_add(1, Ordering::Relaxed);
    let work = spare.recv_timeout(SPARE_TIME + BETWEEN_ENDS * before);
    waiting.fetch_sub(1, Ordering::Relaxed);
    work.ok()
}

/// A place among the threads of one kind. Dropping it frees the place.
pub struct ThreadPlace(Arc<AtomicUsize>);

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
