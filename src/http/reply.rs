//! An answer as a value: status, headers, body. It knows nothing of connections.

use super::cors::Header;
use super::rest::Rest;
use super::status::reason;
use crate::moments::YEAR_10000;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It serves the next request, the default in HTTP/1.1.
    KeepAlive,
    /// It serves the next request, and an HTTP/1.0 client is told so.
    KeepAliveSaid,
    /// It closes.
    Close,
}

/// Status, headers and body. The server adds what depends on the connection.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<Header>,
    body: Vec<u8>,
    /// What comes behind that.
    rest: Option<Rest>,
    /// The body has no length: it goes on until its connection ends.
    is_endless: bool,
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            rest: None,
            is_endless: false,
        }
    }

    /// `200` with a JSON document.
    pub fn json(body: &impl serde::Serialize) -> Reply {
        // It could only fail on keys that are not text.
        let mut body = serde_json::to_vec(body).unwrap_or_default();
        // So that a shell's prompt starts on a new line.
        body.push(b'\n');
        Reply::new(200).with_body("application/json", body)
    }

    /// The head of an event stream.
    pub fn event_stream() -> Reply {
        Reply::new(200)
            .with("Content-Type", "text/event-stream")
            .with("Cache-Control", "no-cache, no-transform")
            .endless()
    }

    /// Marks the head of a body that goes on until its connection ends.
    pub fn endless(mut self) -> Reply {
        self.is_endless = true;
        // Some proxies hold back what does not say this.
        self.with("X-Accel-Buffering", "no")
    }

    pub fn is_endless(&self) -> bool {
        self.is_endless
    }

    /// Adds a header. The value is the program's own, or was checked for control characters.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub fn with_all(mut self, headers: Vec<Header>) -> Reply {
        self.headers.extend(headers);
        self
    }

    /// The CORS headers, for another answer to the same request.
    pub fn cors_headers(&self) -> Vec<Header> {
        let is_cors = |name: &str| name == "Vary" || name.starts_with("Access-Control-");
        let headers = self.headers.iter().filter(|(name, _)| is_cors(name));
        headers.cloned().collect()
    }

    /// Sets the body and its type.
    pub fn with_body(mut self, content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        self.body = body.into();
        self.with("Content-Type", content_type)
    }

    /// Sets the body, whose type is already set, and what comes behind it.
    pub fn with_content(mut self, body: Vec<u8>, rest: Option<Rest>) -> Reply {
        self.body = body;
        self.rest = rest;
        self
    }

    /// Size of the body, in bytes.
    pub fn size(&self) -> usize {
        self.body.len() + self.rest.as_ref().map_or(0, Rest::size)
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The head of a complete answer and the body, ready to be written, and what comes behind them. A `HEAD` request gets
    /// the same head and no body (RFC 9110, section 9.3.2).
    pub fn into_bytes(self, is_head_request: bool, after: After) -> (Vec<u8>, Option<Rest>) {
        let mut head = self.head(after);
        // RFC 9110, section 8.6: a 304 would have to give the length of what it does not send.
        if !matches!(self.status, 204 | 304) {
            // Writing to a String cannot fail.
            let _ = write!(head, "Content-Length: {}\r\n", self.size());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if is_head_request {
            return (bytes, None);
        }
        bytes.extend_from_slice(&self.body);
        (bytes, self.rest)
    }

    /// The head of a body that has no length and ends with its connection.
    pub fn stream_head(&self, chunked: bool) -> Vec<u8> {
        let mut head = self.head(After::Close);
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn head(&self, after: After) -> String {
        let mut head = String::with_capacity(256);
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let has_cache_control = self
            .headers
            .iter()
            .any(|(name, _)| *name == "Cache-Control");
        for (name, value) in &self.headers {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
        if !has_cache_control {
            // Every answer is only right for the moment.
            head.push_str("Cache-Control: no-store\r\n");
        }
        let date = httpdate::fmt_http_date(with_a_date(SystemTime::now()));
        let _ = write!(head, "Date: {date}\r\n");
        match after {
            After::Close => head.push_str("Connection: close\r\n"),
            After::KeepAliveSaid => head.push_str("Connection: keep-alive\r\n"),
            After::KeepAlive => {}
        }
        head
    }
}

/// The nearest time that a date can tell: 1970 to 9999. A clock can be set to anything.
fn with_a_date(time: SystemTime) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH + YEAR_10000 - Duration::from_secs(1);
    time.clamp(SystemTime::UNIX_EPOCH, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_date() {
        let second = Duration::from_secs(1);
        let century = second * 3_200_000_000;
        let times = [
            SystemTime::UNIX_EPOCH.checked_sub(century),
            SystemTime::UNIX_EPOCH.checked_sub(second),
            SystemTime::UNIX_EPOCH.checked_add(second * 2_000_000_000 * 1000),
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1 << 60)),
        ];
        let dates = times
            .into_iter()
            .flatten()
            .map(|time| httpdate::fmt_http_date(with_a_date(time)));
        let first = "Thu, 01 Jan 1970 00:00:00 GMT";
        let last = "Fri, 31 Dec 9999 23:59:59 GMT";
        assert!(dates.eq([first, first, last, last]));
    }
}
