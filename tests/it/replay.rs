//! A returning client gets what it missed: nothing is lost, nothing comes twice, and gaps are told.

use crate::common;

use common::event_stream::Event;
use common::{id, wait_until, Publisher, Server};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Subscribes with an id, and tells what comes: data, and gaps as `gap CHANNEL AFTER`. The end is marked on a channel of
/// its own, which is left out of the story.
fn replay(server: &Server, channels: &str, after: &str) -> Vec<String> {
    static MARKS: AtomicUsize = AtomicUsize::new(0);
    let mark = format!("end mark {}", MARKS.fetch_add(1, Ordering::Relaxed));
    let target = format!("/sse/{channels},end");
    let mut stream = server.subscribe_with(&target, &[("Last-Event-ID", after)]);
    server.publish("end", &mark);
    let mut story = Vec::new();
    loop {
        let event = stream.next();
        if event.data == mark {
            story.retain(|told: &String| {
                !told.starts_with("end mark") && !told.starts_with("gap end ")
            });
            return story;
        }
        story.push(tell(&event));
    }
}

fn tell(event: &Event) -> String {
    if event.kind != "sse-gap" {
        return event.data.clone();
    }
    assert_eq!(event.id, None, "a gap has no id");
    let gap: serde_json::Value = serde_json::from_str(&event.data).expect("a gap's data is JSON");
    let text = |key: &str| {
        gap[key]
            .as_str()
            .unwrap_or_else(|| panic!("a gap says its {key}"))
            .to_string()
    };
    format!("gap {} {}", text("canal"), text("after"))
}

const NOTHING: [&str; 0] = [];

#[test]
fn two_hundred_returns_at_full_speed_lose_nothing() {
    const RETURNS: usize = 200;
    let server = Server::start(&[
        ("HISTORY_EVENTS", "1000000"),
        ("HISTORY_BYTES", "1000000000"),
    ]);
    let is_done = AtomicBool::new(false);
    let (received, published) = std::thread::scope(|scope| {
        let publishers: Vec<_> = ["a", "b", "c", "broadcast"]
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
        let mut received: Vec<Event> = Vec::new();
        let mut last = "0".to_string();
        for round in 0..RETURNS {
            let mut stream = server.subscribe_with("/sse/a,b,c", &[("Last-Event-ID", &last)]);
            let wanted = received.len() + 1 + round % 7;
            while received.len() < wanted {
                received.push(stream.next());
            }
            // What was received with it belongs to this connection as well.
            received.extend(stream.drain());
            last = received
                .last()
                .expect("something was received")
                .last_event_id
                .clone();
        }
        is_done.store(true, Ordering::Relaxed);
        let mut published: Vec<_> = publishers
            .into_iter()
            .flat_map(|p| p.join().expect("publishers publish"))
            .collect();
        published.sort_unstable();
        let newest = published.last().copied();
        let mut stream = server.subscribe_with("/sse/a,b,c", &[("Last-Event-ID", &last)]);
        while received.last().map(|e| id(&e.last_event_id)) != newest {
            received.push(stream.next());
        }
        (received, published)
    });
    let gaps = received.iter().filter(|e| e.kind != "message").count();
    assert_eq!(gaps, 0, "gaps although nothing was evicted");
    let received: Vec<_> = received.iter().map(|e| id(&e.last_event_id)).collect();
    assert!(
        received.windows(2).all(|w| w[0] < w[1]),
        "an id that is not larger than the one before"
    );
    assert_eq!(
        received.len(),
        published.len(),
        "messages received against published"
    );
    assert!(received == published, "every message once, in order");
}

#[test]
fn an_evicted_message_is_a_gap_and_a_retained_one_is_none() {
    let server = Server::start(&[("HISTORY_EVENTS", "3")]);
    let ids: Vec<_> = (1..=5)
        .map(|n| server.publish("a", n.to_string()))
        .collect();
    assert_eq!(
        replay(&server, "a", &ids[0]),
        [&format!("gap a {}", ids[0]), "3", "4", "5"]
    );
    let server = Server::start(&[("HISTORY_EVENTS", "4")]);
    let ids: Vec<_> = (1..=5)
        .map(|n| server.publish("a", n.to_string()))
        .collect();
    assert_eq!(
        replay(&server, "a", &ids[1]),
        ["3", "4", "5"],
        "everything after the second is retained"
    );
    assert_eq!(replay(&server, "a", &ids[4]), NOTHING, "nothing was missed");
}

