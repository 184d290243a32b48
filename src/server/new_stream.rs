//! The beginning and the end of an event stream: it gets a place, a thread and its connection, or is refused. All of
//! them are given back however it ends.

use super::connection::{Connection, StreamSocket};
use super::exchange::Exchange;
use super::mailbox::Note;
use super::poll::Poll;
use super::stream::EventStream;
use super::threads::{ThreadPlace, Threads};
use crate::counters::{End, Family};
use crate::event::heartbeat_frame;
use crate::http::cors::Header;
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::reply::Reply;
use crate::http::request::Peer;
use crate::hub::{Hub, Subscription};
use crate::routes;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Virtual memory for a stream's thread, which touches only a few pages of it.
pub const STREAM_STACK: usize = 64 << 10;

/// A stream that a route has granted. Everything possible is prepared before its thread begins, and what only a refusal
/// needs stays with the worker: what a stream's own thread touches or frees stays in memory as long as the stream.
pub struct NewStream {
    connection: Arc<Connection>,
    life: Life,
    family: Family,
    client: Client,
    hub: Arc<Hub>,
    /// Its place among all streams.
    place: Option<ThreadPlace>,
    admission: Admission,
}

/// What the client has taken, and others may have before its last bytes are written.
struct Admission {
    /// Its place among the streams of its address, if those are limited.
    _address: Option<routes::AddressPlace>,
    /// Its entry in the list of clients.
    _listed: Option<routes::ListedClient>,
}

impl NewStream {
    /// The stream that answers this exchange.
    pub fn new(
        exchange: &Exchange,
        mut granted: routes::Stream,
        hub: Arc<Hub>,
        family: Family,
        peer: Peer,
    ) -> Box<NewStream> {
        let client = Client {
            kind: granted.kind,
            number: granted.subscription.number,
            peer,
            started: Instant::now(),
        };
        let admission = Admission {
            _address: granted.place.take(),
            _listed: granted.listed.take(),
        };
        Box::new(NewStream {
            connection: exchange.connection().clone(),
            life: Life::new(exchange, granted),
            client,
            family,
            hub,
            place: None,
            admission,
        })
    }

    /// Gives the stream a thread of its own, or refuses it. A refusal gets these CORS headers.
    pub fn start(
        mut self: Box<Self>,
        threads: &Threads<Box<NewStream>>,
        exchange: Exchange,
        cors: Vec<Header>,
    ) {
        self.place = threads.place();
        if self.place.is_none() {
            return self.refuse("descriptors", exchange, cors);
        }
        match threads.give(self) {
            Ok(()) => exchange.leave_to_stream(),
            Err((error, new)) => {
                log::warn!("event=no_thread error={:?}", error.to_string());
                new.refuse("threads", exchange, cors);
            }
        }
    }

    fn refuse(self: Box<Self>, lack: &str, exchange: Exchange, cors: Vec<Header>) {
        log::warn!("event=disconnect {} reason=no_{lack}", self.client);
        drop((self.life, self.admission));
        let problem = Problem::unavailable(
            format!("the server has no {lack} left for another stream; try again later"),
            RETRY_AFTER,
        );
        let reply = Reply::from(problem).with_all(cors);
        exchange.answer(reply, self.family, self.hub.counters());
    }

    /// The life of the stream.
    pub fn run(self: Box<Self>) {
        let counters = self.hub.counters();
        counters.answers.count(self.family, 200);
        let connection = self.connection;
        let progress = self.life.subscription().progress.clone();
        let mut life = self.life;
        let answers_once = matches!(life, Life::Poll(_));
        if let Life::Stream(stream) = &mut life {
            // Before the door looks for the end: who has closed its side already gets the head even so.
            if stream.begin().is_err() {
                connection.cut();
            }
        }
        connection.tell(Note::Streams(connection.key(), progress, answers_once));
        let ending = Ending(connection);
        let admission = self.admission;
        let release = || drop(admission);
        let end = match &mut life {
            Life::Stream(stream) => stream.run(release),
            Life::Poll(poll) => poll.run(release),
        };
        if self.family != Family::Other {
            counters.disconnected.count(end);
        }
        if end == End::Slow {
            ending.0.cut();
        }
        // Logged before the subscription is dropped: after the last one the process ends.
        log::info!(
            "event=disconnect {} reason={} messages={} seconds={}",
            self.client,
            end.name(),
            life.subscription().progress.messages(),
            self.client.started.elapsed().as_secs()
        );
    }
}

/// What the thread does.
enum Life {
    /// It writes until the stream ends.
    Stream(EventStream),
    /// It answers once.
    Poll(Poll),
}

impl Life {
    fn new(exchange: &Exchange, granted: routes::Stream) -> Life {
        let connection = exchange.connection().clone();
        if let Some(until) = granted.answer_by {
            return Life::Poll(Poll {
                connection,
                subscription: granted.subscription,
                head: granted.head,
                until,
            });
        }
        let is_chunked = !exchange.is_old();
        let subscription = granted.subscription;
        let direct = StreamSocket {
            connection: connection.clone(),
            is_chunked,
            heartbeat: heartbeat_frame(subscription.form, granted.heartbeat_is_event),
        };
        subscription.progress.allow_help(Box::new(direct));
        let stream = EventStream::new(connection, is_chunked, subscription, &granted.head);
        Life::Stream(stream)
    }

    fn subscription(&self) -> &Subscription {
        match self {
            Life::Stream(stream) => &stream.subscription,
            Life::Poll(poll) => &poll.subscription,
        }
    }
}

/// Who reads, for the log.
struct Client {
    kind: &'static str,
    number: u64,
    peer: Peer,
    started: Instant,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} peer={}", self.kind, self.number, self.peer)
    }
}

/// However a stream ends, the door closes its connection.
struct Ending(Arc<Connection>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.tell(Note::Ended(self.0.key()));
    }
}
