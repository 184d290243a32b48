#![doc = include_str!("README.md")]

pub mod access;
#[cfg_attr(not(feature = "redis"), path = "cluster/off.rs")]
pub mod cluster;
pub mod config;
pub mod cors;
pub mod event;
pub mod host;
pub mod hub;
pub mod journal;
pub mod logged;
pub mod memory;
pub mod problem;
pub mod proxies;
pub mod query;
pub mod reply;
pub mod request;
pub mod routes;
pub mod server;
pub mod service;
pub mod statistics;
pub mod stats;
