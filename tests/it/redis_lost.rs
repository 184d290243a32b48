//! What Redis, the network or a signal takes away: connections die with a publish on the way, answers are too large for
//! Redis, the server is paused. Nothing that was accepted is lost, and nobody is told of a trouble that passes.

use crate::common;
use crate::redis_faults::{work_through, LONG_HISTORY};
use crate::redis_replaced::events_up_to;

use common::redis::{server, server_with, wait_for_away, wait_for_ready, Proxy, Redis};
use common::{wait_until, EventStream, Server, BOUND, TOKEN};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const STREAM: &str = "sse-server:events";

fn publish(server: &Server, text: &[u8]) -> common::Reply {
    let target = format!("/publish/a?access_token={TOKEN}");
    server.request("POST", &target, &[], text)
}

/// Publishes, and checks that nobody has noticed anything.
fn is_unmoved(server: &Server, stream: &mut EventStream, name: &str) {
    for n in 0..4 {
        let text = format!("{name}.{n}");
        let reply = publish(server, text.as_bytes());
        assert_eq!(reply.status, 200, "{text}: {}", reply.text());
        assert_eq!(stream.next().data, text);
    }
    assert_eq!(server.count_in_log("event=redis_lost"), 0);
    assert_eq!(server.count_in_log("event=redis_reconnected"), 0);
}

#[test]
fn needs_redis_server_a_server_that_is_paused_and_resumed_loses_nothing() {
    let redis = Redis::start();
    let mut server = server(&redis.url());
    let mut stream = server.subscribe("a");
    for round in 0..25 {
        server.pause();
        server.resume();
        is_unmoved(&server, &mut stream, &round.to_string());
    }
    // Longer than any answer may take.
    server.pause();
    let idle = ["idle=4", "idle=5", "idle=6"];
    wait_until("Redis has heard nothing for 4 seconds", BOUND, || {
        let clients = redis.command(&["CLIENT", "LIST"]);
        let mut others = clients
            .lines()
            .filter(|line| line.contains("cmd=xread") || line.contains("cmd=eval"));
        others.all(|line| idle.iter().any(|idle| line.contains(idle)))
    });
    server.resume();
    is_unmoved(&server, &mut stream, "long");
    drop(stream);
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn needs_strace_needs_redis_server_a_name_that_is_not_resolved_holds_no_publisher() {
    let mut redis = Redis::start();
    let server = server(&redis.url().replace("127.0.0.1", "localhost"));
    // From now on the system does not get to its table of names.
    let mut strace = Command::new("strace")
        .args(["-f", "-q", "-p", &server.pid().to_string()])
        .args(["-P", "/etc/hosts", "-e", "trace=openat"])
        .args(["-e", "inject=openat:delay_enter=60s"])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs");
    let status = format!("/proc/{}/status", server.pid());
    wait_until("strace is there", BOUND, || {
        common::number_in(&status, "TracerPid:").is_ok_and(|tracer| tracer > 0)
    });
    redis.kill();
    let begun = Instant::now();
    let reply = publish(&server, b"x");
    let took = begun.elapsed();
    let _ = strace.kill();
    let _ = strace.wait();
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(took < BOUND, "after {took:?}");
    assert!(
        server.log().contains("its name was not resolved in time"),
        "{}",
        server.log()
    );
}

#[test]
fn needs_redis_server_answers_that_redis_cuts_off_are_asked_for_in_smaller_pieces() {
    const TEXT_BYTES: usize = 60_000;
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let (near, far) = (server(&redis.url()), server(&proxy.url()));
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 1mb 0 0",
    ];
    redis.command(&limit);
    let mut stream = far.subscribe("a");
    proxy.cut();
    wait_for_away(&far);
    for n in 0..100 {
        near.publish("a", format!("{n} {}", "x".repeat(TEXT_BYTES)));
    }
    proxy.mend();
    wait_for_ready(&far);
    for n in 0..100 {
        let event = stream.next();
        assert!(event.data.starts_with(&format!("{n} ")), "{}", event.kind);
    }
    // One that starts has to read all of it.
    let fresh = server_with(&redis.url(), &LONG_HISTORY);
    let mut stream = fresh.subscribe_with("/sse/a", &[("Last-Event-ID", "0")]);
    for n in 0..100 {
        assert!(stream.next().data.starts_with(&format!("{n} ")));
    }
}

