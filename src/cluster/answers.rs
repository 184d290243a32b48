//! Publishers that wait for an answer: the writer says that Redis has stored something, and whoever brings it to the
//! hub hands the answer over. No I/O here.

use super::system::{lock, Mutex};
use crate::event::EventId;
use crate::hub::Refusal;
use std::collections::BTreeMap;

/// Redis's answer to a publish.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    pub(super) first: EventId,
    pub(super) last: EventId,
    /// The number of clients to report, if that is fixed: with a key, every try gets the same answer.
    pub(super) clients: Option<usize>,
    /// It had been stored before, with the same key.
    pub(super) is_repeated: bool,
}

impl Stored {
    /// For messages that were stored now.
    pub(super) fn new(first: EventId, last: EventId) -> Stored {
        Stored {
            first,
            last,
            ..Stored::default()
        }
    }

    /// The ids of all its messages, if they can be told from the first and the last one: Redis numbers the entries of
    /// one millisecond without a gap.
    pub(super) fn ids(&self, messages: usize) -> Option<impl Iterator<Item = EventId>> {
        let Stored { first, last, .. } = *self;
        let is_known =
            first.ms == last.ms && last.seq.checked_sub(first.seq)? + 1 == messages as u64;
        is_known.then(|| (first.seq..=last.seq).map(move |seq| EventId { seq, ..first }))
    }
}

/// What is to be done with an answer. It must not wait for anybody.
pub(super) type Then = Box<dyn FnOnce(Result<Stored, Refusal>) + Send>;

/// Answers that wait until an id has reached the hub.
#[derive(Default)]
pub(super) struct PendingAnswers {
    /// Guards who waits, and how far the hub has come.
    state: Mutex<Arrived>,
}

#[derive(Default)]
struct Arrived {
    up_to: EventId,
    answers: BTreeMap<EventId, Vec<(Stored, Then)>>,
}

impl PendingAnswers {
    /// Gives this answer once its last id is in the hub.
    pub(super) fn wait_for(&self, stored: Stored, then: Then) {
        let mut state = lock(&self.state);
        if state.up_to < stored.last {
            let waiting = state.answers.entry(stored.last).or_default();
            waiting.push((stored, then));
            return;
        }
        drop(state);
        then(Ok(stored));
    }

    /// Everything up to `id` is in the hub.
    pub(super) fn arrived(&self, id: EventId) {
        let mut state = lock(&self.state);
        state.up_to = state.up_to.max(id);
        let mut ready = Vec::new();
        while let Some(first) = state.answers.first_entry() {
            if *first.key() > id {
                break;
            }
            ready.extend(first.remove());
        }
        drop(state);
        hand_over(ready);
    }

    /// The follower has lost its connection: answers everybody whose messages are stored.
    pub(super) fn give_up(&self) {
        let ready = std::mem::take(&mut lock(&self.state).answers);
        hand_over(ready.into_values().flatten().collect());
    }

    /// Ids start over.
    pub(super) fn start_over(&self) {
        self.give_up();
        lock(&self.state).up_to = EventId::ZERO;
    }
}

fn hand_over(answers: Vec<(Stored, Then)>) {
    for (stored, then) in answers {
        then(Ok(stored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_between_are_known_if_they_are_of_one_millisecond() {
        let ids = |first: (u64, u64), last: (u64, u64), messages| {
            let [first, last] = [first, last].map(|(ms, seq)| EventId { ms, seq });
            let ids = Stored::new(first, last).ids(messages)?;
            Some(ids.map(|id| (id.ms, id.seq)).collect::<Vec<_>>())
        };
        assert_eq!(ids((7, 3), (7, 3), 1), Some(vec![(7, 3)]));
        assert_eq!(ids((7, 3), (7, 5), 3), Some(vec![(7, 3), (7, 4), (7, 5)]));
        // The clock went on in the middle: the last of 7 is not known.
        assert_eq!(ids((7, 3), (8, 5), 3), None);
        assert_eq!(ids((7, 3), (7, 6), 3), None);
        assert_eq!(ids((7, 3), (7, 2), 2), None);
    }
}
