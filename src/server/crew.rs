//! The thread pool, whose threads run the accept loop themselves: whoever takes a request from tiny_http also handles
//! it, and the next in line waits for the next.
//!
//! With a loop that only hands over, each request wakes two threads more than it has to (the loop, and the worker),
//! which costs as much as all the work for a small publish. So one thread does it all while nothing holds it up: a thread
//! that is about to wait calls for a stand-in, and the foreman hires when all are stuck without having said so (a client
//! that takes no answer, say). A request that panics costs nobody anything. It knows nothing of what is done with a
//! request. One crew for each tiny_http server, started by the accept room.

use super::accept::Acceptor;
use super::exchange::Exchange;
use super::listener::READ_TIMEOUT;
use super::Dispatcher;
use crate::stand_in;
use std::collections::VecDeque;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Threads at most. Only authorised publishers, with slow bodies or to channels that do not keep up, can hold one up for
/// long: the guard ends a connection whose client does not take its answer.
const MOST: usize = 256;

/// When nobody had to be hired for this long, whoever finds others waiting behind it goes.
const CALM: Duration = Duration::from_secs(2);

/// A server that no longer accepts is let go after this long without a request: by then none of its connections can
/// still be waiting for one.
const RETIREMENT: Duration = Duration::from_secs(4 * READ_TIMEOUT.as_secs());

/// How often a thread looks for the next request before it sleeps.
const LOOKS: usize = 2;

/// Threads that the foreman hires in one go.
const MOST_AT_ONCE: usize = 32;

/// All threads are stuck when nobody has taken a request for this long and nobody waits for one.
const STUCK: Duration = Duration::from_millis(5);

/// See the module's comment.
pub struct Crew {
    server: Arc<tiny_http::Server>,
    acceptor: Arc<Acceptor>,
    /// Held by the one thread that waits for a request, until the request has its place on its connection: requests of
    /// one connection must not overtake each other. The others wait for this.
    line: Mutex<()>,
    threads: AtomicUsize,
    /// Threads that wait for a request, or are about to.
    waiting: AtomicUsize,
    /// Requests that were taken so far.
    taken: AtomicU64,
    /// tiny_http accepts no more connections.
    is_deaf: AtomicBool,
    foreman: OnceLock<Thread>,
    foreman_sleeps: AtomicBool,
    started: Instant,
    /// When somebody was hired last, in ms after `started`.
    hired_at: AtomicU64,
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
        let crew = Arc::new(Crew {
            server,
            acceptor,
            line: Mutex::default(),
            threads: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            is_deaf: AtomicBool::new(false),
            foreman: OnceLock::new(),
            foreman_sleeps: AtomicBool::new(false),
            started: Instant::now(),
            hired_at: AtomicU64::new(0),
        });
        // The foreman first: without one, nobody must be left that goes on taking requests.
        let watched = Arc::downgrade(&crew);
        let foreman = std::thread::Builder::new()
            .name("foreman".into())
            .spawn(move || oversee(&watched))?;
        // It is set once, here.
        let _ = crew.foreman.set(foreman.thread().clone());
        crew.hire()?;
        Ok(crew)
    }

    fn hire(self: &Arc<Self>) -> io::Result<()> {
        self.threads.fetch_add(1, Ordering::SeqCst);
        self.hired_at.store(self.age_ms(), Ordering::Relaxed);
        let crew = self.clone();
        let spawned = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || crew.work());
        if spawned.is_err() {
            self.threads.fetch_sub(1, Ordering::SeqCst);
        }
        spawned.map(drop)
    }

    /// Returns whether somebody was hired. Without a thread to be had, requests wait for those that are there.
    fn hire_if_nobody_waits(self: &Arc<Self>) -> bool {
        let is_short = self.waiting.load(Ordering::SeqCst) == 0;
        is_short && self.threads.load(Ordering::SeqCst) < MOST && self.hire().is_ok()
    }

    /// The accept loop.
    fn work(self: Arc<Self>) {
        let crew = Arc::downgrade(&self);
        stand_in::comes_by(move || {
            if let Some(crew) = crew.upgrade() {
                crew.hire_if_nobody_waits();
            }
        });
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let line = lock(&self.line);
            if self.has_spare_threads() {
                // Before the next in line looks: one has to stay.
                self.step_forward();
                break;
            }
            let begun = Instant::now();
            let taken = self.take();
            let was_silent = begun.elapsed() >= RETIREMENT;
            let next = taken.map(|raw| raw.and_then(|raw| self.admit(raw)));
            self.step_forward();
            drop(line);
            match next {
                Ok(Some(exchange)) => self.attend(|| self.dispatcher().serve(exchange)),
                Ok(None) => match self.dispatcher().jobs.pop() {
                    Some(job) => self.attend(job),
                    None if was_silent && self.is_deaf.load(Ordering::SeqCst) => break,
                    None => {}
                },
                Err(error) => {
                    self.is_deaf.store(true, Ordering::SeqCst);
                    self.acceptor.note_deaf(&error);
                }
            }
        }
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }

    fn dispatcher(&self) -> &Arc<Dispatcher> {
        self.acceptor.dispatcher()
    }

    /// Whether others wait behind the one that asks, and will do.
    fn has_spare_threads(&self) -> bool {
        let since = self
            .age_ms()
            .saturating_sub(self.hired_at.load(Ordering::Relaxed));
        self.waiting.load(Ordering::SeqCst) > 1 && since >= CALM.as_millis() as u64
    }

    fn age_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Gives a request its place on its connection; and back, if it has its turn now.
    fn admit(&self, raw: tiny_http::Request) -> Option<Exchange> {
        let admit = AssertUnwindSafe(|| self.dispatcher().admit(raw));
        // The panic hook has put it into the log.
        catch_unwind(admit).unwrap_or_default()
    }

    /// The next request, or `None` after so long, or if there may be a job.
    ///
    /// It looks again after others have had a turn before it sleeps: under load they bring the next request meanwhile, and
    /// nobody has to be woken for it.
    fn take(&self) -> io::Result<Option<tiny_http::Request>> {
        for _ in 0..LOOKS {
            let taken = self.server.try_recv()?;
            // What it takes for nothing may have been meant for a job.
            if taken.is_some() || self.dispatcher().jobs.are_waiting() {
                return Ok(taken);
            }
            std::thread::yield_now();
        }
        self.server.recv_timeout(RETIREMENT)
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
            let hired = (0..to_hire).take_while(|_| crew.hire_if_nobody_waits());
            let _ = hired.count();
            to_hire = (to_hire * 2).min(MOST_AT_ONCE);
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
