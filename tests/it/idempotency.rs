//! A publish with an `Idempotency-Key` may be sent again, at any time and as often as anybody likes: it is published once, and
//! every try gets the first one's answer.

use crate::common;

use common::tokens::{self, RulesFile};
use common::{Reply, Server, AUTHORIZED};
use serde_json::json;

pub const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

pub fn try_once(
    server: &Server,
    target: &str,
    key: &str,
    more: &[(&str, &str)],
    body: &str,
) -> Reply {
    let headers = [&[AUTHORIZED, ("Idempotency-Key", key)], more].concat();
    server.request("POST", target, &headers, body.as_bytes())
}

fn publish(server: &Server, target: &str, key: &str, body: &str) -> Reply {
    try_once(server, target, key, &[], body)
}

#[track_caller]
pub fn assert_first(reply: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("Idempotency-Replayed"), None);
}

#[track_caller]
pub fn assert_again(reply: &Reply, first: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("Idempotency-Replayed"), Some("true"));
    assert_eq!(reply.text(), first.text());
}

/// Checks that one try was the first, and all others got its answer.
#[track_caller]
pub fn assert_one_answer(replies: &[Reply]) {
    for reply in replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.text(), replies[0].text());
    }
    let is_first = |reply: &&Reply| reply.header("Idempotency-Replayed").is_none();
    assert_eq!(replies.iter().filter(is_first).count(), 1);
}

#[test]
fn the_same_key_publishes_once_and_every_try_gets_the_first_answer() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let first = publish(&server, "/publish/a?event=alert", "k1", "x");
    assert_first(&first);
    assert_eq!(first.json()["clients"], 1);
    // The answer is that of then, whoever is there now; and quotes are no part of the key.
    let other = server.subscribe("a");
    for key in ["k1", "\"k1\"", " k1\t"] {
        let again = publish(&server, "/publish/a?event=alert", key, "x");
        assert_again(&again, &first);
    }
    let by_parameter = publish(&server, "/publish?canal=a&event=alert&msg=x", "k1", "");
    assert_again(&by_parameter, &first);
    drop(other);
    publish(&server, "/publish/a", "k2", "end");
    assert_eq!(stream.data_until("end"), ["x", "end"]);
    assert_eq!(server.stat("messages_published"), 2);
    let lines = |words: &str| server.count_in_log(words);
    common::wait_until("the log has a line for each", common::BOUND, || {
        lines("event=publish_again channel=a") == 4 && lines("event=publish id=") == 2
    });
}

#[test]
fn another_message_or_event_with_the_same_key_is_422() {
    let server = Server::start(&[]);
    let first = publish(&server, "/publish/a", "k", "x");
    assert_first(&first);
    for (target, more, body) in [
        ("/publish/a", &[][..], "y"),
        ("/publish/a", &[], "x\n"),
        ("/publish/a?event=alert", &[], "x"),
        ("/publish/a", &[NDJSON], "\"x\""),
    ] {
        let reply = try_once(&server, target, "k", more, body);
        assert_eq!(reply.status, 422, "{target} {body:?}: {}", reply.text());
        assert!(reply.text().contains("new key"), "{}", reply.text());
        assert_eq!(reply.json()["title"], "Unprocessable Content");
    }
    assert_again(&publish(&server, "/publish/a", "k", "x"), &first);
    assert_eq!(server.stat("messages_published"), 1);
}

#[test]
fn a_key_belongs_to_its_token_and_its_channel() {
    let rules = RulesFile::new(
        json!({
            "public": {"publish": ["a"], "subscribe": ["*"]},
            "tokens": [
                {"name": "one", "token": "token-one-of-16-bytes", "publish": ["*"]},
                {"name": "two", "token": "token-two-of-16-bytes", "publish": ["*"]},
            ]
        })
        .to_string(),
    );
    let server = tokens::start(&rules, &[]);
    let signed = tokens::jwt_for(&json!({"publish": ["*"]}));
    let mut published = 0;
    for token in [
        None,
        Some(common::TOKEN),
        Some("token-one-of-16-bytes"),
        Some("token-two-of-16-bytes"),
        Some(signed.as_str()),
    ] {
        // Without a token only one channel is open.
        let channels = if token.is_some() {
            &["a", "b"][..]
        } else {
            &["a"]
        };
        for channel in channels {
            let target = format!("/publish/{channel}");
            let authorization = token.map(|token| format!("Bearer {token}"));
            let mut headers = vec![("Idempotency-Key", "k")];
            headers.extend(
                authorization
                    .as_ref()
                    .map(|a| ("Authorization", a.as_str())),
            );
            let attempt = || server.request("POST", &target, &headers, b"x");
            let first = attempt();
            assert_first(&first);
            assert_again(&attempt(), &first);
            published += 1;
        }
    }
    assert_eq!(published, 9);
    assert_eq!(server.stat("messages_published"), published);
}

#[test]
fn a_batch_is_published_once_as_well() {
    let server = Server::start(&[]);
    let batch = |body: &str| try_once(&server, "/publish/a", "k", &[NDJSON], body);
    let first = batch("1\n2\n3");
    assert_first(&first);
    assert_eq!(first.json()["count"], 3);
    // The same messages, however they are written.
    assert_again(&batch("1\n\n\"2\"\r\n3\n"), &first);
    assert_eq!(batch("1\n2").status, 422);
    assert_eq!(batch("2\n1\n3").status, 422);
    assert_eq!(batch("12\n3").status, 422);
    assert_eq!(server.stat("messages_published"), 3);
}

