//! Where this server is in the stream, counted as well as named: so it is known whether something between there and the
//! stream's first entry was taken out. No I/O here. Used by whoever reads from the stream.

use super::connection::field;
use super::entry::{self, Entry};
use super::intake::Intake;
use crate::event::EventId;
use ::redis::Value;

/// What `XINFO STREAM` tells.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The newest id that was ever given.
    pub(super) newest: EventId,
    /// The oldest entry that is there.
    first: Option<EventId>,
    /// The newest that was deleted out of its turn.
    deleted: EventId,
    /// Entries that are there, and that were ever there.
    length: i64,
    added: i64,
}

impl Stream {
    pub(super) fn read(info: &Value) -> Stream {
        let id = |name| field(info, name).and_then(entry::id).unwrap_or_default();
        let number = |name| match field(info, name) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        Stream {
            newest: id("last-generated-id"),
            first: match field(info, "first-entry") {
                Some(Value::Array(parts)) => parts.first().and_then(entry::id),
                _ => None,
            },
            deleted: id("max-deleted-entry-id"),
            length: number("length"),
            added: number("entries-added"),
        }
    }

    /// After this id everything is there. Who has an older one may have missed something, if only because it is of another
    /// stream that is no more.
    pub(super) fn begin(&self) -> EventId {
        self.first.map_or(self.newest, before).max(self.deleted)
    }
}

/// See the module's comment.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// Everything up to here is in the hub.
    id: EventId,
    /// Entries that were ever added to the stream up to here.
    added: i64,
    /// Losses up to here were found.
    found: EventId,
    /// What was read on the way.
    pub(super) intake: Intake,
}

impl Position {
    /// Begins with what is there, unless it has begun and that is still there.
    pub(super) fn begin_with(&mut self, stream: &Stream) {
        if stream.first.is_none_or(|first| first > self.id) {
            self.added = stream.added - stream.length;
        }
    }

    /// Leaves only what is new, and counts it.
    pub(super) fn advance(&mut self, entries: &mut Vec<Entry>) {
        let had = entries.partition_point(|entry| entry.id <= self.id);
        entries.drain(..had);
        if let Some(last) = entries.last() {
            self.id = last.id;
            self.added += entries.len() as i64;
            for entry in entries.iter() {
                self.intake.note(entry.id, entry.cost());
            }
        }
    }

    /// Everything of the stream as it was then has been read.
    pub(super) fn has_all_of(&mut self, stream: &Stream) {
        if self.id <= stream.newest {
            self.id = stream.newest;
            self.added = stream.added;
        }
    }

    /// If entries after this place were taken out of the stream: this place, and the newest id that may be lost.
    pub(super) fn find_loss(&mut self, stream: &Stream) -> Option<(EventId, EventId)> {
        let is_begin_gone = stream.first.is_none_or(|first| first > self.id);
        let is_trimmed =
            is_begin_gone && stream.newest > self.id && stream.added - self.added > stream.length;
        let trimmed = if is_trimmed {
            stream.first.map_or(stream.newest, before)
        } else {
            EventId::ZERO
        };
        let lost = trimmed.max(stream.deleted);
        if lost <= self.id.max(self.found) {
            return None;
        }
        self.found = lost;
        // What is there comes on top of that.
        self.added = self.added.max(stream.added - stream.length);
        Some((self.id, lost))
    }
}

/// The largest id below this one.
fn before(id: EventId) -> EventId {
    match id.seq.checked_sub(1) {
        Some(seq) => EventId { ms: id.ms, seq },
        None => EventId {
            ms: id.ms.saturating_sub(1),
            seq: u64::MAX,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId { ms, seq: 0 }
    }

    fn entries(ids: std::ops::Range<u64>) -> Vec<Entry> {
        let entry = |ms| Entry {
            id: id(ms),
            event: None,
        };
        ids.map(entry).collect()
    }

    /// Of entries 1, 2, … `newest`, those from `first` are there.
    fn stream(first: u64, newest: u64) -> Stream {
        Stream {
            newest: id(newest),
            first: (first <= newest).then(|| id(first)),
            deleted: EventId::ZERO,
            length: (newest + 1 - first) as i64,
            added: newest as i64,
        }
    }

    fn at(newest: u64) -> Position {
        let mut position = Position::default();
        position.has_all_of(&stream(1, newest));
        position
    }

    #[test]
    fn trimming_what_was_read_is_no_loss() {
        assert_eq!(at(5).find_loss(&stream(4, 9)), None);
        assert_eq!(at(5).find_loss(&stream(6, 9)), None, "just not");
        assert_eq!(at(5).find_loss(&stream(6, 5)), None, "all that was read");
    }

    #[test]
    fn trimming_what_was_not_read_is_one_and_is_found_once() {
        let mut position = at(5);
        let lost = Some((id(5), before(id(7))));
        assert_eq!(position.find_loss(&stream(7, 9)), lost);
        assert_eq!(position.find_loss(&stream(7, 9)), None);
        assert_eq!(at(5).find_loss(&stream(10, 9)), Some((id(5), id(9))), "all");
    }

    #[test]
    fn what_was_read_twice_counts_once() {
        let mut position = at(5);
        position.advance(&mut entries(4..8));
        position.advance(&mut entries(6..9));
        assert_eq!(position.find_loss(&stream(9, 12)), None);
        assert!(position.find_loss(&stream(10, 12)).is_some());
    }

    #[test]
    fn before_an_id_there_is_another() {
        assert_eq!(before(EventId { ms: 5, seq: 2 }), EventId { ms: 5, seq: 1 });
        assert_eq!(
            before(id(5)),
            EventId {
                ms: 4,
                seq: u64::MAX
            }
        );
    }
}
