//! Several servers with a Redis between them are one server: one order, one history, the same answers everywhere.

use crate::common;

use common::event_stream::Event;
use common::redis::{server, server_with, wait_for_ready, Proxy, Redis};
use common::{id, redis, wait_until, Crowd, EventStream, Publisher, Server, BOUND, TOKEN};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// More history than any test needs.
const LONG_HISTORY: [(&str, &str); 2] = [
    ("HISTORY_EVENTS", "1000000"),
    ("HISTORY_BYTES", "1000000000"),
];

pub(crate) fn three(url: &str) -> Vec<Server> {
    (0..3).map(|_| server_with(url, &LONG_HISTORY)).collect()
}

#[test]
fn needs_redis_server_300_clients_of_3_servers_see_8_publishers_in_one_order() {
    const EACH: usize = 200;
    let redis = Redis::start();
    let servers = three(&redis.url());
    let crowds: Vec<Crowd> = servers
        .iter()
        .map(|server| Crowd::subscribe(server, "a,b", 100))
        .collect();
    let mut ids: Vec<String> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..8)
            .map(|number| {
                let server = &servers[number % 3];
                scope.spawn(move || {
                    let mut publisher = Publisher::new(server);
                    let channel = ["a", "b", "broadcast"][number % 3];
                    let publish = |n| publisher.publish(channel, format!("{number} {n}"));
                    (0..EACH).map(publish).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = publishers
            .into_iter()
            .map(|p| p.join().expect("it publishes"));
        joined.flatten().collect()
    });
    ids.sort_unstable_by_key(|text| id(text));
    for (server, crowd) in crowds.iter().enumerate() {
        crowd.wait_for_all("every message", |client| client.events.len() >= 8 * EACH);
        crowd.each(|number, client| {
            let received: Vec<_> = client.events.iter().map(|e| e.last_event_id.as_str()).collect();
            assert!(
                received == ids,
                "client {number} of server {server} has other ids, or another order, than were answered"
            );
        });
    }
}

/// Receives through connections to one server after another, each with the last id of the one before.
fn hop(servers: &[Server], first: usize, hops: usize, is_over: &AtomicBool) -> Vec<Event> {
    let mut received: Vec<Event> = Vec::new();
    let mut last = "0".to_string();
    for number in 0..hops {
        let server = &servers[(first + number) % servers.len()];
        let mut stream = server.subscribe_with("/sse/a,b", &[("Last-Event-ID", &last)]);
        let wanted = received.len() + 1 + number % 5;
        while received.len() < wanted {
            received.push(stream.next());
        }
        received.extend(stream.drain());
        last = received
            .last()
            .expect("just received")
            .last_event_id
            .clone();
    }
    is_over.store(true, Ordering::SeqCst);
    let target = "/sse/a,b,end";
    let server = &servers[first % servers.len()];
    let mut stream = server.subscribe_with(target, &[("Last-Event-ID", &last)]);
    loop {
        let event = stream.next();
        if event.data == "end" {
            return received;
        }
        received.push(event);
    }
}

#[test]
fn needs_redis_server_clients_that_hop_100_times_get_every_message_once() {
    let redis = Redis::start();
    let servers = three(&redis.url());
    let clients_done = [const { AtomicBool::new(false) }; 4];
    let (published, received) = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..3)
            .map(|number| {
                let (server, done) = (&servers[number], &clients_done);
                scope.spawn(move || {
                    let mut publisher = Publisher::new(server);
                    let channel = ["a", "b", "broadcast"][number];
                    let mut ids = Vec::new();
                    while !done.iter().all(|done| done.load(Ordering::SeqCst)) {
                        ids.push(publisher.publish(channel, "x"));
                    }
                    ids
                })
            })
            .collect();
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (servers, done) = (&servers, &clients_done[number]);
                scope.spawn(move || hop(servers, number, 100, done))
            })
            .collect();
        let published = publishers
            .into_iter()
            .map(|p| p.join().expect("it publishes"));
        let mut published: Vec<String> = published.flatten().collect();
        published.sort_unstable_by_key(|text| id(text));
        servers[0].publish("end", "end");
        let received = clients.into_iter().map(|c| c.join().expect("it receives"));
        (published, received.collect::<Vec<_>>())
    });
    for (number, events) in received.iter().enumerate() {
        let gaps = events
            .iter()
            .filter(|event| event.kind != "message")
            .count();
        assert_eq!(gaps, 0, "gaps that client {number} was told of");
        let ids: Vec<&str> = events.iter().map(|e| e.last_event_id.as_str()).collect();
        assert!(
            ids == published,
            "client {number} has {} messages, {} were published, or the order differs",
            ids.len(),
            published.len()
        );
    }
}

