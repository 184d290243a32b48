//! What was published with which key, for as long as it may be sent again.

use super::attempt::{Attempt, Half};
use crate::hub::Published;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a key is known.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Keys that are known at most: about 5 MB.
pub const MOST_KEYS: usize = 32_768;

#[derive(Debug)]
struct Record {
    content: Half,
    published: Published,
}

/// The records, by their keys.
#[derive(Debug, Default)]
pub(super) struct Known {
    records: HashMap<Half, Record>,
    /// The keys, oldest first.
    order: VecDeque<(Instant, Half)>,
}

impl Known {
    /// What was published with this key, and whether that is the same as now.
    pub(super) fn find(&mut self, attempt: &Attempt, now: Instant) -> Option<(Published, bool)> {
        self.forget(now);
        let record = self.records.get(&attempt.key)?;
        Some((record.published, record.content == attempt.content))
    }

    /// Remembers what was published at this moment, which is not before that of the last call.
    pub(super) fn add(&mut self, attempt: &Attempt, published: Published, at: Instant) {
        let record = Record {
            content: attempt.content,
            published,
        };
        if self.records.insert(attempt.key, record).is_none() {
            self.order.push_back((at, attempt.key));
        }
        self.forget(at);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            if now.saturating_duration_since(*at) < LIFETIME && self.order.len() <= MOST_KEYS {
                return;
            }
            self.records.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ChannelName, EventId};

    fn attempt(number: usize) -> Attempt {
        let channel = ChannelName::broadcast();
        let message = ["x".into()];
        Attempt::new(b"", &channel, &number.to_string(), None, false, &message)
    }

    fn published(number: usize) -> Published {
        let id = EventId {
            ms: number as u64,
            seq: 0,
        };
        Published::new(id, id, 1)
    }

    #[test]
    fn a_key_is_known_for_ten_minutes() {
        let now = Instant::now();
        let mut known = Known::default();
        known.add(&attempt(1), published(1), now);
        let second = Duration::from_secs(1);
        assert!(known.find(&attempt(1), now + LIFETIME - second).is_some());
        assert!(known.find(&attempt(2), now).is_none());
        assert!(known.find(&attempt(1), now + LIFETIME).is_none());
        assert!(known.records.is_empty() && known.order.is_empty());
    }

    #[test]
    fn the_newest_keys_are_kept_and_the_memory_is_bounded() {
        let now = Instant::now();
        let mut known = Known::default();
        for number in 0..MOST_KEYS + 10 {
            known.add(&attempt(number), published(number), now);
        }
        assert_eq!(known.records.len(), MOST_KEYS);
        assert!(known.find(&attempt(9), now).is_none());
        let (found, is_same) = known.find(&attempt(10), now).expect("it is known");
        assert!(is_same);
        assert_eq!(found.first.ms, 10);
    }
}
