//! Every row of the contract's errors and limits: the status, the headers that go with it, and a detail that helps.

use crate::common;

use common::{
    encode, http, over_each_transport, EventStream, Publisher, Reply, Server, AUTHORIZED, BOUND,
    TOKEN,
};
use std::io::Write;
use std::time::Instant;

/// Checks what holds for every error, and returns its detail.
#[track_caller]
fn problem(what: &str, reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert_eq!(
        reply.header("Content-Type"),
        Some("application/problem+json"),
        "{what}"
    );
    assert_eq!(
        reply.header("Access-Control-Allow-Origin"),
        Some("*"),
        "{what}: errors carry CORS headers"
    );
    assert!(reply.text().ends_with("}\n"), "{what}: a line end");
    let body = reply.json();
    assert_eq!(body["status"], status, "{what}");
    assert!(
        body["type"].is_string() && body["title"].is_string(),
        "{what}: {body}"
    );
    let detail = body["detail"].as_str().unwrap_or_default().to_string();
    assert!(!detail.is_empty(), "{what}: the detail says something");
    assert!(
        !detail.contains("test-token-of-16-bytes"),
        "{what}: the token is in the error"
    );
    detail
}

#[test]
fn every_answer_ends_with_one_line_end() {
    let server = Server::start(&[]);
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/health/ready"),
        ("GET", "/stats"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/no-such-path"),
        ("DELETE", "/stats"),
        ("POST", "/publish/a"),
        ("PUT", "/publish/a"),
        ("PUT", "/publish/a/b"),
    ] {
        let reply = server.request(method, target, &[AUTHORIZED], b"\"x\"");
        let text = reply.text();
        let ends_once = text.ends_with('\n') && !text.ends_with("\n\n");
        assert!(ends_once, "{method} {target}: {text:?}");
    }
}

#[test]
fn bad_channel_names_are_refused() {
    let server = Server::start(&[]);
    let too_long = "x".repeat(129);
    let too_long_in_bytes = "é".repeat(65);
    for (name, word) in [
        (too_long.as_str(), "129 bytes"),
        (too_long_in_bytes.as_str(), "130 bytes"),
        ("a b", "white space"),
        ("a\tb", "control"),
        ("a\0", "control"),
        ("a\u{7f}", "control"),
        ("a\u{85}b", "control"),
        ("a\u{a0}b", "white space"),
        ("a\u{2003}b", "white space"),
        ("a\u{3000}", "white space"),
        ("a/b", "'/'"),
        ("a*b", "*"),
    ] {
        for (method, target) in [
            ("GET", format!("/sse/{}", encode(name))),
            ("GET", format!("/sse?canal={}", encode(name))),
            ("POST", format!("/publish/{}?msg=x", encode(name))),
        ] {
            let reply = server.request(method, &target, &[AUTHORIZED], b"");
            let detail = problem(&format!("{method} of {name:?}"), &reply, 400);
            assert!(detail.contains(word), "{name:?}: {detail:?} names {word:?}");
        }
    }
    for target in [
        "/sse",
        "/sse/",
        "/sse?canal=",
        "/sse?canal=,,",
        "/sse/,",
        "/sse?kanal=x",
        "/messages",
        "/messages/,",
    ] {
        let detail = problem(target, &server.get(target), 400);
        assert!(detail.contains("no channel"), "{target}: {detail}");
    }
    for (method, target, words) in [
        ("GET", "/sse/", "in the path (/sse/news) or in the query"),
        ("GET", "/messages?canal=", "in the path (/messages/news) or"),
        ("POST", "/publish?msg=1", "in the path (/publish/news) or"),
        ("GET", "/clients?canal=", "give one in the query (?canal="),
    ] {
        let reply = server.request(method, target, &[AUTHORIZED], b"");
        let detail = problem(target, &reply, 400);
        assert!(detail.contains(words), "{target}: {detail}");
    }
    let publish = "/publish/a*?msg=x";
    let reply = server.request("POST", publish, &[AUTHORIZED], b"");
    let detail = problem(publish, &reply, 400);
    assert!(detail.contains("'*'"), "a pattern is to follow: {detail}");
    for target in ["/sse/%ff", "/sse?canal=%c3", "/messages/%ff"] {
        assert!(problem(target, &server.get(target), 400).contains("UTF-8"));
    }
    assert_eq!(server.stat("active_channels"), 0, "nothing came of it");
}

