//! The accept loop: one thread per tiny_http server takes requests and dispatches them. It heals: when tiny_http stops
//! accepting, a new server takes over the listener.
//!
//! tiny_http's accept thread ends for good at the first error of `accept`, be it an idle timeout or a full descriptor
//! table. The connections that the old server has go on being served by the old loop.

use super::listener::{Listener, READ_TIMEOUT};
use super::Dispatcher;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Takes requests from a listener.
pub struct Acceptor {
    listener: Listener,
    dispatcher: Arc<Dispatcher>,
    /// When a server was made last. Guards the making, too.
    last_heal: Mutex<Option<Instant>>,
}

/// Servers are made at most this often: at the descriptor limit a new one may fail at once, again and again.
const HEAL_INTERVAL: Duration = Duration::from_millis(200);

/// A server that no longer accepts is let go after this long without a request: by then none of its connections can
/// still be waiting for one.
const RETIREMENT: Duration = Duration::from_secs(4 * READ_TIMEOUT.as_secs());

impl Acceptor {
    /// Starts accepting.
    ///
    /// # Errors
    /// If the system gives no descriptor or no thread.
    pub fn start(listener: Listener, dispatcher: Arc<Dispatcher>) -> io::Result<Arc<Acceptor>> {
        let acceptor = Arc::new(Acceptor {
            listener,
            dispatcher,
            last_heal: Mutex::new(None),
        });
        acceptor.serve()?;
        Ok(acceptor)
    }

    /// The listener.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Lets a new server take over the listener. Returns whether it does.
    pub fn heal(self: &Arc<Self>, reason: &str) -> bool {
        let mut last = self
            .last_heal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < HEAL_INTERVAL) {
            return false;
        }
        *last = Some(Instant::now());
        match self.serve() {
            Ok(()) => {
                log::warn!("event=heal reason={reason}");
                true
            }
            Err(error) => {
                log::warn!(
                    "event=heal_failed reason={reason} error={:?}",
                    error.to_string()
                );
                false
            }
        }
    }

    fn serve(self: &Arc<Self>) -> io::Result<()> {
        let server = self.listener.serve()?;
        let acceptor = self.clone();
        std::thread::Builder::new()
            .name("accept".into())
            .spawn(move || acceptor.take_requests(server))?;
        Ok(())
    }

    fn take_requests(self: Arc<Self>, server: tiny_http::Server) {
        let mut is_deaf = false;
        loop {
            match server.recv_timeout(RETIREMENT) {
                Ok(Some(raw)) => self.dispatcher.dispatch(raw),
                Ok(None) if is_deaf => break,
                Ok(None) => {}
                Err(error) => {
                    is_deaf = true;
                    // If it cannot be healed now, the watchdog will see to it.
                    self.heal(&format!("{:?}", error.to_string()));
                }
            }
        }
        if matches!(self.listener, Listener::Unix(..)) {
            // Its destructor would remove the socket's file, which the new server needs.
            std::mem::forget(server);
        }
    }
}
