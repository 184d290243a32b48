//! The janitor: one thread that once a second takes away what nobody needs any more, expired channels and clients that
//! stay behind. It never touches a connection. Started by the hub.

use super::Hub;
use crate::memory::Trimmer;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks: well within the 5 s by which a channel may outlive its time.
const ROUND: Duration = Duration::from_secs(1);

/// A history of so many bytes is worth giving back to the system when it has gone.
const WORTHWHILE: usize = 1 << 20;

pub(super) fn start(hub: Arc<Hub>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("janitor".into())
        .spawn(move || run(&hub))?;
    Ok(())
}

fn run(hub: &Hub) {
    let mut trimmer = Trimmer::new(WORTHWHILE);
    while !hub.is_closing() {
        std::thread::park_timeout(ROUND);
        hub.cut_laggards();
        hub.wake_expired();
        // Taken out under the lock, logged and given back outside of it.
        let expired = hub.lock().expire(hub.limits.channel_ttl);
        for (name, channel) in expired {
            log::info!(
                "event=expire channel={name} messages={} history={}",
                channel.messages,
                channel.retained()
            );
        }
        trimmer.note(hub.stats().history_bytes);
    }
}
