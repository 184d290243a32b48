//! The connection guard: a thread that looks at the process's own sockets and closes those that tiny_http would let do
//! as they please. tiny_http limits neither a head's size nor its time, cannot close a connection, and does not tell
//! when a stream's client has gone; and it never hands out the socket. So the socket is found by its peer's address.
//!
//! It acts on a duplicate whose addresses it has checked again, so a descriptor that was given to somebody else in the
//! meantime is never hit. Linux only: elsewhere there is no guard, and the log says so once. It knows nothing of
//! requests but what `Connections` tells. Started with the server.

use super::connections::{Activity, Connections, LiveStream};
use super::exchange::{Exchange, Writer, MAX_HEAD_BYTES};
use crate::event::Frame;
use crate::hub::{DirectWriter, End};
use crate::memory::Trimmer;
use crate::system::{self, ConnectionState, Socket};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it looks. A head without end can grow for this long: at the 100 MB/s that tiny_http parses, 10 MB.
const ROUND: Duration = Duration::from_millis(100);

/// How soon it looks again when a connection is to be closed.
const ORDER_ROUND: Duration = Duration::from_millis(20);

/// How often it looks at streams, which are many and whose clients rarely go.
const STREAM_ROUND: Duration = Duration::from_millis(500);

/// A request's head has to be complete by then.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// tiny_http reads ahead by this much, and takes bodies of up to 1 KiB in with the head.
const READ_AHEAD: u64 = 4 << 10;

/// A connection that is closed is read from for this long, so that the answer is not lost: closing a socket with
/// unread data resets it, and a reset may overtake the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// And for so many bytes.
const LINGER_BYTES: usize = 4 << 20;

/// Nudges of one round, and the time that one may take: the guard has other things to do.
const MAX_NUDGES: usize = 128;
/// How soon it looks again after it had to nudge.
const NUDGE_ROUND: Duration = Duration::from_millis(25);
const NUDGE_TIME: Duration = Duration::from_millis(20);

/// A connection to close, and what may be dropped only then.
struct Order {
    peer: SocketAddr,
    remains: Remains,
}

/// The writer that holds further answers back, and the requests behind the last one: tiny_http answers what it drops,
/// and by then nobody may be there to take it.
type Remains = (Option<Writer>, VecDeque<Exchange>);

/// The way to the guard.
#[derive(Clone)]
pub struct Guard {
    orders: Sender<Order>,
    descriptors: Arc<AtomicUsize>,
    stop: Arc<Stop>,
    /// There is a thread that looks.
    looks: bool,
}

/// What is of interest when the server hands its listener over.
#[derive(Default)]
struct Stop {
    /// Nothing may connect to the listener any more: it is not this process that would accept.
    is_retired: AtomicBool,
    /// Looks that are complete.
    looks: AtomicUsize,
    /// Connections that the last look found without a request, or with one that was not answered.
    unanswered: AtomicUsize,
}

impl Guard {
    /// Makes the guard connect to the own port no more.
    pub fn retire(&self) {
        self.stop.is_retired.store(true, Ordering::SeqCst);
    }

    /// Waits until each connection that was there at the call, and became no stream, has its answer; no longer than
    /// `bound`. Where no guard looks, that is for a few of its rounds.
    pub fn wait_for_answers(&self, bound: Duration) {
        let begun = Instant::now();
        // The look under way may have begun before the call.
        let looks = self.stop.looks.load(Ordering::SeqCst) + 2;
        let bound = if self.looks {
            bound
        } else {
            bound.min(ROUND * 3)
        };
        while begun.elapsed() < bound
            && (self.stop.looks.load(Ordering::SeqCst) < looks
                || self.stop.unanswered.load(Ordering::SeqCst) > 0)
        {
            std::thread::park_timeout(ORDER_ROUND);
        }
    }

    /// Closes a connection gently: the answer goes out, nothing more is taken in. Then the rest is dropped.
    pub fn close(&self, peer: SocketAddr, held_back: Option<Writer>, parked: VecDeque<Exchange>) {
        // Without a guard, tiny_http answers what was parked, and closes when the client is silent.
        let remains = (held_back, parked);
        let _ = self.orders.send(Order { peer, remains });
    }

    /// Descriptors that are open, about: as of the last look, and two for each connection that was noted since.
    pub fn open_descriptors(&self) -> usize {
        self.descriptors.load(Ordering::Relaxed)
    }

