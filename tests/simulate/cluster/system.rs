//! Virtual time, and tasks that take turns, in the place of `src/cluster/system.rs`.

use crate::hub::time;
use crate::turn;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use std::io;
use std::sync::{MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// A lock before which others may come in between.
#[derive(Debug, Default)]
pub(super) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    turn::offer();
    loop {
        match mutex.0.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(error)) => return error.into_inner(),
            Err(TryLockError::WouldBlock) => turn::wait(0, || true),
        }
    }
}

pub(super) fn now() -> Instant {
    time::now()
}

pub(super) fn jitter() -> u32 {
    turn::with_random(|random| random.below(1000) as u32)
}

pub(super) fn pause(time: Duration) {
    turn::wait(time::ms_of(now() + time), || false);
}

pub(super) fn receive<T: Send + 'static>(
    from: &Receiver<T>,
    bound: Duration,
) -> Result<T, RecvTimeoutError> {
    let end = now() + bound;
    loop {
        turn::offer();
        match from.try_recv() {
            Ok(value) => return Ok(value),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if now() >= end => return Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Empty) => {
                let from = from.clone();
                turn::wait(time::ms_of(end), move || !from.is_empty());
            }
        }
    }
}

pub(super) fn spawn(_: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    turn::start_later(run);
    Ok(())
}
