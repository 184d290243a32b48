//! Time, waiting, threads and mutexes, as the cluster uses them. `tests/simulate` replaces them, and `socket`, with its
//! own.

use crate::host;
pub(super) use crate::locks::lock;
use crate::moments::since_1970;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::io;
pub(super) use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// Running time, which never steps.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A number below 1000 that differs from server to server.
pub(super) fn jitter() -> u32 {
    // The clock's last digits are random enough.
    since_1970(SystemTime::now()).subsec_micros() % 1000
}

/// Waits for this long, or less.
pub(super) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// Waits for the next item, at most for `bound`.
pub(super) fn receive<T>(from: &Receiver<T>, bound: Duration) -> Result<T, RecvTimeoutError> {
    from.recv_timeout(bound)
}

/// Starts a thread.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    host::start(name, run).map(drop)
}
