#![doc = include_str!("README.md")]

mod body;
mod client;
mod clients;
mod connection;
mod dispatcher;
mod door;
mod exchange;
mod head;
pub mod health;
mod inbox;
mod line;
mod listener;
mod mailbox;
mod new_stream;
mod pending;
mod poll;
mod pool;
mod settings;
mod stream;
mod threads;
mod uptake;

pub use listener::Listener;
pub use settings::Settings;

use crate::host;
use crate::routes::App;
use crossbeam_channel::Receiver;
use door::Door;
use mailbox::{Mailbox, Note};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it may take at the end to answer requests that never became complete.
const LAST_ANSWERS: Duration = Duration::from_millis(1200);

/// Starts serving, and returns at once.
///
/// # Errors
/// If the system gives no descriptor or no thread.
pub fn start(listener: Listener, app: App, settings: Settings) -> io::Result<Serving> {
    let is_inherited = listener.is_inherited();
    let (open, all_closed) = crossbeam_channel::bounded(0);
    let (door, mailbox) = Door::open(listener, app, settings, open)?;
    host::start("door", move || door.run())?;
    Ok(Serving {
        mailbox,
        is_inherited,
        all_closed,
    })
}

/// The running server, for whoever stops it.
pub struct Serving {
    mailbox: Arc<Mailbox>,
    is_inherited: bool,
    all_closed: Receiver<Infallible>,
}

impl Serving {
    /// From now on each connection is closed after its answer. A listener that our parent has as well is left to our
    /// successor, with the connections that wait in it. Returns when all accepted clients have their answers, at the
    /// latest at the deadline: nobody is refused because the server is replaced.
    pub fn stop(&self, deadline: Instant) {
        let (sender, answered) = crossbeam_channel::bounded(0);
        self.mailbox.leave(Note::Stop(sender));
        if self.is_inherited {
            // Nothing is ever sent.
            let _ = answered.recv_deadline(deadline);
        }
    }

    /// Accepts no more connections, and waits until the last one is closed. Requests that are incomplete at the last
    /// moment are answered even so, which takes a little longer.
    pub fn finish(&self, last_moment: Instant) {
        self.mailbox.leave(Note::Finish(last_moment));
        let end = last_moment.max(Instant::now()) + LAST_ANSWERS;
        // Nothing is ever sent: this waits for the door to end.
        let _ = self.all_closed.recv_deadline(end);
    }
}
