//! HTTP as values: requests, answers and their parts. Nothing here knows sockets, threads or the hub.

pub mod cors;
pub mod problem;
pub mod proxies;
pub mod query;
pub mod reply;
pub mod request;
pub mod rest;
pub mod status;
