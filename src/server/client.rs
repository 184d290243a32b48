//! What the door knows of one connection: what it waits for, for how long, and what has arrived meanwhile. No threads and
//! no locks here; the door alone calls it.

use super::connection::{Connection, Turn};
use super::exchange::Exchange;
use super::head::{self, Head, Parts};
use super::inbox::{Arrival, Inbox};
use super::pending::{self, PendingBody};
use super::pool::Pool;
use super::settings::Settings;
use super::uptake::Uptake;
use crate::host::Readiness;
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::reply::After;
use crate::http::request::{Body, BodyError};
use crate::hub::Progress;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request's head has to be complete this long after its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A request's body has to be complete this long after a route asked for it.
const BODY_TIME: Duration = Duration::from_secs(20);

/// A connection without a request is closed after this long. Anything under a minute would race with sensors that post
/// each minute through a proxy that keeps connections.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// How long a closing connection is still read, so that the answer is not lost: closing a socket with unread data
/// resets it, and a reset may overtake the answer (RFC 9112, section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// And how many bytes.
const LINGER_BYTES: usize = 4 << 20;

/// An event stream has no deadline while its client is there.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How long a stream may take to end in order when its client has closed its side: the client may still read.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Debug)]
enum Phase {
    /// The next request's head, of which this many bytes were searched.
    Reads { scanned: usize },
    /// The answer. If the body did not come with its head, its rest waits until a route asks for it.
    Answers { pending: Option<Box<PendingBody>> },
    /// The body that a route has asked for, and its largest size.
    ReadsBody(Box<PendingBody>, usize, Box<Parts>),
    /// The client, to take the rest of its answer.
    Sends { is_last: bool, uptake: Uptake },
    /// The end of an event stream. If that answers once, a client that has closed its side can still read the answer.
    Streams {
        progress: Arc<Progress>,
        answers_once: bool,
    },
    /// The client, to close its side.
    Lingers { budget: usize },
}

/// The result of a step.
pub enum Step {
    /// Nothing more to do now.
    Wait,
    /// There is more to do.
    Again,
    /// The connection ends.
    Close,
    /// A request for the pool: its method, its target, and the rest.
    Dispatch(String, String, Exchange),
}

impl From<Arrival> for Step {
    fn from(arrival: Arrival) -> Step {
        match arrival {
            Arrival::News => Step::Again,
            Arrival::Nothing => Step::Wait,
            Arrival::Broken => Step::Close,
        }
    }
}

/// One connection, from accept to close. Dropped by the door, which then cuts the socket.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: Arc<Connection>,
    /// Bytes that it held when the door last counted.
    pub held: usize,
    phase: Phase,
    inbox: Inbox,
    /// It has sent a request.
    has_asked: bool,
    /// The server stops, and this connection has served a request.
    closes_when_idle: bool,
    deadline: Instant,
}

impl Client {
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

    /// Records a change of the socket.
    pub fn note(&mut self, event: &Readiness) {
        self.inbox.note(event);
        let Phase::Streams {
            progress,
            answers_once,
        } = &self.phase
        else {
            return;
        };
        if event.is_ended {
            progress.client_has_gone();
            if !answers_once {
                // The stream's thread may be inside a write.
                self.deadline = Instant::now() + FAREWELL_TIME;
            }
        }
    }

    /// The server stops: looks once more for a request, and closes the connection if there is none. A client that has
    /// not sent any request yet is about to, and gets `patience` for that, if given.
    pub fn close_when_idle(&mut self, patience: Option<Duration>) {
        self.inbox.look_again();
        self.closes_when_idle = self.has_asked;
        if let (false, Some(patience)) = (self.has_asked, patience) {
            self.deadline = self.deadline.min(Instant::now() + patience);
        }
    }

    /// Whether it waits for a request of which nothing has arrived.
    pub fn is_idle(&self) -> bool {
        match self.phase {
            Phase::Reads { .. } => self.inbox.is_empty(),
            Phase::Answers { .. } => self.inbox.is_empty() && self.connection.turn() == Turn::Free,
            _ => false,
        }
    }

    pub fn is_stream(&self) -> bool {
        matches!(self.phase, Phase::Streams { .. })
    }

    fn enter(&mut self, phase: Phase, time: Duration) {
        self.phase = phase;
        self.deadline = Instant::now() + time;
    }

