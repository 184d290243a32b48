//! What `handoff` takes from the standard library. Its model in `tests/loom` puts loom's own in the place of these.

pub(super) use std::sync::atomic::{fence, AtomicU8, Ordering};
pub(super) use std::thread::{current, park, Thread};