    /// Notes a new stream's connection. Where nobody looks nothing is counted: it would never be taken back.
    pub fn note_connection(&self) {
        if self.looks {
            self.descriptors.fetch_add(2, Ordering::Relaxed);
        }
    }
}

/// Starts the guard over the connections to a server that is reached at `own`.
///
/// # Errors
/// If the system gives no thread.
pub fn start(
    connections: Arc<Connections>,
    own: Option<SocketAddr>,
    descriptor_limit: usize,
) -> io::Result<Guard> {
    let (orders, inbox) = crossbeam_channel::unbounded();
    let descriptors = Arc::new(AtomicUsize::new(0));
    let guard = Guard {
        orders,
        descriptors: descriptors.clone(),
        stop: Arc::default(),
        looks: own.is_some() && system::CAN_SEE_SOCKETS,
    };
    let Some(own) = own.filter(|_| system::CAN_SEE_SOCKETS) else {
        if !system::CAN_SEE_SOCKETS {
            log::warn!("event=no_guard reason=not_linux");
        }
        return Ok(guard);
    };
    let rounds = Rounds {
        connections,
        own,
        descriptor_limit,
        descriptors,
        stop: guard.stop.clone(),
        seen: HashMap::new(),
        lingering: Vec::new(),
        last_stream_round: Instant::now(),
        number: 0,
        trimmer: Trimmer::new(CROWD),
    };
    std::thread::Builder::new()
        .name("guard".into())
        .spawn(move || rounds.run(&inbox))?;
    Ok(guard)
}

/// A connection as it was at the last look.
struct Seen {
    descriptor: i32,
    /// How many it has: tiny_http's reading half and its writing half.
    halves: u8,
    /// It is a stream, and its reading half was told to go: the system's name of the connection.
    reads_no_more: Option<u64>,
    /// The round that saw it last.
    round: u64,
    /// Requests by then.
    requests: u64,
    /// Bytes that tiny_http had taken in when its request was seen last.
    mark: u64,
    /// When that was, or when the connection was first seen.
    since: Instant,
}

/// The descriptor of a stream's writing half, which the stream's thread owns.
#[derive(Debug)]
struct WritingHalf {
    descriptor: i32,
    is_chunked: bool,
}

impl DirectWriter for WritingHalf {
    fn try_write(&self, frame: &Frame) -> (usize, bool) {
        let bytes = frame.bytes(self.is_chunked);
        let written = system::write_without_waiting(self.descriptor, bytes);
        (written, written == bytes.len())
    }

    fn confirmed(&self) -> u64 {
        // If the stream has ended a moment ago it may be another connection's figure, which then decides nothing.
        system::connection_state(self.descriptor).map_or(0, |state| state.confirmed)
    }
}

/// What a look at a connection comes to.
enum Verdict {
    /// It is as it should be.
    Fine,
    /// It has to end.
    End,
    /// It is a stream: nothing more has to be read from it, and the thread that waits to may go.
    ReadNoMore,
    /// It has sent no request yet. Overlooked means that it has sent something, and nobody reads it.
    Silent { is_overlooked: bool },
}

impl Seen {
    fn look(&mut self, activity: &Activity, now: Instant, streams_too: bool) -> Verdict {
        if activity.is_overfull() || activity.is_overdue(now) {
            return Verdict::End;
        }
        if let Some(LiveStream { progress, .. }) = &activity.stream {
            match progress.cut() {
                // Its thread may be inside a write, which this ends.
                Some(End::Slow) => return Verdict::End,
                // The address may be another connection's by now.
                Some(_) => return Verdict::Fine,
                None if !streams_too && progress.can_be_helped() => return Verdict::Fine,
                None => {}
            }
        }
        let Some(state) = system::connection_state(self.descriptor) else {
            return Verdict::Fine;
        };
        match &activity.stream {
            Some(stream) if state.peer_has_closed => {
                stream.progress.client_has_gone();
                Verdict::Fine
            }
            Some(stream) if !stream.progress.can_be_helped() && self.is_settled(&state) => self
                .prepare_help(stream)
                .unwrap_or_else(|| self.judge_head(activity, &state, now)),
            _ => self.judge_head(activity, &state, now),
        }
    }

    /// Whether a stream's head has arrived. Only then is this surely the stream's connection, and not the next one
    /// from the same address, which gets no answer while the stream is there.
    fn is_settled(&self, state: &ConnectionState) -> bool {
        state.confirmed > 0 && state.unread == 0
    }

