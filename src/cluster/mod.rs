#![doc = include_str!("README.md")]

mod address;
mod answers;
#[expect(
    clippy::module_inception,
    reason = "the room and the type that others see have one name"
)]
mod cluster;
mod entry;
mod fault;
mod follower;
mod intake;
mod link;
mod lot;
mod once;
mod outage;
mod position;
mod report;
mod resp;
mod shared;
mod socket;
mod state;
mod stream;
mod system;
mod writer;

pub use address::RedisAddress;
pub use cluster::Cluster;
pub use report::server_name;
