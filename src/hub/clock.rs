//! The two clocks that the hub goes by: running time, which never steps, and the wall clock, which may.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// Running time in ms, at least 1.
pub(super) fn running_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// The wall clock in ms since the Unix epoch; a clock before 1970 counts as 1970.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as u64)
}
