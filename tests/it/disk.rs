//! The history outlives the process: with `DATA_DIR` everything is as if the server had never stopped.

use crate::common;

use common::{
    id, number_in, run, value, wait_until, Folder, Publisher, Server, AUTHORIZED, BOUND, TOKEN,
};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A server that keeps its history in this folder.
fn start(folder: &Folder, variables: &[(&str, &str)]) -> Server {
    let path = folder.0.to_str().expect("the path is UTF-8");
    Server::start(&[&[("DATA_DIR", path)], variables].concat())
}

/// What a client that returns with this id gets: data, and gaps as `gap CHANNEL`, up to a mark that is published now.
fn replay(server: &Server, channels: &str, after: &str) -> Vec<String> {
    let target = format!("/sse/{channels},end");
    let mut stream = server.subscribe_with(&target, &[("Last-Event-ID", after)]);
    let mark = server.publish("end", "mark");
    let mut story = Vec::new();
    loop {
        let event = stream.next();
        if event.id.as_ref() == Some(&mark) {
            return story;
        }
        if event.kind == "sse-gap" {
            let gap: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
            let channel = gap["canal"].as_str().expect("a gap has a channel");
            if channel != "end" {
                story.push(format!("gap {channel}"));
            }
        } else if event.data != "mark" {
            story.push(event.data);
        }
    }
}

/// A channel's figures, as in `/stats`.
fn channel(server: &Server, name: &str) -> Option<serde_json::Value> {
    let bearer = format!("Bearer {TOKEN}");
    let stats = server.request("GET", "/stats", &[("Authorization", &bearer)], b"");
    let channels = stats.json()["channels"].clone();
    let mut channels = channels.as_array().cloned().unwrap_or_default().into_iter();
    channels.find(|channel| channel["canal"] == name)
}

#[test]
fn after_a_restart_everything_is_as_it_was() {
    for (signal, sync) in [
        (libc::SIGTERM, "always"),
        (libc::SIGKILL, "always"),
        (libc::SIGTERM, "1s"),
        (libc::SIGKILL, "1s"),
    ] {
        let folder = Folder::new("disk-restart");
        let variables = [("SYNC", sync), ("HISTORY_EVENTS", "3")];
        let mut server = start(&folder, &variables);
        let quiet = server.publish("quiet", "q");
        let named = server.publish_to("/publish/named?event=alert", "línea 1\nlínea 2");
        let all = server.publish("broadcast", "to all");
        let busy: Vec<_> = (1..=5)
            .map(|n| server.publish("busy", n.to_string()))
            .collect();
        server.stop(signal);

        let mut server = start(&folder, &variables);
        assert_eq!(
            replay(&server, "busy", &busy[0]),
            ["gap busy", "3", "4", "5"]
        );
        assert_eq!(
            replay(&server, "busy", &busy[1]),
            ["3", "4", "5"],
            "no false gap"
        );
        assert_eq!(replay(&server, "quiet,busy", &busy[4]), [""; 0]);
        assert_eq!(replay(&server, "quiet", "0"), ["q", "to all"]);
        assert_eq!(replay(&server, "quiet", &quiet), ["to all"]);
        let mut stream = server.subscribe_with("/sse/named", &[("Last-Event-ID", "0")]);
        let event = stream.next();
        assert_eq!(
            (event.kind.as_str(), event.data.as_str()),
            ("alert", "línea 1\nlínea 2")
        );
        assert_eq!(event.last_event_id, named);
        assert_eq!(stream.next().last_event_id, all);
        let figures = channel(&server, "busy").expect("the channel is there");
        assert_eq!(
            (figures["messages"].as_u64(), figures["history"].as_u64()),
            (Some(5), Some(3))
        );
        let next = server.publish("busy", "6");
        assert!(id(&next) > id(&busy[4]), "ids grow");
        server.stop(signal);

        // What was dropped in the second run is known in the third.
        let server = start(&folder, &variables);
        assert_eq!(
            replay(&server, "busy", &busy[1]),
            ["gap busy", "4", "5", "6"]
        );
        assert_eq!(replay(&server, "busy", &busy[2]), ["4", "5", "6"]);
    }
}

