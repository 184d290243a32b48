//! A message as an entry of the Redis stream, both ways, and the commands about entries. No I/O here.

use super::resp::{pack, packed, Answer};
use super::system;
use crate::event::{ChannelName, Event, EventId, EventName, Kind};
use crate::moments;
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
    // Only `stream::begin` creates the stream, with a generation.
    let mut command = vec!["XADD", STREAM, "NOMKSTREAM", "*"];
    command.extend(["c", channel.as_str(), "m", message]);
    command.extend(mark.iter().flat_map(|mark| ["w", mark]));
    command.extend(name.iter().flat_map(|name| ["e", name.as_str()]));
    pack(out, &command);
}

/// The command that removes what is older than an id, as far as that is cheap.
pub(super) fn trim_before(id: EventId) -> Vec<u8> {
    packed(&["XTRIM", STREAM, "MINID", "~", &id.to_string()])
}

/// The same, whatever it costs.
pub(super) fn trim_exactly_before(id: EventId) -> Vec<u8> {
    packed(&["XTRIM", STREAM, "MINID", &id.to_string()])
}

/// The command that reads what comes after an id; with `block` it waits for something to come.
pub(super) fn read_after(id: EventId, wanted: usize, block: Option<Duration>) -> Vec<u8> {
    let (id, wanted) = (id.to_string(), wanted.to_string());
    let block = block.map(|block| block.as_millis().to_string());
    let mut command = vec!["XREAD", "COUNT", &wanted];
    command.extend(block.iter().flat_map(|block| ["BLOCK", block]));
    command.extend(["STREAMS", STREAM, &id]);
    packed(&command)
}

/// The command that reads only the entry with this id. While it is there, nothing after it was trimmed, and the stream
/// is the same.
pub(super) fn read_one(id: EventId) -> Vec<u8> {
    let id = id.to_string();
    packed(&["XRANGE", STREAM, &id, &id])
}

/// Whether the answer to `read_one` has the entry.
pub(super) fn has_one(answer: Answer) -> bool {
    answer.list().is_some_and(|entries| !entries.is_empty())
}

pub(super) fn id(answer: Answer) -> Option<EventId> {
    EventId::parse(answer.text()?)
}

/// An entry: its id and, if it is one of ours, the event.
#[derive(Debug, Default)]
pub(super) struct StreamEntry {
    pub(super) id: EventId,
    pub(super) event: Option<Arc<Event>>,
    /// Its writer's mark.
    pub(super) mark: Option<String>,
    /// It is the notice that the stream starts over here, with this generation.
    pub(super) begins: Option<String>,
}

impl StreamEntry {
    /// Approximate memory, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.event.as_ref().map_or(0, |event| event.cost())
    }

    /// The message came when its id was given. That clock shows `now_ms` now.
    pub(super) fn date_back(&mut self, now_ms: u64) {
        if let Some(event) = self.event.as_mut().and_then(Arc::get_mut) {
            let age = Duration::from_millis(now_ms.saturating_sub(self.id.ms));
            event.at = moments::before(event.at, age);
        }
    }

    /// A message that this server has stored under this id.
    pub(super) fn stored(
        id: EventId,
        channel: &ChannelName,
        name: Option<&EventName>,
        message: &str,
    ) -> StreamEntry {
        let event = message_of(id, channel.clone(), name.cloned(), message);
        StreamEntry {
            id,
            event: Some(Arc::new(event)),
            ..StreamEntry::default()
        }
    }

    fn read(answer: Answer) -> Option<StreamEntry> {
        let mut parts = answer.list()?;
        let mut entry = StreamEntry {
            id: id(parts.next()?)?,
            ..StreamEntry::default()
        };
        entry.event = entry.read_fields(parts.next()?).map(Arc::new);
        Some(entry)
    }

    /// Reads all fields, and returns the event. Others may write to the stream as well: what is no message of ours is
    /// `None`.
    fn read_fields(&mut self, fields: Answer) -> Option<Event> {
        let mut fields = fields.list()?;
        let (mut channel, mut message, mut name) = (None, None, None);
        while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
            let (key, value) = (key.text()?, value.text()?);
            match key {
                "c" => channel = ChannelName::parse(value).ok(),
                "m" => message = Some(value),
                "e" => name = EventName::parse(value).ok()?,
                "w" => self.mark = Some(value.into()),
                "g" => self.begins = Some(value.into()),
                _ => {}
            }
        }
        Some(message_of(self.id, channel?, name, message?))
    }
}

fn message_of(id: EventId, channel: ChannelName, name: Option<EventName>, text: &str) -> Event {
    Event {
        id,
        channel,
        name,
        text: text.into(),
        kind: Kind::Message,
        timestamp_ms: id.ms,
        at: system::now(),
    }
}

/// The entries in an answer to `XREAD` of one stream; a nil has none.
pub(super) fn entries(answer: Answer) -> Option<Vec<StreamEntry>> {
    if answer == Answer::Nil {
        return Some(Vec::new());
    }
    let mut stream = answer.list()?.next()?.list()?;
    let (_name, entries) = (stream.next()?, stream.next()?);
    entries.list()?.map(StreamEntry::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::resp::Answers;

    /// Reads an answer with one entry of these fields.
    fn read(fields: &[&[u8]]) -> StreamEntry {
        let mut answers = Answers::new(1);
        let head = format!(
            "*1\r\n*2\r\n+{STREAM}\r\n*1\r\n*2\r\n+5-1\r\n*{}\r\n",
            fields.len()
        );
        answers.bytes.extend_from_slice(head.as_bytes());
        for field in fields {
            let head = format!("${}\r\n", field.len());
            answers
                .bytes
                .extend([head.as_bytes(), field, b"\r\n"].concat());
        }
        assert_eq!(answers.are_whole(), Ok(true));
        let mut entries = entries(answers.all()[0]).expect("it is an answer");
        entries.pop().expect("it has one entry")
    }

    #[test]
    fn a_message_is_read_with_everything_in_it() {
        let fields = ["c", "a", "m", "x\0\r\n\u{1F600}", "e", "alert", "w", "7.1"];
        let entry = read(&fields.map(str::as_bytes));
        let event = entry.event.as_ref().expect("it is a message");
        assert_eq!(event.id, EventId { ms: 5, seq: 1 });
        assert_eq!(&*event.text, "x\0\r\n\u{1F600}");
        assert_eq!(event.channel.as_str(), "a");
        assert_eq!(event.name.as_ref().map(EventName::as_str), Some("alert"));
        assert_eq!(entry.mark.as_deref(), Some("7.1"));
    }

    #[test]
    fn foreign_entries_are_skipped_by_their_id() {
        for fields in [
            [b"temperature".as_slice(), b"20"].as_slice(),
            &[b"c", b"a b", b"m", b"x"],
            &[b"c", b"a", b"m", b"\xFF"],
        ] {
            let entry = read(fields);
            assert!(entry.event.is_none());
            assert_eq!(entry.id, EventId { ms: 5, seq: 1 });
        }
    }
}
