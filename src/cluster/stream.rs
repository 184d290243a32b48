//! The stream as a whole: what it is like, a look at it, and how it begins. Only this file creates it.
//!
//! Each stream has a generation: the name of a consumer group that nobody uses. So it moves with the stream, and a
//! stream that replaces it has another one or none. A stream that starts over, because it was gone or Redis has lost a
//! part of it, gets a new generation, and an entry that says so: followers read it in its turn, and servers that were
//! away notice the new generation.

use super::entry::{self, StreamEntry, STREAM};
use super::fault::Fault;
use super::link::Link;
use super::resp::{pack, packed, Answer};
use crate::event::EventId;
use crate::moments::YEAR_10000;
use std::time::Duration;

/// Prefix of the generations' names.
const PREFIX: &str = "sse-server:begin:";

/// What `XINFO` tells of the stream; all zero if there is none.
#[derive(Debug, Default)]
pub(super) struct StreamInfo {
    /// The newest id ever given.
    pub(super) newest: EventId,
    /// The oldest entry that is left.
    pub(super) first: Option<EventId>,
    /// The newest entry that was deleted out of turn.
    pub(super) deleted: EventId,
    /// Entries that are left, and entries ever added.
    pub(super) length: i64,
    pub(super) added: i64,
    /// `None` if there is no stream, or if it is not ours.
    pub(super) generation: Option<String>,
    /// Where this server was when it looked: its newest id, and the generation.
    pub(super) seen: EventId,
    pub(super) known: Option<String>,
}

impl StreamInfo {
    fn read(info: Answer, groups: Answer) -> StreamInfo {
        let id = |name| info.field(name).and_then(entry::id).unwrap_or_default();
        let number = |name| match info.field(name) {
            Some(Answer::Int(number)) => number,
            _ => 0,
        };
        StreamInfo {
            newest: id("last-generated-id"),
            first: info
                .field("first-entry")
                .and_then(|entry| entry.list()?.next())
                .and_then(entry::id),
            deleted: id("max-deleted-entry-id"),
            length: number("length"),
            added: number("entries-added"),
            generation: generation(groups),
            ..StreamInfo::default()
        }
    }

    /// Whether it is another stream than the one that this server knew when it looked.
    pub(super) fn is_other(&self) -> bool {
        self.known.is_some() && self.generation != self.known
    }

    /// Everything after this id is there. A client with an older one may have missed something, if only because its id
    /// is of a stream that is gone.
    pub(super) fn begin(&self) -> EventId {
        self.first.map_or(self.newest, before).max(self.deleted)
    }
}

fn generation(groups: Answer) -> Option<String> {
    let mut names = groups
        .list()?
        .filter_map(|group| group.field("name")?.text());
    names.find(|name| name.starts_with(PREFIX)).map(Into::into)
}

/// The largest id below this one.
pub(super) fn before(id: EventId) -> EventId {
    match id.seq.checked_sub(1) {
        Some(seq) => EventId { ms: id.ms, seq },
        None => EventId {
            ms: id.ms.saturating_sub(1),
            seq: u64::MAX,
        },
    }
}

/// Whether ids may go on from here. No clock shows a time after the year 9999, and ids beyond that, which somebody has
/// made up, soon run out.
pub(super) fn can_grow(id: EventId) -> bool {
    Duration::from_millis(id.ms) < YEAR_10000
}

