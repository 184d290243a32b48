//! When a server comes back, everybody comes back at once.

use crate::common;

use common::{over_one_transport_after_another, wait_until, Crowd, Server, BOUND};
use std::time::{Duration, Instant};

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

#[test]
fn crowds_that_came_while_the_server_was_down_are_served_over_each_transport() {
    over_one_transport_after_another(&[], |transport, server| {
        for count in [3000, 5000] {
            let what = format!("over {transport}, {count} at once");
            // As many as the backlog takes wait already when the server gets to them; the others wait for the backlog.
            server.signal(libc::SIGSTOP);
            let crowd = std::thread::scope(|scope| {
                let connecting =
                    scope.spawn(|| Crowd::connect(&server.address, |_| "/sse/a".into(), count));
                let begun = Instant::now();
                while !connecting.is_finished() && begun.elapsed() < Duration::from_secs(1) {
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                server.signal(libc::SIGCONT);
                connecting.join().expect("they connect")
            });
            crowd.wait_for_all(&format!("{what}, are served"), |client| {
                client.served_after.is_some()
            });
            assert_eq!(server.stat("connected_clients"), count as u64, "{what}");
            server.publish("a", "all");
            crowd.wait_for_all(&format!("{what}, each gets a message"), |client| {
                client.events.len() == 1
            });
            drop(crowd);
            wait_until(&format!("{what}, have left"), BOUND, || {
                server.stat("connected_clients") == 0
            });
        }
    });
}
