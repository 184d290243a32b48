//! How much of the stream to read at once, and from where on to keep it. No I/O here.

use crate::event::{Event, EventId};
use crate::hub::Limits;
use std::collections::VecDeque;

/// Entries in one answer, and their approximate bytes.
const MOST_AT_ONCE: usize = 500;
const LEAST_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: u64 = 1 << 20;

/// The stream keeps at least this many entries, whatever their size. Not fewer than one answer has, or an answer that
/// is not full would not prove that nothing was trimmed.
const LEAST_KEPT: u64 = 2 * MOST_AT_ONCE as u64;

/// It keeps this many if memory allows: room for a server that is held up, or disconnected for some seconds.
const WELL_KEPT: u64 = 250_000;

/// Redis may take this many times `HISTORY_BYTES`: it holds the stream once, for all servers, and a small message takes
/// less than half of what it takes in a server.
const SHARE_OF_REDIS: u64 = 4;

/// Entries between two marks.
const STEP: u64 = 64;

/// A place in the stream: the entries and bytes read up to there.
#[derive(Clone, Copy, Debug)]
struct Milestone {
    id: EventId,
    entries: u64,
    bytes: u64,
}

/// What was read so far, in entries and bytes.
#[derive(Debug)]
pub(super) struct Intake {
    entries: u64,
    bytes: u64,
    /// Oldest first.
    marks: VecDeque<Milestone>,
    /// The average cost of the last few hundred entries.
    cost: f64,
    /// Entries in Redis's latest answers. It cuts off answers that are too large for it.
    most: usize,
}

impl Default for Intake {
    fn default() -> Self {
        Intake {
            entries: 0,
            bytes: 0,
            marks: VecDeque::new(),
            cost: Event::OVERHEAD_BYTES as f64,
            most: MOST_AT_ONCE,
        }
    }
}

impl Intake {
    /// Counts an entry.
    pub(super) fn note(&mut self, id: EventId, cost: usize) {
        self.entries += 1;
        self.bytes += cost as u64;
        self.cost += (cost as f64 - self.cost) / 256.0;
        if self.entries % STEP == 0 {
            self.marks.push_back(Milestone {
                id,
                entries: self.entries,
                bytes: self.bytes,
            });
        }
    }

    /// Entries to ask for.
    pub(super) fn at_once(&self) -> usize {
        let fitting = BYTES_AT_ONCE / (self.cost as u64).max(1);
        let fitting = (fitting as usize).clamp(LEAST_AT_ONCE, MOST_AT_ONCE);
        fitting.min(self.most)
    }

    /// Redis has cut off an answer of up to `wanted` entries.
    pub(super) fn was_cut_off(&mut self, wanted: usize) {
        self.most = (wanted / 4).max(1);
    }

    pub(super) fn was_answered(&mut self) {
        self.most = (self.most + 1 + self.most / 4).min(MOST_AT_ONCE);
    }

    /// Entries older than this id may go. The stream then still has all that the channels' histories can have and, for
    /// disconnected servers, more, as far as memory allows. Only what was read is counted, so nothing goes that this
    /// server has not read.
    pub(super) fn keep_from(&mut self, limits: &Limits, channels: usize) -> Option<EventId> {
        // One more for broadcasts.
        let histories = limits.history_events.saturating_mul(channels + 1) as u64;
        let most = histories.max(WELL_KEPT);
        let most_bytes = (limits.history_bytes as u64).saturating_mul(SHARE_OF_REDIS);
        let mut keep_from = None;
        while let Some(mark) = self.marks.front() {
            let after = self.entries - mark.entries;
            let is_much = after >= most || self.bytes - mark.bytes >= most_bytes;
            if after < LEAST_KEPT || !is_much {
                break;
            }
            keep_from = Some(mark.id);
            self.marks.pop_front();
        }
        keep_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a million entries of this size are kept.
    fn kept(cost: usize, history_events: usize, history_bytes: usize, channels: usize) -> u64 {
        const ENTRIES: u64 = 1_000_000;
        let mut intake = Intake::default();
        for ms in 1..=ENTRIES {
            intake.note(EventId { ms, seq: 0 }, cost);
        }
        let limits = Limits {
            history_events,
            history_bytes,
            ..Limits::SMALL
        };
        let from = intake.keep_from(&limits, channels);
        assert_eq!(intake.keep_from(&limits, channels), None, "once");
        from.map_or(ENTRIES, |id| ENTRIES - id.ms)
    }

    #[test]
    fn what_is_kept_follows_channels_and_bytes() {
        const GIB: usize = 1 << 30;
        let about = |number: u64| number..number + STEP;
        assert!(
            about(WELL_KEPT).contains(&kept(1000, 100, GIB, 10)),
            "for who is away"
        );
        assert!(
            about(500_000).contains(&kept(1000, 1000, GIB, 499)),
            "histories"
        );
        let by_bytes = kept(1000, 1000, 4 << 20, 499);
        assert!(about(16_777).contains(&by_bytes), "{by_bytes}: 16 MiB");
        assert!(
            about(LEAST_KEPT).contains(&kept(1000, 0, 0, 0)),
            "always more than one answer"
        );
    }
}
