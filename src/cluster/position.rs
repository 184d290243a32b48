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
    /// The generation is another than before, and nothing that was read says so.
    is_silent: bool,
    pub(super) intake: Intake,
}

impl Position {
    /// Starts with what is there, unless it has started and that is still there.
    pub(super) fn begin_with(&mut self, stream: &StreamInfo) {
        self.generation.clone_from(&stream.generation);
        if self.is_begin_gone(stream) {
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

    /// Records that the whole stream, as it was then, has been read.
    pub(super) fn has_all_of(&mut self, stream: &StreamInfo) {
        // Somebody may have read further since.
        if self.id <= stream.newest {
            self.id = stream.newest;
            self.added = Some(stream.added);
        }
    }

    /// The stream's generation, as far as it was read.
    pub(super) fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }

    /// Enters this generation. Returns whether it is new.
    pub(super) fn enter(&mut self, generation: &str) -> bool {
        self.is_silent = false;
        let is_new = self.generation() != Some(generation);
        if is_new {
            self.generation = Some(generation.into());
            // It is another stream, or one that lost something.
            self.added = None;
        }
        is_new
    }

    /// Whether the stream, of which these entries come next, goes on from here: it is the same one, or says that it is
    /// another, and its count fits. If not, it is an older copy, and the clients of all servers have to be told.
    pub(super) fn goes_on(&mut self, stream: &StreamInfo, next: &Next) -> bool {
        let is_told = next.entries.iter().any(|entry| entry.begins.is_some());
        self.is_silent = !is_told && (self.is_silent || self.is_other(stream));
        is_told || !self.is_silent && !self.is_miscounted(stream, next)
    }

    /// Finds entries that were lost after this place: removed from the stream, or replaced with another stream whose
    /// entries do not say so. Returns the newest id that may be lost.
    pub(super) fn find_loss(&mut self, stream: &StreamInfo, next: &Next) -> Option<EventId> {
        let is_other = self.is_other(stream);
        let is_miscounted = self.is_miscounted(stream, next);
        let first = next.after(self.id).next();
        let is_lost = if is_other {
            first.is_none_or(|entry| entry.begins.is_none())
        } else {
            match self.count(stream, next) {
                Some((added, left)) => added != left,
                None => self.is_begin_gone(stream) && stream.newest > self.id,
            }
        };
        let lost = match first {
            _ if !is_lost => EventId::ZERO,
            Some(entry) => before(entry.id),
            None => stream.newest,
        };
        let lost = lost.max(stream.deleted);
        if lost <= self.id.max(self.found) {
            return None;
        }
        if is_other && is_lost {
            self.generation.clone_from(&stream.generation);
        }
        self.found = lost;
        if !is_miscounted {
            // Counted anew when everything is read.
            self.added = None;
        }
        Some(lost)
    }

    fn is_other(&self, stream: &StreamInfo) -> bool {
        // Another thread may have read further since.
        stream.is_other() && stream.known == self.generation
    }

    fn is_begin_gone(&self, stream: &StreamInfo) -> bool {
        stream.first.is_none_or(|first| first > self.id)
    }

    /// How many entries were ever added after this place, and how many of them are left, if known.
    fn count(&self, stream: &StreamInfo, next: &Next) -> Option<(i64, i64)> {
        let added = stream.added - self.added.filter(|_| stream.newest >= self.id)?;
        if self.is_begin_gone(stream) {
            return Some((added, stream.length));
        }
        let is_known = next.is_all && !self.is_other(stream);
        is_known.then(|| (added, next.after(self.id).count() as i64))
    }

    /// Whether it is not as many entries as were read, whatever was trimmed or deleted since.
    fn is_miscounted(&self, stream: &StreamInfo, next: &Next) -> bool {
        let may_have_lost = self.is_begin_gone(stream) || stream.deleted > self.id;
        !self.is_other(stream)
            && self
                .count(stream, next)
                .is_some_and(|(added, left)| added < left || (added > left && !may_have_lost))
    }
}

/// What was read after this server's place, and whether that is all there is.
pub(super) struct Next<'a> {
    pub(super) entries: &'a [StreamEntry],
    pub(super) is_all: bool,
}