#[test]
fn an_id_that_no_run_has_given_is_told_as_a_gap() {
    let folder = Folder::new("disk-foreign-id");
    let mut server = start(&folder, &[]);
    let first = server.publish("a", "1");
    let (ms, _) = id(&first);
    server.stop(libc::SIGKILL);
    let server = start(&folder, &[]);
    let older = format!("{}-0", ms - 3_600_000);
    let newer = format!("{}-0", ms + 3_600_000);
    for foreign in ["garbage", older.as_str(), newer.as_str()] {
        assert_eq!(replay(&server, "a", foreign)[0], "gap a", "{foreign}");
    }
    assert_eq!(replay(&server, "a", &first), [""; 0]);
}

#[test]
fn lowered_limits_apply_to_what_is_on_the_disk() {
    let folder = Folder::new("disk-limits");
    let mut server = start(&folder, &[]);
    let ids: Vec<_> = (1..=10)
        .map(|n| server.publish("a", n.to_string()))
        .collect();
    let other = server.publish("b", "b");
    server.terminate();
    let mut server = start(&folder, &[("HISTORY_EVENTS", "2")]);
    assert_eq!(replay(&server, "a", &ids[6]), ["gap a", "9", "10"]);
    assert_eq!(replay(&server, "a", &ids[7]), ["9", "10"]);
    server.terminate();
    // What was dropped stays dropped.
    let mut server = start(&folder, &[]);
    assert_eq!(replay(&server, "a", &ids[6]), ["gap a", "9", "10"]);
    server.terminate();
    let server = start(&folder, &[("HISTORY_BYTES", "1")]);
    assert_eq!(replay(&server, "b", &ids[9]), ["gap b"]);
    assert_eq!(replay(&server, "b", &other), [""; 0]);
}

#[test]
fn a_message_larger_than_all_memory_is_told_as_a_gap_after_a_restart() {
    let variables = [("HISTORY_BYTES", "10000")];
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let folder = Folder::new("disk-large");
        let mut server = start(&folder, &variables);
        let other = server.publish("other", "other");
        // One behind what is retained, in one publish with it and alone, also where it goes to all.
        let large = "x".repeat(20_000);
        let headers = [AUTHORIZED, ("Content-Type", "application/x-ndjson")];
        let lines = format!("1\n\"{large}\"\n");
        let reply = server.request("POST", "/publish/batch", &headers, lines.as_bytes());
        let batch = reply.json()["first"].as_str().expect("an id").to_string();
        let first = server.publish("a", "1");
        server.publish("a", &large);
        server.publish("broadcast", "to all");
        server.publish("broadcast", &large);
        let after = server.publish("after", "1");
        server.publish("after", &large);
        server.publish("after", "2");
        server.stop(signal);
        // A second time from what the first has written.
        for _ in 0..2 {
            let mut server = start(&folder, &variables);
            assert_eq!(replay(&server, "other", &other)[0], "gap broadcast");
            for (channels, id, own) in [
                ("batch", &batch, vec!["gap batch"]),
                ("a", &first, vec!["gap a"]),
                ("after", &after, vec!["gap after", "2"]),
            ] {
                let mut told = replay(&server, channels, id);
                told.retain(|told| !told.contains("broadcast") && told != "to all");
                assert_eq!(told, own, "{channels}, signal {signal}");
            }
            let mut told = replay(&server, "batch,a,after,other", "0");
            told.sort();
            assert_eq!(
                told,
                ["1", "1", "1", "2", "other", "to all"],
                "signal {signal}"
            );
            server.terminate();
        }
    }
}

#[test]
fn with_fewer_channels_those_that_were_published_to_last_stay() {
    let folder = Folder::new("disk-channels");
    let mut server = start(&folder, &[]);
    let names = ["old-1", "old-2", "new-1", "new-2"];
    let ids = names.map(|name| server.publish(name, name));
    server.publish("broadcast", "is not counted");
    let again = server.publish("new-1", "again");
    server.stop(libc::SIGKILL);
    let mut server = start(&folder, &[("MAX_CHANNELS", "2")]);
    let retained = |server: &Server, channel: &str| {
        let messages = server.get(&format!("/messages/{channel}?since=0&format=text"));
        messages.text().replace("is not counted\n", "")
    };
    let stay = ["", "", "new-1\nagain\n", "new-2\n"];
    for (name, expected) in names.iter().zip(stay) {
        assert_eq!(retained(&server, name), expected, "{name}");
    }
    server.terminate();
    let server = start(&folder, &[]);
    for (name, expected) in names.iter().zip(stay) {
        assert_eq!(retained(&server, name), expected, "{name} later");
    }
    assert_eq!(
        replay(&server, "old-2", &ids[0]),
        ["gap old-2", "is not counted"]
    );
    assert_eq!(replay(&server, "new-1", &again), [""; 0]);
}

