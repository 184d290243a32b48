//! Bodies: of every size, at every speed, in every framing, and those that nobody asked for.

use super::table::{answered, check, has_read, published, refused, Case, Counts};
use crate::common::http::{read_reply, read_until_closed, replies};
use crate::common::{over_each_transport, wait_until, EventStream, RulesFile, Server, BOUND};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

const AUTH: &str = "Host: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\n";

/// How a body is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    /// In chunks of this many bytes.
    Chunks(usize),
}

impl Framing {
    fn field(self, body: &[u8]) -> String {
        match self {
            Framing::Length => format!("Content-Length: {}\r\n", body.len()),
            Framing::Chunks(_) => "Transfer-Encoding: chunked\r\n".into(),
        }
    }

    fn frame(self, body: &[u8]) -> Vec<u8> {
        let Framing::Chunks(size) = self else {
            return body.to_vec();
        };
        let chunk =
            |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let mut chunks: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
        chunks.extend_from_slice(b"0\r\n\r\n");
        chunks
    }
}

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
enum Speed {
    AtOnce,
    /// The head, and the body when the server has read it.
    Apart,
    /// In parts of this many bytes, each a moment after the one before.
    Slowly(usize, Duration),
}

fn publish_on(
    connection: &mut (impl Read + Write),
    server: &Server,
    (framing, speed): (Framing, Speed),
    channel: &str,
    body: &[u8],
) -> Result<u16, String> {
    let head = format!(
        "POST /publish/{channel} HTTP/1.1\r\n{AUTH}{}\r\n",
        framing.field(body)
    );
    let framed = framing.frame(body);
    let sent = match speed {
        Speed::AtOnce => connection.write_all(&[head.as_bytes(), &framed].concat()),
        Speed::Apart => connection.write_all(head.as_bytes()).and_then(|()| {
            has_read(server);
            connection.write_all(&framed)
        }),
        Speed::Slowly(size, pause) => connection.write_all(head.as_bytes()).and_then(|()| {
            let mut parts = framed.chunks(size);
            parts.try_for_each(|part| {
                std::thread::park_timeout(pause);
                connection.write_all(part)
            })
        }),
    };
    let reply = sent
        .map_err(|error| error.to_string())
        .and_then(|()| read_reply(connection, false));
    reply
        .map(|reply| reply.status)
        .map_err(|problem| format!("{} bytes, {framing:?}, {speed:?}: {problem}", body.len()))
}

