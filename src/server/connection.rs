//! One client's connection, for everybody who may write to it: the door, a worker that answers, the thread of a stream.
//! Made by the door, which closes it.

use super::mailbox::{Key, Mailbox, Note};
use crate::event::Frame;
use crate::host;
use crate::http::rest::Rest;
use crate::hub::DirectWriter;
use crate::locks::lock;
use socket2::Socket;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// Whose turn it is: the door's. It reads the next request.
const FREE: u8 = 0;
/// Somebody answers.
const TAKEN: u8 = 1;
/// Somebody answers, and has to tell the door when that is done.
const AWAITED: u8 = 2;
/// The last answer is out.
const LAST: u8 = 3;

/// The state of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The door may go on.
    Free,
    /// Somebody answers.
    Taken,
    /// The last answer is out: the connection has to be closed.
    Last,
}

/// What is left of an answer.
#[derive(Debug, Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// What comes behind them.
    rest: Option<Rest>,
}

/// A client's socket. It is closed when its last holder drops it.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    key: Key,
    /// The peer's address; `None` for a Unix socket.
    peer: Option<SocketAddr>,
    turn: AtomicU8,
    /// What the client has not taken of an answer. The door sends it.
    unsent: Mutex<Unsent>,
    /// Bytes that the system has taken from us.
    written: AtomicU64,
    mailbox: Arc<Mailbox>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(
        socket: Socket,
        key: Key,
        peer: Option<SocketAddr>,
        mailbox: Arc<Mailbox>,
    ) -> Connection {
        Connection {
            socket,
            key,
            peer,
            turn: AtomicU8::new(FREE),
            unsent: Mutex::default(),
            written: AtomicU64::new(0),
            mailbox,
        }
    }

    /// The socket, for a poll.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The peer's address; `None` for a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Gives the turn to whoever will answer. If it is awaited, the door gets a note when that is done.
    pub fn take_turn(&self, is_awaited: bool) {
        let turn = if is_awaited { AWAITED } else { TAKEN };
        self.turn.store(turn, Ordering::SeqCst);
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        match self.turn.load(Ordering::SeqCst) {
            FREE => Turn::Free,
            LAST => Turn::Last,
            _ => Turn::Taken,
        }
    }

    /// Whose turn it is; if somebody answers, the door gets a note when that is done.
    pub fn await_turn(&self) -> Turn {
        // If it is not taken, it has just been given back, or is awaited already.
        let _ = self
            .turn
            .compare_exchange(TAKEN, AWAITED, Ordering::SeqCst, Ordering::SeqCst);
        self.turn()
    }

    /// Ends the turn of whoever answered.
    fn give_turn_back(&self, is_last: bool) {
        let next = if is_last { LAST } else { FREE };
        if self.turn.swap(next, Ordering::SeqCst) == AWAITED {
            self.tell(Note::Answered(self.key));
        }
    }

    /// Leaves a note about this connection to the door.
    pub fn tell(&self, note: Note) {
        self.mailbox.leave(note);
    }

    /// Its name.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Reads what has arrived into the buffer, without blocking.
    ///
    /// # Errors
    /// As `host::receive`.
    pub fn read(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        host::receive(&self.socket, buffer)
    }

    /// Writes what the client takes without blocking, and returns the number of bytes.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match host::send(&self.socket, &bytes[done..]) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.written.fetch_add(done as u64, Ordering::Relaxed);
        Ok(done)
    }

    /// Writes everything, as long as the client takes some of it within the write timeout. For a thread of its own.
    ///
    /// # Errors
    /// If the client is gone, or takes nothing within that time.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.socket).write_all(bytes)?;
        self.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Answers a request, and gives the turn back. The door sends what the client does not take at once, and the rest.
    pub fn answer(&self, mut bytes: Vec<u8>, rest: Option<Rest>, is_last: bool) {
        match self.write_now(&bytes) {
            Ok(count) if count == bytes.len() && rest.is_none() => {
                if is_last {
                    self.stop_sending();
                }
                self.give_turn_back(is_last);
            }
            Ok(count) => {
                bytes.drain(..count);
                *lock(&self.unsent) = Unsent { bytes, rest };
                self.tell(Note::Unsent(self.key, is_last));
            }
            Err(error) => {
                log::debug!("event=answer_failed error={:?}", error.to_string());
                self.cut();
                self.give_turn_back(true);
            }
        }
    }

    /// Sends more of an answer that the client did not take at once. Returns whether that was all.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn send_unsent(&self) -> io::Result<bool> {
        let mut unsent = lock(&self.unsent);
        let count = self.write_now(&unsent.bytes)?;
        unsent.bytes.drain(..count);
        if !unsent.bytes.is_empty() {
            return Ok(false);
        }
        let next = unsent.rest.as_mut().and_then(Iterator::next);
        let is_all = next.is_none();
        unsent.bytes = next.unwrap_or_default();
        if !is_all {
            // The door goes on with it after the others, however fast this client reads.
            self.tell(Note::Answered(self.key));
        }
        Ok(is_all)
    }

    /// Bytes that are held of an answer that the client has not taken.
    pub fn unsent_bytes(&self) -> usize {
        lock(&self.unsent).bytes.len()
    }

    /// What the client has not taken of an answer, with what is still to be made and what the system holds for it.
    pub fn untaken_bytes(&self) -> u64 {
        let unsent = lock(&self.unsent);
        let rest = unsent.rest.as_ref().map_or(0, Rest::size);
        (unsent.bytes.len() + rest) as u64 + host::unconfirmed(&self.socket)
    }

    /// Tells the client that nothing more will come.
    pub fn stop_sending(&self) {
        // It may have ended by itself.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends the connection in both directions. A blocked write is woken.
    pub fn cut(&self) {
        // It may have ended by itself.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// How the announcer writes to the client of a stream.
#[derive(Debug)]
pub struct StreamSocket {
    /// The stream's connection.
    pub connection: Arc<Connection>,
    /// Whether the body is sent in chunks.
    pub is_chunked: bool,
    /// What keeps it alive, if its form has something.
    pub heartbeat: Option<&'static Frame>,
}

impl DirectWriter for StreamSocket {
    fn try_write(&self, frame: &Frame) -> (usize, bool) {
        let bytes = frame.bytes(self.is_chunked);
        // The stream's thread meets the error as well, and ends.
        let written = self.connection.write_now(bytes).unwrap_or(0);
        (written, written == bytes.len())
    }

    fn heartbeat(&self) -> Option<&'static Frame> {
        self.heartbeat
    }

    fn confirmed(&self) -> u64 {
        let written = self.connection.written.load(Ordering::Relaxed);
        written.saturating_sub(host::unconfirmed(&self.connection.socket))
    }

    fn cut(&self) {
        self.connection.cut();
    }
}
