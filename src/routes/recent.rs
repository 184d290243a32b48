//! The last minutes: one sample per second, taken by the thread of the live statistics, for `/stats` and
//! `/stats/history`.

use crate::counters::{Buckets, Counters, Histogram};
use crate::locks::lock;
use crate::moments::since_1970;
use serde_json::{json, Map, Value};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

/// Five minutes of samples.
const SAMPLES: usize = 300;

const MINUTE: usize = 60;

/// The refusals that an operator looks for: a missing or bad token, a missing right, and limits.
const REFUSALS: [u16; 4] = [401, 403, 429, 503];

/// Oldest first. Held for a few lines.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Sample>>);

#[derive(Debug)]
struct Sample {
    at: SystemTime,
    connected_clients: usize,
    published: u64,
    delivered: u64,
    delay: Buckets,
    refused: [u64; REFUSALS.len()],
}

impl Recent {
    /// Called once a second.
    pub(super) fn note(&self, connected_clients: usize, counters: &Counters) {
        let sample = Sample {
            at: SystemTime::now(),
            connected_clients,
            published: counters.published.get(),
            delivered: counters.delivered.get(),
            delay: counters.delay.buckets(),
            refused: refused(counters),
        };
        let mut samples = lock(&self.0);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// For `/stats/history`.
    pub(super) fn history(&self) -> Value {
        let samples = lock(&self.0);
        let samples = samples.iter().map(|sample| {
            json!({
                "timestamp": since_1970(sample.at).as_millis() as u64,
                "connected_clients": sample.connected_clients,
                "messages_published": sample.published,
                "messages_delivered": sample.delivered,
            })
        });
        json!({ "interval_seconds": 1, "samples": samples.collect::<Vec<_>>() })
    }

    /// How long deliveries took in the last minute, and how many requests were refused.
    pub(super) fn last_minute(&self, counters: &Counters) -> Value {
        let (mut delay, mut refused) = (counters.delay.buckets(), refused(counters));
        let samples = lock(&self.0);
        if let Some(before) = samples.get(samples.len().saturating_sub(MINUTE)) {
            subtract(&mut delay, &before.delay);
            subtract(&mut refused, &before.refused);
        }
        let seconds = |part| Histogram::quantile(&delay, part).map(|time| time.as_secs_f64());
        let refused = REFUSALS.iter().zip(refused);
        let refused = refused.map(|(status, count)| (status.to_string(), count.into()));
        json!({
            "delivery_delay_seconds": { "p50": seconds(0.5), "p99": seconds(0.99) },
            "refused": refused.collect::<Map<String, Value>>(),
        })
    }
}

fn refused(counters: &Counters) -> [u64; REFUSALS.len()] {
    REFUSALS.map(|status| counters.answers.of_clients(status))
}

fn subtract(now: &mut [u64], before: &[u64]) {
    // A counter may have been read just before the sample was taken.
    let pairs = now.iter_mut().zip(before);
    pairs.for_each(|(now, before)| *now = now.saturating_sub(*before));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Family;

    #[test]
    fn five_minutes_are_kept_and_one_is_looked_at() {
        let (counters, recent) = (Counters::default(), Recent::default());
        let count = || recent.last_minute(&counters)["refused"]["503"].clone();
        for second in 0..SAMPLES + 7 {
            recent.note(0, &counters);
            counters.published.add(1);
            counters.answers.count(Family::Publish, 503);
            let expected = (second + 1).min(MINUTE);
            assert_eq!(count(), expected, "after {second} s");
        }
        let samples = recent.history()["samples"].take();
        assert_eq!(samples.as_array().map(Vec::len), Some(SAMPLES));
        assert_eq!(samples[0]["messages_published"], 7, "the oldest went");
    }
}
