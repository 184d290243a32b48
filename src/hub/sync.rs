//! What decides who sleeps and who wakes whom, from the standard library. The model of `handoff` in `tests/loom` puts loom's own
//! in the place of these, and the simulation in `tests/simulate` its own.

pub(super) use std::sync::atomic::{fence, AtomicU8, Ordering};
pub(super) use std::thread::{current, park, Thread};
