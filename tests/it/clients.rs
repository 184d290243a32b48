//! `/clients`: operators see who is connected, and can end a client's stream.

use crate::common;

use common::http::Ending;
use common::tokens::{jwt_for, start, RulesFile};
use common::{wait_until, Crowd, EventStream, Reply, Server, BOUND, TOKEN};
use serde_json::{json, Value};

fn as_token(server: &Server, method: &str, target: &str, token: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    server.request(method, target, &headers, b"")
}

fn listed(server: &Server, query: &str) -> Vec<Value> {
    let reply = as_token(server, "GET", &format!("/clients{query}"), TOKEN);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let clients = reply.json()["clients"].as_array().cloned();
    clients.expect("there is a list")
}

fn numbers(server: &Server, query: &str) -> Vec<u64> {
    let clients = listed(server, query);
    let number = |client: &Value| client["client"].as_u64().expect("a number");
    clients.iter().map(number).collect()
}

fn end(server: &Server, number: u64) -> u16 {
    as_token(server, "DELETE", &format!("/clients/{number}"), TOKEN).status
}

#[track_caller]
fn is_ended(stream: &mut EventStream) {
    let last = stream.next();
    assert_eq!(
        (last.kind.as_str(), last.data.as_str(), last.id),
        ("sse-expired", r#"{"reason":"ended"}"#, None)
    );
    assert_eq!(stream.ending(), Ending::Clean);
}

#[test]
fn who_is_connected_is_listed() {
    let server = Server::start(&[]);
    assert_eq!(listed(&server, ""), Vec::<Value>::new());
    let mut news = server.subscribe("news");
    let both = server.subscribe_with("/sse/news,alerts?format=json", &[]);
    let broadcasts = server.subscribe("broadcast");
    server.publish("news", "x");
    news.next();
    wait_until("the delivery is counted", BOUND, || {
        listed(&server, "")[0]["messages"] == 1
    });
    let clients = listed(&server, "");
    let addresses: Vec<_> = [&news, &both, &broadcasts]
        .map(EventStream::local_addr)
        .into();
    for (client, address) in clients.iter().zip(addresses) {
        assert_eq!(client["address"], address.to_string());
        assert_eq!(client["lag"], 0);
        assert!(client["connected_seconds"].as_u64() < Some(60));
        assert_eq!(
            (&client["token"], &client["subject"]),
            (&Value::Null, &Value::Null)
        );
    }
    assert_eq!(clients[0]["channels"], json!(["news"]));
    assert_eq!(clients[1]["channels"], json!(["news", "alerts"]));
    assert_eq!(numbers(&server, ""), [1, 2, 3]);
    assert_eq!(numbers(&server, "?canal=news"), [1, 2]);
    assert_eq!(numbers(&server, "?canal=alerts&canal=news"), [1, 2]);
    assert_eq!(numbers(&server, "?canal=alerts"), [2]);
    assert_eq!(numbers(&server, "?canal=nobody"), [0; 0]);
    assert_eq!(
        numbers(&server, "?canal=broadcast"),
        [1, 2, 3],
        "it reaches all"
    );
    assert_eq!(
        as_token(&server, "GET", "/clients?canal=a*b", TOKEN).status,
        400
    );
    drop(both);
    wait_until("who leaves is out of the list", BOUND, || {
        numbers(&server, "") == [1, 3]
    });
}

#[test]
fn replays_count_as_messages_and_unread_messages_as_lag() {
    let server = Server::start(&[]);
    for _ in 0..3 {
        server.publish("a", "x");
    }
    let _stream = server.subscribe_with("/sse/a?last_event_id=0", &[]);
    wait_until("the replay is counted", BOUND, || {
        listed(&server, "")[0]["messages"] == 3
    });
    // It reads no more: the sockets' buffers fill, and then its queue.
    let large = "x".repeat(60_000);
    wait_until("it lags behind", BOUND, || {
        server.publish("a", &large);
        listed(&server, "?canal=a")[0]["lag"].as_u64() > Some(2)
    });
}

#[test]
fn a_watcher_is_not_listed() {
    let server = Server::start(&[]);
    let mut watcher = server.subscribe_with("/stats/stream", &[]);
    watcher.next();
    assert_eq!(numbers(&server, ""), [0; 0]);
    // The watchers' numbers are others.
    assert_eq!(end(&server, 1), 404);
    watcher.next();
}

#[test]
fn the_list_is_for_tokens_that_may_see_statistics() {
    let rules = RulesFile::new(
        json!({
            "public": {"subscribe": ["*"], "stats": true},
            "tokens": [
                {"name": "monitoring", "token": "monitoring", "stats": true},
                {"name": "reader", "token": "reader", "subscribe": ["*"]},
            ]
        })
        .to_string(),
    );
    let server = start(&rules, &[]);
    let anonymous = server.get("/clients");
    assert_eq!(
        anonymous.status, 401,
        "addresses are not public where statistics are"
    );
    assert_eq!(anonymous.header("WWW-Authenticate"), Some("Bearer"));
    assert!(server.get("/stats").json()["channels"].is_array());
    let signed = jwt_for(&json!({"stats": true}));
    let other = jwt_for(&json!({"subscribe": ["*"]}));
    for (token, status) in [
        (TOKEN, 200),
        ("monitoring", 200),
        (signed.as_str(), 200),
        ("reader", 403),
        (other.as_str(), 403),
        ("wrong", 401),
    ] {
        let reply = as_token(&server, "GET", "/clients", token);
        assert_eq!(reply.status, status, "{token}: {}", reply.text());
    }
    let denied = as_token(&server, "GET", "/clients", "reader").text();
    assert!(denied.contains("may not see who is connected"), "{denied}");
}

#[test]
fn the_list_names_tokens_and_never_shows_them() {
    let rules = RulesFile::new(
        json!({"tokens": [{"name": "reader", "token": "reader-secret", "subscribe": ["*"]}]})
            .to_string(),
    );
    let server = start(&rules, &[]);
    let signed = jwt_for(&json!({"subscribe": ["*"]}));
    let _streams = ["reader-secret", signed.as_str(), TOKEN]
        .map(|token| server.subscribe_with(&format!("/sse/a?access_token={token}"), &[]));
    let reply = as_token(&server, "GET", "/clients", TOKEN);
    let list = reply.json();
    let names = [0, 1, 2].map(|at| {
        let client = &list["clients"][at];
        (client["token"].clone(), client["subject"].clone())
    });
    let none = Value::Null;
    assert_eq!(
        names,
        [
            (json!("reader"), none.clone()),
            (none.clone(), json!("ana")),
            (json!("AUTH_TOKEN"), none),
        ]
    );
    for secret in ["reader-secret", &signed, TOKEN] {
        assert!(!reply.text().contains(secret), "{secret} is in the list");
    }
}

#[test]
fn an_ended_client_gets_the_reason_and_nothing_more() {
    let server = Server::start(&[]);
    let mut first = server.subscribe("a");
    let mut second = server.subscribe("a");
    server.publish("a", "before");
    assert_eq!(first.next().data, "before");
    assert_eq!(end(&server, 1), 204);
    assert_eq!(numbers(&server, ""), [2], "it is out of the list at once");
    assert_eq!(server.stat("connected_clients"), 1);
    server.publish("a", "after");
    is_ended(&mut first);
    assert_eq!(second.data_until("after"), ["before", "after"]);
    server.wait_for_log("event=disconnect client=1 reason=ended messages=1");
    assert_eq!(end(&server, 1), 404);
    let metric = "sse_server_clients_disconnected_total{reason=\"ended\"} 1";
    wait_until("it is counted", BOUND, || {
        server.get("/metrics").text().contains(metric)
    });
}

#[test]
fn a_stream_ends_whatever_it_waits_for() {
    let server = Server::start(&[("HEARTBEAT", "3600")]);
    let mut idle = server.subscribe("idle");
    // Not a byte goes to it, and nothing else wakes it.
    assert_eq!(end(&server, 1), 204);
    is_ended(&mut idle);
    let mut old = EventStream::send(server.addr, b"GET /sse/a HTTP/1.0\r\n\r\n");
    assert_eq!(end(&server, 2), 204);
    let last = old.next();
    assert_eq!(last.data, r#"{"reason":"ended"}"#);
}

#[test]
fn following_or_waiting_for_lines_counts_as_a_client() {
    let server = Server::start(&[]);
    let mut lines = server.subscribe_with("/messages/a?follow=1", &[]);
    let mut waiting = server.send(b"GET /messages/b?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until("both are listed", BOUND, || numbers(&server, "") == [1, 2]);
    assert_eq!(numbers(&server, "?canal=b"), [2]);
    assert_eq!(end(&server, 1), 204);
    assert_eq!(end(&server, 2), 204);
    assert_eq!(lines.ending(), Ending::Clean);
    let raw = lines.raw();
    let last = raw.lines().last();
    assert_eq!(last, Some(r#"{"expired":{"reason":"ended"}}"#), "{raw}");
    let (answer, _) = common::http::read_until_closed(&mut waiting, BOUND);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.wait_for_log("event=disconnect client=2 reason=ended");
}

#[test]
fn only_the_operator_ends_streams() {
    let rules = RulesFile::new(
        json!({
            "public": {"subscribe": ["*"]},
            "tokens": [{"name": "monitoring", "token": "monitoring", "stats": true}]
        })
        .to_string(),
    );
    let server = start(&rules, &[]);
    let _stream = server.subscribe("a");
    assert_eq!(server.request("DELETE", "/clients/1", &[], b"").status, 401);
    for (token, number, status) in [
        ("wrong", "1", 401),
        ("monitoring", "1", 403),
        ("monitoring", "7", 403),
        (TOKEN, "7", 404),
        (TOKEN, "0", 404),
        (TOKEN, "x", 404),
        (TOKEN, "+1", 404),
        (TOKEN, "", 404),
        (TOKEN, "99999999999999999999999", 404),
        (TOKEN, "1/2", 404),
        (TOKEN, "1", 204),
    ] {
        let reply = as_token(&server, "DELETE", &format!("/clients/{number}"), token);
        assert_eq!(reply.status, status, "{token} {number}: {}", reply.text());
        let is_no_number = ["x", "+1", "", "99999999999999999999999"].contains(&number);
        let words = format!("\\\"{number}\\\" is not a client's number; give one that");
        assert_eq!(
            reply.text().contains(&words),
            is_no_number,
            "{}",
            reply.text()
        );
    }
}

#[test]
fn the_methods_are_those_of_the_contract() {
    let server = Server::start(&[]);
    assert_eq!(as_token(&server, "HEAD", "/clients", TOKEN).status, 200);
    for (method, target, allowed) in [
        ("POST", "/clients", "GET, HEAD, OPTIONS"),
        ("DELETE", "/clients", "GET, HEAD, OPTIONS"),
        ("GET", "/clients/1", "DELETE, OPTIONS"),
        ("POST", "/clients/1", "DELETE, OPTIONS"),
    ] {
        let reply = as_token(&server, method, target, TOKEN);
        assert_eq!(reply.status, 405, "{method} {target}");
        assert_eq!(reply.header("Allow"), Some(allowed));
    }
    for target in ["/clients", "/clients/1"] {
        let preflight = server.request("OPTIONS", target, &[], b"");
        assert_eq!(preflight.status, 204);
        let methods = preflight.header("Access-Control-Allow-Methods");
        assert!(methods.is_some_and(|m| m.contains("DELETE")), "{methods:?}");
    }
}

#[test]
fn a_long_list_says_that_there_are_more() {
    let server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "a", 1001);
    let list = |query: &str| as_token(&server, "GET", &format!("/clients{query}"), TOKEN).json();
    wait_until("all are connected", BOUND, || {
        server.stat("connected_clients") == 1001
    });
    let all = list("?canal=a");
    assert_eq!(all["clients"].as_array().map(Vec::len), Some(1000));
    assert_eq!(all["more"], true);
    assert_eq!(list("?canal=b")["more"], Value::Null);
    assert_eq!(end(&server, 1), 204);
    let rest = list("");
    assert_eq!(rest["clients"].as_array().map(Vec::len), Some(1000));
    assert_eq!(rest["more"], Value::Null);
    drop(crowd);
}
