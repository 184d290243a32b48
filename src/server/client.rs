//! What the door knows of one connection: what it waits for, for how long, and what has arrived meanwhile. No threads and
//! no locks here; the door alone calls it.

use super::body::BodyReader;
use super::connection::{Connection, Turn};
use super::exchange::{Exchange, Parts};
use super::head::{self, Head};
use super::pool::Pool;
use super::Settings;
use crate::host::Event;
use crate::hub::Progress;
use crate::problem::Problem;
use crate::query::Target;
use crate::reply::Connection as After;
use crate::request::{Body, BodyError, Method, Peer, Request};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request's head has to be complete this long after its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A request's body has to be complete this long after it was asked for.
const BODY_TIME: Duration = Duration::from_secs(20);

/// A connection without a request is closed after this long. Shorter than a minute races with sensors that post each
/// minute, through a proxy that keeps connections.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// A client has to take its answer within this time, and this much more for each byte: 256 KB/s beyond what the system's
/// buffer holds anyway.
const ANSWER_TIME: Duration = Duration::from_millis(500);
const TIME_FOR_A_BYTE: Duration = Duration::from_micros(4);

/// A connection that is closed is read from for this long, so that the answer is not lost: closing a socket with unread
/// data resets it, and a reset may overtake the answer (RFC 9112, section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// And for this many bytes.
const LINGER_BYTES: usize = 4 << 20;

/// Bytes that are read at once. A message of the usual largest size comes with its head.
const READ_BYTES: usize = 80 << 10;

thread_local! {
    /// The door's own: what is read goes through it, so that a connection at rest holds no memory for that.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What a connection waits for.
#[derive(Debug)]
pub enum Phase {
    /// The next request's head, of which so many bytes were looked at.
    Reads { scanned: usize },
    /// The answer. The rest of a body that has not come with its head waits for somebody to ask for it.
    Answers { pending: Option<Box<Pending>> },
    /// The body that a route has asked for.
    ReadsBody {
        pending: Box<Pending>,
        limit: usize,
        parts: Box<Parts>,
    },
    /// The client, to take the rest of its answer.
    Sends { is_last: bool },
    /// The end of an event stream.
    Streams { progress: Arc<Progress> },
    /// The client, to close its side.
    Lingers { budget: usize },
}

/// A request whose body has not come with its head.
#[derive(Debug)]
pub struct Pending {
    method: String,
    target: String,
    reader: BodyReader,
    /// Why there is no body.
    failed: Option<BodyError>,
    expects_continue: bool,
}

/// What comes of a step.
pub enum Step {
    /// Nothing more to do now.
    Wait,
    /// There is more to do.
    Again,
    /// The connection is over.
    Close,
    /// A request for the pool.
    Dispatch {
        method: String,
        target: String,
        exchange: Exchange,
    },
}

/// See the module's comment.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: Arc<Connection>,
    /// What it waits for.
    pub phase: Phase,
    /// Bytes that have arrived and belong to no request yet.
    inbox: Vec<u8>,
    /// There may be more to read.
    is_readable: bool,
    /// The client sends nothing more: that was told, and then read.
    end_was_told: bool,
    has_ended: bool,
    /// It has sent a request.
    has_asked: bool,
    /// The server stops, and this one was here before.
    closes_when_idle: bool,
    /// When the phase began.
    since: Instant,
    deadline: Instant,
}

impl Client {
    /// A client that has just come.
    pub fn new(connection: Arc<Connection>) -> Client {
        let now = Instant::now();
        Client {
            connection,
            phase: Phase::Reads { scanned: 0 },
            inbox: Vec::new(),
            is_readable: true,
            end_was_told: false,
            has_ended: false,
            has_asked: false,
            closes_when_idle: false,
            since: now,
            deadline: now + IDLE_TIME,
        }
    }

    /// Takes note of what has changed about the socket.
    pub fn note(&mut self, event: &Event) {
        self.is_readable |= event.is_readable;
        self.end_was_told |= event.is_ended;
        if let (Phase::Streams { progress }, true) = (&self.phase, event.is_ended) {
            progress.client_has_gone();
            // Its thread may be inside a write.
            self.connection.cut();
        }
    }

