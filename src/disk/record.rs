//! Records: how each thing is stored, as a key and a value. No I/O here.
//!
//! | key | value |
//! | --- | --- |
//! | 1, channel | what is known of the channel beside its events |
//! | 2, id | an event |
//! | 3, id | what was published with a key, by the id of its first message |
//! | 4 | what is known of the whole |
//! | 5 | nothing: it was written to see whether there is room, and goes with the next commit |
//!
//! Numbers are big-endian, so keys are in the order of ids. What is written with each commit is side by side at the end.

use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use crate::hub::{ChannelRecord, KeptEvent, Published};
use crate::idempotency::{Attempt, Half};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Values to be written, and `None` where a record goes, by their keys.
pub(super) type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The first number of what a newer version writes so that this one cannot read it.
pub(super) const FORMAT: u32 = 1;

/// Bytes of a checksum.
pub(super) const SUM_BYTES: usize = 8;

const CHANNEL: u8 = 1;
const EVENT: u8 = 2;
const PUBLISHED: u8 = 3;
pub(super) const META_KEY: &[u8] = &[4];
/// Holds something until the next commit, to see whether there is room.
pub(super) const PROBE_KEY: &[u8] = &[5];

/// What is known of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) newest: EventId,
    pub(super) forgotten: EventId,
    pub(super) lost: EventId,
    /// No id that has not been synced is of this time or later, in ms.
    pub(super) ceiling_ms: u64,
    /// Publishers were answered before their messages were synced.
    pub(super) answers_early: bool,
    /// The server has stopped in order: nothing was on its way.
    pub(super) is_closed: bool,
    /// Which run of the machine has written it, if that is known.
    pub(super) boot: String,
}

/// A publish with a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRecord {
    pub(super) attempt: Attempt,
    pub(super) published: Published,
    pub(super) at_ms: u64,
}

/// One record of the store.
#[derive(Debug)]
pub(super) enum Record {
    Channel(ChannelName, ChannelRecord),
    Event(KeptEvent),
    Published(KeyRecord),
    Meta(Meta),
}

pub(super) fn event_key(id: EventId) -> Vec<u8> {
    id_key(EVENT, id)
}

pub(super) fn published_key(id: EventId) -> Vec<u8> {
    id_key(PUBLISHED, id)
}

fn id_key(kind: u8, id: EventId) -> Vec<u8> {
    let mut key = vec![kind];
    put_id(&mut key, id);
    key
}

/// The id in such a key, given what stands behind its kind.
fn id_of_key(mut rest: &[u8]) -> Option<EventId> {
    take_id(&mut rest).filter(|_| rest.is_empty())
}

pub(super) fn published_value(record: &KeyRecord) -> Vec<u8> {
    let KeyRecord {
        attempt, published, ..
    } = record;
    let mut value = attempt.key.bytes().to_vec();
    value.extend_from_slice(attempt.content.bytes());
    put_id(&mut value, published.last);
    put_u64(&mut value, published.count as u64);
    put_u64(&mut value, published.clients as u64);
    put_u64(&mut value, record.at_ms);
    value
}

