//! The primitives that decide who sleeps and who wakes whom, from the standard library. `tests/loom` replaces them with
//! loom's, `tests/simulate` with its own.

pub(super) use std::sync::atomic::{fence, AtomicU8, Ordering};
pub(super) use std::thread::{current, park, Thread};
