//! What workers, streams and `main` tell the door, and the socket that wakes it for that.

use super::head::Parts;
use crate::hub::Progress;
use crate::locks::lock;
use crossbeam_channel::Sender;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Identifies a connection. Never reused.
pub type Key = u64;

/// A note to the door.
#[derive(Debug)]
pub enum Note {
    /// An answer that the door awaited is out, or its next piece can be sent.
    Answered(Key),
    /// The client has not taken all of its answer; whether that is its last one.
    Unsent(Key, bool),
    /// The route wants the request's body, of at most this size.
    ReadBody(Key, usize, Box<Parts>),
    /// It became an event stream, which has to learn when its client has gone; whether that answers once.
    Streams(Key, Arc<Progress>, bool),
    /// The stream has written all that it had.
    Ended(Key),
    /// The server stops. The sender is dropped when all but the streams have their answers.
    Stop(Sender<Infallible>),
    /// The last streams have ended: no more connections are accepted, and what is there has until this moment.
    Finish(Instant),
}

/// Notes in their order. Shared by the door and everybody who tells it something.
#[derive(Debug)]
pub struct Mailbox {
    /// Held for a line.
    notes: Mutex<Vec<Note>>,
    /// The door waits for sockets, and has to be woken for a note.
    is_asleep: AtomicBool,
    bell: UnixStream,
}

impl Mailbox {
    /// A mailbox, and the socket that becomes readable when there is a note for a sleeping door.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<(Arc<Mailbox>, UnixStream)> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let mailbox = Mailbox {
            notes: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            bell,
        };
        Ok((Arc::new(mailbox), ear))
    }

    /// Leaves a note.
    pub fn leave(&self, note: Note) {
        lock(&self.notes).push(note);
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // If the socket is full, the door is about to wake.
            let _ = (&self.bell).write(&[0]);
        }
    }

    /// Announces that the door is about to wait. Returns whether it may: no note is there.
    pub fn may_sleep(&self) -> bool {
        // In this order, whoever leaves a note after the check sees that the door sleeps.
        self.is_asleep.store(true, Ordering::SeqCst);
        self.is_empty()
    }

    /// Whether there is no note.
    pub fn is_empty(&self) -> bool {
        lock(&self.notes).is_empty()
    }

    /// Takes all notes, after a wait.
    pub fn take(&self, mut ear: &UnixStream) -> Vec<Note> {
        if !self.is_asleep.swap(false, Ordering::SeqCst) {
            // Nothing is there if a wake-up crossed the end of the wait.
            let _ = ear.read(&mut [0; 16]);
        }
        std::mem::take(&mut *lock(&self.notes))
    }
}
