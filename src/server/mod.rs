//! The server: from a listening socket to a route, and back. All that tiny_http and sockets need stays in here; the
//! routes see a `Request` and give an `Outcome`.
//!
//! The way of a request: tiny_http reads it, a thread of the pool takes it in its accept loop ([`crew`]), has it wait for
//! its turn on its connection ([`connections`]), lets a route handle it ([`dispatch`](Dispatcher)), and answers it or
//! makes it a stream ([`exchange`], [`stream`]). The watchdog ([`accept`]) and the guard look after all of it from beside.
//! Started by `main`.

mod accept;
mod connections;
mod crew;
mod exchange;
mod guard;
mod listener;
mod stream;
pub mod watchdog;

pub use listener::Listener;

use crate::config::Listen;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::routes::{self, App, Outcome};
use crate::service::Notifier;
use crate::stats::{Counters, Family};
use connections::{Afterwards, Connections, LiveStream};
use crew::Jobs;
use exchange::{Exchange, Writer};
use guard::Guard;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stream::{EventStream, GONE};

/// Virtual memory for a stream's thread; it touches a few pages of it.
const STREAM_STACK: usize = 64 << 10;

/// Descriptors that are kept for everything but streams: requests, probes, the log. A stream takes two until tiny_http
/// has closed its reading half.
const RESERVED_DESCRIPTORS: usize = 64;

/// A client has to take its answer within this time, and so much more for each byte (256 KB/s beyond what the system's
/// buffer holds anyway): it holds a thread of the pool for so long, which others need.
const ANSWER_TIME: Duration = Duration::from_millis(500);
const TIME_FOR_A_BYTE: Duration = Duration::from_micros(4);

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
pub fn start(
    listener: Listener,
    app: App,
    settings: Settings,
    notifier: Notifier,
) -> io::Result<Serving> {
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
        jobs: Jobs::default(),
        connections,
        guard: guard.clone(),
    });
    let acceptor = accept::Acceptor::start(listener, dispatcher)?;
    watchdog::start(acceptor.clone(), target.clone(), notifier)?;
    Ok(Serving {
        acceptor,
        guard,
        target,
    })
}

/// The running server, as the one who stops it sees it.
pub struct Serving {
    acceptor: Arc<accept::Acceptor>,
    guard: Guard,
    target: Listen,
}

impl Serving {
    /// Leaves new connections to whoever has the listener next, and waits a moment until those that were accepted have
    /// their answer: nobody is refused because the server is replaced.
    pub fn hand_over(&self) {
        self.guard.retire();
        self.acceptor.retire(|| {
            let target = self.target.clone();
            // On a thread of its own: where many wait already, connecting to a Unix socket waits behind them.
            let poke = move || drop(watchdog::ask_health(&target, HAND_OVER_TIME));
            let _ = std::thread::Builder::new().name("poke".into()).spawn(poke);
        });
        self.guard.wait_for_answers(HAND_OVER_TIME);
    }
}

/// A client that was accepted has sent its request by then.
const HAND_OVER_TIME: Duration = Duration::from_secs(1);

/// Brings requests to the routes, and their outcomes to the clients.
pub struct Dispatcher {
    app: App,
    settings: Settings,
    jobs: Jobs,
    connections: Arc<Connections>,
    guard: Guard,
}

impl Dispatcher {
    /// Takes a request from the accept loop, in the order of its connection. Gives it back if it has its turn now.
    fn admit(&self, raw: tiny_http::Request) -> Option<Exchange> {
        self.connections.admit(Exchange::new(raw))
    }

    /// Handles one request from beginning to end, or until it has become a stream.
    fn serve(self: &Arc<Self>, mut exchange: Exchange) {
        let mut turn = Turn {
            dispatcher: self.clone(),
            family: Family::Other,
            peer: exchange.peer(),
            held_back: None,
            client_has_gone: false,
        };
        let (request, fault) = exchange.parse();
        turn.family = routes::family(&request);
        let outcome = match fault {
            Some(problem) => Outcome::Reply(routes::refuse(&self.app, &request, problem)),
            None => {
                let mut read_body = |limit| exchange.read_body(limit);
                routes::handle(&self.app, &request, &mut read_body)
            }
        };
        match outcome {
            Outcome::Reply(reply) => self.answer(exchange, reply, turn),
            Outcome::Stream(stream) => self.serve_stream(exchange, *stream, turn),
            Outcome::Later(later) => {
                let dispatcher = self.clone();
                later.begin(Box::new(move |reply| {
                    let answering = dispatcher.clone();
                    let answer = move || answering.answer(exchange, reply, turn);
                    dispatcher.jobs.push(Box::new(answer));
                }));
            }
        }
    }

