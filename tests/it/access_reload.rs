//! SIGHUP applies the rules as the file has them now, to new requests and to open streams.

use crate::common;

use common::http::{Ending, EventStream};
use common::tokens::{in_seconds, jwt, sha256_hex, start, RulesFile};
use common::{bare_command, wait_until, Crowd, Publisher, Server, BOUND, TOKEN};
use serde_json::json;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Rules in which each of these tokens may follow each of these channels.
fn rules_for(tokens: &[&str], channels: &[&str]) -> String {
    let entries: Vec<_> = tokens
        .iter()
        .map(|token| json!({"name": format!("name-of-{token}"), "token": token, "subscribe": channels}))
        .collect();
    json!({"tokens": entries}).to_string()
}

/// Reloads, and waits until that is done. Returns the number of streams that it ended.
#[track_caller]
fn reload(server: &Server) -> usize {
    let before = server.count_in_log("event=reload tokens=");
    server.hang_up();
    wait_until("the rules are read again", BOUND, || {
        server.count_in_log("event=reload tokens=") > before
    });
    let log = server.log();
    let line = log
        .lines()
        .rev()
        .find(|line| line.contains("event=reload tokens="))
        .expect("it was just there");
    common::value(line, "streams_ended")
        .parse()
        .expect("it is a number")
}

fn follow(server: &Server, token: &str, channels: &str) -> EventStream {
    server.subscribe_with(&format!("/sse/{channels}?access_token={token}"), &[])
}

