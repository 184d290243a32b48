//! A try that is under way, and those who came behind it with the same key.

use crate::hub::{Published, Refusal};
use crate::locks::lock;
use std::fmt;
use std::sync::Mutex;

/// What came of a try.
pub type Outcome = Result<Published, Refusal>;

type Then = Box<dyn FnOnce(Outcome) + Send>;

enum State {
    UnderWay(Vec<Then>),
    Over(Outcome),
}

/// The first of several tries with one key.
pub struct FirstTry {
    /// Guards who waits. Nobody is called while it is held.
    state: Mutex<State>,
}

impl FirstTry {
    pub(super) fn new() -> FirstTry {
        FirstTry {
            state: Mutex::new(State::UnderWay(Vec::new())),
        }
    }

    /// Has `then` called with what came of it: at once if it is over, or else by whoever ends it. It must not wait for
    /// anybody.
    pub fn then(&self, then: impl FnOnce(Outcome) + Send + 'static) {
        let mut state = lock(&self.state);
        let outcome = match &mut *state {
            State::UnderWay(waiting) => return waiting.push(Box::new(then)),
            State::Over(outcome) => outcome.clone(),
        };
        drop(state);
        then(outcome);
    }

    pub(super) fn end(&self, outcome: &Outcome) {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over(outcome.clone()));
        if let State::UnderWay(waiting) = state {
            waiting.into_iter().for_each(|then| then(outcome.clone()));
        }
    }
}

impl fmt::Debug for FirstTry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstTry(…)")
    }
}
