//! The two clocks, as everything in the hub reads them. The simulation in `tests/simulate` puts its own in the place of
//! these.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// Running time, which never steps.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Wall time; the clock may be set at any moment.
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Running time in ms, at least 1.
pub(super) fn running_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}
