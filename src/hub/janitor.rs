//! The janitor: one thread that once a second takes away what nobody needs any more, expired channels and clients that
//! stay behind. It never touches a connection.

use super::clock::Moment;
use super::pace::Pace;
use super::shared::Shared;
use super::time;
use crate::host::memory::Trimmer;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks: well within the 5 s by which a channel may outlive its time.
const ROUND: Duration = Duration::from_secs(1);

/// A history of so many bytes is worth giving back to the system when it has gone.
const WORTHWHILE: usize = 1 << 20;

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("janitor".into())
        .spawn(move || run(&shared))?;
    Ok(())
}

fn run(shared: &Shared) {
    let mut trimmer = Trimmer::new(WORTHWHILE);
    while !shared.lock().closing {
        std::thread::park_timeout(ROUND);
        sweep(shared);
        let history_bytes = shared.lock().history.bytes();
        trimmer.note(history_bytes);
    }
}

/// Takes away what nobody needs any more.
pub(super) fn sweep(shared: &Shared) {
    // Also those to whom nothing is published any more.
    shared.cut_if_slow(|subscriber, limit, now_ms| {
        subscriber.progress.pace(limit, now_ms) == Pace::TooSlow
    });
    wake_expired(shared);
    let now = Moment::now();
    shared.lock().history.watch_clock(now);
    if let Some(age) = shared.limits.history_age {
        shared.lock().history.drop_older_than(age, now.at);
    }
    expire_channels(shared);
}

/// Has the streams whose permit has run out end, also when the wall clock was set while they slept.
fn wake_expired(shared: &Shared) {
    let wall = time::wall();
    let is_over = |expires| wall >= expires;
    for subscriber in shared.lock().audiences.subscribers() {
        if subscriber.permit.expires().is_some_and(is_over) {
            subscriber.progress.handoff.wake();
        }
    }
}

fn expire_channels(shared: &Shared) {
    // Logged, and given back, when the lock is free again.
    let expired = shared.lock().expire();
    for (channel, _) in expired {
        log::info!(
            "event=expire channel={} messages={} history={}",
            channel.name,
            channel.messages,
            channel.history
        );
    }
}
