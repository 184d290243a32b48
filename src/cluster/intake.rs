//! How much of the stream to read at once, and how much of it to keep: both follow from the size of the messages. No I/O
//! here. Used by the writer and the follower.

use super::entry::Entry;
use crate::event::Event;
use crate::hub::Limits;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Entries that one answer may have, and about how many bytes.
const MOST_AT_ONCE: usize = 1000;
const LEAST_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: usize = 1 << 20;

/// The stream keeps at least so many entries, if there is memory for them: room for a server that has lost its connection
/// for some seconds, or is held up.
const LEAST_KEPT: usize = 250_000;

/// Redis may take so many times `HISTORY_BYTES`: it holds the stream once, for all servers, and a small message takes it
/// less than half of what it takes a server.
const SHARE_OF_REDIS: usize = 4;

/// See the module's comment.
#[derive(Debug)]
pub(super) struct Intake {
    /// What an entry costs, in 1/256 bytes, on the average of the last some hundred. Two threads may note at the same time;
    /// one more or less does not matter.
    cost: AtomicUsize,
    /// Entries to keep in the stream.
    keep: AtomicUsize,
}

/// Parts of a byte in which the average is kept, and the entries that it is of.
const PARTS: usize = 256;

impl Default for Intake {
    fn default() -> Self {
        Intake {
            cost: AtomicUsize::new(Event::OVERHEAD_BYTES * PARTS),
            keep: AtomicUsize::new(LEAST_KEPT),
        }
    }
}

impl Intake {
    pub(super) fn note(&self, entry: &Entry) {
        self.note_cost(entry.event.as_ref().map_or(0, |event| event.cost()));
    }

    fn note_cost(&self, bytes: usize) {
        let cost = self.cost.load(Ordering::Relaxed);
        self.cost
            .store(cost - cost / PARTS + bytes, Ordering::Relaxed);
    }

    fn cost(&self) -> usize {
        (self.cost.load(Ordering::Relaxed) / PARTS).max(1)
    }

    /// Entries to ask for.
    pub(super) fn at_once(&self) -> usize {
        (BYTES_AT_ONCE / self.cost()).clamp(LEAST_AT_ONCE, MOST_AT_ONCE)
    }

    /// Entries to keep in the stream.
    pub(super) fn keep(&self) -> usize {
        self.keep.load(Ordering::Relaxed)
    }

    /// Keeps what the channels' histories can have, but enough for who has lost the connection, and not more than their
    /// memory allows.
    pub(super) fn decide_what_to_keep(&self, limits: &Limits, channels: usize) {
        // More than one answer has, or a full answer would not tell of a loss.
        let bytes = limits.history_bytes.saturating_mul(SHARE_OF_REDIS);
        let most = (bytes / self.cost()).max(4 * self.at_once());
        // One more for broadcasts.
        let histories = limits.history_events.saturating_mul(channels + 1);
        let keep = histories.clamp(LEAST_KEPT.min(most), most);
        self.keep.store(keep, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn kept(history_events: usize, history_bytes: usize, channels: usize) -> usize {
        let intake = Intake::default();
        for _ in 0..10_000 {
            intake.note_cost(1000);
        }
        let limits = Limits {
            history_events,
            history_bytes,
            channel_ttl: Duration::ZERO,
            max_clients: 1,
            max_channels: 1,
            client_queue: 1,
            ids_come_from_outside: true,
        };
        intake.decide_what_to_keep(&limits, channels);
        intake.keep()
    }

    #[test]
    fn what_is_kept_follows_channels_and_bytes() {
        const GIB: usize = 1 << 30;
        assert_eq!(kept(100, GIB, 10), LEAST_KEPT, "for who is away");
        assert_eq!(kept(1000, GIB, 499), 500_000, "histories");
        let by_bytes = kept(1000, 4 << 20, 499);
        assert!((16_000..18_000).contains(&by_bytes), "{by_bytes}: 16 MiB");
        assert!(kept(0, 0, 0) > MOST_AT_ONCE, "always more than one answer");
    }
}
