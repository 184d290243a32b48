//! One request and its answer: the only owner of a tiny_http `Request`. Every way in which an exchange can end is safe,
//! dropping it included.
//!
//! tiny_http 0.12 ends a request by reading the rest of its body into a buffer of the size that the client declared,
//! for as long as the client likes. Here the body is either read to its end within bounds, or tiny_http is told that
//! there is nothing left, and the connection is closed.

use crate::problem::Problem;
use crate::query::Target;
use crate::reply::{Connection, Reply};
use crate::request::{BodyError, Method, Peer, Request};
use crate::stand_in;
use crate::system;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A request's head: at most so many bytes and fields. tiny_http has read it by then; the guard stops what is much
/// larger while it comes.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_FIELDS: usize = 100;

/// A body has to be complete by then. The read timeout ends a silent client earlier.
const BODY_TIME: Duration = Duration::from_secs(20);

/// An answer of up to this many bytes fits into the system's buffer, unless the client has left many before it there.
const PLAIN_ANSWER: usize = 16 << 10;

/// A connection's writing half, while it is this exchange's turn to write.
pub type Writer = Box<dyn Write + Send>;

/// What is left of the request's body on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Nothing: there is none, or tiny_http holds it as a whole, or it was read.
    Settled,
    /// So many bytes, if the client keeps its word.
    Declared(usize),
    /// Chunks, or bytes of which tiny_http does not know the end.
    Unknown,
}

/// tiny_http takes a body of this size in with the head, unless the client waits for `100 Continue`.
const TAKEN_IN_WITH_HEAD: usize = 1024;

/// See the module's comment.
pub struct Exchange {
    /// `None` once it has ended.
    raw: Option<tiny_http::Request>,
    body: Body,
    peer: Peer,
}

impl Exchange {
    /// Takes a request over. Cheap: nothing is parsed yet.
    pub fn new(raw: tiny_http::Request) -> Exchange {
        let has = |name: &'static str| raw.headers().iter().any(|h| h.field.equiv(name));
        let body = match raw.body_length() {
            // tiny_http hands out the bare connection.
            _ if asks_for_upgrade(&raw) => Body::Unknown,
            Some(0) => Body::Settled,
            Some(n) if n <= TAKEN_IN_WITH_HEAD && !has("Expect") => Body::Settled,
            Some(n) => Body::Declared(n),
            None if has("Transfer-Encoding") => Body::Unknown,
            // A length that tiny_http could not read: it takes the body for the next request.
            None if has("Content-Length") => Body::Unknown,
            None => Body::Settled,
        };
        let peer = Peer(raw.remote_addr().copied());
        Exchange {
            raw: Some(raw),
            body,
            peer,
        }
    }