pub(super) fn channel_key(name: &ChannelName) -> Vec<u8> {
    let mut key = vec![CHANNEL];
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

pub(super) fn event_value(kept: &KeptEvent) -> Vec<u8> {
    let event = &kept.event;
    let name = event.name.as_ref().map_or("", EventName::as_str);
    let mut value = Vec::with_capacity(48 + event.text.len());
    put_id(&mut value, kept.before);
    put_u64(&mut value, kept.number);
    put_u64(&mut value, event.timestamp_ms);
    put_piece(&mut value, event.channel.as_str().as_bytes());
    put_piece(&mut value, name.as_bytes());
    value.extend_from_slice(event.text.as_bytes());
    value
}

pub(super) fn channel_value(record: &ChannelRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(33);
    match *record {
        ChannelRecord::Former(newest) => {
            value.push(0);
            put_id(&mut value, newest);
        }
        ChannelRecord::There {
            dropped,
            messages,
            last_used_ms,
        } => {
            value.push(if last_used_ms.is_some() { 1 } else { 2 });
            put_id(&mut value, dropped);
            put_u64(&mut value, messages);
            put_u64(&mut value, last_used_ms.unwrap_or_default());
        }
    }
    value
}

pub(super) fn meta_value(meta: &Meta) -> Vec<u8> {
    let mut value = FORMAT.to_be_bytes().to_vec();
    for id in [meta.newest, meta.forgotten, meta.lost] {
        put_id(&mut value, id);
    }
    put_u64(&mut value, meta.ceiling_ms);
    value.push(u8::from(meta.answers_early));
    value.push(u8::from(meta.is_closed));
    value.extend_from_slice(meta.boot.as_bytes());
    value
}

/// What says that publishers were answered up to this id.
pub(super) fn answered_value(id: EventId) -> Vec<u8> {
    let mut value = Vec::new();
    put_id(&mut value, id);
    let sum = sum_of(&[&value]);
    value.extend_from_slice(&sum);
    value
}

/// Up to which id publishers were answered. `None` if that is not as it was written.
pub(super) fn read_answered(value: &[u8]) -> Option<EventId> {
    let mut rest = value;
    let id = take_id(&mut rest)?;
    (answered_value(id) == value).then_some(id)
}

/// A checksum of pieces.
pub(super) fn sum_of(pieces: &[&[u8]]) -> [u8; SUM_BYTES] {
    let mut hash = Sha256::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    let digest = hash.finalize();
    std::array::from_fn(|place| digest[place])
}

/// The format of a value that `META_KEY` leads to: it comes first, whatever follows.
pub(super) fn format_of(meta: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*meta.first_chunk()?))
}

/// Reads a record. `None` if it is none.
pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Record> {
    match key.split_first()? {
        (&CHANNEL, name) => {
            let name = ChannelName::parse(std::str::from_utf8(name).ok()?).ok()?;
            Some(Record::Channel(name, read_channel(value)?))
        }
        (&EVENT, id) => read_event(id_of_key(id)?, value).map(Record::Event),
        (&PUBLISHED, id) => read_published(id_of_key(id)?, value).map(Record::Published),
        _ if key == META_KEY => read_meta(value).map(Record::Meta),
        _ => None,
    }
}

fn read_channel(value: &[u8]) -> Option<ChannelRecord> {
    let (&kind, mut rest) = value.split_first()?;
    let id = take_id(&mut rest)?;
    if kind == 0 {
        return Some(ChannelRecord::Former(id));
    }
    let messages = take_u64(&mut rest)?;
    let last_used_ms = take_u64(&mut rest)?;
    Some(ChannelRecord::There {
        dropped: id,
        messages,
        last_used_ms: (kind == 1).then_some(last_used_ms),
    })
}

fn read_event(id: EventId, mut rest: &[u8]) -> Option<KeptEvent> {
    let before = take_id(&mut rest)?;
    let number = take_u64(&mut rest)?;
    let timestamp_ms = take_u64(&mut rest)?;
    let channel = ChannelName::parse(take_text(&mut rest)?).ok()?;
    let name = EventName::parse(take_text(&mut rest)?).ok()?;
    let text = std::str::from_utf8(rest).ok()?;
    let event = Event {
        id,
        channel,
        name,
        text: text.into(),
        kind: Kind::Message,
        timestamp_ms,
        at: Instant::now(),
    };
    Some(KeptEvent {
        event: Arc::new(event),
        before,
        number,
    })
}

fn read_published(first: EventId, value: &[u8]) -> Option<KeyRecord> {
    let (key, rest) = value.split_first_chunk()?;
    let (content, mut rest) = rest.split_first_chunk()?;
    let published = Published {
        last: take_id(&mut rest)?,
        count: take_u64(&mut rest)? as usize,
        clients: take_u64(&mut rest)? as usize,
        ..Published::new(first, first, 1)
    };
    Some(KeyRecord {
        attempt: Attempt {
            key: Half::from_bytes(*key),
            content: Half::from_bytes(*content),
        },
        published,
        at_ms: take_u64(&mut rest)?,
    })
}