impl Next<'_> {
    fn after(&self, id: EventId) -> impl Iterator<Item = &StreamEntry> {
        self.entries.iter().filter(move |entry| entry.id > id)
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

    /// What is left of the stream after entry 5, which is the last one that was read.
    fn left(stream: &StreamInfo) -> Vec<StreamEntry> {
        let first = stream.first.map_or(stream.newest.ms + 1, |first| first.ms);
        entries(first.max(6)..stream.newest.ms + 1)
    }

    fn all(entries: &[StreamEntry]) -> Next<'_> {
        Next {
            entries,
            is_all: true,
        }
    }

    fn part(entries: &[StreamEntry]) -> Next<'_> {
        Next {
            entries,
            is_all: false,
        }
    }

    fn loss(position: &mut Position, stream: &StreamInfo) -> Option<EventId> {
        position.find_loss(stream, &all(&left(stream)))
    }

    fn goes_on(position: &mut Position, stream: &StreamInfo) -> bool {
        position.goes_on(stream, &all(&left(stream)))
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
            assert!(!goes_on(&mut position, &other));
            assert_eq!(loss(&mut position, &other), Some(before(id(6))));
            assert_eq!(position.generation(), Some("second"));
        }
    }

    #[test]
    fn another_stream_that_was_read_in_part_still_has_to_say_so() {
        let mut other = stream(1, 9);
        other.generation = Some("second".into());
        let mut position = at(5);
        let mut entries = entries(6..8);
        position.goes_on(&other, &part(&entries));
        assert!(position.find_loss(&other, &part(&entries)).is_some());
        position.advance(&mut entries);
        // The connection dies, and the next look is by the new generation.
        other.known = Some("second".into());
        assert!(!goes_on(&mut position, &other));
        position.enter("third");
        other.known = Some("third".into());
        other.generation = Some("third".into());
        assert!(goes_on(&mut position, &other));
    }

    #[test]
    fn a_stream_that_announces_its_beginning_needs_no_other_notice() {
        let mut other = stream(1, 8);
        other.generation = Some("second".into());
        let mut entries = entries(6..9);
        entries[0].begins = Some("second".into());
        let mut position = at(5);
        assert!(position.goes_on(&other, &all(&entries)));
        assert_eq!(position.find_loss(&other, &all(&entries)), None);
        assert!(position.enter("second"));
        assert!(!position.enter("second"), "once");
    }

    /// The stream as `stream` makes it, with another count.
    fn counted(first: u64, newest: u64, added: i64) -> StreamInfo {
        StreamInfo {
            added,
            ..stream(first, newest)
        }
    }

    #[test]
    fn an_older_copy_that_was_trimmed_since_is_told_before_its_first_entry_and_does_not_go_on() {
        let lost = Some(before(id(10)));
        for added in 5..8 {
            let copy = counted(10, 12, added);
            assert_eq!(loss(&mut at(5), &copy), lost);
            assert!(!goes_on(&mut at(5), &copy));
        }
        // Exactly as many as were added, or more, of which some were trimmed.
        assert_eq!(loss(&mut at(5), &counted(10, 12, 8)), None);
        assert_eq!(loss(&mut at(5), &counted(10, 12, 9)), lost);
        assert!(goes_on(&mut at(5), &counted(10, 12, 9)));
    }

    #[test]
    fn an_older_copy_that_is_read_in_parts_is_told_at_once_and_does_not_go_on_when_all_is_read() {
        let copy = counted(10, 14, 6);
        let mut position = at(5);
        let mut first = entries(10..12);
        let lost = Some(before(id(10)));
        assert_eq!(position.find_loss(&copy, &part(&first)), lost);
        position.advance(&mut first);
        assert_eq!(
            position.find_loss(&copy, &part(&entries(12..13))),
            None,
            "once"
        );
        assert!(!position.goes_on(&copy, &all(&entries(12..15))));
    }

    #[test]
    fn an_older_copy_that_was_not_trimmed_does_not_go_on_however_many_entries_it_has() {
        for added in 6..20 {
            // Three were in the copy, and entry 5 is of another time.
            let copy = counted(1, added + 2, added as i64);
            assert!(!goes_on(&mut at(5), &copy), "{added}");
        }
    }

    #[test]
    fn entries_that_an_operator_deletes_are_a_loss_if_they_were_not_read() {
        let mut deleted = stream(1, 9);
        deleted.length -= 1;
        deleted.deleted = id(4);
        assert_eq!(loss(&mut at(5), &deleted), None, "read before");
        assert!(goes_on(&mut at(5), &deleted));
        deleted.deleted = id(7);
        let mut left = entries(6..10);
        left.remove(1);
        let mut position = at(5);
        assert!(position.goes_on(&deleted, &all(&left)), "this is no copy");
        assert_eq!(position.find_loss(&deleted, &all(&left)), Some(id(7)));
        position.advance(&mut left);
        position.has_all_of(&deleted);
        assert_eq!(position.find_loss(&stream(1, 9), &all(&[])), None);
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
        assert!(goes_on(&mut position, &stream(1, 5)));
        assert_eq!(loss(&mut position, &stream(1, 5)), None);
        assert_eq!(position.generation(), Some("second"));
    }

    #[test]
    fn what_another_thread_has_read_since_the_look_is_counted_once() {
        let look = stream(1, 8);
        let read = left(&look);
        for newest in 6..12 {
            let mut position = at(5);
            position.advance(&mut entries(6..newest + 1));
            assert!(position.goes_on(&look, &all(&read)), "{newest}");
            assert_eq!(position.find_loss(&look, &all(&read)), None, "{newest}");
            position.has_all_of(&look);
            assert_eq!(loss(&mut position, &stream(1, 12)), None, "{newest}");
        }
    }
}
