//! What was read from the folder, put together from its records. No I/O here.

use super::record::{self, Batch, KeyRecord, Meta, Record};
use crate::event::EventId;
use crate::hub::Kept;

/// Everything that is in the folder.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) kept: Kept,
    /// What was published with a key, oldest first.
    pub(super) keys: Vec<KeyRecord>,
    pub(super) meta: Meta,
}

impl Contents {
    /// Takes a record of the store, which come in the order of their keys.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let Some(record) = record::read(key, value) else {
            return Err(format!("the record {} cannot be read", hexadecimal(key)));
        };
        match record {
            Record::Channel(name, known) => self.kept.channels.push((name, known)),
            Record::Event(kept) => self.kept.events.push(kept),
            Record::Published(known) => self.keys.push(known),
            Record::Meta(meta) => self.meta = meta,
        }
        Ok(())
    }

    /// Takes what the journal has and the store has not, and returns it: it is to be stored.
    pub(super) fn take_journal(&mut self, journal: Vec<(Vec<u8>, Vec<u8>)>) -> Batch {
        // It is emptied after its records were stored: those may still be in it.
        let stored = self.newest();
        let mut missing = Batch::new();
        for (key, value) in journal {
            let is_new = match record::read(&key, &value) {
                Some(Record::Event(kept)) if kept.event.id > stored => {
                    self.kept.events.push(kept);
                    true
                }
                Some(Record::Published(known)) if known.published.first > stored => {
                    self.keys.push(known);
                    true
                }
                _ => false,
            };
            if is_new {
                missing.insert(key, Some(value));
            }
        }
        missing
    }

    /// The newest id that is known.
    pub(super) fn newest(&self) -> EventId {
        let last = self.kept.events.last();
        last.map_or(EventId::ZERO, |kept| kept.event.id)
            .max(self.meta.newest)
    }

    /// Has the figures that the whole has, and takes note of what is lost if the machine's power has failed: publishers were
    /// answered before their messages were on the disk, and nobody knows which.
    pub(super) fn finish(&mut self, boot: &str) -> Option<EventId> {
        let meta = &self.meta;
        let may_miss = meta.answers_early && !meta.is_closed;
        let is_same_boot = !boot.is_empty() && meta.boot == boot;
        let lost = EventId {
            ms: meta.ceiling_ms,
            seq: 0,
        };
        let lost = (may_miss && !is_same_boot).then_some(lost);
        self.kept.forgotten = meta.forgotten;
        self.kept.lost = meta.lost.max(lost.unwrap_or_default());
        self.kept.newest = self.newest().max(self.kept.lost);
        lost
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_only_where_the_power_may_have_failed_before_a_sync() {
        let lost = |answers_early, is_closed, boot: &str, now: &str| {
            let meta = Meta {
                newest: EventId { ms: 5, seq: 0 },
                ceiling_ms: 9,
                answers_early,
                is_closed,
                boot: boot.into(),
                ..Meta::default()
            };
            let mut contents = Contents {
                meta,
                ..Contents::default()
            };
            let lost = contents.finish(now);
            assert_eq!(contents.kept.newest.ms, if lost.is_some() { 9 } else { 5 });
            assert_eq!(contents.kept.lost, lost.unwrap_or_default());
            lost.is_some()
        };
        assert!(
            lost(true, false, "one", "other"),
            "the machine was started anew"
        );
        assert!(lost(true, false, "", ""), "nobody knows");
        assert!(
            !lost(true, false, "one", "one"),
            "only the process has died"
        );
        assert!(!lost(true, true, "one", "other"), "it was stopped in order");
        assert!(
            !lost(false, false, "one", "other"),
            "what was answered was synced"
        );
    }
}