#[test]
fn bodies_of_every_size_and_speed_on_one_connection_are_all_answered() {
    const MOST: usize = 256 << 10;
    let most = MOST.to_string();
    let sizes = [
        1,
        2,
        1023,
        1024,
        1025,
        4 << 10,
        16 << 10,
        (64 << 10) - 1,
        64 << 10,
        (64 << 10) + 1,
        200_000,
        MOST,
    ];
    over_each_transport(&[("MAX_MESSAGE_BYTES", &most)], |transport, server| {
        let mut stream = server.subscribe("a");
        let mut connection = server.connect();
        for size in sizes {
            let letter = ["a", "b", "c", "d", "e"][size % 5];
            let body = letter.repeat(size);
            let part = size.div_ceil(8);
            let pause = Duration::from_millis(2);
            for way in [
                (Framing::Length, Speed::AtOnce),
                (Framing::Chunks(size), Speed::AtOnce),
                (Framing::Length, Speed::Apart),
                (Framing::Chunks(size.div_ceil(3)), Speed::Apart),
                (Framing::Chunks(1 + size / 500), Speed::AtOnce),
                (Framing::Length, Speed::Slowly(part, pause)),
                (
                    Framing::Chunks(1 + size / 10),
                    Speed::Slowly(part + 7, pause),
                ),
            ] {
                let status = publish_on(&mut connection, &server, way, "a", body.as_bytes());
                assert_eq!(status, Ok(200), "over {transport}, {size} bytes, {way:?}");
                let came = stream.next().data;
                assert!(
                    came == body,
                    "over {transport}, {size} bytes, {way:?}: {} bytes arrived",
                    came.len()
                );
            }
        }
        // An empty one is refused for what it is, and only for that.
        for framing in [Framing::Length, Framing::Chunks(1)] {
            let way = (framing, Speed::AtOnce);
            let status = publish_on(&mut connection, &server, way, "a", b"");
            assert_eq!(status, Ok(400), "over {transport}, no bytes, {framing:?}");
        }
        let way = (Framing::Length, Speed::AtOnce);
        let status = publish_on(&mut connection, &server, way, "a", b"at the end");
        assert_eq!(status, Ok(200), "over {transport}, after empty bodies");
        // One byte more than a message may have.
        for framing in [
            Framing::Length,
            Framing::Chunks(4096),
            Framing::Chunks(MOST + 1),
        ] {
            for speed in [Speed::AtOnce, Speed::Apart] {
                let mut connection = server.connect();
                let body = vec![b'x'; MOST + 1];
                // It may be refused while it is being sent.
                let head = format!(
                    "POST /publish/a HTTP/1.1\r\n{AUTH}{}\r\n",
                    framing.field(&body)
                );
                let mut sent = head.into_bytes();
                if let Speed::Apart = speed {
                    let _ = connection.write_all(&sent);
                    has_read(&server);
                    sent.clear();
                }
                sent.extend(framing.frame(&body));
                let _ = connection.write_all(&sent);
                let (bytes, _) = read_until_closed(&mut connection, BOUND);
                let all = replies(&bytes, 0).unwrap_or_default();
                let statuses: Vec<u16> = all.iter().map(|reply| reply.status).collect();
                assert_eq!(
                    statuses,
                    [413],
                    "over {transport}, one byte too many, {framing:?}, {speed:?}"
                );
            }
        }
        assert_eq!(stream.next().data, "at the end");
    });
}

#[test]
fn bodies_that_take_half_a_second_on_kept_connections_are_all_answered() {
    const SIZE: usize = 200_000;
    const TIME: Duration = Duration::from_millis(500);
    over_each_transport(&[("MAX_MESSAGE_BYTES", "200000")], |transport, server| {
        let publish = || {
            let mut connection = server.connect();
            for parts in [8, 20, 50] {
                let speed = Speed::Slowly(SIZE / parts, TIME / parts as u32);
                let body = vec![b'x'; SIZE];
                let way = (Framing::Length, speed);
                match publish_on(&mut connection, &server, way, "a", &body)? {
                    // And then the connection rests for a while.
                    200 => std::thread::park_timeout(TIME),
                    status => return Err(status.to_string()),
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..8).map(|_| scope.spawn(publish)).collect();
            for publisher in publishers {
                let fared = publisher.join().expect("it publishes or tells why not");
                assert_eq!(fared, Ok(()), "over {transport}");
            }
        });
    });
}

/// A publish to a channel of the case's own, hidden in a body.
const HIDDEN: &str =
    "POST /publish/{channel}?msg=x&access_token=test-token-of-16-bytes HTTP/1.1\r\nHost: test\r\n\r\n";

/// A request with a body that looks like one.
fn with_hidden(line: &str, fields: &str, framing: Framing, hidden: &[u8]) -> Vec<u8> {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: test\r\n{fields}{}\r\n",
        framing.field(hidden)
    );
    [head.as_bytes(), &framing.frame(hidden)].concat()
}

