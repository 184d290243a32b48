//! The record of a run: what publishers were told, what clients saw, and when.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// `MILLISECONDS-SEQUENCE`.
pub type Id = (u64, u64);

/// The id, if it is one. `0` is the smallest.
pub fn parse_id(text: &str) -> Option<Id> {
    if text == "0" {
        return Some((0, 0));
    }
    let (ms, seq) = text.split_once('-')?;
    Some((ms.parse().ok()?, seq.parse().ok()?))
}

/// What a publisher was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, with the ids of the first and of the last message.
    Accepted(Id, Id),
    /// Nothing was published.
    Refused,
    /// It may have been published or not.
    Unknown(String),
    /// What no publisher should ever get.
    Wrong(String),
}

/// A request to publish: one message, or a batch.
#[derive(Clone, Debug)]
pub struct Request {
    pub publisher: usize,
    pub server: usize,
    pub channel: String,
    /// The beginning of each message's text, which is unique.
    pub keys: Vec<String>,
    /// Since the beginning of the run, as all times in here.
    pub begun: Duration,
    pub ended: Duration,
    pub answer: Answer,
}

/// What a client saw or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It asked this server for what came after this id.
    Asked {
        server: usize,
        last: String,
    },
    /// It has a stream.
    Joined,
    Message {
        channel: String,
        id: Id,
        key: String,
    },
    Gap {
        channel: String,
        after: Id,
    },
    /// Its stream ended, or there was none.
    Left(String),
    /// What no client should ever see.
    Wrong(String),
}

/// What one client saw, in its order.
#[derive(Debug, Default)]
pub struct History {
    /// What it follows, `broadcast` included.
    pub channels: Vec<String>,
    seen: Mutex<Vec<(Duration, Seen)>>,
}

impl History {
    pub fn of(channels: Vec<String>) -> History {
        History {
            channels,
            seen: Mutex::default(),
        }
    }

    pub fn add(&self, at: Duration, seen: Seen) {
        self.with(|all| all.push((at, seen)));
    }

    pub fn all(&self) -> Vec<(Duration, Seen)> {
        self.with(|all| all.clone())
    }

    /// Whether it has the message of this key.
    pub fn has(&self, wanted: &str) -> bool {
        let fits = |(_, seen): &(Duration, Seen)| matches!(seen, Seen::Message { key, .. } if key == wanted);
        self.with(|all| all.iter().rev().any(fits))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<(Duration, Seen)>) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn show_id(id: Id) -> String {
    format!("{}-{}", id.0, id.1)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Answer::Accepted(first, last) if first == last => {
                write!(f, "accepted as {}", show_id(*first))
            }
            Answer::Accepted(first, last) => {
                write!(f, "accepted as {} to {}", show_id(*first), show_id(*last))
            }
            Answer::Refused => f.write_str("refused"),
            Answer::Unknown(what) => write!(f, "unknown: {what}"),
            Answer::Wrong(what) => write!(f, "WRONG: {what}"),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys = match self.keys.as_slice() {
            [first, .., last] => format!("{first} to {last}"),
            keys => keys.concat(),
        };
        write!(
            f,
            "{keys} on {} through server {}, begun at {:.3}: {}",
            self.channel,
            self.server,
            self.begun.as_secs_f64(),
            self.answer
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Seen::Asked { server, last } => write!(f, "asks server {server} after {last}"),
            Seen::Joined => f.write_str("has a stream"),
            Seen::Message { channel, id, key } => write!(f, "{} {channel} {key}", show_id(*id)),
            Seen::Gap { channel, after } => write!(f, "gap on {channel} after {}", show_id(*after)),
            Seen::Left(why) => write!(f, "left: {why}"),
            Seen::Wrong(what) => write!(f, "WRONG: {what}"),
        }
    }
}
