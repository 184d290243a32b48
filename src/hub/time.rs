//! The two clocks, as the hub reads them. `tests/simulate` replaces them with its own.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// Running time, which never steps.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Wall time, which may be set at any moment.
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Running time in ms, at least 1.
pub(super) fn running_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}
