//! Requests that a client sends without waiting for the answers are answered, each, and in their order.

use crate::common;

use common::{http, Server, BOUND};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Gives a byte at a time, so that whoever reads an answer takes nothing of the next one.
struct Slowly(BufReader<TcpStream>);

impl Read for Slowly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = buffer.len().min(1);
        self.0.read(&mut buffer[..end])
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::start(&[]);
    // Bodies that come late hold a thread each; once they are there, many threads wait for requests.
    let head = b"POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\nContent-Length: 2000\r\n\r\n";
    let mut late: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = http::connect(server.addr);
            connection.write_all(head).expect("a head is sent");
            connection
        })
        .collect();
    for connection in &mut late {
        connection.write_all(&[b'x'; 2000]).expect("a body is sent");
        let reply = http::read_reply(connection, false).expect("it is answered");
        assert_eq!(reply.status, 200);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let mut connection = http::connect(server.addr);
        let requests: String = (0..10)
            .map(|n| format!("GET /number-{n} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .collect();
        connection
            .write_all(requests.as_bytes())
            .expect("requests are sent");
        connection
            .set_read_timeout(Some(BOUND))
            .expect("a timeout can be set");
        let mut answers = Slowly(BufReader::new(connection));
        for n in 0..10 {
            let reply = http::read_reply(&mut answers, false)
                .unwrap_or_else(|what| panic!("request {n} of 10: {what}"));
            let text = reply.text();
            assert!(text.contains(&format!("/number-{n}")), "{n}: {text}");
        }
    }
}
