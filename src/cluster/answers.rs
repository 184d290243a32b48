//! Those who wait for an answer, each with what is to be done when it comes: the writer says that Redis has stored
//! something, and whoever brings it to the hub hands the answer over. No I/O here. Called by the writer and the follower.

use super::system::Mutex;
use crate::event::EventId;
use crate::hub::Refusal;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{MutexGuard, PoisonError};

/// What Redis says of a publish.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    /// The first and the last id.
    pub(super) first: EventId,
    pub(super) last: EventId,
    /// What is to be told of the clients, if that is fixed: with a key, every try gets the same answer.
    pub(super) clients: Option<usize>,
    /// It was there before, with the same key.
    pub(super) is_repeated: bool,
}

impl Stored {
    /// Messages of these ids, the first time.
    pub(super) fn new(first: EventId, last: EventId) -> Stored {
        Stored {
            first,
            last,
            ..Stored::default()
        }
    }
}

/// What is to be done with an answer. It must not wait for anybody.
pub(super) struct Then(Box<dyn FnOnce(Result<Stored, Refusal>) + Send>);

impl Then {
    pub(super) fn new(then: impl FnOnce(Result<Stored, Refusal>) + Send + 'static) -> Then {
        Then(Box::new(then))
    }

    pub(super) fn answer(self, answer: Result<Stored, Refusal>) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then(…)")
    }
}

/// Answers that wait until an id has been brought to the hub.
#[derive(Debug, Default)]
pub(super) struct PendingAnswers {
    /// Guards who waits, and how far the hub is.
    state: Mutex<Arrived>,
}

#[derive(Debug, Default)]
struct Arrived {
    up_to: EventId,
    answers: BTreeMap<EventId, Vec<(Stored, Then)>>,
}

impl PendingAnswers {
    /// Gives this answer once its last id has arrived here.
    pub(super) fn wait_for(&self, stored: Stored, then: Then) {
        let mut state = self.lock();
        if state.up_to < stored.last {
            let waiting = state.answers.entry(stored.last).or_default();
            waiting.push((stored, then));
            return;
        }
        drop(state);
        then.answer(Ok(stored));
    }

    /// Everything up to `id` is in the hub.
    pub(super) fn arrived(&self, id: EventId) {
        let mut state = self.lock();
        state.up_to = state.up_to.max(id);
        let mut rest = state.answers.split_off(&id);
        let own = rest.remove_entry(&id);
        let mut ready = std::mem::replace(&mut state.answers, rest);
        ready.extend(own);
        drop(state);
        hand_over(ready);
    }

    /// The follower has lost its connection: what is stored is not waited for.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        let ready = std::mem::take(&mut state.answers);
        drop(state);
        hand_over(ready);
    }

    /// Ids begin at the bottom again.
    pub(super) fn start_over(&self) {
        self.give_up();
        self.lock().up_to = EventId::ZERO;
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hand_over(answers: BTreeMap<EventId, Vec<(Stored, Then)>>) {
    for (stored, then) in answers.into_values().flatten() {
        then.answer(Ok(stored));
    }
}
