//! Large answers, and clients that take them slowly or not at all.

use crate::common;

use common::http::replies;
use common::witness::answers;
use common::{over_each_transport, wait_until, Address, Server, Transport, BOUND};
use socket2::Socket;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Answers that together are larger than what the system holds for a connection.
const ASKED: usize = 40;

/// What all connections together may hold of answers, as in src/server/mod.rs, and what comes on top.
const MOST: u64 = (64 << 20) + (24 << 20);

fn pages(target: &str, count: usize) -> Vec<u8> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let last = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    (request.repeat(count - 1) + &last).into_bytes()
}

/// A connection for which the client's system holds this many bytes, or as few as it can.
fn narrow(address: &Address, bytes: usize) -> Socket {
    let socket = address.socket();
    let set = socket.set_recv_buffer_size(bytes);
    set.expect("a socket option can be set");
    address.connect_with(&socket);
    socket
}

/// Bytes read at once.
const SIP: usize = 16 << 10;

/// Reads to the end, a little at a time, with pauses; without one when it is late.
fn sip(connection: &mut Socket, pause: Duration) -> Vec<u8> {
    let mut next = Instant::now();
    let mut all = Vec::new();
    let mut buffer = vec![0; SIP];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
        }
        next += pause;
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    over_each_transport(&[], |transport, server| {
        std::thread::scope(|scope| {
            // As many bytes a second, of as many answers.
            for (rate, count) in [(300_000, 20), (2_000_000, 80)] {
                let server = &server;
                scope.spawn(move || {
                    let what = format!("over {transport}, {rate} bytes a second");
                    let whole = server.get("/openapi.json").body;
                    let mut connection = narrow(&server.address, 64 << 10);
                    let request = pages("/openapi.json", count);
                    connection.write_all(&request).expect("it is sent");
                    let pause = Duration::from_secs(1) * SIP as u32 / rate;
                    let taken = sip(&mut connection, pause);
                    let all = replies(&taken, 0)
                        .unwrap_or_else(|problem| panic!("{what}: {problem:.300}"));
                    assert_eq!(all.len(), count, "{what}: answers");
                    for reply in all {
                        assert_eq!((reply.status, &reply.body), (200, &whole), "{what}");
                    }
                });
            }
        });
    });
}

/// Opens connections that request much and read nothing, until the server has cut them all off.
fn three_hundred_that_take_nothing(transport: Transport, server: &Server) {
    let what = format!("over {transport}, 300 that take nothing");
    let (threads, memory) = (server.threads(), server.memory());
    let descriptors = server.descriptors();
    let request = pages("/openapi.json", ASKED);
    let begun = Instant::now();
    let connections: Vec<Socket> = (0..300)
        .map(|_| {
            let mut connection = narrow(&server.address, 0);
            let _ = connection.write_all(&request);
            connection
        })
        .collect();
    // Half a second, 4 us a byte that it has not taken, and a second until somebody looks.
    while server.descriptors() > descriptors {
        let took = answers(server);
        assert!(
            took < BOUND / 2,
            "{what}: a request beside them took {took:?}"
        );
        let now = server.threads();
        assert!(now <= threads, "{what}: {now} threads after {threads}");
        assert!(begun.elapsed() < BOUND, "{what}: they are not cut");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let more = server.peak_memory().saturating_sub(memory);
    println!(
        "{what}: cut after {:?}, {} MiB more",
        begun.elapsed(),
        more >> 20
    );
    assert!(more < MOST, "{what}: {} MiB more", more >> 20);
    drop(connections);
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_and_costs_no_thread_and_little_memory() {
    over_each_transport(&[], |transport, server| {
        three_hundred_that_take_nothing(transport, &server);
    });
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_beside_one_that_reads_slowly() {
    over_each_transport(&[], |transport, server| {
        let what = format!("over {transport}");
        let mut steady = narrow(&server.address, 64 << 10);
        let before = server.descriptors();
        let mut asleep = narrow(&server.address, 0);
        asleep.write_all(&pages("/", ASKED)).expect("it is sent");
        steady.write_all(&pages("/", ASKED)).expect("it is sent");
        let reading = std::thread::spawn(move || sip(&mut steady, Duration::from_millis(8)));
        wait_until(
            &format!("{what}: who takes nothing is cut"),
            Duration::from_secs(6),
            || server.descriptors() <= before,
        );
        let taken = reading.join().expect("it reads");
        let count = replies(&taken, 0).map(|all| all.len());
        assert_eq!(count, Ok(ASKED), "{what}: answers to who takes slowly");
        drop(asleep);
    });
}
