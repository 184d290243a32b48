//! A published message reaches everybody who follows its channel: once, at once, in one order.

use crate::common;

use common::{id, value, wait_until, Crowd, EventStream, Publisher, Server, BOUND};
use std::time::{Duration, Instant};

#[test]
fn a_publish_reaches_one_and_two_subscribers() {
    let server = Server::start(&[]);
    let mut first = server.subscribe("news");
    server.publish("news", "one");
    assert_eq!(first.next().data, "one");
    let mut second = server.subscribe("news");
    server.publish("news", "two");
    assert_eq!(first.next().data, "two");
    assert_eq!(
        second.next().data,
        "two",
        "who came later gets what was published later, and nothing older"
    );
}

#[test]
fn a_publish_reaches_500_subscribers() {
    let server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "news", 500);
    server.publish("news", "to all");
    crowd.wait_for_all("each of 500 clients has the message", |client| {
        !client.events.is_empty()
    });
    crowd.each(|number, client| assert_eq!(client.data(), ["to all"], "client {number}"));
    assert_eq!(server.stat("connected_clients"), 500);
    // Counted after they were written.
    wait_until("500 deliveries are counted", BOUND, || {
        server.stat("messages_delivered") == 500
    });
}

#[test]
fn eight_publishers_at_once_give_one_order() {
    const EACH: usize = 500;
    let server = Server::start(&[("HISTORY_EVENTS", "10000")]);
    let crowd = Crowd::subscribe(&server, "news", 20);
    std::thread::scope(|scope| {
        for publisher in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut connection = Publisher::new(server);
                for number in 0..EACH {
                    connection.publish("news", format!("{publisher} {number}"));
                }
            });
        }
    });
    crowd.wait_for_all("every client has every message", |client| {
        client.events.len() >= 8 * EACH
    });
    let mut order: Option<Vec<String>> = None;
    crowd.each(|number, client| {
        let data: Vec<String> = client.data().iter().map(|s| s.to_string()).collect();
        assert_eq!(
            data.len(),
            8 * EACH,
            "client {number} has each message once"
        );
        let order = order.get_or_insert_with(|| data.clone());
        assert!(
            *order == data,
            "client {number} sees another order than client 0"
        );
        let ids: Vec<_> = client.events.iter().map(|e| id(&e.last_event_id)).collect();
        assert!(
            ids.windows(2).all(|w| w[0] < w[1]),
            "ids grow for client {number}"
        );
    });
    let order = order.expect("there are clients");
    for publisher in 0..8 {
        let own: Vec<_> = order
            .iter()
            .filter(|d| d.starts_with(&format!("{publisher} ")))
            .collect();
        let sent: Vec<String> = (0..EACH).map(|n| format!("{publisher} {n}")).collect();
        assert!(
            own.iter().eq(&sent.iter().collect::<Vec<_>>()),
            "publisher {publisher}'s messages are in its order"
        );
    }
}

#[test]
fn ids_grow_for_a_client_of_20_channels_with_broadcasts_between() {
    const ROUNDS: usize = 100;
    let server = Server::start(&[("HISTORY_EVENTS", "10000")]);
    let channels: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let mut stream = server.subscribe_with(&format!("/sse/{}", channels.join(",")), &[]);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (server, channels) = (&server, &channels);
            scope.spawn(move || {
                let mut publisher = Publisher::new(server);
                for _ in 0..ROUNDS {
                    for channel in channels.iter().skip(part).step_by(4) {
                        publisher.publish(channel, "x");
                    }
                    publisher.publish("broadcast", "b");
                }
            });
        }
    });
    let count = ROUNDS * 20 + ROUNDS * 4;
    let ids: Vec<_> = (0..count)
        .map(|_| id(&stream.next().last_event_id))
        .collect();
    assert!(
        ids.windows(2).all(|w| w[0] < w[1]),
        "an id that is not larger than the one before"
    );
    assert_eq!(
        stream.try_next(Duration::from_millis(200)),
        None,
        "nothing comes twice"
    );
}

#[test]
fn a_broadcast_reaches_each_client_once() {
    let server = Server::start(&[]);
    let mut many = server.subscribe_with("/sse?canal=a&canal=b,c,a,,broadcast", &[]);
    let mut one = server.subscribe("d");
    let mut only = server.subscribe("broadcast");
    let reply = server.request(
        "POST",
        "/publish/broadcast",
        &[("Authorization", "Bearer test-token-of-16-bytes")],
        b"all",
    );
    assert_eq!(reply.json()["clients"], 3);
    server.publish("a", "to a");
    server.publish("broadcast", "end");
    assert_eq!(many.data_until("end"), ["all", "to a", "end"]);
    assert_eq!(one.data_until("end"), ["all", "end"]);
    assert_eq!(only.data_until("end"), ["all", "end"]);
    assert_eq!(
        server.stat("active_channels"),
        4,
        "broadcast is no channel of its own"
    );
}

