//! Where this server is in the stream, by id and by count. So it knows whether entries before the stream's first one
//! were removed unread, and whether this is still the same stream. No I/O here.

use super::entry::StreamEntry;
use super::intake::Intake;
use super::stream::{before, StreamInfo};
use crate::event::EventId;

/// Its lock is held while entries are appended, so that they reach the hub in one order.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// Everything up to here is in the hub.
    id: EventId,
    /// Entries ever added to the stream up to here, if known.
    added: Option<i64>,
    found: EventId,
    generation: Option<String>,
    pub(super) intake: Intake,
}

impl Position {
    /// Starts with what is there, unless it has started and that is still there.
    pub(super) fn begin_with(&mut self, stream: &StreamInfo) {
        self.generation.clone_from(&stream.generation);
        if stream.first.is_none_or(|first| first > self.id) {
            self.added = Some(stream.added - stream.length);
        }
    }

    /// Removes what is not new, and counts the rest.
    pub(super) fn advance(&mut self, entries: &mut Vec<StreamEntry>) {
        let had = entries.partition_point(|entry| entry.id <= self.id);
        entries.drain(..had);
        if let Some(last) = entries.last() {
            self.id = last.id;
            if let Some(added) = &mut self.added {
                *added += entries.len() as i64;
            }
            for entry in entries.iter() {
                self.intake.note(entry.id, entry.cost());
            }
        }
    }

    /// Records that the whole stream, as it was then, has been read. Returns whether the count is right.
    pub(super) fn has_all_of(&mut self, stream: &StreamInfo) -> bool {
        if self.id > stream.newest {
            // Somebody has read further since.
            return true;
        }
        self.id = stream.newest;
        let counted = self.added.replace(stream.added);
        counted.is_none_or(|counted| counted == stream.added)
    }

    /// The stream's generation, as far as it was read.
    pub(super) fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }

    /// Enters this generation. Returns whether it is new.
    pub(super) fn enter(&mut self, generation: &str) -> bool {
        let is_new = self.generation() != Some(generation);
        if is_new {
            self.generation = Some(generation.into());
            // It is another stream, or one that lost something.
            self.added = None;
        }
        is_new
    }

    /// Finds entries that were lost after this place: removed from the stream, or replaced with another stream whose
    /// entries do not say so. Returns the newest id that may be lost.
    pub(super) fn find_loss(
        &mut self,
        stream: &StreamInfo,
        entries: &[StreamEntry],
    ) -> Option<EventId> {
        // Another thread may have read further since.
        let is_other = stream.is_other() && stream.known == self.generation;
        let next = entries.iter().find(|entry| entry.id > self.id);
        let is_told = next.is_some_and(|entry| entry.begins.is_some());
        let is_begin_gone = stream.first.is_none_or(|first| first > self.id);
        let is_trimmed = is_begin_gone
            && stream.newest > self.id
            && self
                .added
                .is_none_or(|added| stream.added - added > stream.length);
        let lost = if is_other && !is_told {
            next.map_or(stream.newest, |entry| before(entry.id))
        } else if is_trimmed && !is_other {
            stream.first.map_or(stream.newest, before)
        } else {
            EventId::ZERO
        };
        let lost = lost.max(stream.deleted);
        if lost <= self.id.max(self.found) {
            return None;
        }
        if is_other && !is_told {
            self.generation.clone_from(&stream.generation);
        }
        self.found = lost;
        // Counted anew when everything is read.
        self.added = None;
        Some(lost)
    }
}

