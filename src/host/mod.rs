//! What the system gives: signals, limits, memory, readiness of sockets. All unsafe code of the crate is in this room.
//! Each call names its manual page and the test that shows that it is needed, and none touches a descriptor or memory
//! that belongs to somebody else.

pub mod memory;
mod poll;
mod process;
pub mod service;
mod socket;

pub use poll::{Event, Interest, Poll};
pub use process::{
    block_signals, cpu_time, descriptor_limit, open_descriptors, page_size, raise_descriptor_limit,
    random_bytes, wait_for_signal, Signal,
};
pub use socket::{receive, send, unconfirmed};
