//! The server: from a listening socket to a route, and back. All that tiny_http and sockets need stays in here; the
//! routes see a `Request` and give an `Outcome`.
//!
//! The way of a request: tiny_http reads it, the accept loop takes it ([`accept`]), it waits for its turn on its
//! connection ([`connections`]), a worker ([`pool`]) lets a route handle it ([`dispatch`](Dispatcher)), and it is
//! answered or becomes a stream ([`exchange`], [`stream`]). The watchdog and the guard look after all of it from
//! beside. Started by `main`.

mod accept;
mod connections;
mod exchange;
mod guard;
mod listener;
mod pool;
mod stream;
pub mod watchdog;

pub use listener::Listener;

use crate::config::Listen;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::routes::{self, App, Outcome};
use connections::{Afterwards, Connections, LiveStream};
use exchange::{Exchange, Writer};
use guard::Guard;
use pool::Pool;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::{EventStream, GONE};

/// Virtual memory for a stream's thread; it touches a few pages of it.
const STREAM_STACK: usize = 64 << 10;

/// Descriptors that are kept for everything but streams: requests, probes, the log. A stream takes two until tiny_http
/// has closed its reading half.
const RESERVED_DESCRIPTORS: usize = 64;

/// How to serve.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time without traffic after which a stream gets a heartbeat.
    pub heartbeat: Duration,
    /// Descriptors that the process may have.
    pub descriptor_limit: usize,
}

/// Starts to serve, and returns at once.
///
/// # Errors
/// If the system gives no descriptor or no thread.
pub fn start(listener: Listener, app: App, settings: Settings) -> io::Result<()> {
    let target = watchdog::local_target(&listener.address());
    let connections = Arc::new(Connections::default());
    let own = match target {
        Listen::Tcp(address) => Some(address),
        Listen::Unix(_) => None,
    };
    let guard = guard::start(connections.clone(), own, settings.descriptor_limit)?;
    let dispatcher = Arc::new(Dispatcher {
        app,
        settings,
        pool: Pool::new()?,
        connections,
        guard,
    });
    let acceptor = accept::Acceptor::start(listener, dispatcher)?;
    watchdog::start(acceptor, target)
}

/// Brings requests to the routes, and their outcomes to the clients.
pub struct Dispatcher {
    app: App,
    settings: Settings,
    pool: Pool,
    connections: Arc<Connections>,
    guard: Guard,
}

impl Dispatcher {
    /// Takes a request from the accept loop. Never waits.
    fn dispatch(self: &Arc<Self>, raw: tiny_http::Request) {
        if let Some(exchange) = self.connections.admit(Exchange::new(raw)) {
            self.start_turn(exchange);
        }
    }

    fn start_turn(self: &Arc<Self>, exchange: Exchange) {
        let turn = Turn {
            dispatcher: self.clone(),
            peer: exchange.peer(),
            held_back: None,
            client_has_gone: false,
        };
        let dispatcher = self.clone();
        self.pool
            .execute(Box::new(move || dispatcher.serve(exchange, turn)));
    }

    /// Handles one request from beginning to end, or until it has become a stream.
    fn serve(self: &Arc<Self>, mut exchange: Exchange, turn: Turn) {
        let (request, fault) = exchange.parse();
        let outcome = match fault {
            Some(problem) => Outcome::Reply(routes::refuse(&self.app, &request, problem)),
            None => {
                let mut read_body = |limit| exchange.read_body(limit);
                routes::handle(&self.app, &request, &mut read_body)
            }
        };
        match outcome {
            Outcome::Reply(reply) => {
                self.answer(exchange, reply, turn);
            }
            Outcome::Stream(stream) => self.serve_stream(exchange, *stream, turn),
            Outcome::Later(later) => {
                let dispatcher = self.clone();
                later.begin(Box::new(move |reply| {
                    let pool = dispatcher.pool.clone();
                    pool.execute(Box::new(move || dispatcher.answer(exchange, reply, turn)));
                }));
            }
        }
    }

    fn answer(&self, exchange: Exchange, reply: Reply, mut turn: Turn) {
        let is_last = !exchange.leaves_connection_usable();
        if is_last {
            turn.condemn();
        }
        match exchange.answer(reply) {
            Ok(writer) => turn.held_back = writer.filter(|_| is_last),
            Err(error) => log::debug!("event=answer_failed error={:?}", error.to_string()),
        }
    }

