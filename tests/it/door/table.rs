//! Raw requests, what has to come of each, and one way to check them all.
//!
//! Behind every request stands a marker, on the same connection: a publish that is right. Who takes the request for what
//! it is answers both; who refuses it closes, and the marker is never executed. In both cases everybody is answered at once.

use crate::common::http::{read_until_closed, replies, Left};
use crate::common::{EventStream, Reply, Server, Transport};
use socket2::Socket;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

/// Nobody waits longer for an answer or the end of the connection.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// Up to this many that are slow on a busy machine are asked once more, alone.
const SECOND_CHANCES: usize = 20;

/// Up to this many faults of a kind are reported; the kind is the name up to a colon.
const TOLD: usize = 3;

/// After this many requests without an answer no more are sent.
const UNANSWERED: usize = 60;

/// A request that is sent as it is, but for `{channel}`, which is replaced by a channel of its own, just as long.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub sent: Vec<u8>,
    pub wanted: Wanted,
    /// Whether a marker follows.
    pub is_marked: bool,
    /// Where it is cut. Each part is sent when the server has read the one before.
    pub cuts: Vec<usize>,
}

/// What has to come of a request.
#[derive(Clone, Default)]
pub struct Wanted {
    /// It is one request, answered with one of these.
    served: Vec<u16>,
    /// Whether the connection has to be kept, and the marker served.
    is_kept: bool,
    /// The message that it publishes.
    message: Option<String>,
    /// It is refused with one of these, and its connection closed.
    refused: Vec<u16>,
    /// It may be closed without a word: it is no HTTP.
    may_be_mute: bool,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut ways = Vec::new();
        if let Some(message) = &self.message {
            ways.push(format!(
                "200, and {:?} is published",
                short(message.as_bytes())
            ));
        } else if !self.served.is_empty() {
            ways.push(format!("one answer {:?}", self.served));
        }
        if self.is_kept {
            ways.push("and the next request is served".into());
        }
        if !self.refused.is_empty() {
            let way = if ways.is_empty() { "" } else { "or " };
            ways.push(format!(
                "{way}refused with {:?} and Connection: close",
                self.refused
            ));
        }
        if self.may_be_mute {
            ways.push("or closed".into());
        }
        f.write_str(&ways.join(", "))
    }
}

impl Wanted {
    fn admits(&self, status: u16) -> bool {
        self.served.contains(&status) || self.refused.contains(&status)
    }

    pub fn or_refused(mut self, statuses: &[u16]) -> Wanted {
        self.refused = statuses.to_vec();
        self
    }

    pub fn or_closed(mut self) -> Wanted {
        self.may_be_mute = true;
        self
    }
}

/// One request with this answer; the connection is kept, and the next one is served.
pub fn served(status: u16) -> Wanted {
    Wanted {
        served: vec![status],
        is_kept: true,
        ..Wanted::default()
    }
}

/// One request, answered with one of these, whether the connection is kept or not.
pub fn answered(statuses: &[u16]) -> Wanted {
    Wanted {
        served: statuses.to_vec(),
        ..Wanted::default()
    }
}

/// One request that publishes this.
pub fn published(message: impl Into<String>) -> Wanted {
    Wanted {
        message: Some(message.into()),
        ..served(200)
    }
}

/// Refused with one of these; the connection is closed.
pub fn refused(statuses: &[u16]) -> Wanted {
    Wanted::default().or_refused(statuses)
}

impl Case {
    pub fn new(name: impl Into<String>, sent: impl AsRef<[u8]>, wanted: Wanted) -> Case {
        Case {
            name: name.into(),
            sent: sent.as_ref().to_vec(),
            wanted,
            is_marked: true,
            cuts: Vec::new(),
        }
    }

    /// The same in parts.
    pub fn cut(&self, name: &str, cuts: Vec<usize>) -> Case {
        Case {
            name: format!("{}: {name}", self.name),
            cuts,
            ..self.clone()
        }
    }

    /// Without a marker: the request is one that would take it for its own.
    pub fn alone(mut self) -> Case {
        self.is_marked = false;
        self
    }
}

/// What came of a request.
struct Outcome {
    bytes: Vec<u8>,
    left: Left,
    /// How often what it asked to publish was published, and its marker.
    messages: u64,
    markers: u64,
}