/// Whether the stream has to start over: it is missing, not ours, or has less than was read.
pub(super) fn is_broken(stream: &StreamInfo) -> bool {
    stream.generation.is_none() || stream.newest < stream.seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId { ms, seq: 0 }
    }

    fn entries(ids: std::ops::Range<u64>) -> Vec<StreamEntry> {
        let entry = |ms| StreamEntry {
            id: id(ms),
            ..StreamEntry::default()
        };
        ids.map(entry).collect()
    }

    /// A stream of the entries 1 to `newest`, of which those before `first` are gone.
    fn stream(first: u64, newest: u64) -> StreamInfo {
        StreamInfo {
            newest: id(newest),
            first: (first <= newest).then(|| id(first)),
            deleted: EventId::ZERO,
            length: (newest + 1 - first) as i64,
            added: newest as i64,
            generation: Some("first".into()),
            seen: id(5),
            known: Some("first".into()),
        }
    }

    fn at(newest: u64) -> Position {
        let mut position = Position::default();
        position.begin_with(&stream(1, newest));
        position.has_all_of(&stream(1, newest));
        position
    }

    fn loss(position: &mut Position, stream: &StreamInfo) -> Option<EventId> {
        position.find_loss(stream, &[])
    }

    #[test]
    fn trimming_what_was_read_is_no_loss() {
        assert_eq!(loss(&mut at(5), &stream(4, 9)), None);
        assert_eq!(loss(&mut at(5), &stream(6, 9)), None, "just not");
        assert_eq!(loss(&mut at(5), &stream(6, 5)), None, "all that was read");
    }

    #[test]
    fn trimming_what_was_not_read_is_one_and_is_found_once() {
        let mut position = at(5);
        let lost = Some(before(id(7)));
        assert_eq!(loss(&mut position, &stream(7, 9)), lost);
        assert_eq!(loss(&mut position, &stream(7, 9)), None);
        let all = Some(id(9));
        assert_eq!(loss(&mut at(5), &stream(10, 9)), all, "all");
    }

    #[test]
    fn what_was_read_twice_counts_once() {
        let mut position = at(5);
        position.advance(&mut entries(4..8));
        position.advance(&mut entries(6..9));
        assert_eq!(loss(&mut position, &stream(9, 12)), None);
        assert!(loss(&mut position, &stream(10, 12)).is_some());
    }

    #[test]
    fn another_stream_in_its_place_is_a_loss_however_many_entries_it_has() {
        for newest in 6..20 {
            let mut other = stream(1, newest);
            other.generation = Some("second".into());
            let mut position = at(5);
            let lost = position.find_loss(&other, &entries(6..newest + 1));
            assert_eq!(lost, Some(before(id(6))));
            assert_eq!(position.generation(), Some("second"));
        }
    }

    #[test]
    fn a_stream_that_announces_its_beginning_needs_no_other_notice() {
        let mut other = stream(1, 8);
        other.generation = Some("second".into());
        let mut entries = entries(6..9);
        entries[0].begins = Some("second".into());
        let mut position = at(5);
        assert_eq!(position.find_loss(&other, &entries), None);
        assert!(position.enter("second"));
        assert!(!position.enter("second"), "once");
    }

    #[test]
    fn a_stream_that_went_back_has_to_start_over() {
        assert!(is_broken(&stream(1, 4)));
        assert!(is_broken(&StreamInfo::default()));
        assert!(!is_broken(&stream(1, 5)));
    }

    #[test]
    fn a_look_at_a_stream_that_has_started_over_since_is_no_loss() {
        let mut position = at(5);
        position.advance(&mut entries(6..8));
        assert!(position.enter("second"));
        assert_eq!(position.find_loss(&stream(1, 5), &[]), None);
        assert_eq!(position.generation(), Some("second"));
    }

    #[test]
    fn a_stream_that_has_had_other_entries_than_were_read_does_not_fit() {
        let read = |ids| {
            let mut position = at(5);
            position.advance(&mut entries(ids));
            position
        };
        assert!(read(6..9).has_all_of(&stream(1, 8)));
        assert!(read(4..9).has_all_of(&stream(1, 8)), "read twice");
        let mut restored = stream(1, 8);
        restored.added = 6;
        let mut position = read(6..9);
        assert!(!position.has_all_of(&restored));
        assert!(position.has_all_of(&restored), "once");
    }
}
