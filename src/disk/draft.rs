//! What is to be written with one of the next commits, and what is known to be there. No I/O here.

use super::record::{channel_key, channel_value, event_key, Batch, Pair};
use crate::event::{ChannelName, EventId};
use crate::hub::{Changes, ChannelRecord};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What may wait this long is written together with what cannot. A new start drops the same events again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Who leaves may soon be back: for this long, that is worth no write. In doubt a channel counts as followed, and is kept.
const LEAVING_MS: u64 = 60_000;

/// Written by the writer alone.
#[derive(Debug, Default)]
pub(super) struct Draft {
    batch: Batch,
    /// A channel is gone. Its events must not be seen with those of one that has its name later.
    pub(super) has_gone: bool,
    since: Option<Instant>,
    /// What the store says of channels, once the draft is written.
    records: HashMap<ChannelName, ChannelRecord>,
    /// As in `Meta`.
    pub(super) forgotten: EventId,
}

impl Draft {
    /// The store says this of channels, and `batch` is to be written.
    pub(super) fn new(records: &[(ChannelName, ChannelRecord)], batch: Batch) -> Draft {
        Draft {
            batch,
            records: records.iter().cloned().collect(),
            ..Draft::default()
        }
    }

    /// A new store is to say this of channels.
    pub(super) fn of_all(records: &[(ChannelName, ChannelRecord)]) -> Draft {
        let writes = records
            .iter()
            .map(|(name, record)| (channel_key(name), Some(channel_value(record))));
        Draft::new(records, writes.collect())
    }

    /// Takes records that are to be stored.
    pub(super) fn add(&mut self, records: Vec<Pair>) {
        let writes = records.into_iter().map(|(key, value)| (key, Some(value)));
        self.batch.extend(writes);
    }

    /// Takes events out that are not to be there.
    pub(super) fn remove(&mut self, ids: &[EventId]) {
        ids.iter().for_each(|id| self.remove_record(event_key(*id)));
    }

    /// Takes a record out.
    pub(super) fn remove_record(&mut self, key: Vec<u8>) {
        // What was never written needs not to be taken out.
        if self.batch.get(&key).is_none_or(Option::is_none) {
            self.batch.insert(key, None);
        } else {
            self.batch.remove(&key);
        }
        self.note_time();
    }

    /// Takes what has changed in the hub.
    pub(super) fn note(&mut self, changes: Changes) {
        self.remove(&changes.dropped);
        self.forgotten = changes.forgotten;
        for (name, record) in changes.channels {
            self.has_gone |= matches!(record, Some(ChannelRecord::Former(_)));
            match record {
                Some(record) => self.put(name, record),
                None => self.forget(&name),
            }
        }
        self.note_time();
    }

    /// Takes what is to be known of all channels beside their events. Who has just left is passed over, unless this is to
    /// be exact.
    pub(super) fn note_records(
        &mut self,
        records: HashMap<ChannelName, ChannelRecord>,
        now_ms: u64,
        is_exact: bool,
    ) {
        let known = self.records.keys();
        let gone = known.filter(|name| !records.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.forget(&name);
        }
        for (name, record) in records {
            if is_exact || !has_just_left(&record, now_ms) {
                self.put(name, record);
            }
        }
        self.note_time();
    }

    fn put(&mut self, name: ChannelName, record: ChannelRecord) {
        let known = self.records.get(&name);
        if known.is_none_or(|known| !are_same(known, &record)) {
            let value = channel_value(&record);
            self.batch.insert(channel_key(&name), Some(value));
            self.records.insert(name, record);
        }
    }

    fn forget(&mut self, name: &ChannelName) {
        if self.records.remove(name).is_some() {
            self.batch.insert(channel_key(name), None);
        }
    }

    fn note_time(&mut self) {
        if self.since.is_none() && !self.batch.is_empty() {
            self.since = Some(Instant::now());
        }
    }

    /// Whether it has waited for so long that it is written alone.
    pub(super) fn is_old(&self) -> bool {
        self.since
            .is_some_and(|since| since.elapsed() >= LONGEST_WAIT)
    }

    /// What is to be written.
    pub(super) fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let writes = self.batch.iter();
        writes.map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// It is written.
    pub(super) fn clear(&mut self) {
        self.batch.clear();
        self.has_gone = false;
        self.since = None;
    }
}

fn has_just_left(record: &ChannelRecord, now_ms: u64) -> bool {
    match record {
        ChannelRecord::There {
            last_used_ms: Some(ms),
            ..
        } => ms + LEAVING_MS > now_ms,
        _ => false,
    }
}

/// Times are computed from two clocks, and so differ a little from one time to the next.
fn are_same(known: &ChannelRecord, record: &ChannelRecord) -> bool {
    let without_time = |record: &ChannelRecord| match *record {
        ChannelRecord::There {
            dropped,
            messages,
            last_used_ms: Some(_),
        } => ChannelRecord::There {
            dropped,
            messages,
            last_used_ms: Some(0),
        },
        other => other,
    };
    let time = |record: &ChannelRecord| match *record {
        ChannelRecord::There { last_used_ms, .. } => last_used_ms.unwrap_or_default(),
        ChannelRecord::Former(_) => 0,
    };
    without_time(known) == without_time(record) && time(known).abs_diff(time(record)) < 1000
}
