//! Crowds that are too large to run beside other tests: they idle, or come before somebody and leave.

use crate::common;
use crate::door::crowds::{a_newcomer_misses_nothing, crowd, Kind};

use super::rate::keeps;
use common::witness::{answers, Witness};
use common::{http, over_one_transport_after_another, Crowd, Server, BOUND};
use std::io::Write;
use std::time::Duration;

#[test]
fn ten_thousand_idle_connections_beside_a_thousand_streams() {
    const STREAMS: usize = 1000;
    const IDLE: usize = 10_000;
    const MOST: u64 = 25 << 20;
    // Room for all of them, and for those who ask.
    over_one_transport_after_another(&[("MAX_CLIENTS", "12000")], |transport, server| {
        let what = format!("over {transport}, {IDLE} idle connections beside {STREAMS} streams");
        let streams = Crowd::subscribe(&server, "a", STREAMS);
        let witness = Witness::start(&server);
        let before = server.memory();
        let mut idle = crowd(&server, &[Kind::Idle, Kind::Silent], IDLE);
        assert!(
            server.threads() <= STREAMS as u64 + 20,
            "{what}: {} threads",
            server.threads()
        );
        let more = server.memory().saturating_sub(before);
        assert!(more < MOST, "{what}: {} KiB for the idle ones", more >> 10);
        println!("{what}: {} KiB, {} threads", more >> 10, server.threads());
        server.publish("a", "to all streams");
        streams.wait_for_all("each of them gets a message", |client| {
            client.events.len() == 1
        });
        // None of them was given up for another.
        for connection in &mut idle {
            let request = b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
            connection.write_all(request).expect("it is sent");
        }
        for (number, mut connection) in idle.into_iter().enumerate() {
            let (answer, left) = http::read_until_closed(&mut connection, BOUND);
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.contains("Connection: close\r\n"),
                "{what}: number {number} was {left:?} with {answer:?}"
            );
        }
        witness.testifies(&what);
        assert!(answers(&server) < Duration::from_secs(1), "{what}");
    });
}

#[test]
fn a_newcomer_misses_nothing_when_a_thousand_or_three_thousand_leave() {
    over_one_transport_after_another(&[], |transport, server| {
        for count in [1000, 3000] {
            a_newcomer_misses_nothing(transport, &server, count);
        }
    });
}

/// Whoever wakes a thread has to find it among all that sleep.
#[test]
fn publishing_is_as_fast_beside_thousands_of_sleeping_streams() {
    const STREAMS: usize = 10_000;
    let quiet = Server::start_quietly(&[("RUST_LOG", "warn")]);
    let crowded = Server::start_quietly(&[("RUST_LOG", "warn"), ("MAX_CLIENTS", "11000")]);
    let crowd = Crowd::subscribe(&crowded, "another", STREAMS);
    crowd.wait_for_all("each is served", |client| client.served_after.is_some());
    keeps(0.8, &crowded, &quiet, 6 * BOUND);
}
