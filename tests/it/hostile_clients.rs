//! Whatever one client does, a well-behaved subscriber and publisher notice nothing, and when it stops, everything that
//! it took is given back.

use crate::common;

use common::crowd::raise_descriptor_limit;
use common::witness::{answers, Witness};
use common::{http, wait_until, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

const AUTH: &str = "Authorization: Bearer test-token-of-16-bytes\r\n";

/// Threads, descriptors and memory of a server at rest.
struct Holdings {
    threads: u64,
    descriptors: u64,
    memory: u64,
}

impl Holdings {
    fn of(server: &Server) -> Holdings {
        Holdings {
            threads: server.threads(),
            descriptors: server.descriptors(),
            memory: server.memory(),
        }
    }

    /// Waits until what was taken since then is given back. tiny_http keeps some idle threads, the pool as well.
    #[track_caller]
    fn are_given_back(&self, server: &Server, after: &str) {
        let bound = Duration::from_secs(40);
        wait_until(
            &format!(
                "threads are given back after {after} ({} at first)",
                self.threads
            ),
            bound,
            || server.threads() <= self.threads + 16,
        );
        wait_until(
            &format!(
                "descriptors are given back after {after} ({} at first)",
                self.descriptors
            ),
            bound,
            || server.descriptors() <= self.descriptors + 4,
        );
        let more = server.memory().saturating_sub(self.memory);
        assert!(more < 64 << 20, "{} MiB more after {after}", more >> 20);
    }
}

/// A connection that has sent these bytes.
fn sent(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut connection = http::connect(addr);
    // The server may have closed already; that is its right.
    let _ = connection.write_all(bytes);
    connection
}

/// Reads to the end, which has to come within the bound.
#[track_caller]
fn is_closed(mut connection: TcpStream, bound: Duration, what: &str) {
    let end = Instant::now() + bound;
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{what} is not closed within {bound:?}");
        connection
            .set_read_timeout(Some(left))
            .expect("a timeout can be set");
        match connection.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return,
        }
    }
}

#[test]
fn impossible_body_lengths() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let lengths = [
        "2000000000",
        "1000000000000",
        "1000000000000000",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "garbage",
        "-1",
        "0x10",
        "5, 5",
    ];
    for length in lengths {
        for target in ["/publish/x", "/sse/x", "/health", "/stats", "/nope"] {
            for expect in ["", "Expect: 100-continue\r\n"] {
                for auth in ["", AUTH] {
                    for body in ["", "some bytes of a body"] {
                        let request = format!("POST {target} HTTP/1.1\r\nHost: test\r\n{auth}{expect}Content-Length: {length}\r\n\r\n{body}");
                        let mut connection = sent(server.addr, request.as_bytes());
                        let reply = http::read_reply(&mut connection, false)
                            .unwrap_or_else(|problem| panic!("{request:?} is answered: {problem}"));
                        assert!(
                            (400..500).contains(&reply.status),
                            "{request:?} is answered with {}",
                            reply.status
                        );
                    }
                }
            }
        }
    }
    for _ in 0..300 {
        let mut worst = sent(
            server.addr,
            b"POST /publish/x HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000000\r\n\r\nabc",
        );
        assert_eq!(
            http::read_reply(&mut worst, false)
                .expect("an answer")
                .status,
            401
        );
    }
    assert!(
        !server.log().contains("event=leak"),
        "nothing had to be leaked"
    );
    witness.testifies("lengths that no body has");
    before.are_given_back(&server, "300 of the worst");
}

