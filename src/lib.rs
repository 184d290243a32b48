#![doc = include_str!("README.md")]

pub mod access;
#[cfg_attr(not(feature = "redis"), path = "cluster/off.rs")]
pub mod cluster;
pub mod commands;
pub mod config;
pub mod counters;
#[cfg_attr(not(feature = "disk"), path = "disk/off.rs")]
pub mod disk;
pub mod event;
pub mod host;
pub mod http;
pub mod hub;
pub mod idempotency;
pub mod locks;
pub mod log;
pub mod moments;
pub mod numbers;
pub mod routes;
pub mod server;
pub mod waiting;
