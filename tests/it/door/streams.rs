//! Streams beside others that come, leave, misbehave, or have more requests behind the first.

use super::crowds::{a_newcomer_misses_nothing, crowd, leave, Kind, KINDS};
use super::table::{read_at_once, Counts, AT_ONCE};
use crate::common::http::{read_until_closed, replies, Left};
use crate::common::witness::answers;
use crate::common::{over_each_transport, wait_until, EventStream, Server, Transport, BOUND};
use std::io::Write;
use std::time::{Duration, Instant};

const GET: &str = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
const LAST: &str = "GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[test]
fn a_subscriber_misses_nothing_when_the_crowd_before_it_leaves() {
    over_each_transport(&[], |transport, server| {
        for count in [60, 300] {
            a_newcomer_misses_nothing(transport, &server, count);
        }
    });
}

/// Sends heads without end, over connections that came when the crowd was there.
fn endless_heads(transport: Transport, server: &Server, when: &str) {
    // A little more than may be, and the answer.
    let begin = b"GET /health HTTP/1.1\r\nHost: test\r\nX: ";
    for piece in [b"a".as_slice(), b"y\r\nX: ", b"y\r\nLonger-Name: y"] {
        let what = format!(
            "over {transport}, {when}, a head of \"{}\"",
            piece.escape_ascii()
        );
        let rest = piece.repeat((17 << 10) / piece.len());
        let (bytes, left) = read_at_once(|| {
            let mut connection = server.send(begin);
            let _ = connection.write_all(&rest);
            connection
        });
        let all = replies(&bytes, 0).unwrap_or_default();
        let statuses: Vec<u16> = all.iter().map(|reply| reply.status).collect();
        assert_eq!((statuses, left), (vec![431], Left::Closed), "{what}");
    }
    let before = server.memory();
    let floods = (0..4).map(|_| server.send(begin));
    let mut floods: Vec<_> = floods.collect();
    let piece = vec![b'a'; 64 << 10];
    let (begun, mut written) = (Instant::now(), 0usize);
    // 40 MB, unless the server closes.
    while written < 40 << 20 && !floods.is_empty() && begun.elapsed() < BOUND {
        floods.retain_mut(|connection| connection.write_all(&piece).is_ok());
        written += piece.len() * floods.len();
    }
    let more = server.peak_memory().saturating_sub(before);
    assert!(
        more < 16 << 20,
        "over {transport}, {when}: {} MiB more by heads without end",
        more >> 20
    );
}

#[test]
fn an_endless_head_is_refused_among_many_open_connections() {
    over_each_transport(&[], |transport, server| {
        endless_heads(transport, &server, "alone");
        let around = crowd(&server, &KINDS, 400);
        endless_heads(transport, &server, "beside a crowd of 400");
        leave(around);
        endless_heads(transport, &server, "behind a crowd that has left");
        // One of three: another may be slow on a busy machine.
        let is_fast = (0..3).any(|_| answers(&server) < AT_ONCE);
        assert!(is_fast, "over {transport}");
    });
}