#[test]
fn a_stream_has_up_to_64_channels() {
    let server = Server::start(&[]);
    let names = |n: usize| {
        (0..n)
            .map(|n| format!("c{n}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    drop(server.subscribe_with(&format!("/sse/{}", names(64)), &[]));
    let detail = problem(
        "65 channels",
        &server.get(&format!("/sse/{}", names(65))),
        400,
    );
    assert!(detail.contains("64"), "{detail}");
}

#[test]
fn an_empty_list_beside_a_path_names_nothing() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe_with("/sse/a?canal=", &[]);
    for target in ["/publish/a?canal", "/publish/a?canal=,&canal="] {
        let reply = server.request("POST", target, &[AUTHORIZED], b"x");
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        assert_eq!(stream.next().data, "x", "{target}");
    }
    assert_eq!(server.get("/messages/a?canal=,").status, 200);
    for target in [
        "/sse/a?canal=,b",
        "/sse/a?canal=&canal=b",
        "/sse/a?canal=%ff",
    ] {
        problem(target, &server.get(target), 400);
    }
}

#[test]
fn contradictory_requests_are_refused() {
    let server = Server::start(&[]);
    for (method, target, body) in [
        ("GET", "/sse/a?canal=b", ""),
        ("POST", "/publish/a?canal=a", "x"),
        ("POST", "/publish/a?msg=x&msg=x", ""),
        ("POST", "/publish/a?msg=x", "y"),
        ("POST", "/publish/a", ""),
        ("POST", "/publish/a?msg=", ""),
        ("POST", "/publish/a,b", "x"),
        ("POST", "/publish?canal=a&canal=b", "x"),
        ("POST", "/publish", "x"),
        ("POST", "/publish/a?event=x%0Ay", "x"),
        ("POST", "/publish/a?event=x%0Dy", "x"),
        ("POST", "/publish/a?event=x%00y", "x"),
        ("POST", "/publish/a?event=sse-gap", "x"),
        ("POST", "/publish/a?event=sse-", "x"),
        ("POST", "/publish/a?event=a&event=b", "x"),
        ("POST", "/publish/a?msg=%ff", ""),
        ("POST", "/publish/a?event=%ff", "x"),
        ("GET", "/sse/a?format=xml", ""),
        ("GET", "/sse/a?heartbeat=loud", ""),
    ] {
        let reply = server.request(method, target, &[AUTHORIZED], body.as_bytes());
        problem(&format!("{method} {target} with {body:?}"), &reply, 400);
    }
    let reply = server.request("POST", "/publish/a", &[AUTHORIZED], b"\xff\xfe");
    assert!(problem("a body that is not UTF-8", &reply, 400).contains("UTF-8"));
    assert_eq!(server.stat("messages_published"), 0);
}

#[test]
fn a_message_over_the_limit_is_413_and_one_at_the_limit_is_not() {
    let server = Server::start(&[("MAX_MESSAGE_BYTES", "2000")]);
    server.publish("a", "x".repeat(2000));
    let detail = problem(
        "a body over the limit",
        &server.request("POST", "/publish/a", &[AUTHORIZED], &[b'x'; 2001]),
        413,
    );
    assert!(detail.contains("2000"), "{detail}");
    let target = format!("/publish/a?msg={}", "x".repeat(2001));
    problem(
        "msg over the limit",
        &server.request("POST", &target, &[AUTHORIZED], b""),
        413,
    );
    let large = vec![b'x'; 1 << 20];
    problem(
        "a large body",
        &server.request("POST", "/publish/a", &[AUTHORIZED], &large),
        413,
    );
    let mut chunked = b"POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(b"7d1\r\n");
    chunked.extend_from_slice(&[b'x'; 2001]);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut connection = http::connect(server.addr);
    connection.write_all(&chunked).expect("the request is sent");
    problem(
        "a chunked body",
        &http::read_reply(&mut connection, false).expect("an answer"),
        413,
    );
    for declared in ["2001", "99999999999", "18446744073709551616"] {
        let request = format!("POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\nContent-Length: {declared}\r\n\r\n");
        let mut connection = http::connect(server.addr);
        connection
            .write_all(request.as_bytes())
            .expect("the request is sent");
        problem(
            declared,
            &http::read_reply(&mut connection, false).expect("an answer without a body"),
            413,
        );
    }
}

#[test]
fn nothing_follows_a_last_answer() {
    let server = Server::start(&[]);
    for request in [
        "POST /publish/a HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
        "POST /publish/a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
    ] {
        for _ in 0..20 {
            let answer = String::from_utf8_lossy(&http::exchange(server.addr, request.as_bytes())).into_owned();
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?} is answered with {answer}");
            assert!(answer.contains("Connection: close"), "{answer}");
        }
    }
}

#[test]
fn chunked_bodies_are_messages_like_any_other() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let answer = http::exchange(
        server.addr,
        b"POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    );
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(stream.next().data, "abcde");
}

#[test]
fn unknown_paths_are_404() {
    let server = Server::start(&[]);
    for target in [
        "/nope",
        "/sse/a/b",
        "/publish/a/b",
        "/sses",
        "/health/",
        "/stats/x",
        "//",
        "/%73se/a",
        "/publish/../stats",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            problem(
                &format!("{method} {target}"),
                &server.request(method, target, &[AUTHORIZED], b""),
                404,
            );
        }
    }
}

