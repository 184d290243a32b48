//! `GET /messages`, and `last` and `since` on `/sse`: reading from a script, and coming late.

use crate::common;

use common::tokens::{self, in_seconds, jwt, RulesFile, SECRET};
use common::{
    http, id, over_each_transport, wait_until, EventStream, Publisher, Server, BOUND, TOKEN,
};
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// What an answer that ends has: its lines, and the id with which to go on.
#[track_caller]
fn read(server: &Server, target: &str) -> (Vec<Value>, String) {
    let reply = server.get(target);
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    assert_eq!(
        reply.header("Content-Type"),
        Some("application/x-ndjson"),
        "{target}"
    );
    assert_eq!(reply.header("Cache-Control"), Some("no-store"));
    assert_eq!(reply.header("ETag"), None);
    let next = reply.header("Last-Event-ID").expect("where to go on");
    let text = reply.text();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    let lines = text.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{target}: no JSON: {line:?}"))
    });
    (lines.collect(), next.to_string())
}

/// The messages alone; a gap as `gap CHANNEL AFTER`.
fn texts(lines: &[Value]) -> Vec<String> {
    let text = |line: &Value| match &line["gap"] {
        Value::Null => line["mensagem"].as_str().expect("a message").to_string(),
        gap => format!(
            "gap {} {}",
            gap["canal"].as_str().unwrap(),
            gap["after"].as_str().unwrap()
        ),
    };
    lines.iter().map(text).collect()
}

#[track_caller]
fn read_texts(server: &Server, target: &str) -> Vec<String> {
    texts(&read(server, target).0)
}

const NOTHING: [&str; 0] = [];

/// A request for `/messages` that does not end by itself.
fn follow(server: &Server, target: &str) -> EventStream {
    let stream = EventStream::open(&server.address, target, &[]);
    assert_eq!(stream.status, 200, "{target}");
    stream
}

#[test]
fn each_message_is_a_line() {
    let server = Server::start(&[]);
    let first = server.publish("a", "two\r\nlines");
    let second = server.publish_to("/publish/b?event=alert", "\"x\" \u{2028}🦀");
    let third = server.publish("broadcast", "all");
    let (lines, next) = read(&server, "/messages/a,b");
    assert_eq!(next, third);
    let stamps: Vec<u64> = lines
        .iter()
        .map(|line| line["timestamp"].as_u64().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            json!({"id": first, "canal": "a", "mensagem": "two\nlines", "timestamp": stamps[0]}),
            json!({"id": second, "canal": "b", "event": "alert", "mensagem": "\"x\" \u{2028}🦀", "timestamp": stamps[1]}),
            json!({"id": third, "canal": "broadcast", "mensagem": "all", "timestamp": stamps[2]}),
        ]
    );
    let reply = server.get("/messages?canal=a&canal=b&format=text");
    assert_eq!(reply.text(), "two\nlines\n\"x\" \u{2028}🦀\nall\n");
    assert_eq!(
        reply.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(reply.header("Last-Event-ID"), Some(third.as_str()));
    let head = server.request("HEAD", "/messages/a,b?wait=300", &[], b"");
    assert_eq!(
        (head.status, head.header("Last-Event-ID")),
        (200, Some(third.as_str()))
    );
    assert_eq!(
        server.stat("messages_delivered"),
        3 + 3 + 3,
        "they count as delivered"
    );
    assert_eq!(server.stat("active_channels"), 2);
    assert_eq!(server.stat("connected_clients"), 0);
}

#[test]
fn an_empty_answer_says_where_to_continue() {
    let server = Server::start(&[]);
    let (lines, next) = read(&server, "/messages/a");
    assert_eq!(texts(&lines), NOTHING);
    assert_eq!(
        server.stat("active_channels"),
        0,
        "reading makes no channel"
    );
    let (lines, again) = read(&server, &format!("/messages/a?since={next}"));
    assert_eq!(
        (texts(&lines), &again),
        (vec![], &next),
        "no gap, and no progress"
    );
    server.publish("a", "1");
    let (lines, next) = read(&server, &format!("/messages/a?since={next}"));
    assert_eq!(texts(&lines), ["1"], "and no gap");
    // What is published elsewhere is behind it as well.
    server.publish("other", "x");
    let (_, later) = read(&server, &format!("/messages/a?since={next}"));
    assert!(id(&later) > id(&next));
}