#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    let rules = RulesFile::new(
        r#"{"tokens": [{"name": "other", "token": "other-token", "publish": ["other"]}]}"#,
    );
    let right = "Authorization: Bearer test-token-of-16-bytes\r\n";
    let lines = [
        ("GET /health", ""),
        ("GET /stats", ""),
        ("GET /nope", ""),
        ("GET /", ""),
        ("GET /sse/a%20b", ""),
        ("GET /publish/a", right),
        ("HEAD /health", ""),
        ("HEAD /sse/a", ""),
        ("DELETE /health", ""),
        ("DELETE /publish/a", right),
        ("OPTIONS /publish/a", ""),
        ("OPTIONS *", ""),
        ("PATCH /publish/a", right),
        ("BREW /publish/a", right),
        ("POST /health", ""),
        ("POST /sse/a", right),
        ("POST /nope", right),
        ("POST /publish/a", ""),
        ("POST /publish/a", "Authorization: Bearer wrong\r\n"),
        ("POST /publish/a", "Authorization: Bearer other-token\r\n"),
        (
            "POST /publish/a",
            "Authorization: Basic dGVzdC10b2tlbg==\r\n",
        ),
        ("PUT /publish/a", ""),
        ("POST /publish/a%20b", right),
        ("POST /publish", right),
        ("POST /publish/a?msg=x", right),
        ("POST /publish/a?event=sse-x", right),
    ];
    let mut cases = Vec::new();
    let any = || {
        answered(&[200, 204, 400, 401, 403, 404, 405, 411, 413])
            .or_refused(&[400, 401, 403, 404, 405, 411, 413, 417, 501])
    };
    for (line, fields) in lines {
        for expect in ["", "Expect: 100-continue\r\n", "Connection: keep-alive\r\n"] {
            for framing in [
                Framing::Length,
                Framing::Chunks(HIDDEN.len()),
                Framing::Chunks(5),
            ] {
                // A chunk's size has to be that of what is sent, so the channel is as long as what it replaces.
                let split = matches!(framing, Framing::Chunks(5));
                let hidden = if split {
                    HIDDEN.replace("{channel}", "hidden")
                } else {
                    HIDDEN.into()
                };
                let sent = with_hidden(
                    line,
                    &format!("{fields}{expect}"),
                    framing,
                    hidden.as_bytes(),
                );
                let head = sent
                    .windows(4)
                    .position(|bytes| bytes == b"\r\n\r\n")
                    .expect("a head")
                    + 4;
                let case = Case::new(
                    format!("{line}: {fields}{expect}{framing:?}").replace("\r\n", " "),
                    sent,
                    any(),
                );
                // With Expect, who waits for the refusal still sends the body behind it.
                cases.extend([
                    case.cut("at once", vec![]),
                    case.cut("the body later", vec![head]),
                    case.cut("in the middle", vec![head + 20]),
                ]);
            }
        }
    }
    // More than a message may have, all of it requests.
    let many = HIDDEN.repeat(1000);
    let large = with_hidden("POST /publish/a", right, Framing::Length, many.as_bytes());
    cases.push(Case::new(
        "POST /publish/a: too large",
        large,
        refused(&[413]),
    ));
    over_each_transport(&[("ACCESS_FILE", rules.path())], |transport, server| {
        check(transport, &server, &cases);
        let hidden = Counts::of(&server).messages("hidden");
        assert_eq!(hidden, 0, "over {transport}, bodies that were executed");
    });
}

