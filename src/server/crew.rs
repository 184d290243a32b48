//! The thread pool, whose threads run the accept loop themselves: whoever takes a request from tiny_http also handles
//! it, while the others wait for the next.
//!
//! With a loop that only hands over, each request wakes two threads more than it has to (the loop, and the worker),
//! which costs as much as all the work for a small publish. So there are few threads, and more only while some are
//! held up: a thread that is about to wait calls for a stand-in, and the foreman hires when all are stuck
//! without having said so (a client that takes no answer, say). A request that panics costs nobody anything. It knows
//! nothing of what is done with a request. One crew for each tiny_http server, started by the accept room.

use super::accept::Acceptor;
use super::listener::READ_TIMEOUT;
use crate::stand_in;
use std::collections::VecDeque;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Threads that always wait for requests: one for two cores, within these bounds. (tiny_http parses on threads of its own.)
/// With more, each request wakes one that slept; with few, they find the next one in the queue when they are done.
const BASE: std::ops::RangeInclusive<usize> = 1..=4;

/// Threads at most. Only authorised publishers, with slow bodies or to channels that do not keep up, can hold one up for
/// long.
const MOST: usize = 256;

/// A thread beyond the base lives for this long at least, and then goes as soon as enough others wait.
const LEAST_LIFE: Duration = Duration::from_secs(2);

/// A server that no longer accepts is let go after this long without a request: by then none of its connections can
/// still be waiting for one.
const RETIREMENT: Duration = Duration::from_secs(4 * READ_TIMEOUT.as_secs());

/// How often a thread looks for the next request before it sleeps.
const LOOKS: usize = 2;

/// All threads are stuck when nobody has taken a request for this long and nobody waits for one.
const STUCK: Duration = Duration::from_millis(5);

/// See the module's comment.
pub struct Crew {
    server: Arc<tiny_http::Server>,
    acceptor: Arc<Acceptor>,
    base: usize,
    threads: AtomicUsize,
    /// Threads that wait for a request, or are about to.
    waiting: AtomicUsize,
    /// Requests that were taken so far.
    taken: AtomicU64,
    /// tiny_http accepts no more connections.
    is_deaf: AtomicBool,
    foreman: OnceLock<Thread>,
    foreman_sleeps: AtomicBool,
}

impl Crew {
    /// Starts to take requests from a server.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(server: tiny_http::Server, acceptor: Arc<Acceptor>) -> io::Result<Arc<Crew>> {
        let server = Arc::new(server);
        if acceptor.listener().is_unix() {
            // Its destructor would remove the socket's file, which the next server needs: it must never run.
            std::mem::forget(server.clone());
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let crew = Arc::new(Crew {
            server,
            acceptor,
            base: (cores / 2).clamp(*BASE.start(), *BASE.end()),
            threads: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            is_deaf: AtomicBool::new(false),
            foreman: OnceLock::new(),
            foreman_sleeps: AtomicBool::new(false),
        });
        for _ in 0..crew.base {
            crew.hire()?;
        }
        let watched = Arc::downgrade(&crew);
        let foreman = std::thread::Builder::new()
            .name("foreman".into())
            .spawn(move || oversee(&watched))?;
        // It is set once, here.
        let _ = crew.foreman.set(foreman.thread().clone());
        Ok(crew)
    }

