//! `sse-server`: publish with curl, receive with `EventSource`.
//!
//! The rooms, and who calls whom (always downwards):
//!
//! - `main` configures, starts and stops.
//! - [`server`]: door, accept loop, pool, streams. The only place that knows tiny_http and sockets.
//! - [`routes`]: one file per endpoint: parse, ask [`access`], call the hub, answer.
//! - [`hub`]: channels, history, announcer, subscribers, janitor. Knows no HTTP.
//! - [`cluster`]: several servers as one: a Redis stream between them. Between routes and hub, where it is used.
//! - [`event`]: ids, names, events and their encoding.
//!
//! Beside them, used by several: [`config`], [`access`], [`counters`], [`http`], the values that travel, [`log`](mod@log), and [`host`], which
//! has all unsafe code.

pub mod access;
#[cfg_attr(not(feature = "redis"), path = "cluster/off.rs")]
pub mod cluster;
pub mod config;
pub mod counters;
pub mod event;
pub mod host;
pub mod http;
pub mod hub;
pub mod log;
pub mod routes;
pub mod server;
