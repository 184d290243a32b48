//! The statistics as a stream.

use crate::common;

use common::{wait_until, Server, BOUND, TOKEN};
use serde_json::Value;

fn snapshot(event: &common::event_stream::Event) -> Value {
    serde_json::from_str(&event.data).expect("a snapshot is JSON")
}

#[test]
fn the_stream_tells_what_stats_tells_each_second() {
    let server = Server::start(&[]);
    let mut watcher = server.subscribe_with("/stats/stream", &[]);
    let _client = server.subscribe("a");
    server.publish("a", "x");
    let mut last = Value::Null;
    wait_until(
        "a snapshot tells of the client and the message",
        BOUND,
        || {
            last = snapshot(&watcher.next());
            last["connected_clients"] == 1 && last["messages_published"] == 1
        },
    );
    let now = server.get("/stats").json();
    let names = |value: &Value| -> Vec<String> {
        let object = value.as_object().expect("it is an object");
        object.keys().cloned().collect()
    };
    assert_eq!(names(&last), names(&now), "the same object as /stats");
    let uptime = last["uptime_seconds"].as_u64().expect("a number");
    let next = snapshot(&watcher.next());
    let later = next["uptime_seconds"].as_u64().expect("a number");
    assert!(
        (uptime..=uptime + 2).contains(&later),
        "{uptime} and then {later} s, but there is one snapshot a second"
    );
    assert!(next["memory_bytes"].as_u64() > Some(100_000), "{next}");
}

#[test]
fn channels_are_for_those_with_a_token() {
    let server = Server::start(&[]);
    server.publish("a", "x");
    let mut anyone = server.subscribe_with("/stats/stream", &[]);
    let target = format!("/stats/stream?access_token={TOKEN}");
    let mut operator = server.subscribe_with(&target, &[]);
    let public = snapshot(&anyone.next());
    let full = snapshot(&operator.next());
    assert_eq!(public["channels"], Value::Null);
    assert_eq!(full["channels"][0]["canal"], "a");
    let refused = server.get("/stats/stream?access_token=wrong");
    assert_eq!(refused.status, 401);
}

#[test]
fn a_watcher_is_no_client_and_gets_no_messages() {
    let server = Server::start(&[]);
    let mut watcher = server.subscribe_with("/stats/stream", &[]);
    watcher.next();
    assert_eq!(server.stat("connected_clients"), 0);
    assert_eq!(server.stat("active_channels"), 0);
    server.publish("broadcast", "to everybody");
    server.publish("figures", "to a channel of this name");
    let next = watcher.next();
    assert!(snapshot(&next)["uptime_seconds"].is_u64());
    assert_eq!(server.stat("messages_delivered"), 0);
}

#[test]
fn watchers_see_a_clean_end() {
    let mut server = Server::start(&[]);
    let mut watcher = server.subscribe_with("/stats/stream", &[]);
    watcher.next();
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
    assert_eq!(watcher.ending(), common::http::Ending::Clean);
}
