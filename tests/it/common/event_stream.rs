//! Interprets an event stream as a browser does, written from the WHATWG text (HTML, section 9.2.6): the tests check
//! what clients see, not what the server means.

/// An event as a page gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `id` field of this event's own lines, if there was one.
    pub id: Option<String>,
    /// The event's type: `message` unless it was named.
    pub kind: String,
    /// The data.
    pub data: String,
    /// The last event id after this event.
    pub last_event_id: String,
}

/// The parser's state between pieces of the stream.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// Bytes so far, at most as many as a byte order mark has.
    begun: usize,
    data: String,
    kind: String,
    own_id: Option<String>,
    /// The id that a reconnecting client would send.
    pub last_event_id: String,
    /// The reconnection time that the server asked for, in ms.
    pub retry: Option<u64>,
    /// Comment lines.
    pub comments: usize,
    /// Blank lines that dispatched nothing.
    pub empty_dispatches: usize,
}

impl Parser {
    /// Takes the next bytes of the stream, and returns the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line));
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                    self.begun += 1;
                    if self.begun == 3 && self.line == [0xEF, 0xBB, 0xBF] {
                        self.line.clear();
                    }
                }
            }
        }
        events
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let line = String::from_utf8_lossy(line).into_owned();
        match line.split_once(':') {
            Some(("", _)) => self.comments += 1,
            Some((field, value)) => self.field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.field(&line, ""),
        }
        None
    }

    fn field(&mut self, name: &str, value: &str) {
        match name {
            "event" => self.kind = value.into(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => {
                self.own_id = Some(value.into());
                self.last_event_id = value.into();
            }
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry = value.parse().ok();
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let mut data = std::mem::take(&mut self.data);
        let kind = std::mem::take(&mut self.kind);
        let id = self.own_id.take();
        if data.is_empty() {
            self.empty_dispatches += 1;
            return None;
        }
        data.pop();
        Some(Event {
            id,
            kind: if kind.is_empty() {
                "message".into()
            } else {
                kind
            },
            data,
            last_event_id: self.last_event_id.clone(),
        })
    }
}