#[test]
fn a_channels_time_counts_from_its_last_use_and_not_from_the_start() {
    let folder = Folder::new("disk-ttl");
    let ttl = [("CHANNEL_TTL", "4")];
    let mut server = start(&folder, &ttl);
    let first = server.publish("a", "1");
    let idle = |server: &Server| {
        let channel = channel(server, "a");
        channel.map(|channel| channel["idle_seconds"].as_u64().unwrap_or(0))
    };
    wait_until("the channel is idle", BOUND, || idle(&server) >= Some(2));
    let begun = Instant::now();
    server.stop(libc::SIGKILL);
    let server = start(&folder, &ttl);
    let now = idle(&server);
    // Where all this has taken long, its time may be over.
    let may_be_gone = begun.elapsed() >= Duration::from_secs(1);
    assert!(now >= Some(2) || (now.is_none() && may_be_gone), "{now:?}");
    wait_until("the channel goes", BOUND, || idle(&server).is_none());
    assert_eq!(replay(&server, "a", "1-0")[0], "gap a");
    assert_eq!(
        replay(&server, "a", &first),
        [""; 0],
        "it had no more than that"
    );
}

#[test]
fn a_channel_that_was_followed_when_the_server_died_is_there_afterwards() {
    let folder = Folder::new("disk-followed");
    let mut server = start(&folder, &[("CHANNEL_TTL", "6")]);
    server.publish("a", "1");
    let published = Instant::now();
    let stream = server.subscribe("a");
    // Longer than the channel would live without its client.
    wait_until("some time passes", BOUND, || {
        published.elapsed() > Duration::from_secs(8)
    });
    server.stop(libc::SIGKILL);
    drop(stream);
    let server = start(&folder, &[("CHANNEL_TTL", "600")]);
    assert_eq!(replay(&server, "a", "0"), ["1"]);
    drop(server);
    let server = start(&folder, &[("CHANNEL_TTL", "6")]);
    assert_eq!(replay(&server, "a", "0"), ["1"]);
}

#[test]
fn a_removed_channel_is_known_by_its_newest_id() {
    let folder = Folder::new("disk-former");
    let mut server = start(&folder, &[("CHANNEL_TTL", "0")]);
    let first = server.publish("a", "1");
    let second = server.publish("a", "2");
    wait_until("the channel goes", BOUND, || {
        channel(&server, "a").is_none()
    });
    server.terminate();
    let server = start(&folder, &[]);
    assert_eq!(replay(&server, "a", &first), ["gap a"]);
    assert_eq!(replay(&server, "a", &second), [""; 0]);
    assert_eq!(replay(&server, "other", &first), [""; 0]);
}