    /// Who sent the request.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.0
    }

    /// Parses the request, and says what is wrong with its head if that is too large or disagrees with itself. Such a
    /// connection must not be used further: where the next request begins is a matter of opinion.
    pub fn parse(&mut self) -> (Request, Option<Problem>) {
        let Some(raw) = &self.raw else {
            // Not reachable: only the ways to end take the raw request, and they consume the exchange.
            let nothing = Request::new(Method::Get, Target::parse(""), self.peer, Vec::new());
            return (nothing, Some(Problem::internal()));
        };
        let headers: Vec<(String, String)> = raw
            .headers()
            .iter()
            .map(|h| (h.field.as_str().as_str().into(), h.value.as_str().into()))
            .collect();
        let fault = find_fault(raw, &headers);
        let method = match raw.method() {
            tiny_http::Method::Get => Method::Get,
            tiny_http::Method::Head => Method::Head,
            tiny_http::Method::Post => Method::Post,
            tiny_http::Method::Options => Method::Options,
            other => Method::Other(other.to_string()),
        };
        let request = Request::new(method, Target::parse(raw.url()), self.peer, headers);
        if fault.is_some() && self.body == Body::Settled {
            self.body = Body::Unknown;
        }
        (request, fault)
    }

    /// Reads the body, of at most `limit` bytes. A client that waits for `100 Continue` gets it now, and not if its
    /// body is too large anyway.
    ///
    /// # Errors
    /// Why there is no body; then the rest of it is left unread.
    pub fn read_body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let Some(raw) = &mut self.raw else {
            return Err(BodyError::Broken);
        };
        let expected = match self.body {
            Body::Declared(n) if n > limit => return Err(BodyError::TooLarge),
            Body::Declared(n) => Some(n),
            // The reader is the bare connection; curl --http2 posts like this.
            Body::Unknown if asks_for_upgrade(raw) => match raw.body_length().unwrap_or(0) {
                n if n > limit => return Err(BodyError::TooLarge),
                n => Some(n),
            },
            Body::Unknown | Body::Settled => None,
        };
        if self.body != Body::Settled {
            stand_in::call();
        }
        let mut bytes = Vec::with_capacity(expected.unwrap_or(0));
        let deadline = Instant::now() + BODY_TIME;
        let mut buffer = [0; 8 << 10];
        loop {
            if expected == Some(bytes.len()) {
                break;
            }
            if Instant::now() > deadline {
                return Err(BodyError::TooSlow);
            }
            let want = expected.map_or(buffer.len(), |n| (n - bytes.len()).min(buffer.len()));
            match raw.as_reader().read(&mut buffer[..want]) {
                Ok(0) if expected.is_some() => return Err(BodyError::Broken),
                Ok(0) => break,
                Ok(n) => {
                    bytes.extend_from_slice(&buffer[..n]);
                    if let Body::Declared(rest) = &mut self.body {
                        *rest -= n;
                    }
                }
                Err(error) => return Err(body_error(&error)),
            }
            if bytes.len() > limit {
                return Err(BodyError::TooLarge);
            }
        }
        if !asks_for_upgrade(raw) {
            self.body = Body::Settled;
        }
        Ok(bytes)
    }

    /// Whether the connection can serve another request after this one's answer.
    pub fn leaves_connection_usable(&self) -> bool {
        self.body == Body::Settled
    }

    /// Answers. The writer that comes back holds back whatever tiny_http would answer behind this on the connection;
    /// drop it to let the next answer out.
    ///
    /// # Errors
    /// If the client does not take the answer.
    pub fn answer(mut self, reply: Reply) -> io::Result<Option<Writer>> {
        let connection = self.connection();
        let Some(raw) = self.release() else {
            return Ok(None);
        };
        let is_head = *raw.method() == tiny_http::Method::Head;
        let bytes = reply.into_bytes(is_head, connection);
        if bytes.len() > PLAIN_ANSWER {
            stand_in::call();
        }
        let mut writer = raw.into_writer();
        writer.write_all(&bytes)?;
        writer.flush()?;
        Ok(Some(writer))
    }

    /// Whether a body without a length is sent in chunks (HTTP/1.1), or bare until the connection closes (HTTP/1.0).
    pub fn is_chunked(&self) -> bool {
        let is_new = |raw: &tiny_http::Request| *raw.http_version() >= tiny_http::HTTPVersion(1, 1);
        self.raw.as_ref().is_some_and(is_new)
    }

    /// Turns the exchange into an event stream. Nothing is written yet.
    pub fn into_stream(mut self, head: Reply) -> Option<(StreamWriter, Vec<u8>)> {
        let chunked = self.is_chunked();
        let raw = self.release()?;
        let head = head.into_stream_head(chunked);
        let writer = raw.into_writer();
        Some((StreamWriter { writer, chunked }, head))
    }

    fn connection(&self) -> Connection {
        let Some(raw) = &self.raw else {
            return Connection::Close;
        };
        if !self.leaves_connection_usable() {
            return Connection::Close;
        }
        let is_old = *raw.http_version() < tiny_http::HTTPVersion(1, 1);
        // As tiny_http reads this header.
        let wish = connection_header(raw);
        if wish.contains("close") || wish.contains("upgrade") {
            Connection::Close
        } else if !is_old {
            Connection::KeepAlive
        } else if wish.contains("keep-alive") {
            Connection::KeepAliveSaid
        } else {
            Connection::Close
        }
    }

    /// Gives the raw request out, in a state in which it may be dropped.
    fn release(&mut self) -> Option<tiny_http::Request> {
        let mut raw = self.raw.take()?;
        if let Body::Declared(rest) = self.body {
            if !system::forget_rest_of_body(raw.as_reader(), rest) && rest > HARMLESS_REST {
                // Better a thread and two descriptors than the process, which dies if this much memory is not there.
                log::error!(
                    "event=leak peer={} declared={rest} reason=tiny_http_body",
                    self.peer
                );
                refuse_and_leak(raw);
                return None;
            }
        }
        Some(raw)
    }
}

