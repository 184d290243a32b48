//! What the door knows of one connection: what it waits for, for how long, and what has arrived meanwhile. No threads and
//! no locks here; the door alone calls it.

use super::connection::{Connection, Turn};
use super::exchange::Exchange;
use super::head::{self, Head, Parts};
use super::inbox::{Arrival, Inbox};
use super::pending::{self, PendingBody};
use super::pool::Pool;
use super::settings::Settings;
use crate::host::Readiness;
use crate::http::problem::Problem;
use crate::http::reply::After;
use crate::http::request::{Body, BodyError};
use crate::hub::Progress;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request's head has to be complete this long after its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A request's body has to be complete this long after it was asked for.
const BODY_TIME: Duration = Duration::from_secs(20);

/// A connection without a request is closed after this long. Shorter than a minute races with sensors that post each
/// minute, through a proxy that keeps connections.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// A client has to take its answer within this time, and this much more for each byte, also of those that the system holds
/// for it: 250 KB/s.
const ANSWER_TIME: Duration = Duration::from_millis(500);
const TIME_FOR_A_BYTE: Duration = Duration::from_micros(4);

/// A connection that is closed is read from for this long, so that the answer is not lost: closing a socket with unread
/// data resets it, and a reset may overtake the answer (RFC 9112, section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// And for this many bytes.
const LINGER_BYTES: usize = 4 << 20;

/// Seconds after which a client may try again for whom there was no memory.
const RETRY_AFTER: u32 = 5;

/// What a connection waits for.
#[derive(Debug)]
enum Phase {
    /// The next request's head, of which so many bytes were looked at.
    Reads { scanned: usize },
    /// The answer. The rest of a body that has not come with its head waits for somebody to ask for it.
    Answers { pending: Option<Box<PendingBody>> },
    /// The body that a route has asked for, of at most so many bytes.
    ReadsBody(Box<PendingBody>, usize, Box<Parts>),
    /// The client, to take the rest of its answer.
    Sends { is_last: bool },
    /// The end of an event stream.
    Streams { progress: Arc<Progress> },
    /// The client, to close its side.
    Lingers { budget: usize },
}

/// What comes of a step.
pub enum Step {
    /// Nothing more to do now.
    Wait,
    /// There is more to do.
    Again,
    /// The connection is over.
    Close,
    /// A request for the pool: its method, its target, and the rest.
    Dispatch(String, String, Exchange),
}

/// One connection, from accept to close. Dropped by the door, which then cuts the socket.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: Arc<Connection>,
    /// What it held when the door last counted, in bytes.
    pub held: usize,
    /// What it waits for.
    phase: Phase,
    inbox: Inbox,
    /// It has sent a request.
    has_asked: bool,
    /// The server stops, and this one was here before.
    closes_when_idle: bool,
    deadline: Instant,
}

impl Client {
    /// A client that has just come.
    pub fn new(connection: Arc<Connection>) -> Client {
        Client {
            connection,
            phase: Phase::Reads { scanned: 0 },
            inbox: Inbox::new(),
            held: 0,
            has_asked: false,
            closes_when_idle: false,
            deadline: Instant::now() + IDLE_TIME,
        }
    }

    /// Takes note of what has changed about the socket.
    pub fn note(&mut self, event: &Readiness) {
        self.inbox.note(event);
        if let (Phase::Streams { progress }, true) = (&self.phase, event.is_ended) {
            progress.client_has_gone();
            // Its thread may be inside a write.
            self.connection.cut();
        }
    }