#[test]
fn a_path_with_another_method_is_405_and_says_which_are_right() {
    let server = Server::start(&[]);
    for (target, wrong, allowed) in [
        (
            "/sse/a",
            ["POST", "DELETE", "PUT", "PATCH", "BREW"],
            "GET, HEAD, OPTIONS",
        ),
        (
            "/publish/a",
            ["GET", "HEAD", "PATCH", "DELETE", "BREW"],
            "POST, PUT, OPTIONS",
        ),
        (
            "/health",
            ["POST", "DELETE", "PUT", "PATCH", "BREW"],
            "GET, HEAD, OPTIONS",
        ),
        (
            "/health/ready",
            ["POST", "DELETE", "PUT", "PATCH", "BREW"],
            "GET, HEAD, OPTIONS",
        ),
        (
            "/stats",
            ["POST", "DELETE", "PUT", "PATCH", "BREW"],
            "GET, HEAD, OPTIONS",
        ),
    ] {
        for method in wrong {
            let reply = server.request(method, target, &[AUTHORIZED], b"");
            assert_eq!(
                (reply.status, reply.header("Allow")),
                (405, Some(allowed)),
                "{method} {target}"
            );
            if method != "HEAD" {
                problem(&format!("{method} {target}"), &reply, 405);
            }
        }
    }
}

