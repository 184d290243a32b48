//! Messages for a client that has left delay nobody.

use crate::common;

use common::{http, Publisher, Server, BOUND};
use std::io::Write;
use std::time::Instant;

#[test]
fn a_client_that_leaves_while_it_is_behind_does_not_delay_broadcasts() {
    let server = Server::start(&[
        ("CLIENT_QUEUE", "4000"),
        ("MAX_MESSAGE_BYTES", "2000000"),
        ("HISTORY_EVENTS", "10"),
    ]);
    // More than the socket's buffers hold, less than the queue.
    let lines = format!("\"{}\"\n", "x".repeat(4000)).repeat(3500);
    for round in 0..5 {
        let mut client = http::connect(server.addr);
        client
            .write_all(b"GET /sse/a HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("the request is sent");
        common::wait_until("the client is connected", BOUND, || {
            server.stat("connected_clients") == 1
        });
        let mut publisher = Publisher::new(&server);
        publisher.publish_batch("a", &lines);
        drop(client);
        common::wait_until("the client has left", BOUND, || {
            server.stat("connected_clients") == 0
        });
        let begun = Instant::now();
        publisher
            .try_publish("broadcast", "x")
            .unwrap_or_else(|what| panic!("round {round}: a broadcast got {what}"));
        assert!(begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
    }
}
