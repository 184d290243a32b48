//! The accept room: a tiny_http server on the listener, and the crew that takes its requests. It heals: when tiny_http
//! stops accepting, a new server takes over the listener.
//!
//! tiny_http's accept thread ends for good at the first error of `accept`, be it an idle timeout or a full descriptor
//! table, and in some cases by a panic, which says nothing. The connections that the old server has go on being served
//! by the old crew.

use super::crew::Crew;
use super::listener::Listener;
use super::Dispatcher;
use crate::system;
use std::io;
use std::os::fd::RawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Takes requests from a listener.
pub struct Acceptor {
    listener: Listener,
    dispatcher: Arc<Dispatcher>,
    /// Guards the making of a new server.
    healing: Mutex<Healing>,
    /// Nobody accepts: known from an error.
    is_deaf: AtomicBool,
    /// Something of tiny_http panicked: perhaps nobody accepts.
    is_suspect: AtomicBool,
    /// Woken when one of the two is set.
    watchdog: OnceLock<Thread>,
}

#[derive(Default)]
struct Healing {
    last: Option<Instant>,
    /// Time that has to pass until the next: while there are no descriptors, a new server fails at once.
    pause: Duration,
    /// The copy of the listener that the last server was given.
    copy: Option<RawFd>,
    /// No server is to accept any more.
    is_retired: bool,
}

/// Bounds of that pause.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const MOST_PAUSE: Duration = Duration::from_secs(1);

/// After this long without trouble, the pause is short again.
const CALM: Duration = Duration::from_secs(10);

/// How long `retire` tries to wake the thread that accepts, and how often.
const RETIREMENT_TIME: Duration = Duration::from_secs(1);
const RETIREMENT_ROUND: Duration = Duration::from_millis(25);

impl Acceptor {
    /// Starts accepting.
    ///
    /// # Errors
    /// If the system gives no descriptor or no thread.
    pub fn start(listener: Listener, dispatcher: Arc<Dispatcher>) -> io::Result<Arc<Acceptor>> {
        let acceptor = Arc::new(Acceptor {
            listener,
            dispatcher,
            healing: Mutex::new(Healing::default()),
            is_deaf: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            watchdog: OnceLock::new(),
        });
        acceptor.serve(&mut acceptor.lock())?;
        Ok(acceptor)
    }

    /// The listener.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// What brings requests to the routes.
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// Notes that nobody accepts any more, as an error of `accept` has told.
    pub fn note_deaf(&self, error: &io::Error) {
        self.is_deaf.store(true, Ordering::SeqCst);
        log::debug!("event=deaf error={:?}", error.to_string());
        self.wake_watchdog();
    }

    /// Whether it is known that nobody accepts.
    pub fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::SeqCst)
    }

    /// Whether there was a sign of that since the last call.
    pub fn take_suspicion(&self) -> bool {
        self.is_suspect.swap(false, Ordering::SeqCst)
    }

    /// Makes the watchdog look at once.
    pub fn suspect(&self) {
        self.is_suspect.store(true, Ordering::SeqCst);
        self.wake_watchdog();
    }

    /// Names the thread to wake when there is something to look after.
    pub fn set_watchdog(&self, thread: Thread) {
        // There is one watchdog.
        let _ = self.watchdog.set(thread);
    }

    fn wake_watchdog(&self) {
        if let Some(thread) = self.watchdog.get() {
            thread.unpark();
        }
    }

    /// Lets a new server take over the listener, if the last time is long enough ago.
    pub fn heal(self: &Arc<Self>, reason: &str) {
        let mut healing = self.lock();
        let since = healing.last.map_or(CALM, |last| last.elapsed());
        if since < healing.pause || healing.is_retired {
            return;
        }
        let is_first = since >= CALM;
        healing.pause = if is_first {
            LEAST_PAUSE
        } else {
            (healing.pause * 2).min(MOST_PAUSE)
        };
        healing.last = Some(Instant::now());
        self.is_deaf.store(false, Ordering::SeqCst);
        let outcome = self.serve(&mut healing);
        self.is_deaf.fetch_or(outcome.is_err(), Ordering::SeqCst);
        // Once for each time of trouble, not for each try.
        if is_first {
            log::warn!("event=heal reason={reason}");
        }
        if let Err(error) = outcome {
            log::debug!("event=heal_failed error={:?}", error.to_string());
        }
    }

    /// Lets nobody accept any more, and leaves the listener itself as it is: connections wait in it for whoever has it
    /// next. Those that there are go on being served. `connect` has to connect to the listener.
    ///
    /// A thread that is inside `accept` stays there until a connection comes; so this makes some, until one was met by
    /// it and not by a successor that has the listener already.
    pub fn retire(&self, connect: impl Fn()) {
        let copy = {
            let mut healing = self.lock();
            healing.is_retired = true;
            healing.copy
        };
        if let Some(copy) = copy {
            match system::stop_accepting(copy, self.listener.descriptor()) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    log::warn!("event=still_accepting error={:?}", error.to_string());
                    return;
                }
            }
        }
        let end = Instant::now() + RETIREMENT_TIME;
        while !self.is_deaf() && Instant::now() < end {
            connect();
            let next = Instant::now() + RETIREMENT_ROUND;
            while !self.is_deaf() && Instant::now() < next {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    /// Whether nobody is to accept any more.
    pub fn is_retired(&self) -> bool {
        self.lock().is_retired
    }

    fn lock(&self) -> MutexGuard<'_, Healing> {
        self.healing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, healing: &mut Healing) -> io::Result<()> {
        // Without a thread to be had, tiny_http panics where we would like an error.
        let (server, copy) = catch_unwind(AssertUnwindSafe(|| self.listener.serve()))
            .unwrap_or_else(|_| Err(io::Error::other("tiny_http got no thread")))?;
        healing.copy = Some(copy);
        let crew = Crew::start(server, self.clone())?;
        self.dispatcher.jobs.goes_to(&crew);
        Ok(())
    }
}
