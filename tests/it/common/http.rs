//! A blocking HTTP client with exactly what the tests need.

use super::event_stream::{Event, Parser};
use super::transport::Address;
use super::{BOUND, TOKEN};
use socket2::Socket;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Percent-encodes everything but letters and digits.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is no JSON ({error}): {}", self.text()))
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

#[track_caller]
pub fn connect(addr: SocketAddr) -> TcpStream {
    Address::Tcp(addr).connect().into()
}

fn head(method: &str, target: &str, headers: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    (head + "\r\n").into_bytes()
}

/// One request on its own connection.
#[track_caller]
pub fn request(
    address: impl Into<Address>,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut connection = address.into().connect();
    let mut all = headers.to_vec();
    all.push(("Connection", "close"));
    let length = (method == "POST" || !body.is_empty()).then_some(body.len());
    let mut bytes = head(method, target, &all, length);
    bytes.extend_from_slice(body);
    // A server may answer and close before it has read everything.
    let _ = connection.write_all(&bytes);
    read_reply(&mut connection, method == "HEAD")
        .unwrap_or_else(|what| panic!("{method} {target}: {what}"))
}

/// Sends bytes as they are, and reads until the server closes.
#[track_caller]
pub fn exchange(address: impl Into<Address>, bytes: &[u8]) -> Vec<u8> {
    let mut connection = address.into().connect();
    let _ = connection.write_all(bytes);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    answer
}

/// How the server left a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Closed by the server (FIN).
    Closed,
    Reset,
    /// Still open.
    Open,
}

/// Everything that comes, unchanged, until the server closes or the bound is over.
pub fn read_until_closed(connection: &mut Socket, bound: Duration) -> (Vec<u8>, Left) {
    let end = Instant::now() + bound;
    let mut all = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (all, Left::Open);
        }
        let set = connection.set_read_timeout(Some(left));
        set.expect("a timeout can be set");
        match connection.read(&mut buffer) {
            Ok(0) => return (all, Left::Closed),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) if is_timeout(&error) => {}
            Err(_) => return (all, Left::Reset),
        }
    }
}

/// Whether a read or write only took too long. `signal(7)` interrupts it if the machine is paused meanwhile.
pub fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// All answers on one connection, interim ones (`100`) included, or what is wrong with them. The first `heads` are
/// answers to HEAD.
pub fn replies(mut bytes: &[u8], heads: usize) -> Result<Vec<Reply>, String> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let rest = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (status, headers, head) =
            parse_head(bytes).ok_or_else(|| format!("no answer: {:?}", rest(bytes)))??;
        let behind = &bytes[head..];
        let mut dechunker = Dechunker::default();
        let (body, taken) = if status < 200 || status == 204 || replies.len() < heads {
            (Vec::new(), 0)
        } else if let Some(length) = header(&headers, "Content-Length") {
            let length = length.parse().map_err(|_| format!("length {length:?}"))?;
            let body = behind.get(..length);
            let body = body.ok_or_else(|| format!("cut: {:?}", rest(bytes)))?;
            (body.to_vec(), length)
        } else if header(&headers, "Transfer-Encoding").is_some() {
            (
                dechunker.push(behind),
                behind.len() - dechunker.pending.len(),
            )
        } else {
            (behind.to_vec(), behind.len())
        };
        bytes = &behind[taken..];
        replies.push(Reply {
            status,
            headers,
            body,
        });
    }
    Ok(replies)
}

/// Reads the `100 Continue` of a request that asked for it, and nothing after it.
#[track_caller]
pub fn read_continue(connection: &mut impl Read) {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut bytes = [0; CONTINUE.len()];
    let read = connection.read_exact(&mut bytes);
    assert_eq!(
        (read.is_ok(), bytes.as_slice()),
        (true, CONTINUE),
        "not 100 Continue, but {:?}",
        String::from_utf8_lossy(&bytes)
    );
}

/// Reads one answer, or says what is wrong with it. An interim one is an error: see `read_continue`.
pub fn read_reply(connection: &mut impl Read, is_head: bool) -> Result<Reply, String> {
    let mut bytes = Vec::new();
    let (status, headers, rest) = read_head(connection, &mut bytes)?;
    let body = bytes.split_off(rest);
    let length = header(&headers, "Content-Length").and_then(|n| n.parse::<usize>().ok());
    let body = match length {
        _ if is_head || status == 204 => Vec::new(),
        Some(length) => {
            let mut body = body;
            let had = body.len();
            body.resize(length.max(had), 0);
            connection
                .read_exact(&mut body[had..])
                .map_err(|e| format!("the body ends early: {e}"))?;
            body
        }
        None => {
            let mut body = body;
            connection
                .read_to_end(&mut body)
                .map_err(|e| format!("the body does not end: {e}"))?;
            body
        }
    };
    Ok(Reply {
        status,
        headers,
        body,
    })
}