#[test]
fn head_works_wherever_get_does() {
    let server = Server::start(&[]);
    for target in ["/health", "/health/ready", "/stats", "/sse/a"] {
        let reply = server.request("HEAD", target, &[], b"");
        assert_eq!(reply.status, 200, "HEAD {target}");
        assert!(reply.body.is_empty(), "HEAD {target} has no body");
    }
    assert_eq!(
        server
            .request("HEAD", "/sse/a", &[], b"")
            .header("Content-Type"),
        Some("text/event-stream")
    );
    assert_eq!(server.request("HEAD", "/sse/a%20b", &[], b"").status, 400);
    assert_eq!(server.stat("connected_clients"), 0, "HEAD makes no client");
    assert_eq!(server.stat("active_channels"), 0, "nor a channel");
    let answer = http::exchange(
        server.addr,
        b"HEAD /health HTTP/1.1\r\nHost: test\r\n\r\nGET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    );
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(
        answer.contains("\r\n\r\nHTTP/1.1 200 OK"),
        "GET's answer follows HEAD's at once: {answer}"
    );
}

#[test]
fn head_of_a_stream_is_the_head_that_get_gives() {
    over_each_transport(&[], |_, server| {
        // An answer that ends says how long it would be, and one that does not says nothing of that.
        let ends = server.request("HEAD", "/messages/a", &[], b"");
        assert_eq!(ends.header("Content-Length"), Some("0"));
        for (target, version) in [
            ("/sse/a", "1.1"),
            ("/sse/a,b-*?last=1&format=json", "1.0"),
            ("/messages/a?follow=1", "1.1"),
            ("/messages/a?follow=1&format=text", "1.0"),
            ("/stats/stream", "1.1"),
            ("/stats/stream", "1.0"),
        ] {
            let ask = |method: &str| {
                let request = format!(
                    "{method} {target} HTTP/{version}\r\nHost: test\r\nOrigin: http://x\r\n\r\n"
                );
                server.send(request.as_bytes())
            };
            let mut get = ask("GET");
            let mut head = ask("HEAD");
            let (whole, left) = http::read_until_closed(&mut head, BOUND);
            assert_eq!(left, http::Left::Closed, "HEAD {target} ends");
            let whole = String::from_utf8(whole).expect("a head is text");
            assert!(whole.ends_with("\r\n\r\n"), "no body: {whole:?}");
            assert_eq!(whole.matches("\r\n\r\n").count(), 1, "{whole:?}");
            let fields = |head: &str| -> Vec<String> {
                let fields = head
                    .split("\r\n")
                    .filter(|line| !line.starts_with("Date: "));
                fields.map(str::to_string).collect()
            };
            let mut got = Vec::new();
            while !got.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                std::io::Read::read_exact(&mut get, &mut byte).expect("a head");
                got.push(byte[0]);
            }
            let got = String::from_utf8(got).expect("a head is text");
            assert_eq!(fields(&whole), fields(&got), "{target} HTTP/{version}");
            assert!(!whole.contains("Content-Length"), "{whole}");
        }
    });
}

#[test]
fn head_tells_of_limits_as_get_does() {
    // The statistics have a limit of their own, which is no setting.
    let clients = ["/sse/b", "/messages/b?follow=1", "/messages/b?wait=1"];
    let streams = [&clients[..], &["/stats/stream"]].concat();
    for (limit, targets, status) in [
        ("MAX_CLIENTS", &clients[..], 503),
        ("MAX_CHANNELS", &clients[..], 503),
        ("MAX_CLIENTS_PER_ADDRESS", &streams[..], 429),
    ] {
        let server = Server::start(&[(limit, "1")]);
        for target in targets {
            let head = server.request("HEAD", target, &[], b"");
            assert_eq!(head.status, 200, "{limit}: HEAD {target}");
        }
        let stream = server.subscribe("a");
        server.wait_for_log("event=connect client=1");
        for target in targets {
            let get = EventStream::open(server.addr, target, &[]);
            assert_eq!(get.status, status, "{limit}: GET {target}");
            let head = server.request("HEAD", target, &[], b"");
            assert_eq!(head.status, status, "{limit}: HEAD {target}");
            for name in ["Retry-After", "Content-Type"] {
                let (get, head) = (get.header(name), head.header(name));
                assert_eq!(head, get, "{limit}: {name} of HEAD {target}");
            }
        }
        // What is there is no client's.
        server.publish("a", "x");
        let there = server
            .request("HEAD", "/messages/a?wait=1", &[], b"")
            .status;
        let is_counted = limit == "MAX_CLIENTS_PER_ADDRESS";
        assert_eq!(there, if is_counted { 429 } else { 200 }, "{limit}");
        drop(stream);
    }
}