/// Sends a request with its marker, and reads until the end.
fn send(server: &Server, case: &Case, number: usize) -> (Vec<u8>, Left) {
    let mut sent = replace(&case.sent, b"{channel}", channel(number).as_bytes());
    if case.is_marked {
        sent.extend_from_slice(marker(number).as_bytes());
    }
    let mut connection = server.connect();
    let mut begin = 0;
    for &cut in &case.cuts {
        let _ = connection.write_all(&sent[begin..cut]);
        has_read(server);
        begin = cut;
    }
    // Who refuses a long one may do so before its end.
    let _ = connection.write_all(&sent[begin..]);
    read_until_closed(&mut connection, AT_ONCE)
}

/// Everything that comes on such a connection up to its end. One that is slow on a busy machine is followed by another.
pub fn read_at_once(connect: impl Fn() -> Socket) -> (Vec<u8>, Left) {
    const TRIES: usize = 3;
    let mut came = (Vec::new(), Left::Open);
    for _ in 0..TRIES {
        came = read_until_closed(&mut connect(), AT_ONCE);
        if came.1 != Left::Open {
            break;
        }
    }
    came
}

/// Waits until the server has read what was sent before: it answers what is sent now.
pub fn has_read(server: &Server) {
    assert_eq!(server.get("/health").status, 200);
}

/// As long as what it replaces.
fn channel(number: usize) -> String {
    format!("c{number:08}")
}

fn marker_channel(number: usize) -> String {
    format!("m{number}")
}

fn marker(number: usize) -> String {
    let channel = marker_channel(number);
    format!("POST /publish/{channel}?msg=x&access_token=test-token-of-16-bytes HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
}

pub fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let Some(at) = bytes.windows(old.len()).position(|window| window == old) else {
        return bytes.to_vec();
    };
    [
        &bytes[..at],
        new,
        &replace(&bytes[at + old.len()..], old, new),
    ]
    .concat()
}

/// Sends all of them, some at a time, and tells of every one that fares otherwise than it has to.
#[track_caller]
pub fn check(transport: Transport, server: &Server, cases: &[Case]) {
    let mut faults = Vec::new();
    let mut slow = Vec::new();
    let came = send_all(server, cases);
    let counts = Counts::of(server);
    for (number, case) in cases.iter().enumerate() {
        let Some((bytes, left)) = came[number].clone() else {
            continue;
        };
        if left == Left::Open {
            slow.push(number);
            continue;
        }
        let outcome = counts.outcome(bytes, left, number);
        faults.extend(fault(transport, server, case, number, &outcome));
    }
    for (turn, &number) in slow.iter().enumerate() {
        let case = &cases[number];
        // The first try has used its channels up.
        let again = cases.len() + number;
        let (came, number) = match turn {
            0..SECOND_CHANCES => (Some(send(server, case, again)), again),
            _ => (came[number].clone(), number),
        };
        let (bytes, left) = came.expect("it was sent");
        let outcome = Counts::of(server).outcome(bytes, left, number);
        faults.extend(fault(transport, server, case, number, &outcome));
    }
    let log = server.log();
    if let Some(line) = log.lines().find(|line| line.contains("panic")) {
        faults.push(format!("{transport}: a thread panicked: {line}"));
    }
    if server.get("/health").status != 200 {
        faults.push(format!("{transport}: /health does not answer afterwards"));
    }
    assert!(
        faults.is_empty(),
        "{} of {} requests:\n{}",
        faults.len(),
        cases.len(),
        some_of_each_kind(&faults)
    );
}

fn some_of_each_kind(faults: &[String]) -> String {
    let kind = |fault: &str| fault.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": ");
    let mut told: Vec<String> = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let kind = kind(fault);
        let is_same = |other: &&String| other.starts_with(&kind);
        match faults[..number].iter().filter(is_same).count() {
            0..TOLD => told.push(fault.clone()),
            TOLD => {
                let all = faults.iter().filter(is_same).count();
                told.push(format!("{kind}: {} more", all - TOLD));
            }
            _ => {}
        }
    }
    told.join("\n")
}

/// What came of each, `None` for those that were not sent any more because too many had no answer.
fn send_all(server: &Server, cases: &[Case]) -> Vec<Option<(Vec<u8>, Left)>> {
    const AT_A_TIME: usize = 8;
    let came: Mutex<Vec<_>> = Mutex::new(vec![None; cases.len()]);
    let (next, open) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while open.load(Ordering::Relaxed) < UNANSWERED {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else {
                        return;
                    };
                    let (bytes, left) = send(server, case, number);
                    if left == Left::Open {
                        open.fetch_add(1, Ordering::Relaxed);
                    }
                    came.lock().unwrap()[number] = Some((bytes, left));
                }
            });
        }
    });
    came.into_inner().expect("all threads have ended")
}