#[test]
fn last_and_since_choose() {
    let server = Server::start(&[("HISTORY_EVENTS", "3")]);
    let ids: Vec<String> = (1..=5)
        .map(|n| server.publish("a", n.to_string()))
        .collect();
    let other = server.publish("b", "6");
    server.publish("broadcast", "7");
    let get = |query: &str| read_texts(&server, &format!("/messages/a,b?{query}"));
    assert_eq!(get(""), ["3", "4", "5", "6", "7"]);
    assert_eq!(get("last=1"), ["7"]);
    assert_eq!(get("last=3"), ["5", "6", "7"]);
    assert_eq!(get("last=10000"), ["3", "4", "5", "6", "7"]);
    assert_eq!(get(&format!("since={other}")), ["7"]);
    assert_eq!(get(&format!("since={}&last=2", ids[2])), ["6", "7"]);
    assert_eq!(get("since=0"), get(""));
    assert_eq!(get("since=0-0"), get(""));
    assert_eq!(get("since=1h"), get(""));
    assert_eq!(get("since=1h&last=2"), ["6", "7"]);
    let gap = format!("gap a {}", ids[0]);
    assert_eq!(
        get(&format!("since={}&last=1", ids[0])),
        [&gap, "7"],
        "an id tells a gap"
    );
    let unknown = ["gap a 5-5", "gap b 5-5", "gap broadcast 5-5", "7"];
    assert_eq!(get("since=5-5&last=1"), unknown);
    let future = tokens::now() as u64 * 1000 + 3_600_000;
    assert_eq!(get(&format!("since={future}")), NOTHING);
    let text = server
        .get(&format!("/messages/a?format=text&since={}", ids[0]))
        .text();
    assert_eq!(text, "3\n4\n5\n7\n", "no gap in bare text");
}

#[test]
fn a_moment_follows_the_wall_clock() {
    let server = Server::start(&[]);
    server.publish("a", "before");
    let stamp = read(&server, "/messages/a").0[0]["timestamp"]
        .as_u64()
        .unwrap();
    wait_until("a millisecond passes", BOUND, || {
        tokens::now() * 1000.0 > (stamp + 1) as f64
    });
    let moment = stamp + 1;
    server.publish("a", "after");
    let get = |query: String| read_texts(&server, &format!("/messages/a?{query}"));
    assert_eq!(get(format!("since={moment}")), ["after"]);
    assert_eq!(
        get(format!("since={stamp}")),
        ["before", "after"],
        "that moment is one of them"
    );
    let mut stream = server.subscribe_with(&format!("/sse/a?since={moment}"), &[]);
    assert_eq!(stream.next().data, "after");
}

#[test]
fn a_stream_can_begin_with_the_newest() {
    let server = Server::start(&[("HISTORY_EVENTS", "2")]);
    for text in ["1", "2", "3"] {
        server.publish("a", text);
    }
    let newest = server.publish("b", "4");
    let until_mark = |target: &str, headers: &[(&str, &str)]| {
        let mut stream = server.subscribe_with(target, headers);
        let id = server.publish("mark", target);
        let mut seen = stream.data_until(target);
        seen.pop();
        (seen, id)
    };
    let none: &[(&str, &str)] = &[];
    let (seen, _) = until_mark("/sse/a,b,mark?last=1", none);
    assert_eq!(seen, ["4"]);
    let (seen, mark) = until_mark("/sse/a,b,mark?last=3", none);
    assert_eq!(seen, ["3", "4", "/sse/a,b,mark?last=1"]);
    let (seen, _) = until_mark("/sse/a,b,mark?since=0", none);
    assert_eq!(
        seen.len(),
        3 + 2,
        "all that is retained, and no gap: {seen:?}"
    );
    // An id wins, wherever it stands, and is told of a gap.
    for (target, headers) in [
        (
            "/sse/a,b,mark?last=1&since=1h",
            vec![("Last-Event-ID", newest.as_str())],
        ),
        (
            &format!("/sse/a,b,mark?last=1&last_event_id={mark}"),
            vec![],
        ),
    ] {
        let (seen, _) = until_mark(target, &headers);
        assert!(seen.len() > 1, "{target} got what was missed: {seen:?}");
    }
    let (seen, _) = until_mark("/sse/a,b,mark?last=1", &[("Last-Event-ID", "")]);
    assert_eq!(seen.len(), 1, "an empty one is none");
}

