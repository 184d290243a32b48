//! Keys hold over all servers that share a Redis, whatever happens between them and it: the record of a key is stored with the
//! messages, or neither is.

use crate::common;

use super::idempotency::{assert_again, assert_first, try_once, NDJSON};
use common::redis::{server, server_with, Proxy, Redis};
use common::{http, wait_until, Publisher, Reply, Server, AUTHORIZED, BOUND, TOKEN};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;

fn publish(server: &Server, key: &str, body: &str) -> Reply {
    try_once(server, "/publish/a", key, &[], body)
}

/// Messages of this text in the stream.
fn stored(redis: &Redis, text: &str) -> usize {
    let all = redis.command(&["XRANGE", "sse-server:events", "-", "+"]);
    let messages = all.lines().zip(all.lines().skip(2));
    messages
        .filter(|(field, value)| *field == "m" && *value == text)
        .count()
}

/// One try, which fails if the server goes away meanwhile.
fn risk(addr: SocketAddr, key: &str, body: &str) -> Option<Reply> {
    let request = format!(
        "POST /publish/a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut connection = TcpStream::connect(addr).ok()?;
    connection.set_read_timeout(Some(BOUND)).ok()?;
    connection.write_all(request.as_bytes()).ok()?;
    http::read_reply(&mut connection, false).ok()
}

#[test]
fn needs_redis_server_a_hundred_tries_through_three_servers_and_a_restart_are_one_message() {
    let redis = Redis::start();
    let url = redis.url();
    let mut servers: Vec<Server> = (0..3).map(|_| server(&url)).collect();
    let mut streams: Vec<_> = servers.iter().map(|server| server.subscribe("a")).collect();
    streams.pop();
    let addresses = Mutex::new([servers[0].addr, servers[1].addr, servers[2].addr]);
    let begun = AtomicUsize::new(0);
    // Nothing is answered before all servers have tries under way, one of which then dies.
    redis.signal(libc::SIGSTOP);
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..16)
            .map(|connection| {
                let (addresses, begun) = (&addresses, &begun);
                scope.spawn(move || {
                    let mut replies = Vec::new();
                    for number in (connection..100).step_by(16) {
                        // Until it is answered, as a script does, and at the next server.
                        let answered = (number..number + 1000).find_map(|server| {
                            begun.fetch_add(1, Ordering::SeqCst);
                            let addr = addresses.lock().unwrap()[server % 3];
                            let reply = risk(addr, "k", "x");
                            reply.filter(|reply| reply.status != 503)
                        });
                        replies.push(answered.expect("one of them answers"));
                    }
                    replies
                })
            })
            .collect();
        wait_until("all connections try", BOUND, || {
            begun.load(Ordering::SeqCst) >= 16
        });
        servers[2].stop(libc::SIGKILL);
        redis.signal(libc::SIGCONT);
        servers[2] = server(&url);
        addresses.lock().unwrap()[2] = servers[2].addr;
        let replies = connections.into_iter().map(|c| c.join().expect("it tries"));
        replies.flatten().collect()
    });
    assert_eq!(replies.len(), 100);
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.text(), replies[0].text());
    }
    // The first one's answer may have died with its server.
    let is_first = |reply: &&Reply| reply.header("Idempotency-Replayed").is_none();
    assert!(replies.iter().filter(is_first).count() <= 1);
    assert_eq!(stored(&redis, "x"), 1);
    servers[0].publish("a", "end");
    for stream in &mut streams {
        assert_eq!(stream.data_until("end"), ["x", "end"]);
    }
    // A server that has just come knows it as well, and what else is with this key.
    let late = server(&url);
    assert_again(&publish(&late, "k", "x"), &replies[0]);
    assert_eq!(publish(&late, "k", "y").status, 422);
}

#[test]
fn needs_redis_server_a_batch_of_ten_thousand_is_stored_once() {
    let redis = Redis::start();
    let servers = [server(&redis.url()), server(&redis.url())];
    let body: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    let batch =
        |server: &Server, body: &str| try_once(server, "/publish/a?event=e", "k", &[NDJSON], body);
    let mut stream = servers[1].subscribe("a");
    let first = batch(&servers[0], &body);
    assert_first(&first);
    assert_eq!(first.json()["count"], 10_000);
    assert_again(&batch(&servers[1], &body), &first);
    assert_again(&batch(&servers[0], &body), &first);
    assert_eq!(batch(&servers[1], "0\n1\n").status, 422);
    servers[0].publish("a", "end");
    let received: Vec<_> = (0..10_001).map(|_| stream.next()).collect();
    assert_eq!(received[0].id.as_deref(), first.json()["first"].as_str());
    assert_eq!(received[9_999].id.as_deref(), first.json()["last"].as_str());
    assert!(received[..10_000].iter().all(|event| event.kind == "e"));
    assert_eq!(received[10_000].data, "end");
}