#[test]
fn publishing_needs_the_token() {
    let server = Server::start(&[]);
    let reply = server.request("POST", "/publish/a", &[], b"x");
    problem("no token", &reply, 401);
    assert_eq!(reply.header("WWW-Authenticate"), Some("Bearer"));
    for wrong in [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        "Basic dGVzdA==",
        "test-token-of-16-bytes",
        "Bearer test-token-of-16-bytes2",
        "Bearer test-toke",
        "Bearer Test-Token",
    ] {
        let reply = server.request("POST", "/publish/a", &[("Authorization", wrong)], b"x");
        problem(wrong, &reply, 401);
        let challenge = reply.header("WWW-Authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{wrong}: {challenge}");
    }
    for right in [
        "Bearer test-token-of-16-bytes",
        "bearer test-token-of-16-bytes",
        "BEARER  test-token-of-16-bytes",
    ] {
        assert_eq!(
            server
                .request("POST", "/publish/a", &[("Authorization", right)], b"x")
                .status,
            200,
            "{right}"
        );
    }
    assert_eq!(
        server
            .request(
                "POST",
                "/publish/a?access_token=test-token-of-16-bytes",
                &[],
                b"x"
            )
            .status,
        200
    );
    problem(
        "a wrong access_token",
        &server.request("POST", "/publish/a?access_token=test", &[], b"x"),
        401,
    );
    problem(
        "an empty access_token",
        &server.request("POST", "/publish/a?access_token=", &[], b"x"),
        401,
    );
}

#[test]
fn a_wrong_token_is_401_even_where_none_is_needed() {
    let server = Server::start(&[]);
    for target in ["/sse/a", "/stats"] {
        problem(
            target,
            &server.request("GET", target, &[("Authorization", "Bearer wrong")], b""),
            401,
        );
        problem(
            target,
            &server.get(&format!("{target}?access_token=wrong")),
            401,
        );
    }
    drop(server.subscribe_with("/sse/a?access_token=test-token-of-16-bytes", &[]));
}

#[test]
fn authorization_is_checked_before_the_body_is_read() {
    let server = Server::start(&[]);
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut connection = http::connect(server.addr);
        write!(
            connection,
            "POST /publish/a HTTP/1.1\r\nHost: test\r\n{expect}Content-Length: 50000\r\n\r\n"
        )
        .expect("sent");
        let asked = Instant::now();
        problem(
            "a body that never comes",
            &http::read_reply(&mut connection, false).expect("an answer"),
            401,
        );
        // Less than the body may take.
        assert!(asked.elapsed() < BOUND, "it took {:?}", asked.elapsed());
    }
    // Before everything else as well: nobody learns what would be wrong.
    problem(
        "a bad name",
        &server.request("POST", "/publish/a%20b", &[], b"x"),
        401,
    );
}

#[test]
fn only_a_request_that_will_be_read_gets_100_continue() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let mut connection = http::connect(server.addr);
    write!(
        connection,
        "POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\
         Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    )
    .expect("sent");
    http::read_continue(&mut connection);
    write!(connection, "hello").expect("sent");
    // Its answer is the only one: nothing interim is in the way.
    let reply = http::read_reply(&mut connection, false).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(stream.next().data, "hello");
}

#[test]
fn at_max_clients_the_next_one_is_told_to_come_later() {
    let server = Server::start(&[("MAX_CLIENTS", "2")]);
    let first = server.subscribe("a");
    let second = server.subscribe("b");
    let reply = server.get("/sse/a");
    assert!(problem("the third client", &reply, 503)
        .contains("limit of connected clients is reached (MAX_CLIENTS=2)"));
    assert!(reply
        .header("Retry-After")
        .is_some_and(|s| s.parse::<u32>().is_ok()));
    drop(first);
    common::wait_until("there is room again", common::BOUND, || {
        server.stat("connected_clients") == 1
    });
    drop(server.subscribe("c"));
    drop(second);
}