fn read_meta(value: &[u8]) -> Option<Meta> {
    let mut rest = value.strip_prefix(&FORMAT.to_be_bytes())?;
    let newest = take_id(&mut rest)?;
    let forgotten = take_id(&mut rest)?;
    let lost = take_id(&mut rest)?;
    let ceiling_ms = take_u64(&mut rest)?;
    let ([answers_early, is_closed], boot) = rest.split_first_chunk()?;
    Some(Meta {
        newest,
        forgotten,
        lost,
        ceiling_ms,
        answers_early: *answers_early == 1,
        is_closed: *is_closed == 1,
        boot: std::str::from_utf8(boot).ok()?.into(),
    })
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn put_id(out: &mut Vec<u8>, id: EventId) {
    put_u64(out, id.ms);
    put_u64(out, id.seq);
}

/// Behind its length, which is that of a message at the most.
pub(super) fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    out.extend_from_slice(&(piece.len() as u32).to_be_bytes());
    out.extend_from_slice(piece);
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_be_bytes(*number))
}

fn take_id(rest: &mut &[u8]) -> Option<EventId> {
    Some(EventId {
        ms: take_u64(rest)?,
        seq: take_u64(rest)?,
    })
}

pub(super) fn take_piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let (piece, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = behind;
    Some(piece)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_piece(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        for name in ["", "alert"] {
            let event = Event {
                id: EventId { ms: 5, seq: 7 },
                channel: ChannelName::parse("notícias").expect("a good name"),
                name: EventName::parse(name).expect("a good name"),
                text: "x\0\r\n\u{1F600}".into(),
                kind: Kind::Message,
                timestamp_ms: 4,
                at: Instant::now(),
            };
            let kept = KeptEvent {
                event: Arc::new(event),
                before: EventId { ms: 3, seq: 1 },
                number: 12,
            };
            let value = event_value(&kept);
            let Some(Record::Event(read)) = read(&event_key(kept.event.id), &value) else {
                panic!("it is not read");
            };
            assert_eq!(read.event.id, kept.event.id);
            assert_eq!(read.event.channel, kept.event.channel);
            assert_eq!(read.event.name, kept.event.name);
            assert_eq!(read.event.text, kept.event.text);
            assert_eq!(read.event.timestamp_ms, 4);
            assert_eq!((read.before, read.number), (kept.before, 12));
            for end in 0..40 {
                assert!(super::read(&event_key(kept.event.id), &value[..end]).is_none());
            }
        }
    }

    #[test]
    fn channels_and_the_whole_are_read_as_they_were_written() {
        let id = EventId { ms: 9, seq: 1 };
        let there = |last_used_ms| ChannelRecord::There {
            dropped: id,
            messages: 3,
            last_used_ms,
        };
        let name = ChannelName::parse("a").expect("a good name");
        for record in [ChannelRecord::Former(id), there(None), there(Some(77))] {
            let read = read(&channel_key(&name), &channel_value(&record));
            assert!(
                matches!(read, Some(Record::Channel(_, ref known)) if *known == record),
                "{read:?}"
            );
        }
        let meta = Meta {
            newest: id,
            lost: EventId { ms: 2, seq: 0 },
            ceiling_ms: 12,
            answers_early: true,
            boot: "a-boot".into(),
            ..Meta::default()
        };
        let read = read(META_KEY, &meta_value(&meta));
        assert!(
            matches!(read, Some(Record::Meta(ref known)) if *known == meta),
            "{read:?}"
        );
    }

    #[test]
    fn keys_are_in_the_order_of_ids_and_the_whole_comes_last() {
        let ids = [(1, 300), (2, 0), (256, 1), (256, 2)];
        let keys = ids.map(|(ms, seq)| event_key(EventId { ms, seq }));
        assert!(keys.is_sorted());
        assert!(keys[3].as_slice() < META_KEY);
        assert_eq!(id_of_key(&keys[0][1..]), Some(EventId { ms: 1, seq: 300 }));
    }
}
