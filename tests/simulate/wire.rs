//! A simulated connection: the bytes that are on their way to a client.

use crate::event::{heartbeat_frame, Form, Frame};
use crate::hub::DirectWriter;
use crate::random::Random;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub struct Wire(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    /// It takes no more than this before the client has read.
    room: usize,
    /// How much of a write it takes is its own choice.
    random: Random,
    read: u64,
    is_cut: bool,
    direct: [usize; 2],
}

impl Wire {
    pub fn new(room: usize, random: Random) -> Arc<Wire> {
        Arc::new(Wire(Mutex::new(State {
            bytes: Vec::new(),
            room,
            random,
            read: 0,
            is_cut: false,
            direct: [0; 2],
        })))
    }

    /// Takes some of the bytes, and returns how many; `None` if it is cut.
    pub fn write(&self, bytes: &[u8]) -> Option<usize> {
        let mut state = self.state();
        (!state.is_cut).then(|| state.take(bytes))
    }

    /// Up to `most` bytes for the client.
    pub fn read(&self, most: usize) -> Vec<u8> {
        let mut state = self.state();
        let count = most.min(state.bytes.len());
        state.read += count as u64;
        state.bytes.drain(..count).collect()
    }

    /// What was written beside the stream's thread: whole frames, and parts.
    pub fn direct(&self) -> [usize; 2] {
        self.state().direct
    }

    pub fn set_room(&self, room: usize) {
        self.state().room = room;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut count = self.room.saturating_sub(self.bytes.len()).min(bytes.len());
        if self.random.once_in(4) {
            count = self.random.below(count + 1);
        }
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }
}

impl DirectWriter for Arc<Wire> {
    fn try_write(&self, frame: &Frame) -> (usize, bool) {
        let bytes = frame.bytes(true);
        let mut state = self.state();
        if state.is_cut {
            return (0, false);
        }
        let count = state.take(bytes);
        let is_whole = count == bytes.len();
        state.direct[usize::from(!is_whole)] += usize::from(count > 0);
        (count, is_whole)
    }

    fn heartbeat(&self) -> Option<&'static Frame> {
        heartbeat_frame(Form::Plain, false)
    }

    fn confirmed(&self) -> u64 {
        self.state().read
    }

    fn cut(&self) {
        self.state().is_cut = true;
    }
}