    /// Lets the announcer write to a stream, once tiny_http's reading half has gone: the descriptor that is left is the
    /// writing half's, and that is open for as long as the stream's thread has its writer, which keeps the announcer
    /// from writing before it gives it up. The connection has to be one that an earlier look saw with both halves: a look
    /// that meets one in the moment in which it is accepted may see either half alone.
    fn prepare_help(&mut self, stream: &LiveStream) -> Option<Verdict> {
        let connection = system::cookie_of(self.descriptor)?;
        if self.halves == 1 && self.reads_no_more == Some(connection) {
            stream.progress.allow_help(Box::new(WritingHalf {
                descriptor: self.descriptor,
                is_chunked: stream.is_chunked,
            }));
            Some(Verdict::Fine)
        } else if self.halves == 1 || self.reads_no_more == Some(connection) {
            None
        } else {
            self.reads_no_more = Some(connection);
            Some(Verdict::ReadNoMore)
        }
    }

    fn judge_head(
        &mut self,
        activity: &Activity,
        state: &ConnectionState,
        now: Instant,
    ) -> Verdict {
        // While a body is read, the exchange keeps the bounds of that.
        let is_handled = activity.is_busy && activity.stream.is_none();
        if activity.requests != self.requests || is_handled {
            self.requests = activity.requests;
            self.mark = state.taken_in;
            self.since = now;
        }
        let unfinished = state.taken_in.saturating_sub(self.mark);
        let is_too_large = unfinished > MAX_HEAD_BYTES as u64 + READ_AHEAD;
        let is_too_slow = !activity.is_busy && unfinished > 0 && now - self.since > HEAD_TIME;
        if is_too_large || is_too_slow {
            Verdict::End
        } else if activity.requests == 0 {
            let was_seen_before = now > self.since;
            Verdict::Silent {
                is_overlooked: was_seen_before && state.taken_in == 0 && state.unread > 0,
            }
        } else {
            Verdict::Fine
        }
    }
}

/// A connection that is read from until its client has closed, too.
struct Lingering {
    peer: SocketAddr,
    socket: Socket,
    until: Instant,
    budget: usize,
    /// Dropped when the connection is closed.
    _remains: Remains,
}

struct Rounds {
    connections: Arc<Connections>,
    own: SocketAddr,
    descriptor_limit: usize,
    descriptors: Arc<AtomicUsize>,
    stop: Arc<Stop>,
    seen: HashMap<SocketAddr, Seen>,
    lingering: Vec<Lingering>,
    last_stream_round: Instant,
    number: u64,
    trimmer: Trimmer,
}

/// So many connections leave memory behind that is worth giving back when they have gone.
const CROWD: usize = 100;