#[test]
fn channels_can_be_named_in_the_path_and_in_the_query() {
    let server = Server::start(&[]);
    for target in [
        "/sse/a%2Cb",
        "/sse/a,b",
        "/sse?canal=a&canal=b",
        "/sse?canal=a,b",
        "/sse?canal=a%2Cb",
        "/sse?canal=b,,a,a",
    ] {
        let mut stream = server.subscribe_with(target, &[]);
        server.publish("a", "1");
        server.publish_to("/publish?canal=b", "2");
        assert_eq!(stream.data_until("2"), ["1", "2"], "channels of {target}");
    }
}

#[test]
fn json_names_the_channel() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe_with("/sse/a,b?format=json", &[]);
    let id = server.publish("b", "olá\r\n\"x\"");
    server.publish("broadcast", "all");
    let event = stream.next();
    let message: serde_json::Value = serde_json::from_str(&event.data).expect("the data is JSON");
    assert_eq!(message["canal"], "b");
    assert_eq!(message["mensagem"], "olá\n\"x\"", "line ends are LF");
    assert_eq!(
        message["timestamp"].to_string(),
        id.split('-').next().unwrap()
    );
    assert_eq!(event.id, Some(id));
    let message: serde_json::Value =
        serde_json::from_str(&stream.next().data).expect("the data is JSON");
    assert_eq!(message["canal"], "broadcast");
}

#[test]
fn the_publisher_can_name_the_event() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    server.publish_to("/publish/a?event=al%20ert", "x");
    server.publish_to("/publish?canal=a&msg=m+s%2Bg&event=", "");
    let event = stream.next();
    assert_eq!((event.kind.as_str(), event.data.as_str()), ("al ert", "x"));
    let event = stream.next();
    assert_eq!(
        (event.kind.as_str(), event.data.as_str()),
        ("message", "m s+g")
    );
}

#[test]
fn a_publish_is_answered_with_its_id_and_its_clients() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let reply = server.request(
        "POST",
        "/publish/a",
        &[("Authorization", "bearer test-token-of-16-bytes")],
        b"x",
    );
    let answer = reply.json();
    assert_eq!(answer["canal"], "a");
    assert_eq!(answer["clients"], 1);
    assert_eq!(stream.next().id.as_deref(), answer["id"].as_str());
}

#[test]
fn the_head_of_a_stream_is_what_proxies_and_browsers_need() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    for (name, wanted) in [
        ("Content-Type", Some("text/event-stream")),
        ("Cache-Control", Some("no-cache, no-transform")),
        ("X-Accel-Buffering", Some("no")),
        ("Access-Control-Allow-Origin", Some("*")),
        ("Connection", Some("close")),
        ("Transfer-Encoding", Some("chunked")),
        ("Content-Length", None),
    ] {
        assert_eq!(stream.header(name), wanted, "{name}");
    }
    stream.wait_for_raw("a comment and the retry time come at once", |raw| {
        raw.contains("retry: ")
    });
    assert!(stream.raw().starts_with(":"), "the first line is a comment");
    stream.wait_for_raw("the line is complete", |raw| raw.ends_with('\n'));
    let retry = stream.parser.retry.expect("there is a retry time");
    assert!((2000..=5000).contains(&retry), "retry is {retry}");
    server.publish("a", "x");
    stream.next();
    assert_eq!(
        stream.parser.empty_dispatches, 0,
        "a blank line comes only after an event"
    );
}

#[test]
fn clients_come_back_at_different_times() {
    let server = Server::start(&[]);
    let retries: std::collections::HashSet<_> = (0..10)
        .map(|_| {
            let mut stream = server.subscribe("a");
            stream.wait_for_raw("the retry time", |raw| raw.matches('\n').count() >= 2);
            stream.parser.retry
        })
        .collect();
    assert!(
        retries.len() > 5,
        "10 clients have the retry times {retries:?}"
    );
}

#[test]
fn each_write_is_one_chunk() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    stream.wait_for_raw("the first lines", |raw| raw.contains("retry"));
    let before = stream.chunks();
    server.publish("a", "x");
    stream.next();
    assert_eq!(stream.chunks() - before, 1, "chunks for one message");
}

#[test]
fn http_1_0_gets_plain_bytes_until_close() {
    let server = Server::start(&[]);
    let mut stream = EventStream::send(server.addr, b"GET /sse/a HTTP/1.0\r\n\r\n");
    assert_eq!(stream.header("Transfer-Encoding"), None);
    assert_eq!(stream.header("Connection"), Some("close"));
    server.publish("a", "x");
    assert_eq!(stream.next().data, "x");
    assert!(
        stream.raw().starts_with(":\n"),
        "no chunk framing: {:?}",
        stream.raw()
    );
}

