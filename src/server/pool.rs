//! The thread pool: runs jobs on a few threads, and on more while those are held up (by a slow body, say). A job that
//! panics costs nobody anything. It knows nothing of what the jobs do.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Threads that always wait for jobs: more than cores, because a job may wait for a lock.
const BASE: usize = 4;

/// Threads at most. Only authorised publishers, with slow bodies or to channels that do not keep up, can hold one up.
const MOST: usize = 256;

/// A thread beyond the base lives for this long at least, and then goes as soon as enough others are idle. (Not when it
/// has had nothing to do for long: jobs are given to all idle threads in turn, and a few jobs keep many awake.)
const LEAST_LIFE: Duration = Duration::from_secs(2);

/// See the module's comment.
#[derive(Clone)]
pub struct Pool {
    sender: Sender<Job>,
    crew: Arc<Crew>,
}

struct Crew {
    receiver: Receiver<Job>,
    threads: AtomicUsize,
    idle: AtomicUsize,
}

impl Pool {
    /// A pool with its base threads.
    ///
    /// # Errors
    /// If the system gives no thread at all.
    pub fn new() -> std::io::Result<Pool> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let crew = Arc::new(Crew {
            receiver,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
        });
        for _ in 0..BASE {
            Crew::hire(&crew)?;
        }
        Ok(Pool { sender, crew })
    }

    /// Runs a job as soon as a thread is free.
    pub fn execute(&self, job: Job) {
        // The crew holds a receiver for as long as the pool is there: this cannot fail.
        let _ = self.sender.send(job);
        Crew::hire_if_short(&self.crew);
    }
}

impl Crew {
    fn hire(crew: &Arc<Crew>) -> std::io::Result<()> {
        crew.threads.fetch_add(1, Ordering::SeqCst);
        let own = crew.clone();
        let spawned = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || own.work());
        if spawned.is_err() {
            crew.threads.fetch_sub(1, Ordering::SeqCst);
        }
        spawned.map(drop)
    }

    /// Called after each job that came in and before each that is run, so a job never waits while every thread is held
    /// up and another may be hired.
    fn hire_if_short(crew: &Arc<Crew>) {
        let is_short = crew.receiver.len() > crew.idle.load(Ordering::SeqCst);
        if is_short && crew.threads.load(Ordering::SeqCst) < MOST {
            // No thread to be had: the job waits for one that is there.
            let _ = Crew::hire(crew);
        }
    }

    fn work(self: Arc<Crew>) {
        let hired = Instant::now();
        loop {
            let is_spare = self.idle.fetch_add(1, Ordering::SeqCst) >= BASE;
            if is_spare && hired.elapsed() >= LEAST_LIFE {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                self.threads.fetch_sub(1, Ordering::SeqCst);
                // A job may have come that counted on this thread.
                Crew::hire_if_short(&self);
                return;
            }
            let job = self.receiver.recv_timeout(LEAST_LIFE);
            self.idle.fetch_sub(1, Ordering::SeqCst);
            match job {
                Ok(job) => {
                    Crew::hire_if_short(&self);
                    // The panic hook has put it into the log.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