#[test]
fn a_body_behind_a_stream_is_never_taken_for_a_request() {
    let hidden = HIDDEN.replace("{channel}", "hidden");
    over_each_transport(&[], |transport, server| {
        for framing in [
            Framing::Length,
            Framing::Chunks(hidden.len()),
            Framing::Chunks(5),
        ] {
            for (way, later) in [("at once", false), ("later", true)] {
                let what = format!("over {transport}, {framing:?}, {way}");
                let request = with_hidden("GET /sse/a", "", framing, hidden.as_bytes());
                // What follows the body is nobody's business either.
                let request = [&request, hidden.as_bytes()].concat();
                let head = request
                    .windows(4)
                    .position(|bytes| bytes == b"\r\n\r\n")
                    .expect("a head")
                    + 4;
                let (first, rest) = request.split_at(if later { head } else { request.len() });
                let mut stream = EventStream::send(&server.address, first);
                assert_eq!(stream.status, 200, "{what}");
                let mut socket = stream.socket();
                let sent = socket.write_all(rest);
                sent.unwrap_or_else(|error| panic!("{what}: {error}"));
                server.publish("a", "still here");
                assert_eq!(stream.next().data, "still here", "{what}");
                // Who ends its side alone, and who goes.
                let _ = stream.socket().shutdown(Shutdown::Write);
                has_read(&server);
                drop(stream);
                wait_until(
                    &format!("{what}: the client is out of the count"),
                    BOUND,
                    || server.stat("connected_clients") == 0,
                );
                let executed = Counts::of(&server).messages("hidden");
                assert_eq!(executed, 0, "{what}: the body was executed");
            }
        }
    });
}

#[test]
fn an_offer_to_upgrade_changes_nothing() {
    let offers = [
        // curl --http2, Java's HttpClient.
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Upgrade: TLS/1.2\r\nConnection: upgrade\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: h2c\r\n",
    ];
    let mut cases = Vec::new();
    for offer in offers {
        for framing in [Framing::Length, Framing::Chunks(2), Framing::Chunks(5)] {
            let head = format!(
                "POST /publish/{{channel}} HTTP/1.1\r\n{AUTH}{offer}{}\r\n",
                framing.field(b"hello")
            );
            let sent = [head.as_bytes(), &framing.frame(b"hello")].concat();
            let case = Case::new(
                format!("{framing:?} with {}", offer.replace("\r\n", " ")),
                sent,
                published("hello"),
            );
            cases.extend([case.cut("the body later", vec![head.len()]), case]);
        }
    }
    over_each_transport(&[], |transport, server| check(transport, &server, &cases));
}

#[test]
fn trailers_are_read_and_dropped() {
    over_each_transport(&[], |transport, server| {
        let mut stream = server.subscribe("a");
        let mut connection = server.connect();
        for trailers in [
            "X: y\r\n",
            "Content-Length: 3\r\nHost: other\r\n",
            "Authorization: Bearer wrong\r\nIdempotency-Key: a\r\n",
            "",
        ] {
            let request = format!("POST /publish/a HTTP/1.1\r\n{AUTH}TE: trailers\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n");
            connection.write_all(request.as_bytes()).expect("sent");
            let reply = read_reply(&mut connection, false).expect("an answer");
            assert_eq!(
                reply.status,
                200,
                "over {transport}, with {trailers:?}: {}",
                reply.text()
            );
            assert_eq!(stream.next().data, "hello", "over {transport}");
        }
    });
}