    /// Gives a stream a thread of its own.
    fn serve_stream(self: &Arc<Self>, exchange: Exchange, stream: routes::Stream, turn: Turn) {
        let number = stream.subscription.number;
        self.guard.note_connection();
        let open = self.guard.open_descriptors();
        if open + RESERVED_DESCRIPTORS > self.settings.descriptor_limit {
            self.refuse_stream(exchange, stream, turn, "descriptors");
            return;
        }
        // The thread first and its work after, so that without a thread there is still somebody to answer.
        let (hand_over, work) = crossbeam_channel::bounded::<(Exchange, routes::Stream, Turn)>(1);
        let heartbeat = self.settings.heartbeat;
        let spawned = std::thread::Builder::new()
            .name("stream".into())
            .stack_size(STREAM_STACK)
            .spawn(move || {
                if let Ok((exchange, stream, turn)) = work.recv() {
                    run_stream(exchange, stream, turn, heartbeat);
                }
            });
        match spawned {
            Ok(_) => {
                // The thread waits for it and takes it.
                let _ = hand_over.send((exchange, stream, turn));
            }
            Err(error) => {
                log::warn!(
                    "event=no_thread client={number} error={:?}",
                    error.to_string()
                );
                self.refuse_stream(exchange, stream, turn, "threads");
            }
        }
    }

    fn refuse_stream(&self, exchange: Exchange, stream: routes::Stream, turn: Turn, lack: &str) {
        log::warn!(
            "event=disconnect {}={} peer={} reason=no_{lack}",
            stream.kind,
            stream.subscription.number,
            turn.name()
        );
        let head = stream.head;
        drop(stream.subscription);
        let problem = Problem::unavailable(
            format!("the server has no {lack} left for another stream; try again later"),
            RETRY_AFTER,
        );
        self.answer(exchange, Reply::from(problem).with_cors_of(&head), turn);
    }
}

/// Seconds after which a client that got no stream may try again.
const RETRY_AFTER: u32 = 5;

fn run_stream(exchange: Exchange, stream: routes::Stream, mut turn: Turn, heartbeat: Duration) {
    let started = Instant::now();
    let kind = stream.kind;
    turn.became_stream(&stream, exchange.is_chunked());
    let Some((writer, head)) = exchange.into_stream(stream.head) else {
        return;
    };
    let mut stream = EventStream {
        writer,
        subscription: stream.subscription,
        heartbeat,
        heartbeat_is_event: stream.heartbeat_is_event,
    };
    let finished = stream.run(head);
    turn.client_has_gone = finished.reason == GONE;
    // Before the subscription is dropped: with the last one the process ends.
    log::info!(
        "event=disconnect {kind}={} peer={} reason={} messages={} seconds={}",
        stream.subscription.number,
        turn.name(),
        finished.reason,
        finished.messages,
        started.elapsed().as_secs()
    );
}

/// A request's turn on its connection. When it is dropped, however that comes about, the next one has its turn, or the
/// connection is closed.
struct Turn {
    dispatcher: Arc<Dispatcher>,
    peer: Option<SocketAddr>,
    /// The writer of a connection's last answer: while it is there, tiny_http cannot answer what it takes the rest of
    /// the connection's bytes for.
    held_back: Option<Writer>,
    /// The client closed the connection.
    client_has_gone: bool,
}

impl Turn {
    fn condemn(&self) {
        if let Some(peer) = self.peer {
            self.dispatcher.connections.condemn(peer);
        }
    }

    fn became_stream(&self, stream: &routes::Stream, is_chunked: bool) {
        if let Some(peer) = self.peer {
            let progress = stream.subscription.progress().clone();
            let connections = &self.dispatcher.connections;
            connections.became_stream(
                peer,
                LiveStream {
                    progress,
                    is_chunked,
                },
            );
        }
    }

    fn name(&self) -> crate::request::Peer {
        crate::request::Peer(self.peer)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let connections = &self.dispatcher.connections;
        match connections.end_turn(peer, self.client_has_gone) {
            Afterwards::Nothing => {}
            Afterwards::Next(next) => self.dispatcher.start_turn(next),
            Afterwards::Close(parked) => {
                let held_back = self.held_back.take();
                self.dispatcher.guard.close(peer, held_back, parked);
            }
        }
    }
}