#[test]
fn at_max_channels_a_new_one_is_refused_and_broadcast_is_not_counted() {
    let server = Server::start(&[("MAX_CHANNELS", "2")]);
    server.publish("broadcast", "x");
    server.publish("a", "x");
    server.publish("b", "x");
    let stream = server.subscribe("b");
    let followed = server.subscribe_with("/sse/c,d", &[]);
    for (method, target) in [
        ("POST", "/publish/e?msg=x"),
        ("POST", "/publish/c?msg=x"),
        ("GET", "/sse/e"),
        ("GET", "/sse/a,b,e"),
    ] {
        let reply = server.request(method, target, &[AUTHORIZED], b"");
        assert!(problem(&format!("{method} {target}"), &reply, 503)
            .contains("limit of channels is reached (MAX_CHANNELS=2)"));
        assert!(reply.header("Retry-After").is_some(), "{target}");
    }
    server.publish("a", "still");
    server.publish("broadcast", "still");
    drop(server.subscribe("broadcast"));
    assert_eq!(server.stat("active_channels"), 4);
    drop((stream, followed));
}

#[test]
fn names_that_were_only_followed_keep_nobody_out_once_they_are_left() {
    let server = Server::start(&[("MAX_CHANNELS", "3"), ("CHANNEL_TTL", "600")]);
    let target = |name: &str| format!("/sse/{name}-1,{name}-2,{name}-3");
    let are_left = || {
        common::wait_until("they are left", common::BOUND, || {
            server.stat("connected_clients") == 0
        });
    };
    for name in ["a", "b"] {
        drop(server.subscribe_with(&target(name), &[]));
        are_left();
    }
    // Those that are followed, and those with messages, stay.
    let stream = server.subscribe_with(&target("b"), &[]);
    server.publish("b-1", "x");
    let reply = server.get("/sse/c-1,c-2,c-3");
    assert!(problem("three new names", &reply, 503).contains("MAX_CHANNELS"));
    drop(stream);
    are_left();
    drop(server.subscribe_with("/sse/c-1,c-2,c-3", &[]));
    assert_eq!(
        server.get("/messages/b-1?since=0").text().lines().count(),
        1
    );
}

#[test]
fn channels_without_a_message_do_not_keep_publishers_out() {
    const LIMIT: usize = 200;
    let server = Server::start(&[("MAX_CHANNELS", &LIMIT.to_string())]);
    // Somebody without any right follows names that nobody publishes to, as many as he gets.
    let mut squatters = Vec::new();
    for names in (0..2 * LIMIT)
        .map(|i| format!("squat-{i}"))
        .collect::<Vec<_>>()
        .chunks(50)
    {
        let target = format!("/sse/{}", names.join(","));
        let stream = http::EventStream::open(server.addr, &target, &[]);
        if stream.status == 200 {
            squatters.push(stream);
        }
    }
    let first = squatters.first_mut().expect("there is room for one");
    let publish = |channel: &str| {
        let target = format!("/publish/{channel}?msg=x");
        server.request("POST", &target, &[AUTHORIZED], b"").status
    };
    assert_eq!(publish("alarms"), 200, "a new channel");
    assert_eq!(publish("squat-0"), 200, "one of those that are followed");
    assert_eq!(first.next().data, "x");
    drop(server.subscribe("alarms"));
    // The limit holds for channels that have messages.
    for i in 2..LIMIT {
        assert_eq!(publish(&format!("own-{i}")), 200, "channel number {i}");
    }
    let reply = server.request("POST", "/publish/one-more?msg=x", &[AUTHORIZED], b"");
    assert!(problem("one channel more", &reply, 503).contains("MAX_CHANNELS"));
    assert_eq!(
        publish("squat-1"),
        503,
        "one of those that are followed, at the limit"
    );
    // And those who follow without a right meet it as well.
    let endless = (0..10 * LIMIT)
        .map(|i| format!("more-{i}"))
        .collect::<Vec<_>>();
    let statuses: Vec<u16> = endless
        .chunks(64)
        .map(|names| {
            let target = format!("/sse/{}", names.join(","));
            let stream = http::EventStream::open(server.addr, &target, &[]);
            let status = stream.status;
            squatters.push(stream);
            status
        })
        .collect();
    assert!(
        statuses.contains(&503),
        "names without end are refused: {statuses:?}"
    );
}

