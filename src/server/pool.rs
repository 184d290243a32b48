//! The thread pool: a fixed number of workers, which take requests from tiny_http's accept loop and bring them to the
//! routes. One takes them at a time, and has a short one done before the next; before a long one it leaves its turn to
//! another. None of them ever waits for a client, for room, or for another server, so a few are enough. A request that
//! panics costs nobody else anything. Started by the door.

use super::exchange::Exchange;
use super::line::{self, Line, Server};
use super::new_stream::{NewStream, STREAM_STACK};
use super::settings::Settings;
use super::threads::{ThreadPlace, Threads};
use crate::counters::{Counters, Family};
use crate::host;
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::reply::Reply;
use crate::http::request::{BodyError, NoBody, Peer};
use crate::locks::lock;
use crate::routes::{self, App, Outcome};
use std::collections::HashMap;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Threads for requests that have to wait for somebody, and the virtual memory for the stack of each.
const MAX_WAITING: usize = 1024;
const WAITING_STACK: usize = 256 << 10;

/// A publish with a body of at most this size is done sooner than another worker is awake.
const SHORT_BODY: usize = 4 << 10;

const TOO_LARGE: Result<&[u8], NoBody> = Err(NoBody::Failed(BodyError::TooLarge));

/// While a worker has it, no other takes a request.
type Turn<'a> = MutexGuard<'a, ()>;