#[test]
fn endless_heads() {
    const SENT: usize = 200 << 20;
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let one_line = vec![b'a'; 1 << 16];
    let many_fields = b"A: b\r\n".repeat(10_000);
    for (what, piece) in [("one line", one_line), ("many fields", many_fields)] {
        let mut connection = sent(server.addr, b"GET /health HTTP/1.1\r\nX: ");
        let mut written = 0;
        while written < SENT && connection.write_all(&piece).is_ok() {
            written += piece.len();
        }
        assert!(
            written < SENT,
            "a head of {what} is cut off before {SENT} bytes"
        );
        let more = server.peak_memory().saturating_sub(before.memory);
        assert!(
            more < 64 << 20,
            "{} MiB more by a head of {what}",
            more >> 20
        );
    }
    // The same on the connection of a stream, where tiny_http waits for another request.
    let mut connection = sent(server.addr, b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut written = 0;
    while written < SENT && connection.write_all(&[b'a'; 1 << 16]).is_ok() {
        written += 1 << 16;
    }
    assert!(written < SENT, "a head behind a stream is cut off");
    witness.testifies("heads without end");
    before.are_given_back(&server, "heads without end");
}

#[test]
fn unread_answers() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let threads_before = server.threads();
    let mut most_threads = 0;
    // Too short for the server to expect that it may have to wait, and echoed in the answer.
    let request = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(7000));
    let mut connections: Vec<_> = (0..6).map(|_| http::connect(server.addr)).collect();
    for _ in 0..100 {
        for connection in &mut connections {
            // It is closed when too many requests wait behind the one whose answer nobody takes.
            let _ = connection.write_all(request.as_bytes());
        }
        // Not faster than they are answered.
        answers(&server);
        most_threads = most_threads.max(server.threads());
    }
    assert_eq!(
        most_threads, threads_before,
        "an answer that nobody reads costs no thread"
    );
    witness.testifies("answers that nobody reads");
    drop(connections);
    before.are_given_back(&server, "answers that nobody reads");
}

/// A connection whose receive buffer is as small as the system allows.
fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("there are sockets");
    socket
        .set_recv_buffer_size(4096)
        .expect("a socket option can be set");
    socket.connect(&addr.into()).expect("the server accepts");
    socket.into()
}

#[test]
fn more_clients_than_threads_that_sip_their_answers() {
    raise_descriptor_limit();
    let server = Server::start(&[]);
    let before = Holdings::of(&server);
    let pages = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(14);
    let mut connections: Vec<_> = (0..300).map(|_| narrow(server.addr)).collect();
    for connection in &mut connections {
        let _ = connection.write_all(&pages);
        connection
            .set_nonblocking(true)
            .expect("a socket option can be set");
    }
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(5) {
        for connection in &mut connections {
            // A sip keeps a server waiting that only looks at pauses.
            let _ = connection.read(&mut [0; 2048]);
        }
        slowest = slowest.max(answers(&server));
    }
    assert!(
        slowest < Duration::from_secs(2),
        "a request beside them took {slowest:?}"
    );
    drop(connections);
    before.are_given_back(&server, "300 that sip their answers");
}

#[test]
fn slow_heads_slow_bodies_and_silence() {
    raise_descriptor_limit();
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let slow_heads: Vec<_> = (0..500)
        .map(|_| sent(server.addr, b"GET /health HTTP/1.1\r\nX: "))
        .collect();
    let slow_bodies: Vec<_> = (0..500)
        .map(|n| {
            let auth = if n % 10 == 0 { AUTH } else { "" };
            sent(server.addr, format!("POST /publish/x HTTP/1.1\r\nHost: test\r\n{auth}Content-Length: 60000\r\n\r\nabc").as_bytes())
        })
        .collect();
    let silent: Vec<_> = (0..2000).map(|_| sent(server.addr, b"")).collect();
    // A byte now and then keeps each of them alive for a server that only looks at pauses.
    let begun = Instant::now();
    let mut drips = slow_heads;
    while begun.elapsed() < Duration::from_secs(14) {
        for connection in &mut drips {
            let _ = connection.write(b"x");
        }
        assert!(
            answers(&server) < Duration::from_secs(1),
            "a request beside the slow ones"
        );
        std::thread::park_timeout(Duration::from_secs(2));
    }
    for connection in drips {
        is_closed(
            connection,
            Duration::from_secs(2),
            "a head that drips for 14 s",
        );
    }
    for connection in slow_bodies {
        is_closed(connection, Duration::from_secs(12), "a body that stalls");
    }
    for connection in silent {
        // They came about 40 s ago.
        is_closed(connection, Duration::from_secs(60), "a silent connection");
    }
    witness.testifies("500 slow heads, 500 slow bodies and 2,000 silent connections");
    before.are_given_back(&server, "slow and silent clients");
}

#[test]
fn five_hundred_unread_streams() {
    raise_descriptor_limit();
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let sleepers: Vec<_> = (0..500)
        .map(|_| sent(server.addr, b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n"))
        .collect();
    wait_until("500 sleepers are connected", common::BOUND, || {
        server.stat("connected_clients") >= 501
    });
    let mut publisher = common::Publisher::new(&server);
    let text = "x".repeat(60_000);
    let begun = Instant::now();
    while server.stat("slow_clients_disconnected") < 500 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "500 sleepers are disconnected within a minute"
        );
        publisher.publish("x", &text);
    }
    drop(sleepers);
    witness.testifies("500 streams that nobody reads");
    before.are_given_back(&server, "500 streams that nobody reads");
}

