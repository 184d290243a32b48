//! `/metrics`: what is counted and measured, and that Prometheus can read it.

use crate::common;

use common::python::{self, succeed};
use common::{wait_until, Crowd, Server, BOUND, TOKEN};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// Name with labels to value, after a look at the form of the text (Prometheus text format, version 0.0.4).
fn samples(text: &str) -> HashMap<String, f64> {
    let mut kinds = HashMap::new();
    let mut samples = HashMap::new();
    assert!(text.ends_with('\n'), "the last line ends as well");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type has a name and a kind");
            assert!(kinds.insert(name, kind).is_none(), "{name} has two types");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
            let family = name.split('{').next().unwrap_or_default();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| family.strip_suffix(suffix))
                .unwrap_or(family);
            assert!(kinds.contains_key(base), "{name} has no type before it");
            let value = value.parse().expect("a value is a number");
            assert!(samples.insert(name.into(), value).is_none(), "{name} twice");
        }
    }
    samples
}

#[test]
fn metrics_count_and_measure() {
    let server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "a", 10);
    for _ in 0..5 {
        server.publish("a", "x");
    }
    crowd.wait_for_all("all messages", |client| client.events.len() == 5);
    wait_until("50 deliveries are counted", BOUND, || {
        server.stat("messages_delivered") == 50
    });
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    let kind = reply.header("Content-Type").expect("it has a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let samples = samples(&reply.text());
    let expected = [
        ("sse_server_messages_published_total", 5.0),
        ("sse_server_messages_delivered_total", 50.0),
        ("sse_server_connected_clients", 10.0),
        ("sse_server_active_channels", 1.0),
        ("sse_server_slow_clients_disconnected_total", 0.0),
        ("sse_server_delivery_delay_seconds_count", 50.0),
        (
            "sse_server_delivery_delay_seconds_bucket{le=\"+Inf\"}",
            50.0,
        ),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
    let sum = samples["sse_server_delivery_delay_seconds_sum"];
    assert!(sum > 0.0 && sum < 50.0, "50 deliveries took {sum} s");
}

#[test]
fn repeated_publishes_are_counted() {
    let server = Server::start(&[]);
    let attempt = |key: &str, body: &str| {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
        server.request("POST", "/publish/a", &headers, body.as_bytes())
    };
    let counted = || {
        let metrics = samples(&server.get("/metrics").text());
        let counted = metrics["sse_server_publishes_repeated_total"];
        assert_eq!(server.stat("publishes_repeated") as f64, counted);
        counted
    };
    assert_eq!(attempt("k", "x").status, 200);
    server.publish("a", "without a key");
    assert_eq!(counted(), 0.0);
    assert_eq!(attempt("k", "x").status, 200);
    assert_eq!(attempt("k", "x").status, 200);
    assert_eq!(attempt("k", "other").status, 422);
    assert_eq!(counted(), 2.0);
    assert_eq!(server.stat("messages_published"), 2);
}

fn scrape(server: &Server) -> HashMap<String, f64> {
    samples(&server.get("/metrics").text())
}

#[test]
fn refusals_are_counted_by_what_was_asked_for() {
    let server = Server::start(&[("MAX_CLIENTS", "1")]);
    let client = server.subscribe("a");
    assert_eq!(server.get("/sse/b").status, 503);
    assert_eq!(server.get("/sse/b*b").status, 400);
    assert_eq!(server.request("POST", "/publish/a", &[], b"x").status, 401);
    assert_eq!(server.get("/nowhere").status, 404);
    server.publish("a", "x");
    server.publish("a", "y");
    drop(client);
    wait_until("the client's end is counted", BOUND, || {
        scrape(&server)["sse_server_clients_disconnected_total{reason=\"gone\"}"] == 1.0
    });
    let samples = scrape(&server);
    let answered = |route: &str, status: u16| {
        samples[&format!("sse_server_responses_total{{route=\"{route}\",status=\"{status}\"}}")]
    };
    assert_eq!(answered("sse", 200), 1.0);
    assert_eq!(answered("sse", 503), 1.0);
    assert_eq!(answered("sse", 400), 1.0);
    assert_eq!(answered("publish", 200), 2.0);
    assert_eq!(answered("publish", 401), 1.0);
    assert_eq!(answered("other", 404), 1.0);
    assert_eq!(answered("publish", 413), 0.0, "what has not happened is 0");
}

#[test]
fn the_server_tells_how_it_is() {
    let server = Server::start(&[("HISTORY_EVENTS", "3")]);
    let _watcher = server.subscribe_with("/stats/stream", &[]);
    for channel in ["a", "b"] {
        (0..5).for_each(|_| drop(server.publish(channel, "x")));
    }
    let samples = scrape(&server);
    assert_eq!(samples["sse_server_statistics_watchers"], 1.0);
    assert_eq!(samples["sse_server_connected_clients"], 0.0);
    assert_eq!(samples["sse_server_history_messages"], 6.0);
    let open = samples["process_open_fds"];
    let there_are = server.descriptors() as f64;
    assert!((open - there_are).abs() <= 4.0, "{open} of {there_are}");
    assert!(samples["process_max_fds"] >= open);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let age = now.expect("it is after 1970").as_secs_f64() - samples["process_start_time_seconds"];
    assert!((0.0..60.0).contains(&age), "started {age} s ago");
    let (told, used) = (samples["process_cpu_seconds_total"], server.cpu_time());
    assert!(told <= used.as_secs_f64() + 0.02, "{told} s of {used:?}");
    assert!(told > 0.0);
}

/// A server that has something to report for every metric.
fn busy_server() -> Server {
    let server = Server::start(&[]);
    let crowd = Crowd::subscribe(&server, "a", 3);
    server.publish("a", "x");
    crowd.wait_for_all("the message", |client| client.events.len() == 1);
    wait_until("the deliveries are counted", BOUND, || {
        server.stat("messages_delivered") == 3
    });
    server
}

/// Runs a program on the text.
#[track_caller]
fn fed(command: &mut Command, text: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut input = child.stdin.take().expect("stdin is piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let written = [output.stdout, output.stderr].concat();
    let written = String::from_utf8_lossy(&written).into_owned();
    assert!(output.status.success(), "{command:?}: {written}");
    written
}

#[test]
fn needs_python3_the_parser_of_prometheus_reads_it() {
    let text = busy_server().get("/metrics").text();
    let script = python::folder().join("metrics.py");
    let lines = fed(python::command("python3").arg(script), &text);
    let read: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{lines}")))
        .collect();
    assert_eq!(read.len(), samples(&text).len(), "samples that were read");
    let value = |name: &str| {
        let sample = read.iter().find(|sample| sample[2] == name);
        sample.unwrap_or_else(|| panic!("{name} was not read"))[4].clone()
    };
    assert_eq!(value("sse_server_messages_delivered_total"), 3.0);
    assert_eq!(value("sse_server_delivery_delay_seconds_count"), 3.0);
    let kinds: BTreeSet<&str> = read
        .iter()
        .filter_map(|sample| sample[1].as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["counter", "gauge", "histogram"]));
}

#[test]
fn needs_promtool_the_linter_of_prometheus_finds_nothing() {
    let text = busy_server().get("/metrics").text();
    let mut command = Command::new("promtool");
    let found = fed(command.args(["check", "metrics"]), &text);
    assert_eq!(found, "");
}

/// A real Prometheus that scrapes a server.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    fn start(server: &Server) -> Prometheus {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a folder can be made");
        let config = format!(
            "scrape_configs:\n- job_name: sse-server\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{}']\n",
            server.addr
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).expect("a file can be written");
        succeed(
            Command::new("promtool")
                .args(["check", "config"])
                .arg(&file),
        );
        let addr = common::port::free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        let prometheus = Prometheus {
            child,
            addr,
            folder,
        };
        wait_until("prometheus listens", Duration::from_secs(60), || {
            std::net::TcpStream::connect(addr).is_ok()
        });
        prometheus
    }

    /// The value of the one series that answers.
    fn query(&self, expression: &str) -> Option<String> {
        let target = format!("/api/v1/query?query={}", common::encode(expression));
        // Chunks are not understood here, so with HTTP/1.0.
        let request = format!("GET {target} HTTP/1.0\r\n\r\n");
        let answer = common::http::exchange(self.addr, request.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        let body = answer.split("\r\n\r\n").nth(1)?;
        let body: Value = serde_json::from_str(body).ok()?;
        Some(body["data"]["result"][0]["value"][1].as_str()?.into())
    }

    #[track_caller]
    fn wait_for(&self, expression: &str, value: &str) {
        let what = format!("prometheus answers {value} to {expression}");
        wait_until(&what, Duration::from_secs(60), || {
            self.query(expression).as_deref() == Some(value)
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn needs_prometheus_it_scrapes() {
    let server = busy_server();
    let prometheus = Prometheus::start(&server);
    prometheus.wait_for("up", "1");
    prometheus.wait_for("sse_server_messages_published_total", "1");
    let refused = server.request("POST", "/publish/a", &[], b"x");
    assert_eq!(refused.status, 401);
    server.publish("a", "y");
    prometheus.wait_for("sse_server_messages_published_total", "2");
    prometheus.wait_for(
        "sse_server_responses_total{route=\"publish\",status=\"401\"}",
        "1",
    );
    prometheus.wait_for("sse_server_build_info * 0 + 7", "7");
    // What a dashboard shows: no rate without a second scrape, so the whole since the start.
    prometheus.wait_for(
        "histogram_quantile(0.5, sse_server_delivery_delay_seconds_bucket) < bool 10",
        "1",
    );
}