#[test]
fn needs_redis_server_an_answered_message_is_in_the_replay_of_the_same_server() {
    let redis = Redis::start();
    let servers = three(&redis.url());
    let before = servers[0].publish("a", "begin");
    for number in 0..20 {
        let server = &servers[number % 3];
        server.publish("a", number.to_string());
        let target = format!("/sse/a?last_event_id={before}");
        let mut stream = server.subscribe_with(&target, &[]);
        for expected in 0..=number {
            assert_eq!(stream.next().data, expected.to_string());
        }
    }
}

#[test]
fn needs_redis_server_everything_in_a_message_goes_through() {
    let redis = Redis::start();
    let (here, there) = (server(&redis.url()), server(&redis.url()));
    let mut stream =
        there.subscribe_with("/sse/olá?format=json".replace('á', "%C3%A1").as_str(), &[]);
    let texts = [
        "\0",
        "a\r\nb\rc\n",
        "\u{1F600}\u{FEFF}",
        "*3\r\n$3\r\n",
        &"x".repeat(65_536),
    ];
    for text in texts {
        here.publish("olá", text);
        let event = stream.next();
        let value: serde_json::Value = serde_json::from_str(&event.data).expect("it is JSON");
        let with_lf = text.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(value["mensagem"], with_lf);
        assert_eq!(value["canal"], "olá");
    }
    here.publish_to("/publish/broadcast?event=alert", "x");
    let event = stream.next();
    assert_eq!(event.kind, "alert");
    assert!(
        event.data.contains("\"canal\":\"broadcast\""),
        "{}",
        event.data
    );
}

