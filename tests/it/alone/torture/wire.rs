//! Publishers and clients over plain sockets. A server that refuses, says nothing, or is cut off in mid-sentence is
//! recorded, and is no failure.

use super::record::{parse_id, Answer, History, Id, Request, Seen};
use super::schedule::Random;
use crate::common;

use common::event_stream::{Event, Parser};
use common::http::{is_timeout, read_reply, Dechunker};
use common::TOKEN;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for an answer or for a heartbeat, which comes each second.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct Run {
    pub seed: u64,
    pub begun: Instant,
    pub servers: Vec<SocketAddr>,
    pub channels: Vec<String>,
    /// Whether clients stay where they are, as long as they are served.
    pub is_calm: AtomicBool,
    pub is_published: AtomicBool,
    pub is_over: AtomicBool,
}

impl Run {
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&addr, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Whether a server says that it is ready.
pub fn is_ready(addr: SocketAddr) -> bool {
    let ask = || {
        let mut socket = connect(addr).ok()?;
        let request = "GET /health/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).ok()?;
        read_reply(&mut socket, false).ok()
    };
    ask().is_some_and(|reply| reply.status == 200)
}

/// The text of a message: its key, which tells how long the rest is.
fn text_of(key: &str) -> String {
    format!("{key} {}", "x".repeat(rest_of(key).unwrap_or(0)))
}

/// How many bytes follow the key, which ends with that number.
fn rest_of(key: &str) -> Option<usize> {
    key.rsplit('.').next()?.parse().ok()
}

/// Publishes messages of these keys to a channel, in one request.
pub fn publish(
    run: &Run,
    publisher: usize,
    server: usize,
    channel: &str,
    keys: Vec<String>,
) -> Request {
    let begun = run.now();
    let answer = ask_to_publish(run.servers[server], channel, &keys);
    Request {
        publisher,
        server,
        channel: channel.into(),
        keys,
        begun,
        ended: run.now(),
        answer,
    }
}

fn ask_to_publish(addr: SocketAddr, channel: &str, keys: &[String]) -> Answer {
    let (kind, body) = match keys {
        [key] => ("text/plain", text_of(key)),
        keys => {
            let lines = keys.iter().map(|key| format!("\"{}\"\n", text_of(key)));
            ("application/x-ndjson", lines.collect())
        }
    };
    let Ok(mut socket) = connect(addr) else {
        return Answer::Refused;
    };
    let request = format!(
        "POST /publish/{channel} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    if let Err(error) = socket.write_all(request.as_bytes()) {
        return Answer::Unknown(error.to_string());
    }
    let reply = match read_reply(&mut socket, false) {
        Ok(reply) => reply,
        Err(what) => return Answer::Unknown(what),
    };
    let text = reply.text();
    match reply.status {
        200 => accepted(&text).unwrap_or_else(|| Answer::Wrong(format!("200 {text}"))),
        503 if text.contains("nothing was published") => Answer::Refused,
        503 => Answer::Unknown(text),
        status => Answer::Wrong(format!("{status} {text}")),
    }
}

fn accepted(text: &str) -> Option<Answer> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let id = |name: &str| answer[name].as_str().and_then(parse_id);
    let one = id("id").map(|id| (id, id));
    let (first, last) = one.or_else(|| id("first").zip(id("last")))?;
    Some(Answer::Accepted(first, last))
}

/// Publishes until it is enough: mostly single messages, some batches, some of them long.
pub fn keep_publishing(run: &Run, publisher: usize) -> Vec<Request> {
    let mut random = Random::new(run.seed, 1000 + publisher as u64);
    let mut requests = Vec::new();
    for number in 0.. {
        if run.is_published.load(Ordering::SeqCst) {
            break;
        }
        let server = random.below(run.servers.len());
        let channel = &run.channels[random.below(run.channels.len())];
        let lines = random.one_of(&[1, 1, 1, 1, 1, 1, 2, 10]);
        let keys = (0..lines).map(|line| {
            let bytes = random.one_of(&[0, 10, 10, 100, 100, 1000, 10_000]);
            format!("p{publisher}.{number}.{line}.{bytes}")
        });
        let keys = keys.collect();
        requests.push(publish(run, publisher, server, channel, keys));
        // 8 publishers: about 100 messages a second in all.
        pause(random.ms(50, 250));
    }
    requests
}

