//! `/metrics`: the server's figures, for Prometheus. They cost a message next to nothing: counters that exist anyway,
//! and two reads of `/proc` per scrape.

use super::app::App;
use crate::counters::Histogram;
use crate::host;
use crate::host::memory;
use crate::http::reply::Reply;
use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime};

/// The text format, version 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Each metric: its name, its type, and what it is. Those of the process are what every Prometheus client library exports,
/// under the same names.
const METRICS: &str = "\
sse_server_messages_published_total counter Messages accepted from publishers.
sse_server_publishes_repeated_total counter Publishes with a key that had been published before, and got that answer again.
sse_server_messages_delivered_total counter Messages written to clients, replays included.
sse_server_max_clients gauge Clients that may be connected.
sse_server_max_channels gauge Channels that may have messages; as many again may only be followed.
sse_server_max_history_bytes gauge Memory that retained messages may take.
sse_server_connected_clients gauge Clients with an event stream.
sse_server_statistics_watchers gauge Watchers of /stats/stream; they are not clients.
sse_server_active_channels gauge Channels, without broadcast.
sse_server_history_messages gauge Messages retained for replay, of all channels.
sse_server_history_bytes gauge Memory of all retained messages.
sse_server_uptime_seconds gauge Time since the start.
sse_server_slow_clients_disconnected_total counter Clients disconnected because they read too slowly.
sse_server_clients_disconnected_total counter Clients whose stream has ended, by the reason in the log.
sse_server_responses_total counter Requests, by route and status.
sse_server_delivery_delay_seconds histogram Time from the publish of a message to the end of its write to a client.
sse_server_redis_connected gauge Whether Redis is reachable and takes writes: 1 or 0.
sse_server_redis_reconnects_total counter Times that a lost connection to Redis was restored.
sse_server_redis_round_trip_seconds histogram Time that Redis took to store a publish and those sent with it.
sse_server_disk_writable gauge Whether the disk stores what is published: 1 or 0.
sse_server_disk_bytes gauge Size of the files in DATA_DIR.
sse_server_disk_faults_total counter Times that the disk stopped taking writes.
sse_server_disk_commit_seconds histogram Time that the disk took to commit and sync what was stored together.
sse_server_build_info gauge The running version.
process_cpu_seconds_total counter Total user and system CPU time spent in seconds.
process_open_fds gauge Number of open file descriptors.
process_max_fds gauge Maximum number of open file descriptors.
process_resident_memory_bytes gauge Resident memory size in bytes.
process_start_time_seconds gauge Start time of the process since unix epoch in seconds.
";

pub(super) fn metrics(app: &App) -> Reply {
    let mut text = Exposition(String::with_capacity(8192));
    server(&mut text, app);
    process(&mut text, app);
    Reply::new(200).with_body(CONTENT_TYPE, text.0)
}

fn server(out: &mut Exposition, app: &App) {
    let counters = app.hub.counters();
    let (hub, limits) = (app.hub.stats(), app.hub.limits());
    out.metric("messages_published_total", counters.published.get());
    out.metric("publishes_repeated_total", counters.repeated.get());
    out.metric("messages_delivered_total", counters.delivered.get());
    out.metric("max_clients", limits.max_clients);
    out.metric("max_channels", limits.max_channels);
    out.metric("max_history_bytes", limits.history_bytes);
    out.metric("connected_clients", hub.connected_clients);
    out.metric("statistics_watchers", app.live.watchers());
    out.metric("active_channels", hub.active_channels);
    out.metric("history_messages", hub.history_messages);
    out.metric("history_bytes", hub.history_bytes);
    out.metric("uptime_seconds", counters.uptime_seconds());
    let slow = counters.slow_clients.get();
    out.metric("slow_clients_disconnected_total", slow);
    let ended = counters.disconnected.all();
    let ended = ended.map(|(reason, count)| (format!("reason=\"{reason}\""), count));
    out.labelled("clients_disconnected_total", ended);
    let answers = counters.answers.all();
    let answers = answers.map(|(family, status, count)| {
        let labels = format!("route=\"{family}\",status=\"{status}\"");
        (labels, count)
    });
    out.labelled("responses_total", answers);
    out.histogram("delivery_delay_seconds", &counters.delay);
    if let Some(cluster) = &app.cluster {
        out.metric("redis_connected", u8::from(cluster.is_connected()));
        out.metric("redis_reconnects_total", cluster.reconnects());
        out.histogram("redis_round_trip_seconds", cluster.round_trip());
    }
    if let Some(disk) = &app.disk {
        let figures = disk.figures();
        out.metric("disk_writable", u8::from(figures.is_writable));
        out.metric("disk_bytes", figures.bytes);
        out.metric("disk_faults_total", figures.faults);
        out.histogram("disk_commit_seconds", disk.commit_time());
    }
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    out.labelled("build_info", [(version, 1)].into_iter());
}

fn process(out: &mut Exposition, app: &App) {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let started = app.hub.counters().started_at;
    let started = started.duration_since(SystemTime::UNIX_EPOCH).ok();
    out.told("process_cpu_seconds_total", seconds(host::cpu_time()));
    out.told("process_open_fds", host::open_descriptors());
    out.told("process_max_fds", host::descriptor_limit());
    out.told("process_resident_memory_bytes", memory::resident());
    out.told("process_start_time_seconds", seconds(started));
}

/// The answer's text.
struct Exposition(String);

impl Exposition {
    /// One of the server's own, by its name behind `sse_server_`.
    fn metric(&mut self, name: &str, value: impl Display) {
        let name = self.begin(name);
        self.sample(&name, value);
    }

    /// The same, with a value for each of these labels.
    fn labelled(&mut self, name: &str, values: impl Iterator<Item = (String, u64)>) {
        let name = self.begin(name);
        for (labels, value) in values {
            self.sample(&format!("{name}{{{labels}}}"), value);
        }
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        let name = self.begin(name);
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

    /// Begins a metric of the server, and returns its whole name.
    fn begin(&mut self, name: &str) -> String {
        let name = format!("sse_server_{name}");
        self.head(&name);
        name
    }

    /// One of the process, if the system tells it.
    fn told(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.head(name);
            self.sample(name, value);
        }
    }

    fn head(&mut self, name: &str) {
        let mut metrics = METRICS.lines().map(|line| line.splitn(3, ' '));
        let found = metrics.find_map(|mut metric| {
            (metric.next()? == name).then_some((metric.next()?, metric.next()?))
        });
        if let Some((kind, help)) = found {
            // Writing to a String cannot fail.
            let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name} {value}");
    }
}
