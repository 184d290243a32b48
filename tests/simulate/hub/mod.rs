//! The hub's own files, driven by one thread in virtual time: `sync` and `time` stand in the place of those of `src/hub/`.

#[path = "../../../src/hub/announcer.rs"]
mod announcer;
#[path = "../../../src/hub/arrivals.rs"]
mod arrivals;
#[path = "../../../src/hub/audience.rs"]
mod audience;
#[path = "../../../src/hub/batch.rs"]
mod batch;
#[path = "../../../src/hub/channels.rs"]
mod channels;
#[path = "../../../src/hub/clock.rs"]
mod clock;
#[path = "../../../src/hub/endings.rs"]
mod endings;
#[path = "../../../src/hub/feed.rs"]
mod feed;
#[path = "../../../src/hub/former.rs"]
mod former;
#[path = "../../../src/hub/handoff.rs"]
mod handoff;
#[path = "../../../src/hub/history.rs"]
mod history;
#[expect(
    clippy::module_inception,
    reason = "the room and the type that others see have one name"
)]
#[path = "../../../src/hub/hub.rs"]
mod hub;
#[path = "../../../src/hub/ids.rs"]
mod ids;
#[path = "../../../src/hub/janitor.rs"]
mod janitor;
#[path = "../../../src/hub/keep.rs"]
mod keep;
#[path = "../../../src/hub/limits.rs"]
mod limits;
#[path = "../../../src/hub/pace.rs"]
mod pace;
#[path = "../../../src/hub/patterns.rs"]
mod patterns;
#[path = "../../../src/hub/pending.rs"]
mod pending;
#[path = "../../../src/hub/places.rs"]
mod places;
#[path = "../../../src/hub/progress.rs"]
mod progress;
#[path = "../../../src/hub/readers.rs"]
mod readers;
#[path = "../../../src/hub/retained.rs"]
mod retained;
#[path = "../../../src/hub/round.rs"]
mod round;
#[path = "../../../src/hub/shared.rs"]
mod shared;
#[path = "../../../src/hub/start.rs"]
mod start;
#[path = "../../../src/hub/subscriber.rs"]
mod subscriber;
#[path = "../../../src/hub/subscription.rs"]
mod subscription;
#[path = "../../../src/hub/table.rs"]
mod table;
#[path = "../../../src/hub/unsaved.rs"]
mod unsaved;

#[path = "../../../src/hub/topics.rs"]
mod topics;

mod server;
mod stream;
mod sync;
pub mod time;

pub use arrivals::LastId;
pub use hub::{Attempted, Hub};
pub use keep::{Changes, ChannelRecord, Kept, KeptEvent, Tail};
pub use limits::{Limits, Published, Refusal};
pub use progress::DirectWriter;
pub use server::Server;
pub use start::{From, Start};
pub use stream::Stream;
