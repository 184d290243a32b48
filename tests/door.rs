//! What every connection may rely on, over IPv4, IPv6 and a Unix socket alike: one request in front is one request behind,
//! nobody meets silence, and nobody is disturbed by what others do.

mod common;

#[path = "door/addresses.rs"]
mod addresses;
#[path = "door/bodies.rs"]
mod bodies;
#[path = "door/bytes.rs"]
mod bytes;
#[path = "door/crowds.rs"]
mod crowds;
#[path = "door/cuts.rs"]
mod cuts;
#[path = "door/smuggling.rs"]
mod smuggling;
#[path = "door/streams.rs"]
mod streams;
#[path = "door/table.rs"]
mod table;