/// What workers and door share.
pub struct Pool {
    app: App,
    /// Requests on their way through tiny_http, by their numbers. Held for a few lines.
    under_way: Mutex<HashMap<u64, Exchange>>,
    /// Held by the worker that takes the next request, while it waits for that, and while it serves a short one.
    turn: Mutex<()>,
    /// Where the requests come from. Held for a line; replaced when the line broke.
    server: Mutex<Arc<Server>>,
    /// `server` was replaced, or the server stops.
    server_changed: Condvar,
    streams: Threads<Box<NewStream>>,
    waiting: Threads<WaitingRequest>,
    is_stopping: AtomicBool,
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(app: App, settings: &Settings, line: &Line) -> io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            streams: Threads::new(
                c"stream",
                STREAM_STACK,
                settings.max_streams,
                NewStream::run,
            ),
            waiting: Threads::new(c"waiting", WAITING_STACK, MAX_WAITING, WaitingRequest::run),
            app,
            under_way: Mutex::default(),
            turn: Mutex::default(),
            server: Mutex::new(line.server().clone()),
            server_changed: Condvar::new(),
            is_stopping: AtomicBool::new(false),
        });
        for _ in 0..pool.workers() {
            let pool = pool.clone();
            host::start("worker", move || pool.work())?;
        }
        Ok(pool)
    }

    /// Number of workers: what the cores can do at once. More would only wake each other. Two at least, so that nobody waits
    /// behind one long batch.
    pub fn workers(&self) -> usize {
        static CORES: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
            std::thread::available_parallelism().map_or(1, usize::from)
        });
        (*CORES).max(2)
    }

    /// Leaves requests for whoever gets their numbers.
    pub fn expect(&self, exchanges: impl Iterator<Item = (u64, Exchange)>) {
        lock(&self.under_way).extend(exchanges);
    }

    /// The line broke: its requests get 503, and the workers take the next ones from the new line.
    pub fn change_line(&self, line: Option<&Line>) {
        if let Some(line) = line {
            *lock(&self.server) = line.server().clone();
            self.server_changed.notify_all();
        }
        let lost = std::mem::take(&mut *lock(&self.under_way));
        for exchange in lost.into_values() {
            let detail = "the server lost the request on its way; try again";
            let reply = Problem::unavailable(detail, 1).into();
            exchange.answer(reply, Family::Other, self.counters());
        }
    }

    /// Lets the workers end.
    pub fn stop(&self) {
        let server = lock(&self.server);
        self.is_stopping.store(true, Ordering::SeqCst);
        drop(server);
        self.server_changed.notify_all();
    }

    /// What a request is answered that the door itself refuses.
    pub fn refuse(&self, problem: Problem) -> Reply {
        let reply = routes::refuse(&self.app, problem);
        self.counters().answers.count(Family::Other, reply.status());
        reply
    }

    /// A worker's life.
    fn work(self: Arc<Self>) {
        while !self.is_stopping.load(Ordering::SeqCst) {
            let mut turn = Some(lock(&self.turn));
            let server = lock(&self.server).clone();
            // An error is a closed line.
            while let Ok(raw) = server.next() {
                // The panic hook has put it into the log.
                let _ = catch_unwind(AssertUnwindSafe(|| self.serve(raw, &mut turn)));
                turn.get_or_insert_with(|| lock(&self.turn));
            }
            drop(turn);
            self.wait_for_another(&server);
        }
    }

    /// Waits until there is another line than the one of this server, which was closed, or until the server stops.
    fn wait_for_another(&self, closed: &Arc<Server>) {
        let has_none = |server: &mut Arc<Server>| {
            Arc::ptr_eq(server, closed) && !self.is_stopping.load(Ordering::SeqCst)
        };
        // A poisoned lock is as good as any.
        drop(self.server_changed.wait_while(lock(&self.server), has_none));
    }

    /// Handles one request. Before one that may be long it gives up its turn.
    fn serve(self: &Arc<Self>, raw: tiny_http::Request, turn: &mut Option<Turn>) {
        let begun = line::number_and_target(&raw).and_then(|(number, target)| {
            let mut exchange = lock(&self.under_way).remove(&number)?;
            Some((exchange.request(raw.method(), target), exchange))
        });
        // tiny_http's part is done; dropped in any other way it would answer.
        drop(raw.into_writer());
        let Some((request, exchange)) = begun else {
            // It was answered when its line broke.
            return;
        };
        let family = routes::family(&request);
        if family != Family::Publish || request.body(SHORT_BODY) == TOO_LARGE {
            *turn = None;
        }
        match self.without_panic(|| routes::handle(&self.app, &request)) {
            Outcome::ReadBody(limit) => exchange.read_body(request, limit),
            outcome => self.finish(exchange, outcome, family, request.peer),
        }
    }

    /// A panic costs this one answer. The panic hook has put it into the log.
    fn without_panic(&self, act: impl FnOnce() -> Outcome) -> Outcome {
        let internal = |_| Outcome::Reply(routes::refuse(&self.app, Problem::internal()));
        catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(internal)
    }

    fn finish(self: &Arc<Self>, exchange: Exchange, outcome: Outcome, family: Family, peer: Peer) {
        match outcome {
            Outcome::Reply(reply) => exchange.answer(reply, family, self.counters()),
            Outcome::Stream(stream) => {
                let hub = self.app.hub.clone();
                let cors = stream.head.cors_headers();
                NewStream::new(&exchange, *stream, hub, family, peer).start(
                    &self.streams,
                    exchange,
                    cors,
                );
            }
            Outcome::Later(later) => {
                let hub = self.app.hub.clone();
                later.begin(Box::new(move |reply| {
                    exchange.answer(reply, family, hub.counters());
                }));
            }
            Outcome::Waiting(waiting) => self.wait(exchange, waiting, family, peer),
            // Only what comes first can ask for it.
            Outcome::ReadBody(_) => drop(exchange),
        }
    }

    fn counters(&self) -> &Counters {
        self.app.hub.counters()
    }

    /// Has something that waits for somebody done on a thread of its own.
    fn wait(
        self: &Arc<Self>,
        exchange: Exchange,
        waiting: routes::Waiting,
        family: Family,
        peer: Peer,
    ) {
        let Some(place) = self.waiting.place() else {
            let detail = "too many requests wait for their turn; try again later";
            let reply = Problem::unavailable(detail, RETRY_AFTER).into();
            return exchange.answer(reply, family, self.counters());
        };
        let request = WaitingRequest {
            pool: self.clone(),
            exchange,
            waiting,
            family,
            peer,
            place,
        };
        if let Err((_, request)) = self.waiting.give(request) {
            let detail = "the server has no threads left; try again later";
            let reply = Problem::unavailable(detail, RETRY_AFTER).into();
            request.exchange.answer(reply, family, self.counters());
        }
    }
}

/// A request that waits for somebody, on a thread of its own.
struct WaitingRequest {
    pool: Arc<Pool>,
    exchange: Exchange,
    waiting: routes::Waiting,
    family: Family,
    peer: Peer,
    place: ThreadPlace,
}

impl WaitingRequest {
    fn run(self) {
        let outcome = self.pool.without_panic(|| self.waiting.finish());
        drop(self.place);
        self.pool
            .finish(self.exchange, outcome, self.family, self.peer);
    }
}
