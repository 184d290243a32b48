//! What Redis has under the key of the stream, and the commands that `src/cluster` sends.

use super::resp::{Command, Reply};
use crate::event::EventId;
use crate::hub::time;
use crate::oracle::number_in;
use std::collections::{HashSet, VecDeque};

#[derive(Clone, Debug)]
struct Entry {
    id: EventId,
    fields: Vec<Vec<u8>>,
}

impl Entry {
    fn reply(&self) -> Reply {
        let fields = self.fields.iter().cloned().map(Reply::Bulk);
        Reply::Array(vec![Reply::id(self.id), Reply::Array(fields.collect())])
    }

    /// The number of the message that it is.
    fn number(&self) -> Option<usize> {
        let message = self.fields.chunks(2).find(|pair| pair[0] == b"m")?;
        number_in(std::str::from_utf8(&message[1]).ok()?)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: VecDeque<Entry>,
    last: EventId,
    deleted: EventId,
    added: i64,
    group: Option<Vec<u8>>,
}

/// One run of Redis, or more: what it knows.
#[derive(Debug, Default)]
pub struct Redis {
    pub stream: Option<Stream>,
    /// How far its clock is from the servers'.
    pub clock_off_ms: i64,
    /// How often a stream has begun.
    pub begun: usize,
    /// What it says to whoever writes.
    pub refuses: Option<&'static str>,
    /// Numbers of messages that were added, with their ids, since somebody last looked.
    pub added: Vec<(usize, EventId)>,
}

impl Stream {
    fn add(&mut self, now_ms: u64, fields: Vec<Vec<u8>>) -> EventId {
        self.last = self.last.next(now_ms);
        self.added += 1;
        let id = self.last;
        self.entries.push_back(Entry { id, fields });
        id
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes so many of the oldest entries out.
    pub fn trim(&mut self, count: usize) {
        self.entries.drain(..count);
    }

    /// Takes out one entry, at any place. Returns the number of the message that it was.
    pub fn delete(&mut self, place: usize) -> Option<usize> {
        let entry = self.entries.remove(place)?;
        self.deleted = self.deleted.max(entry.id);
        entry.number()
    }

    fn after(&self, id: EventId, count: usize) -> Reply {
        let first = self.entries.partition_point(|entry| entry.id <= id);
        let entries = self.entries.range(first..).take(count).map(Entry::reply);
        match entries.collect::<Vec<_>>() {
            none if none.is_empty() => Reply::Nil,
            entries => Reply::Array(vec![Reply::Array(vec![
                Reply::text("sse-server:events"),
                Reply::Array(entries),
            ])]),
        }
    }

    fn one(&self, id: EventId) -> Reply {
        let entries = self.entries.iter().filter(|entry| entry.id == id);
        Reply::Array(entries.map(Entry::reply).collect())
    }

    /// The messages that it has, by number.
    pub fn numbers(&self) -> HashSet<usize> {
        self.entries.iter().filter_map(Entry::number).collect()
    }

    fn info(&self) -> Reply {
        let first = self.entries.front().map_or(Reply::Nil, |entry| {
            Reply::Array(vec![Reply::id(entry.id), Reply::Array(Vec::new())])
        });
        let fields = [
            ("length", Reply::Number(self.entries.len() as i64)),
            ("last-generated-id", Reply::id(self.last)),
            ("max-deleted-entry-id", Reply::id(self.deleted)),
            ("entries-added", Reply::Number(self.added)),
            ("first-entry", first),
        ];
        let fields = fields.into_iter();
        Reply::Array(
            fields
                .flat_map(|(name, value)| [Reply::text(name), value])
                .collect(),
        )
    }
}

impl Redis {
    pub fn now_ms(&self) -> u64 {
        (time::wall_ms() as i64 + self.clock_off_ms).max(0) as u64
    }

    /// What somebody else adds who knows nothing of us, also where there is no stream.
    pub fn add_foreign(&mut self) {
        let now = self.now_ms();
        let fields = vec![b"temperature".to_vec(), b"20".to_vec()];
        self.stream.get_or_insert_default().add(now, fields);
    }

    /// The entries after an id, or nil.
    pub fn read(&self, after: EventId, count: usize) -> Reply {
        let stream = self.stream.as_ref();
        stream.map_or(Reply::Nil, |stream| stream.after(after, count))
    }