/// Sends the same until it is accepted.
fn insist(server: &Server, key: &str, body: &str) -> Reply {
    let mut accepted = None;
    wait_until("it is published", 6 * BOUND, || {
        let reply = publish(server, key, body);
        assert!([200, 503].contains(&reply.status), "{}", reply.text());
        accepted = Some(reply).filter(|reply| reply.status == 200);
        accepted.is_some()
    });
    accepted.expect("just set")
}

#[test]
fn needs_redis_server_what_was_sent_over_a_line_that_died_is_not_sent_twice() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.addr);
    let server = server(&proxy.url());
    let other = self::server(&redis.url());
    for round in 0..10 {
        // Redis gets everything, and its answers are lost.
        proxy.swallow_answers();
        let text = format!("x{round}");
        let plain = |number| format!("plain {round} {number}");
        let (replies, accepted) = std::thread::scope(|scope| {
            let with_keys: Vec<_> = (0..8)
                .map(|number| {
                    let (server, text) = (&server, &text);
                    // Each key twice.
                    scope.spawn(move || insist(server, &format!("{round}-{}", number % 4), text))
                })
                .collect();
            // In the same transactions.
            let without: Vec<_> = (0..4)
                .map(|number| {
                    let (server, text) = (&server, plain(number));
                    scope.spawn(move || Publisher::new(server).try_publish("a", text).is_ok())
                })
                .collect();
            // It has none if the server has noticed before it sent them.
            wait_until("Redis has one of them", BOUND, || {
                stored(&redis, &text) > 0 || server.get("/health/ready").status == 503
            });
            proxy.mend();
            let accepted = without
                .into_iter()
                .map(|p| p.join().expect("it is answered"));
            let accepted: Vec<bool> = accepted.collect();
            let replies = with_keys
                .into_iter()
                .map(|p| p.join().expect("it is answered"));
            (replies.collect::<Vec<Reply>>(), accepted)
        });
        for number in 0..4 {
            let again = publish(&other, &format!("{round}-{number}"), &text);
            assert_again(&again, &replies[number]);
            assert_eq!(again.text(), replies[number + 4].text());
        }
        assert_eq!(stored(&redis, &text), 4);
        for (number, accepted) in accepted.into_iter().enumerate() {
            // One that was refused because nobody could know may be there.
            let count = stored(&redis, &plain(number));
            assert!(
                count <= 1 && (count == 1 || !accepted),
                "{accepted} {count}"
            );
        }
    }
}

#[test]
fn needs_redis_server_a_second_try_waits_for_the_first_and_holds_no_thread() {
    let redis = Redis::start();
    let server = server(&redis.url());
    redis.signal(libc::SIGSTOP);
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| insist(&server, "k", "x")))
            .collect();
        // There are only as many workers as cores, and they have time for others.
        for _ in 0..20 {
            assert_eq!(server.get("/health").status, 200);
        }
        redis.signal(libc::SIGCONT);
        tries
            .into_iter()
            .map(|t| t.join().expect("it is answered"))
            .collect()
    });
    for reply in &replies {
        assert_eq!(reply.text(), replies[0].text());
    }
    assert_eq!(stored(&redis, "x"), 1);
}

