#![doc = include_str!("README.md")]

mod announcer;
mod arrivals;
mod audience;
mod batch;
mod channels;
mod clock;
mod endings;
mod feed;
mod former;
mod handoff;
mod history;
#[expect(
    clippy::module_inception,
    reason = "the room and the type that others see have one name"
)]
mod hub;
mod ids;
mod janitor;
mod keep;
mod limits;
mod pace;
mod patterns;
mod pending;
mod places;
mod progress;
mod readers;
mod retained;
mod round;
mod shared;
mod start;
mod subscriber;
mod subscription;
mod sync;
mod table;
mod time;
mod topics;
mod unsaved;

pub use arrivals::{IdClaim, LastId};
pub use batch::{Batch, Queued};
pub use feed::Feed;
pub use history::Replay;
pub use hub::{Attempted, Hub, HubStats, Turns};
pub use keep::{Changes, ChannelRecord, Kept, KeptEvent, Tail};
pub use limits::{ChannelStats, Limits, Published, Refusal};
pub use progress::{DirectWriter, Progress};
pub use readers::{would_admit, Polled, Reading};
pub use start::{From, Start};
pub use subscription::{Next, Subscription};
