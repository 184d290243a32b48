//! Redis goes away in every possible way, and comes back: what was answered with 200 arrives, the rest was answered
//! with 503, clients stay connected, and the log has one line for each loss.

use crate::common;

use common::redis::{
    counts_its_reconnects, server, server_with, url, wait_for_away, wait_for_ready, Proxy, Redis,
};
use common::{http, id, value, wait_until, Crowd, EventStream, Publisher, Server, BOUND, TOKEN};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A refusal takes at most this long, even if Redis does not answer: some seconds, and what a busy machine adds.
const PROMPT: Duration = BOUND;

pub const LONG_HISTORY: [(&str, &str); 2] = [
    ("HISTORY_EVENTS", "1000000"),
    ("HISTORY_BYTES", "1000000000"),
];

/// What publishers were told.
#[derive(Default)]
struct Told {
    accepted: Vec<String>,
    refused: usize,
}

/// Publishes until told to stop. A refusal has to be a 503, and to come soon.
fn publish_through_it(
    server: &Server,
    name: &str,
    is_over: &AtomicBool,
    count: &AtomicUsize,
) -> Told {
    let mut told = Told::default();
    let mut publisher = Publisher::new(server);
    for number in 0.. {
        if is_over.load(Ordering::SeqCst) {
            return told;
        }
        let text = format!("{name} {number}");
        let begun = Instant::now();
        match publisher.try_publish("a", &text) {
            Ok(_) => {
                told.accepted.push(text);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Err(what) => {
                assert!(what.starts_with("503 "), "a publisher got {what}");
                told.refused += 1;
                // As Retry-After says, but shorter.
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        assert!(
            begun.elapsed() < PROMPT,
            "an answer after {:?}",
            begun.elapsed()
        );
    }
    told
}

/// Lets publishers and subscribers of three servers work while `trouble` does what it does, and looks afterwards whether
/// every accepted message has arrived everywhere, once and in one order. `trouble` is given a way to wait for more accepted
/// messages.
pub fn work_through(servers: &[Server], trouble: impl FnOnce(&dyn Fn())) -> usize {
    let crowds: Vec<Crowd> = servers
        .iter()
        .map(|s| Crowd::subscribe(s, "a", 20))
        .collect();
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let told: Vec<Told> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..6)
            .map(|number| {
                let (is_over, count) = (&is_over, &count);
                let server = &servers[number % servers.len()];
                scope.spawn(move || {
                    publish_through_it(server, &format!("p{number}"), is_over, count)
                })
            })
            .collect();
        let wait_for_more = || {
            let before = count.load(Ordering::SeqCst);
            wait_until(
                "more messages are accepted",
                Duration::from_secs(20),
                || count.load(Ordering::SeqCst) > before + 300,
            );
        };
        wait_for_more();
        trouble(&wait_for_more);
        wait_for_more();
        is_over.store(true, Ordering::SeqCst);
        publishers
            .into_iter()
            .map(|p| p.join().expect("it publishes"))
            .collect()
    });
    let accepted: HashSet<&str> = told
        .iter()
        .flat_map(|t| &t.accepted)
        .map(String::as_str)
        .collect();
    for server in servers {
        wait_for_ready(server);
    }
    servers[0].publish("a", "end");
    let mut order: Option<Vec<String>> = None;
    for crowd in &crowds {
        crowd.wait_for_all("the last message", |client| {
            assert!(!client.is_closed, "a client was disconnected");
            client
                .events
                .last()
                .is_some_and(|event| event.data == "end")
        });
        crowd.each(|number, client| {
            let gaps = client.events.iter().filter(|e| e.kind != "message").count();
            assert_eq!(gaps, 0, "gaps that client {number} was told of");
            let texts: Vec<String> = client.events.iter().map(|e| e.data.clone()).collect();
            let once: HashSet<&str> = texts.iter().map(String::as_str).collect();
            assert_eq!(
                once.len(),
                texts.len(),
                "client {number} got something twice"
            );
            let lost = accepted
                .iter()
                .filter(|text| !once.contains(**text))
                .count();
            assert_eq!(
                lost, 0,
                "accepted messages that client {number} did not get"
            );
            let ids: Vec<_> = client.events.iter().map(|e| id(&e.last_event_id)).collect();
            assert!(ids.windows(2).all(|w| w[0] < w[1]), "ids grow");
            assert!(
                *order.get_or_insert(texts.clone()) == texts,
                "one order everywhere"
            );
        });
    }
    told.iter().map(|told| told.refused).sum()
}