#[track_caller]
fn is_revoked(stream: &mut EventStream) {
    let last = stream.next();
    assert_eq!(
        (last.kind.as_str(), last.data.as_str(), last.id),
        ("sse-expired", r#"{"reason":"revoked"}"#, None)
    );
    assert_eq!(stream.ending(), Ending::Clean);
}

#[test]
fn a_reload_changes_who_may_connect() {
    let rules = RulesFile::new(rules_for(&["one"], &["a"]));
    let server = start(&rules, &[]);
    let status = |token: &str| {
        server
            .request("HEAD", &format!("/sse/a?access_token={token}"), &[], b"")
            .status
    };
    assert_eq!((status("one"), status("two")), (200, 401));
    rules.write(rules_for(&["two"], &["a"]));
    assert_eq!(
        (status("one"), status("two")),
        (200, 401),
        "until it is told"
    );
    assert_eq!(reload(&server), 0);
    assert_eq!((status("one"), status("two")), (401, 200));
    rules.write(json!({"public": {"subscribe": ["*"]}}).to_string());
    reload(&server);
    assert_eq!(server.request("HEAD", "/sse/a", &[], b"").status, 200);
}

#[test]
fn a_client_that_loses_its_right_is_told_and_the_others_do_not_notice() {
    let rules = RulesFile::new(rules_for(&["one", "two", "three"], &["a", "b"]));
    let server = start(&rules, &[]);
    let signed = jwt(&json!({"exp": in_seconds(600), "sse": {"subscribe": ["a", "b"]}}));
    let mut gone = follow(&server, "one", "a");
    let mut both = follow(&server, "two", "a,b");
    let mut kept = follow(&server, "two", "a");
    let mut renamed = follow(&server, "three", "a");
    let mut operator = follow(&server, TOKEN, "a");
    let mut bearer = follow(&server, &signed, "a,b");
    rules.write(
        json!({"tokens": [
            {"name": "two", "token": "two", "subscribe": ["a*"]},
            {"name": "new-name", "sha256": sha256_hex("three"), "subscribe": ["a"]},
        ]})
        .to_string(),
    );
    assert_eq!(reload(&server), 2);
    is_revoked(&mut gone);
    is_revoked(&mut both);
    server.wait_for_log("event=disconnect client=1 reason=revoked");
    server.publish("a", "after");
    for stream in [&mut kept, &mut renamed, &mut operator, &mut bearer] {
        let event = stream.next();
        assert_eq!(
            (event.kind.as_str(), event.data.as_str()),
            ("message", "after")
        );
    }
    wait_until("those who are left are counted", BOUND, || {
        server.stat("connected_clients") == 4
    });
}

#[test]
fn a_channel_that_became_public_needs_no_right() {
    let tokens =
        |subscribe: &[&str]| json!([{"name": "one", "token": "one", "subscribe": subscribe}]);
    let rules = RulesFile::new(
        json!({"tokens": tokens(&["a", "b"]), "public": {"subscribe": ["open"]}}).to_string(),
    );
    let server = start(&rules, &[]);
    let mut kept = follow(&server, "one", "a");
    let mut lost = follow(&server, "one", "b");
    let mut public = server.subscribe("open");
    let signed = jwt(&json!({"exp": in_seconds(600), "sse": {"subscribe": ["b"]}}));
    let mut bearer = follow(&server, &signed, "b,open");
    rules.write(json!({"tokens": tokens(&[]), "public": {"subscribe": ["a"]}}).to_string());
    assert_eq!(reload(&server), 3);
    for stream in [&mut lost, &mut public, &mut bearer] {
        is_revoked(stream);
    }
    server.publish("a", "x");
    assert_eq!(kept.next().data, "x");
}

#[test]
fn a_stream_ends_with_its_token_even_where_none_is_needed() {
    let public = json!({"subscribe": ["*"], "stats": true});
    let with = |tokens: &[&str]| {
        let entry = |token: &&str| json!({"name": token, "token": token, "subscribe": ["a"]});
        let entries: Vec<_> = tokens.iter().map(entry).collect();
        json!({"tokens": entries, "public": public}).to_string()
    };
    let rules = RulesFile::new(with(&["goes", "stays", "new-name"]));
    let server = start(&rules, &[]);
    let [mut own, mut others, mut both] =
        ["a", "open", "a,open"].map(|channels| follow(&server, "goes", channels));
    let mut watcher = server.subscribe_with("/stats/stream?access_token=goes", &[]);
    let mut stays = follow(&server, "stays", "open");
    let mut renamed = follow(&server, "new-name", "open");
    let mut operator = follow(&server, TOKEN, "open");
    let mut nobody = server.subscribe("open");
    let mut watching_nobody = server.subscribe_with("/stats/stream", &[]);
    rules
        .write(with(&["stays", "new-name"]).replace("\"name\":\"new-name\"", "\"name\":\"other\""));
    assert_eq!(reload(&server), 4);
    for stream in [&mut own, &mut others, &mut both] {
        is_revoked(stream);
    }
    watcher.data_until(r#"{"reason":"revoked"}"#);
    assert_eq!(watcher.ending(), Ending::Clean);
    // As a new request with it is refused.
    for target in ["/sse/open?access_token=goes", "/stats?access_token=goes"] {
        assert_eq!(
            server.request("HEAD", target, &[], b"").status,
            401,
            "{target}"
        );
    }
    server.publish("open", "after");
    for stream in [&mut stays, &mut renamed, &mut operator, &mut nobody] {
        assert_eq!(stream.next().data, "after");
    }
    watching_nobody.drain();
    assert_eq!(watching_nobody.next().kind, "message");
}

/// What may replace the rules' file, how it gets there, and the error for it.
type Impostor = (&'static str, fn(&str), &'static str);

fn impostors() -> [Impostor; 6] {
    [
        (
            "a pipe that nobody writes to",
            |path| {
                let path = CString::new(path).expect("a path has no NUL");
                // SAFETY: the path is a string that ends with NUL.
                assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
            },
            "is a pipe; give the path of a file",
        ),
        (
            "a folder",
            |path| std::fs::create_dir(path).expect("a folder can be made"),
            "is a directory; give the path of a file",
        ),
        (
            "a device without end",
            |path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link can be made"),
            "is a device; give the path of a file",
        ),
        (
            "a terminal",
            |path| std::os::unix::fs::symlink("/dev/ptmx", path).expect("a link can be made"),
            "is a device; give the path of a file",
        ),
        (
            "a socket",
            |path| {
                drop(std::os::unix::net::UnixListener::bind(path).expect("a socket can be made"))
            },
            "is a socket; give the path of a file",
        ),
        (
            "a file of a terabyte",
            |path| {
                let file = std::fs::File::create(path).expect("a file can be made");
                file.set_len(1 << 40).expect("it can have a hole");
            },
            "has more than 33554432 bytes; give the path of a file",
        ),
    ]
}

#[test]
fn a_pipe_or_device_in_place_of_the_rules_does_not_block_signals() {
    let remove = |path: &str| {
        let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
    };
    for (what, put, words) in impostors() {
        let rules = RulesFile::new(rules_for(&["one"], &["a"]));
        let mut server = start(&rules, &[]);
        let mut stream = follow(&server, "one", "a");
        remove(rules.path());
        put(rules.path());
        server.hang_up();
        let line = server.wait_for_log("ERROR event=reload_failed");
        assert!(
            line.contains(words) && line.contains(rules.path()),
            "{what}: {line}"
        );
        server.publish("a", "x");
        assert_eq!(
            stream.next().data,
            "x",
            "{what}: the old rules are in force"
        );
        // The next signal counts.
        remove(rules.path());
        rules.write(rules_for(&["one", "two"], &["a"]));
        assert_eq!(reload(&server), 0, "{what}");
        remove(rules.path());
        put(rules.path());
        server.hang_up();
        let (status, took) = server.terminate();
        assert!(
            status.success() && took < BOUND,
            "{what}: the stop took {took:?}"
        );
        remove(rules.path());
        let output = bare_command()
            .env("LISTEN", "127.0.0.1:0")
            .env("ACCESS_FILE", {
                put(rules.path());
                rules.path()
            })
            .output()
            .expect("the binary runs");
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what} at the start: {line}");
        assert!(
            line.contains(words) && line.lines().count() == 1,
            "{what}: {line}"
        );
        remove(rules.path());
    }
}

#[test]
fn the_right_to_follow_broadcast_alone_can_be_revoked() {
    let rules = RulesFile::new(rules_for(&["one"], &["broadcast", "a"]));
    let server = start(&rules, &[]);
    let mut alone = follow(&server, "one", "broadcast");
    let mut beside = follow(&server, "one", "a");
    rules.write(rules_for(&["one"], &["*"]));
    assert_eq!(reload(&server), 1);
    is_revoked(&mut alone);
    server.publish("broadcast", "x");
    assert_eq!(beside.next().data, "x");
}

#[test]
fn a_watcher_loses_the_list_of_channels() {
    let with =
        |stats| json!({"tokens": [{"name": "one", "token": "one", "stats": stats}]}).to_string();
    let rules = RulesFile::new(with(true));
    let server = start(&rules, &[]);
    let mut watcher = server.subscribe_with("/stats/stream?access_token=one", &[]);
    let mut anyone = server.subscribe_with("/stats/stream", &[]);
    let signed = jwt(&json!({"exp": in_seconds(600), "sse": {"stats": true}}));
    let target = format!("/stats/stream?access_token={signed}");
    let mut bearer = server.subscribe_with(&target, &[]);
    assert!(watcher.next().data.contains("\"channels\""));
    anyone.next();
    rules.write(with(false));
    assert_eq!(reload(&server), 1);
    watcher.data_until(r#"{"reason":"revoked"}"#);
    assert_eq!(watcher.ending(), Ending::Clean);
    server.wait_for_log("event=disconnect watcher= reason=revoked");
    assert_eq!(anyone.next().kind, "message");
    bearer.drain();
    assert!(bearer.next().data.contains("\"channels\""));
}

#[test]
fn broken_rules_change_nothing() {
    let rules = RulesFile::new(rules_for(&["one"], &["a"]));
    let server = start(&rules, &[]);
    let mut stream = follow(&server, "one", "a");
    rules.write("{\n  \"tokens\": [,]\n}");
    server.hang_up();
    let line = server.wait_for_log("ERROR event=reload_failed");
    let file = format!("file=\"{}\" line=2 column=14 error=", rules.path());
    assert!(line.contains(&file), "{line}");
    std::fs::remove_file(rules.path()).expect("it is there");
    server.hang_up();
    let line = server.wait_for_log("event=reload_failed No such file");
    assert!(
        !line.contains("line=") && !line.contains("column="),
        "{line}"
    );
    server.publish("a", "x");
    assert_eq!(stream.next().data, "x");
    let head = server.request("HEAD", "/sse/a?access_token=one", &[], b"");
    assert_eq!(head.status, 200, "the old rules are in force");
    rules.write(rules_for(&[], &[]));
    assert_eq!(reload(&server), 1, "as soon as they are whole again");
    is_revoked(&mut stream);
}

#[test]
fn without_rules_there_is_nothing_to_reload() {
    let mut server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    server.hang_up();
    server.wait_for_log("event=reload_ignored");
    server.publish("a", "x");
    assert_eq!(stream.next().data, "x");
    assert!(server.terminate().0.success());
}

#[test]
fn what_was_queued_for_a_stream_is_still_delivered() {
    const COUNT: usize = 100;
    let rules = RulesFile::new(rules_for(&["one"], &["a"]));
    let server = start(&rules, &[]);
    // It reads nothing for now, and the messages are more than its connection's buffers hold.
    let mut slow = follow(&server, "one", "a");
    let mut other = follow(&server, TOKEN, "a,end");
    let text = |i: usize| format!("{i} {}", "x".repeat(60_000));
    let mut publisher = Publisher::new(&server);
    for i in 0..COUNT {
        publisher.publish("a", text(i));
    }
    // The round of the announcer that carries this begins when that of the messages is over.
    other.data_until(&text(COUNT - 1));
    publisher.publish("end", "end");
    other.data_until("end");
    rules.write("{}");
    assert_eq!(reload(&server), 1);
    publisher.publish("a", "after");
    for i in 0..COUNT {
        assert_eq!(slow.next().data, text(i), "message {i}");
    }
    is_revoked(&mut slow);
    assert_eq!(other.next().data, "after");
}

#[test]
fn reloads_under_load_end_no_stream_that_keeps_its_right() {
    const CLIENTS: usize = 300;
    let keep = ["keep-0", "keep-1", "keep-2"];
    let [with, without] = [&["keep-0", "go", "keep-1", "keep-2"][..], &keep[..]]
        .map(|tokens| rules_for(tokens, &["a", "b"]));
    let rules = RulesFile::new(&with);
    let server = start(&rules, &[("CLIENT_QUEUE", "10000")]);
    let target = |i: usize| format!("/sse/a?access_token={}", keep[i % keep.len()]);
    let kept = Crowd::connect(server.addr, target, CLIENTS);
    kept.wait_for_all("the crowd is served", |client| {
        client.served_after.is_some()
    });
    let is_done = AtomicBool::new(false);
    let published = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = Publisher::new(&server);
            while !is_done.load(Ordering::SeqCst) {
                let number = published.load(Ordering::SeqCst);
                publisher.publish("a", number.to_string());
                published.fetch_add(1, Ordering::SeqCst);
            }
        });
        for round in 0..10 {
            let mut going: Vec<_> = (0..5).map(|_| follow(&server, "go", "a")).collect();
            let flowing = published.load(Ordering::SeqCst) + 20;
            wait_until("messages flow", BOUND, || {
                published.load(Ordering::SeqCst) > flowing
            });
            rules.write(&without);
            assert_eq!(reload(&server), going.len(), "round {round}");
            for stream in &mut going {
                let all = stream.data_until(r#"{"reason":"revoked"}"#);
                let numbers = all[..all.len() - 1]
                    .iter()
                    .map(|text| text.parse().expect("a number"));
                let numbers: Vec<usize> = numbers.collect();
                let is_whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
                assert!(is_whole, "round {round}: a gap in {numbers:?}");
                assert_eq!(stream.ending(), Ending::Clean);
            }
            rules.write(&with);
            assert_eq!(reload(&server), 0, "round {round}");
        }
        is_done.store(true, Ordering::SeqCst);
    });
    let published = published.load(Ordering::SeqCst);
    kept.wait_for_all("every message arrives", |client| {
        client.events.len() >= published
    });
    kept.each(|number, client| {
        assert!(!client.is_closed, "client {number} was cut off");
        let whole = client
            .data()
            .iter()
            .enumerate()
            .all(|(i, text)| *text == i.to_string());
        assert!(
            whole && client.events.len() == published,
            "client {number} missed something"
        );
    });
}

