//! Three servers behind a proxy, configured as the chapter on several servers says, and restarted one after the other: nothing that was accepted
//! is lost to a client that comes back.

use crate::common;

use common::front::{file_of_chapter, haproxy, nginx, Front};
use common::port::free_port;
use common::redis::{server, server_with, Redis};
use common::{http, wait_until, EventStream, Server, BOUND, TOKEN};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Follows `a` through the proxy, comes back whenever the stream ends, and returns all texts up to `end`.
fn follow(addr: SocketAddr, returns: &AtomicUsize) -> Vec<String> {
    let mut received = Vec::new();
    let mut last = "0".to_string();
    loop {
        let mut stream = EventStream::open(addr, "/sse/a", &[("Last-Event-ID", &last)]);
        if stream.status == 200 {
            while let Some(event) = stream.try_next(BOUND) {
                assert_eq!(event.kind, "message", "{event:?}");
                if event.data == "end" {
                    return received;
                }
                received.push(event.data);
                last = event.last_event_id;
            }
            returns.fetch_add(1, Ordering::SeqCst);
        } else {
            assert!((502..=504).contains(&stream.status), "{}", stream.status);
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

fn publish(addr: SocketAddr, text: &str) -> bool {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    http::request(addr, "POST", "/publish/a", &headers, text.as_bytes()).status == 200
}

/// Restarts each server while clients follow and publish through the proxy.
fn restart_one_after_the_other(
    front: &Front,
    servers: &mut [Server],
    start: &dyn Fn(usize) -> Server,
) {
    let (is_over, count, returns) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let addr = front.addr;
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..6)
            .map(|_| {
                let returns = &returns;
                scope.spawn(move || follow(addr, returns))
            })
            .collect();
        let publishers: Vec<_> = (0..3)
            .map(|number| {
                let (is_over, count) = (&is_over, &count);
                scope.spawn(move || {
                    let mut accepted = Vec::new();
                    for n in 0.. {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let text = format!("p{number} {n}");
                        if publish(addr, &text) {
                            accepted.push(text);
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    accepted
                })
            })
            .collect();
        let wait_for_more = || {
            let before = count.load(Ordering::SeqCst);
            wait_until(
                "more messages are accepted",
                Duration::from_secs(20),
                || count.load(Ordering::SeqCst) > before + 100,
            );
        };
        wait_for_more();
        for (number, server) in servers.iter_mut().enumerate() {
            let (status, _) = server.terminate();
            assert!(status.success(), "a server stops with {status}");
            wait_for_more();
            *server = start(number);
            wait_for_more();
        }
        is_over.store(true, Ordering::SeqCst);
        let joined = publishers
            .into_iter()
            .map(|p| p.join().expect("it publishes"));
        let accepted: Vec<String> = joined.flatten().collect();
        wait_until("the end is accepted", BOUND, || publish(addr, "end"));
        for follower in followers {
            let received = follower.join().expect("it receives");
            let once: HashSet<&str> = received.iter().map(String::as_str).collect();
            assert_eq!(once.len(), received.len(), "nothing twice");
            let lost = accepted.iter().filter(|text| !once.contains(text.as_str()));
            assert_eq!(lost.count(), 0, "accepted messages that did not arrive");
        }
    });
    let returns = returns.into_inner();
    assert!(
        returns >= 6,
        "every client was on a server that was restarted: {returns} returns"
    );
}

fn through_restarts(front: impl FnOnce(&[u16; 4]) -> Front) {
    let redis = Redis::start();
    let url = redis.url();
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let start = |number: usize| {
        let listen = format!("127.0.0.1:{}", ports[number]);
        let variables = [
            ("LISTEN", listen.as_str()),
            ("HISTORY_EVENTS", "1000000"),
            ("HISTORY_BYTES", "1000000000"),
        ];
        server_with(&url, &variables)
    };
    let mut servers: Vec<Server> = (0..3).map(start).collect();
    let front = front(&ports);
    restart_one_after_the_other(&front, &mut servers, &start);
}

fn named(ports: &[u16; 4]) -> [(&'static str, u16); 4] {
    [
        ("8081", ports[0]),
        ("8082", ports[1]),
        ("8083", ports[2]),
        ("8080", ports[3]),
    ]
}

#[test]
fn needs_nginx_restarting_one_server_after_the_other_loses_nothing() {
    through_restarts(|ports| nginx(&file_of_chapter("nginx.conf", &named(ports)), ports[3]));
}

#[test]
fn needs_nginx_channels_are_spread_over_two_redis() {
    let (first, second) = (Redis::start(), Redis::start());
    let servers = [server(&first.url()), server(&second.url())];
    let front_port = free_port();
    let ports = [
        ("8081", servers[0].addr.port()),
        ("8082", servers[1].addr.port()),
        ("8080", front_port),
    ];
    let front = nginx(&file_of_chapter("nginx-shards.conf", &ports), front_port);
    for n in 0..20 {
        let mut stream = EventStream::open(front.addr, &format!("/sse/room{n}"), &[]);
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("Authorization", authorization.as_str())];
        let target = format!("/publish/room{n}");
        let reply = http::request(front.addr, "POST", &target, &headers, b"x");
        assert_eq!(reply.status, 200);
        assert_eq!(stream.next().data, "x");
    }
    let published = servers
        .each_ref()
        .map(|server| server.stat("messages_published"));
    assert_eq!(published.iter().sum::<u64>(), 20);
    assert!(
        published.iter().all(|&count| count > 0),
        "{published:?}: both have their part"
    );
}

#[test]
fn needs_haproxy_restarting_one_server_after_the_other_loses_nothing() {
    through_restarts(|ports| {
        let text = file_of_chapter("haproxy.cfg", &named(ports));
        haproxy(&text, ports[3])
    });
}
