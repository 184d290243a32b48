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
mod pool;
mod stream;

pub use listener::Listener;

use crate::proxies::TrustedProxies;
use crate::request::Peer;
use crate::routes::App;
use crossbeam_channel::Receiver;
use door::Door;
use mailbox::{Mailbox, Note};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Descriptors that are kept for everything but connections: the log, the line, Redis, files.
const RESERVED_DESCRIPTORS: usize = 48;

/// What all connections together may always hold: much for any crowd of friendly clients, since what comes whole or is
/// taken at once does not count.
const LEAST_MAX_HELD: usize = 64 << 20;

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time without traffic after which a stream gets a heartbeat.
    pub heartbeat: Duration,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Streams that may be open at once: a part of the connections is kept for requests.
    pub max_streams: usize,
    /// Bytes of requests that have not come whole, and of answers that were not taken, that all connections together may
    /// hold.
    pub max_held: usize,
    /// Who may say for whom a request is.
    pub trusted_proxies: TrustedProxies,
}

impl Settings {
    /// What this many descriptors allow, with bodies of at most so many bytes.
    pub fn new(
        heartbeat: Duration,
        descriptor_limit: usize,
        max_body: usize,
        trusted_proxies: TrustedProxies,
    ) -> Settings {
        let max_connections = descriptor_limit.saturating_sub(RESERVED_DESCRIPTORS).max(8);
        Settings {
            heartbeat,
            max_connections,
            max_streams: max_connections - (max_connections / 8).clamp(4, 64),
            max_held: LEAST_MAX_HELD.max(4 * max_body),
            trusted_proxies,
        }
    }

    /// Whose request it is that came from this address with these fields.
    fn peer(&self, address: Option<SocketAddr>, fields: &[(&'static str, String)]) -> Peer {
        let forwarded = fields
            .iter()
            .filter(|(name, _)| *name == "X-Forwarded-For")
            .map(|(_, value)| value.as_str());
        let own = address.map(|address| address.ip());
        let client = self.trusted_proxies.client(own, forwarded);
        match (address, client) {
            (Some(address), Some(client)) if client == address.ip().to_canonical() => {
                Peer::Address(address)
            }
            (_, Some(client)) => Peer::Forwarded(client),
            (_, None) => Peer::Unix,
        }
    }
}

/// Starts to serve, and returns at once.
///
/// # Errors
/// If the system gives no descriptor or no thread.
pub fn start(listener: Listener, app: App, settings: Settings) -> io::Result<Serving> {
    let is_inherited = listener.is_inherited();
    let (open, all_closed) = crossbeam_channel::bounded(0);
    let (door, mailbox) = Door::open(listener, app, settings, open)?;
    std::thread::Builder::new()
        .name("door".into())
        .spawn(move || door.run())?;
    Ok(Serving {
        mailbox,
        is_inherited,
        all_closed,
    })
}

/// The running server, as the one who stops it sees it.
pub struct Serving {
    mailbox: Arc<Mailbox>,
    is_inherited: bool,
    all_closed: Receiver<Infallible>,
}

impl Serving {
    /// From now on each connection is closed behind its answer. A listener that our parent has as well is left to our
    /// successor, with those who wait in it. Then returns once those that were accepted have their answers, at the deadline
    /// at the latest: nobody is refused because the server is replaced.
    pub fn stop(&self, deadline: Instant) {
        let (sender, answered) = crossbeam_channel::bounded(0);
        self.mailbox.leave(Note::Stop(sender));
        if self.is_inherited {
            // Nothing is ever sent.
            let _ = answered.recv_deadline(deadline);
        }
    }

    /// Accepts nobody any more, and waits until the last connection is closed.
    pub fn finish(&self, deadline: Instant) {
        self.mailbox.leave(Note::Finish);
        // Nothing is ever sent: this waits for the door to end.
        let _ = self.all_closed.recv_deadline(deadline);
    }
}