#[test]
fn an_eviction_in_one_channel_is_no_gap_in_another() {
    let server = Server::start(&[("HISTORY_EVENTS", "2")]);
    let first = server.publish("quiet", "q");
    for n in 0..5 {
        server.publish("busy", n.to_string());
    }
    assert_eq!(replay(&server, "quiet", &first), NOTHING);
    let told = replay(&server, "busy,quiet", &first);
    assert_eq!(told[0], format!("gap busy {first}"));
    assert_eq!(
        told.iter().filter(|t| t.starts_with("gap")).count(),
        1,
        "{told:?}"
    );
}

#[test]
fn broadcast_has_a_history_and_gaps_of_its_own() {
    let server = Server::start(&[("HISTORY_EVENTS", "2")]);
    let first = server.publish("a", "a1");
    server.publish("broadcast", "b1");
    assert_eq!(replay(&server, "a", &first), ["b1"]);
    for n in 2..=4 {
        server.publish("broadcast", format!("b{n}"));
    }
    assert_eq!(
        replay(&server, "a", &first),
        [&format!("gap broadcast {first}"), "b3", "b4"]
    );
}

#[test]
fn zero_asks_for_everything_retained_without_a_gap() {
    let server = Server::start(&[("HISTORY_EVENTS", "2")]);
    for n in 1..=3 {
        server.publish("a", n.to_string());
    }
    assert_eq!(replay(&server, "a", "0"), ["2", "3"]);
    assert_eq!(replay(&server, "a", "0-0"), ["2", "3"]);
    assert_eq!(replay(&server, "new", "0"), NOTHING);
}

#[test]
fn an_id_that_the_server_cannot_know_is_a_gap_everywhere() {
    let server = Server::start(&[]);
    server.publish("a", "1");
    for unknown in [
        "garbage",
        "-",
        "1",
        "5-5",
        "99999999999999-0",
        "-1",
        "1.5",
        "18446744073709551616-0",
    ] {
        let told = replay(&server, "a", unknown);
        assert_eq!(
            told,
            [
                &format!("gap a {unknown}"),
                &format!("gap broadcast {unknown}"),
                "1"
            ],
            "for {unknown:?}"
        );
    }
}

#[test]
fn milliseconds_alone_are_the_first_id_of_that_millisecond() {
    let server = Server::start(&[]);
    let first = server.publish("a", "1");
    server.publish("a", "2");
    let ms = first.split('-').next().unwrap();
    assert_eq!(
        replay(&server, "a", ms),
        replay(&server, "a", &format!("{ms}-0")),
        "{ms} means {ms}-0"
    );
}

#[test]
fn the_header_wins_over_the_query() {
    let server = Server::start(&[]);
    let first = server.publish("a", "1");
    server.publish("a", "2");
    let mut stream = server.subscribe_with("/sse/a?last_event_id=0", &[("Last-Event-ID", &first)]);
    assert_eq!(stream.next().data, "2");
    let mut stream = server.subscribe_with(&format!("/sse/a?last_event_id={first}"), &[]);
    assert_eq!(stream.next().data, "2");
    let mut stream = server.subscribe_with("/sse/a?last_event_id=0", &[]);
    assert_eq!(stream.next().data, "1");
}

#[test]
fn without_history_there_is_no_replay_but_a_gap() {
    let server = Server::start(&[("HISTORY_EVENTS", "0")]);
    let first = server.publish("a", "1");
    assert_eq!(
        replay(&server, "a", &first),
        NOTHING,
        "nothing came after the first"
    );
    let second = server.publish("a", "2");
    server.publish("a", "3");
    assert_eq!(replay(&server, "a", &second), [format!("gap a {second}")]);
    assert_eq!(replay(&server, "a", "0"), NOTHING);
}