/// Publishers at full speed on a server that is killed again and again, and a client that comes back each time.
fn kill_in_mid_traffic(kills: usize, sync: &str) {
    const PUBLISHERS: usize = 4;
    let folder = Folder::new(&format!("disk-kill-{kills}-{sync}"));
    let variables = [
        ("SYNC", sync),
        ("HISTORY_EVENTS", "1000000"),
        ("HISTORY_BYTES", "1000000000"),
        ("RUST_LOG", "info"),
    ];
    // What each publisher has sent, with its id once that is known. Texts are numbers of their own.
    let mut answered: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let sent = AtomicUsize::new(0);
    let mut received: Vec<((u64, u64), usize)> = Vec::new();
    let mut last = "0".to_string();
    for round in 0..kills {
        let mut server = start(&folder, &variables);
        let is_killed = AtomicBool::new(false);
        let count = AtomicUsize::new(0);
        let new: Vec<_> = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|_| {
                    let mut publisher = Publisher::new(&server);
                    let (sent, count, is_killed) = (&sent, &count, &is_killed);
                    scope.spawn(move || {
                        let mut ids = Vec::new();
                        while !is_killed.load(Ordering::Relaxed) {
                            let number = sent.fetch_add(1, Ordering::Relaxed);
                            match publisher.try_publish("a", number.to_string()) {
                                Ok(answer) => ids.push((id(&answer), number)),
                                Err(_) => break,
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        ids
                    })
                })
                .collect();
            let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", &last)]);
            let wanted = 1 + round * 7 % 40;
            wait_until("some are published", BOUND, || {
                count.load(Ordering::Relaxed) >= wanted
            });
            let event = stream.next();
            let events = std::iter::once(event).chain(stream.drain());
            for event in events {
                assert_eq!(event.kind, "message", "round {round}: {event:?}");
                let number = event.data.parse().expect("texts are numbers");
                received.push((id(&event.last_event_id), number));
                last = event.last_event_id;
            }
            server.stop(libc::SIGKILL);
            is_killed.store(true, Ordering::Relaxed);
            let ids = publishers.into_iter().map(|p| p.join().expect("it ends"));
            ids.flatten().collect()
        });
        answered.extend(new);
    }
    let mut server = start(&folder, &variables);
    let mark = server.publish("a", "mark");
    let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", &last)]);
    loop {
        let event = stream.next();
        if event.last_event_id == mark {
            break;
        }
        assert_eq!(event.kind, "message", "at the end: {event:?}");
        let number = event.data.parse().expect("texts are numbers");
        received.push((id(&event.last_event_id), number));
    }
    let is_in_order = received.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(is_in_order, "an id that is not larger than the one before");
    let mut texts: Vec<_> = received.iter().map(|(_, number)| *number).collect();
    texts.sort_unstable();
    assert!(
        texts.windows(2).all(|pair| pair[0] < pair[1]),
        "one came twice"
    );
    let is_sent = texts
        .last()
        .is_none_or(|most| *most < sent.load(Ordering::Relaxed));
    assert!(is_sent, "one that was not published");
    let received: BTreeMap<_, _> = received.into_iter().collect();
    for (id, number) in &answered {
        assert_eq!(
            received.get(id),
            Some(number),
            "{id:?} of {}",
            answered.len()
        );
    }
    // And what is retained is what came.
    let mut stream = server.subscribe_with("/sse/a", &[("Last-Event-ID", "0")]);
    for (id_, number) in &received {
        let event = stream.next();
        assert_eq!(
            (id(&event.last_event_id), event.data),
            (*id_, number.to_string())
        );
    }
    let status = server.terminate().0;
    assert_eq!(status.code(), Some(0));
}

#[test]
fn answered_messages_survive_kill_9_in_mid_traffic() {
    kill_in_mid_traffic(8, "always");
    kill_in_mid_traffic(8, "1s");
}

#[cfg(feature = "hostile-tests")]
#[test]
fn answered_messages_survive_200_times_kill_9() {
    kill_in_mid_traffic(200, "always");
    kill_in_mid_traffic(200, "1s");
}

#[test]
fn two_hundred_returns_over_twenty_restarts_lose_nothing() {
    const RESTARTS: usize = 20;
    const RETURNS: usize = 10;
    let folder = Folder::new("disk-returns");
    let variables = [
        ("HISTORY_EVENTS", "1000000"),
        ("HISTORY_BYTES", "1000000000"),
    ];
    let mut published = Vec::new();
    let mut received: Vec<(u64, u64)> = Vec::new();
    let mut last = "0".to_string();
    for restart in 0..RESTARTS {
        let mut server = start(&folder, &variables);
        let is_done = AtomicBool::new(false);
        let new: Vec<_> = std::thread::scope(|scope| {
            let publishers: Vec<_> = ["a", "b", "broadcast"]
                .map(|channel| {
                    let (server, is_done) = (&server, &is_done);
                    scope.spawn(move || {
                        let mut publisher = Publisher::new(server);
                        let mut ids = Vec::new();
                        while !is_done.load(Ordering::Relaxed) {
                            ids.push(id(&publisher.publish(channel, "x")));
                        }
                        ids
                    })
                })
                .into();
            for round in 0..RETURNS {
                let mut stream = server.subscribe_with("/sse/a,b", &[("Last-Event-ID", &last)]);
                let mut events = Vec::new();
                while events.len() < 1 + round % 5 {
                    events.push(stream.next());
                }
                events.extend(stream.drain());
                for event in events {
                    assert_eq!(event.kind, "message", "a false gap: {event:?}");
                    received.push(id(&event.last_event_id));
                    last = event.last_event_id;
                }
            }
            is_done.store(true, Ordering::Relaxed);
            let ids = publishers
                .into_iter()
                .map(|p| p.join().expect("they publish"));
            ids.flatten().collect()
        });
        published.extend(new);
        server.stop(if restart % 2 == 0 {
            libc::SIGKILL
        } else {
            libc::SIGTERM
        });
    }
    published.sort_unstable();
    let server = start(&folder, &variables);
    let mut stream = server.subscribe_with("/sse/a,b", &[("Last-Event-ID", &last)]);
    while received.last() != published.last() {
        received.push(id(&stream.next().last_event_id));
    }
    assert_eq!(received.len(), published.len());
    assert!(received == published, "every message once, in order");
}