impl Rounds {
    fn run(mut self, inbox: &Receiver<Order>) {
        let mut orders = Vec::new();
        let mut last_look = Instant::now();
        let mut next = last_look + ROUND;
        loop {
            match inbox.recv_deadline(next) {
                Ok(order) => {
                    orders.push(order);
                    next = next.min(last_look + ORDER_ROUND);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() < next {
                continue;
            }
            let overlooked = self.look_at_all();
            orders.drain(..).for_each(|order| self.close(order));
            self.linger();
            self.trimmer.note(self.seen.len());
            last_look = Instant::now();
            next = last_look + if overlooked > 0 { NUDGE_ROUND } else { ROUND };
        }
    }

    /// Finds the descriptor of each connection. The system gives the lowest free number, so a stretch of unused ones
    /// means that there are no more.
    fn find_sockets(&mut self) {
        const STRETCH: usize = 256;
        self.number += 1;
        let mut open = 0;
        let mut unused = 0;
        let mut descriptor = 0;
        let now = Instant::now();
        while unused < STRETCH {
            match system::peer_of(descriptor) {
                system::Descriptor::Unused => unused += 1,
                system::Descriptor::Other => {
                    unused = 0;
                    open += 1;
                }
                system::Descriptor::Connection(peer) => {
                    unused = 0;
                    open += 1;
                    let seen = self.seen.entry(peer).or_insert(Seen {
                        descriptor,
                        halves: 0,
                        reads_no_more: None,
                        round: 0,
                        requests: 0,
                        mark: 0,
                        since: now,
                    });
                    seen.descriptor = descriptor;
                    seen.halves = if seen.round == self.number { 2 } else { 1 };
                    seen.round = self.number;
                }
            }
            descriptor += 1;
        }
        self.descriptors.store(open, Ordering::Relaxed);
        let round = self.number;
        self.seen.retain(|_, seen| seen.round == round);
    }

    /// Looks at every connection, and does what has to be done. Returns how many tiny_http has left waiting for a thread.
    fn look_at_all(&mut self) -> usize {
        self.find_sockets();
        let now = Instant::now();
        let streams_too = now - self.last_stream_round >= STREAM_ROUND;
        if streams_too {
            self.last_stream_round = now;
        }
        let mut to_end = Vec::new();
        let mut to_read_no_more = Vec::new();
        let mut silent = Vec::new();
        let mut overlooked = 0;
        let mut unanswered = 0;
        for (peer, seen) in &mut self.seen {
            let activity = self.connections.activity(peer);
            unanswered += usize::from(activity.waits_for_answer());
            match seen.look(&activity, now, streams_too) {
                Verdict::Fine => {}
                Verdict::End => to_end.push(*peer),
                Verdict::ReadNoMore => to_read_no_more.push(*peer),
                Verdict::Silent { is_overlooked } => {
                    silent.push((seen.since, *peer));
                    overlooked += usize::from(is_overlooked);
                }
            }
        }
        self.stop.unanswered.store(unanswered, Ordering::SeqCst);
        self.stop.looks.fetch_add(1, Ordering::SeqCst);
        self.make_room(silent, &mut to_end);
        self.nudge(overlooked);
        to_end.iter().for_each(|peer| self.end(peer));
        to_read_no_more
            .iter()
            .filter_map(|peer| self.socket_of(peer))
            .for_each(|socket| socket.stop_reading());
        let parked = self
            .connections
            .note_look(|peer| self.seen.contains_key(peer));
        // Only now, without the lock of the connections.
        drop(parked);
        overlooked
    }

    /// Ends a connection at once, and the stream that it may have.
    fn end(&self, peer: &SocketAddr) {
        if let Some(socket) = self.socket_of(peer) {
            socket.shut_down();
        }
        if let Some(stream) = self.connections.activity(peer).stream {
            stream.progress.client_has_gone();
        }
    }

    /// When descriptors run out, the newest connections that never sent a request have to go.
    fn make_room(&self, mut silent: Vec<(Instant, SocketAddr)>, to_end: &mut Vec<SocketAddr>) {
        let open = self.descriptors.load(Ordering::Relaxed);
        let most = self.descriptor_limit - self.descriptor_limit / 8;
        let excess = open.saturating_sub(most).div_ceil(2);
        silent.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
        to_end.extend(silent.into_iter().take(excess).map(|(_, peer)| peer));
    }

    /// tiny_http counts a pool thread as waiting for a moment after it was given work. In a burst of connections it
    /// therefore queues some for threads that are not there, until any thread comes free. A connection that closes at
    /// once makes one come free.
    fn nudge(&self, overlooked: usize) {
        if self.stop.is_retired.load(Ordering::SeqCst) {
            return;
        }
        for _ in 0..overlooked.min(MAX_NUDGES) {
            // If it does not connect, the next round tries again.
            drop(TcpStream::connect_timeout(&self.own, NUDGE_TIME));
        }
    }

    fn close(&mut self, order: Order) {
        let Some(socket) = self.socket_of(&order.peer) else {
            let parked = self.connections.forget(&order.peer);
            drop(order);
            drop(parked);
            return;
        };
        socket.stop_sending();
        self.lingering.push(Lingering {
            socket,
            until: Instant::now() + LINGER,
            budget: LINGER_BYTES,
            peer: order.peer,
            _remains: order.remains,
        });
    }

    fn linger(&mut self) {
        let now = Instant::now();
        for mut lingering in std::mem::take(&mut self.lingering) {
            let is_open = lingering.socket.discard(&mut lingering.budget);
            if is_open && now < lingering.until && lingering.budget > 0 {
                self.lingering.push(lingering);
                continue;
            }
            lingering.socket.shut_down();
            let parked = self.connections.forget(&lingering.peer);
            drop(lingering);
            drop(parked);
        }
    }

    /// A duplicate of the connection's descriptor, if it is still that connection's.
    fn socket_of(&self, peer: &SocketAddr) -> Option<Socket> {
        let seen = self.seen.get(peer)?;
        Socket::duplicate(seen.descriptor)
            .ok()
            .filter(|socket| socket.connects(peer, self.own.port()))
    }
}