    fn counters(&self) -> &Counters {
        self.app.hub.counters()
    }

    fn answer(&self, exchange: Exchange, reply: Reply, mut turn: Turn) {
        self.counters().answers.count(turn.family, reply.status());
        let is_last = !exchange.leaves_connection_usable();
        if is_last {
            turn.condemn();
        }
        if let Some(peer) = turn.peer {
            let due = Instant::now() + ANSWER_TIME + reply.size() as u32 * TIME_FOR_A_BYTE;
            self.connections.answer_is_due(peer, due);
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
        // The thread first and its work after, so that without a thread there is still somebody to answer. It finds its
        // work as soon as this lock is free.
        let work = Arc::new(Mutex::new(None));
        let slot = work.clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let spawned = std::thread::Builder::new()
            .name("stream".into())
            .stack_size(STREAM_STACK)
            .spawn(move || {
                let taken = work.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some((stream, turn)) = taken {
                    run_stream(stream, turn);
                }
            });
        match spawned {
            Ok(_) => *slot = self.open_stream(exchange, stream, &turn).map(|s| (s, turn)),
            Err(error) => {
                log::warn!(
                    "event=no_thread client={number} error={:?}",
                    error.to_string()
                );
                self.refuse_stream(exchange, stream, turn, "threads");
            }
        }
    }

    /// Begins a stream. All that takes some stack is done here, on a thread that has it anyway, and so is the freeing of
    /// what belongs to the request: whatever a stream's own thread touches stays in memory for the stream's whole life.
    fn open_stream(
        &self,
        exchange: Exchange,
        stream: routes::Stream,
        turn: &Turn,
    ) -> Option<Box<EventStream>> {
        self.counters().answers.count(turn.family, 200);
        turn.became_stream(&stream, exchange.is_chunked());
        let (writer, head) = exchange.into_stream(stream.head)?;
        let mut stream = Box::new(EventStream {
            writer,
            subscription: stream.subscription,
            kind: stream.kind,
            started: Instant::now(),
            heartbeat: self.settings.heartbeat,
            heartbeat_is_event: stream.heartbeat_is_event,
        });
        if stream.open(head).is_err() {
            stream.subscription.progress().client_has_gone();
        }
        Some(stream)
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
        let reply = Reply::from(problem).with_cors_of(&head);
        self.answer(exchange, reply, turn);
    }
}

/// Seconds after which a client that got no stream may try again.
const RETRY_AFTER: u32 = 5;

fn run_stream(mut stream: Box<EventStream>, mut turn: Turn) {
    let finished = stream.run();
    turn.client_has_gone = finished.reason == GONE;
    if turn.family == Family::Subscribe {
        let counters = turn.dispatcher.counters();
        counters.disconnected.count(finished.reason);
    }
    // Before the subscription is dropped: with the last one the process ends.
    log::info!(
        "event=disconnect {}={} peer={} reason={} messages={} seconds={}",
        stream.kind,
        stream.subscription.number,
        turn.name(),
        finished.reason,
        finished.messages,
        stream.started.elapsed().as_secs()
    );
}

/// A request's turn on its connection. When it is dropped, however that comes about, the next one has its turn, or the
/// connection is closed.
struct Turn {
    dispatcher: Arc<Dispatcher>,
    /// What the request is for.
    family: Family,
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
            Afterwards::Next(next) => {
                let dispatcher = self.dispatcher.clone();
                let jobs = &self.dispatcher.jobs;
                jobs.push(Box::new(move || dispatcher.serve(next)));
            }
            Afterwards::Close(parked) => {
                let held_back = self.held_back.take();
                self.dispatcher.guard.close(peer, held_back, parked);
            }
        }
    }
}