#[test]
fn needs_redis_server_a_redis_that_is_killed_and_started_again_loses_nothing_accepted() {
    let mut redis = Redis::start_durable();
    let url = redis.url();
    let servers: Vec<Server> = (0..3).map(|_| server_with(&url, &LONG_HISTORY)).collect();
    let refused = work_through(&servers, |wait_for_more| {
        for _ in 0..2 {
            redis.kill();
            servers.iter().for_each(wait_for_away);
            redis.start_again();
            servers.iter().for_each(wait_for_ready);
            wait_for_more();
        }
    });
    assert!(refused > 0, "publishers were refused meanwhile");
    for server in &servers {
        server.wait_for_log("event=redis_lost reason hint");
        server.wait_for_log("event=redis_back");
        let (lost, back) = (
            server.count_in_log("event=redis_lost"),
            server.count_in_log("event=redis_back"),
        );
        // A busy machine may keep Redis from answering: a loss of its own, which says so.
        let timed_out = server.count_in_log("event=redis_lost \"timed out");
        assert!(
            (2..=2 + timed_out).contains(&back) && (back..=4 * back).contains(&lost),
            "{lost} lines for 2 losses, {back} for 2 returns, {timed_out} of silence"
        );
        counts_its_reconnects(server);
    }
}

#[test]
fn needs_redis_server_a_connection_that_is_cut_loses_nothing_accepted() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let mut servers = vec![server_with(&proxy.url(), &LONG_HISTORY)];
    servers.extend((0..2).map(|_| server_with(&redis.url(), &LONG_HISTORY)));
    work_through(&servers, |wait_for_more| {
        for _ in 0..3 {
            proxy.cut();
            wait_for_away(&servers[0]);
            // The others go on.
            wait_for_more();
            proxy.mend();
            wait_for_ready(&servers[0]);
            wait_for_more();
        }
    });
}

#[test]
fn needs_redis_server_a_connection_that_falls_silent_loses_nothing_accepted() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let mut servers = vec![server_with(&proxy.url(), &LONG_HISTORY)];
    servers.extend((0..2).map(|_| server_with(&redis.url(), &LONG_HISTORY)));
    let refused = work_through(&servers, |wait_for_more| {
        proxy.fall_silent();
        wait_for_away(&servers[0]);
        let headers = [("Authorization", "Bearer test-token-of-16-bytes")];
        let refusal = || {
            let begun = Instant::now();
            let reply = servers[0].request("POST", "/publish/a", &headers, b"now that it is known");
            assert_eq!(reply.status, 503);
            assert!(reply.header("Retry-After").is_some());
            begun.elapsed()
        };
        // One of three: another may be slow on a busy machine.
        let is_prompt = (0..3).any(|_| refusal() < Duration::from_secs(1));
        assert!(is_prompt, "it is not refused at once");
        wait_for_more();
        proxy.mend();
        wait_for_ready(&servers[0]);
    });
    assert!(refused > 0, "publishers were refused meanwhile");
    servers[0].wait_for_log("event=redis_lost timed");
}

#[test]
fn needs_redis_server_a_server_starts_without_redis_and_finds_it_later() {
    let addr = common::port::free_address();
    let server = Server::start(&[("REDIS_URL", &url(addr))]);
    server.wait_for_log("event=redis_lost");
    assert_eq!(server.get("/health").status, 200, "it is alive");
    let ready = server.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("Redis"), "{}", ready.text());
    assert_eq!(server.get("/stats").json()["redis"], "away");
    let headers = [("Authorization", "Bearer test-token-of-16-bytes")];
    let reply = server.request("POST", "/publish/a", &headers, b"x");
    assert_eq!(
        (reply.status, reply.header("Retry-After").is_some()),
        (503, true)
    );
    let mut stream = server.subscribe("a");
    let _redis = Redis::start_at(addr);
    wait_for_ready(&server);
    let first = stream.next();
    assert_eq!(first.kind, "sse-gap", "nobody knows what it has missed");
    server.publish("a", "x");
    wait_until("what comes then arrives", BOUND, || {
        stream.next().data == "x"
    });
}

