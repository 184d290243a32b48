//! The thread pool: a fixed number of workers, which take requests from tiny_http's accept loop and bring them to the
//! routes. None of them ever waits for a client, for room, or for another server, so a few are enough. A request that
//! panics costs nobody else anything. Started by the door.

use super::connection::{Connection, StreamSocket};
use super::exchange::Exchange;
use super::line::{Line, Server};
use super::mailbox::Note;
use super::stream::{EventStream, StreamWriter, GONE};
use super::Settings;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::request::Peer;
use crate::routes::{self, App, Outcome};
use crate::stats::{Counters, Family};
use std::collections::HashMap;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Virtual memory for a stream's thread; it touches a few pages of it.
const STREAM_STACK: usize = 64 << 10;

/// Threads for requests that have to wait for somebody.
const MAX_WAITING: usize = 1024;

/// Seconds after which a client that got no stream may try again.
const RETRY_AFTER: u32 = 5;

/// What workers and door share.
#[derive(Debug)]
pub struct Pool {
    app: App,
    settings: Settings,
    /// Requests on their way through tiny_http, by their numbers. Held for a few lines.
    under_way: Mutex<HashMap<u64, Exchange>>,
    /// Where the requests come from. Held for a line; replaced when the line broke.
    server: Mutex<Arc<Server>>,
    streams: AtomicUsize,
    waiting: AtomicUsize,
    is_stopping: AtomicBool,
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(app: App, settings: Settings, line: &Line) -> io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            app,
            settings,
            under_way: Mutex::default(),
            server: Mutex::new(line.server().clone()),
            streams: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        });
        for _ in 0..pool.workers() {
            let pool = pool.clone();
            std::thread::Builder::new()
                .name("worker".into())
                .spawn(move || pool.work())?;
        }
        Ok(pool)
    }

    /// Number of workers: what the cores can do at once, and some that may be held up by a page that is swapped out.
    pub fn workers(&self) -> usize {
        static CORES: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
            std::thread::available_parallelism().map_or(1, usize::from)
        });
        *CORES + 2
    }

    /// Leaves requests for whoever gets their numbers.
    pub fn expect(&self, exchanges: impl Iterator<Item = (u64, Exchange)>) {
        lock(&self.under_way).extend(exchanges);
    }

    /// The line broke: its requests get 503, and the workers take the next ones from the new line.
    pub fn change_line(&self, line: Option<&Line>) {
        if let Some(line) = line {
            *lock(&self.server) = line.server().clone();
        }
        let lost = std::mem::take(&mut *lock(&self.under_way));
        for exchange in lost.into_values() {
            self.counters().answers.count(Family::Other, 503);
            exchange.answer(
                Problem::unavailable("the server lost the request on its way; try again", 1).into(),
            );
        }
    }

    /// Lets the workers end.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
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
            let server = lock(&self.server).clone();
            // An error is a closed line: the next one is there already.
            while let Ok((raw, number)) = server.next() {
                let exchange = number.and_then(|number| lock(&self.under_way).remove(&number));
                // One without an exchange was answered when its line broke.
                if let Some(exchange) = exchange {
                    // The panic hook has put it into the log.
                    let _ = catch_unwind(AssertUnwindSafe(|| self.serve(raw, exchange)));
                } else {
                    drop(raw.into_writer());
                }
            }
        }
    }

    /// Handles one request.
    fn serve(self: &Arc<Self>, raw: tiny_http::Request, mut exchange: Exchange) {
        let request = exchange.request(&raw);
        // tiny_http's part is done; dropped in any other way it would answer.
        drop(raw.into_writer());
        let family = routes::family(&request);
        match routes::handle(&self.app, &request) {
            Outcome::ReadBody(limit) => exchange.read_body(request, limit),
            outcome => self.finish(exchange, outcome, family, request.peer),
        }
    }

    fn finish(self: &Arc<Self>, exchange: Exchange, outcome: Outcome, family: Family, peer: Peer) {
        match outcome {
            Outcome::Reply(reply) => self.answer(exchange, reply, family),
            Outcome::Stream(stream) => self.serve_stream(exchange, *stream, family, peer),
            Outcome::Later(later) => {
                let pool = self.clone();
                later.begin(Box::new(move |reply| pool.answer(exchange, reply, family)));
            }
            Outcome::Waiting(waiting) => self.wait(exchange, waiting, family, peer),
            // Only what comes first can ask for it.
            Outcome::ReadBody(_) => drop(exchange),
        }
    }

    fn counters(&self) -> &Counters {
        self.app.hub.counters()
    }

    fn answer(&self, exchange: Exchange, reply: Reply, family: Family) {
        self.counters().answers.count(family, reply.status());
        exchange.answer(reply);
    }

    /// Has something that waits for somebody done on a thread of its own.
    fn wait(
        self: &Arc<Self>,
        exchange: Exchange,
        waiting: routes::Waiting,
        family: Family,
        peer: Peer,
    ) {
        let place = WaitingPlace::take(self);
        if self.waiting.load(Ordering::Relaxed) > MAX_WAITING {
            let detail = "too many requests wait for their turn; try again later";
            let reply = Problem::unavailable(detail, RETRY_AFTER).into();
            return self.answer(exchange, reply, family);
        }
        let pool = self.clone();
        let job = move |exchange| {
            let outcome = waiting.finish();
            drop(place);
            pool.finish(exchange, outcome, family, peer);
        };
        let mut work = Some(exchange);
        let spawned = spawn("waiting", 4 * STREAM_STACK, job, || work.take());
        if let (Err(_), Some(exchange)) = (spawned, work) {
            let detail = "the server has no threads left; try again later";
            let reply = Problem::unavailable(detail, RETRY_AFTER).into();
            self.answer(exchange, reply, family);
        }
    }

    /// Gives a stream a thread of its own.
    fn serve_stream(
        self: &Arc<Self>,
        exchange: Exchange,
        stream: routes::Stream,
        family: Family,
        peer: Peer,
    ) {
        if self.streams.load(Ordering::Relaxed) >= self.settings.max_streams {
            return self.refuse_stream(exchange, stream, family, peer, "descriptors");
        }
        let run = move |opened: Box<OpenStream>| opened.run(family, peer);
        // Begun here, on a thread that has some stack anyway: whatever a stream's own thread touches stays in memory for
        // the stream's whole life.
        let mut work = Some((exchange, stream));
        let spawned = spawn("stream", STREAM_STACK, run, || {
            let (exchange, stream) = work.take()?;
            Some(self.open_stream(exchange, stream, family))
        });
        if let (Err(error), Some((exchange, stream))) = (spawned, work) {
            log::warn!("event=no_thread error={:?}", error.to_string());
            self.refuse_stream(exchange, stream, family, peer, "threads");
        }
    }

    fn open_stream(
        self: &Arc<Self>,
        exchange: Exchange,
        stream: routes::Stream,
        family: Family,
    ) -> Box<OpenStream> {
        self.counters().answers.count(family, 200);
        self.streams.fetch_add(1, Ordering::Relaxed);
        let (connection, is_chunked) = exchange.into_stream();
        let progress = stream.subscription.progress();
        let key = connection.key();
        connection.tell(Note::Streams(key, progress.clone()));
        let writer = StreamWriter::new(connection.clone(), is_chunked);
        let mut opened = EventStream {
            writer,
            subscription: stream.subscription,
            kind: stream.kind,
            started: Instant::now(),
            heartbeat: self.settings.heartbeat,
            heartbeat_is_event: stream.heartbeat_is_event,
        };
        opened.open(stream.head.into_stream_head(is_chunked));
        let direct = StreamSocket {
            connection: connection.clone(),
            is_chunked,
        };
        opened.subscription.progress().allow_help(Box::new(direct));
        Box::new(OpenStream {
            pool: self.clone(),
            stream: opened,
            connection,
            _place: stream.place,
        })
    }

    fn refuse_stream(
        &self,
        exchange: Exchange,
        stream: routes::Stream,
        family: Family,
        peer: Peer,
        lack: &str,
    ) {
        log::warn!(
            "event=disconnect {}={} peer={peer} reason=no_{lack}",
            stream.kind,
            stream.subscription.number,
        );
        let head = stream.head;
        drop(stream.subscription);
        let problem = Problem::unavailable(
            format!("the server has no {lack} left for another stream; try again later"),
            RETRY_AFTER,
        );
        let reply = Reply::from(problem).with_cors_of(&head);
        self.answer(exchange, reply, family);
    }
}

