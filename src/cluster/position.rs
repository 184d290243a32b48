//! Where this server is in the stream, counted as well as named: so it is known whether something between there and the
//! stream's first entry was taken out, and whether this is the stream that it was. No I/O here. Used by whoever reads from
//! the stream.

use super::entry::StreamEntry;
use super::intake::Intake;
use super::stream::{before, StreamInfo};
use crate::event::EventId;

/// One for each server. Its lock is held while entries are appended, so that they come to the hub in one order.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// Everything up to here is in the hub.
    id: EventId,
    /// Entries that were ever added to the stream up to here, if that is known.
    added: Option<i64>,
    /// Losses up to here were found.
    found: EventId,
    /// Which stream it is.
    generation: Option<String>,
    /// What was read on the way.
    pub(super) intake: Intake,
}

impl Position {
    /// Begins with what is there, unless it has begun and that is still there.
    pub(super) fn begin_with(&mut self, stream: &StreamInfo) {
        self.generation.clone_from(&stream.generation);
        if stream.first.is_none_or(|first| first > self.id) {
            self.added = Some(stream.added - stream.length);
        }
    }

    /// Leaves only what is new, and counts it.
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

    /// Everything of the stream as it was then has been read. Whether that was as much as there ever was.
    pub(super) fn has_all_of(&mut self, stream: &StreamInfo) -> bool {
        if self.id > stream.newest {
            // Somebody has read on since.
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

    /// The stream goes on in this generation. Whether that is a new one.
    pub(super) fn enter(&mut self, generation: &str) -> bool {
        let is_new = self.generation() != Some(generation);
        if is_new {
            self.generation = Some(generation.into());
            // It is another stream, or one that has lost something.
            self.added = None;
        }
        is_new
    }

    /// If entries after this place were taken out of the stream, or it is another one and these entries do not say so: the
    /// newest id that may be lost.
    pub(super) fn find_loss(
        &mut self,
        stream: &StreamInfo,
        entries: &[StreamEntry],
    ) -> Option<EventId> {
        // Another thread may have read on since.
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
        // Counted again once all is read.
        self.added = None;
        Some(lost)
    }
}

/// Whether the stream has to begin anew: it is not there or not one of ours, or has less than was read.
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

    /// Of entries 1, 2, … `newest`, those from `first` are there.
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
            // Right before what comes.
            assert_eq!(lost, Some(before(id(6))));
            assert_eq!(position.generation(), Some("second"));
        }
    }

    #[test]
    fn a_stream_that_says_itself_where_it_begins_needs_no_other_notice() {
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
    fn a_stream_that_went_back_has_to_begin_anew() {
        assert!(is_broken(&stream(1, 4)));
        assert!(is_broken(&StreamInfo::default()));
        assert!(!is_broken(&stream(1, 5)));
    }

    #[test]
    fn a_look_at_a_stream_that_has_begun_anew_since_is_no_loss() {
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
