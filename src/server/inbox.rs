//! Bytes that have arrived on a connection and belong to no request yet.

use super::connection::Connection;
use crate::host::Readiness;
use std::cell::RefCell;
use std::io;

/// Bytes read at once: enough for a head with a message of the usual largest size.
const READ_BYTES: usize = 80 << 10;

thread_local! {
    /// A buffer of the door's: everything is read through it, so that an idle connection needs no memory for that.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(READ_BYTES));
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Bytes, or the end of what the client sends.
    News,
    /// Nothing now. An event will report more.
    Nothing,
    /// The connection is broken.
    Broken,
}

/// The bytes, and whether more may come.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// There may be more to read.
    is_readable: bool,
    /// An event reported that the client sends nothing more. Something may be left to read.
    end_was_told: bool,
    /// Nothing is left to read.
    has_ended: bool,
}

impl Inbox {
    /// For a new connection: most have sent their request by now.
    pub fn new() -> Inbox {
        Inbox {
            bytes: Vec::new(),
            is_readable: true,
            end_was_told: false,
            has_ended: false,
        }
    }

    /// Records a change of the socket.
    pub fn note(&mut self, event: &Readiness) {
        self.is_readable |= event.is_readable;
        self.end_was_told |= event.is_ended;
    }

    /// Makes the next read ask the system, whatever events have reported.
    pub fn look_again(&mut self) {
        self.is_readable = true;
    }

    /// Reads without blocking.
    pub fn read(&mut self, connection: &Connection) -> Arrival {
        if !self.is_readable {
            return Arrival::Nothing;
        }
        BUFFER.with_borrow_mut(|buffer| match connection.read(buffer) {
            Ok(()) if buffer.is_empty() => {
                self.has_ended = true;
                self.is_readable = false;
                Arrival::News
            }
            Ok(()) => {
                self.bytes.extend_from_slice(buffer);
                // That was everything, unless the end is there as well: an event reports what comes later.
                self.is_readable = buffer.len() == buffer.capacity() || self.end_was_told;
                Arrival::News
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                Arrival::Nothing
            }
            Err(_) => Arrival::Broken,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Their memory, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.capacity()
    }

    /// Drops the first `count` bytes, and frees the memory with the last of them.
    pub fn discard(&mut self, count: usize) {
        self.bytes.drain(..count);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Drops all bytes, and returns their number.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.bytes).len()
    }

    /// Whether the client has sent its last byte, and it was read.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether something more than the current request is here or may be read, even if only the end.
    pub fn has_more(&self) -> bool {
        !self.bytes.is_empty() || self.is_readable || self.has_ended
    }
}
