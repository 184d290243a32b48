//! What every connection may rely on, over IPv4, IPv6 and a Unix socket alike: one request in front is one request behind,
//! nobody meets silence, and nobody is disturbed by what others do.

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
