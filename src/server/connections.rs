//! What is known of each connection, by its peer's address: that it has a request under way, which requests came in
//! behind that one, and whether it is to be closed.
//!
//! tiny_http reads a connection's next request while the one before is still being answered, and makes the later
//! answer wait for the earlier, on whatever thread gives it. So that no worker ever waits like that (behind an event
//! stream for ever), a connection has its turn with one request at a time; later ones are parked here.
//! Used by the accept loop, the workers, the stream threads and the guard. Connections of a Unix socket have no
//! address; they are local, and go without.

use super::exchange::Exchange;
use crate::hub::Progress;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Requests that may wait behind one: more is no client that we know of.
const MAX_PARKED: usize = 16;

/// An event stream, as those see it who look at its connection.
#[derive(Clone)]
pub struct LiveStream {
    /// What it shares with the hub.
    pub progress: Arc<Progress>,
    /// Its body is sent in chunks.
    pub is_chunked: bool,
}

#[derive(Default)]
struct Record {
    /// A request has its turn.
    is_busy: bool,
    /// The turn is an event stream's.
    stream: Option<LiveStream>,
    parked: VecDeque<Exchange>,
    /// Requests that came in, for the guard to see that there was one.
    requests: u64,
    is_condemned: bool,
    /// The answer under way has to be out by then.
    answer_due: Option<Instant>,
    /// Looks in a row that did not find the connection's socket.
    absent: u8,
}

/// Looks without a socket after which a connection is gone. One is not enough: a connection may be younger than the
/// look.
const ABSENT_LOOKS: u8 = 2;

/// What the guard sees of a connection.
#[derive(Clone, Default)]
pub struct Activity {
    /// Requests that came in so far.
    pub requests: u64,
    /// One of them is being handled.
    pub is_busy: bool,
    /// It became an event stream.
    pub stream: Option<LiveStream>,
    parked: usize,
    answer_due: Option<Instant>,
}

impl Activity {
    /// Whether the client takes its answer too slowly: a thread of the pool waits for it.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.answer_due.is_some_and(|due| now > due)
    }

    /// Whether its client has not sent a request yet, or has no answer to it.
    pub fn waits_for_answer(&self) -> bool {
        self.requests == 0 || (self.is_busy && self.stream.is_none())
    }

    /// Whether more requests wait on a connection than any client of ours sends.
    pub fn is_overfull(&self) -> bool {
        self.parked > MAX_PARKED
    }
}

/// See the module's comment.
#[derive(Default)]
pub struct Connections {
    /// Held for a few lines at a time.
    records: Mutex<HashMap<SocketAddr, Record>>,
}

impl Connections {
    /// Takes a request in: gives it back if it has its turn now. Otherwise it is parked.
    pub fn admit(&self, exchange: Exchange) -> Option<Exchange> {
        let Some(peer) = exchange.peer() else {
            return Some(exchange);
        };
        let mut records = self.lock();
        let record = records.entry(peer).or_default();
        record.requests += 1;
        if !record.is_busy && !record.is_condemned {
            record.is_busy = true;
            return Some(exchange);
        }
        if let Some(LiveStream { progress, .. }) = &record.stream {
            // Either a pipeline, or a new connection with the address of one that was reset: the stream finds out.
            progress.probe();
        }
        record.is_condemned |= record.parked.len() >= MAX_PARKED;
        record.parked.push_back(exchange);
        None
    }

    /// Notes that the request that has its turn became an event stream.
    pub fn became_stream(&self, peer: SocketAddr, stream: LiveStream) {
        if let Some(record) = self.lock().get_mut(&peer) {
            record.stream = Some(stream);
        }
    }

    /// Notes that the connection has to be closed once the answer under way is out: nothing that comes behind it is
    /// answered.
    pub fn condemn(&self, peer: SocketAddr) {
        self.lock().entry(peer).or_default().is_condemned = true;
    }

    /// Notes when the answer under way has to be out.
    pub fn answer_is_due(&self, peer: SocketAddr, due: Instant) {
        if let Some(record) = self.lock().get_mut(&peer) {
            record.answer_due = Some(due);
        }
    }

    /// Ends a turn. `client_has_gone` says that a stream's client has closed its connection: then what is parked behind
    /// it may come from the next connection with the same address, and has its turn.
    pub fn end_turn(&self, peer: SocketAddr, client_has_gone: bool) -> Afterwards {
        let mut records = self.lock();
        let Entry::Occupied(mut entry) = records.entry(peer) else {
            return Afterwards::Nothing;
        };
        let record = entry.get_mut();
        // A stream was told to be the connection's last answer.
        record.is_condemned |= record.stream.take().is_some() && !client_has_gone;
        record.is_busy = false;
        record.answer_due = None;
        if record.is_condemned {
            return Afterwards::Close(std::mem::take(&mut record.parked));
        }
        match record.parked.pop_front() {
            Some(next) => {
                record.is_busy = true;
                Afterwards::Next(next)
            }
            None => {
                if client_has_gone {
                    entry.remove();
                }
                Afterwards::Nothing
            }
        }
    }

    /// Forgets a connection that the guard has closed: its address is free for another one. Gives out what was parked
    /// behind it, to be dropped without this lock and after the writer that was held back: it may wait for that.
    #[must_use]
    pub fn forget(&self, peer: &SocketAddr) -> VecDeque<Exchange> {
        let mut records = self.lock();
        match records.entry(*peer) {
            Entry::Occupied(entry) if !entry.get().is_busy => entry.remove().parked,
            _ => VecDeque::new(),
        }
    }

    /// What is known of a connection.
    pub fn activity(&self, peer: &SocketAddr) -> Activity {
        self.lock()
            .get(peer)
            .map_or_else(Activity::default, |r| Activity {
                requests: r.requests,
                is_busy: r.is_busy,
                stream: r.stream.clone(),
                parked: r.parked.len(),
                answer_due: r.answer_due,
            })
    }

    /// Takes note of a look at all sockets: forgets connections that are no longer there, tells their streams, and gives
    /// out what was parked behind them. (A connection that was reset has no peer's address any more.)
    pub fn note_look(&self, is_there: impl Fn(&SocketAddr) -> bool) -> Vec<Exchange> {
        let mut parked = Vec::new();
        self.lock().retain(|peer, record| {
            record.absent = if is_there(peer) {
                0
            } else {
                record.absent.saturating_add(1)
            };
            if record.absent < ABSENT_LOOKS {
                return true;
            }
            if let Some(LiveStream { progress, .. }) = &record.stream {
                progress.client_has_gone();
            }
            if !record.is_busy {
                parked.extend(record.parked.drain(..));
            }
            record.is_busy
        });
        parked
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes after a turn.
pub enum Afterwards {
    /// Nothing.
    Nothing,
    /// The next request of the connection has its turn.
    Next(Exchange),
    /// The connection has to be closed; what was parked behind it may be dropped after that.
    Close(VecDeque<Exchange>),
}
