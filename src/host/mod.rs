#![doc = include_str!("README.md")]

mod poll;
mod process;
mod socket;

pub use poll::{Event, Interest, Poll};
pub use process::{
    block_signals, cpu_time, descriptor_limit, give_memory_back, inherited_socket,
    open_descriptors, page_size, raise_descriptor_limit, random_bytes, wait_for_signal, Signal,
};
pub use socket::{receive, send, unconfirmed};