    /// The server stops: looks once more for a request, and closes the connection if there is none. One that has not sent
    /// a request yet is about to, and is waited for as long as `patience`, if that is given.
    pub fn close_when_idle(&mut self, patience: Option<Duration>) {
        self.inbox.look_again();
        self.closes_when_idle = self.has_asked;
        if let (false, Some(patience)) = (self.has_asked, patience) {
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

    fn enter(&mut self, phase: Phase, time: Duration) {
        self.phase = phase;
        self.deadline = Instant::now() + time;
    }

    /// The client has not taken all of its answer.
    pub fn send_rest(&mut self, is_last: bool) {
        let bytes = u32::try_from(self.connection.untaken_bytes()).unwrap_or(u32::MAX);
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
        if pending.waits_for_continue(&self.inbox) {
            // If the client is gone, the next read tells.
            let _ = self.connection.write_now(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.enter(Phase::ReadsBody(pending, limit, parts), BODY_TIME);
    }

    /// It has become an event stream.
    pub fn streams(&mut self, progress: Arc<Progress>) {
        self.inbox.clear();
        self.phase = Phase::Streams { progress };
    }

    /// Nothing more is sent: waits for the client to close its side.
    pub fn linger(&mut self) {
        self.connection.stop_sending();
        self.inbox.clear();
        self.inbox.look_again();
        let budget = LINGER_BYTES;
        self.enter(Phase::Lingers { budget }, LINGER_TIME);
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
    pub fn end_in_time(&mut self, pool: &Pool) {
        match &mut self.phase {
            Phase::Reads { .. } if !self.inbox.is_empty() => {
                let detail = "the request's head did not arrive in time; send it without pauses";
                self.refuse(pool, Problem::timeout(detail));
            }
            // The route says so.
            Phase::ReadsBody(pending, ..) => pending.fail(BodyError::TooSlow),
            Phase::Answers { .. } | Phase::Streams { .. } => {}
            _ => self.cut(),
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
            Phase::ReadsBody(..) => self.step_body(),
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
        let time = if self.inbox.is_empty() {
            IDLE_TIME
        } else {
            HEAD_TIME
        };
        self.enter(Phase::Reads { scanned: 0 }, time);
        Step::Again
    }

    /// Reads, and says what follows.
    fn read(&mut self) -> Step {
        match self.inbox.read(&self.connection) {
            Arrival::News => Step::Again,
            Arrival::Nothing => Step::Wait,
            Arrival::Broken => Step::Close,
        }
    }

    fn step_head(&mut self, pool: &Pool, settings: &Settings, is_stopping: bool) -> Step {
        let Phase::Reads { scanned } = &mut self.phase else {
            return Step::Again;
        };
        match head::find_end(self.inbox.bytes(), scanned) {
            Ok(Some(end)) => {
                let head = Head::parse(&self.inbox.bytes()[..end]);
                self.inbox.discard(end);
                return match head {
                    Ok(head) => self.begin(head, settings, is_stopping),
                    Err(problem) => self.refuse(pool, problem),
                };
            }
            Ok(None) => {}
            Err(problem) => return self.refuse(pool, problem),
        }
        if self.inbox.has_ended() {
            return self.end_without_request(pool);
        }
        let was_empty = self.inbox.is_empty();
        let step = self.read();
        if was_empty && !self.inbox.is_empty() {
            self.deadline = Instant::now() + HEAD_TIME;
        }
        match step {
            // Nobody waits for an answer.
            Step::Wait if self.closes_when_idle && self.inbox.is_empty() => Step::Close,
            step => step,
        }
    }

    fn end_without_request(&mut self, pool: &Pool) -> Step {
        // An empty line may stand behind a request.
        if self.inbox.bytes().iter().all(|byte| b"\r\n".contains(byte)) {
            return Step::Close;
        }
        let detail = "the connection ended in the middle of a request; send all of it";
        self.refuse(pool, Problem::bad_request(detail))
    }

    /// Dispatches a request: with its body if that has come, or else the head alone.
    fn begin(&mut self, head: Head, settings: &Settings, is_stopping: bool) -> Step {
        self.has_asked = true;
        let (body, pending) = pending::begin(&head, &mut self.inbox);
        self.phase = Phase::Answers { pending };
        let parts = Parts {
            peer: settings.peer(self.connection.peer(), &head.fields),
            fields: head.fields,
            is_old: head.is_old,
            keeps_alive: head.keeps_alive && !is_stopping,
        };
        self.dispatch(head.method, head.target, Box::new(parts), body)
    }

    /// A request for the pool. If more has come behind it, the door has to hear of the answer.
    fn dispatch(&self, method: String, target: String, parts: Box<Parts>, body: Body) -> Step {
        self.connection.take_turn(self.inbox.has_more());
        let exchange = Exchange::new(self.connection.clone(), parts, body);
        Step::Dispatch(method, target, exchange)
    }

    fn step_body(&mut self) -> Step {
        let Phase::ReadsBody(pending, limit, _) = &mut self.phase else {
            return Step::Again;
        };
        if !pending.take(&mut self.inbox, *limit) {
            return self.read();
        }
        let answers = Phase::Answers { pending: None };
        let Phase::ReadsBody(pending, _, parts) = std::mem::replace(&mut self.phase, answers)
        else {
            return Step::Again;
        };
        let (method, target, body) = pending.into_parts();
        self.dispatch(method, target, parts, body)
    }

    /// Throws away what the client still sends, until it closes.
    fn step_linger(&mut self, is_stopping: bool) -> Step {
        let Phase::Lingers { budget } = &mut self.phase else {
            return Step::Again;
        };
        *budget = budget.saturating_sub(self.inbox.clear());
        if self.inbox.has_ended() || *budget == 0 {
            return Step::Close;
        }
        match self.read() {
            // What has arrived is read: nothing resets the connection. A stop waits for nobody who keeps it open.
            Step::Wait if is_stopping => Step::Close,
            step => step,
        }
    }

    /// Bytes of requests and answers that it holds. Of an answer: what the client has not taken.
    pub fn held_bytes(&self) -> usize {
        let more = match &self.phase {
            Phase::Answers {
                pending: Some(pending),
            }
            | Phase::ReadsBody(pending, ..) => pending.size(),
            Phase::Sends { .. } => self.connection.unsent_bytes(),
            _ => 0,
        };
        self.inbox.size() + more
    }

    /// All connections together hold too much, and this one was the last that took more. A step has to follow.
    pub fn give_up(&mut self, pool: &Pool) {
        match &mut self.phase {
            Phase::Reads { .. } => {
                let detail = "the server holds too many requests that have not come whole; send it again, without pauses";
                self.refuse(pool, Problem::unavailable(detail, RETRY_AFTER));
            }
            Phase::ReadsBody(pending, ..) => pending.fail(BodyError::NoRoom),
            Phase::Sends { .. } => self.cut(),
            // The next step takes it out, or brings it to one of the others.
            Phase::Answers { .. } | Phase::Streams { .. } | Phase::Lingers { .. } => {}
        }
    }

    fn cut(&mut self) {
        self.connection.cut();
        self.phase = Phase::Lingers { budget: 0 };
    }

    /// Answers what is no request, and ends the connection: where the next one begins is a matter of opinion.
    fn refuse(&mut self, pool: &Pool, problem: Problem) -> Step {
        log::debug!("event=refused problem={problem:?}");
        let reply = pool.refuse(problem);
        // What does not fit into an empty buffer is lost.
        let _ = self
            .connection
            .write_now(&reply.into_bytes(false, After::Close));
        self.linger();
        Step::Again
    }
}