#[test]
fn needs_redis_server_a_batch_is_one_piece_among_other_publishers() {
    let redis = Redis::start();
    let servers = three(&redis.url());
    let mut stream = servers[2].subscribe("a");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = Publisher::new(&servers[1]);
            while !is_over.load(Ordering::SeqCst) {
                publisher.publish("a", "single");
            }
        });
        let mut publisher = Publisher::new(&servers[0]);
        let lines: String = (0..50).map(|n| format!("\"{n}\"\n")).collect();
        for _ in 0..20 {
            publisher.publish_batch("a", &lines);
        }
        let mut batches = 0;
        while batches < 20 {
            if stream.next().data == "0" {
                for n in 1..50 {
                    assert_eq!(stream.next().data, n.to_string(), "in a batch");
                }
                batches += 1;
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn needs_redis_server_replay_survives_a_restart_of_all_servers() {
    let redis = Redis::start();
    let ids: Vec<String> = {
        let server = server(&redis.url());
        (0..5).map(|n| server.publish("a", n.to_string())).collect()
    };
    let server = server(&redis.url());
    let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", &ids[1])]);
    for expected in ["2", "3", "4"] {
        let event = stream.next();
        assert_eq!(
            (event.kind.as_str(), event.data.as_str()),
            ("message", expected)
        );
    }
    let new = server.publish("a", "5");
    assert!(id(&new) > id(&ids[4]));
    assert_eq!(stream.next().data, "5", "and then live");
}

/// Adds a message that was published so many hours ago.
fn add_old(redis: &Redis, hours: u128, channel: &str, text: &str) {
    const HOUR_MS: u128 = 3_600_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = now.map_or(0, |now| now.as_millis()) - hours * HOUR_MS;
    let id = format!("{ms}-*");
    redis.command(&["XADD", "sse-server:events", &id, "c", channel, "m", text]);
}

#[test]
fn needs_redis_server_channels_that_are_gone_take_no_place_from_those_that_are_there() {
    let redis = Redis::start();
    for channel in ["gone-1", "gone-2"] {
        add_old(&redis, 3, channel, "x");
    }
    add_old(&redis, 2, "there", "x");
    let variables = [("MAX_CHANNELS", "2"), ("CHANNEL_TTL", "600")];
    let server = server_with(&redis.url(), &variables);
    wait_for_ready(&server);
    let retained = |channel: &str| server.get(&format!("/messages/{channel}?since=0")).text();
    assert_eq!(retained("there").lines().count(), 1, "it is retained");
    assert_eq!(retained("gone-1"), "");
    server.publish("new", "there is a place for it");
    // It was unused for two hours, and its clients may have been there a moment ago.
    assert_eq!(server.stat("active_channels"), 2);
}

#[test]
fn needs_redis_server_a_message_is_as_old_as_it_is_also_for_a_server_that_starts() {
    let redis = Redis::start();
    add_old(&redis, 4, "a", "old");
    add_old(&redis, 2, "a", "young");
    let server = server_with(&redis.url(), &[("HISTORY_AGE", "10800")]);
    wait_until("only the younger one is retained", BOUND, || {
        server
            .get("/messages?canal=a&since=1d")
            .text()
            .lines()
            .count()
            == 1
    });
    let kept = server.get("/messages?canal=a&since=1d").text();
    assert!(kept.contains("young"), "{kept}");
    // Its clients were there a moment ago, so the channel is not that old.
    assert_eq!(server.stat("active_channels"), 1);
}

#[test]
fn needs_redis_server_the_stream_is_trimmed_by_number_and_by_age() {
    let redis = Redis::start();
    let length = || redis.command(&["XLEN", "sse-server:events"]);
    redis.command(&["XADD", "sse-server:events", "1000-0", "c", "a", "m", "old"]);
    let server = server_with(&redis.url(), &[("HISTORY_BYTES", "100000")]);
    server.publish("a", "new");
    wait_until("what is old is taken out", BOUND, || {
        length().starts_with(":1\r")
    });
    // 100,000 bytes, four times, are some 2,500 messages.
    let mut publisher = Publisher::new(&server);
    let lines = "\"x\"\n".repeat(1000);
    for _ in 0..10 {
        publisher.publish_batch("a", &lines);
    }
    publisher.publish("a", "last");
    let kept: usize = length()[1..]
        .split('\r')
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a number");
    assert!(
        (2400..3700).contains(&kept),
        "{kept} of 10,002 messages are kept"
    );
}

#[test]
fn needs_redis_server_a_batch_larger_than_what_is_kept_arrives_everywhere() {
    const LINES: usize = 10_000;
    let redis = Redis::start();
    let variables = [("HISTORY_BYTES", "0"), ("CLIENT_QUEUE", "100000")];
    let (here, there) = (
        server_with(&redis.url(), &variables),
        server_with(&redis.url(), &variables),
    );
    let mut stream = there.subscribe("a");
    let mut publisher = Publisher::new(&here);
    let lines: String = (0..LINES).map(|n| format!("{n}\n")).collect();
    for _ in 0..3 {
        publisher.publish_batch("a", &lines);
        for n in 0..LINES {
            assert_eq!(stream.next().data, n.to_string());
        }
    }
}

/// What comes first to a client of `a` with this id: `gap` or the data.
fn first(server: &Server, channels: &str, after: &str) -> String {
    let mut stream =
        server.subscribe_with(&format!("/sse/{channels}"), &[("Last-Event-ID", after)]);
    server.publish("broadcast", "end");
    let event = stream.next();
    if event.kind == "sse-gap" {
        "gap".into()
    } else {
        event.data
    }
}

#[test]
fn needs_redis_server_a_gap_is_told_where_there_may_be_one_and_nowhere_else() {
    let redis = Redis::start();
    let ids: Vec<String> = {
        let server = server(&redis.url());
        (0..5).map(|n| server.publish("a", n.to_string())).collect()
    };
    {
        let server = server(&redis.url());
        assert_eq!(first(&server, "a", &ids[0]), "1", "the stream has all");
        assert_eq!(first(&server, "never-used", &ids[0]), "end");
        assert_eq!(first(&server, "a", "12-0"), "gap", "of a time before");
        assert_eq!(
            first(&server, "a", "99999999999999-0"),
            "gap",
            "never given"
        );
        assert_eq!(first(&server, "a", "nonsense"), "gap");
    }
    redis.command(&["XDEL", "sse-server:events", &ids[2]]);
    let server = server(&redis.url());
    assert_eq!(first(&server, "a", &ids[1]), "gap", "2 was taken out");
    assert_eq!(first(&server, "a", &ids[2]), "3", "after it all is there");
    drop(server);
    redis.command(&["FLUSHALL"]);
    let server = common::redis::server(&redis.url());
    assert_eq!(first(&server, "a", &ids[4]), "gap", "Redis has lost all");
}

#[test]
fn needs_redis_server_a_channel_that_expired_here_makes_no_false_gap() {
    let redis = Redis::start();
    let short = server_with(&redis.url(), &[("CHANNEL_TTL", "1")]);
    let long = server(&redis.url());
    let mut stream = long.subscribe("a");
    let of_a = short.publish("a", "x");
    assert_eq!(stream.next().data, "x");
    let of_b = short.publish("b", "y");
    short.wait_for_log("event=expire channel=a");
    short.wait_for_log("event=expire channel=b");
    assert_eq!(first(&short, "a", &of_a), "end", "it has the last of a");
    assert_eq!(first(&short, "b", &of_a), "gap", "it misses one of b");
    assert_eq!(first(&short, "b", &of_b), "end", "it has the last of b");
}

#[test]
fn needs_redis_server_what_is_trimmed_before_a_server_has_read_it_is_told_to_its_clients() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let (near, far) = (server(&redis.url()), server(&proxy.url()));
    let mut of_a = far.subscribe("a");
    let mut of_b = far.subscribe("b");
    near.publish("a", "before");
    assert_eq!(of_a.next().data, "before");
    proxy.cut();
    redis::wait_for_away(&far);
    for n in 0..10 {
        near.publish("a", n.to_string());
    }
    redis.command(&["XTRIM", "sse-server:events", "MAXLEN", "2"]);
    proxy.mend();
    redis::wait_for_ready(&far);
    let kinds = |stream: &mut EventStream, count| -> Vec<(String, String)> {
        let events = (0..count).map(|_| stream.next());
        events
            .map(|event| (event.kind.clone(), event.data.clone()))
            .collect()
    };
    let told = kinds(&mut of_a, 4);
    assert!(
        told[0].0 == "sse-gap" && told[0].1.contains("\"a\""),
        "{told:?}"
    );
    assert!(
        told[1].0 == "sse-gap" && told[1].1.contains("broadcast"),
        "{told:?}"
    );
    assert_eq!([told[2].1.as_str(), told[3].1.as_str()], ["8", "9"]);
    let told = kinds(&mut of_b, 2);
    assert!(
        told[0].0 == "sse-gap" && told[0].1.contains("\"b\""),
        "also who never had a message: {told:?}"
    );
    far.wait_for_log("event=redis_gap");
}

#[test]
fn needs_redis_server_ids_grow_also_after_redis_has_lost_all_and_its_clock_is_behind() {
    let redis = Redis::start();
    let servers = three(&redis.url());
    let mut stream = servers[1].subscribe("a");
    // An id of next year: as if the clock had been set back since.
    let future = "1999999999999-7";
    redis.command(&["XADD", "sse-server:events", future, "c", "a", "m", "future"]);
    assert_eq!(stream.next().last_event_id, future);
    redis.command(&["FLUSHALL"]);
    servers[0].wait_for_log("event=redis_connected");
    wait_until("a server raises the id", BOUND, || {
        redis
            .command(&["XINFO", "STREAM", "sse-server:events"])
            .contains(future)
    });
    let next = servers[2].publish("a", "after");
    assert!(id(&next) > id(future), "{next} after {future}");
    for channel in ["a", "broadcast"] {
        let gap = stream.next();
        assert!(
            gap.kind == "sse-gap" && gap.data.contains(channel),
            "{gap:?}"
        );
    }
    assert_eq!(stream.next().data, "after");
}

#[test]
fn needs_redis_server_a_server_without_room_for_a_channel_serves_the_ones_that_it_has() {
    let redis = Redis::start();
    let small = server_with(&redis.url(), &[("MAX_CHANNELS", "1")]);
    let large = server(&redis.url());
    let mut stream = small.subscribe("a");
    for n in 0..50 {
        large.publish(&format!("other{n}"), "x");
        large.publish("a", n.to_string());
        assert_eq!(stream.next().data, n.to_string());
    }
    assert_eq!(
        small.stat("active_channels"),
        2,
        "the one that is followed, and one of the others"
    );
    let headers = [("Authorization", "Bearer test-token-of-16-bytes")];
    let reply = small.request("POST", "/publish/b", &headers, b"x");
    assert_eq!(
        reply.status, 503,
        "publishing to one that it has no room for"
    );
}

#[test]
fn needs_redis_server_statistics_tell_of_all_servers_and_forget_a_dead_one() {
    let redis = Redis::start();
    let mut servers = three(&redis.url());
    let _stream = servers[0].subscribe("a");
    let _other = servers[1].subscribe("a");
    servers[2].publish("a", "x");
    let figures = |server: &Server| server.get("/stats").json();
    wait_until("all servers know all figures", BOUND, || {
        servers.iter().all(|server| {
            let stats = figures(server);
            let cluster = &stats["cluster"];
            stats["redis"] == "connected"
                && cluster["servers"].as_array().map(Vec::len) == Some(3)
                && cluster["connected_clients"] == 2
                && cluster["active_channels"] == 1
                && cluster["messages_published"] == 1
                && cluster["messages_delivered"] == 2
        })
    });
    let stats = figures(&servers[0]);
    let names: HashSet<&str> = stats["cluster"]["servers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|server| {
            assert!(server["memory_bytes"].as_u64() > Some(100_000), "{server}");
            assert!(server["seen_seconds"].as_f64() < Some(5.0), "{server}");
            assert!(server["uptime_seconds"].is_u64() && server["version"].is_string());
            server["name"].as_str().expect("a name")
        })
        .collect();
    assert_eq!(names.len(), 3, "each has a name of its own");
    let count = |server: &Server| {
        figures(server)["cluster"]["servers"]
            .as_array()
            .map(Vec::len)
    };
    servers[2].stop(libc::SIGKILL);
    wait_until("a dead server drops out", BOUND, || {
        count(&servers[0]) == Some(2)
    });
    servers[1].terminate();
    wait_until("a stopped one at once", Duration::from_secs(3), || {
        count(&servers[0]) == Some(1)
    });
    let metrics = servers[0].get("/metrics").text();
    assert!(
        metrics.contains("sse_server_redis_connected 1\n"),
        "{metrics}"
    );
    redis::counts_its_reconnects(&servers[0]);
    // None, unless a busy machine keeps Redis from answering.
    for event in ["redis_lost", "redis_reconnected"] {
        let all = servers[0].count_in_log(&format!("event={event} "));
        let timed_out = servers[0].count_in_log(&format!("event={event} \"timed out"));
        assert_eq!(all, timed_out, "{event}, and that by silence");
    }
    assert!(metrics.contains("sse_server_redis_round_trip_seconds_count"));
}

#[test]
fn needs_redis_server_without_a_redis_url_nothing_tells_of_one() {
    let server = Server::start(&[]);
    let stats = server.get("/stats").json();
    assert!(stats.get("redis").is_none() && stats.get("cluster").is_none());
    assert!(!server.get("/metrics").text().contains("redis"));
}

#[test]
fn needs_redis_server_two_databases_of_one_redis_are_two_clusters() {
    let redis = Redis::start();
    let one = server(&redis.url());
    let url = format!("redis://{}/1", redis.addr);
    let other = server(&url);
    let mut stream = other.subscribe("a");
    one.publish("a", "not for it");
    other.publish("a", "for it");
    assert_eq!(stream.next().data, "for it");
    let operator = format!("/stats?access_token={TOKEN}");
    assert_eq!(one.get(&operator).json()["channels"][0]["messages"], 1);
}
