//! Tests that need the whole machine: they measure time, processor time or memory, or bring a crowd that would delay
//! other tests. A test in here runs while no other test does (`common::turn`).

mod answers;
mod crowds;
#[cfg(feature = "disk")]
mod disk_rates;
mod memory;
mod rate;
#[cfg(feature = "redis")]
mod redis_rates;
mod slow_clients;
#[cfg(feature = "hostile-tests")]
mod soak;
#[cfg(feature = "ship-tests")]
mod static_binary;
mod storm;
#[cfg(all(feature = "hostile-tests", feature = "redis"))]
mod torture;
mod viewers;
