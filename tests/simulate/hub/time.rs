//! Virtual time, in the place of `src/hub/time.rs`. Each thread has its own.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// What the wall clock shows when a run begins, in ms since the Unix epoch.
const WALL_AT_START_MS: i64 = 1_000_000_000;

thread_local! {
    static RUNNING_MS: Cell<u64> = const { Cell::new(0) };
    /// How far the wall clock was set ahead or back since the run began.
    static OFFSET_MS: Cell<i64> = const { Cell::new(0) };
}

/// Begins a run.
pub fn reset() {
    RUNNING_MS.set(0);
    OFFSET_MS.set(0);
}

/// Lets time pass.
pub fn pass(ms: u64) {
    RUNNING_MS.set(RUNNING_MS.get() + ms);
}

/// Sets the wall clock ahead, or back.
pub fn step_wall(ms: i64) {
    OFFSET_MS.set(OFFSET_MS.get() + ms);
}

/// How far the wall clock was set ahead or back since the run began, in ms.
pub fn wall_offset_ms() -> i64 {
    OFFSET_MS.get()
}

/// Wall time in ms since the Unix epoch.
pub fn wall_ms() -> u64 {
    (WALL_AT_START_MS + OFFSET_MS.get()).max(0) as u64 + RUNNING_MS.get()
}

pub fn now() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now) + Duration::from_millis(RUNNING_MS.get())
}

pub(super) fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms())
}

/// Running time in ms, at least 1.
pub fn running_ms() -> u64 {
    RUNNING_MS.get() + 1
}
