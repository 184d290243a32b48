//! A stop loses nothing: what was answered arrives, streams end cleanly, the process leaves in time.

use crate::common;

use common::http::Ending;
use common::{http, Crowd, Publisher, Server};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn stop_while_500_receive(signal: i32) {
    let mut server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "a", 500);
    let answered = AtomicUsize::new(0);
    let (status, took) = std::thread::scope(|scope| {
        let mut publisher = Publisher::new(&server);
        let answered = &answered;
        scope.spawn(move || {
            // Until the server does not take any more.
            while publisher
                .try_publish("a", answered.load(Ordering::SeqCst).to_string())
                .is_ok()
            {
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
        common::wait_until("messages flow", common::BOUND, || {
            answered.load(Ordering::SeqCst) > 200
        });
        server.stop(signal)
    });
    assert!(status.success(), "the exit code is {status}");
    assert!(took < Duration::from_secs(10), "the stop took {took:?}");
    crowd.wait_for_all("every stream ends", |client| {
        client.has_ended_cleanly || client.is_closed
    });
    let answered = answered.load(Ordering::SeqCst);
    crowd.each(|number, client| {
        assert!(
            client.has_ended_cleanly,
            "the stream of client {number} was cut"
        );
        assert!(
            client.events.len() >= answered,
            "client {number} has {} of {answered} messages",
            client.events.len()
        );
    });
}

#[test]
fn sigterm_while_500_clients_receive() {
    stop_while_500_receive(libc::SIGTERM);
}

#[test]
fn sigint_while_500_clients_receive() {
    stop_while_500_receive(libc::SIGINT);
}

#[test]
fn a_quiet_server_stops_at_once_and_says_so() {
    let mut server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let (status, took) = server.terminate();
    // Less than what a stop may take.
    assert!(
        status.success() && took < Duration::from_secs(5),
        "{status} after {took:?}"
    );
    assert_eq!(stream.ending(), Ending::Clean);
    server.wait_for_log("event=stopping signal=SIGTERM clients=1");
    server.wait_for_log("event=disconnect reason=shutdown");
    server.wait_for_log("event=stopped");
}

/// A client that reads nothing, with more for it than its socket's buffers hold: it keeps the server busy to its last
/// seconds.
fn subscribe_and_sleep(server: &Server) -> socket2::Socket {
    let before = server.count_in_log("event=connect");
    let sleeper = server.send(b"GET /sse/a HTTP/1.1\r\nHost: test\r\n\r\n");
    common::wait_until("it has a stream", common::BOUND, || {
        server.count_in_log("event=connect") > before
    });
    let mut publisher = Publisher::new(server);
    // Not so many that it would be disconnected as slow.
    for _ in 0..100 {
        publisher.publish("a", "x".repeat(60_000));
    }
    sleeper
}

#[test]
fn a_client_that_never_reads_does_not_delay_the_stop() {
    let mut server = Server::start(&[]);
    let _follower = server.send(b"GET /messages/a?follow=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_log("event=connect client=1");
    let _sleeper = subscribe_and_sleep(&server);
    let (status, took) = server.terminate();
    assert!(
        status.success() && took < Duration::from_secs(10),
        "{status} after {took:?}"
    );
    // Each stream has its last line, and the server's own comes last.
    server.wait_for_log("event=stopped");
    let log = server.log();
    let ended: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" event=").map(|(_, rest)| rest))
        .filter(|rest| rest.starts_with("disconnect ") || rest.starts_with("stopped "))
        .collect();
    assert_eq!(ended.len(), 3, "the last lines: {ended:?}");
    assert!(ended[2].starts_with("stopped "), "{ended:?}");
    for line in &ended[..2] {
        assert!(line.contains(" reason=slow "), "{line}");
    }
}

#[test]
fn while_it_stops_the_server_says_that_it_is_not_ready() {
    let mut server = Server::start(&[]);
    let sleeper = subscribe_and_sleep(&server);
    let addr = server.addr;
    let stopping = std::thread::spawn(move || server.terminate().0);
    common::wait_until("/health/ready turns to 503", common::BOUND, || {
        http::request(addr, "GET", "/health/ready", &[], b"").status == 503
    });
    assert_eq!(http::request(addr, "GET", "/health", &[], b"").status, 200);
    for (method, target) in [("GET", "/sse/a"), ("POST", "/publish/a?msg=x")] {
        let reply = http::request(
            addr,
            method,
            target,
            &[("Authorization", "Bearer test-token-of-16-bytes")],
            b"",
        );
        assert_eq!(reply.status, 503, "{method} {target} while it stops");
        assert!(
            reply.header("Retry-After").is_some(),
            "{method} {target} says when to try again"
        );
    }
    drop(sleeper);
    assert!(stopping.join().expect("the server stops").success());
}

#[test]
fn a_client_that_connects_just_before_the_stop_is_answered() {
    // Often: whether the server looks first at its clients or at the stop is a matter of luck.
    for round in 0..20 {
        let mut server = Server::start(&[]);
        server.pause();
        server.signal(libc::SIGTERM);
        let clients: Vec<_> = (0..20)
            .map(|_| server.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"))
            .collect();
        server.resume();
        for mut client in clients {
            let reply = http::read_reply(&mut client, false);
            let reply = reply.unwrap_or_else(|problem| panic!("round {round}: {problem}"));
            assert_eq!(reply.status, 200);
        }
        common::wait_until("it ends", common::BOUND, || !server.is_running());
    }
}

#[test]
fn a_request_that_is_incomplete_at_the_end_is_answered() {
    let request = "POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\nContent-Length: 10\r\n\r\n";
    let whole = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
    // With and without somebody who keeps the server busy to its last seconds.
    for is_busy in [false, true] {
        let mut server = Server::start(&[]);
        let _sleeper = is_busy.then(|| subscribe_and_sleep(&server));
        let mut connections: Vec<_> = [
            request[..40].to_string(),
            format!("{request}half"),
            format!("{whole}{}", &request[..40]),
            format!("{whole}{request}half"),
        ]
        .iter()
        .map(|bytes| server.send(bytes.as_bytes()))
        .collect();
        // They were accepted, and read as far as they go.
        for connection in &mut connections[2..] {
            let reply = http::read_reply(connection, false).expect("the first one is answered");
            assert_eq!(reply.status, 200);
        }
        let (status, took) = server.terminate();
        assert!(
            status.success() && took < Duration::from_secs(10),
            "{status} after {took:?}"
        );
        for (number, mut connection) in connections.into_iter().enumerate() {
            let what = format!("number {number}, busy: {is_busy}");
            let reply = http::read_reply(&mut connection, false);
            let reply = reply.unwrap_or_else(|problem| panic!("{what}: {problem}"));
            assert_eq!(reply.status, 408, "{what}");
        }
    }
}