/// Lets time pass, which is what makes the rate of a publisher or of a client.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Follows the history's channels until the run is over, on one server after the other, and comes back with the id of the
/// last event that it had.
pub fn keep_following(run: &Run, client: usize, history: &History) {
    let mut random = Random::new(run.seed, 2000 + client as u64);
    let named = history.channels.iter().filter(|name| *name != "broadcast");
    let named: Vec<&str> = named.map(String::as_str).collect();
    let target = format!("/sse?canal={}&format=json", named.join(","));
    let mut last = String::new();
    while !run.is_over.load(Ordering::SeqCst) {
        let server = random.below(run.servers.len());
        let stay = random.ms(100, 8000);
        history.add(
            run.now(),
            Seen::Asked {
                server,
                last: last.clone(),
            },
        );
        let why = visit(run, server, &target, &mut last, stay, history);
        history.add(run.now(), Seen::Left(why));
        pause(random.ms(1, 500));
    }
}

/// One stream from its beginning to its end. Returns why it ended.
fn visit(
    run: &Run,
    server: usize,
    target: &str,
    last: &mut String,
    stay: Duration,
    history: &History,
) -> String {
    let mut socket = match connect(run.servers[server]) {
        Ok(socket) => socket,
        Err(error) => return error.to_string(),
    };
    let id = match last.as_str() {
        "" => String::new(),
        last => format!("Last-Event-ID: {last}\r\n"),
    };
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n{id}\r\n");
    let look = Some(Duration::from_millis(200));
    let prepared = socket
        .write_all(request.as_bytes())
        .and_then(|()| socket.set_read_timeout(look));
    if let Err(error) = prepared {
        return error.to_string();
    }
    let begun = Instant::now();
    let mut heard = begun;
    let mut head = Vec::new();
    let mut dechunker = None;
    let mut parser = Parser::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        if run.is_over.load(Ordering::SeqCst) {
            return "the run is over".into();
        }
        if begun.elapsed() > stay && !run.is_calm.load(Ordering::SeqCst) {
            return "it wanted to".into();
        }
        if heard.elapsed() > PATIENCE {
            return "the server is silent".into();
        }
        let bytes = match socket.read(&mut buffer) {
            Ok(0) => return "the server closed".into(),
            Ok(count) => &buffer[..count],
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return error.to_string(),
        };
        heard = Instant::now();
        if dechunker.is_none() {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            if !head.starts_with(b"HTTP/1.1 200 ") {
                return String::from_utf8_lossy(&head[..end]).replace("\r\n", " ");
            }
            history.add(run.now(), Seen::Joined);
            let rest = head.split_off(end + 4);
            let content = dechunker.insert(Dechunker::default()).push(&rest);
            take(run, &mut parser, &content, last, history);
        } else if let Some(dechunker) = &mut dechunker {
            let content = dechunker.push(bytes);
            take(run, &mut parser, &content, last, history);
        }
    }
}

fn take(run: &Run, parser: &mut Parser, content: &[u8], last: &mut String, history: &History) {
    for event in parser.push(content) {
        // Not the parser's own, which an event that is cut off may have set (WHATWG HTML, 9.2.6: it counts when the event
        // is dispatched).
        if !event.last_event_id.is_empty() {
            last.clone_from(&event.last_event_id);
        }
        let seen = understand(&event);
        let seen = seen.unwrap_or_else(|| {
            let mut text = format!("{event:?}");
            text.truncate(500);
            Seen::Wrong(text)
        });
        history.add(run.now(), seen);
    }
}

/// What an event says, if it is one that a server may send.
fn understand(event: &Event) -> Option<Seen> {
    let data: serde_json::Value = serde_json::from_str(&event.data).ok()?;
    let channel = data["canal"].as_str()?.into();
    match event.kind.as_str() {
        "message" => {
            let text = data["mensagem"].as_str()?;
            let (key, rest) = text.split_once(' ')?;
            let id: Id = parse_id(event.id.as_ref()?)?;
            let is_whole = rest.len() == rest_of(key)? && rest.bytes().all(|byte| byte == b'x');
            is_whole.then(|| Seen::Message {
                channel,
                id,
                key: key.into(),
            })
        }
        "sse-gap" => Some(Seen::Gap {
            channel,
            // A name that is no id says nothing of what the client has: the gap is everything.
            after: parse_id(data["after"].as_str()?).unwrap_or_default(),
        }),
        _ => None,
    }
}