#[test]
fn needs_redis_server_a_message_that_could_not_be_confirmed_is_safe_to_send_again() {
    let redis = Redis::start();
    let server = server(&redis.url());
    redis.signal(libc::SIGSTOP);
    // It is on its way to Redis, and nobody knows what will come of it.
    let refused = publish(&server, "k", "x");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let words = "it may have been published, try again later with the same Idempotency-Key";
    assert!(refused.text().contains(words), "{}", refused.text());
    // The server knows what came of this try, and not what came of the first.
    for _ in 0..2 {
        let refused = publish(&server, "k", "x");
        assert_eq!(refused.status, 503, "{}", refused.text());
        let words = "this try published nothing, try again later with the same Idempotency-Key";
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    // Without a key there is one try, and what came of it is known.
    let refused = server.request("POST", "/publish/a", &[AUTHORIZED], b"y");
    assert!(refused
        .text()
        .contains("nothing was published, try again later\""));
    redis.signal(libc::SIGCONT);
    let reply = insist(&server, "k", "x");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_again(&publish(&server, "k", "x"), &reply);
    assert_eq!(stored(&redis, "x"), 1);
    assert_eq!(publish(&server, "k", "y").status, 422);
}

#[test]
fn needs_redis_server_a_refused_try_does_not_use_the_key_up() {
    let redis = Redis::start();
    let server = server_with(&redis.url(), &[]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    wait_until("Redis refuses", BOUND, || {
        let reply = publish(&server, "k", "x");
        assert_eq!(reply.status, 503, "{}", reply.text());
        reply.text().contains("OOM") || reply.text().contains("writes")
    });
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    // What it was refused for may be known for a moment longer.
    let first = insist(&server, "k", "x");
    assert_first(&first);
    assert_again(&publish(&server, "k", "x"), &first);
    assert_eq!(stored(&redis, "x"), 1);
}

#[test]
fn needs_redis_server_a_stream_that_was_deleted_is_begun_anew_with_a_key_as_well() {
    let redis = Redis::start();
    let server = server(&redis.url());
    assert_first(&publish(&server, "k0", "x"));
    redis.command(&["DEL", "sse-server:events"]);
    assert_first(&publish(&server, "k1", "y"));
    assert_eq!(stored(&redis, "y"), 1);
    // It was answered once, and is answered so again.
    let again = publish(&server, "k0", "x");
    assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
    // A record goes after ten minutes.
    let keys = redis.command(&["KEYS", "sse-server:key:*"]);
    let key = keys
        .lines()
        .find(|line| line.starts_with("sse-server:key:"));
    let left = redis.command(&["TTL", key.expect("there is a record")]);
    let left: u32 = left
        .lines()
        .next()
        .and_then(|line| line[1..].parse().ok())
        .expect("seconds");
    assert!((500..=600).contains(&left), "{left}");
}

#[test]
fn needs_redis_server_whatever_fails_each_key_is_published_once() {
    const PUBLISHERS: usize = 6;
    const LEAST: usize = 40;
    let mut redis = Redis::start_durable();
    let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::start(redis.addr)).collect();
    let mut servers: Vec<Server> = proxies.iter().map(|proxy| server(&proxy.url())).collect();
    let addresses = Mutex::new([servers[0].addr, servers[1].addr, servers[2].addr]);
    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let published: Vec<String> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (addresses, is_over, done) = (&addresses, &is_over, &done);
                scope.spawn(move || {
                    let mut published = Vec::new();
                    while published.len() < LEAST || !is_over.load(Ordering::SeqCst) {
                        let text = format!("{publisher}-{}", published.len());
                        // Each try at another server, until one accepts it.
                        let mut server = published.len();
                        wait_until("it is accepted", 6 * BOUND, || {
                            server += 1;
                            let addr = addresses.lock().unwrap()[server % 3];
                            risk(addr, &text, &text).is_some_and(|reply| reply.status == 200)
                        });
                        published.push(text);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    published
                })
            })
            .collect();
        let go_on = || {
            let before = done.load(Ordering::SeqCst);
            wait_until("publishing goes on", 6 * BOUND, || {
                done.load(Ordering::SeqCst) > before + 10
            });
        };
        for round in 0..3 {
            go_on();
            proxies[round].swallow_answers();
            go_on();
            proxies[round].mend();
            proxies[(round + 1) % 3].cut();
            go_on();
            proxies[(round + 1) % 3].mend();
            go_on();
            redis.kill();
            redis.start_again();
            go_on();
            servers[round].stop(libc::SIGKILL);
            servers[round] = server(&proxies[round].url());
            addresses.lock().unwrap()[round] = servers[round].addr;
        }
        go_on();
        is_over.store(true, Ordering::SeqCst);
        let published = publishers
            .into_iter()
            .map(|p| p.join().expect("it publishes"));
        published.flatten().collect()
    });
    let mut stored = Vec::new();
    let all = redis.command(&["XRANGE", "sse-server:events", "-", "+"]);
    let lines: Vec<&str> = all.lines().collect();
    stored.extend(
        lines
            .windows(3)
            .filter(|w| w[0] == "m")
            .map(|w| w[2].to_string()),
    );
    let mut expected = published;
    stored.sort_unstable();
    expected.sort_unstable();
    assert!(expected.len() >= PUBLISHERS * LEAST);
    assert_eq!(stored, expected);
}