    /// The server stops: looks once more for a request, and closes the connection if there is none. One that has not sent
    /// a request yet is about to, and is waited for as long as `patience`, if that is given.
    pub fn close_when_idle(&mut self, patience: Option<Duration>) {
        self.is_readable = true;
        self.closes_when_idle = self.has_asked;
        if let (Phase::Reads { .. }, false, Some(patience)) =
            (&self.phase, self.has_asked, patience)
        {
            self.deadline = self.deadline.min(Instant::now() + patience);
        }
    }

    /// Whether it waits for a request, and nothing of one has arrived.
    pub fn is_idle(&self) -> bool {
        match self.phase {
            Phase::Reads { .. } => self.inbox.is_empty(),
            Phase::Answers { .. } => self.connection.turn() == Turn::Free,
            _ => false,
        }
    }

    /// Whether it is an event stream.
    pub fn is_stream(&self) -> bool {
        matches!(self.phase, Phase::Streams { .. })
    }

    /// When it came, or began what it does.
    pub fn since(&self) -> Instant {
        self.since
    }

    fn enter(&mut self, phase: Phase, time: Duration) {
        self.phase = phase;
        self.since = Instant::now();
        self.deadline = self.since + time;
    }

    /// The client has not taken all of its answer.
    pub fn send_rest(&mut self, is_last: bool) {
        let bytes = u32::try_from(self.connection.unsent_bytes()).unwrap_or(u32::MAX);
        let time = ANSWER_TIME + TIME_FOR_A_BYTE * bytes;
        self.enter(Phase::Sends { is_last }, time);
    }

