//! A client that does not read costs nobody else anything, and no healthy one is mistaken for it.

use crate::common;

use common::{http, Crowd, Publisher, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Subscribes, reads the head, and then nothing more.
fn subscribe_and_sleep(server: &Server, channel: &str) -> TcpStream {
    let mut connection = http::connect(server.addr);
    write!(
        connection,
        "GET /sse/{channel} HTTP/1.1\r\nHost: test\r\n\r\n"
    )
    .expect("the request is sent");
    let mut byte = [0];
    connection.read_exact(&mut byte).expect("the stream begins");
    connection
}

#[test]
fn a_client_that_stops_reading_is_disconnected_and_nobody_waits_for_it() {
    const SIZE: usize = 60_000;
    let server = Server::start(&[]);
    let sleeper = subscribe_and_sleep(&server, "a");
    let peer = sleeper.local_addr().expect("the socket has an address");
    let reader = server.subscribe("a");
    let before = server.memory();
    let text = "x".repeat(SIZE);
    let watching = std::thread::spawn(move || {
        let mut reader = reader;
        let mut count = 0;
        while reader.next().data != "end" {
            count += 1;
        }
        count
    });
    let mut publisher = Publisher::new(&server);
    let mut slowest = Duration::ZERO;
    let mut published = 0;
    let begun = Instant::now();
    // 300 MB, or until it is gone if that takes more.
    while published < 5000
        || (begun.elapsed() < common::BOUND && !server.log().contains("reason=slow"))
    {
        let asked = Instant::now();
        publisher.publish("a", &text);
        slowest = slowest.max(asked.elapsed());
        published += 1;
    }
    publisher.publish("a", "end");
    assert_eq!(
        watching.join().expect("the reader reads"),
        published,
        "messages at the healthy reader"
    );
    server.wait_for_log(&format!("event=disconnect peer={peer} reason=slow"));
    assert_eq!(server.get("/stats").json()["slow_clients_disconnected"], 1);
    assert!(
        slowest < Duration::from_millis(900),
        "a publish took {slowest:?}"
    );
    let more = server.peak_memory().saturating_sub(before);
    assert!(
        more < 96 << 20,
        "{} MiB more memory at the peak",
        more >> 20
    );
    drop(sleeper);
}

#[test]
fn a_client_that_sleeps_is_cut_off_even_when_publishing_stops() {
    let server = Server::start(&[("CLIENT_QUEUE", "10")]);
    let _sleeper = subscribe_and_sleep(&server, "a");
    let mut publisher = Publisher::new(&server);
    // More than the socket's buffers hold.
    let text = "x".repeat(60_000);
    for _ in 0..300 {
        publisher.publish("a", &text);
    }
    server.wait_for_log("event=disconnect reason=slow");
    common::wait_until("the sleeper is out of the count", common::BOUND, || {
        server.stat("connected_clients") == 0
    });
}

#[test]
fn a_short_sleep_is_forgiven() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let mut publisher = Publisher::new(&server);
    for n in 0..200 {
        publisher.publish("a", format!("{n} {}", "x".repeat(20_000)));
    }
    for n in 0..200 {
        assert!(
            stream.next().data.starts_with(&format!("{n} ")),
            "message {n} in its place"
        );
    }
    assert!(!server.log().contains("reason=slow"));
}

#[test]
fn a_thousand_healthy_clients_survive_back_to_back_publishing() {
    const EACH: usize = 1000;
    let server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "a", 1000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut publisher = Publisher::new(server);
                for n in 0..EACH {
                    publisher.publish("a", n.to_string());
                }
            });
        }
    });
    crowd.wait_for_all("every client has every message", |client| {
        assert!(
            !client.is_closed,
            "a healthy client was disconnected after {} messages",
            client.events.len()
        );
        client.events.len() >= 4 * EACH
    });
    crowd.each(|number, client| {
        let mut ids: Vec<_> = client.events.iter().map(|e| &e.last_event_id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 4 * EACH, "client {number} has each message once");
    });
    assert_eq!(server.stat("connected_clients"), 1000);
    assert_eq!(server.stat("slow_clients_disconnected"), 0);
}

#[test]
fn healthy_clients_survive_a_flood_of_batches() {
    const LINES: usize = 5000;
    let server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "a", 300);
    let body: String = (0..LINES).map(|n| format!("{n}\n")).collect();
    let headers = [
        ("Authorization", "Bearer test-token-of-16-bytes"),
        ("Content-Type", "application/x-ndjson"),
    ];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let reply = server.request("POST", "/publish/a", &headers, body.as_bytes());
                assert_eq!(reply.status, 200, "{}", reply.text());
            });
        }
    });
    crowd.wait_for_all("every client has every message", |client| {
        assert!(
            !client.is_closed,
            "a healthy client was disconnected after {} messages",
            client.events.len()
        );
        client.events.len() >= 4 * LINES
    });
    assert_eq!(server.stat("slow_clients_disconnected"), 0);
}
