//! The description of the API, `/openapi.json`: complete, clean, and true of the running server.

use crate::common;

use common::python::succeed;
use common::{node, python, Crowd, EventStream, Server, TOKEN};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/openapi.json");

fn document() -> Value {
    serde_json::from_str(include_str!("../../assets/openapi.json")).expect("the document is JSON")
}

fn names(object: &Value) -> BTreeSet<&str> {
    let object = object.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// Every status that an operation may answer with.
pub(super) fn statuses(document: &Value) -> BTreeSet<&str> {
    document["paths"]
        .as_object()
        .expect("an object")
        .values()
        .flat_map(|path| path.as_object().expect("an object").values())
        .flat_map(|operation| names(&operation["responses"]))
        .collect()
}

#[test]
fn the_server_gives_the_document_to_everybody() {
    let server = Server::start(&[("CORS_ORIGINS", "https://example.org")]);
    let origin = [("Origin", "https://example.org")];
    let reply = server.request("GET", "/openapi.json", &origin, b"");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("Content-Type"), Some("application/json"));
    assert_eq!(
        reply.header("Access-Control-Allow-Origin"),
        Some("https://example.org")
    );
    assert_eq!(reply.json(), document());
    let head = server.request("HEAD", "/openapi.json", &[], b"");
    assert_eq!(head.status, 200);
    assert_eq!(
        server.request("OPTIONS", "/openapi.json", &[], b"").status,
        204
    );
    let posted = server.request("POST", "/openapi.json", &[], b"x");
    assert_eq!(posted.header("Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn the_document_is_of_this_version() {
    assert_eq!(
        document()["info"]["version"],
        env!("CARGO_PKG_VERSION"),
        "info.version in assets/openapi.json"
    );
}

/// An operation's answer, without reading a stream to its end.
fn status(server: &Server, method: &str, path: &str) -> u16 {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let target = match path {
        "/sse" | "/messages" | "/publish" => format!("{path}?canal=news"),
        path => path.replace("{canal}", "news").replace("{number}", "1"),
    };
    match method {
        "GET" => EventStream::open(server.addr, &target, &headers).status,
        "POST" | "PUT" => server.request(method, &target, &headers, b"x").status,
        _ => server.request(method, &target, &headers, b"").status,
    }
}

#[test]
fn every_path_of_the_document_answers() {
    let server = Server::start(&[]);
    let _first = server.subscribe("news");
    let document = document();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().expect("an object") {
        for (method, operation) in operations.as_object().expect("an object") {
            let status = status(&server, &method.to_uppercase(), path);
            let good = if method == "delete" { 204 } else { 200 };
            assert_eq!(status, good, "{method} {path}");
            assert!(
                operation["responses"][status.to_string()].is_object(),
                "{method} {path}: {status} is not in the document"
            );
            asked += 1;
        }
    }
    assert!(asked > 11, "{asked} operations");
}

#[test]
fn no_path_of_the_server_is_missing_from_the_document() {
    let routes = include_str!("../../src/routes/mod.rs");
    let (_, table) = routes
        .split_once("fn route(")
        .expect("routes::route is the table");
    let (table, _) = table.split_once("\n}\n").expect("it ends");
    let document = document();
    let described = names(&document["paths"]);
    let mut found = 0;
    for line in table.lines() {
        // `"/health" => …` and `Some(("sse", segment)) => …`.
        let Some((pattern, _)) = line.split_once(" => ") else {
            continue;
        };
        let pattern = pattern.trim_start().trim_start_matches("Some((");
        let Some((name, _)) = pattern.strip_prefix('"').and_then(|p| p.split_once('"')) else {
            continue;
        };
        let paths = match name {
            "*" => continue,
            name if name.starts_with('/') => vec![name.to_string()],
            "clients" => vec!["/clients/{number}".into()],
            family => vec![format!("/{family}"), format!("/{family}/{{canal}}")],
        };
        for path in paths {
            assert!(described.contains(path.as_str()), "{path} is not described");
            found += 1;
        }
    }
    assert_eq!(found, described.len(), "paths in src/routes/mod.rs");
}

#[test]
fn no_status_of_the_server_is_missing_from_the_document() {
    let (_, table) = include_str!("../../src/http/status.rs")
        .split_once("pub fn reason(")
        .expect("problem::reason is the table");
    let document = document();
    let described = statuses(&document);
    let statuses = table
        .lines()
        .filter_map(|line| line.trim_start().split_once(" => "))
        .map(|(status, _)| status)
        .filter(|status| *status != "_");
    for status in statuses {
        // 204 answers OPTIONS on every path, which the document says in words.
        let is_described = described.contains(status) || status == "204";
        assert!(is_described, "{status} is not described");
    }
}

#[test]
fn the_statistics_are_described_figure_by_figure() {
    let server = Server::start(&[]);
    server.publish("news", "x");
    let document = document();
    let schemas = &document["components"]["schemas"];
    let full = server.get(&format!("/stats?access_token={TOKEN}")).json();
    // Without Redis and without a disk there is nothing to say of them.
    let mut described = names(&schemas["Statistics"]["properties"]);
    described.retain(|name| !["redis", "cluster", "disk"].contains(name));
    assert_eq!(names(&full), described);
    assert_eq!(
        names(&full["channels"][0]),
        names(&schemas["ChannelStatistics"]["properties"])
    );
    for (part, schema) in [("limits", "Limits"), ("last_minute", "LastMinute")] {
        assert_eq!(names(&full[part]), names(&schemas[schema]["properties"]));
    }
    let required: BTreeSet<&str> = schemas["Statistics"]["required"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(names(&server.get("/stats").json()), required);
}

#[test]
fn samples_and_clients_are_described_figure_by_figure() {
    let server = Server::start(&[]);
    let _client = server.subscribe("news");
    let document = document();
    let schemas = &document["components"]["schemas"];
    let clients = server.get(&format!("/clients?access_token={TOKEN}")).json();
    let history = server.get("/stats/history").json();
    for (found, schema) in [
        (&clients["clients"][0], "Client"),
        (&history, "StatisticsHistory"),
        (&history["samples"][0], "Sample"),
    ] {
        assert_eq!(
            names(found),
            names(&schemas[schema]["properties"]),
            "{schema}"
        );
    }
}

#[test]
fn messages_and_gaps_are_what_the_document_says() {
    let server = Server::start(&[]);
    server.publish("news", "x");
    let mut stream = server.subscribe_with("/sse/news?format=json&last_event_id=5", &[]);
    // One gap for the channel, and one for broadcast.
    let events = [stream.next(), stream.next(), stream.next()];
    let document = document();
    for (event, schema) in events.iter().zip(["Gap", "Gap", "Message"]) {
        let data: Map<String, Value> = serde_json::from_str(&event.data).expect("it is JSON");
        let described = names(&document["components"]["schemas"][schema]["properties"]);
        assert_eq!(names(&Value::Object(data)), described, "{schema}");
    }
    server.publish_to("/publish/news?event=alert", "y");
    let lines = server.get("/messages/news?since=5-0&last=1").text();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for (line, schema) in lines.iter().zip(["GapLine", "GapLine", "Line"]) {
        let described = names(&document["components"]["schemas"][schema]["properties"]);
        assert_eq!(names(line), described, "{schema}");
    }
}

#[test]
fn needs_npm_the_linter_finds_nothing() {
    let mut command = node::command("openapi", "redocly");
    command
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .args(["lint", "--extends=recommended-strict", FILE]);
    succeed(&mut command);
}

#[test]
fn needs_python3_the_validator_finds_nothing() {
    succeed(python::command("openapi-spec-validator").arg(FILE));
}

#[test]
fn needs_python3_schemathesis_finds_nothing() {
    // Its channels have thousands of names.
    let server = Server::start(&[("MAX_CHANNELS", "1000000"), ("RUST_LOG", "info")]);
    // To be ended, by their numbers.
    let _clients = Crowd::subscribe(&server, "a", 200);
    let url = format!("http://{}", server.addr);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    // An empty folder: schemathesis tries again what failed in the one that it runs in.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("a folder can be made");
    let mut command = python::command("schemathesis");
    command
        .current_dir(folder)
        .env("PYTHONPATH", python::folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .args(["run", FILE, "--url", &url, "--header", &authorization])
        .args(["--checks", "all", "--continue-on-failure"])
        // Not `stateful`: no answer names a thing that another request could ask for.
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "50", "--seed", "1"]);
    let report = succeed(&mut command);
    assert!(report.contains("No issues found"), "{report}");
    // It was not satisfied with refusals.
    assert!(server.stat("messages_published") > 100, "{report}");
    let log = server.log();
    assert!(!log.contains("event=panic"), "{log}");
}
