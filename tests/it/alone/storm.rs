//! When a server comes back, everybody comes back at once.

use crate::common;

use common::{wait_until, Crowd, Server, BOUND};
use std::time::Duration;

/// tiny_http leaves some connections of a burst waiting for a thread, in some bursts and not in others: several rounds.
const ROUNDS: usize = 6;

#[test]
fn three_thousand_connects_at_once_are_served_within_two_seconds() {
    let server = Server::start(&[]);
    for round in 1..=ROUNDS {
        let crowd = Crowd::connect(server.addr, |_| "/sse/a".into(), 3000);
        crowd.wait_for_all("all 3,000 clients are served", |client| {
            client.served_after.is_some()
        });
        let mut slowest = Duration::ZERO;
        crowd.each(|_, client| slowest = slowest.max(client.served_after.unwrap_or_default()));
        assert!(
            slowest <= Duration::from_secs(2),
            "in round {round} the slowest of 3,000 was served after {slowest:?}"
        );
        assert_eq!(server.stat("connected_clients"), 3000);
        server.publish("a", "all");
        crowd.wait_for_all("each of them gets a message", |client| {
            client.events.len() == 1
        });
        drop(crowd);
        wait_until("the crowd has left", BOUND, || {
            server.stat("connected_clients") == 0
        });
    }
}
