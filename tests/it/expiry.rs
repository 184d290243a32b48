//! Unused channels are removed, and clients that left are not counted.

use crate::common;

use common::{wait_until, Server};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_channel_goes_after_its_time_and_not_before() {
    let server = Server::start(&[("CHANNEL_TTL", "2")]);
    server.publish("a", "x");
    let published = Instant::now();
    assert_eq!(server.stat("active_channels"), 1);
    wait_until("the channel goes", 8 * SECOND, || {
        server.stat("active_channels") == 0
    });
    let after = published.elapsed();
    assert!(
        after >= 2 * SECOND - SECOND / 10,
        "it went after {after:?}, before its time"
    );
    assert!(
        after <= 7 * SECOND,
        "it went after {after:?}, more than 5 s late"
    );
    server.wait_for_log("event=expire channel=a");
    let mut stream = server.subscribe_with("/sse/a?last_event_id=0", &[]);
    server.publish("a", "new");
    assert_eq!(stream.next().data, "new", "the history went with it");
}

#[test]
fn a_channel_stays_while_somebody_listens() {
    let server = Server::start(&[("CHANNEL_TTL", "1"), ("HEARTBEAT", "1")]);
    let stream = server.subscribe("kept");
    let begun = Instant::now();
    server.publish("other", "x");
    wait_until("another channel goes", 8 * SECOND, || {
        server.stat("active_channels") == 1
    });
    wait_until("three times its time is over", 8 * SECOND, || {
        begun.elapsed() > 3 * SECOND
    });
    assert_eq!(
        server.stat("active_channels"),
        1,
        "the channel with a listener is there"
    );
    drop(stream);
    let left = Instant::now();
    wait_until("it goes when the listener has left", 8 * SECOND, || {
        server.stat("active_channels") == 0
    });
    assert!(
        left.elapsed() >= SECOND,
        "it went {:?} after the leaving",
        left.elapsed()
    );
}

#[test]
fn a_publish_keeps_a_channel_alive() {
    let server = Server::start(&[("CHANNEL_TTL", "2")]);
    let begun = Instant::now();
    while begun.elapsed() < 5 * SECOND {
        server.publish("a", "x");
        std::thread::park_timeout(SECOND / 2);
        assert_eq!(
            server.stat("active_channels"),
            1,
            "after {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_client_that_left_is_no_longer_counted_after_two_heartbeats() {
    let server = Server::start(&[("HEARTBEAT", "1")]);
    let streams: Vec<_> = (0..20).map(|_| server.subscribe("a")).collect();
    assert_eq!(server.stat("connected_clients"), 20);
    drop(streams);
    wait_until("all are out of the count", 2 * SECOND, || {
        server.stat("connected_clients") == 0
    });
    assert_eq!(
        server
            .request(
                "POST",
                "/publish/a",
                &[("Authorization", "Bearer test-token-of-16-bytes")],
                b"x"
            )
            .json()["clients"],
        0
    );
}
