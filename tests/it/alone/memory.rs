//! What all connections together hold of incomplete requests is bounded. Beyond that, whoever sends more is refused,
//! and nobody else notices.

use crate::common::crowd::raise_descriptor_limit;
use crate::common::http::{read_reply, replies};
use crate::common::{
    over_each_transport, over_one_transport_after_another, wait_until, Publisher, TOKEN,
};
use socket2::Socket;
use std::io::{Read, Write};
use std::time::Duration;

/// What the server holds at most: 64 MiB, and 4 bodies of the largest size; plus its read buffer, and what the
/// allocator keeps.
const MOST: u64 = (64 << 20) + (40 << 20);

/// The status that has come on each of these connections, if one has.
fn statuses(connections: &mut [Socket]) -> Vec<u16> {
    let mut found = Vec::new();
    for connection in connections {
        let set = connection.set_nonblocking(true);
        set.expect("a socket option can be set");
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        // An interim answer precedes the real one.
        let last = replies(&answer, 0).ok().and_then(|mut all| all.pop());
        found.extend(last.map(|reply| reply.status));
    }
    found
}

fn refused(connections: &mut [Socket]) -> usize {
    let statuses = statuses(connections);
    assert!(
        statuses.iter().all(|&status| status == 503),
        "all are refused with 503: {statuses:?}"
    );
    statuses.len()
}

#[test]
fn incomplete_heads_take_bounded_memory_together() {
    raise_descriptor_limit();
    // One after the other: all at once they may need more descriptors than this process may have.
    over_one_transport_after_another(&[], |transport, server| {
        let mut publisher = Publisher::new(&server);
        let before = server.memory();
        let head = format!(
            "GET /health HTTP/1.1\r\nHost: test\r\nX: {}",
            "a".repeat(16_200)
        );
        let mut connections: Vec<_> = (0..4_400).map(|_| server.send(head.as_bytes())).collect();
        publisher.publish("beside", b"heads");
        let mut count = 0;
        wait_until("somebody is refused", Duration::from_secs(8), || {
            count += refused(&mut connections);
            count > 0
        });
        assert!(
            count < 1_000,
            "{count} of 4,400 are refused over {transport:?}"
        );
        let more = server.peak_memory().saturating_sub(before);
        assert!(more < MOST, "{} MiB more over {transport:?}", more >> 20);
        publisher.publish("beside", b"heads");
    });
}

#[test]
fn incomplete_bodies_take_bounded_memory_together() {
    over_each_transport(&[("MAX_MESSAGE_BYTES", "1000000")], |transport, server| {
        let mut publisher = Publisher::new(&server);
        let before = server.memory();
        let head = format!(
            "POST /publish/crowd HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: 15000000\r\n\r\n"
        );
        let line = [vec![b'"'; 1], vec![b'a'; 65_533], b"\"\n".to_vec()].concat();
        let mut connections: Vec<_> = (0..30).map(|_| server.send(head.as_bytes())).collect();
        for _ in 0..120 {
            for connection in &mut connections {
                // It may have been refused.
                let _ = connection.write_all(&line);
            }
        }
        let mut count = 0;
        wait_until("somebody is refused", Duration::from_secs(8), || {
            count += refused(&mut connections);
            count > 0
        });
        let more = server.peak_memory().saturating_sub(before);
        assert!(more < MOST, "{} MiB more over {transport:?}", more >> 20);
        publisher.publish("beside", b"bodies");
        drop(connections);

        // With room again, a batch of the largest size is taken.
        let lines = line.repeat(200);
        let head = head.replace("15000000", &lines.len().to_string());
        wait_until("there is room again", Duration::from_secs(8), || {
            let mut connection = server.send(head.as_bytes());
            let _ = connection.write_all(&lines);
            read_reply(&mut connection, false).is_ok_and(|reply| reply.status == 200)
        });
    });
}
