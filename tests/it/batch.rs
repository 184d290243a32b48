//! Many messages in one request: one JSON value per line, all or none.

use crate::common;

use common::{http, id, Publisher, Reply, Server, TOKEN};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn publish(server: &Server, target: &str, body: &[u8]) -> Reply {
    let headers = [
        ("Authorization", "Bearer test-token-of-16-bytes"),
        ("Content-Type", "application/x-ndjson; charset=utf-8"),
    ];
    server.request("POST", target, &headers, body)
}

#[test]
fn each_line_is_a_message() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let lines = "\"text\"\n\"two\\nlines 🦀\"\r\n5\n\n  {\"a\": [1, 2]}  \nnull\ntrue";
    let reply = publish(&server, "/publish/a?event=alert", lines.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    assert_eq!(
        (&answer["count"], &answer["clients"], &answer["canal"]),
        (&6.into(), &1.into(), &"a".into())
    );
    let events: Vec<_> = (0..6).map(|_| stream.next()).collect();
    let data: Vec<_> = events.iter().map(|e| e.data.as_str()).collect();
    assert_eq!(
        data,
        [
            "text",
            "two\nlines 🦀",
            "5",
            "{\"a\": [1, 2]}",
            "null",
            "true"
        ]
    );
    assert!(events.iter().all(|e| e.kind == "alert"));
    assert_eq!(events[0].id.as_deref(), answer["first"].as_str());
    assert_eq!(events[5].id.as_deref(), answer["last"].as_str());
    assert!(events
        .windows(2)
        .all(|w| id(&w[0].last_event_id) < id(&w[1].last_event_id)));
    assert_eq!(server.stat("messages_published"), 6);
    server.wait_for_log("event=publish count=6 channel=a");
}

#[test]
fn every_json_value_is_a_message() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for value in [
        "1e400",
        "-0.0",
        "123456789012345678901234567890",
        r#"{"a":1,"a":2}"#,
        // Half of a pair: JSON's grammar has it, and the text is passed on as it is.
        r#"{"a":"\ud800"}"#,
        &deep,
    ] {
        let reply = publish(&server, "/publish/a", value.as_bytes());
        assert_eq!(reply.status, 200, "{:.40}: {}", value, reply.text());
        assert!(stream.next().data == value, "{value:.40}");
    }
    // A string is a text, and half of a pair is none.
    for bad in [
        r#""\ud800""#,
        "[1,]",
        "01",
        "1e",
        "nul",
        "{\"a\"}",
        "[[",
        "\"a\tb\"",
    ] {
        let reply = publish(&server, "/publish/a", bad.as_bytes());
        assert_eq!(reply.status, 400, "{bad}: {}", reply.text());
    }
}

#[test]
fn all_or_nothing() {
    let server = Server::start(&[("MAX_MESSAGE_BYTES", "100")]);
    let long = format!("\"ok\"\n\"{}\"", "x".repeat(101));
    let many = "1\n".repeat(10_001);
    let long_words = "line 2 of the batch is larger than 100 bytes, the limit (MAX_MESSAGE_BYTES); send a shorter one, nothing was published";
    for (body, status, word) in [
        ("\"ok\"\nnot json\n\"ok\"", 400, "line 2"),
        ("\"ok\"\n\"\"", 400, "line 2"),
        ("\"open", 400, "line 1"),
        ("1 2", 400, "line 1"),
        ("", 400, "no message"),
        ("\n \n", 400, "no message"),
        (
            "\"é🦀\" 2",
            400,
            "line 1 of the batch is not JSON (column 6)",
        ),
        (long.as_str(), 413, long_words),
        (many.as_str(), 413, "parts"),
    ] {
        let reply = publish(&server, "/publish/a", body.as_bytes());
        assert_eq!(
            reply.status,
            status,
            "{:?}: {}",
            &body[..body.len().min(20)],
            reply.text()
        );
        assert!(reply.text().contains(word), "{word:?} in {}", reply.text());
    }
    for (body, line) in [
        (&b"\"\xff\""[..], 1),
        (b"1\n2\n\"ok\" \xff\n3", 3),
        (b"1\n\xc3\n", 2),
    ] {
        let reply = publish(&server, "/publish/a", body);
        assert_eq!(reply.status, 400, "{}", reply.text());
        let words = format!(
            "line {line} of the batch is not UTF-8; encode it as UTF-8, nothing was published"
        );
        assert!(reply.text().contains(&words), "{}", reply.text());
    }
    for body in ["1", ""] {
        let reply = publish(&server, "/publish/a?msg=x", body.as_bytes());
        assert_eq!(reply.status, 400, "{}", reply.text());
        let words = "a batch comes as the request's body; leave msg out";
        assert!(reply.text().contains(words), "{}", reply.text());
    }
    assert_eq!(publish(&server, "/publish/a,b", b"1").status, 400);
    assert_eq!(
        server.stat("messages_published"),
        0,
        "nothing was published"
    );
}

#[test]
fn ten_thousand_messages_reach_everybody() {
    let server = Server::start(&[("HISTORY_EVENTS", "100")]);
    let mut streams: Vec<_> = (0..10).map(|_| server.subscribe("a")).collect();
    let body: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(
        publish(&server, "/publish/a", body.as_bytes()).json()["count"],
        10_000
    );
    for stream in &mut streams {
        for n in 0..10_000 {
            assert_eq!(stream.next().data, n.to_string());
        }
    }
    assert_eq!(server.stat("slow_clients_disconnected"), 0);
}

/// One worker at a time takes requests, so it must not keep that turn during a long one.
#[test]
fn a_publish_does_not_wait_for_a_long_batch() {
    let server = Server::start(&[("MAX_MESSAGE_BYTES", "1000000")]);
    let mut publisher = Publisher::new(&server);
    let values: String = (0..300).map(|n| format!("[{n}],")).collect();
    let batch = format!("[{values}0]\n").repeat(9000);
    let head = format!(
        "POST /publish/long HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        batch.len()
    );
    // How long the slowest publish took beside a batch, as a part of the time that the batch took.
    let beside_a_batch = |publisher: &mut Publisher| {
        let mut connection = http::connect(server.addr);
        connection
            .write_all(head.as_bytes())
            .expect("a head is sent");
        connection
            .write_all(batch.as_bytes())
            .expect("a body is sent");
        connection
            .set_nonblocking(true)
            .expect("a socket can be set so");
        let begun = Instant::now();
        let mut slowest = Duration::ZERO;
        let mut answer = [0; 15];
        while connection.read(&mut answer).is_err() {
            let begun = Instant::now();
            publisher.publish("short", "x");
            slowest = slowest.max(begun.elapsed());
        }
        assert_eq!(&answer, b"HTTP/1.1 200 OK", "the batch is published");
        slowest.as_secs_f64() / begun.elapsed().as_secs_f64()
    };
    // On a busy machine others may hold up both.
    let is_at_once = (0..20).any(|_| beside_a_batch(&mut publisher) < 0.5);
    assert!(
        is_at_once,
        "beside each of 20 batches a publish took at least half of the batch's time"
    );
}