#[test]
fn needs_redis_server_a_message_larger_than_redis_may_answer_is_one_clear_line() {
    let redis = Redis::start();
    let near = server(&redis.url());
    near.publish("a", "x".repeat(60_000));
    redis.command(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 100kb 0 0",
    ]);
    let fresh = Server::start(&[("REDIS_URL", &redis.url())]);
    fresh.wait_for_log("event=redis_lost client-output-buffer-limit");
    redis.command(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 0 0 0",
    ]);
    wait_for_ready(&fresh);
}

#[test]
fn needs_redis_server_a_client_that_joins_while_the_history_is_read_is_told_of_a_gap() {
    let redis = Redis::start();
    let near = server(&redis.url());
    let batch = [
        ("Content-Type", "application/x-ndjson"),
        ("Authorization", "Bearer test-token-of-16-bytes"),
    ];
    let lines = format!("\"{}\"\n", "x".repeat(500)).repeat(1000);
    for _ in 0..3 {
        assert_eq!(
            near.request("POST", "/publish/a", &batch, lines.as_bytes())
                .status,
            200
        );
    }
    let proxy = Proxy::start(redis.addr);
    proxy.stall_after(900_000);
    let far = Server::start(&[("REDIS_URL", &proxy.url())]);
    wait_until("a part of the history was read", BOUND, || {
        proxy.has_stalled() && far.stat("active_channels") == 1
    });
    let mut stream = far.subscribe("a");
    near.publish("a", "missed");
    proxy.mend();
    wait_for_ready(&far);
    near.publish("a", "end");
    assert_eq!(events_up_to(&mut stream, "end"), ["gap", "end"]);
}

