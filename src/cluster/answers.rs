//! Those who wait for an answer, each with what is to be done when it comes: the writer says that Redis has stored
//! something, and whoever brings it to the hub hands the answer over. No I/O here. Called by the writer and the follower.

use crate::event::EventId;
use crate::waiting::{Ids, Then};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Answers that wait until an id has been brought to the hub.
#[derive(Debug, Default)]
pub(super) struct PendingAnswers {
    /// Guards who waits, and how far the hub is.
    state: Mutex<Arrived>,
}

#[derive(Debug, Default)]
struct Arrived {
    up_to: EventId,
    answers: BTreeMap<EventId, Vec<(Ids, Then)>>,
}

impl PendingAnswers {
    /// Gives this answer once its last id has arrived here.
    pub(super) fn wait_for(&self, ids: Ids, then: Then) {
        let mut state = self.lock();
        if state.up_to < ids.1 {
            state.answers.entry(ids.1).or_default().push((ids, then));
            return;
        }
        drop(state);
        then.answer(Ok(ids));
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

fn hand_over(answers: BTreeMap<EventId, Vec<(Ids, Then)>>) {
    for (ids, then) in answers.into_values().flatten() {
        then.answer(Ok(ids));
    }
}
