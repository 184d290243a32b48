//! The accept room: a tiny_http server on the listener, and the crew that takes its requests. It heals: when tiny_http
//! stops accepting, a new server takes over the listener.
//!
//! tiny_http's accept thread ends for good at the first error of `accept`, be it an idle timeout or a full descriptor
//! table, and in some cases by a panic, which says nothing. The connections that the old server has go on being served
//! by the old crew.

use super::crew::Crew;
use super::listener::Listener;
use super::Dispatcher;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
}

/// Bounds of that pause.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const MOST_PAUSE: Duration = Duration::from_secs(1);

/// After this long without trouble, the pause is short again.
const CALM: Duration = Duration::from_secs(10);

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
        acceptor.serve()?;
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
        let mut healing = self.healing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = healing.last.map_or(CALM, |last| last.elapsed());
        if since < healing.pause {
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
        let outcome = self.serve();
        self.is_deaf.fetch_or(outcome.is_err(), Ordering::SeqCst);
        // Once for each time of trouble, not for each try.
        if is_first {
            log::warn!("event=heal reason={reason}");
        }
        if let Err(error) = outcome {
            log::debug!("event=heal_failed error={:?}", error.to_string());
        }
    }

    fn serve(self: &Arc<Self>) -> io::Result<()> {
        // Without a thread to be had, tiny_http panics where we would like an error.
        let server = catch_unwind(AssertUnwindSafe(|| self.listener.serve()))
            .unwrap_or_else(|_| Err(io::Error::other("tiny_http got no thread")))?;
        let crew = Crew::start(server, self.clone())?;
        self.dispatcher.later.goes_to(&crew);
        Ok(())
    }
}