#[test]
fn a_stop_answers_publishers_and_keeps_what_it_answered() {
    let folder = Folder::new("disk-stop");
    let mut server = start(&folder, &[("SYNC", "60s")]);
    let ids: Vec<_> = (0..100)
        .map(|n| server.publish("a", n.to_string()))
        .collect();
    let (status, _) = server.terminate();
    assert_eq!(status.code(), Some(0));
    let server = start(&folder, &[]);
    assert_eq!(replay(&server, "a", &ids[97]), ["98", "99"]);
}

#[test]
fn a_key_is_known_after_a_restart() {
    for (sync, signal) in [
        ("always", libc::SIGKILL),
        ("60s", libc::SIGKILL),
        ("always", libc::SIGTERM),
    ] {
        let folder = Folder::new("disk-keys");
        let publish = |server: &Server, key: &str, text: &str| {
            let bearer = format!("Bearer {TOKEN}");
            let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
            server.request("POST", "/publish/a", &headers, text.as_bytes())
        };
        let mut server = start(&folder, &[("SYNC", sync)]);
        let first = publish(&server, "one", "x");
        assert_eq!(first.status, 200, "{}", first.text());
        server.stop(signal);
        let mut server = start(&folder, &[("SYNC", sync)]);
        for _ in 0..2 {
            let again = publish(&server, "one", "x");
            assert_eq!((again.status, again.text()), (200, first.text()));
            assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
        }
        assert_eq!(publish(&server, "one", "y").status, 422);
        assert_eq!(publish(&server, "two", "y").status, 200);
        assert_eq!(replay(&server, "a", "0"), ["x", "y"]);
        server.stop(signal);
        let server = start(&folder, &[]);
        assert_eq!(publish(&server, "one", "x").text(), first.text());
    }
}

#[test]
fn the_files_shrink_with_what_is_retained() {
    let folder = Folder::new("disk-shrink");
    let most = 4 * (1 << 20) + (16 << 20);
    let server = start(
        &folder,
        &[("HISTORY_BYTES", "1048576"), ("HISTORY_EVENTS", "1000000")],
    );
    let line = format!("\"{}\"\n", "x".repeat(1000));
    let mut publisher = Publisher::new(&server);
    for _ in 0..40 {
        publisher.publish_batch("a", &line.repeat(900));
    }
    let bytes = || {
        server.get("/stats").json()["disk"]["bytes"]
            .as_u64()
            .expect("a number")
    };
    wait_until("the file is as small as it should be", 4 * BOUND, || {
        bytes() <= most
    });
}

#[test]
fn a_new_file_stays_until_less_is_retained() {
    let folder = Folder::new("disk-anew");
    // Each message takes two pages where one is nearly enough, and the file doubles for the last of them: from the start it
    // is more than three times as large as what is retained.
    let variables = [("HISTORY_BYTES", "18500000"), ("HISTORY_EVENTS", "5000")];
    let server = start(&folder, &variables);
    let line = format!("\"{}\"\n", "x".repeat(4100));
    let mut publisher = Publisher::new(&server);
    for _ in 0..40 {
        publisher.publish_batch("a", &line.repeat(220));
    }
    let store = || std::fs::metadata(folder.0.join("history.redb")).expect("it is there");
    let mut last = (store().ino(), Instant::now());
    // One that is too large is written anew each 30 s.
    wait_until("the file stays", Duration::from_secs(110), || {
        let now = store().ino();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(35)
    });
    publisher.publish_batch("a", &"\"x\"\n".repeat(5000));
    wait_until("the file shrinks with what is retained", 4 * BOUND, || {
        store().len() < 16 << 20
    });
}

