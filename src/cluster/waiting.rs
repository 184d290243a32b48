//! Those who wait for an answer, each with what is to be done when it comes: the writer says that Redis has stored
//! something, and whoever brings it to the hub hands the answer over. No I/O here. Called by the writer and the follower.

use crate::event::EventId;
use crate::hub::Refusal;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The first and the last id of what was published.
pub(super) type Ids = (EventId, EventId);

/// What is to be done with an answer. It must not wait for anybody.
pub(super) struct Then(Box<dyn FnOnce(Result<Ids, Refusal>) + Send>);

impl Then {
    pub(super) fn new(then: impl FnOnce(Result<Ids, Refusal>) + Send + 'static) -> Then {
        Then(Box::new(then))
    }

    pub(super) fn answer(self, answer: Result<Ids, Refusal>) {
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
pub(super) struct Waiting {
    /// Guards who waits, and how far the hub is.
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    arrived: EventId,
    answers: BTreeMap<EventId, Vec<(Ids, Then)>>,
}

impl Waiting {
    /// Gives this answer once its last id has arrived here.
    pub(super) fn wait_for(&self, ids: Ids, then: Then) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.arrived < ids.1 {
            line.answers.entry(ids.1).or_default().push((ids, then));
            return;
        }
        drop(line);
        then.answer(Ok(ids));
    }

    /// Everything up to `id` is in the hub.
    pub(super) fn arrived(&self, id: EventId) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.arrived = line.arrived.max(id);
        let after = EventId {
            ms: id.ms,
            seq: id.seq.saturating_add(1),
        };
        let rest = line.answers.split_off(&after);
        let ready = std::mem::replace(&mut line.answers, rest);
        drop(line);
        hand_over(ready);
    }

    /// The follower has lost its connection: what is stored is not waited for.
    pub(super) fn give_up(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = std::mem::take(&mut line.answers);
        drop(line);
        hand_over(ready);
    }
}

fn hand_over(answers: BTreeMap<EventId, Vec<(Ids, Then)>>) {
    for (ids, then) in answers.into_values().flatten() {
        then.answer(Ok(ids));
    }
}
