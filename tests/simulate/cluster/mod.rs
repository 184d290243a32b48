//! The cluster's own files, in virtual time and on a simulated network: `system` and `socket` stand in the place of those of
//! `src/cluster`.

#[path = "../../../src/cluster/address.rs"]
mod address;
#[path = "../../../src/cluster/answers.rs"]
mod answers;
#[expect(
    clippy::module_inception,
    reason = "the room and the type that others see have one name"
)]
#[path = "../../../src/cluster/cluster.rs"]
mod cluster;
#[path = "../../../src/cluster/entry.rs"]
mod entry;
#[path = "../../../src/cluster/fault.rs"]
mod fault;
#[path = "../../../src/cluster/follower.rs"]
mod follower;
#[path = "../../../src/cluster/intake.rs"]
mod intake;
#[path = "../../../src/cluster/link.rs"]
mod link;
#[path = "../../../src/cluster/lot.rs"]
mod lot;
#[path = "../../../src/cluster/once.rs"]
mod once;
#[path = "../../../src/cluster/outage.rs"]
mod outage;
#[path = "../../../src/cluster/position.rs"]
mod position;
#[path = "../../../src/cluster/report.rs"]
mod report;
#[path = "../../../src/cluster/resp.rs"]
mod resp;
#[path = "../../../src/cluster/shared.rs"]
mod shared;
#[path = "../../../src/cluster/state.rs"]
mod state;
#[path = "../../../src/cluster/stream.rs"]
mod stream;
#[path = "../../../src/cluster/writer.rs"]
mod writer;

mod socket;
mod system;

pub use address::RedisAddress;
pub use cluster::Cluster;