    fn hire(self: &Arc<Self>) -> io::Result<()> {
        self.threads.fetch_add(1, Ordering::SeqCst);
        let crew = self.clone();
        let spawned = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || crew.work());
        if spawned.is_err() {
            self.threads.fetch_sub(1, Ordering::SeqCst);
        }
        spawned.map(drop)
    }

    fn hire_if_nobody_waits(self: &Arc<Self>) {
        let is_short = self.waiting.load(Ordering::SeqCst) == 0;
        if is_short && self.threads.load(Ordering::SeqCst) < MOST {
            // No thread to be had: requests wait for those that are there.
            let _ = self.hire();
        }
    }

    /// The accept loop.
    fn work(self: Arc<Self>) {
        let crew = Arc::downgrade(&self);
        stand_in::comes_by(move || {
            if let Some(crew) = crew.upgrade() {
                crew.hire_if_nobody_waits();
            }
        });
        let hired = Instant::now();
        loop {
            let is_spare = self.waiting.fetch_add(1, Ordering::SeqCst) >= self.base;
            if is_spare && hired.elapsed() >= LEAST_LIFE {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                break;
            }
            let patience = if is_spare { LEAST_LIFE } else { RETIREMENT };
            let begun = Instant::now();
            let taken = self.take(patience);
            self.step_forward();
            match taken {
                Ok(Some(raw)) => self.attend(|| self.acceptor.dispatcher().dispatch(raw)),
                Ok(None) => {
                    if let Some(job) = self.acceptor.dispatcher().jobs.pop() {
                        self.attend(job);
                    }
                }
                Err(error) => {
                    self.is_deaf.store(true, Ordering::SeqCst);
                    self.acceptor.note_deaf(&error);
                }
            }
            let was_silent = begun.elapsed() >= RETIREMENT;
            if was_silent && self.is_deaf.load(Ordering::SeqCst) {
                break;
            }
        }
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// The next request, or `None` after so long, or if there may be a job.
    ///
    /// It looks again after others have had a turn before it sleeps: under load they bring the next request meanwhile, and
    /// nobody has to be woken for it.
    fn take(&self, patience: Duration) -> io::Result<Option<tiny_http::Request>> {
        for _ in 0..LOOKS {
            let taken = self.server.try_recv()?;
            // What it takes for nothing may have been meant for a job.
            if taken.is_some() || self.acceptor.dispatcher().jobs.are_waiting() {
                return Ok(taken);
            }
            std::thread::yield_now();
        }
        self.server.recv_timeout(patience)
    }

    fn attend(&self, job: impl FnOnce()) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        // The panic hook has put it into the log.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }

    /// Whether the foreman may sleep until it is woken: somebody waits for requests.
    fn lets_foreman_sleep(&self) -> bool {
        // In this order: whoever leaves last after that wakes the foreman.
        self.foreman_sleeps.store(true, Ordering::SeqCst);
        let somebody_waits = self.waiting.load(Ordering::SeqCst) > 0;
        self.foreman_sleeps.store(somebody_waits, Ordering::SeqCst);
        somebody_waits
    }

    /// Whether nobody waits for requests, and nobody has taken one since there were `taken`.
    fn is_stuck(&self, taken: u64) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.taken.load(Ordering::Relaxed) == taken
    }

    /// Leaves those who wait. If nobody is left, the foreman has to look.
    fn step_forward(&self) {
        let was_last = self.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.foreman_sleeps.swap(false, Ordering::SeqCst) {
            if let Some(foreman) = self.foreman.get() {
                foreman.unpark();
            }
        }
    }
}

/// Hires when every thread is stuck: each time twice as many, until somebody takes requests again.
fn oversee(watched: &Weak<Crew>) {
    let mut to_hire = 1;
    while let Some(crew) = watched.upgrade() {
        if crew.lets_foreman_sleep() {
            drop(crew);
            std::thread::park_timeout(RETIREMENT);
            let Some(crew) = watched.upgrade() else {
                return;
            };
            crew.foreman_sleeps.store(false, Ordering::SeqCst);
        }
        let Some(crew) = watched.upgrade() else {
            return;
        };
        let taken = crew.taken.load(Ordering::Relaxed);
        // Also after each sleep: a busy crew must not wake the foreman for each request.
        std::thread::park_timeout(STUCK);
        if crew.is_stuck(taken) {
            (0..to_hire).for_each(|_| crew.hire_if_nobody_waits());
            to_hire *= 2;
        } else {
            to_hire = 1;
        }
    }
}

/// A piece of work for some thread of the crew.
pub type Job = Box<dyn FnOnce() + Send>;

/// Work that comes up beside the requests that tiny_http has, for any thread of the newest crew: requests whose turn on
/// their connection came later than they did, and answers that somebody else had to give first.
#[derive(Default)]
pub struct Jobs {
    /// Held for a line at a time, and never both at once.
    waiting: Mutex<VecDeque<Job>>,
    crew: Mutex<Weak<Crew>>,
}

impl Jobs {
    /// Leaves a job, and wakes a thread for it.
    pub fn push(&self, job: Job) {
        lock(&self.waiting).push_back(job);
        let crew = lock(&self.crew).upgrade();
        // Without one, the next crew looks here first.
        if let Some(crew) = crew {
            crew.server.unblock();
        }
    }

    fn are_waiting(&self) -> bool {
        !lock(&self.waiting).is_empty()
    }

    fn pop(&self) -> Option<Job> {
        lock(&self.waiting).pop_front()
    }

    /// Names the crew that sees to them from now on.
    pub fn goes_to(&self, crew: &Arc<Crew>) {
        *lock(&self.crew) = Arc::downgrade(crew);
        let left_over = lock(&self.waiting).len();
        (0..left_over).for_each(|_| crew.server.unblock());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