#[test]
fn needs_redis_server_publishes_that_wait_for_a_silent_redis_are_bounded_by_bytes() {
    const MESSAGE_BYTES: usize = 4 << 20;
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let server = server_with(&proxy.url(), &[("MAX_MESSAGE_BYTES", "4194304")]);
    let text = vec![b'x'; MESSAGE_BYTES];
    let refused_at_once = || {
        proxy.fall_silent();
        let refused = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    let reply = publish(&server, &text);
                    assert_eq!(reply.status, 503);
                    // The others had waited for Redis: it is lost by now.
                    if reply.text().contains("nothing was published")
                        && server.get("/health/ready").status == 200
                    {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        proxy.mend();
        wait_for_ready(&server);
        refused.into_inner()
    };
    // Redis is lost after some seconds, and on a busy machine some come only then.
    let mut tries = Vec::new();
    let is_bounded = (0..3).any(|_| {
        tries.push(refused_at_once());
        tries.last() >= Some(&20)
    });
    assert!(
        is_bounded,
        "{tries:?} of 40 publishes of 4 MiB were refused at once"
    );
}

#[test]
fn needs_redis_server_a_publish_that_redis_refuses_is_said_to_be_refused_and_why() {
    let redis = Redis::start();
    let server = server(&redis.url());
    redis.command(&[
        "EVAL",
        "redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], 'x')",
        "1",
        STREAM,
    ]);
    let reply = publish(&server, b"x");
    assert_eq!(reply.status, 503);
    let text = reply.text();
    assert!(
        text.contains("WRONGTYPE") && text.contains("nothing was published"),
        "{text}"
    );
    // The answer comes before the loss is known: it may still be ready.
    server.wait_for_log("event=redis_lost WRONGTYPE");
    redis.command(&["DEL", STREAM]);
    wait_for_ready(&server);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let text = publish(&server, b"x").text();
    assert!(
        text.contains("OOM") && text.contains("nothing was published"),
        "{text}"
    );
}

#[test]
fn needs_redis_server_connections_that_redis_kills_again_and_again_refuse_and_lose_nothing() {
    let redis = Redis::start();
    let servers: Vec<Server> = (0..3)
        .map(|_| server_with(&redis.url(), &LONG_HISTORY))
        .collect();
    let refused = work_through(&servers, |wait_for_more| {
        for _ in 0..10 {
            redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            wait_for_more();
        }
    });
    // A Redis that a busy machine keeps from answering is lost, and rightly.
    let timed_out = |server: &Server| server.count_in_log("event=redis_lost \"timed out");
    let is_excused = servers.iter().any(|server| timed_out(server) > 0);
    assert!(
        refused == 0 || is_excused,
        "{refused} publishes were refused"
    );
    for server in &servers {
        let lost = server.count_in_log("event=redis_lost");
        assert_eq!(lost, timed_out(server), "losses, and those by silence");
        server.wait_for_log("event=redis_reconnected");
    }
}

/// Larger than all reports of a test.
static MESSAGE: [u8; 20_000] = [b'x'; 20_000];

/// Publishes while `trouble` has its effect, and looks whether the message is there once, and nobody has noticed.
fn published_once_through(trouble: fn(&Proxy), is_effective: fn(&Proxy, &Redis) -> bool) {
    // A busy machine may take longer than a trouble is tolerated, but not each time.
    let is_unnoticed = (0..3).any(|_| is_published_once_through(trouble, is_effective));
    assert!(is_unnoticed, "it is refused, or Redis is said to be lost");
}

/// Whether nobody has noticed.
fn is_published_once_through(
    trouble: fn(&Proxy),
    is_effective: fn(&Proxy, &Redis) -> bool,
) -> bool {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let (near, far) = (server(&redis.url()), server(&proxy.url()));
    let mut streams = [near.subscribe("a"), far.subscribe("a")];
    let reply = std::thread::scope(|scope| {
        trouble(&proxy);
        let publishing = scope.spawn(|| publish(&far, &MESSAGE));
        wait_until("the trouble has its effect", BOUND, || {
            is_effective(&proxy, &redis)
        });
        proxy.mend();
        publishing.join().expect("it publishes")
    });
    if reply.status == 503 {
        return false;
    }
    assert_eq!(reply.status, 200, "{}", reply.text());
    near.publish("a", "end");
    for stream in &mut streams {
        let event = stream.next();
        assert_eq!(
            (event.data.as_bytes(), event.last_event_id.as_str()),
            (
                &MESSAGE[..],
                reply.json()["id"].as_str().unwrap_or_default()
            )
        );
        assert_eq!(stream.next().data, "end");
    }
    far.count_in_log("event=redis_lost") == 0
}

#[test]
fn needs_redis_server_a_publish_whose_answer_is_lost_is_found_in_the_stream() {
    published_once_through(Proxy::swallow_answers, |_, redis| {
        redis
            .command(&["XREVRANGE", STREAM, "+", "-", "COUNT", "1"])
            .contains("\r\nm\r\n")
    });
}

#[test]
fn needs_redis_server_a_publish_that_has_not_come_to_redis_is_sent_again() {
    published_once_through(Proxy::swallow_requests, |proxy, _| {
        // A message, and not a report alone.
        proxy.swallowed() > MESSAGE.len()
    });
}

#[test]
fn needs_redis_server_a_publish_whose_redis_stays_away_may_have_been_stored() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let server = server(&proxy.url());
    proxy.swallow_answers();
    let reply = publish(&server, b"x");
    assert_eq!(reply.status, 503);
    assert!(
        reply.text().contains("may have been published"),
        "{}",
        reply.text()
    );
    server.wait_for_log("event=redis_lost");
}