#[test]
fn needs_redis_server_a_client_from_before_the_first_connection_is_told_that_it_may_have_missed_something(
) {
    let mut redis = Redis::start_durable();
    let other = server(&redis.url());
    other.publish("a", "before");
    redis.kill();
    let server = Server::start(&[("REDIS_URL", &redis.url())]);
    server.wait_for_log("event=redis_lost");
    let mut stream = server.subscribe("a");
    let mut unconcerned = server.subscribe("b");
    redis.start_again();
    // Stored while this server has not found Redis yet, or has just found it.
    wait_for_ready(&other);
    other.publish("a", "meanwhile");
    wait_for_ready(&server);
    let first = stream.next();
    assert_eq!(first.kind, "sse-gap", "{}", first.data);
    assert!(first.data.contains("\"canal\":\"a\""), "{}", first.data);
    server.publish("a", "after");
    wait_until("what comes then arrives", BOUND, || {
        stream.next().data == "after"
    });
    // Something may have been in b, and may be trimmed or deleted by now.
    assert_eq!(unconcerned.next().kind, "sse-gap");
    server.publish("b", "x");
    wait_until("what comes then arrives there, too", BOUND, || {
        unconcerned.next().data == "x"
    });
}

#[test]
fn needs_redis_server_who_asks_for_history_before_redis_was_found_is_sent_to_come_again() {
    let mut redis = Redis::start_durable();
    let other = server(&redis.url());
    let first = other.publish("a", "1");
    other.publish("a", "2");
    redis.kill();
    let server = Server::start(&[("REDIS_URL", &redis.url())]);
    server.wait_for_log("event=redis_lost");
    let by_id = [("Last-Event-ID", first.as_str())];
    let wishes: [(&str, &[(&str, &str)]); 4] = [
        ("/sse/a", &by_id),
        ("/sse/a?last=1", &[]),
        ("/sse/a?since=1h&last=1", &[]),
        ("/messages/a?follow=1&last=1", &[]),
    ];
    // Not a refusal: after that no EventSource comes again by itself.
    let open = |(target, headers): &(&str, &[(&str, &str)])| server.subscribe_with(target, headers);
    let streams: Vec<EventStream> = wishes.iter().map(open).collect();
    redis.start_again();
    for (mut stream, (target, _)) in streams.into_iter().zip(&wishes) {
        assert_eq!(stream.ending(), http::Ending::Clean, "{target}");
        assert_eq!(stream.drain(), [], "{target}");
    }
    wait_until("the log says why", BOUND, || {
        server.count_in_log("event=disconnect reason=sent_away messages=0") == wishes.len()
    });
    wait_for_ready(&server);
    for (mut stream, (target, _)) in wishes.iter().map(open).zip(&wishes) {
        stream.wait_for_raw(target, |raw| raw.contains('2') && !raw.contains("gap"));
    }
}

#[test]
fn needs_redis_server_a_client_that_comes_back_while_redis_is_away_loses_nothing() {
    let mut redis = Redis::start_durable();
    let servers = [server(&redis.url()), server(&redis.url())];
    let mut stream = servers[0].subscribe("a");
    servers[0].publish("a", "1");
    let last = stream.next().last_event_id;
    drop(stream);
    servers[1].publish("a", "2");
    redis.kill();
    servers.iter().for_each(wait_for_away);
    let mut stream = servers[1].subscribe_with("/sse/a", &[("Last-Event-ID", &last)]);
    assert_eq!(stream.next().data, "2", "history is there without Redis");
    redis.start_again();
    servers.iter().for_each(wait_for_ready);
    servers[0].publish("a", "3");
    let event = stream.next();
    assert_eq!((event.kind.as_str(), event.data.as_str()), ("message", "3"));
}

#[test]
fn needs_redis_server_an_id_that_nobody_gave_is_told_once_redis_is_back() {
    let mut redis = Redis::start_durable();
    let server = server(&redis.url());
    server.publish("a", "1");
    redis.kill();
    wait_for_away(&server);
    let target = "/sse/a?last_event_id=99999999999999-0";
    let mut stream = server.subscribe_with(target, &[]);
    redis.start_again();
    assert_eq!(
        stream.ending(),
        http::Ending::Clean,
        "it is sent to come again"
    );
    server.wait_for_log("event=disconnect reason=sent_away");
    wait_for_ready(&server);
    let mut stream = server.subscribe_with(target, &[]);
    assert_eq!(stream.next().kind, "sse-gap");
}