#[test]
fn the_oldest_messages_of_all_channels_go_when_memory_is_full() {
    let server = Server::start(&[("HISTORY_BYTES", "10000")]);
    let text = |n: usize| format!("{n}{}", "x".repeat(3000));
    let first = server.publish("a", text(1));
    server.publish("b", text(2));
    server.publish("c", text(3));
    assert_eq!(
        replay(&server, "a,b,c", &first).len(),
        2,
        "three messages fit"
    );
    server.publish("d", text(4));
    let told = replay(&server, "a,b,c,d", "0");
    assert!(!told.contains(&text(1)), "the oldest is gone");
    assert!(
        told.contains(&text(3)) && told.contains(&text(4)),
        "the newest are there"
    );
    server.publish("b", "x".repeat(20_000));
    let told = replay(&server, "a,b,c,d", &first);
    assert!(
        told.iter().any(|t| t == &format!("gap b {first}")),
        "a message larger than the memory is a gap: {:?}",
        told.len()
    );
}

#[test]
fn a_message_larger_than_all_memory_costs_no_channel_its_history() {
    let server = Server::start(&[("HISTORY_BYTES", "10000")]);
    server.publish("a", "1");
    let second = server.publish("b", "2");
    let large = "x".repeat(20_000);
    for (channel, gap) in [("b", "b"), ("broadcast", "broadcast")] {
        let mut stream = server.subscribe("b");
        let id = server.publish(channel, &large);
        assert!(stream.next().data == large, "who is there gets it");
        assert_eq!(
            replay(&server, "b", &id),
            NOTHING,
            "who has it misses nothing"
        );
        let told = replay(&server, "b", &second);
        assert!(told.contains(&format!("gap {gap} {second}")), "{told:?}");
        let told = replay(&server, "a,b", "0");
        assert_eq!(told, ["1", "2"], "after one to {channel}");
    }
    server.publish("b", "3");
    let told = replay(&server, "b", &second);
    let gaps = [format!("gap b {second}"), format!("gap broadcast {second}")];
    assert_eq!(told, [&gaps[0], &gaps[1], "3"]);
}

#[test]
fn a_replay_longer_than_the_queue_comes_whole() {
    let server = Server::start(&[("HISTORY_EVENTS", "5000"), ("CLIENT_QUEUE", "10")]);
    let mut publisher = Publisher::new(&server);
    for n in 0..5000 {
        publisher.publish("a", n.to_string());
    }
    let told = replay(&server, "a", "0");
    assert_eq!(told.len(), 5000);
    wait_until("replays count as delivered", Duration::from_secs(5), || {
        server.stat("messages_delivered") == 5001
    });
}

#[test]
fn an_id_from_before_the_restart_is_a_gap_and_new_ids_are_larger() {
    let old = {
        let server = Server::start(&[]);
        server.publish("a", "old")
    };
    let server = Server::start(&[]);
    let new = server.publish("a", "new");
    assert!(
        id(&old) < id(&new),
        "{old} before the restart, {new} after it"
    );
    assert_eq!(
        replay(&server, "a", &old),
        [
            &format!("gap a {old}"),
            &format!("gap broadcast {old}"),
            "new"
        ]
    );
}

#[test]
fn an_expired_channel_is_a_gap() {
    let server = Server::start(&[("CHANNEL_TTL", "1")]);
    let first = server.publish("a", "1");
    server.publish("a", "2");
    common::wait_until("the channel expires", Duration::from_secs(8), || {
        server.stat("active_channels") == 0
    });
    let told = replay(&server, "a", &first);
    assert_eq!(told, [format!("gap a {first}")]);
}

#[test]
fn an_empty_header_leaves_it_to_the_query() {
    let server = Server::start(&[]);
    server.publish("a", "old");
    let mut stream = server.subscribe_with("/sse/a?last_event_id=0", &[("Last-Event-ID", "")]);
    assert_eq!(stream.next().data, "old");
}

#[test]
fn a_message_that_is_too_old_is_dropped_and_told_as_a_gap() {
    let server = Server::start(&[("HISTORY_AGE", "1")]);
    let first = server.publish("a", "one");
    server.publish("a", "two");
    server.publish("broadcast", "to all");
    wait_until("nothing is retained", common::BOUND, || {
        server.stat("history_bytes") == 0
    });
    let gaps = [format!("gap a {first}"), format!("gap broadcast {first}")];
    assert_eq!(replay(&server, "a", &first), gaps);
}
