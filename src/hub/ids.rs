//! Ids: which is next, and which may be of an earlier run.

use super::clock::{ClockWatch, Moment};
use crate::event::EventId;

/// Owned by the history.
#[derive(Debug)]
pub(super) struct Ids {
    /// Ids below this may have been given by an earlier run, whose history is lost.
    born: EventId,
    clock: ClockWatch,
    /// The wall clock was set ahead, and no id was given since.
    has_clock_jumped: bool,
    newest: EventId,
}

impl Ids {
    pub(super) fn new(born: EventId, now: Moment) -> Ids {
        Ids {
            born,
            clock: ClockWatch::new(now),
            has_clock_jumped: false,
            newest: born,
        }
    }

    /// The newest id, whether or not its event is retained.
    pub(super) fn newest(&self) -> EventId {
        self.newest
    }

    pub(super) fn next(&mut self, now: Moment) -> EventId {
        self.watch_clock(now);
        self.newest = self.newest.next(now.unix_ms());
        if std::mem::take(&mut self.has_clock_jumped) {
            // The clock was behind until now, perhaps since before the start. An earlier run with the right time may
            // have given the same ids as this one, and those that this one has skipped.
            self.born = self.newest;
        }
        self.newest
    }

    /// Checks whether the wall clock was set ahead. Called for each id, and once a second.
    pub(super) fn watch_clock(&mut self, now: Moment) {
        self.has_clock_jumped |= self.clock.has_jumped(now);
    }

    /// Records that ids up to `id` were given elsewhere.
    pub(super) fn skip_to(&mut self, id: EventId) {
        self.newest = self.newest.max(id);
    }

    /// Whether this run gave the id, or may have.
    pub(super) fn is_known(&self, id: EventId) -> bool {
        id >= self.born && id <= self.newest
    }
}
