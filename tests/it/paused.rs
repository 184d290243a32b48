//! The server is stopped and resumed, as by a debugger or a shell: system calls that wait end early then, and nobody notices.

use crate::common;

use common::{http, Publisher, Server, TOKEN};
use std::io::Write;

#[test]
fn who_is_in_the_middle_of_a_request_or_a_stream_notices_nothing() {
    const UNREAD: usize = 150;
    let server = Server::start(&[("CLIENT_QUEUE", "4000")]);
    let send = |bytes: &str| {
        let mut connection = server.connect();
        connection
            .write_all(bytes.as_bytes())
            .expect("the request is sent");
        connection
    };
    let mut stream = server.subscribe("a");
    let mut slow = server.subscribe("slow");
    let mut publisher = Publisher::new(&server);
    for number in 0..UNREAD {
        // Together more than the sockets' buffers hold.
        publisher.publish("slow", format!("{number} {}", "x".repeat(30_000)));
    }
    let post = format!("POST /publish/b?access_token={TOKEN} HTTP/1.1\r\nHost: test\r\n");
    let mut idle = send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    let first = http::read_reply(&mut idle, false).expect("an answer");
    assert_eq!(first.status, 200);
    let begun = [
        (send(&format!("{post}Content-Length: 5\r\n\r\nhe")), "llo"),
        (
            send(&format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhe")),
            "llo\r\n0\r\n\r\n",
        ),
        (send(&post), "Content-Length: 5\r\n\r\nhello"),
        (idle, "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"),
    ];
    for round in 0..20 {
        server.pause();
        server.resume();
        let text = format!("round {round}");
        server.publish("a", &text);
        assert_eq!(stream.next().data, text);
    }
    for (mut connection, rest) in begun {
        connection
            .write_all(rest.as_bytes())
            .expect("the rest is sent");
        let reply = http::read_reply(&mut connection, false)
            .unwrap_or_else(|what| panic!("no answer after {rest:?}: {what}"));
        assert_eq!(reply.status, 200, "after {rest:?}: {}", reply.text());
    }
    for number in 0..UNREAD {
        let event = slow.next();
        assert!(event.data.starts_with(&format!("{number} ")), "{number}");
    }
}