#[test]
fn pipelines_behind_a_stream() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let mut request = b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n".to_vec();
    request.extend_from_slice(&b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100));
    let greedy: Vec<_> = (0..50).map(|_| sent(server.addr, &request)).collect();
    // Fewer than make it a nuisance: the stream lives, and what is behind it never gets an answer.
    let mut modest = b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n".to_vec();
    modest.extend_from_slice(&b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n".repeat(4));
    let modest = common::EventStream::send(server.addr, &modest);
    for _ in 0..50 {
        assert!(
            answers(&server) < Duration::from_secs(1),
            "a request beside the pipelines"
        );
    }
    for mut connection in greedy {
        server.publish("x", "behind nothing");
        let mut answer = Vec::new();
        while !answer.ends_with(b"data: behind nothing\n\n\r\n") {
            let mut piece = [0; 4096];
            let count = connection.read(&mut piece).expect("the stream goes on");
            assert!(count > 0, "the stream was closed");
            answer.extend_from_slice(&piece[..count]);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    let mut modest = modest;
    while modest.next().data != "behind nothing" {}
    for _ in 1..50 {
        assert_eq!(modest.next().data, "behind nothing");
    }
    server.publish("x", "still here");
    assert_eq!(modest.next().data, "still here");
    drop(modest);
    witness.testifies("pipelines behind streams");
    before.are_given_back(&server, "pipelines behind streams");
}

#[test]
fn endless_bodies_without_a_token() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    let endless: Vec<_> = (0..50)
        .map(|n| {
            let framing = if n % 2 == 0 {
                "Content-Length: 60000"
            } else {
                "Transfer-Encoding: chunked"
            };
            let mut connection = sent(
                server.addr,
                format!("POST /publish/x HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n").as_bytes(),
            );
            assert_eq!(
                http::read_reply(&mut connection, false)
                    .expect("an answer before the body")
                    .status,
                401
            );
            connection
        })
        .collect();
    let begun = Instant::now();
    let mut endless = endless;
    while begun.elapsed() < Duration::from_secs(3) {
        for connection in &mut endless {
            let _ = connection.write(b"1\r\nx\r\n");
        }
        assert!(
            answers(&server) < Duration::from_secs(1),
            "a request beside endless bodies"
        );
        std::thread::park_timeout(Duration::from_millis(100));
    }
    for connection in endless {
        is_closed(
            connection,
            Duration::from_secs(5),
            "a body that nobody wants",
        );
    }
    witness.testifies("bodies without end");
    before.are_given_back(&server, "bodies without end");
}

#[test]
fn requests_that_disagree_with_themselves() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    const SMUGGLED: &str =
        "POST /publish/smuggled?msg=x&access_token=test-token-of-16-bytes HTTP/1.1\r\nHost: test\r\n\r\n";
    for head in [
        "Content-Length: 0\r\nContent-Length: 70\r\n\r\n",
        "Content-Length: 70\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n0\r\n\r\n",
        "Content-Length: 1e1\r\n\r\n",
        "Content-Length: \r\n\r\n",
        "X: a\nContent-Length: 0\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "X : a\r\n\r\n",
        " folded\r\n\r\n",
        "X: a\r\n folded\r\n\r\n",
        "no colon\r\n\r\n",
    ] {
        for auth in ["", AUTH] {
            let request =
                format!("POST /publish/honest HTTP/1.1\r\nHost: test\r\n{auth}{head}{SMUGGLED}");
            let answer = String::from_utf8_lossy(&http::exchange(server.addr, request.as_bytes()))
                .into_owned();
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "{head:?} is answered once: {answer}"
            );
            assert!(
                answer.starts_with("HTTP/1.1 4"),
                "{head:?} is refused: {answer}"
            );
        }
    }
    assert!(
        !server.log().contains("channel=smuggled"),
        "a second request was seen"
    );
    witness.testifies("requests that disagree with themselves");
}