type Head = (u16, Vec<(String, String)>, usize);

/// The head at the beginning, once complete, or what is wrong with it.
fn parse_head(bytes: &[u8]) -> Option<Result<Head, String>> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let Some(status) = status else {
        return Some(Err(format!("no status line: {head:?}")));
    };
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Some(Ok((status, headers, end + 4)))
}

fn read_head(connection: &mut impl Read, bytes: &mut Vec<u8>) -> Result<Head, String> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(head) = parse_head(bytes) {
            let (status, headers, end) = head?;
            if status < 200 {
                return Err(format!("an interim answer ({status}) is in the way"));
            }
            return Ok((status, headers, end));
        }
        match connection.read(&mut buffer) {
            Ok(0) => {
                return Err(format!(
                    "closed before the end of the answer's head, after {:?}",
                    String::from_utf8_lossy(bytes)
                ))
            }
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(format!(
                    "no answer: {e}, after {:?}",
                    String::from_utf8_lossy(bytes)
                ))
            }
        }
    }
}

/// Publishes back to back on one connection.
pub struct Publisher {
    connection: Socket,
}

impl Publisher {
    pub fn new(server: &super::Server) -> Publisher {
        Publisher {
            connection: server.connect(),
        }
    }

    /// Publishes, and returns the id.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, body: impl AsRef<[u8]>) -> String {
        self.try_publish(channel, body)
            .unwrap_or_else(|what| panic!("publishing to {channel}: {what}"))
    }

    /// Publishes newline-delimited JSON.
    #[track_caller]
    pub fn publish_batch(&mut self, channel: &str, lines: &str) {
        let kind = ("Content-Type", "application/x-ndjson");
        self.post(channel, &[kind], lines.as_bytes())
            .unwrap_or_else(|what| panic!("publishing a batch to {channel}: {what}"));
    }

    pub fn try_publish(&mut self, channel: &str, body: impl AsRef<[u8]>) -> Result<String, String> {
        let reply = self.post(channel, &[], body.as_ref())?;
        Ok(reply.json()["id"].as_str().unwrap_or_default().into())
    }

    /// Publishes with these fields and the token. Anything but 200 is an error.
    pub fn post(
        &mut self,
        channel: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, String> {
        let authorization = format!("Bearer {TOKEN}");
        let target = format!("/publish/{}", encode(channel));
        let headers = [&[("Authorization", authorization.as_str())], headers].concat();
        let mut bytes = head("POST", &target, &headers, Some(body.len()));
        bytes.extend_from_slice(body);
        self.connection
            .write_all(&bytes)
            .map_err(|e| e.to_string())?;
        let reply = read_reply(&mut self.connection, false)?;
        if reply.status != 200 {
            return Err(format!("{} {}", reply.status, reply.text()));
        }
        Ok(reply)
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the last chunk.
    Clean,
    /// Without it.
    Cut,
}

/// Takes chunks apart (RFC 9112, section 7.1).
#[derive(Default)]
pub struct Dechunker {
    pending: Vec<u8>,
    pub chunks: usize,
    pub has_ended: bool,
}

impl Dechunker {
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let mut content = Vec::new();
        let mut at = 0;
        while let Some(line) = self.pending[at..].windows(2).position(|w| w == b"\r\n") {
            let size =
                std::str::from_utf8(&self.pending[at..at + line]).expect("a chunk's size is ASCII");
            let size = usize::from_str_radix(size, 16)
                .unwrap_or_else(|_| panic!("{size:?} is no chunk size"));
            let begin = at + line + 2;
            let end = begin + size;
            if self.pending.len() < end + 2 {
                break;
            }
            assert_eq!(
                &self.pending[end..end + 2],
                b"\r\n",
                "a chunk ends with CRLF"
            );
            content.extend_from_slice(&self.pending[begin..end]);
            self.chunks += 1;
            self.has_ended |= size == 0;
            at = end + 2;
            if self.has_ended {
                break;
            }
        }
        self.pending.drain(..at);
        content
    }
}

