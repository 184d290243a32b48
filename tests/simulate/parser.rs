//! What a client makes of the bytes: chunks (RFC 9112, section 7.1) around an event stream (WHATWG HTML, section 9.2.6).

/// One event as a page sees it.
#[derive(Debug, Default)]
pub struct Received {
    pub name: String,
    pub data: String,
    /// The id that the stream has come to.
    pub id: Option<String>,
}

#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// Bytes of the present chunk that are still to come, with its line end.
    left: Option<usize>,
    line: Vec<u8>,
    event: Received,
    has_data: bool,
    id: Option<String>,
    has_ended: bool,
}

impl Parser {
    /// Takes more bytes, and returns the events that they complete.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Received>, String> {
        self.bytes.extend_from_slice(bytes);
        let mut events = Vec::new();
        while self.take_part(&mut events)? {}
        Ok(events)
    }

    /// Whether the last chunk has come.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn take_part(&mut self, events: &mut Vec<Received>) -> Result<bool, String> {
        match self.left {
            None => {
                let Some(end) = self.bytes.windows(2).position(|two| two == b"\r\n") else {
                    return Ok(false);
                };
                let line: Vec<u8> = self.bytes.drain(..end + 2).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                let size = usize::from_str_radix(&line, 16)
                    .map_err(|_| format!("{line:?} in the place of a chunk's size"))?;
                if self.has_ended {
                    return Err("something came after the last chunk".into());
                }
                self.has_ended = size == 0;
                if self.has_ended && (self.has_data || !self.line.is_empty()) {
                    return Err(format!("the last chunk came within {:?}", self.event));
                }
                self.left = Some(size + 2);
                Ok(true)
            }
            Some(left) => {
                let count = left.min(self.bytes.len());
                let part: Vec<u8> = self.bytes.drain(..count).collect();
                for (place, &byte) in part.iter().enumerate() {
                    match (left - place, byte) {
                        (2, b'\r') | (1, b'\n') => {}
                        (1 | 2, _) => return Err("a chunk is longer than it says".into()),
                        (_, b'\n') => events.extend(self.end_line()?),
                        _ => self.line.push(byte),
                    }
                }
                self.left = (count < left).then_some(left - count);
                Ok(count == left)
            }
        }
    }

    fn end_line(&mut self) -> Result<Option<Received>, String> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8(line).map_err(|_| "a line is not UTF-8")?;
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            event.id = self.id.clone();
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => {}
            "id" => self.id = Some(value.into()),
            "event" => self.event.name = value.into(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => return Err(format!("the line {line:?} is none of an event stream")),
        }
        Ok(None)
    }
}
