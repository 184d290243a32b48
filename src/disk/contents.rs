//! What was read from the folder, put together from its records. No I/O here.

use super::record::{self, Batch, KeyRecord, Meta, Pair, Record, PROBE_KEY};
use crate::event::EventId;
use crate::hub::Kept;
use crate::numbers::hexadecimal;

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
        if key == PROBE_KEY {
            return Ok(());
        }
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
    pub(super) fn take_journal(&mut self, journal: Vec<Pair>) -> Batch {
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

    /// Has the figures that the whole has, and records what is lost: `boot` is this run of the machine, and publishers
    /// were answered up to the id `answered`, if that is known.
    pub(super) fn finish(&mut self, boot: &str, answered: Option<EventId>) -> Option<Loss> {
        let meta = &self.meta;
        let is_same_boot = !boot.is_empty() && meta.boot == boot;
        let found = self.newest();
        let ceiling = EventId {
            ms: meta.ceiling_ms,
            seq: 0,
        };
        let most = answered.map_or(ceiling, |id| id.max(ceiling));
        let loss = |up_to, cause| Some(Loss { up_to, cause });
        let loss = if meta.answers_early && !meta.is_closed && !is_same_boot {
            loss(most, Cause::Power)
        } else if answered.is_none() && !meta.is_closed && is_same_boot {
            // What would say so outlives the process.
            loss(most, Cause::Damage(UNKNOWN_ANSWERS))
        } else {
            let missing = answered.filter(|id| *id > found);
            missing.and_then(|id| loss(id, Cause::Damage(UNREADABLE)))
        };
        self.kept.forgotten = meta.forgotten;
        self.kept.lost = loss.map_or(meta.lost, |loss| meta.lost.max(loss.up_to));
        self.kept.newest = found.max(self.kept.lost);
        loss
    }
}

/// Messages that may not be there any more, although their publishers were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// None has a newer id.
    pub(super) up_to: EventId,
    pub(super) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The machine's power has failed, and they were not synced yet.
    Power,
    /// A file is not as it was written; what is wrong, for people.
    Damage(&'static str),
}

const UNKNOWN_ANSWERS: &str = "the file lock does not say up to which id publishers were answered";
const UNREADABLE: &str = "what was stored last cannot be read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_where_there_may_be_one_and_nowhere_else() {
        let id = |ms| EventId { ms, seq: 0 };
        let lost = |answers_early, is_closed, boot: &str, now: &str, answered| {
            let meta = Meta {
                newest: id(5),
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
            let loss = contents.finish(now, answered);
            let up_to = loss.map_or(EventId::ZERO, |loss| loss.up_to);
            assert_eq!(contents.kept.newest, up_to.max(id(5)));
            assert_eq!(contents.kept.lost, up_to);
            loss
        };
        let up_to_9 = |cause| {
            Some(Loss {
                up_to: id(9),
                cause,
            })
        };
        let power = up_to_9(Cause::Power);
        let missing = up_to_9(Cause::Damage(UNREADABLE));
        let unknown = up_to_9(Cause::Damage(UNKNOWN_ANSWERS));
        let five = Some(id(5));
        for (given, expected, why) in [
            (
                (true, false, "one", "other", five),
                power,
                "the machine was started anew",
            ),
            ((true, false, "", "", five), power, "nobody knows"),
            ((true, false, "one", "other", None), power, "as above"),
            (
                (true, false, "one", "one", five),
                None,
                "only the process has died",
            ),
            (
                (true, true, "one", "other", five),
                None,
                "it was stopped in order",
            ),
            (
                (false, false, "one", "other", five),
                None,
                "what was answered was synced",
            ),
            ((false, false, "one", "other", None), None, "as above"),
            (
                (true, false, "one", "one", Some(id(9))),
                missing,
                "an answered one is missing",
            ),
            (
                (false, false, "one", "other", Some(id(9))),
                missing,
                "as above",
            ),
            ((true, true, "one", "one", Some(id(9))), missing, "as above"),
            (
                (false, false, "one", "one", None),
                unknown,
                "what was answered is not known",
            ),
            (
                (true, true, "one", "one", None),
                None,
                "it was stopped in order",
            ),
        ] {
            let (early, closed, boot, now, answered) = given;
            assert_eq!(
                lost(early, closed, boot, now, answered),
                expected,
                "{given:?}: {why}"
            );
        }
    }
}