/// Publishes from its own process to a server that is killed with -9, and to those that stay.
#[test]
fn needs_redis_server_a_server_that_is_killed_loses_nothing_accepted() {
    let redis = Redis::start();
    let url = redis.url();
    let mut servers: Vec<Server> = (0..3).map(|_| server_with(&url, &LONG_HISTORY)).collect();
    let victim = servers.pop().expect("three");
    let is_over = AtomicBool::new(false);
    let mut stream = victim.subscribe("a");
    let (accepted, received) = std::thread::scope(|scope| {
        let publishers: Vec<_> = [&victim, &servers[0], &servers[1]]
            .into_iter()
            .enumerate()
            .map(|(number, server)| {
                let (servers, is_over) = (&servers, &is_over);
                let mut publisher = Publisher::new(server);
                scope.spawn(move || {
                    let mut accepted = Vec::new();
                    for n in 0.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let text = format!("p{number} {n}");
                        match publisher.try_publish("a", &text) {
                            Ok(_) => accepted.push(text),
                            // The victim is gone: on to another.
                            Err(_) => publisher = Publisher::new(&servers[0]),
                        }
                    }
                    accepted
                })
            })
            .collect();
        let mut received = Vec::new();
        while received.len() < 500 {
            received.push(stream.next());
        }
        drop(victim);
        while let Some(event) = stream.try_next(BOUND) {
            received.push(event);
        }
        for hop in 0..20 {
            let last = &received.last().expect("some came").last_event_id;
            let mut stream = servers[hop % 2].subscribe_with("/sse/a", &[("Last-Event-ID", last)]);
            for _ in 0..50 {
                received.push(stream.next());
            }
        }
        is_over.store(true, Ordering::SeqCst);
        let joined = publishers
            .into_iter()
            .map(|p| p.join().expect("it publishes"));
        let accepted: Vec<String> = joined.flatten().collect();
        servers[0].publish("a", "end");
        let last = received.last().expect("some came").last_event_id.clone();
        let mut stream = servers[1].subscribe_with("/sse/a", &[("Last-Event-ID", &last)]);
        loop {
            let event = stream.next();
            if event.data == "end" {
                return (accepted, received);
            }
            received.push(event);
        }
    });
    let texts: HashSet<&str> = received.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(texts.len(), received.len(), "nothing twice, and no gap");
    let lost: Vec<_> = accepted
        .iter()
        .filter(|text| !texts.contains(text.as_str()))
        .collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
}

/// Starts a server that cannot use its Redis, and gives the line that says why.
#[track_caller]
fn complaint(url: &str, words: &str) -> String {
    let server = Server::start(&[("REDIS_URL", url)]);
    // On a busy machine the first tries may take too long, which is told in a line of its own.
    let expected = format!("event=redis_lost {words}");
    let line = server.wait_for_log(&expected);
    assert!(!server.log().contains("hush"), "the password is in the log");
    assert_eq!(server.get("/health/ready").status, 503);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.subscribe("a").status, 200, "clients may connect");
    assert_eq!(
        server.count_in_log(&expected),
        1,
        "one line, not one for each try"
    );
    line
}

#[test]
fn needs_redis_server_a_wrong_password_is_one_clear_line() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    complaint(
        &format!("redis://:hush@{}/0", redis.addr),
        "reason password REDIS_URL",
    );
    complaint(&format!("redis://{}/0", redis.addr), "NOAUTH REDIS_URL");
    let good = server(&format!("redis://:right@{}/0", redis.addr));
    assert!(!good.log().contains("right"), "the password is in the log");
}

/// Every byte percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn needs_redis_server_every_part_of_the_url_is_used() {
    // What has a meaning in a URL, and what is beyond ASCII.
    const USER: &str = "us:er@/é";
    const PASSWORD: &str = "pa:ss@wo/rd?#[]%41+& ü";
    // The last one with what need not be encoded as it is.
    for (user, url_user, password, url_password) in [
        (USER, encoded(USER), PASSWORD, encoded(PASSWORD)),
        ("default", String::new(), PASSWORD, encoded(PASSWORD)),
        ("a@b", "a@b".into(), "c:d@+%zz", "c:d@+%zz".into()),
    ] {
        let redis = Redis::start();
        let rule = format!(">{password}");
        let set = ["ACL", "SETUSER", user, "reset", "on", &rule];
        let all = ["~*", "&*", "+@all"];
        // The next connection has no rights if this is the default user.
        redis.command(&[&set[..], &all[..]].concat());
        let url = format!("redis://{url_user}:{url_password}@{}/5", redis.addr);
        let server = server(&url);
        assert!(!server.log().contains(&url_password), "{user}");
        server.publish("a", "x");
        let line = server.wait_for_log("event=redis_connected");
        let place = format!("address={}/5", redis.addr);
        assert!(line.contains(&place), "{line}");
        if user == "default" {
            continue;
        }
        let clients = redis.command(&["CLIENT", "LIST"]);
        let ours = clients.lines().filter(|line| line.contains(" db=5 "));
        let by_user = ours.filter(|line| line.contains(&format!(" user={user} ")));
        assert_eq!(by_user.count(), 2, "writer and follower: {clients}");
    }
}