#[test]
fn a_closed_tab_is_no_longer_counted_after_two_seconds() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let streams: Vec<_> = (0..100).map(|_| server.subscribe("x")).collect();
    wait_until("all are counted", common::BOUND, || {
        server.stat("connected_clients") == 101
    });
    drop(streams);
    wait_until("all are out of the count", Duration::from_secs(2), || {
        server.stat("connected_clients") == 1
    });
    witness.testifies("closing tabs");
}

#[test]
fn a_new_connection_from_the_address_of_a_reset_stream_is_answered() {
    use socket2::{Domain, Socket, Type};
    let server = Server::start(&[]);
    let connected = |port: u16| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        // Closing resets the connection, and the address is free at once.
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        socket.bind(&address.into())?;
        socket.connect(&server.addr.into())?;
        Ok::<_, std::io::Error>(TcpStream::from(socket))
    };
    let is_taken = |problem: &std::io::Error| {
        use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, ConnectionRefused};
        // Refused: the reset of the one before is still on its way.
        matches!(
            problem.kind(),
            AddrInUse | AddrNotAvailable | ConnectionRefused
        )
    };
    // Until its program runs, a server that another test starts has copies of this process's sockets, which stay open with it.
    let from = |port: u16| {
        let mut stream = None;
        wait_until("the address is free", common::BOUND, || {
            match connected(port) {
                Err(problem) if is_taken(&problem) => {}
                outcome => stream = Some(outcome.expect("the server accepts")),
            }
            stream.is_some()
        });
        stream.expect("it was waited for")
    };
    for _ in 0..20 {
        let mut stream = from(0);
        let port = stream.local_addr().expect("it has an address").port();
        stream
            .write_all(b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("sent");
        stream.read_exact(&mut [0]).expect("the stream begins");
        drop(stream);
        let mut again = from(port);
        again
            .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("sent");
        again
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a timeout can be set");
        let reply = http::read_reply(&mut again, false)
            .unwrap_or_else(|problem| panic!("from the same port: {problem}"));
        assert_eq!(reply.status, 200, "from the same port");
    }
}

#[test]
fn twenty_thousand_connects_and_disconnects() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    for n in 0..20_000 {
        let connection = sent(
            server.addr,
            if n % 2 == 0 {
                b""
            } else {
                b"GET /sse/x HTTP/1.1\r\nHost: test\r\n\r\n"
            },
        );
        drop(connection);
    }
    wait_until("all are out of the count", common::BOUND, || {
        server.stat("connected_clients") == 1
    });
    witness.testifies("20,000 connects and disconnects");
    before.are_given_back(&server, "20,000 connects and disconnects");
}

/// Debian's slowhttptest in one of its modes, for this many seconds.
fn slowhttptest(server: &Server, mode: &[&str]) {
    let url = format!("http://{}/sse/x", server.addr);
    let publish = format!("http://{}/publish/x", server.addr);
    let is_body = mode.contains(&"-B");
    let output = Command::new("slowhttptest")
        .args([
            "-c",
            "500",
            "-r",
            "500",
            "-i",
            "2",
            "-l",
            "12",
            "-p",
            "3",
            "-u",
            if is_body { &publish } else { &url },
        ])
        .args(mode)
        .output()
        .expect("slowhttptest runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("connected"),
        "slowhttptest {mode:?} did its work: {text}"
    );
}

#[test]
fn needs_slowhttptest_its_three_modes() {
    let server = Server::start(&[]);
    let witness = Witness::start(&server);
    let before = Holdings::of(&server);
    slowhttptest(&server, &["-H"]);
    slowhttptest(&server, &["-B"]);
    slowhttptest(&server, &["-X", "-w", "1", "-y", "2", "-n", "5", "-z", "1"]);
    witness.testifies("slowhttptest");
    before.are_given_back(&server, "slowhttptest");
}

#[test]
fn an_idle_connection_is_kept_for_a_minute_and_closed_after_75_seconds() {
    let server = Server::start(&[]);
    let mut silent = http::connect(server.addr);
    let mut kept = http::connect(server.addr);
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    http::read_reply(&mut kept, false).expect("an answer");
    let begun = Instant::now();
    for connection in [&mut silent, &mut kept] {
        connection
            .set_read_timeout(Some(Duration::from_secs(90)))
            .expect("a timeout can be set");
        let mut byte = [0];
        let end = connection.read(&mut byte);
        assert!(matches!(end, Ok(0)), "the connection is closed: {end:?}");
    }
    let idle = begun.elapsed().as_secs();
    assert!((60..80).contains(&idle), "closed after {idle} s");
}