/// A place among the threads that wait, free again however its request ends.
struct WaitingPlace(Arc<Pool>);

impl WaitingPlace {
    fn take(pool: &Arc<Pool>) -> WaitingPlace {
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        WaitingPlace(pool.clone())
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that has begun. However it ends, its place is free again, and the door closes its connection.
struct OpenStream {
    pool: Arc<Pool>,
    stream: EventStream,
    connection: Arc<Connection>,
    /// Its place among the streams of its client's address.
    _place: Option<routes::Place>,
}

impl OpenStream {
    fn run(mut self, family: Family, peer: Peer) {
        let stream = &mut self.stream;
        let finished = stream.run();
        if family == Family::Subscribe {
            let counters = self.pool.counters();
            counters.disconnected.count(finished.reason);
        }
        if matches!(finished.reason, GONE | "slow") {
            self.connection.cut();
        }
        // Before the subscription is dropped: with the last one the process ends.
        log::info!(
            "event=disconnect {}={} peer={peer} reason={} messages={} seconds={}",
            stream.kind,
            stream.subscription.number,
            finished.reason,
            finished.messages,
            stream.started.elapsed().as_secs()
        );
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.pool.streams.fetch_sub(1, Ordering::Relaxed);
        self.connection.tell(Note::Ended(self.connection.key()));
    }
}

/// Runs a job on a thread of its own, with what `begin` gives. The thread comes first: without one nothing is begun, and
/// there is still somebody to answer.
fn spawn<T: Send + 'static>(
    name: &str,
    stack: usize,
    job: impl FnOnce(T) + Send + 'static,
    begin: impl FnOnce() -> Option<T>,
) -> io::Result<()> {
    let slot: Arc<Mutex<Option<T>>> = Arc::default();
    let own = slot.clone();
    // The thread finds its work as soon as this is free.
    let mut work = lock(&slot);
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(stack)
        .spawn(move || {
            let begun = lock(&own).take();
            drop(own);
            if let Some(begun) = begun {
                job(begun);
            }
        })?;
    *work = begin();
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