#[test]
fn sixteen_requests_at_once_are_answered_in_their_order() {
    let publish = |number: usize, fields: &str, body: &str| {
        format!("POST /publish/c{number} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer test-token-of-16-bytes\r\n{fields}\r\n{body}")
    };
    // Each is told from the others by its answer.
    let request = |number: usize| match number % 6 {
        0 => publish(number, "Content-Length: 5\r\n", "hello"),
        1 => format!("GET /nope/{number} HTTP/1.1\r\nHost: test\r\n\r\n"),
        2 => publish(
            number,
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        3 => GET.into(),
        4 => format!("OPTIONS /health HTTP/1.1\r\nHost: test\r\nX: {number}\r\n\r\n"),
        _ => "GET /stats HTTP/1.1\r\nHost: test\r\n\r\n".into(),
    };
    over_each_transport(&[], |transport, server| {
        let gets = GET.repeat(15) + LAST;
        let mixed: String = (0..16).map(request).collect::<String>() + LAST;
        let many = GET.repeat(2000) + LAST;
        for (what, sent, count) in [
            ("16 GETs", gets, 16),
            ("16 of all kinds", mixed, 17),
            ("2,001 GETs", many, 2001),
        ] {
            let what = format!("over {transport}, {what}");
            let mut connection = server.send(sent.as_bytes());
            let (bytes, left) = read_until_closed(&mut connection, BOUND);
            let all = replies(&bytes, 0).unwrap_or_else(|problem| panic!("{what}: {problem}"));
            assert_eq!(
                (all.len(), left),
                (count, Left::Closed),
                "{what}: answers, and the end"
            );
            for (number, reply) in all.iter().enumerate().filter(|_| count == 17) {
                let what = format!("{what}: number {number}");
                match number % 6 {
                    _ if number == 16 => assert_eq!(reply.status, 200, "{what}"),
                    0 | 2 => assert_eq!(reply.json()["canal"], format!("c{number}"), "{what}"),
                    1 => assert_eq!(reply.status, 404, "{what}"),
                    3 => assert_eq!(reply.json()["status"], "ok", "{what}"),
                    4 => assert_eq!(reply.status, 204, "{what}"),
                    _ => assert!(reply.json()["connected_clients"].is_u64(), "{what}"),
                }
            }
        }
    });
}

#[test]
fn nothing_behind_the_last_request_is_executed() {
    let hidden =
        "POST /publish/hidden?msg=x&access_token=test-token-of-16-bytes HTTP/1.1\r\nHost: test\r\n\r\n";
    over_each_transport(&[], |transport, server| {
        for last in [
            LAST,
            "GET /health HTTP/1.0\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: test\r\nConnection: x, Close\r\n\r\n",
        ] {
            let sent = format!("{GET}{last}{hidden}");
            let (bytes, left) = read_at_once(|| server.send(sent.as_bytes()));
            let answers = replies(&bytes, 0).map(|all| all.len());
            assert_eq!(
                (answers, left),
                (Ok(2), Left::Closed),
                "over {transport}, {last:?}"
            );
        }
        assert_eq!(
            Counts::of(&server).messages("hidden"),
            0,
            "over {transport}"
        );
    });
}

#[test]
fn requests_behind_a_stream_are_not_served_and_stop_nobody() {
    const STREAMS: usize = 300;
    over_each_transport(&[], |transport, server| {
        let behind =
            "POST /publish/hidden?msg=x&access_token=test-token-of-16-bytes HTTP/1.1\r\nHost: test\r\n\r\n";
        let begin = "GET /sse/a HTTP/1.1\r\nHost: test\r\n\r\n";
        let request = format!("{begin}{}{behind}", GET.repeat(4));
        let mut waits = Vec::new();
        let open = |number: usize| {
            let stream = EventStream::send(&server.address, request.as_bytes());
            assert_eq!(stream.status, 200, "over {transport}, stream {number}");
            waits.push(answers(&server));
            stream
        };
        let mut streams: Vec<_> = (0..STREAMS).map(open).collect();
        // And some more later.
        for stream in &streams {
            let _ = stream.socket().write_all(GET.as_bytes());
        }
        let mut late_waits: Vec<_> = (0..20).map(|_| answers(&server)).collect();
        // A busy machine delays some, but not half of them.
        for (when, waits) in [("as they came", &mut waits), ("later", &mut late_waits)] {
            waits.sort_unstable();
            let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
            assert!(
                median < AT_ONCE && longest < BOUND,
                "over {transport}, beside {STREAMS} streams, {when}: {median:?}, at most {longest:?}"
            );
        }
        server.publish("a", "hello");
        for (number, stream) in streams.iter_mut().enumerate() {
            let came = stream.try_next(BOUND).map(|event| event.data);
            assert_eq!(
                came.as_deref(),
                Some("hello"),
                "over {transport}, stream {number}"
            );
        }
        drop(streams);
        wait_until(
            &format!("over {transport}, all are out of the count"),
            BOUND,
            || server.stat("connected_clients") == 0,
        );
        assert_eq!(
            Counts::of(&server).messages("hidden"),
            0,
            "over {transport}, requests behind streams"
        );
    });
}

#[test]
fn bytes_sent_after_a_stream_request_take_no_memory_and_disturb_nobody() {
    over_each_transport(&[], |transport, server| {
        let mut beside = server.subscribe("a");
        let before = server.memory();
        let streams = crowd(&server, &[Kind::Stream], 20);
        let piece = vec![b'a'; 64 << 10];
        for connection in &streams {
            let timeout = connection.set_write_timeout(Some(Duration::from_millis(20)));
            timeout.expect("a timeout can be set");
        }
        for _ in 0..50 {
            for mut connection in &streams {
                let _ = connection.write(&piece);
            }
            server.publish("a", "hello");
            let came = beside.try_next(BOUND).map(|event| event.data);
            assert_eq!(came.as_deref(), Some("hello"), "over {transport}");
        }
        let more = server.peak_memory().saturating_sub(before);
        assert!(more < 16 << 20, "over {transport}, {} MiB more", more >> 20);
    });
}

#[test]
fn a_client_that_leaves_is_no_longer_counted_after_two_seconds() {
    over_each_transport(&[], |transport, server| {
        let stay = server.subscribe("a");
        let gone = crowd(&server, &[Kind::Stream], 50);
        assert_eq!(server.stat("connected_clients"), 51, "over {transport}");
        leave(gone);
        wait_until(
            &format!("over {transport}, 50 are out of the count"),
            AT_ONCE * 2,
            || server.stat("connected_clients") == 1,
        );
        drop(stay);
    });
}