#[test]
fn statistics_and_metrics_tell_of_the_disk() {
    let folder = Folder::new("disk-figures");
    let server = start(&folder, &[("SYNC", "500ms")]);
    server.publish("a", "x");
    let stats = server.get("/stats").json();
    let disk = &stats["disk"];
    assert_eq!(
        (disk["state"].as_str(), disk["sync"].as_str()),
        (Some("writable"), Some("500ms"))
    );
    assert!(
        disk["bytes"].as_u64() > Some(0) && disk["last_fault"].is_null(),
        "{disk}"
    );
    wait_until("the commit is counted", BOUND, || {
        let metrics = server.get("/metrics").text();
        let count = metrics.lines().find_map(|line| {
            line.strip_prefix("sse_server_disk_commit_seconds_count ")?
                .parse::<u64>()
                .ok()
        });
        metrics.contains("\nsse_server_disk_writable 1\n")
            && metrics.contains("\nsse_server_disk_faults_total 0\n")
            && count >= Some(1)
    });
    let line = server.wait_for_log("event=disk_opened");
    assert_eq!(
        (value(&line, "sync"), value(&line, "messages")),
        ("500ms", "0")
    );
    // Without a folder nobody is told of one.
    let server = Server::start(&[]);
    assert!(server.get("/stats").json()["disk"].is_null());
    assert!(!server.get("/metrics").text().contains("sse_server_disk"));
}

#[test]
fn check_data_reports_the_content_and_changes_nothing() {
    let folder = Folder::new("disk-check");
    let path = folder.0.to_str().expect("the path is UTF-8").to_string();
    let check = || {
        let output = run(&["--check-data", &path], &[]);
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    assert!(matches!(check(), (Some(1), text) if text.contains("no file history.redb")));
    for (sync, signal, how) in [
        ("always", libc::SIGTERM, "in order"),
        ("60s", libc::SIGKILL, "without notice"),
    ] {
        let mut server = start(&folder, &[("SYNC", sync)]);
        let newest = server.publish("a", "x");
        let (code, text) = check();
        assert!(
            code == Some(1) && text.contains("another sse-server has it"),
            "{text}"
        );
        server.stop(signal);
        let before = std::fs::read(folder.0.join("history.redb")).expect("it is there");
        let (code, text) = check();
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains(&format!("newest id given: {newest}")) && text.contains(how),
            "{text}"
        );
        let after = std::fs::read(folder.0.join("history.redb")).expect("it is there");
        assert!(before == after, "the check has changed the file");
    }
    // Also where nothing can be written, in a copy of that file alone.
    std::fs::remove_file(folder.0.join("lock")).expect("it can be removed");
    let mut mode = std::fs::metadata(&folder.0)
        .expect("it is there")
        .permissions();
    mode.set_mode(0o555);
    std::fs::set_permissions(&folder.0, mode.clone()).expect("it can be set");
    let (code, text) = check();
    assert!(!folder.0.join("lock").exists(), "the check has made a file");
    assert!(
        matches!(code, Some(0 | 1)) && !text.contains("written"),
        "{text}"
    );
    mode.set_mode(0o755);
    std::fs::set_permissions(&folder.0, mode).expect("it can be set");
    std::fs::write(folder.0.join("history.redb"), "something else").expect("it can be written");
    let (code, text) = check();
    assert!(code == Some(1) && text.contains("sets it aside"), "{text}");
}

