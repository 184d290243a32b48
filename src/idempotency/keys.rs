//! Which keys are under way, and which are known.

use super::attempt::{Attempt, Half};
use super::first_try::{FirstTry, Outcome};
use super::known::{Known, LIFETIME};
use crate::hub::{Published, Refusal};
use crate::locks::lock;
use crate::moments::before;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a try meets.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: its owner publishes.
    First(Claim),
    /// The first is under way.
    UnderWay(Arc<FirstTry>),
    /// It was published already, like this.
    Known(Published),
    /// The key belongs to something else that was, or is just being, published.
    OtherContent,
}

/// One for the whole server.
#[derive(Debug)]
pub struct Keys {
    /// Guards which keys are in use. Held for a few lines.
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    /// Each with its content.
    under_way: HashMap<Half, (Half, Arc<FirstTry>)>,
    /// None where whoever stores the messages keeps the records.
    known: Option<Known>,
}

impl Keys {
    /// With the records in memory.
    pub fn in_memory() -> Keys {
        Keys::new(Some(Known::default()))
    }

    /// Only with what is under way: whoever stores the messages knows what was published with a key.
    pub fn kept_elsewhere() -> Keys {
        Keys::new(None)
    }

    fn new(known: Option<Known>) -> Keys {
        let table = Table {
            under_way: HashMap::new(),
            known,
        };
        Keys {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// Puts a record back that an earlier run stored this long ago. Oldest first, before the first try.
    pub fn restore(&self, attempt: &Attempt, published: Published, age: Duration) {
        let at = before(Instant::now(), age);
        if let (Some(known), true) = (&mut lock(&self.table).known, age < LIFETIME) {
            known.add(attempt, published, at);
        }
    }

    /// Begins a try.
    pub fn begin(&self, attempt: Attempt) -> Begun {
        let mut table = lock(&self.table);
        if let Some((content, first)) = table.under_way.get(&attempt.key) {
            return if *content == attempt.content {
                Begun::UnderWay(first.clone())
            } else {
                Begun::OtherContent
            };
        }
        let known = table.known.as_mut();
        match known.and_then(|known| known.find(&attempt, Instant::now())) {
            Some((published, true)) => return Begun::Known(published),
            Some((_, false)) => return Begun::OtherContent,
            None => {}
        }
        let first = Arc::new(FirstTry::new());
        let own = (attempt.content, first.clone());
        table.under_way.insert(attempt.key, own);
        Begun::First(Claim {
            table: self.table.clone(),
            attempt,
            first,
            is_over: false,
        })
    }
}

/// The right and the duty to publish what belongs to a key. Nobody else does so until it has ended.
#[derive(Debug)]
pub struct Claim {
    table: Arc<Mutex<Table>>,
    attempt: Attempt,
    first: Arc<FirstTry>,
    is_over: bool,
}

impl Claim {
    /// Says what came of it, to all who wait for that. The key is used up if it was published.
    pub fn end(mut self, outcome: &Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: &Outcome) {
        self.is_over = true;
        let mut table = lock(&self.table);
        table.under_way.remove(&self.attempt.key);
        if let (Some(known), Ok(published)) = (&mut table.known, outcome) {
            known.add(&self.attempt, *published, Instant::now());
        }
        drop(table);
        self.first.end(outcome);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_over {
            self.finish(&Err(Refusal::GivenUp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ChannelName, EventId};
    use std::sync::mpsc;

    fn attempt(message: &str) -> Attempt {
        let channel = ChannelName::broadcast();
        Attempt::new(b"", &channel, "key", None, false, &[message.into()])
    }

    const PUBLISHED: Published = Published {
        first: EventId { ms: 7, seq: 0 },
        last: EventId { ms: 7, seq: 0 },
        count: 1,
        clients: 3,
        is_repeated: false,
    };

    fn first(keys: &Keys) -> Claim {
        match keys.begin(attempt("x")) {
            Begun::First(claim) => claim,
            other => panic!("not the first: {other:?}"),
        }
    }

    /// Where the answer of a try comes out that has to wait.
    fn second(keys: &Keys) -> mpsc::Receiver<Outcome> {
        let Begun::UnderWay(first) = keys.begin(attempt("x")) else {
            panic!("none is under way");
        };
        let (sender, answer) = mpsc::channel();
        first.then(move |outcome| drop(sender.send(outcome)));
        answer
    }

    #[test]
    fn a_second_try_waits_for_the_first_and_a_later_one_finds_the_record() {
        let keys = Keys::in_memory();
        let claim = first(&keys);
        let answer = second(&keys);
        assert!(matches!(keys.begin(attempt("y")), Begun::OtherContent));
        assert!(answer.try_recv().is_err());
        claim.end(&Ok(PUBLISHED));
        let got = answer.try_recv().expect("it was called");
        assert_eq!(got.expect("it was published").clients, 3);
        assert!(matches!(keys.begin(attempt("x")), Begun::Known(_)));
        assert!(matches!(keys.begin(attempt("y")), Begun::OtherContent));
    }

    #[test]
    fn a_try_that_was_refused_or_given_up_does_not_use_the_key_up() {
        let keys = Keys::in_memory();
        let claim = first(&keys);
        let answer = second(&keys);
        claim.end(&Err(Refusal::Closing));
        assert_eq!(answer.try_recv().unwrap().unwrap_err(), Refusal::Closing);
        let claim = first(&keys);
        let answer = second(&keys);
        drop(claim);
        assert_eq!(answer.try_recv().unwrap().unwrap_err(), Refusal::GivenUp);
        first(&keys).end(&Ok(PUBLISHED));
        assert!(matches!(keys.begin(attempt("x")), Begun::Known(_)));
    }

    #[test]
    fn a_try_after_the_first_is_answered_at_once() {
        let keys = Keys::in_memory();
        let claim = first(&keys);
        let Begun::UnderWay(under_way) = keys.begin(attempt("x")) else {
            panic!("none is under way");
        };
        claim.end(&Ok(PUBLISHED));
        let (sender, answer) = mpsc::channel();
        under_way.then(move |outcome| drop(sender.send(outcome)));
        assert!(answer.try_recv().is_ok());
    }

    #[test]
    fn what_is_kept_elsewhere_is_not_kept_here_and_what_was_stored_comes_back() {
        let keys = Keys::kept_elsewhere();
        first(&keys).end(&Ok(PUBLISHED));
        assert!(matches!(keys.begin(attempt("x")), Begun::First(_)));
        let keys = Keys::in_memory();
        keys.restore(&attempt("x"), PUBLISHED, Duration::from_millis(1));
        assert!(matches!(keys.begin(attempt("x")), Begun::Known(_)));
        let keys = Keys::in_memory();
        keys.restore(&attempt("x"), PUBLISHED, super::super::LIFETIME);
        assert!(matches!(keys.begin(attempt("x")), Begun::First(_)));
    }
}
