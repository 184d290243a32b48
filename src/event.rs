//! What travels: ids, names, events, and their encoding as an event stream.
//!
//! Knows nothing about channels' subscribers, HTTP or threads. Everything that a client sends is parsed here once,
//! into types that cannot hold a bad value. Called by the hub and by the routes.

use crate::log::Logged;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// The reserved channel that reaches every connected client.
pub const BROADCAST: &str = "broadcast";

/// Longest channel name, in bytes of UTF-8.
pub const MAX_CHANNEL_NAME_BYTES: usize = 128;

/// The id of an event: `MILLISECONDS-SEQUENCE`, growing over all channels of a server.
///
/// The shape is that of a Redis stream id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Milliseconds since the Unix epoch, or later where ids would not grow.
    pub ms: u64,
    /// Counts the events of one millisecond.
    pub seq: u64,
}

impl EventId {
    /// Below every id that is ever given.
    pub const ZERO: EventId = EventId { ms: 0, seq: 0 };

    /// Reads `MS-SEQ`, or `MS` alone, which means `MS-0`. Digits only.
    pub fn parse(text: &str) -> Option<EventId> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        Some(EventId {
            ms: parse_digits(ms)?,
            seq: parse_digits(seq)?,
        })
    }

    /// The id that follows `self` when the clock shows `now_ms`: never smaller than `self`, also when the clock steps back.
    pub fn next(self, now_ms: u64) -> EventId {
        if now_ms > self.ms {
            EventId { ms: now_ms, seq: 0 }
        } else {
            EventId {
                ms: self.ms,
                seq: self.seq + 1,
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// `str::parse` alone would take a sign as well.
fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A valid channel name; `broadcast` is one as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Takes a decoded name.
    ///
    /// # Errors
    /// One line for the client, if the name is empty, too long, or has a character that names may not have.
    pub fn parse(name: &str) -> Result<ChannelName, String> {
        if name.is_empty() {
            return Err(format!(
                "the channel name is empty; give 1 to {MAX_CHANNEL_NAME_BYTES} bytes"
            ));
        }
        if name.len() > MAX_CHANNEL_NAME_BYTES {
            return Err(format!(
                "the channel name has {} bytes; at most {MAX_CHANNEL_NAME_BYTES} are allowed",
                name.len()
            ));
        }
        match name
            .chars()
            .find(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | ',' | '*'))
        {
            None => Ok(ChannelName(name.into())),
            Some(bad) => Err(format!(
                "the channel name {name:?} contains {bad:?}; control characters, white space, '/', ',' and '*' are not allowed"
            )),
        }
    }

    /// The reserved name.
    pub fn broadcast() -> ChannelName {
        ChannelName(BROADCAST.into())
    }

    /// A name of the server's own, which it knows to be good.
    pub(crate) fn internal(name: &'static str) -> ChannelName {
        ChannelName(name.into())
    }

    /// Whether this is the reserved name.
    pub fn is_broadcast(&self) -> bool {
        &*self.0 == BROADCAST
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it stands in a log line; `as_str` is the name itself.
impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Logged(&self.0).fmt(f)
    }
}

/// The name of an event's type, as `addEventListener` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(Arc<str>);

impl EventName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a publisher's choice; the empty name means none.
    ///
    /// # Errors
    /// One line for the client, if the name cannot stand on an `event:` line, or is one of the server's own.
    pub fn parse(name: &str) -> Result<Option<EventName>, String> {
        if name.contains(['\r', '\n', '\0']) {
            return Err(format!(
                "the event name {name:?} contains a line end or NUL; these are not allowed"
            ));
        }
        if name.starts_with("sse-") {
            return Err(format!(
                "the event name {name:?} begins with \"sse-\", which is kept for the server's own events; choose another"
            ));
        }
        Ok((!name.is_empty()).then(|| EventName(name.into())))
    }
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A published message.
    Message,
    /// The notice that messages after this id are, or may be, lost. It has no text, and is not retained.
    Gap(EventId),
}

/// One published message, or a notice in its place.
#[derive(Debug)]
pub struct Event {
    /// Its place in the order of all events.
    pub id: EventId,
    /// The channel that it was published to.
    pub channel: ChannelName,
    /// The type that the publisher gave it, if any.
    pub name: Option<EventName>,
    /// The message, as it was published.
    pub text: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// When it was published, by the wall clock, in ms since the Unix epoch. The id may be ahead of it, because ids have to
    /// grow when the clock is set back.
    pub timestamp_ms: u64,
    /// The same moment in running time.
    pub at: Instant,
}

impl Event {
    /// What an event costs beside its text: the struct, its allocations and its place in the history, about.
    pub const OVERHEAD_BYTES: usize = 160;

    /// Memory that retaining this event takes, in bytes, about.
    pub fn cost(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| name.0.len());
        self.text.len() + name + Self::OVERHEAD_BYTES
    }
}

/// The two forms in which a client can have its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `data:` is the message.
    Plain,
    /// `data:` is `{"canal":…,"mensagem":…,"timestamp":…}`.
    Json,
}

