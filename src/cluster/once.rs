//! Publishes with a key, which may be sent again. One script stores the messages and a record of the key, or finds the
//! record. So sending the same again, by another server or by the writer on its next connection, stores nothing. No I/O
//! here.

use super::answers::Stored;
use super::entry::STREAM;
use super::resp::{pack, Answer};
use crate::event::{EventId, EventName};
use crate::hub::Refusal;
use crate::idempotency::{Attempt, Publication, LIFETIME};

/// Prefix of the records' names.
const PREFIX: &str = "sse-server:key:";

/// Returns the record: the content, its writer's mark, the clients, the first and the last id. Nil if there is no
/// stream; 0 if only some messages were stored, because the ids ran out.
const STORE: &str = r"
local known = redis.call('GET', KEYS[2])
if known then return known end
local first, last
for i = 7, #ARGV do
  local id
  if ARGV[6] == '' then
    id = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', '*', 'c', ARGV[5], 'm', ARGV[i])
  else
    id = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', '*', 'c', ARGV[5], 'm', ARGV[i], 'e', ARGV[6])
  end
  if type(id) ~= 'string' then return first and 0 or id end
  first, last = first or id, id
end
local record = table.concat({ARGV[1], ARGV[2], ARGV[3], first, last}, ' ')
redis.call('SET', KEYS[2], record, 'PX', ARGV[4])
return record
";

/// Packs the command that stores the messages of an attempt. By `mark`, the lot's, the writer knows its own record;
/// `clients` is the number to report.
pub(super) fn pack_store(
    out: &mut Vec<u8>,
    attempt: &Attempt,
    publication: &Publication,
    mark: &str,
    clients: usize,
) {
    let key = format!("{PREFIX}{}", attempt.key);
    let content = attempt.content.to_string();
    let clients = clients.to_string();
    let lifetime = LIFETIME.as_millis().to_string();
    let channel = publication.channel.as_str();
    let name = publication.event_name.as_ref();
    let name = name.map_or("", EventName::as_str);
    let mut command = vec!["EVAL", STORE, "2", STREAM, &key];
    command.extend([&content, mark, &clients, &lifetime, channel, name]);
    command.extend(publication.messages.iter().map(|message| &**message));
    pack(out, &command);
}

/// Reads the script's answer. `None` if it failed, and nothing was stored.
pub(super) fn outcome(
    answer: Answer,
    attempt: &Attempt,
    mark: &str,
) -> Option<Result<Stored, Refusal>> {
    if let Answer::Int(_) = answer {
        return Some(Err(Refusal::Unconfirmed));
    }
    let record = answer.text()?;
    let mut fields = record.split(' ');
    let mut next = || fields.next();
    let (content, writer, clients) = (next()?, next()?, next()?.parse().ok()?);
    let mut id = || EventId::parse(next()?);
    let (first, last) = (id()?, id()?);
    if content != attempt.content.to_string() {
        return Some(Err(Refusal::KeyUsed));
    }
    Some(Ok(Stored {
        first,
        last,
        clients: Some(clients),
        is_repeated: writer != mark,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ChannelName;

    #[test]
    fn a_record_says_whose_it_is_and_what_was_answered() {
        let attempt = |message: &str| {
            let channel = ChannelName::broadcast();
            Attempt::new(b"", &channel, "key", None, false, &[message.into()])
        };
        let one = attempt("x");
        let record = format!("{} 7f.1 3 5-0 5-2", one.content);
        let answer = Answer::Text(record.as_bytes());
        let own = outcome(answer, &one, "7f.1").unwrap().unwrap();
        assert_eq!((own.last.seq, own.clients), (2, Some(3)));
        assert!(!own.is_repeated);
        let others = outcome(answer, &one, "7f.2").unwrap().unwrap();
        assert!(others.is_repeated);
        let other = outcome(answer, &attempt("y"), "7f.1").unwrap();
        assert_eq!(other.unwrap_err(), Refusal::KeyUsed);
        let partly = outcome(Answer::Int(0), &one, "7f.1").unwrap();
        assert_eq!(partly.unwrap_err(), Refusal::Unconfirmed);
        assert!(outcome(Answer::Nil, &one, "7f.1").is_none());
    }
}
