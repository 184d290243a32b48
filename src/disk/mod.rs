#![doc = include_str!("README.md")]

mod check;
mod contents;
#[expect(
    clippy::module_inception,
    reason = "the room and the type that others see have one name"
)]
mod disk;
mod draft;
mod fault;
mod folder;
mod found;
mod journal;
mod lot;
mod overlay;
#[cfg(test)]
mod power;
mod public;
mod record;
mod settings;
mod state;
mod store;
mod writer;

pub use check::{check, outlook};
pub use disk::Disk;
pub use public::{DiskFigures, OpenError};
pub use settings::{DataDir, SyncTime};