#[test]
fn a_try_that_was_refused_does_not_use_the_key_up() {
    let server = Server::start(&[
        ("MAX_CHANNELS", "1"),
        ("CHANNEL_TTL", "1"),
        ("MAX_MESSAGE_BYTES", "100"),
    ]);
    let long = "x".repeat(101);
    let attempt = |more: &[(&str, &str)], target: &str, body: &str| {
        try_once(&server, target, "k", more, body).status
    };
    assert_eq!(attempt(&[], "/publish/a", ""), 400);
    assert_eq!(attempt(&[], "/publish/a", &long), 413);
    assert_eq!(attempt(&[], "/publish/a?event=sse-x", "x"), 400);
    assert_eq!(attempt(&[NDJSON], "/publish/a", "no json"), 400);
    let wrong = [("Authorization", "Bearer wrong"), ("Idempotency-Key", "k")];
    assert_eq!(
        server.request("POST", "/publish/a", &wrong, b"x").status,
        401
    );
    server.publish("other", "x");
    assert_eq!(
        attempt(&[], "/publish/a", "x"),
        503,
        "there is no place for another channel"
    );
    // The channel that was in the way has gone.
    common::wait_until("the channel is published to", common::BOUND, || {
        let reply = publish(&server, "/publish/a", "k", "x");
        assert!(reply.header("Idempotency-Replayed").is_none());
        reply.status == 200
    });
    let again = publish(&server, "/publish/a", "k", "x");
    assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
}

#[test]
fn a_key_has_1_to_128_visible_characters() {
    let server = Server::start(&[]);
    let visible: String = ('!'..='~').collect();
    for good in [
        "!",
        "~",
        "\"",
        "a,b",
        &"k".repeat(128),
        &format!("\"{}\"", "q".repeat(128)),
        &visible,
    ] {
        assert_first(&publish(&server, "/publish/a", good, "x"));
    }
    let before = server.stat("messages_published");
    for bad in ["", "\"\"", "a b", "\"a b\"", "é", &"k".repeat(129)] {
        let reply = publish(&server, "/publish/a", bad, "x");
        assert_eq!(reply.status, 400, "{bad:?}: {}", reply.text());
        assert!(reply.text().contains("128 characters"), "{}", reply.text());
    }
    let two = try_once(&server, "/publish/a", "k", &[("Idempotency-Key", "k")], "x");
    assert_eq!(two.status, 400, "{}", two.text());
    assert_eq!(server.stat("messages_published"), before);
    // Who may not publish learns nothing of the key.
    let nobody = server.request("POST", "/publish/a", &[("Idempotency-Key", "a b")], b"x");
    assert_eq!(nobody.status, 401);
}

#[test]
fn the_last_ten_thousand_keys_are_known() {
    const KEYS: usize = 10_000;
    let server = Server::start(&[]);
    let all = |again: bool| {
        std::thread::scope(|scope| {
            for connection in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    let mut publisher = common::Publisher::new(server);
                    for number in (connection..KEYS).step_by(8) {
                        let key = number.to_string();
                        let reply = publisher.post("a", &[("Idempotency-Key", &key)], b"x");
                        let reply = reply.expect("it is answered");
                        let replayed = reply.header("Idempotency-Replayed");
                        assert_eq!(replayed.is_some(), again, "key {number}");
                    }
                });
            }
        });
    };
    all(false);
    all(true);
    assert_eq!(server.stat("messages_published"), KEYS as u64);
}

#[test]
fn a_hundred_tries_at_once_from_16_connections_are_one_message() {
    let server = Server::start(&[]);
    let mut stream = server.subscribe("a");
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..16)
            .map(|connection| {
                let server = &server;
                scope.spawn(move || {
                    let mut publisher = common::Publisher::new(server);
                    let tries = (connection..100).step_by(16);
                    let attempt = |_| publisher.post("a", &[("Idempotency-Key", "k")], b"x");
                    tries.map(attempt).collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        let tries = connections.into_iter().map(|c| c.join().expect("it tries"));
        tries
            .flat_map(|tries| tries.expect("all are answered"))
            .collect()
    });
    assert_eq!(replies.len(), 100);
    assert_one_answer(&replies);
    server.publish("a", "end");
    assert_eq!(stream.data_until("end"), ["x", "end"]);
}

#[test]
fn needs_curl_retries_of_curl_are_safe() {
    let server = Server::start(&[]);
    let publish = || {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--retry", "5", "--retry-all-errors"])
            .args(["-H", "Authorization: Bearer test-token-of-16-bytes"])
            .args([
                "-H",
                "Idempotency-Key: 5b5a4f0e-6a3e-4f1e-9f0c-1f2a3b4c5d6e",
            ])
            .args(["-d", "hello"])
            .arg(format!("http://{}/publish/news", server.addr))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(publish(), publish());
    assert_eq!(server.stat("messages_published"), 1);
}
