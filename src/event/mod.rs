#![doc = include_str!("README.md")]

mod form;
mod frame;
mod id;
mod lines;
mod message;
mod names;
mod sse;
mod text;
mod topic;

pub use form::{encode, encode_expired, encode_gap, heartbeat, heartbeat_frame, Form};
pub use frame::Frame;
pub use id::EventId;
pub use message::{Event, Kind};
pub use names::{ChannelName, EventName};
pub use topic::{split, Prefix, Topic};