#[test]
fn the_check_of_the_configuration_says_what_a_start_would_find() {
    let folder = Folder::new("disk-outlook");
    let data = folder.0.join("new/data");
    let path = data.to_str().expect("the path is UTF-8");
    let check = |path: &str| {
        let variables = [("DATA_DIR", path), ("AUTH_TOKEN", TOKEN)];
        let output = run(&["--check"], &variables);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code(), text)
    };
    let expect = |path: &str, code, words: &str| {
        let found = check(path);
        assert!(
            found.0 == Some(code) && found.1.contains(words),
            "{found:?}"
        );
    };
    expect(path, 0, "it is made at the start");
    assert!(!folder.0.join("new").exists(), "the check has made it");
    let mut server = Server::start(&[("DATA_DIR", path)]);
    server.publish("a", "x");
    expect(path, 0, "a server has it");
    server.terminate();
    expect(path, 0, "1 messages in 1 channels");
    let store = data.join("history.redb");
    let good = std::fs::read(&store).expect("it is there");
    std::fs::write(&store, &good[..good.len() / 2]).expect("it can be written");
    expect(path, 0, "sets it aside");
    std::fs::remove_file(&store).expect("it can be removed");
    expect(path, 0, "nothing is kept there yet");
    let file = folder.write("file", "x");
    expect(file.to_str().expect("UTF-8"), 2, "give a folder");
    expect(&format!("{}/below", file.display()), 2, "give a folder");
}

#[test]
fn an_unusable_folder_is_one_clear_line() {
    let folder = Folder::new("disk-misuse");
    let file = folder.write("file", "x");
    let file = file.to_str().expect("the path is UTF-8");
    let below = format!("{file}/data");
    let redis = "redis://127.0.0.1:1";
    let good = folder.0.to_str().expect("the path is UTF-8");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("DATA_DIR", "")], "DATA_DIR is empty"),
        (&[("DATA_DIR", file)], "give a folder"),
        (&[("DATA_DIR", &below)], "give a folder"),
        (&[("DATA_DIR", "/proc/none")], "give a folder"),
        (
            &[("DATA_DIR", good), ("REDIS_URL", redis)],
            "DATA_DIR and REDIS_URL are both set",
        ),
    ];
    for (variables, words) in cases {
        is_refused(variables, words);
    }
}

#[test]
fn a_time_to_sync_has_a_unit_and_is_at_most_a_minute() {
    for bad in [
        "",
        "s",
        "ms",
        "0s",
        "0ms",
        "61s",
        "60001ms",
        "1",
        "1m",
        "-1s",
        "+1s",
        "1 s",
        "Always",
        "sometimes",
        "99999999999999999999s",
    ] {
        is_refused(&[("SYNC", bad)], &format!("SYNC is {bad:?}; give always"));
    }
}

#[track_caller]
fn is_refused(variables: &[(&str, &str)], words: &str) {
    let always = [("AUTH_TOKEN", TOKEN), ("LISTEN", "127.0.0.1:0")];
    let output = run(&[], &[variables, &always].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{variables:?}: {text}");
    assert!(
        text.contains(words) && text.lines().count() == 1,
        "{variables:?}: {text}"
    );
}

/// Bytes that the process has caused to be written to storage (`proc_pid_io(5)`).
fn written(server: &Server) -> u64 {
    let io = format!("/proc/{}/io", server.pid());
    number_in(&io, "write_bytes:").expect("it runs")
}

fn is_little_written(sync: &str, most: u64) {
    let folder = Folder::new(&format!("disk-written-{sync}"));
    let path = folder.0.to_str().expect("the path is UTF-8");
    let server = Server::start(&[("DATA_DIR", path), ("SYNC", sync)]);
    let mut publisher = Publisher::new(&server);
    let mut publish = |count| {
        for _ in 0..count {
            publisher.publish("a", [b'x'; 200]);
        }
    };
    publish(200);
    let before = written(&server);
    publish(500);
    let bytes = (written(&server) - before) / 500;
    println!("SYNC={sync}: {bytes} bytes a message");
    assert!(bytes <= most, "SYNC={sync}: {bytes} bytes a message");
    // What waits for company is written alone after a while. Then it is quiet.
    let mut last = (written(&server), Instant::now());
    wait_until(
        "nothing is written any more",
        Duration::from_secs(60),
        || {
            let now = written(&server);
            if now != last.0 {
                last = (now, Instant::now());
            }
            last.1.elapsed() > Duration::from_secs(7)
        },
    );
    let target = format!("/stats?access_token={TOKEN}");
    assert_eq!(server.get(&target).json()["disk"]["state"], "writable");
}

#[test]
fn little_is_written_for_a_message_and_nothing_at_rest() {
    is_little_written("always", 12_000);
}

#[test]
fn less_is_written_with_a_sync_each_second_and_nothing_at_rest() {
    is_little_written("1s", 4000);
}
