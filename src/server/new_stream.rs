//! The beginning and the end of an event stream: it gets a place, a thread and its connection, or is refused; and however it
//! ends, they are given back.

use super::connection::{Connection, StreamSocket};
use super::exchange::Exchange;
use super::mailbox::Note;
use super::stream::{EventStream, StreamWriter, GONE};
use super::threads::{spawn, ThreadPlace};
use crate::counters::Family;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::Peer;
use crate::hub::Hub;
use crate::routes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Virtual memory for a stream's thread; it touches a few pages of it.
const STREAM_STACK: usize = 64 << 10;

/// Seconds after which a client that got no stream may try again.
const RETRY_AFTER: u32 = 5;

/// A stream that a route has granted. All that can be made of it is made before its thread begins, on one that has some
/// stack anyway: whatever a stream's own thread touches stays in memory for the stream's whole life.
pub struct NewStream {
    exchange: Exchange,
    /// For a refusal.
    head: Reply,
    stream: EventStream,
    family: Family,
    peer: Peer,
    hub: Arc<Hub>,
    /// Its place among all streams.
    place: Option<ThreadPlace>,
    /// Its place among the streams of its client's address, if those are limited.
    _address: Option<routes::AddressPlace>,
    /// Its line in the list of clients.
    _listed: Option<routes::ListedClient>,
}

impl NewStream {
    /// The stream that answers this exchange.
    pub fn new(
        exchange: Exchange,
        granted: routes::Stream,
        heartbeat: Duration,
        hub: Arc<Hub>,
        family: Family,
        peer: Peer,
    ) -> Box<NewStream> {
        let connection = exchange.connection().clone();
        let is_chunked = !exchange.is_old();
        let mut stream = EventStream {
            writer: StreamWriter::new(connection.clone(), is_chunked),
            subscription: granted.subscription,
            kind: granted.kind,
            started: Instant::now(),
            heartbeat,
            heartbeat_is_event: granted.heartbeat_is_event,
        };
        stream.begin_with(granted.head.stream_head(is_chunked));
        let direct = StreamSocket {
            connection,
            is_chunked,
        };
        stream.subscription.progress().allow_help(Box::new(direct));
        Box::new(NewStream {
            exchange,
            head: granted.head,
            stream,
            family,
            peer,
            hub,
            place: None,
            _address: granted.place,
            _listed: granted.listed,
        })
    }

    /// Gives it a thread of its own, or refuses it. `place` is the one among all streams, if there was one.
    pub fn start(mut self: Box<Self>, place: Option<ThreadPlace>) {
        self.place = place;
        if self.place.is_none() {
            return self.refuse("descriptors");
        }
        if let Err((error, Some(new))) = spawn("stream", STREAM_STACK, self, NewStream::run) {
            log::warn!("event=no_thread error={:?}", error.to_string());
            new.refuse("threads");
        }
    }

    fn refuse(self: Box<Self>, lack: &str) {
        let stream = self.stream;
        log::warn!(
            "event=disconnect {}={} peer={} reason=no_{lack}",
            stream.kind,
            stream.subscription.number,
            self.peer,
        );
        drop(stream);
        let problem = Problem::unavailable(
            format!("the server has no {lack} left for another stream; try again later"),
            RETRY_AFTER,
        );
        let reply = Reply::from(problem).with_cors_of(&self.head);
        let counters = self.hub.counters();
        self.exchange.answer(reply, self.family, counters);
    }

    /// The life of the stream's thread.
    fn run(self: Box<Self>) {
        let counters = self.hub.counters();
        counters.answers.count(self.family, 200);
        // Nobody is refused any more.
        drop(self.head);
        let connection = self.exchange.into_stream();
        let progress = self.stream.subscription.progress().clone();
        connection.tell(Note::Streams(connection.key(), progress));
        let ending = Ending(connection);
        let mut stream = self.stream;
        let finished = stream.run();
        if self.family == Family::Subscribe {
            counters.disconnected.count(finished.reason);
        }
        if matches!(finished.reason, GONE | "slow") {
            ending.0.cut();
        }
        // Before the subscription is dropped: with the last one the process ends.
        log::info!(
            "event=disconnect {}={} peer={} reason={} messages={} seconds={}",
            stream.kind,
            stream.subscription.number,
            self.peer,
            finished.reason,
            finished.messages,
            stream.started.elapsed().as_secs()
        );
    }
}

/// However a stream ends, the door closes its connection.
struct Ending(Arc<Connection>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.tell(Note::Ended(self.0.key()));
    }
}
