//! A message as an entry of the Redis stream, both ways, and the commands about entries. No I/O here.

use super::link::text;
use super::system;
use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use ::redis::{cmd, Cmd, Value};
use std::sync::Arc;
use std::time::Duration;

/// The stream with the messages of all channels.
pub(super) const STREAM: &str = "sse-server:events";

/// Packs the command that appends a message; the first of a lot carries its writer's mark. If there is no stream, the
/// answer is nil.
pub(super) fn pack_append(
    out: &mut Vec<u8>,
    channel: &ChannelName,
    name: Option<&EventName>,
    message: &str,
    mark: Option<&str>,
) {
    let mut command = cmd("XADD");
    command
        .arg(STREAM)
        // Only `stream::begin` creates the stream, with a generation.
        .arg("NOMKSTREAM")
        .arg("*")
        .arg("c")
        .arg(channel.as_str())
        .arg("m")
        .arg(message);
    if let Some(mark) = mark {
        command.arg("w").arg(mark);
    }
    if let Some(name) = name {
        command.arg("e").arg(name.as_str());
    }
    command.write_packed_command(out);
}

/// The command that removes what is older than an id, as far as that is cheap.
pub(super) fn trim_before(id: EventId) -> Cmd {
    let mut command = cmd("XTRIM");
    command
        .arg(STREAM)
        .arg("MINID")
        .arg("~")
        .arg(id.to_string());
    command
}

/// The same, whatever it costs.
pub(super) fn trim_exactly_before(id: EventId) -> Cmd {
    let mut command = cmd("XTRIM");
    command.arg(STREAM).arg("MINID").arg(id.to_string());
    command
}

/// The command that reads what comes after an id; with `block` it waits for something to come.
pub(super) fn read_after(id: EventId, wanted: usize, block: Option<Duration>) -> Cmd {
    let mut command = cmd("XREAD");
    command.arg("COUNT").arg(wanted);
    if let Some(block) = block {
        command.arg("BLOCK").arg(block.as_millis() as u64);
    }
    command.arg("STREAMS").arg(STREAM).arg(id.to_string());
    command
}

/// The command that reads only the entry with this id. While it is there, nothing after it was trimmed, and the stream
/// is the same.
pub(super) fn read_one(id: EventId) -> Cmd {
    let mut command = cmd("XRANGE");
    command.arg(STREAM).arg(id.to_string()).arg(id.to_string());
    command
}

/// Whether the answer to `read_one` has the entry.
pub(super) fn has_one(value: &Value) -> bool {
    matches!(value, Value::Array(entries) if !entries.is_empty())
}

pub(super) fn id(value: &Value) -> Option<EventId> {
    EventId::parse(&text(value)?)
}

/// An entry: its id and, if it is one of ours, the event.
#[derive(Debug, Default)]
pub(super) struct StreamEntry {
    pub(super) id: EventId,
    pub(super) event: Option<Arc<Event>>,
    /// Its writer's mark.
    pub(super) mark: Option<Vec<u8>>,
    /// It is the notice that the stream starts over here, with this generation.
    pub(super) begins: Option<String>,
}

impl StreamEntry {
    /// Approximate memory, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.event.as_ref().map_or(0, |event| event.cost())
    }

    fn read(value: Value) -> Option<StreamEntry> {
        let Value::Array(mut parts) = value else {
            return None;
        };
        let fields = parts.pop()?;
        let mut entry = StreamEntry {
            id: id(parts.first()?)?,
            ..StreamEntry::default()
        };
        entry.event = entry.read_fields(fields).map(Arc::new);
        Some(entry)
    }

    /// Reads all fields, and returns the event. Others may write to the stream as well: what is no message of ours is
    /// `None`.
    fn read_fields(&mut self, fields: Value) -> Option<Event> {
        let Value::Array(fields) = fields else {
            return None;
        };
        let (mut channel, mut message, mut name) = (None, None, None);
        let mut fields = fields.into_iter();
        while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
            let (Value::BulkString(key), Value::BulkString(value)) = (key, value) else {
                return None;
            };
            if key == b"w" {
                self.mark = Some(value);
                continue;
            }
            let value = String::from_utf8(value).ok()?;
            match key.as_slice() {
                b"c" => channel = ChannelName::parse(&value).ok(),
                b"m" => message = Some(value),
                b"e" => name = EventName::parse(&value).ok()?,
                b"g" => self.begins = Some(value),
                _ => {}
            }
        }
        Some(Event {
            id: self.id,
            channel: channel?,
            name,
            text: message?.into(),
            kind: Kind::Message,
            timestamp_ms: self.id.ms,
            at: system::now(),
        })
    }
}

/// The entries in an answer to `XREAD` of one stream; a nil has none.
pub(super) fn entries(value: Value) -> Option<Vec<StreamEntry>> {
    match value {
        Value::Nil => Some(Vec::new()),
        Value::Array(mut streams) => {
            let Value::Array(mut stream) = streams.pop()? else {
                return None;
            };
            let Value::Array(entries) = stream.pop()? else {
                return None;
            };
            entries.into_iter().map(StreamEntry::read).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    fn answer(fields: Vec<Value>) -> Value {
        let entry = Value::Array(vec![bulk(b"5-1"), Value::Array(fields)]);
        let stream = Value::Array(vec![bulk(STREAM.as_bytes()), Value::Array(vec![entry])]);
        Value::Array(vec![stream])
    }

    #[test]
    fn a_message_is_read_with_everything_in_it() {
        let fields = ["c", "a", "m", "x\0\r\n\u{1F600}", "e", "alert", "w", "7.1"];
        let fields = fields.iter().map(|text| bulk(text.as_bytes())).collect();
        let entries = entries(answer(fields)).expect("it is an answer");
        let event = entries[0].event.as_ref().expect("it is a message");
        assert_eq!(event.id, EventId { ms: 5, seq: 1 });
        assert_eq!(&*event.text, "x\0\r\n\u{1F600}");
        assert_eq!(event.channel.as_str(), "a");
        assert_eq!(event.name.as_ref().map(EventName::as_str), Some("alert"));
        assert_eq!(entries[0].mark.as_deref(), Some(&b"7.1"[..]));
    }

    #[test]
    fn foreign_entries_are_skipped_by_their_id() {
        for fields in [
            vec![bulk(b"temperature"), bulk(b"20")],
            vec![bulk(b"c"), bulk(b"a b"), bulk(b"m"), bulk(b"x")],
            vec![bulk(b"c"), bulk(b"a"), bulk(b"m"), bulk(b"\xFF")],
        ] {
            let entries = entries(answer(fields)).expect("it is an answer");
            assert!(entries[0].event.is_none());
            assert_eq!(entries[0].id, EventId { ms: 5, seq: 1 });
        }
    }
}
