//! The tests, one program: a module for each subject, and what they share in `common`.
//!
//! `cargo test --release MODULE::` runs one module. The modules behind a feature take minutes, or test what is shipped;
//! `make test-hostile` and `make test-ship` run them.

// A part of it is for tests behind a feature.
#[cfg_attr(
    not(all(feature = "hostile-tests", feature = "ship-tests", feature = "redis")),
    allow(dead_code, unused_imports)
)]
mod common;

mod access;
mod access_chapter;
mod access_jwt;
mod access_reload;
mod alone;
mod backlog;
mod batch;
mod browser;
mod channel_limit;
mod client;
mod clients;
mod clocks;
mod commands;
mod configuration;
mod cors;
mod curl;
#[cfg(feature = "disk")]
mod disk;
#[cfg(all(feature = "disk", target_os = "linux"))]
mod disk_calls;
#[cfg(feature = "disk")]
mod disk_faults;
#[cfg(all(feature = "disk", target_os = "linux"))]
mod disk_mounts;
mod documents;
mod door;
mod errors_and_limits;
mod expiry;
mod guide;
#[cfg(feature = "hostile-tests")]
mod hostile_bytes;
#[cfg(feature = "hostile-tests")]
mod hostile_clients;
#[cfg(feature = "hostile-tests")]
mod hostile_deadlines;
#[cfg(feature = "hostile-tests")]
mod hostile_machine;
mod idempotency;
mod line;
mod log;
mod log_sink;
mod messages;
mod metrics;
mod openapi;
mod page;
mod patterns;
mod paused;
mod pipelines;
#[cfg(feature = "redis")]
mod polling;
#[cfg(feature = "ship-tests")]
mod proxies;
#[cfg(feature = "ship-tests")]
mod proxies_smuggling;
mod proxy;
mod publish_subscribe;
mod reading;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_faults;
#[cfg(feature = "redis")]
mod redis_idempotency;
#[cfg(feature = "redis")]
mod redis_lost;
#[cfg(feature = "redis")]
mod redis_proxies;
#[cfg(feature = "redis")]
mod redis_replaced;
mod replay;
mod scripts;
mod shutdown;
mod socket_activation;
mod starts;
mod statistics;
#[cfg(feature = "ship-tests")]
mod units;
mod vital;
mod welcome;
mod words;
#[cfg(feature = "ship-tests")]
mod workflow;