#[cfg(feature = "redis")]
#[test]
fn needs_redis_server_a_reader_that_has_waited_is_checked_again() {
    let redis = common::redis::Redis::start();
    let rules = RulesFile::new(rules_for(&["one"], &["a"]));
    let server = start(&rules, &[("REDIS_URL", &redis.url())]);
    common::redis::wait_for_ready(&server);
    // The server asks Redis about an id that it does not know.
    redis.signal(libc::SIGSTOP);
    let ahead =
        "GET /messages/a?access_token=one&since=9999999999999-0 HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut connection = server.send(ahead.as_bytes());
    wait_until("it waits", BOUND, || {
        let mut threads = server.named_threads().into_iter();
        threads.any(|(_, name)| name == "waiting")
    });
    rules.write(rules_for(&["two"], &["a"]));
    reload(&server);
    redis.signal(libc::SIGCONT);
    let reply = common::http::read_reply(&mut connection, false).expect("it is answered");
    assert_eq!(reply.status, 403, "{}", reply.text());
}

#[test]
fn a_client_that_connects_during_a_reload_is_checked() {
    let rules = RulesFile::new(rules_for(&["one"], &["a"]));
    let server = start(&rules, &[]);
    // Many at once, and often: the moment in question is a short one.
    for round in 0..60 {
        let streams: Vec<_> = std::thread::scope(|scope| {
            let come = || {
                let open = |_| EventStream::open(server.addr, "/sse/a?access_token=one", &[]);
                (0..10).map(open).collect::<Vec<_>>()
            };
            let comers = [(); 4].map(|()| scope.spawn(come));
            rules.write("{}");
            reload(&server);
            let streams = comers
                .into_iter()
                .flat_map(|c| c.join().expect("they come"));
            streams.collect()
        });
        for mut stream in streams {
            match stream.status {
                200 => is_revoked(&mut stream),
                401 | 403 => {}
                other => panic!("round {round}: {other}"),
            }
        }
        wait_until("nobody is left", BOUND, || {
            server.stat("connected_clients") == 0
        });
        rules.write(rules_for(&["one"], &["a"]));
        reload(&server);
    }
}