/// How many messages each channel has.
pub struct Counts(serde_json::Value);

impl Counts {
    pub fn of(server: &Server) -> Counts {
        Counts(
            server
                .get("/stats?access_token=test-token-of-16-bytes")
                .json()["channels"]
                .take(),
        )
    }

    pub fn messages(&self, channel: &str) -> u64 {
        let channels = self.0.as_array().into_iter().flatten();
        let mut counts = channels.filter(|entry| entry["canal"] == channel);
        counts
            .next()
            .map_or(0, |entry| entry["messages"].as_u64().unwrap_or(0))
    }

    fn outcome(&self, bytes: Vec<u8>, left: Left, number: usize) -> Outcome {
        Outcome {
            bytes,
            left,
            messages: self.messages(&channel(number)),
            markers: self.messages(&marker_channel(number)),
        }
    }
}

/// One line on what is wrong, if something is.
fn fault(
    transport: Transport,
    server: &Server,
    case: &Case,
    number: usize,
    outcome: &Outcome,
) -> Option<String> {
    let what = judge(case, outcome).or_else(|| {
        let message = case
            .wanted
            .message
            .as_ref()
            .filter(|_| outcome.messages > 0)?;
        let target = format!("/sse/{}?last_event_id=0", channel(number));
        let came = EventStream::open(&server.address, &target, &[]).next().data;
        (came != *message).then(|| format!("it published {:?}", short(came.as_bytes())))
    })?;
    Some(format!(
        "{transport}: {}: {what}; sent \"{}\"; came {}; it published {} times, what stood behind it {} times; wanted: {}",
        case.name,
        short(&case.sent),
        came(&outcome.bytes, outcome.left),
        outcome.messages,
        outcome.markers,
        case.wanted
    ))
}

/// The answers' status lines, and the end.
fn came(bytes: &[u8], left: Left) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter(|line| line.starts_with("HTTP/"));
    let end = match left {
        Left::Closed => "the end",
        Left::Reset => "a reset",
        Left::Open => "nothing more",
    };
    lines.chain([end]).collect::<Vec<_>>().join(" and then ")
}

fn short(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let mut text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    if bytes.len() > MOST {
        text += &format!("… ({} bytes)", bytes.len());
    }
    text
}

fn judge(case: &Case, outcome: &Outcome) -> Option<String> {
    let wanted = &case.wanted;
    if outcome.left == Left::Open {
        let silent = outcome.bytes.is_empty();
        let what = if silent { "silence" } else { "left open" };
        return Some(format!("{what} for {AT_ONCE:?}"));
    }
    let heads = usize::from(case.sent.starts_with(b"HEAD "));
    let all = match replies(&outcome.bytes, heads) {
        Ok(all) => all,
        Err(problem) => return Some(format!("its answer is malformed ({problem})")),
    };
    let Some(first) = all.first() else {
        return (!wanted.may_be_mute || outcome.markers + outcome.messages > 0)
            .then(|| "closed without an answer".into());
    };
    let closes = |reply: &Reply| reply.header("Connection") == Some("close");
    let is_served = wanted.served.contains(&first.status);
    let is_kept = outcome.markers > 0;
    let message = u64::from(wanted.message.is_some() && first.status == 200);
    let expected = [
        (outcome.left == Left::Reset, "the connection was reset"),
        (!wanted.admits(first.status), "the status is another one"),
        (outcome.messages > message, "it published"),
        (outcome.messages < message, "it published nothing"),
        (outcome.markers > 1, "the marker was executed twice"),
        (
            is_kept && !is_served,
            "something behind a refused request was executed",
        ),
        (
            is_kept && closes(first),
            "something behind the last request was executed",
        ),
        (!is_kept && !closes(first), "closed without saying so"),
        (is_kept && all.len() != 2, "not two answers to two requests"),
        (
            !is_kept && all.len() != 1,
            "more than one answer to one request",
        ),
        (
            case.is_marked && is_served && wanted.is_kept && !is_kept,
            "the request behind it was not served",
        ),
        (
            all.get(1).is_some_and(|second| second.status != 200),
            "the request behind it was refused",
        ),
    ];
    let wrong = expected.iter().find(|(is_so, _)| *is_so);
    wrong.map(|(_, what)| (*what).to_string())
}
