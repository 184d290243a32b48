//! Whatever becomes of standard error, the server goes on.

use crate::common;

use common::{wait_until, Server, BOUND};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// A server whose standard error is this.
fn start(stderr: UnixStream) -> Server {
    Server::start_unheard(&[], OwnedFd::from(stderr).into())
}

#[test]
fn a_closed_standard_error_ends_nothing() {
    let (reader, stderr) = UnixStream::pair().expect("there are sockets");
    let mut server = start(stderr);
    drop(reader);
    let mut stream = server.subscribe("a");
    for number in 0..50 {
        server.publish("a", number.to_string());
        assert_eq!(stream.next().data, number.to_string());
    }
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn an_unread_standard_error_blocks_nobody() {
    let (mut reader, stderr) = UnixStream::pair().expect("there are sockets");
    let mut server = start(stderr);
    let channel = "c".repeat(128);
    // A line each, far more than the socket and the queue hold.
    let mut publisher = common::Publisher::new(&server);
    for number in 0..10_000 {
        publisher.publish(&channel, number.to_string());
    }
    // Somebody reads again: the rest is told, and that something is missing.
    reader
        .set_read_timeout(Some(BOUND))
        .expect("a timeout can be set");
    let mut text = String::new();
    let mut buffer = vec![0; 1 << 16];
    wait_until("the log says that lines are lost", BOUND, || {
        let size = reader.read(&mut buffer).expect("the log goes on");
        text += &String::from_utf8_lossy(&buffer[..size]);
        text.contains("event=log_lost lines=")
    });
    server.publish("a", "after");
    wait_until("the log goes on", BOUND, || {
        let size = reader.read(&mut buffer).expect("the log goes on");
        text += &String::from_utf8_lossy(&buffer[..size]);
        text.contains("channel=a ")
    });
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn the_last_lines_of_a_process_are_not_among_those_that_are_lost() {
    let (mut reader, stderr) = UnixStream::pair().expect("there are sockets");
    let mut server = start(stderr);
    let mut publisher = common::Publisher::new(&server);
    for number in 0..10_000 {
        publisher.publish("a", number.to_string());
    }
    let addr = server.addr;
    let text = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.terminate().0);
        // It has logged that it stops, while its log is full.
        wait_until("the server stops", BOUND, || {
            std::net::TcpStream::connect(addr).is_err()
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the log ends");
        let status = stopping.join().expect("it is waited for");
        assert!(status.success(), "{status}");
        text
    });
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    for event in ["event=stopping", "event=stopped"] {
        assert!(text.contains(event), "no {event}; the last lines: {last:?}");
    }
    assert!(text.contains("event=log_lost lines="), "something is lost");
}