#[test]
fn nonsensical_parameters_are_refused() {
    let server = Server::start(&[]);
    for (target, words) in [
        ("/messages", "no channel"),
        ("/messages/a/b", "not a path"),
        ("/messages/a?last=0", "1 to 10000"),
        ("/messages/a?last=10001", "1 to 10000"),
        ("/messages/a?last=", "1 to 10000"),
        ("/messages/a?last=+1", "1 to 10000"),
        ("/messages/a?last=-1", "1 to 10000"),
        ("/messages/a?last=1&last=2", "once"),
        ("/messages/a?since=soon", "90s"),
        ("/messages/a?since=+", "90s"),
        (
            "/messages/a?last_event_id=1764000000000-0",
            "; give that as since, and last_event_id only to /sse",
        ),
        ("/messages/a?since=&last_event_id=0", "since"),
        ("/messages/a?since=1-2-3", "90s"),
        ("/messages/a?wait=0", "1 to 300"),
        ("/messages/a?wait=301", "1 to 300"),
        ("/messages/a?wait=1.5", "1 to 300"),
        ("/messages/a?wait=5&follow=1", "one of the two"),
        ("/messages/a?follow=yes", "give 1"),
        ("/messages/a?format=json", "ndjson or text"),
        ("/messages/a%20b", "white space"),
        ("/sse/a?last=0", "1 to 10000"),
        ("/sse/a?since=yesterday", "90s"),
        ("/sse/a?since=1764000000000-0", "last_event_id"),
    ] {
        let reply = server.get(target);
        let status = if words == "not a path" { 404 } else { 400 };
        assert_eq!(reply.status, status, "{target}");
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains(words), "{target}: {detail}");
        assert_eq!(reply.header("Last-Event-ID"), None);
    }
    let reply = server.request("POST", "/messages/a", &[], b"x");
    assert_eq!(
        (reply.status, reply.header("Allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    assert_eq!(
        server.request("OPTIONS", "/messages/a", &[], b"").status,
        204
    );
}

#[test]
fn an_empty_since_is_none() {
    let server = Server::start(&[]);
    server.publish("a", "one");
    server.publish("a", "two");
    let all = server.get("/messages/a").text();
    assert_eq!(all.lines().count(), 2, "{all}");
    for target in [
        "/messages/a?since=",
        "/messages/a?wait=5&since=",
        "/messages/a?since=&last_event_id=",
    ] {
        assert_eq!(server.get(target).text(), all, "{target}");
    }
    let mut stream = server.subscribe_with("/sse/a?since=", &[]);
    server.publish("a", "three");
    assert_eq!(stream.next().data, "three", "as without it");
    let headers = [("Last-Event-ID", "0")];
    let reply = server.request("GET", "/messages/a", &headers, b"");
    assert_eq!(reply.status, 200, "any client may send the header");
}

#[test]
fn a_waiting_request_is_a_client_and_gets_the_first_message() {
    let server = Server::start(&[("MAX_CLIENTS", "1")]);
    let (_, next) = read(&server, "/messages/a");
    let mut waiting = server.send(
        format!("GET /messages/a?wait=60&since={next} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    );
    wait_until("it is a client", BOUND, || {
        server.stat("connected_clients") == 1
    });
    assert_eq!(server.stat("active_channels"), 1);
    assert_eq!(server.get("/messages/a?wait=1").status, 503, "MAX_CLIENTS");
    assert_eq!(server.get("/messages/a").status, 200, "that is no client");
    server.publish("other", "x");
    let sent = server.publish("a", "hello");
    let reply = common::http::read_reply(&mut waiting, false).expect("an answer");
    assert_eq!(reply.header("Last-Event-ID"), Some(sent.as_str()));
    assert_eq!(
        reply.header("Content-Length"),
        Some(reply.body.len().to_string().as_str())
    );
    assert_eq!(reply.json()["mensagem"], "hello");
    server.wait_for_log("event=disconnect client= reason=answered messages=1");
    assert_eq!(server.stat("connected_clients"), 0);
    // There is something already: nobody waits.
    let asked = Instant::now();
    assert_eq!(read_texts(&server, "/messages/a?wait=300"), ["hello"]);
    assert!(asked.elapsed() < Duration::from_secs(100));
    // There is nothing for a second.
    let (lines, again) = read(&server, &format!("/messages/a?wait=1&since={sent}"));
    assert_eq!((texts(&lines), again), (vec![], sent));
}

#[test]
fn a_waiting_request_may_ask_for_the_newest() {
    let server = Server::start(&[]);
    let waiting = |target: &str| {
        let target = target.replace(' ', "%20");
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let socket = server.send(request.as_bytes());
        wait_until("it waits", BOUND, || server.stat("connected_clients") == 1);
        socket
    };
    // There is nothing: the first that comes is the newest.
    let mut first = waiting("/messages/a?wait=300&last=2");
    let one = server.publish("a", "one");
    let reply = common::http::read_reply(&mut first, false).expect("an answer");
    assert_eq!(reply.json()["mensagem"], "one");
    assert_eq!(reply.header("Last-Event-ID"), Some(one.as_str()));
    wait_until("it is gone", BOUND, || {
        server.stat("connected_clients") == 0
    });
    // Several come at once: the newest of them.
    let mut newest = waiting("/messages/b?wait=300&last=2");
    common::Publisher::new(&server).publish_batch("b", "\"x\"\n\"y\"\n\"z\"\n");
    let reply = common::http::read_reply(&mut newest, false).expect("an answer");
    let lines: Vec<Value> = reply
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(texts(&lines), ["y", "z"]);
    // There is something: the newest come at once.
    server.publish("a", "two");
    let three = server.publish("a", "three");
    let (lines, next) = read(&server, "/messages/a?wait=300&last=2");
    assert_eq!(
        (texts(&lines), &next),
        (vec!["two".into(), "three".into()], &three)
    );
    let since = |id: &str, last: usize| {
        let target = format!("/messages/a?wait=300&since={id}&last={last}");
        read_texts(&server, &target)
    };
    assert_eq!(since(&one, 1), ["three"]);
    assert_eq!(since(&one, 10), ["two", "three"]);
    assert_eq!(
        read_texts(&server, "/messages/a?wait=300&since=1h&last=1"),
        ["three"]
    );
    // There is nothing after that id.
    let mut next = waiting(&format!("/messages/a?wait=300&since={three}&last=1"));
    server.publish("other", "x");
    server.publish("a", "four");
    let reply = common::http::read_reply(&mut next, false).expect("an answer");
    assert_eq!(reply.json()["mensagem"], "four");
    // Time is over.
    let (lines, _) = read(&server, "/messages/nothing?wait=1&last=1");
    assert_eq!(texts(&lines), NOTHING);
}

#[test]
fn a_large_history_is_read_whole_and_not_held_twice() {
    const MESSAGES: usize = 1600;
    let server = Server::start(&[("HISTORY_EVENTS", "100000"), ("HISTORY_BYTES", "200000000")]);
    let mut publisher = Publisher::new(&server);
    let text = "x".repeat(60_000);
    for number in 0..MESSAGES {
        publisher.publish(["a", "b", "c"][number % 3], format!("{number} {text}"));
    }
    let before = server.peak_memory();
    for (target, is_json) in [
        ("/messages/*", true),
        ("/messages/a,b,c?wait=1", true),
        ("/messages/*?format=text&last=9999", false),
    ] {
        let head = server.request("HEAD", target, &[], b"");
        // The connection serves another request behind it.
        let both = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\n\r\nGET /messages/a?last=1&format=text HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let mut socket = server.send(both.as_bytes());
        let reply = common::http::read_reply(&mut socket, false).expect("all of it");
        assert_eq!(reply.status, 200, "{target}");
        assert_eq!(
            head.header("Content-Length"),
            reply.header("Content-Length")
        );
        let all = reply.text();
        let numbers = all.lines().map(|line| {
            let number = |text: &str| -> usize {
                let (number, _) = text.split_once(' ').expect("it begins with its number");
                number.parse().expect("a number")
            };
            if !is_json {
                return number(line);
            }
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            number(line["mensagem"].as_str().expect("it has a text"))
        });
        assert!(numbers.eq(0..MESSAGES), "each once, in order");
        let next = common::http::read_reply(&mut socket, false).expect("another answer");
        assert_eq!(next.body.len(), 60_000 + 6, "{target}");
    }
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 30 << 20, "it grew by {grown} bytes");
}

#[test]
fn a_gap_is_told_at_once_but_not_in_bare_text() {
    let server = Server::start(&[("HISTORY_EVENTS", "0")]);
    let first = server.publish("a", "1");
    server.publish("a", "2");
    let (lines, next) = read(&server, &format!("/messages/a?wait=300&since={first}"));
    assert_eq!(texts(&lines), [format!("gap a {first}")]);
    let (lines, _) = read(&server, &format!("/messages/a?wait=1&since={next}"));
    assert_eq!(texts(&lines), NOTHING, "it is told once");
    let mut waiting = server.send(
        format!("GET /messages/a?format=text&wait=60&since={first} HTTP/1.0\r\n\r\n").as_bytes(),
    );
    wait_until("it waits", BOUND, || server.stat("connected_clients") == 1);
    server.publish("a", "3");
    let reply = common::http::read_reply(&mut waiting, false).expect("an answer");
    assert_eq!(reply.text(), "3\n", "without a history it gets what comes");
}

#[test]
fn a_waiting_client_may_leave_and_a_stop_answers_it() {
    let mut server = Server::start(&[]);
    let request = b"GET /messages/a?wait=300 HTTP/1.1\r\nHost: x\r\n\r\n";
    let waiting = server.send(request);
    wait_until("it waits", BOUND, || server.stat("connected_clients") == 1);
    drop(waiting);
    wait_until("it is gone", BOUND, || {
        server.stat("connected_clients") == 0
    });
    let mut waiting = server.send(request);
    wait_until("it waits", BOUND, || server.stat("connected_clients") == 1);
    let (status, _) = server.terminate();
    assert!(status.success());
    let reply = common::http::read_reply(&mut waiting, false).expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(reply.header("Last-Event-ID").is_some());
}

#[test]
fn a_waiting_client_that_closes_its_side_is_answered() {
    over_each_transport(&[("HEARTBEAT", "1")], |transport, server| {
        let wait = "GET /messages/a?wait=300 HTTP/1.1\r\nHost: x\r\n\r\n";
        let before = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
        // At once, behind another request, and while it waits.
        for (request, heads, waits) in [
            (wait.to_string(), 1, false),
            (before.to_string() + wait, 2, false),
            (wait.to_string(), 1, true),
        ] {
            let mut connection = server.send(request.as_bytes());
            if waits {
                wait_until("it waits", BOUND, || server.stat("connected_clients") == 1);
            }
            let closed = connection.shutdown(std::net::Shutdown::Write);
            closed.expect("it can close its side");
            let (answer, _) = common::http::read_until_closed(&mut connection, BOUND);
            let replies = common::http::replies(&answer, 0)
                .unwrap_or_else(|problem| panic!("over {transport}: {problem}"));
            assert_eq!(replies.len(), heads, "over {transport}");
            let reply = &replies[heads - 1];
            assert_eq!((reply.status, reply.body.len()), (200, 0));
            assert!(reply.header("Last-Event-ID").is_some());
            wait_until("it is gone", BOUND, || {
                server.stat("connected_clients") == 0
            });
        }
    });
}

#[test]
fn a_stream_whose_client_closes_its_side_at_once_has_a_head_and_an_end() {
    over_each_transport(&[], |transport, server| {
        for target in ["/sse/a", "/messages/a?follow=1", "/stats/stream"] {
            for _ in 0..20 {
                let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
                let mut connection = server.send(request.as_bytes());
                let closed = connection.shutdown(std::net::Shutdown::Write);
                closed.expect("it can close its side");
                let (answer, _) = common::http::read_until_closed(&mut connection, BOUND);
                let head = String::from_utf8_lossy(&answer);
                let is_whole = head.starts_with("HTTP/1.1 200 ") && head.contains("\r\n\r\n");
                assert!(is_whole, "over {transport}, {target}: {head:?}");
                let has_ended = head.ends_with("\r\n0\r\n\r\n");
                assert!(has_ended, "over {transport}, {target}: {head:?}");
            }
        }
    });
}

#[test]
fn a_stream_whose_client_closes_its_side_later_ends_in_order() {
    over_each_transport(&[("HEARTBEAT", "1")], |transport, server| {
        for target in ["/sse/a", "/messages/a?follow=1", "/stats/stream"] {
            let what = format!("over {transport}, {target}");
            let mut stream = EventStream::open(&server.address, target, &[]);
            server.publish("a", "the first");
            let has_come = |raw: &str| raw.contains("the first") || raw.contains("data: {");
            stream.wait_for_raw("it is served", has_come);
            let closed = stream.socket().shutdown(std::net::Shutdown::Write);
            closed.expect("it can close its side");
            assert_eq!(stream.ending(), http::Ending::Clean, "{what}");
        }
        // One that does not read is not waited for.
        let sleeper = server.connect();
        sleeper.set_recv_buffer_size(4096).expect("a small buffer");
        let request = b"GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n";
        (&sleeper).write_all(request).expect("the request is sent");
        wait_until("it is served", BOUND, || {
            server.stat("connected_clients") == 1
        });
        let mut publisher = Publisher::new(&server);
        (0..40).for_each(|_| drop(publisher.publish("a", "x".repeat(60_000))));
        let closed = sleeper.shutdown(std::net::Shutdown::Write);
        closed.expect("it can close its side");
        wait_until("it is gone", BOUND, || {
            server.stat("connected_clients") == 0
        });
    });
}

#[test]
fn a_client_with_a_slow_network_gets_a_long_answer_whole() {
    let server = Server::start(&[("HISTORY_EVENTS", "1000")]);
    let mut publisher = common::Publisher::new(&server);
    for _ in 0..20 {
        publisher.publish("a", "x".repeat(60_000));
    }
    let whole = server.get("/messages/a").body;
    let socket = server.address.socket();
    let set = socket.set_recv_buffer_size(8 << 10);
    set.expect("a socket option can be set");
    server.address.connect_with(&socket);
    let mut connection = socket;
    connection
        .write_all(b"GET /messages/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is sent");
    // 20 KB a second, until much more time has passed than most clients need.
    let begun = Instant::now();
    let (mut answer, mut buffer) = (Vec::new(), [0; 1 << 10]);
    while begun.elapsed() < Duration::from_secs(9) {
        let count = connection.read(&mut buffer).expect("it goes on");
        answer.extend_from_slice(&buffer[..count]);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (rest, _) = common::http::read_until_closed(&mut connection, BOUND);
    answer.extend(rest);
    let replies = common::http::replies(&answer, 0).expect("it is whole");
    assert!(replies[0].body == whole, "it is what there is");
}

#[test]
fn followed_lines_go_on_with_new_messages() {
    let mut server = Server::start(&[("HEARTBEAT", "1")]);
    let first = server.publish("a", "1");
    let mut live = follow(&server, "/messages/a?follow=1");
    let mut since = follow(&server, "/messages/a?follow=1&since=0");
    let mut last = follow(&server, "/messages/a?follow=1&last=1&format=text");
    assert_eq!(live.header("Content-Type"), Some("application/x-ndjson"));
    assert_eq!(live.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(live.header("X-Accel-Buffering"), Some("no"));
    assert_eq!(live.header("Cache-Control"), Some("no-store"));
    wait_until("they are clients", BOUND, || {
        server.stat("connected_clients") == 3
    });
    let second = server.publish("a", "2");
    let line = |id: &str, text: &str, raw: &str| {
        raw.lines().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["id"] == id && line["mensagem"] == text && line["canal"] == "a"
        })
    };
    live.wait_for_raw("the second", |raw| line(&second, "2", raw));
    assert!(
        !line(&first, "1", &live.raw()),
        "no history: {}",
        live.raw()
    );
    since.wait_for_raw("the second", |raw| line(&second, "2", raw));
    assert!(line(&first, "1", &since.raw()));
    last.wait_for_raw("the second", |raw| raw == "1\n2\n");
    live.wait_for_raw("heartbeats", |raw| raw.ends_with("}\n\n\n"));
    assert_eq!(last.raw(), "1\n2\n", "no heartbeats in bare text");
    let mut old = server.send(b"GET /messages/a?follow=1&last=1&format=text HTTP/1.0\r\n\r\n");
    server.wait_for_log("event=connect client=4");
    server.terminate();
    let (bytes, _) = common::http::read_until_closed(&mut old, BOUND);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(
        text.ends_with("\r\n\r\n2\n"),
        "HTTP/1.0 gets it without chunks: {text:?}"
    );
}

#[test]
fn a_follower_is_told_of_gaps_and_of_the_end_of_its_right() {
    let rules = RulesFile::new(r#"{"tokens": []}"#);
    let server = tokens::start(&rules, &[("JWT_SECRET", SECRET), ("HISTORY_EVENTS", "1")]);
    let first = server.publish("a", "1");
    server.publish("a", "2");
    let third = server.publish("a", "3");
    let token = jwt(&json!({"exp": in_seconds(3), "sse": {"subscribe": ["a"]}}));
    let target = format!("/messages/a?access_token={token}");
    assert_eq!(server.get("/messages/a").status, 401);
    assert_eq!(server.get(&target.replace("/a?", "/b?")).status, 403);
    let mut lines = follow(&server, &format!("{target}&follow=1&since={first}"));
    let mut bare = follow(
        &server,
        &format!("{target}&follow=1&since={first}&format=text"),
    );
    let mut waiting = server
        .send(format!("GET {target}&wait=60&since={third} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    assert_eq!(lines.ending(), common::http::Ending::Clean);
    let raw = lines.raw();
    let told: Vec<Value> = raw
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told.len(), 3, "{raw}");
    assert_eq!(told[0], json!({"gap": {"canal": "a", "after": first}}));
    assert_eq!(told[1]["mensagem"], "3");
    assert_eq!(told[2], json!({"expired": {"reason": "expired"}}));
    assert_eq!(bare.ending(), common::http::Ending::Clean);
    assert_eq!(bare.raw(), "3\n");
    let reply = common::http::read_reply(&mut waiting, false).expect("an answer");
    assert_eq!(
        (reply.status, reply.body.len()),
        (200, 0),
        "it hears of it when it asks again"
    );
    assert_eq!(server.get(&target).status, 401);
}

#[test]
fn a_reload_ends_waiting_and_following() {
    let rules = RulesFile::new(r#"{"public": {"subscribe": ["a"]}, "tokens": []}"#);
    let server = tokens::start(&rules, &[]);
    let mut lines = follow(&server, "/messages/a?follow=1");
    let mut waiting = server.send(b"GET /messages/a?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until("both are there", BOUND, || {
        server.stat("connected_clients") == 2
    });
    rules.write(r#"{"tokens": []}"#);
    server.hang_up();
    assert_eq!(lines.ending(), common::http::Ending::Clean);
    assert_eq!(lines.raw(), "{\"expired\":{\"reason\":\"revoked\"}}\n");
    let reply = common::http::read_reply(&mut waiting, false).expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(server.get("/messages/a").status, 401);
}

#[test]
fn streams_of_an_address_are_counted_together() {
    let server = Server::start(&[("MAX_CLIENTS_PER_ADDRESS", "2")]);
    let _stream = server.subscribe("a");
    let _lines = follow(&server, "/messages/a?follow=1");
    assert_eq!(server.get("/messages/a?wait=1").status, 429);
    assert_eq!(server.get("/messages/a").status, 200);
}

#[test]
fn who_has_an_answer_may_wait_again_at_once() {
    for limit in ["MAX_CLIENTS", "MAX_CLIENTS_PER_ADDRESS"] {
        let server = Server::start_quietly(&[(limit, "1"), ("RUST_LOG", "warn")]);
        let mut publisher = Publisher::new(&server);
        let mut next = server.publish("a", "the first");
        // Often: the moment in question is a short one.
        for round in 0..2_000 {
            let request =
                format!("GET /messages/a?wait=60&since={next} HTTP/1.1\r\nHost: test\r\n\r\n");
            let mut connection = server.send(request.as_bytes());
            publisher.publish("a", "another");
            let reply = http::read_reply(&mut connection, false).expect("it is answered");
            assert_eq!(reply.status, 200, "{limit}, {round}: {}", reply.text());
            next = reply
                .header("Last-Event-ID")
                .expect("where to go on")
                .into();
        }
    }
}

#[test]
fn a_follower_that_does_not_read_is_disconnected() {
    let server = Server::start(&[("CLIENT_QUEUE", "10")]);
    let mut slow = server.connect();
    slow.set_recv_buffer_size(4096).expect("a small buffer");
    let request = b"GET /messages/a?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    slow.write_all(request).expect("the request is sent");
    server.wait_for_log("event=connect");
    let mut publisher = Publisher::new(&server);
    let text = "x".repeat(60_000);
    let begun = Instant::now();
    while !server.log().contains("reason=slow") && begun.elapsed() < 3 * BOUND {
        publisher.publish("a", &text);
    }
    server.wait_for_log("event=disconnect client=1 reason=slow");
}

/// Each message comes once, whoever publishes meanwhile and whichever way it is read.
#[test]
fn reading_on_from_the_last_id_gets_each_message_once() {
    const EACH: usize = 400;
    let variables = [("HISTORY_EVENTS", "100000"), ("HISTORY_BYTES", "100000000")];
    let server = Server::start(&variables);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let mut publisher = Publisher::new(server);
                for n in 0..EACH {
                    let channel = ["a", "b", "broadcast"][(number + n) % 3];
                    publisher.publish(channel, format!("{number} {n}"));
                }
            });
        }
        for way in ["", "&wait=1", "&wait=300&format=text", "&last=10000"] {
            let server = &server;
            scope.spawn(move || {
                let mut seen = Vec::new();
                let mut next = "0".to_string();
                while seen.len() < 3 * EACH {
                    let reply = server.get(&format!("/messages/a,b?since={next}{way}"));
                    assert_eq!(reply.status, 200);
                    next = reply.header("Last-Event-ID").expect("an id").into();
                    let text = reply.text();
                    seen.extend(text.lines().map(|line| {
                        let line: Value =
                            serde_json::from_str(line).unwrap_or(json!({"mensagem": line}));
                        assert_eq!(line["gap"], Value::Null, "{way}");
                        line["mensagem"].as_str().expect("a message").to_string()
                    }));
                }
                let mut sorted = seen.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!((sorted.len(), seen.len()), (3 * EACH, 3 * EACH), "{way}");
            });
        }
    });
}

#[test]
fn a_token_may_stand_in_the_header() {
    let rules = RulesFile::new(r#"{"tokens": []}"#);
    let server = tokens::start(&rules, &[]);
    server.publish("a", "1");
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let reply = server.request("GET", "/messages/a", &headers, b"");
    assert_eq!(
        (reply.status, reply.json()["mensagem"].as_str()),
        (200, Some("1"))
    );
}
