#![doc = include_str!("README.md")]

pub mod memory;
mod poll;
mod process;
pub mod service;
mod socket;
mod thread;

pub use poll::{is_readable, Interest, Poll, Readiness};
pub use process::{
    block_signals, cpu_time, descriptor_limit, has_memory, lock_file, may_write, open_descriptors,
    raise_descriptor_limit, random_bytes, spare_address_space, wait_for_signal, Signal,
};
pub use socket::{receive, send, unconfirmed};
pub use thread::{prepare_for_many, spawn, spawned_name, start};
