//! The janitor: one thread that once a second removes expired channels, cuts off clients that stay behind, and writes
//! heartbeats. It never waits for a connection.

use super::clock::Moment;
use super::pace::Pace;
use super::shared::Shared;
use super::subscriber::Subscriber;
use super::time::{self, running_ms};
use crate::host::{self, memory::Trimmer};
use std::sync::Arc;
use std::time::Duration;

/// How often it sweeps: well within the 5 s by which a channel may outlive its time.
const ROUND: Duration = Duration::from_secs(1);

/// A history of this many bytes is worth giving back to the system once it is gone.
const WORTHWHILE: usize = 1 << 20;

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<()> {
    host::start("janitor", move || run(&shared)).map(drop)
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

pub(super) fn sweep(shared: &Shared) {
    // Also clients to which nothing is published any more.
    shared.cut_if_slow(|subscriber, limit, now_ms| {
        subscriber.progress.pace(limit, now_ms) == Pace::TooSlow
    });
    wake_expired(shared);
    keep_alive(shared);
    let now = Moment::now();
    shared.lock().history.ids.watch_clock(now);
    if let Some(age) = shared.limits.history_age {
        shared.lock().history.drop_older_than(age, now.at);
    }
    expire_channels(shared);
}

/// Wakes the streams whose permit has run out, also because the wall clock was set while they slept.
fn wake_expired(shared: &Shared) {
    let wall = time::wall();
    let is_over = |expires| wall >= expires;
    for subscriber in shared.lock().audiences.subscribers() {
        if subscriber.permit.expires.is_some_and(is_over) {
            subscriber.progress.handoff.wake();
        }
    }
}

/// Writes heartbeats in the place of threads that sleep: to wake them would cost several times as much.
pub(super) fn keep_alive(shared: &Shared) {
    let now_ms = running_ms();
    // Half a round early or late, whichever is nearer.
    let quiet = shared.limits.heartbeat.saturating_sub(ROUND / 2);
    let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
    let is_quiet = |subscriber: &&Arc<Subscriber>| subscriber.is_quiet_for(quiet_ms, now_ms);
    let table = shared.lock();
    let quiet = table.audiences.subscribers().filter(is_quiet);
    let quiet: Vec<_> = quiet.cloned().collect();
    drop(table);
    for subscriber in quiet {
        subscriber.keep_alive(now_ms);
    }
}

fn expire_channels(shared: &Shared) {
    // Logged and freed after the lock is released.
    let mut table = shared.lock();
    let is_filled = table.arrivals.is_filled;
    // While the hub fills, what it has read was used at another time.
    let expired = table.expire(time::now(), |channel| is_filled || channel.messages == 0);
    drop(table);
    for (channel, _) in expired {
        log::info!(
            "event=expire channel={} messages={} history={}",
            channel.name,
            channel.messages,
            channel.history
        );
    }
}