/// A subscriber.
pub struct EventStream {
    connection: Socket,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    dechunker: Option<Dechunker>,
    pub parser: Parser,
    events: VecDeque<Event>,
    raw: Vec<u8>,
    is_over: bool,
}

impl EventStream {
    #[track_caller]
    pub fn open(
        address: impl Into<Address>,
        target: &str,
        headers: &[(&str, &str)],
    ) -> EventStream {
        EventStream::send(address, &head("GET", target, headers, None))
    }

    /// Opens a stream with this request.
    #[track_caller]
    pub fn send(address: impl Into<Address>, request: &[u8]) -> EventStream {
        let mut connection = address.into().connect();
        connection.write_all(request).expect("the request is sent");
        let mut bytes = Vec::new();
        let (status, headers, rest) = read_head(&mut connection, &mut bytes)
            .unwrap_or_else(|what| panic!("subscribing: {what}"));
        let is_chunked = header(&headers, "Transfer-Encoding") == Some("chunked");
        let mut stream = EventStream {
            connection,
            status,
            headers,
            dechunker: is_chunked.then(Dechunker::default),
            parser: Parser::default(),
            events: VecDeque::new(),
            raw: Vec::new(),
            is_over: false,
        };
        stream.take(&bytes[rest..]);
        stream
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn local_addr(&self) -> SocketAddr {
        let address = self.connection.local_addr().ok();
        let address = address.and_then(|address| address.as_socket());
        address.expect("the socket has an address")
    }

    /// For everything else that a client can do with its socket.
    pub fn socket(&self) -> &Socket {
        &self.connection
    }

    fn take(&mut self, bytes: &[u8]) {
        let content = match &mut self.dechunker {
            Some(dechunker) => dechunker.push(bytes),
            None => bytes.to_vec(),
        };
        self.events.extend(self.parser.push(&content));
        self.raw.extend_from_slice(&content);
    }

    /// Reads once, at most until `end`. `false` if nothing came.
    fn read_until(&mut self, end: Instant) -> bool {
        let now = Instant::now();
        if self.is_over || now >= end {
            return false;
        }
        self.connection
            .set_read_timeout(Some(end - now))
            .expect("a timeout can be set");
        let mut buffer = [0; 64 << 10];
        match self.connection.read(&mut buffer) {
            Ok(0) => {
                self.is_over = true;
                false
            }
            Ok(n) => {
                self.take(&buffer[..n]);
                true
            }
            // A machine that was paused ends a wait before its time.
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => {
                self.is_over = !is_timeout(&error);
                false
            }
        }
    }

    /// The next event within the bound.
    #[track_caller]
    pub fn next(&mut self) -> Event {
        self.try_next(BOUND).unwrap_or_else(|| {
            panic!(
                "waited {BOUND:?} in vain for an event; the stream so far: {:?}",
                String::from_utf8_lossy(&self.raw)
            )
        })
    }

    pub fn try_next(&mut self, bound: Duration) -> Option<Event> {
        let end = Instant::now() + bound;
        while self.events.is_empty() && self.read_until(end) {}
        self.events.pop_front()
    }

    /// All data up to and including the event with this data.
    #[track_caller]
    pub fn data_until(&mut self, last: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().map(String::as_str) != Some(last) {
            all.push(self.next().data);
        }
        all
    }

    /// What was received so far, without chunks.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    pub fn chunks(&self) -> usize {
        self.dechunker.as_ref().map_or(0, |d| d.chunks)
    }

    /// Reads until what was received satisfies `fits`.
    #[track_caller]
    pub fn wait_for_raw(&mut self, what: &str, fits: impl Fn(&str) -> bool) {
        let end = Instant::now() + BOUND;
        while !fits(&self.raw()) {
            assert!(
                self.read_until(end),
                "waited in vain: {what}; the stream so far: {:?}",
                self.raw()
            );
        }
    }

    /// Reads to the end.
    #[track_caller]
    pub fn ending(&mut self) -> Ending {
        let end = Instant::now() + BOUND;
        while self.read_until(end) {}
        let ended = self.dechunker.as_ref().is_none_or(|d| d.has_ended);
        assert!(
            self.is_over || ended,
            "waited {BOUND:?} in vain for the stream to end"
        );
        if ended {
            Ending::Clean
        } else {
            Ending::Cut
        }
    }

    /// Events that came, and were not returned yet.
    pub fn drain(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }
}
