//! `/metrics`: the server's figures, for Prometheus. They cost a message next to nothing: counters that exist anyway,
//! and two reads of `/proc` per scrape.

use super::app::App;
use crate::cluster::Cluster;
use crate::counters::{Counters, Histogram};
use crate::disk::Disk;
use crate::host;
use crate::host::memory;
use crate::http::reply::Reply;
use std::fmt::{Display, Write};
use std::time::SystemTime;

/// The text format, version 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn metrics(app: &App) -> Reply {
    let mut text = Exposition(String::with_capacity(8192));
    let out = &mut text;
    let counters = app.hub.counters();
    messages(out, counters);
    gauges(out, app);
    clients(out, counters);
    answers(out, counters);
    out.histogram(
        "delivery_delay_seconds",
        "Time from the publish of a message to the end of its write to a client.",
        &counters.delay,
    );
    if let Some(cluster) = &app.cluster {
        redis(out, cluster);
    }
    if let Some(kept) = &app.disk {
        disk(out, kept);
    }
    out.head("sse_server_build_info", "gauge", "The running version.");
    let version = env!("CARGO_PKG_VERSION");
    out.sample(
        &format!("sse_server_build_info{{version=\"{version}\"}}"),
        1,
    );
    process(out, counters);
    Reply::new(200).with_body(CONTENT_TYPE, text.0)
}

fn messages(out: &mut Exposition, counters: &Counters) {
    out.counter(
        "messages_published_total",
        "Messages accepted from publishers.",
        counters.published.get(),
    );
    out.counter(
        "publishes_repeated_total",
        "Publishes with a key that had been published before, and got that answer again.",
        counters.repeated.get(),
    );
    out.counter(
        "messages_delivered_total",
        "Messages written to clients, replays included.",
        counters.delivered.get(),
    );
}

fn gauges(out: &mut Exposition, app: &App) {
    let hub = app.hub.stats();
    let limits = app.hub.limits();
    let figures: [(&str, &str, usize); 8] = [
        (
            "max_clients",
            "Clients that may be connected.",
            limits.max_clients,
        ),
        (
            "max_channels",
            "Channels that may have messages; as many again may only be followed.",
            limits.max_channels,
        ),
        (
            "max_history_bytes",
            "Memory that retained messages may take.",
            limits.history_bytes,
        ),
        (
            "connected_clients",
            "Clients with an event stream.",
            hub.connected_clients,
        ),
        (
            "statistics_watchers",
            "Watchers of /stats/stream; they are not clients.",
            app.live.watchers(),
        ),
        (
            "active_channels",
            "Channels, without broadcast.",
            hub.active_channels,
        ),
        (
            "history_messages",
            "Messages retained for replay, of all channels.",
            hub.history_messages,
        ),
        (
            "history_bytes",
            "Memory of all retained messages.",
            hub.history_bytes,
        ),
    ];
    for (name, help, value) in figures {
        out.gauge(name, help, value);
    }
    out.gauge(
        "uptime_seconds",
        "Time since the start.",
        app.hub.counters().uptime_seconds(),
    );
}

fn clients(out: &mut Exposition, counters: &Counters) {
    out.counter(
        "slow_clients_disconnected_total",
        "Clients disconnected because they read too slowly.",
        counters.slow_clients.get(),
    );
    let name = "sse_server_clients_disconnected_total";
    let help = "Clients whose stream has ended, by the reason in the log.";
    out.head(name, "counter", help);
    for (reason, count) in counters.disconnected.all() {
        out.sample(&format!("{name}{{reason=\"{reason}\"}}"), count);
    }
}

fn answers(out: &mut Exposition, counters: &Counters) {
    let name = "sse_server_responses_total";
    let help = "Requests, by route and status.";
    out.head(name, "counter", help);
    for (family, status, count) in counters.answers.all() {
        let labels = format!("{name}{{route=\"{family}\",status=\"{status}\"}}");
        out.sample(&labels, count);
    }
}

/// The figures that every Prometheus client library exports, under the same names. Those that the system does not tell
/// are left out.
fn process(out: &mut Exposition, counters: &Counters) {
    let started = counters.started_at.duration_since(SystemTime::UNIX_EPOCH);
    let figures: [(&str, &str, &str, Option<f64>); 5] = [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            host::cpu_time().map(|time| time.as_secs_f64()),
        ),
        (
            "process_open_fds",
            "gauge",
            "Number of open file descriptors.",
            host::open_descriptors().map(|count| count as f64),
        ),
        (
            "process_max_fds",
            "gauge",
            "Maximum number of open file descriptors.",
            host::descriptor_limit().map(|limit| limit as f64),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            memory::resident().map(|bytes| bytes as f64),
        ),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            started.ok().map(|time| time.as_secs_f64()),
        ),
    ];
    for (name, kind, help, value) in figures {
        if let Some(value) = value {
            out.head(name, kind, help);
            out.sample(name, value);
        }
    }
}

fn redis(out: &mut Exposition, cluster: &Cluster) {
    out.gauge(
        "redis_connected",
        "Whether Redis is reachable and takes writes: 1 or 0.",
        u8::from(cluster.is_connected()),
    );
    out.counter(
        "redis_reconnects_total",
        "Times that a lost connection to Redis was restored.",
        cluster.reconnects(),
    );
    out.histogram(
        "redis_round_trip_seconds",
        "Time that Redis took to store a publish and those sent with it.",
        cluster.round_trip(),
    );
}

fn disk(out: &mut Exposition, disk: &Disk) {
    let figures = disk.figures();
    out.gauge(
        "disk_writable",
        "Whether the disk stores what is published: 1 or 0.",
        u8::from(figures.is_writable),
    );
    out.gauge(
        "disk_bytes",
        "Size of the files in DATA_DIR.",
        figures.bytes,
    );
    out.counter(
        "disk_faults_total",
        "Times that the disk stopped taking writes.",
        figures.faults,
    );
    out.histogram(
        "disk_commit_seconds",
        "Time that the disk took to commit and sync what was stored together.",
        disk.commit_time(),
    );
}

/// The answer's text.
struct Exposition(String);

impl Exposition {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "counter", help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help, value);
    }

    fn metric(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        let name = format!("sse_server_{name}");
        self.head(&name, kind, help);
        self.sample(&name, value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let name = format!("sse_server_{name}");
        self.head(&name, "histogram", help);
        let mut count = 0;
        for (bound, up_to) in histogram.cumulative() {
            let bound = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".into()
            };
            self.sample(&format!("{name}_bucket{{le=\"{bound}\"}}"), up_to);
            count = up_to;
        }
        self.sample(&format!("{name}_sum"), histogram.sum_seconds());
        self.sample(&format!("{name}_count"), count);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name} {value}");
    }
}