    /// The client has not taken all of its answer.
    pub fn send_rest(&mut self, is_last: bool) {
        let (uptake, time) = Uptake::begin(self.connection.untaken_bytes(), Instant::now());
        self.enter(Phase::Sends { is_last, uptake }, time);
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
    pub fn streams(&mut self, progress: Arc<Progress>, answers_once: bool) {
        self.inbox.clear();
        let phase = Phase::Streams {
            progress,
            answers_once,
        };
        self.enter(phase, FOR_EVER);
    }

    /// Sends nothing more, and waits for the client to close its side.
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
            // Nobody reports that the answer is out.
            Phase::Answers { .. } => self.connection.turn() != Turn::Taken,
            _ => now >= self.deadline,
        }
    }

    /// Ends what is overdue, or was the last to add to what all connections hold if that is too much: `NoRoom`. Call
    /// `step` afterwards.
    pub fn give_up(&mut self, pool: &Pool, why: BodyError) {
        match &mut self.phase {
            Phase::Reads { .. } if !self.inbox.is_empty() => {
                let problem = if why == BodyError::NoRoom {
                    let detail =
                        "the server holds too many incomplete requests; send it again, without pauses";
                    Problem::unavailable(detail, RETRY_AFTER)
                } else {
                    let detail =
                        "the request's head did not arrive in time; send it without pauses";
                    Problem::timeout(detail)
                };
                self.refuse(pool, problem);
            }
            // The route answers.
            Phase::ReadsBody(pending, ..) => pending.fail(why),
            // The next step brings it to one of the others.
            Phase::Answers { .. } => {}
            // Its thread, which may be inside a write, ends it.
            Phase::Streams { progress, .. } => {
                progress.cut_as_slow();
                self.connection.cut();
            }
            Phase::Sends { uptake, .. } if why == BodyError::TooSlow => {
                let now = Instant::now();
                match uptake.look(self.connection.untaken_bytes(), now) {
                    Some(time) => self.deadline = now + time,
                    None => self.phase = Phase::Lingers { budget: 0 },
                }
            }
            Phase::Reads { .. } | Phase::Sends { .. } | Phase::Lingers { .. } => {
                self.phase = Phase::Lingers { budget: 0 };
            }
        }
    }

    /// Takes one step, without waiting.
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
            Phase::Sends { is_last, .. } => {
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
            // Discards what the client still sends, until it closes.
            Phase::Lingers { budget } => {
                *budget = budget.saturating_sub(self.inbox.clear());
                if self.inbox.has_ended() || *budget == 0 {
                    return Step::Close;
                }
                match self.inbox.read(&self.connection).into() {
                    // Everything that arrived is read, so nothing resets the connection. A stop does not wait for a
                    // client that keeps it open.
                    Step::Wait if is_stopping => Step::Close,
                    step => step,
                }
            }
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
            // An empty line may follow a request.
            if self.inbox.bytes().iter().all(|byte| b"\r\n".contains(byte)) {
                return Step::Close;
            }
            let detail = "the connection ended in the middle of a request; send all of it";
            return self.refuse(pool, Problem::bad_request(detail));
        }
        let was_empty = self.inbox.is_empty();
        let step = self.inbox.read(&self.connection).into();
        if was_empty && !self.inbox.is_empty() {
            self.deadline = Instant::now() + HEAD_TIME;
        }
        match step {
            // Nobody waits for an answer.
            Step::Wait if self.closes_when_idle && self.inbox.is_empty() => Step::Close,
            step => step,
        }
    }

    /// Dispatches a request: with its body, or the head alone if the body has not come.
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

    /// Hands a request to the pool. If more has come after it, the door gets a note when it is answered.
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
            return self.inbox.read(&self.connection).into();
        }
        let answers = Phase::Answers { pending: None };
        let Phase::ReadsBody(pending, _, parts) = std::mem::replace(&mut self.phase, answers)
        else {
            return Step::Again;
        };
        let (method, target, body) = pending.into_parts();
        self.dispatch(method, target, parts, body)
    }

    /// Bytes of requests and answers that it holds. Of an answer: those that the client has not taken.
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

    /// Answers something that is no request, and ends the connection: nobody can tell where the next request begins.
    fn refuse(&mut self, pool: &Pool, problem: Problem) -> Step {
        log::debug!("event=refused problem={problem:?}");
        let (bytes, _) = pool.refuse(problem).into_bytes(false, After::Close);
        // What does not fit into the empty buffer is lost.
        let _ = self.connection.write_now(&bytes);
        self.linger();
        Step::Again
    }
}
