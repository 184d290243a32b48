//! What every connection can rely on, over IPv4, IPv6 and a Unix socket alike: each request is exactly one request to
//! the server, everybody gets an answer, and nobody is disturbed by others.

mod addresses;
mod bodies;
mod bytes;
pub mod crowds;
mod cuts;
mod limits;
pub mod smuggling;
mod stop;
mod streams;
pub mod table;