#[test]
fn health_and_stats_report_the_state() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/health").json()["status"], "ok");
    assert_eq!(server.get("/health/ready").status, 200);
    server.publish("a", "1");
    server.publish("b", "1");
    server.publish("b", "2");
    let mut stream = server.subscribe_with("/sse/b?last_event_id=0", &[]);
    stream.next();
    stream.next();
    let stats = server.get("/stats").json();
    for (name, value) in [
        ("active_channels", 2),
        ("connected_clients", 1),
        ("messages_published", 3),
    ] {
        assert_eq!(stats[name], value, "{name}");
    }
    assert!(
        stats["uptime_seconds"].is_u64() && stats["version"].is_string(),
        "{stats}"
    );
    assert!(
        stats.get("channels").is_none(),
        "the list of channels needs the token"
    );
    common::wait_until("replays count as delivered", common::BOUND, || {
        server.stat("messages_delivered") == 2
    });
    for stats in [
        server.request("GET", "/stats", &[AUTHORIZED], b""),
        server.get("/stats?access_token=test-token-of-16-bytes"),
    ] {
        let list = stats.json()["channels"].clone();
        assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
        assert_eq!(
            (&list[1]["canal"], &list[1]["clients"]),
            (&"b".into(), &1.into())
        );
        assert_eq!(
            (&list[1]["messages"], &list[1]["history"]),
            (&2.into(), &2.into())
        );
        assert!(list[0]["idle_seconds"].is_u64());
    }
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start(&[]);
    let mut publisher = Publisher::new(&server);
    for n in 0..100 {
        publisher.publish("a", n.to_string());
    }
    let mut ten = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n".repeat(9);
    ten.extend_from_slice(b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answers = String::from_utf8_lossy(&http::exchange(server.addr, &ten)).into_owned();
    assert_eq!(
        answers.matches("HTTP/1.1 200 OK").count(),
        10,
        "ten requests at once: {answers}"
    );
    // HTTP/1.0: closes, unless asked not to.
    let answer = http::exchange(server.addr, b"GET /health HTTP/1.0\r\n\r\n");
    assert!(
        String::from_utf8_lossy(&answer).contains("Connection: close"),
        "HTTP/1.0 closes"
    );
    let mut connection = http::connect(server.addr);
    for _ in 0..2 {
        connection
            .write_all(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .expect("sent");
        let reply = http::read_reply(&mut connection, false).expect("an answer");
        assert_eq!(reply.header("Connection"), Some("keep-alive"));
    }
}

#[test]
fn absolute_targets_are_understood() {
    let server = Server::start(&[]);
    let answer = http::exchange(
        server.addr,
        b"GET http://box:8080/health?x HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n",
    );
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let answer = http::exchange(
        server.addr,
        b"OPTIONS * HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n",
    );
    assert!(
        answer.starts_with(b"HTTP/1.1 204 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn a_head_over_the_limits_is_431() {
    let server = Server::start(&[]);
    let long = "x".repeat(17 << 10);
    problem(
        "17 KiB of head",
        &server.request("GET", "/health", &[("X", &long)], b""),
        431,
    );
    let many: Vec<(String, &str)> = (0..101).map(|n| (format!("X-{n}"), "y")).collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    problem(
        "101 fields",
        &server.request("GET", "/health", &many, b""),
        431,
    );
    assert_eq!(
        server.request("GET", "/health", &many[..90], b"").status,
        200
    );
}
