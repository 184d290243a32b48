//! When a server comes back, everybody comes back at once.

mod common;

use common::{Crowd, Server};
use std::time::Duration;

#[test]
fn three_thousand_connects_at_once_are_served_within_two_seconds() {
    let server = Server::start(&[]);
    let crowd = Crowd::connect(server.addr, |_| "/sse/a".into(), 3000);
    crowd.wait_for_all("all 3,000 clients are served", |client| {
        client.served_after.is_some()
    });
    let mut slowest = Duration::ZERO;
    crowd.each(|_, client| slowest = slowest.max(client.served_after.unwrap_or_default()));
    assert!(
        slowest <= Duration::from_secs(2),
        "the slowest of 3,000 was served after {slowest:?}"
    );
    server.publish("a", "all");
    crowd.wait_for_all("each of them gets a message", |client| {
        client.events.len() == 1
    });
    assert_eq!(server.stat("connected_clients"), 3000);
}