#[test]
fn a_silent_stream_gets_heartbeats() {
    let server = Server::start(&[("HEARTBEAT", "1")]);
    let mut comments = server.subscribe("a");
    let mut events = server.subscribe_with("/sse/a?heartbeat=event", &[]);
    let event = events.next();
    assert_eq!(
        (event.kind.as_str(), event.data.as_str(), event.id),
        ("sse-heartbeat", "{}", None)
    );
    comments.wait_for_raw("a second comment", |raw| raw.matches("\n:\n").count() >= 1);
    assert_eq!(
        comments.parser.empty_dispatches, 0,
        "no blank line after a comment"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn heartbeats_wake_no_streams_thread() {
    let server = Server::start(&[("HEARTBEAT", "1")]);
    let mut streams = [(); 3].map(|()| server.subscribe("a"));
    let mut wait_for = |count: usize| {
        for stream in &mut streams {
            stream.wait_for_raw("heartbeats", |raw| raw.matches("\n:\n").count() >= count);
        }
    };
    let times_woken = || -> Vec<u64> {
        let threads = server.named_threads().into_iter();
        let streams = threads.filter(|(_, name)| name == "stream");
        let switches = |(thread, _)| {
            let path = format!("/proc/{}/task/{thread}/status", server.pid());
            common::number_in(&path, "voluntary_ctxt_switches:").expect("it runs")
        };
        streams.map(switches).collect()
    };
    wait_for(1);
    let before = times_woken();
    assert_eq!(before.len(), 3);
    wait_for(3);
    assert_eq!(times_woken(), before);
}

/// Linux gives a process 65,530 mappings by default, which so are enough for 30,000 streams.
#[cfg(target_os = "linux")]
#[test]
fn a_streams_thread_takes_no_more_than_its_stack_and_the_guard_below_it() {
    let server = Server::start(&[]);
    let mappings = || {
        let path = format!("/proc/{}/maps", server.pid());
        let maps = std::fs::read_to_string(path).expect("the server runs");
        maps.lines().count()
    };
    let before = mappings();
    let streams: Vec<_> = (0..100).map(|_| server.subscribe("a")).collect();
    let more = mappings() - before;
    // The allocator adds a few.
    assert!(more <= 2 * streams.len() + 40, "{more} for 100 streams");
}

#[test]
fn the_log_tells_who_came_what_was_published_and_who_left() {
    let server = Server::start(&[]);
    let stream = server.subscribe("news");
    let peer = stream.local_addr();
    let line = server.wait_for_log(&format!("event=connect peer={peer} channels=news"));
    let client = value(&line, "client").to_string();
    let id = server.publish("news", "12345");
    server.wait_for_log(&format!(
        "event=publish id={id} channel=news bytes=5 clients=1"
    ));
    drop(stream);
    server.wait_for_log(&format!(
        "event=disconnect client={client} peer={peer} reason=gone messages=1"
    ));
    server.request(
        "POST",
        "/publish/a",
        &[("Authorization", "Bearer wrong-secret")],
        b"x",
    );
    server.get("/sse/a?access_token=wrong-secret");
    server.publish("broadcast", "end");
    server.wait_for_log("channel=broadcast");
    assert!(
        !server.log().contains("test-token-of-16-bytes"),
        "the token is in the log"
    );
    assert!(
        !server.log().contains("wrong-secret"),
        "a wrong token is in the log"
    );
}

/// All at once they would hold up everybody else.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_of_a_crowd_that_has_left_end_one_after_the_other() {
    const CROWD: usize = 300;
    let server = Server::start(&[]);
    let streams = || {
        let threads = server.named_threads();
        threads.iter().filter(|(_, name)| name == "stream").count()
    };
    let crowd: Vec<_> = (0..CROWD).map(|_| server.subscribe("a")).collect();
    assert_eq!(streams(), CROWD);
    drop(crowd);
    // The last time at which all were there: a slow look then only makes the span longer.
    let mut first = Instant::now();
    wait_until("a first thread ends", 4 * BOUND, || {
        let look = Instant::now();
        let has_ended = streams() < CROWD;
        if !has_ended {
            first = look;
        }
        has_ended
    });
    wait_until("the last one ends", 4 * BOUND, || streams() == 0);
    let between = first.elapsed();
    assert!(
        between >= Duration::from_secs(1),
        "all {CROWD} threads have ended within {between:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_comes_back_gets_a_thread_that_is_there_already() {
    let server = Server::start(&[]);
    let streams = || {
        let mut threads = server.named_threads();
        threads.retain(|(_, name)| name == "stream");
        threads
    };
    let crowd: Vec<_> = (0..5).map(|_| server.subscribe("a")).collect();
    let threads = streams();
    assert_eq!(threads.len(), 5);
    drop(crowd);
    wait_until("the streams have ended", BOUND, || {
        server.count_in_log("event=disconnect") == 5
    });
    let mut back: Vec<_> = (0..5).map(|_| server.subscribe("a")).collect();
    server.publish("a", "to all");
    for stream in &mut back {
        assert_eq!(stream.next().data, "to all");
    }
    let now = streams();
    // One that has just let go of its client may come too late to wait.
    let has_waited = now.iter().any(|thread| threads.contains(thread));
    assert!(has_waited, "there are {now:?}, and there were {threads:?}");
    drop(back);
    wait_until("threads without work end", 4 * BOUND, || {
        streams().is_empty()
    });
}