    /// Whether it refuses this command before it looks at it.
    pub fn refusal(&self, command: &Command) -> Option<&'static str> {
        let writes: [&[u8]; 4] = [b"XADD", b"SET", b"SADD", b"EVAL"];
        self.refuses
            .filter(|_| writes.contains(&command[0].as_slice()))
    }

    /// Does what a command says, which waits for nothing.
    pub fn perform(&mut self, command: &Command) -> Reply {
        let text = |place: usize| std::str::from_utf8(&command[place]).unwrap_or_default();
        match text(0) {
            "XADD" => {
                let now = self.now_ms();
                let Some(stream) = &mut self.stream else {
                    return Reply::Nil;
                };
                let fields = command[4..].to_vec();
                let id = stream.add(now, fields);
                let number = stream.entries.back().and_then(Entry::number);
                self.added.extend(number.map(|number| (number, id)));
                Reply::id(id)
            }
            "XREAD" => {
                let (after, count, _) = reading(command);
                self.read(after, count)
            }
            "XRANGE" => {
                let id = EventId::parse(text(2)).unwrap_or_default();
                self.stream
                    .as_ref()
                    .map_or(Reply::Array(Vec::new()), |stream| stream.one(id))
            }
            "XINFO" => match &self.stream {
                None => Reply::Error("ERR no such key"),
                Some(stream) if text(1) == "STREAM" => stream.info(),
                Some(stream) => {
                    let groups = stream.group.iter().map(|name| {
                        Reply::Array(vec![Reply::text("name"), Reply::Bulk(name.clone())])
                    });
                    Reply::Array(groups.collect())
                }
            },
            "TIME" => {
                let now = self.now_ms();
                let [seconds, micros] = [now / 1000, now % 1000 * 1000];
                Reply::Array(
                    [seconds, micros]
                        .map(|part| Reply::text(part.to_string()))
                        .to_vec(),
                )
            }
            "XTRIM" => {
                let id = EventId::parse(text(command.len() - 1)).unwrap_or_default();
                let Some(stream) = &mut self.stream else {
                    return Reply::Number(0);
                };
                let count = stream.entries.partition_point(|entry| entry.id < id);
                stream.trim(count);
                Reply::Number(count as i64)
            }
            "EVAL" if text(1).contains("XSETID") => self.begin(command),
            "EVAL" => Reply::Array(Vec::new()),
            "SET" => Reply::Simple("OK"),
            "SADD" | "SREM" | "DEL" => Reply::Number(1),
            other => panic!("Redis is asked for {other}"),
        }
    }

    /// The script of `src/cluster/stream.rs`.
    fn begin(&mut self, command: &Command) -> Reply {
        let text = |place: usize| std::str::from_utf8(&command[place]).unwrap_or_default();
        let number = |place: usize| text(place).parse().unwrap_or(0);
        let seen = EventId {
            ms: number(4),
            seq: number(5),
        };
        let known = command[6].as_slice();
        let now = self.now_ms();
        let is_new = self.stream.is_none();
        let stream = self.stream.get_or_insert_default();
        let is_behind = stream.last < seen;
        if stream.group.is_some() && stream.group.as_deref() != Some(known) && !is_behind {
            return Reply::Number(0);
        }
        let found = stream.group.take();
        // As unique as the time in microseconds.
        self.begun += 1;
        let unique = format!("{}{now}.{}-{}", text(7), self.begun, seen);
        stream.group = Some(unique.clone().into_bytes());
        if !is_new && found.is_none() && known.is_empty() && !is_behind {
            return Reply::Number(0);
        }
        let last = stream.last;
        if is_behind {
            stream.last = seen;
        }
        let notice = vec![b"g".to_vec(), unique.into_bytes()];
        let next_ms = now + 1;
        let is_of_this_clock = last.ms < next_ms && seen.ms < next_ms;
        stream.add(if is_of_this_clock { next_ms } else { now }, notice);
        Reply::Number(1)
    }
}

/// After which id `XREAD` reads, how much, and for how long it waits.
pub fn reading(command: &Command) -> (EventId, usize, Option<u64>) {
    let text = |place: usize| std::str::from_utf8(&command[place]).unwrap_or_default();
    let after = EventId::parse(text(command.len() - 1)).unwrap_or_default();
    let block = (text(3) == "BLOCK").then(|| text(4).parse().unwrap_or(0));
    (after, text(2).parse().unwrap_or(usize::MAX), block)
}