/// tiny_http may be left to read this much by itself.
const HARMLESS_REST: usize = 1 << 20;

impl Drop for Exchange {
    fn drop(&mut self) {
        // tiny_http answers 500 to what is dropped unanswered.
        drop(self.release());
    }
}

/// The one way of keeping tiny_http from looking at the body of a request: to keep its reader for ever.
fn refuse_and_leak(raw: tiny_http::Request) {
    let response = tiny_http::Response::empty(413);
    std::mem::forget(raw.upgrade("close", response));
}

fn asks_for_upgrade(raw: &tiny_http::Request) -> bool {
    connection_header(raw).contains("upgrade")
}

/// The header as tiny_http takes it: the first of its name.
fn connection_header(raw: &tiny_http::Request) -> String {
    raw.headers()
        .iter()
        .find(|h| h.field.equiv("Connection"))
        .map(|h| h.value.as_str().to_ascii_lowercase())
        .unwrap_or_default()
}

/// What is wrong with a request's head, if anything is: too large, or read differently by different servers
/// (RFC 9112, sections 2.2, 6.1 and 6.3).
fn find_fault(raw: &tiny_http::Request, headers: &[(String, String)]) -> Option<Problem> {
    let bytes: usize = raw.url().len()
        + headers
            .iter()
            .map(|(n, v)| n.len() + v.len() + 4)
            .sum::<usize>();
    if bytes > MAX_HEAD_BYTES || headers.len() > MAX_FIELDS {
        return Some(Problem::head_too_large(MAX_HEAD_BYTES, MAX_FIELDS));
    }
    // tiny_http ends a line at CRLF only, and keeps these inside of it.
    let is_stray = |c: char| c.is_ascii_control() && c != '\t';
    if raw.url().contains(|c: char| c.is_ascii_control())
        || headers.iter().any(|(_, value)| value.contains(is_stray))
    {
        return Some(Problem::bad_request(
            "the request's head contains a NUL, a bare line end or another control character; end lines with CR LF",
        ));
    }
    let values = |wanted: &str| -> Vec<&str> {
        headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
            .collect()
    };
    let lengths = values("Content-Length");
    let encodings = values("Transfer-Encoding");
    if lengths.len() > 1 {
        return Some(Problem::bad_request(
            "there is more than one Content-Length; send one",
        ));
    }
    if !lengths.is_empty() && !encodings.is_empty() {
        return Some(Problem::bad_request(
            "there are both Content-Length and Transfer-Encoding; send one of the two",
        ));
    }
    if let Some(length) = lengths.first() {
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Problem::bad_request(format!(
                "Content-Length is {length:?}; give the body's size in bytes"
            )));
        }
        if raw.body_length().is_none() {
            return Some(Problem::body_too_large());
        }
    }
    let is_chunked = |value: &&str| value.eq_ignore_ascii_case("chunked");
    let is_old = *raw.http_version() < tiny_http::HTTPVersion(1, 1);
    if encodings.len() > 1 || !encodings.iter().all(is_chunked) || (is_old && !encodings.is_empty())
    {
        return Some(Problem::bad_request(
            "Transfer-Encoding is understood as \"chunked\", once, in HTTP/1.1; send the body so or with Content-Length",
        ));
    }
    None
}

fn body_error(error: &io::Error) -> BodyError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => BodyError::TooSlow,
        _ => BodyError::Broken,
    }
}

/// Where an event stream is written to. Dropping it ends the connection's use.
pub struct StreamWriter {
    writer: Writer,
    chunked: bool,
}

/// The chunk that ends a body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl StreamWriter {
    /// Whether the body is sent in chunks (HTTP/1.1), or bare until the connection closes (HTTP/1.0).
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Writes bytes that are framed already. They may stay in a small buffer until `flush`.
    ///
    /// # Errors
    /// If the client is gone, or takes nothing for as long as the write timeout.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Sends what is left in the buffer.
    ///
    /// # Errors
    /// As `write`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Tells the client that the stream has come to its end, as opposed to having been cut.
    ///
    /// # Errors
    /// As `write`.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.chunked {
            self.write(LAST_CHUNK)?;
        }
        self.flush()
    }
}
