//! The statistics as a stream.

use crate::common;

use common::{wait_until, Server, BOUND, TOKEN};
use serde_json::Value;

fn snapshot(event: &common::event_stream::Event) -> Value {
    serde_json::from_str(&event.data).expect("a snapshot is JSON")
}

#[test]
fn the_stream_sends_what_stats_returns_each_second() {
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

fn history(server: &Server) -> Vec<Value> {
    let reply = server.get("/stats/history");
    assert_eq!(reply.status, 200);
    let history = reply.json();
    assert_eq!(history["interval_seconds"], 1);
    let samples = history["samples"].as_array().cloned();
    samples.expect("there are samples")
}

#[test]
fn the_history_has_a_sample_of_each_second() {
    let server = Server::start(&[]);
    let _client = server.subscribe("a");
    server.publish("a", "x");
    let mut samples = Vec::new();
    wait_until(
        "the newest tells of the client and the message",
        BOUND,
        || {
            samples = history(&server);
            let newest = samples.last();
            newest.is_some_and(|newest| {
                newest["connected_clients"] == 1
                    && newest["messages_published"] == 1
                    && newest["messages_delivered"] == 1
            })
        },
    );
    let before = samples.len();
    wait_until("it goes on", BOUND, || {
        samples = history(&server);
        samples.len() >= before + 2
    });
    let time = |sample: &Value| sample["timestamp"].as_u64().expect("a time");
    let seconds = common::tokens::now();
    let age = seconds - time(&samples[samples.len() - 1]) as f64 / 1000.0;
    assert!((-0.1..10.0).contains(&age), "the newest is {age} s old");
    for pair in samples.windows(2) {
        let step = time(&pair[1]) - time(&pair[0]);
        assert!((1..10_000).contains(&step), "{step} ms between two");
        assert!(pair[0]["messages_published"].as_u64() <= pair[1]["messages_published"].as_u64());
    }
}

#[test]
fn the_history_is_for_everybody_but_a_wrong_token_is_refused() {
    let server = Server::start(&[]);
    assert_eq!(
        server.request("HEAD", "/stats/history", &[], b"").status,
        200
    );
    let token = format!("/stats/history?access_token={TOKEN}");
    assert_eq!(server.get(&token).status, 200);
    let wrong = server.get("/stats/history?access_token=wrong");
    assert_eq!(wrong.status, 401);
    let posted = server.request("POST", "/stats/history", &[], b"");
    assert_eq!(posted.header("Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn the_use_of_each_limit_is_told() {
    let server = Server::start(&[("MAX_CLIENTS", "20"), ("MAX_CHANNELS", "30")]);
    let _clients = [server.subscribe("a"), server.subscribe("b,broadcast")];
    server.publish("c", "x");
    let limits = server.get("/stats").json()["limits"].take();
    assert_eq!(
        limits["clients"],
        serde_json::json!({"used": 2, "limit": 20})
    );
    // Two that are only followed, and one that had a message: each kind may be 30.
    assert_eq!(
        limits["channels"],
        serde_json::json!({"used": 2, "limit": 30})
    );
    assert_eq!(limits["history_bytes"]["limit"], 16 << 20);
    assert_eq!(
        limits["history_bytes"]["used"].as_u64(),
        Some(server.stat("history_bytes"))
    );
    server.publish("d", "x");
    server.publish("e", "x");
    let channels = server.get("/stats").json()["limits"]["channels"].take();
    assert_eq!(channels["used"], 3);
}

#[test]
fn the_last_minute_tells_of_delays_and_refusals() {
    let server = Server::start(&[("MAX_CLIENTS", "1")]);
    let minute = || server.get("/stats").json()["last_minute"].take();
    let none = serde_json::json!({"401": 0, "403": 0, "429": 0, "503": 0});
    assert_eq!(minute()["refused"], none);
    assert_eq!(
        minute()["delivery_delay_seconds"]["p50"],
        Value::Null,
        "nothing was delivered"
    );
    let mut client = server.subscribe("a");
    assert_eq!(server.get("/sse/a").status, 503);
    assert_eq!(server.request("POST", "/publish/a", &[], b"x").status, 401);
    assert_eq!(server.request("POST", "/publish/a", &[], b"x").status, 401);
    // Who only looks at statistics is not meant.
    assert_eq!(server.get("/stats?access_token=wrong").status, 401);
    wait_until("the refusals are counted", BOUND, || {
        minute()["refused"] == serde_json::json!({"401": 2, "403": 0, "429": 0, "503": 1})
    });
    server.publish("a", "x");
    client.next();
    wait_until("the delay is measured", BOUND, || {
        let delay = minute()["delivery_delay_seconds"].take();
        let (p50, p99) = (delay["p50"].as_f64(), delay["p99"].as_f64());
        p50 > Some(0.0) && p50 <= p99 && p99 <= Some(10.0)
    });
}
