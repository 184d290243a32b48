//! Crowds of connections that stand around and leave, beside somebody who must not notice.

use crate::common::crowd::raise_descriptor_limit;
use crate::common::{wait_until, EventStream, Publisher, Server, Transport, BOUND};
use socket2::Socket;
use std::io::Read;
use std::time::Duration;

/// What a connection of the crowd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Follows a channel.
    Stream,
    /// Has had an answer, and may ask again.
    Idle,
    /// Has sent nothing.
    Silent,
    /// Has sent a part of a head.
    HalfHead,
    /// Has sent a head and a part of a body.
    HalfBody,
}

pub const KINDS: [Kind; 5] = [
    Kind::Stream,
    Kind::Idle,
    Kind::Silent,
    Kind::HalfHead,
    Kind::HalfBody,
];

/// Connections of all kinds in turn; those that have an answer to expect have it.
#[track_caller]
pub fn crowd(server: &Server, kinds: &[Kind], count: usize) -> Vec<Socket> {
    raise_descriptor_limit();
    let all = kinds.iter().cycle().take(count).map(|kind| {
        let mut connection = server.send(match kind {
            Kind::Stream => b"GET /sse/crowd HTTP/1.1\r\nHost: test\r\n\r\n",
            Kind::Idle => b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n",
            Kind::Silent => b"",
            Kind::HalfHead => b"GET /health HTTP/1.1\r\nHost: te",
            Kind::HalfBody => b"POST /publish/crowd HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\nContent-Length: 60000\r\n\r\nabc",
        });
        if matches!(kind, Kind::Stream | Kind::Idle) {
            let mut begin = [0; 12];
            let read = connection.read_exact(&mut begin);
            read.unwrap_or_else(|error| panic!("{kind:?} has no answer: {error}"));
            assert_eq!(&begin, b"HTTP/1.1 200", "one of the crowd is refused");
        }
        connection
    });
    all.collect()
}

/// Half of them leave with an end, half with a reset (which Unix sockets do not have).
pub fn leave(crowd: Vec<Socket>) {
    for (number, connection) in crowd.into_iter().enumerate() {
        if number % 2 == 1 {
            let _ = connection.set_linger(Some(Duration::ZERO));
        }
    }
}

/// A crowd is there, somebody comes, and the crowd leaves: who came last has every message, in order.
#[track_caller]
pub fn a_newcomer_misses_nothing(transport: Transport, server: &Server, count: usize) {
    let what = format!("over {transport}, behind a crowd of {count}");
    let mut leaving = crowd(server, &KINDS, count);
    let mut newcomer = server.subscribe("a");
    let mut publisher = Publisher::new(server);
    let mut number = 0;
    // A third of them, and another one, and the last: each time there are holes where they were.
    for _ in 0..3 {
        let rest = leaving.split_off(leaving.len().min(count.div_ceil(3)));
        leave(std::mem::replace(&mut leaving, rest));
        // While others leave, and for a while after.
        for _ in 0..20 {
            publish_next(&mut publisher, &mut newcomer, &mut number, &what);
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    wait_until(&format!("{what}: it is out of the count"), BOUND, || {
        server.stat("connected_clients") == 1
    });
    publish_next(&mut publisher, &mut newcomer, &mut number, &what);
}

fn publish_next(
    publisher: &mut Publisher,
    stream: &mut EventStream,
    number: &mut usize,
    what: &str,
) {
    *number += 1;
    let text = number.to_string();
    let published = publisher.try_publish("a", &text);
    published.unwrap_or_else(|problem| panic!("{what}: message {number}: {problem}"));
    let came = stream.try_next(BOUND).map(|event| event.data);
    assert_eq!(came, Some(text), "{what}: the message that comes");
}
