//! Virtual time, in the place of `src/hub/time.rs`. Each run has its own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// What the wall clock shows when a run begins, in ms since the Unix epoch.
const WALL_AT_START_MS: i64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct Clock {
    running_ms: AtomicU64,
    /// How far the wall clock was set ahead or back since the run began.
    offset_ms: AtomicI64,
}

thread_local! {
    static CLOCK: RefCell<Arc<Clock>> = RefCell::default();
}

/// The clock of this thread's run.
pub fn clock() -> Arc<Clock> {
    CLOCK.with_borrow(Clone::clone)
}

/// This thread takes part in the run with this clock.
pub fn set_clock(clock: Arc<Clock>) {
    CLOCK.set(clock);
}

/// Begins a run.
pub fn reset() {
    CLOCK.take();
}

fn passed_ms() -> u64 {
    CLOCK.with_borrow(|clock| clock.running_ms.load(Ordering::Relaxed))
}

/// Lets time pass.
pub fn pass(ms: u64) {
    CLOCK.with_borrow(|clock| clock.running_ms.fetch_add(ms, Ordering::Relaxed));
}

/// Sets the wall clock ahead, or back.
pub fn step_wall(ms: i64) {
    CLOCK.with_borrow(|clock| clock.offset_ms.fetch_add(ms, Ordering::Relaxed));
}

/// How far the wall clock was set ahead or back since the run began, in ms.
pub fn wall_offset_ms() -> i64 {
    CLOCK.with_borrow(|clock| clock.offset_ms.load(Ordering::Relaxed))
}

/// Wall time in ms since the Unix epoch.
pub fn wall_ms() -> u64 {
    (WALL_AT_START_MS + wall_offset_ms()).max(0) as u64 + passed_ms()
}

pub fn now() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now) + Duration::from_millis(passed_ms())
}

pub(super) fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms())
}

/// Running time in ms, at least 1.
pub fn running_ms() -> u64 {
    passed_ms() + 1
}

/// The running time of a moment, in ms as `running_ms` counts it.
pub fn ms_of(moment: Instant) -> u64 {
    let left = moment.saturating_duration_since(now());
    running_ms() + left.as_micros().div_ceil(1000) as u64
}