/// What comes on a connection in answer to a head alone, which asks whether it may send its body: the first head.
fn first_answer(connection: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn only_a_request_that_will_be_read_gets_100_continue() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let rules = RulesFile::new(
        r#"{"tokens": [{"name": "other", "token": "other-token", "publish": ["other"]}]}"#,
    );
    let right = "Authorization: Bearer test-token-of-16-bytes\r\n";
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let refusals = [
        ("POST /publish/a", String::from(length), 401),
        ("POST /publish/a", String::from(chunked), 401),
        (
            "POST /publish/a",
            format!("Authorization: Bearer wrong\r\n{length}"),
            401,
        ),
        (
            "POST /publish/a",
            format!("Authorization: Bearer other-token\r\n{length}"),
            403,
        ),
        (
            "POST /publish/a",
            format!("Authorization: Bearer other-token\r\n{chunked}"),
            403,
        ),
        ("POST /nope", format!("{right}{length}"), 404),
        ("POST /sse/a", format!("{right}{length}"), 405),
        ("DELETE /publish/a", format!("{right}{length}"), 405),
        ("POST /health", length.into(), 405),
        (
            "POST /publish/a",
            format!("{right}Content-Length: 70000\r\n"),
            413,
        ),
        (
            "POST /publish/a",
            format!("{right}Content-Length: 99999999999\r\n"),
            413,
        ),
        ("POST /publish/a%20b", format!("{right}{length}"), 400),
        ("POST /publish", format!("{right}{length}"), 400),
        (
            "POST /publish/a?event=sse-x",
            format!("{right}{length}"),
            400,
        ),
        ("POST /publish/a?msg=x", format!("{right}{length}"), 400),
        ("POST /publish/a", format!("{right}{length}{chunked}"), 400),
        (
            "POST /publish/a",
            format!("{right}Content-Length: x\r\n"),
            400,
        ),
    ];
    over_each_transport(&[("ACCESS_FILE", rules.path())], |transport, server| {
        for (line, fields, status) in &refusals {
            let what = format!("over {transport}, {line} with {fields:?}");
            let head =
                format!("{line} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{fields}\r\n");
            let mut connection = server.send(head.as_bytes());
            let first = first_answer(&mut connection);
            assert!(
                first.starts_with(&format!("HTTP/1.1 {status} ")),
                "{what}: {first:?} and not {status}"
            );
        }
        for (framing, expect) in [
            (Framing::Length, "100-continue"),
            (Framing::Chunks(3), "100-continue"),
            (Framing::Length, "100-Continue"),
        ] {
            for method in ["POST", "PUT"] {
                let what = format!("over {transport}, {method}, {framing:?}, Expect: {expect}");
                let head = format!(
                    "{method} /publish/a HTTP/1.1\r\n{AUTH}Expect: {expect}\r\n{}\r\n",
                    framing.field(b"hello")
                );
                // Twice on one connection.
                let mut connection = server.connect();
                for _ in 0..2 {
                    connection.write_all(head.as_bytes()).expect("sent");
                    assert_eq!(first_answer(&mut connection), CONTINUE, "{what}");
                    connection
                        .write_all(&framing.frame(b"hello"))
                        .expect("sent");
                    let second = read_reply(&mut connection, false);
                    assert_eq!(second.expect("an answer").status, 200, "{what}");
                }
                // Who does not wait is fine, and is not invited to send what has come.
                let whole = [head.as_bytes(), &framing.frame(b"hello")].concat();
                connection.write_all(&whole).expect("sent");
                let only = first_answer(&mut connection);
                assert!(
                    only.starts_with("HTTP/1.1 200 "),
                    "{what}, all at once: {only:?}"
                );
            }
        }
        // HTTP/1.0 knows no 100.
        let old = format!(
            "POST /publish/a HTTP/1.0\r\n{AUTH}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        );
        let mut connection = server.send(old.as_bytes());
        has_read(&server);
        connection.write_all(b"hello").expect("sent");
        let only = first_answer(&mut connection);
        assert!(
            only.starts_with("HTTP/1.1 200 "),
            "over {transport}, HTTP/1.0: {only:?}"
        );
    });
}

#[test]
fn an_empty_body_is_not_asked_for() {
    over_each_transport(&[], |transport, server| {
        // There is nothing to wait for, so nothing to invite.
        for fields in ["Content-Length: 0\r\n", ""] {
            let head = format!(
                "POST /publish/a?msg=x HTTP/1.1\r\n{AUTH}Expect: 100-continue\r\n{fields}\r\n"
            );
            let first = first_answer(&mut server.send(head.as_bytes()));
            assert!(
                first.starts_with("HTTP/1.1 200 "),
                "over {transport}, with {fields:?}: {first:?}"
            );
            let head = format!(
                "GET /health HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{fields}\r\n"
            );
            let first = first_answer(&mut server.send(head.as_bytes()));
            assert!(
                first.starts_with("HTTP/1.1 200 "),
                "over {transport}, GET with {fields:?}: {first:?}"
            );
        }
    });
}