/// Reads in one transaction what the stream is like, and up to `wanted` entries after an id, for a server that knows
/// the stream by the generation `known`. The entries are as old as Redis's clock says, which also gives the ids: this
/// machine's may be wrong.
pub(super) fn look(
    link: &mut Link,
    known: Option<String>,
    after: EventId,
    wanted: usize,
) -> Result<(StreamInfo, Vec<StreamEntry>), Fault> {
    let mut commands = packed(&["MULTI"]);
    pack(&mut commands, &["TIME"]);
    pack(&mut commands, &["XINFO", "STREAM", STREAM]);
    pack(&mut commands, &["XINFO", "GROUPS", STREAM]);
    commands.extend(entry::read_after(after, wanted, None));
    pack(&mut commands, &["EXEC"]);
    let answers = link
        .ask_all(&commands, 6)
        .map_err(|fault| fault.cut_off(wanted))?;
    let answers = answers.all();
    let [.., Answer::List(parts)] = answers[..] else {
        return Err(Fault::among(&answers));
    };
    let [time, info, groups, read] = parts.collect::<Vec<_>>()[..] else {
        return Err(Fault::protocol());
    };
    if let Answer::Error(error) = read {
        return Err(Fault::from_answer(error));
    }
    let mut stream = match info {
        Answer::Error(error) if is_no_such_key(error) => StreamInfo::default(),
        Answer::Error(error) => return Err(Fault::from_answer(error)),
        info => StreamInfo::read(info, groups),
    };
    stream.seen = after;
    stream.known = known;
    let mut entries = entry::entries(read).ok_or_else(Fault::protocol)?;
    let now_ms = unix_ms(time).ok_or_else(Fault::protocol)?;
    for entry in &mut entries {
        entry.date_back(now_ms);
    }
    Ok((stream, entries))
}

/// Reads an answer to `TIME`: seconds and microseconds since 1970.
fn unix_ms(time: Answer) -> Option<u64> {
    let mut parts = time.list()?.map(|part| part.text()?.parse::<u64>().ok());
    let (seconds, micros) = (parts.next()??, parts.next()??);
    seconds.checked_mul(1000)?.checked_add(micros / 1000)
}

fn is_no_such_key(error: &[u8]) -> bool {
    String::from_utf8_lossy(error).contains("no such key")
}

/// Makes the stream start over, after `seen`, unless somebody else has done that: then its generation is not `known`.
pub(super) fn begin(link: &mut Link, seen: EventId, known: Option<&str>) -> Result<(), Fault> {
    let (ms, seq) = (seen.ms.to_string(), seen.seq.to_string());
    let known = known.unwrap_or_default();
    let arguments = [&ms, &seq, known, PREFIX];
    let command = [&["EVAL", BEGIN, "1", STREAM], &arguments[..]].concat();
    link.tell(&packed(&command))
}

/// The notice gets an id of the next millisecond, if that is not too late: so it comes after everything that was ever
/// there, as far as ids follow this clock. A stream from before generations only gets one. The time of Redis and the
/// largest id make a name that no other generation has.
const BEGIN: &str = r"
local key, ms, seq, known, prefix = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local info = redis.pcall('XINFO', 'STREAM', key)
local last, found = '0-0', ''
if info.err then
  if not string.find(info.err, 'no such key', 1, true) then return info end
else
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    if string.sub(group[2], 1, #prefix) == prefix then found = group[2] end
  end
end
local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
last_ms, last_seq = tonumber(last_ms), tonumber(last_seq)
local is_behind = last_ms < ms or (last_ms == ms and last_seq < seq)
if found ~= '' and found ~= known and not is_behind then return 0 end
local time = redis.call('TIME')
local new = prefix .. time[1] .. '.' .. time[2] .. '.' .. ARGV[1] .. '-' .. ARGV[2]
if found ~= '' then redis.call('XGROUP', 'DESTROY', key, found) end
redis.call('XGROUP', 'CREATE', key, new, '0', 'MKSTREAM')
if not info.err and found == '' and known == '' and not is_behind then return 0 end
if is_behind then redis.call('XSETID', key, ARGV[1] .. '-' .. ARGV[2]) end
local id, next_ms = '*', time[1] * 1000 + math.floor(time[2] / 1000) + 1
if last_ms < next_ms and ms < next_ms then id = string.format('%d-0', next_ms) end
redis.call('XADD', key, id, 'g', new)
return 1
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_an_id_there_is_another() {
        assert_eq!(before(EventId { ms: 5, seq: 2 }), EventId { ms: 5, seq: 1 });
        assert_eq!(
            before(EventId { ms: 5, seq: 0 }),
            EventId {
                ms: 4,
                seq: u64::MAX
            }
        );
    }
}
