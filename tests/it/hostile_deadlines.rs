//! A head has 10 s and a body 20 s, whether its client is silent or drips. Over all transports at once: it takes that long.

use crate::common;

use common::http::{read_until_closed, replies, Left};
use common::{over_each_transport, Publisher, Server};
use std::io::Write;
use std::time::{Duration, Instant};

/// How late the door may check, and a busy machine.
const LATE: Duration = Duration::from_secs(3);

const HEAD: &str =
    "POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\n";

/// A request that does not come to its end, and when it is refused.
struct Slow {
    what: &'static str,
    begin: String,
    /// What it sends each half second.
    drip: &'static str,
    time: Duration,
}

fn all() -> Vec<Slow> {
    let slow = |what, begin: &str, drip, seconds| Slow {
        what,
        begin: begin.into(),
        drip,
        time: Duration::from_secs(seconds),
    };
    let length = format!("{HEAD}Content-Length: 60000\r\n\r\nabc");
    let chunks = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    vec![
        slow("a request line that stops", "GET /hea", "", 10),
        slow("a request line that drips", "GET /hea", "a", 10),
        slow("a head that stops", "GET / HTTP/1.1\r\nHost: te", "", 10),
        slow("a head that drips", "GET / HTTP/1.1\r\nHost: te", "s", 10),
        slow(
            "fields that drip",
            "GET / HTTP/1.1\r\nHost: t\r\n",
            "X: y\r\n",
            10,
        ),
        slow("a body that stops", &length, "", 20),
        slow("a body that drips", &length, "d", 20),
        slow("chunks that stop", &chunks, "", 20),
        slow("chunks that drip", &chunks, "1\r\nd\r\n", 20),
        slow("a chunk's size that stops", &format!("{chunks}1"), "", 20),
        slow(
            "trailers that drip",
            &format!("{chunks}0\r\n"),
            "X: y\r\n",
            20,
        ),
    ]
}

#[test]
fn a_late_request_gets_408_and_nobody_else_notices() {
    over_each_transport(&[], |transport, server| {
        std::thread::scope(|scope| {
            let server = &server;
            // Behind an answered request the time is the same.
            for before in ["", "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"] {
                for slow in all() {
                    scope.spawn(move || {
                        let behind = if before.is_empty() {
                            ""
                        } else {
                            ", as the second request"
                        };
                        let what = format!("over {transport}, {}{behind}", slow.what);
                        let mut connection =
                            server.send(format!("{before}{}", slow.begin).as_bytes());
                        let begun = Instant::now();
                        let mut answer = Vec::new();
                        let left = loop {
                            let (bytes, left) =
                                read_until_closed(&mut connection, Duration::from_millis(500));
                            answer.extend(bytes);
                            if left != Left::Open || begun.elapsed() > slow.time + LATE {
                                break left;
                            }
                            let _ = connection.write_all(slow.drip.as_bytes());
                        };
                        let took = begun.elapsed();
                        let answers = replies(&answer, 0)
                            .unwrap_or_else(|problem| panic!("{what}: {problem}"));
                        let last = answers.last().map(|reply| {
                            (
                                reply.status,
                                reply.header("Connection").map(ToOwned::to_owned),
                            )
                        });
                        assert_eq!(
                            last,
                            Some((408, Some("close".into()))),
                            "{what}, after {took:?}"
                        );
                        assert_eq!(left, Left::Closed, "{what}");
                        assert_eq!(answers.len(), 1 + usize::from(!before.is_empty()), "{what}");
                        let early = slow.time - Duration::from_millis(200);
                        assert!(
                            took > early && took < slow.time + LATE,
                            "{what}: after {took:?}"
                        );
                    });
                }
            }
            scope.spawn(move || {
                let mut publisher = Publisher::new(server);
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(20) {
                    let published = Instant::now();
                    publisher.publish("b", "beside");
                    let took = published.elapsed();
                    assert!(
                        took < Duration::from_secs(1),
                        "over {transport}: a publish took {took:?}"
                    );
                    std::thread::park_timeout(Duration::from_millis(100));
                }
            });
        });
    });
}

#[test]
fn a_late_body_is_answered_as_soon_as_that_is_noticed() {
    let server = Server::start(&[]);
    let mut late: Vec<Duration> = std::thread::scope(|scope| {
        let server = &server;
        let refused = |delay: u64| {
            scope.spawn(move || {
                // At different times, since the door looks once a second.
                std::thread::park_timeout(Duration::from_millis(delay));
                let mut connection =
                    server.send(format!("{HEAD}Content-Length: 5\r\n\r\nx").as_bytes());
                let begun = Instant::now();
                let (answer, _) = read_until_closed(&mut connection, Duration::from_secs(30));
                assert!(answer.starts_with(b"HTTP/1.1 408"));
                begun.elapsed().saturating_sub(Duration::from_secs(20))
            })
        };
        let all = [0, 250, 500, 750].map(refused);
        all.map(|one| one.join().expect("it is answered")).into()
    });
    late.sort();
    assert!(late[0] < Duration::from_millis(900), "{late:?}");
}