/// Appends one event to an event stream (WHATWG HTML, section 9.2.5).
pub fn encode(event: &Event, form: Form, out: &mut Vec<u8>) {
    if let Kind::Gap(after) = event.kind {
        return encode_gap(&event.channel, &after.to_string(), out);
    }
    out.extend_from_slice(b"id: ");
    push_display(out, &event.id);
    out.push(b'\n');
    if let Some(name) = &event.name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.0.as_bytes());
        out.push(b'\n');
    }
    match form {
        Form::Plain => push_data(out, &event.text),
        Form::Json => {
            out.extend_from_slice(b"data: {\"canal\":");
            push_json_string(out, event.channel.as_str());
            out.extend_from_slice(b",\"mensagem\":");
            push_json_string(out, &event.text);
            out.extend_from_slice(b",\"timestamp\":");
            push_display(out, &event.timestamp_ms);
            out.extend_from_slice(b"}\n");
        }
    }
    out.push(b'\n');
}

/// Appends the notice that messages of `channel` after the client's id `after` are, or may be, lost.
/// It has no `id`, so that the client keeps the one that it has.
pub fn encode_gap(channel: &ChannelName, after: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: sse-gap\ndata: {\"canal\":");
    push_json_string(out, channel.as_str());
    out.extend_from_slice(b",\"after\":");
    push_json_string(out, after);
    out.extend_from_slice(b"}\n\n");
}

/// Appends the notice that the stream ends because its token does not allow it any more. Without an `id`, as above.
pub fn encode_expired(reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: sse-expired\ndata: {\"reason\":");
    push_json_string(out, reason);
    out.extend_from_slice(b"}\n\n");
}

/// A heartbeat that keeps proxies and clients awake and that a page does not see.
pub const HEARTBEAT_COMMENT: &[u8] = b":\n";

/// A heartbeat that a page sees.
pub const HEARTBEAT_EVENT: &[u8] = b"event: sse-heartbeat\ndata: {}\n\n";

/// One `data:` line for each line of the message: CR, LF and CRLF each end one (section 9.2.6).
fn push_data(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 16);
    let mut rest = bytes;
    loop {
        out.extend_from_slice(b"data: ");
        match rest.iter().position(|&b| b == b'\n' || b == b'\r') {
            None => {
                out.extend_from_slice(rest);
                out.push(b'\n');
                return;
            }
            Some(end) => {
                out.extend_from_slice(&rest[..end]);
                out.push(b'\n');
                let line_end = if rest[end..].starts_with(b"\r\n") {
                    2
                } else {
                    1
                };
                rest = &rest[end + line_end..];
            }
        }
    }
}

fn push_display(out: &mut Vec<u8>, value: &dyn fmt::Display) {
    use std::io::Write;
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

fn push_json_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Bytes of an event stream with the framing of one HTTP/1.1 chunk around them (RFC 9112, section 7.1), so that one
/// encoding serves chunked and plain connections.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    raw: Range<usize>,
    start: usize,
}

/// Room for the chunk's size line: a `usize` in hexadecimal and CRLF.
const SIZE_LINE: usize = 18;

impl Frame {
    /// Lets `fill` append the content, and puts the framing around it. The content must not be empty: an empty chunk
    /// would end the stream.
    pub fn build(fill: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let mut bytes = vec![0; SIZE_LINE];
        fill(&mut bytes);
        let raw = SIZE_LINE..bytes.len();
        debug_assert!(!raw.is_empty());
        let size_line = format!("{:x}\r\n", raw.len());
        let start = SIZE_LINE - size_line.len();
        bytes[start..SIZE_LINE].copy_from_slice(size_line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Frame { bytes, raw, start }
    }

    /// What to write: the chunk, or the bare content.
    pub fn bytes(&self, chunked: bool) -> &[u8] {
        if chunked {
            &self.bytes[self.start..]
        } else {
            &self.bytes[self.raw.clone()]
        }
    }

    /// Size of the content in bytes.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_digits_only() {
        let id = |ms, seq| Some(EventId { ms, seq });
        assert_eq!(EventId::parse("5-7"), id(5, 7));
        assert_eq!(EventId::parse("5"), id(5, 0));
        assert_eq!(EventId::parse("0"), id(0, 0));
        for bad in [
            "",
            "-",
            "5-",
            "-5",
            "+5",
            "5-+1",
            "5-1-1",
            " 5",
            "5 ",
            "a",
            "99999999999999999999",
        ] {
            assert_eq!(EventId::parse(bad), None, "{bad:?} is not an id");
        }
    }

    #[test]
    fn ids_grow_when_the_clock_steps_back() {
        let first = EventId::ZERO.next(1000);
        let second = first.next(1000);
        let third = second.next(10);
        assert!(first < second && second < third, "{first} {second} {third}");
    }

    #[test]
    fn a_chunk_says_its_size() {
        let frame = Frame::build(|out| out.extend_from_slice(&[b'x'; 300]));
        assert!(frame.bytes(true).starts_with(b"12c\r\nxxx"));
        assert!(frame.bytes(true).ends_with(b"x\r\n"));
        assert_eq!(frame.bytes(false).len(), 300);
    }
}
