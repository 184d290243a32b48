//! Those who wait for an answer: one slot each, which the writer fills and the follower hands over. No I/O here. Called by
//! the routes' side of the cluster and by both of its threads.

use super::until;
use crate::event::EventId;
use crate::hub::Refusal;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first and the last id of what was published.
pub(super) type Ids = (EventId, EventId);

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Nothing is known.
    None,
    /// Redis has stored it; this server has yet to read it.
    Stored(Ids),
    /// This is it.
    Final(Result<Ids, Refusal>),
}

/// Where one request finds its answer.
#[derive(Debug)]
pub(super) struct Slot {
    /// Guards the answer.
    answer: Mutex<Answer>,
    /// Signalled when the answer is final.
    is_final: Condvar,
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot {
            answer: Mutex::new(Answer::None),
            is_final: Condvar::new(),
        }
    }

    /// Waits for the final answer. What is stored when the time is over counts.
    pub(super) fn wait(&self, bound: Duration) -> Result<Ids, Refusal> {
        let end = Instant::now() + bound;
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until(end);
            match *answer {
                Answer::Final(result) => return result,
                Answer::Stored(ids) if left.is_zero() => return Ok(ids),
                Answer::None if left.is_zero() => return Err(Refusal::Unconfirmed),
                _ => {}
            }
            answer = self
                .is_final
                .wait_timeout(answer, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Gives the final answer.
    pub(super) fn answer(&self, result: Result<Ids, Refusal>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Answer::Final(result);
        self.is_final.notify_one();
    }

    fn note_stored(&self, ids: Ids) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Answer::Stored(ids);
    }

    fn hand_over(&self) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        match *answer {
            Answer::Stored(ids) => *answer = Answer::Final(Ok(ids)),
            Answer::None => *answer = Answer::Final(Ok(Ids::default())),
            Answer::Final(_) => return,
        }
        drop(answer);
        self.is_final.notify_one();
    }
}

/// Slots that wait until the follower has brought an id to the hub.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Guards who waits, and how far the follower is.
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    arrived: EventId,
    slots: BTreeMap<EventId, Vec<Arc<Slot>>>,
}

impl Waiting {
    pub(super) fn new() -> Waiting {
        Waiting {
            line: Mutex::new(Line::default()),
        }
    }

    /// Redis has stored what this slot waits for: it is answered once that has arrived here.
    pub(super) fn stored(&self, ids: Ids, slot: &Arc<Slot>) {
        slot.note_stored(ids);
        self.wait_for(ids.1, slot);
    }

    /// The slot is answered once this id has arrived here.
    pub(super) fn wait_for(&self, id: EventId, slot: &Arc<Slot>) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.arrived < id {
            line.slots.entry(id).or_default().push(slot.clone());
            return;
        }
        drop(line);
        slot.hand_over();
    }

    /// Everything up to `id` is in the hub.
    pub(super) fn arrived(&self, id: EventId) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.arrived = line.arrived.max(id);
        let after = EventId {
            ms: id.ms,
            seq: id.seq.saturating_add(1),
        };
        let rest = line.slots.split_off(&after);
        let ready = std::mem::replace(&mut line.slots, rest);
        drop(line);
        hand_over_all(ready);
    }

    /// The follower has lost its connection: what is stored is not waited for.
    pub(super) fn give_up(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = std::mem::take(&mut line.slots);
        drop(line);
        hand_over_all(ready);
    }
}

fn hand_over_all(slots: BTreeMap<EventId, Vec<Arc<Slot>>>) {
    for slot in slots.into_values().flatten() {
        slot.hand_over();
    }
}