    /// A route wants the body.
    pub fn read_body(&mut self, limit: usize, parts: Box<Parts>) {
        let Phase::Answers { pending } = &mut self.phase else {
            return;
        };
        let Some(pending) = pending.take() else {
            return;
        };
        if pending.expects_continue && pending.reader.is_untouched() && self.inbox.is_empty() {
            // If the client is gone, the next read tells.
            let _ = self.connection.write_now(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let phase = Phase::ReadsBody {
            pending,
            limit,
            parts,
        };
        self.enter(phase, BODY_TIME);
    }

    /// It has become an event stream.
    pub fn streams(&mut self, progress: Arc<Progress>) {
        self.inbox = Vec::new();
        self.phase = Phase::Streams { progress };
    }

    /// Nothing more is sent: waits for the client to close its side.
    pub fn linger(&mut self) {
        self.connection.stop_sending();
        self.inbox = Vec::new();
        self.is_readable = true;
        let phase = Phase::Lingers {
            budget: LINGER_BYTES,
        };
        self.enter(phase, LINGER_TIME);
    }

    /// Whether its time is over.
    pub fn is_overdue(&self, now: Instant) -> bool {
        match self.phase {
            // Nobody tells when the answer is out.
            Phase::Answers { .. } => self.connection.turn() != Turn::Taken,
            Phase::Streams { .. } => false,
            _ => now >= self.deadline,
        }
    }

    /// Ends what is overdue. A step has to follow.
    pub fn end_in_time(&mut self, pool: &Pool, now: Instant) {
        match &mut self.phase {
            Phase::Reads { .. } if !self.inbox.is_empty() => {
                let detail = "the request's head did not arrive in time; send it without pauses";
                self.refuse(pool, Problem::timeout(detail));
            }
            // The route says so.
            Phase::ReadsBody { pending, .. } => pending.failed = Some(BodyError::TooSlow),
            Phase::Answers { .. } | Phase::Streams { .. } => {}
            _ if now >= self.deadline => {
                self.connection.cut();
                self.phase = Phase::Lingers { budget: 0 };
            }
            _ => {}
        }
    }

    /// Goes one step on, without waiting.
    pub fn step(&mut self, pool: &Pool, settings: &Settings, is_stopping: bool) -> Step {
        match &mut self.phase {
            Phase::Reads { .. } => self.step_head(pool, settings, is_stopping),
            Phase::Answers { .. } => match self.connection.await_turn() {
                Turn::Taken => Step::Wait,
                Turn::Free => self.next_request(),
                Turn::Last => {
                    self.linger();
                    Step::Again
                }
            },
            Phase::ReadsBody { .. } => self.step_body(),
            Phase::Sends { is_last } => {
                let is_last = *is_last;
                match self.connection.send_unsent() {
                    Ok(true) if is_last => {
                        self.linger();
                        Step::Again
                    }
                    Ok(true) => self.next_request(),
                    Ok(false) => Step::Wait,
                    Err(_) => Step::Close,
                }
            }
            Phase::Streams { .. } => Step::Wait,
            Phase::Lingers { .. } => self.step_linger(is_stopping),
        }
    }

    fn next_request(&mut self) -> Step {
        self.enter(Phase::Reads { scanned: 0 }, IDLE_TIME);
        if !self.inbox.is_empty() {
            self.deadline = self.since + HEAD_TIME;
        }
        Step::Again
    }

    /// Reads into the inbox. Returns `None` if something came, or else what to do.
    fn read(&mut self) -> Option<Step> {
        if !self.is_readable {
            return Some(Step::Wait);
        }
        BUFFER.with_borrow_mut(|buffer| match self.connection.read(buffer) {
            Ok(0) => {
                self.has_ended = true;
                self.is_readable = false;
                None
            }
            Ok(count) => {
                self.inbox.extend_from_slice(&buffer[..count]);
                // That was all, unless the end is there as well: what comes later is told.
                self.is_readable = count == buffer.len() || self.end_was_told;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                Some(Step::Wait)
            }
            Err(_) => Some(Step::Close),
        })
    }

    fn step_head(&mut self, pool: &Pool, settings: &Settings, is_stopping: bool) -> Step {
        let Phase::Reads { scanned } = &mut self.phase else {
            return Step::Again;
        };
        let end = match head::find_end(&self.inbox, scanned) {
            Ok(end) => end,
            Err(problem) => return self.refuse(pool, problem),
        };
        if let Some(end) = end {
            let rest = self.inbox.split_off(end);
            let bytes = std::mem::replace(&mut self.inbox, rest);
            return match Head::parse(&bytes) {
                Ok(head) => self.begin(head, settings, is_stopping),
                Err(problem) => self.refuse(pool, problem),
            };
        }
        if self.has_ended {
            return self.end_without_request(pool);
        }
        let was_empty = self.inbox.is_empty();
        match self.read() {
            // Nobody waits for an answer.
            Some(Step::Wait) if self.closes_when_idle && self.inbox.is_empty() => Step::Close,
            Some(step) => step,
            None => {
                if was_empty && !self.inbox.is_empty() {
                    self.deadline = Instant::now() + HEAD_TIME;
                }
                Step::Again
            }
        }
    }

    fn end_without_request(&mut self, pool: &Pool) -> Step {
        // An empty line may stand behind a request.
        if self.inbox.iter().all(|byte| b"\r\n".contains(byte)) {
            return Step::Close;
        }
        let detail = "the connection ended in the middle of a request; send all of it";
        self.refuse(pool, Problem::bad_request(detail))
    }

    /// Dispatches a request: with its body if that has come, or else the head alone.
    fn begin(&mut self, head: Head, settings: &Settings, is_stopping: bool) -> Step {
        self.has_asked = true;
        let mut reader = BodyReader::new(head.framing);
        let mut failed = None;
        let body = match reader.take(&self.inbox, usize::MAX) {
            Ok(taken) => {
                self.inbox.drain(..taken);
                if reader.is_whole() {
                    None
                } else {
                    Some(match head.framing {
                        head::Framing::Length(length) => Body::Announced(Some(length)),
                        head::Framing::Chunked => Body::Announced(None),
                    })
                }
            }
            Err(error) => {
                failed = Some(error);
                Some(Body::Announced(None))
            }
        };
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        let parts = Box::new(Parts {
            peer: self.name(&head.fields, settings),
            fields: head.fields,
            is_old: head.is_old,
            keeps_alive: head.keeps_alive && !is_stopping,
        });
        let (body, pending) = match body {
            None => (Body::Whole(reader.into_bytes()), None),
            Some(body) => {
                let pending = Pending {
                    method: head.method.clone(),
                    target: head.target.clone(),
                    reader,
                    failed,
                    expects_continue: head.expects_continue,
                };
                (body, Some(Box::new(pending)))
            }
        };
        self.phase = Phase::Answers { pending };
        Step::Dispatch {
            method: head.method,
            target: head.target,
            exchange: self.exchange(parts, body),
        }
    }

    /// A request for the pool. If more has come behind it, the door has to hear of the answer.
    fn exchange(&self, parts: Box<Parts>, body: Body) -> Exchange {
        let has_more = !self.inbox.is_empty() || self.is_readable || self.has_ended;
        self.connection.take_turn(has_more);
        Exchange::new(self.connection.clone(), parts, body)
    }

    /// Whose request it is.
    fn name(&self, fields: &[(&'static str, String)], settings: &Settings) -> Peer {
        let own = self.connection.peer();
        let forwarded = fields
            .iter()
            .filter(|(name, _)| *name == "X-Forwarded-For")
            .map(|(_, value)| value.as_str());
        let ip = own.map(|address| address.ip());
        let client = settings.trusted_proxies.client(ip, forwarded);
        match (own, client) {
            (Some(address), Some(client)) if client == address.ip().to_canonical() => {
                Peer::Address(address)
            }
            (_, Some(client)) => Peer::Forwarded(client),
            (_, None) => Peer::Unix,
        }
    }

    fn step_body(&mut self) -> Step {
        let Phase::ReadsBody { pending, limit, .. } = &mut self.phase else {
            return Step::Again;
        };
        if pending.failed.is_none() {
            match pending.reader.take(&self.inbox, *limit) {
                Ok(taken) => {
                    self.inbox.drain(..taken);
                }
                Err(error) => pending.failed = Some(error),
            }
        }
        if pending.reader.least_size() > *limit as u64 && pending.failed.is_none() {
            pending.failed = Some(BodyError::TooLarge);
        }
        if pending.failed.is_some() || pending.reader.is_whole() {
            return self.dispatch_body();
        }
        self.inbox = Vec::new();
        if self.has_ended {
            pending.failed = Some(BodyError::Broken);
            return Step::Again;
        }
        self.read().unwrap_or(Step::Again)
    }

    /// Dispatches a request once more, now with its body.
    fn dispatch_body(&mut self) -> Step {
        let answers = Phase::Answers { pending: None };
        let Phase::ReadsBody { pending, parts, .. } = std::mem::replace(&mut self.phase, answers)
        else {
            return Step::Again;
        };
        let body = match pending.failed {
            Some(error) => Body::Failed(error),
            None => Body::Whole(pending.reader.into_bytes()),
        };
        Step::Dispatch {
            method: pending.method,
            target: pending.target,
            exchange: self.exchange(parts, body),
        }
    }

    /// Throws away what the client still sends, until it closes.
    fn step_linger(&mut self, is_stopping: bool) -> Step {
        let Phase::Lingers { budget } = &mut self.phase else {
            return Step::Again;
        };
        if self.has_ended || *budget == 0 {
            return Step::Close;
        }
        if !self.is_readable {
            // What has arrived is read: nothing resets the connection. A stop waits for nobody who keeps it open.
            return if is_stopping { Step::Close } else { Step::Wait };
        }
        let read = BUFFER.with_borrow_mut(|buffer| self.connection.read(buffer));
        match read {
            Ok(0) => Step::Close,
            Ok(count) => {
                *budget = budget.saturating_sub(count);
                Step::Again
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                Step::Again
            }
            Err(_) => Step::Close,
        }
    }

    /// Answers what is no request, and ends the connection: where the next one begins is a matter of opinion.
    fn refuse(&mut self, pool: &Pool, problem: Problem) -> Step {
        log::debug!("event=refused problem={problem:?}");
        let nothing = Target::parse("");
        let request = Request::new(
            Method::Get,
            nothing,
            Peer::Unix,
            Vec::new(),
            Body::default(),
        );
        let reply = pool.refuse(&request, problem);
        // What does not fit into an empty buffer is lost.
        let _ = self
            .connection
            .write_now(&reply.into_bytes(false, After::Close));
        self.linger();
        Step::Again
    }
}
