//! Counters of what the server has done since its start. Atomics, so nobody waits here.

use crate::http::status::STATUSES;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The current count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of a histogram's buckets. Each counts what lies above the bound before its own.
pub type Buckets = [u64; Histogram::BOUNDS_MS.len() + 1];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of `BOUNDS_MS`, and one for longer durations.
    buckets: [Counter; Histogram::BOUNDS_MS.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// The buckets' upper bounds, in milliseconds.
    pub const BOUNDS_MS: [f64; 16] = [
        0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0,
        5000.0, 10_000.0,
    ];

    /// Counts `n` times this duration.
    pub fn observe(&self, duration: Duration, n: u64) {
        let ms = duration.as_secs_f64() * 1000.0;
        let bucket = Self::BOUNDS_MS.partition_point(|&bound| bound < ms);
        self.buckets[bucket].add(n);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.add(us.saturating_mul(n));
    }

    /// The current counts.
    pub fn buckets(&self) -> Buckets {
        std::array::from_fn(|place| self.buckets[place].get())
    }

    /// The quantile `part` (0 to 1), as near as buckets tell: times between two bounds count as evenly spread, and
    /// those above the last bound count as that bound. `None` if nothing was counted.
    pub fn quantile(buckets: &Buckets, part: f64) -> Option<Duration> {
        let all: u64 = buckets.iter().sum();
        let wanted = part * all as f64;
        let mut below = 0.0;
        let mut lower = 0.0;
        for (&count, &upper) in buckets.iter().zip(&Self::BOUNDS_MS) {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                let ms = lower + (upper - lower) * (wanted - below) / count;
                return Some(Duration::from_secs_f64(ms / 1000.0));
            }
            below += count;
            lower = upper;
        }
        (all > 0).then(|| Duration::from_secs_f64(lower / 1000.0))
    }

    /// For each bound in seconds, and for infinity, the number of durations up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = Self::BOUNDS_MS.iter().map(|ms| ms / 1000.0);
        let mut count = 0;
        bounds
            .chain([f64::INFINITY])
            .zip(&self.buckets)
            .map(move |(bound, bucket)| {
                count += bucket.get();
                (bound, count)
            })
    }

    /// The sum of all durations, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
    }
}

/// The part of the API that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `/publish`
    Publish,
    /// `/sse`
    Subscribe,
    /// `/messages`
    Messages,
    /// Everything else, the server's own probes included.
    Other,
}

impl Family {
    const ALL: [(Family, &'static str); 4] = [
        (Family::Publish, "publish"),
        (Family::Subscribe, "sse"),
        (Family::Messages, "messages"),
        (Family::Other, "other"),
    ];
}

/// The number of answers with each status.
#[derive(Debug, Default)]
pub struct Answers([[Counter; STATUSES.len()]; Family::ALL.len()]);

impl Answers {
    /// Counts an answer. The server uses no other statuses.
    pub fn count(&self, family: Family, status: u16) {
        if let Some(counter) = self.counter(family, status) {
            counter.add(1);
        }
    }

    /// How many publishes, subscribes and reads got this status.
    pub fn of_clients(&self, status: u16) -> u64 {
        [Family::Publish, Family::Subscribe, Family::Messages]
            .iter()
            .filter_map(|&family| self.counter(family, status))
            .map(Counter::get)
            .sum()
    }

    fn counter(&self, family: Family, status: u16) -> Option<&Counter> {
        let place = STATUSES.iter().position(|(known, _)| *known == status)?;
        Some(&self.0[family as usize][place])
    }

    /// Each family's name, each status, and its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u16, u64)> + '_ {
        Family::ALL.iter().flat_map(move |&(family, name)| {
            let counters = self.0[family as usize].iter();
            let with_status = STATUSES.iter().zip(counters);
            with_status.map(move |((status, _), counter)| (name, *status, counter.get()))
        })
    }
}

/// Why a client's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was a wait for messages, and has its answer.
    Answered,
    /// An operator has ended it.
    Ended,
    /// Its permit ran out.
    Expired,
    /// The client has closed its connection.
    Gone,
    /// Its permit was taken away.
    Revoked,
    /// What the client has does not match what is retained: it has to reconnect.
    SentAway,
    /// The hub closed. Everything queued was delivered.
    Shutdown,
    /// The client read too slowly.
    Slow,
}

impl End {
    /// In the enum's order.
    const NAMES: [&'static str; 8] = [
        "answered",
        "ended",
        "expired",
        "gone",
        "revoked",
        "sent_away",
        "shutdown",
        "slow",
    ];

    /// Its name in the log, in metrics and in notices.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The number of streams that have ended for each reason.
#[derive(Debug, Default)]
pub struct EndCounts([Counter; End::NAMES.len()]);

impl EndCounts {
    /// Counts a stream.
    pub fn count(&self, end: End) {
        self.0[end as usize].add(1);
    }

    /// The name of each reason, and its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        End::NAMES.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

/// What has happened since the start.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    /// The start by the wall clock.
    pub started_at: SystemTime,
    /// Messages accepted from publishers.
    pub published: Counter,
    /// Publishes that had been published before, with the same key, and got that answer.
    pub repeated: Counter,
    /// Messages written to clients, replays included.
    pub delivered: Counter,
    /// Clients disconnected because they read too slowly.
    pub slow_clients: Counter,
    /// Time from a message's publish to the end of its write to a client; live messages only.
    pub delay: Histogram,
    /// Answers, by status.
    pub answers: Answers,
    /// Clients whose stream has ended, by the reason in the log.
    pub disconnected: EndCounts,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            started: Instant::now(),
            started_at: SystemTime::now(),
            published: Counter::default(),
            repeated: Counter::default(),
            delivered: Counter::default(),
            slow_clients: Counter::default(),
            delay: Histogram::default(),
            answers: Answers::default(),
            disconnected: EndCounts::default(),
        }
    }
}

impl Counters {
    /// Whole seconds since the start.
    pub fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_own_bucket() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(100), 2);
        histogram.observe(Duration::from_micros(101), 1);
        histogram.observe(Duration::from_secs(60), 1);
        let counts: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!(counts[..2], [(0.0001, 2), (0.00025, 3)]);
        assert_eq!(counts[counts.len() - 2..], [(10.0, 3), (f64::INFINITY, 4)]);
        assert_eq!(histogram.sum_seconds(), 60.000301);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let quantile = |buckets: &Buckets, part| {
            Histogram::quantile(buckets, part).map(|time| time.as_micros())
        };
        let mut buckets = Buckets::default();
        assert_eq!(quantile(&buckets, 0.5), None);
        // 50 up to 0.1 ms, and 50 from 1 ms to 2.5 ms.
        buckets[0] = 50;
        buckets[4] = 50;
        let parts = [0.25, 0.5, 0.75, 1.0].map(|part| quantile(&buckets, part));
        assert_eq!(parts, [Some(50), Some(100), Some(1750), Some(2500)]);
        // Above the last bound.
        buckets[16] = 1000;
        assert_eq!(quantile(&buckets, 0.99), Some(10_000_000));
    }
}
