//! `MAX_CHANNELS` holds whoever publishes at once, wherever the messages are kept, and what is accepted is retained.

use crate::common;

#[cfg(feature = "redis")]
use common::redis::{server_with, wait_for_ready, Redis};
#[cfg(feature = "disk")]
use common::Folder;
use common::{http, Server, TOKEN};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Barrier;

const LIMIT: usize = 50;
const CONNECTIONS: usize = 64;
const CHANNELS: usize = 200;

/// Publishes once to each of many new channels, from many connections at once. Returns those that were accepted.
#[track_caller]
fn publish_to_new(server: &Server, name: &str) -> Vec<String> {
    let together = Barrier::new(CONNECTIONS);
    let most = AtomicUsize::new(0);
    let accepted: Vec<String> = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (together, most) = (&together, &most);
                scope.spawn(move || {
                    let mut socket = server.connect();
                    together.wait();
                    let mut accepted = Vec::new();
                    for number in (connection..CHANNELS).step_by(CONNECTIONS) {
                        let channel = format!("{name}-{number}");
                        let request = format!(
                            "POST /publish/{channel} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1\r\n\r\nx"
                        );
                        let sent = socket.write_all(request.as_bytes());
                        sent.expect("the server reads");
                        let reply = http::read_reply(&mut socket, false).expect("an answer");
                        most.fetch_max(server.stat("active_channels") as usize, Ordering::SeqCst);
                        if reply.status == 200 {
                            accepted.push(channel);
                            continue;
                        }
                        assert_eq!(reply.status, 503, "{}", reply.text());
                        assert!(reply.header("Retry-After").is_some(), "{:?}", reply.headers);
                    }
                    accepted
                })
            })
            .collect();
        let accepted = connections.into_iter().map(|c| c.join().expect("it ends"));
        accepted.flatten().collect()
    });
    assert!(most.into_inner() <= LIMIT);
    accepted
}

/// All places are given, none twice, and what was accepted is there.
#[track_caller]
fn assert_full(server: &Server, accepted: &[String]) {
    assert_eq!(accepted.len(), LIMIT, "each place is given once");
    assert_eq!(server.stat("active_channels"), LIMIT as u64);
    assert_eq!(
        server.get("/stats").json()["limits"]["channels"]["used"],
        LIMIT
    );
    for channel in accepted {
        let retained = server.get(&format!("/messages/{channel}?format=text"));
        assert_eq!(retained.text(), "x\n", "{channel} was accepted");
    }
    // What exists goes on, and a new one is told why it cannot be.
    server.publish(&accepted[0], "y");
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let refused = server.request("POST", "/publish/another", &headers, b"x");
    assert_eq!(refused.status, 503);
    assert!(
        refused.text().contains("MAX_CHANNELS"),
        "{}",
        refused.text()
    );
}

const VARIABLES: [(&str, &str); 1] = [("MAX_CHANNELS", "50")];

#[test]
fn many_at_once_get_no_more_places_than_there_are() {
    let server = Server::start(&VARIABLES);
    let accepted = publish_to_new(&server, "a");
    assert_full(&server, &accepted);
}

#[cfg(feature = "disk")]
#[test]
fn many_at_once_get_no_more_places_than_there_are_with_a_disk() {
    let folder = Folder::new("channel-limit");
    let path = folder.0.to_str().expect("the path is UTF-8");
    let server = Server::start(&[&VARIABLES[..], &[("DATA_DIR", path)]].concat());
    // The disk takes nothing: no place stays taken by what was refused.
    limit_files(&server, 1);
    assert_eq!(publish_to_new(&server, "refused"), Vec::<String>::new());
    assert_eq!(server.stat("active_channels"), 0);
    limit_files(&server, libc::RLIM_INFINITY);
    common::wait_until("the disk takes something again", 2 * common::BOUND, || {
        server.get("/health/ready").status == 200
    });
    let accepted = publish_to_new(&server, "a");
    assert_full(&server, &accepted);
}

#[cfg(feature = "disk")]
fn limit_files(server: &Server, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    let pid = server.pid() as i32;
    // SAFETY: the struct is valid for the call; the process is our child.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "the limit can be set");
}

#[cfg(feature = "redis")]
#[test]
fn needs_redis_server_many_at_once_get_no_more_places_than_there_are() {
    let redis = Redis::start();
    let server = server_with(&redis.url(), &VARIABLES);
    // Redis refuses: no place stays taken by that.
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(publish_to_new(&server, "refused"), Vec::<String>::new());
    assert_eq!(server.stat("active_channels"), 0);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_for_ready(&server);
    let accepted = publish_to_new(&server, "a");
    assert_full(&server, &accepted);
}

/// Redis answers nobody until all have asked.
#[cfg(feature = "redis")]
#[test]
fn needs_redis_server_who_waits_for_redis_has_a_place() {
    let redis = Redis::start();
    let server = server_with(&redis.url(), &VARIABLES);
    let other = server_with(&redis.url(), &[]);
    redis.signal(libc::SIGSTOP);
    let accepted = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish_to_new(&server, "a"));
        // Those who find no place are refused without Redis.
        common::wait_until("some are refused", common::BOUND, || {
            let metrics = server.get("/metrics").text();
            let refused = "sse_server_responses_total{route=\"publish\",status=\"503\"} ";
            let refused = metrics.lines().find_map(|line| line.strip_prefix(refused));
            refused.and_then(|count| count.parse().ok()) >= Some(CONNECTIONS - LIMIT)
        });
        redis.signal(libc::SIGCONT);
        publishing.join().expect("it ends")
    });
    assert_full(&server, &accepted);
    // Another server has them as well.
    for channel in &accepted {
        common::wait_until("it has come", common::BOUND, || {
            !other.get(&format!("/messages/{channel}")).text().is_empty()
        });
    }
}