#[test]
fn needs_redis_server_a_redis_is_reached_by_ipv6_and_at_its_usual_port() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let redis = Redis::start_with(&["--bind", "127.0.0.1", "::1"]);
    let server = server(&format!("redis://[0:0::1]:{}", redis.addr.port()));
    server.publish("a", "x");
    let line = server.wait_for_log("event=redis_connected");
    let place = format!("[::1]:{}/0", redis.addr.port());
    assert!(line.contains(&place), "{line}");
    complaint("redis://:hush@[::1]", "address=[::1]:6379/0");
}

#[test]
fn needs_redis_server_a_database_that_is_not_there_is_one_clear_line() {
    let redis = Redis::start_with(&["--databases", "2"]);
    complaint(&format!("redis://{}/7", redis.addr), "database /7");
}

#[test]
fn needs_redis_server_a_replica_is_one_clear_line() {
    let primary = Redis::start();
    let port = primary.addr.port().to_string();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]);
    complaint(&replica.url(), "replica primary");
}

#[test]
fn needs_redis_server_a_key_in_use_is_one_clear_line() {
    let redis = Redis::start();
    redis.command(&["SET", "sse-server:events", "x"]);
    complaint(&redis.url(), "WRONGTYPE sse-server:events");
}

/// No old Redis can be installed: this answers as one does.
#[test]
fn a_redis_that_is_too_old_is_one_clear_line() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let addr = listener.local_addr().expect("it has an address");
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    let sent = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    let info = "# Server\r\nredis_version:4.0.14\r\n";
                    let mut answer =
                        "-ERR unknown command\r\n".repeat(sent.matches("CLIENT").count());
                    answer += &"+OK\r\n".repeat(sent.matches("SELECT").count());
                    if sent.contains("INFO\r\n") {
                        answer += &format!("${}\r\n{info}\r\n", info.len());
                    }
                    if client.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    complaint(&url(addr), "7.0 4.0.14 needed");
}

#[test]
fn needs_redis_server_a_redis_without_memory_refuses_and_keeps_clients() {
    let redis = Redis::start();
    let server = server(&redis.url());
    let mut stream = server.subscribe("a");
    server.publish("a", "before");
    assert_eq!(stream.next().data, "before");
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let publish = || {
        let target = format!("/publish/a?access_token={TOKEN}");
        server.request("POST", &target, &[], b"x")
    };
    let reply = publish();
    assert_eq!(
        (reply.status, reply.header("Retry-After").is_some()),
        (503, true)
    );
    server.wait_for_log("event=redis_lost OOM maxmemory");
    assert_eq!(server.count_in_log("EXECABORT"), 0, "{}", server.log());
    wait_for_away(&server);
    let batch = [
        ("Content-Type", "application/x-ndjson"),
        ("Authorization", "Bearer test-token-of-16-bytes"),
    ];
    assert_eq!(
        server
            .request("POST", "/publish/a", &batch, b"1\n2\n")
            .status,
        503
    );
    assert_eq!(server.count_in_log("event=redis_lost OOM"), 1);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_for_ready(&server);
    server.publish("a", "after");
    assert_eq!(stream.next().data, "after", "nothing that was refused came");
}

#[test]
fn needs_redis_server_a_stop_tells_the_truth() {
    let redis = Redis::start();
    let (mut stopping, other) = (server(&redis.url()), server(&redis.url()));
    let mut stream = other.subscribe("a");
    let mut own: EventStream = stopping.subscribe("a");
    let mut publisher = Publisher::new(&stopping);
    let accepted = std::thread::scope(|scope| {
        let publishing = scope.spawn(move || {
            let mut accepted = 0;
            while publisher.try_publish("a", accepted.to_string()).is_ok() {
                accepted += 1;
            }
            accepted
        });
        for _ in 0..100 {
            stream.next();
        }
        let (status, took) = stopping.terminate();
        assert!(status.success() && took < BOUND, "{status} after {took:?}");
        publishing.join().expect("it publishes")
    });
    assert_eq!(own.ending(), http::Ending::Clean);
    other.publish("a", "end");
    let mut count = 100;
    while stream.next().data != "end" {
        count += 1;
    }
    assert!(count >= accepted, "{count} of {accepted} accepted messages");
    let name = value(&other.wait_for_log("event=redis_connected"), "address").to_string();
    assert!(name.contains(':'), "{name}");
}
