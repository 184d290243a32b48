//! `/stats` and `/stats/stream`: what the server does, and with a token that may see it, each channel. `/metrics`: the
//! same for Prometheus.

use super::{identify, refused, App, Outcome, Stream};
use crate::cluster::Cluster;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::request::{Method, Request};
use crate::statistics;
use crate::stats::{Counters, Histogram};
use std::fmt::{Display, Write};

pub(super) fn snapshot(app: &App, request: &Request) -> Result<Reply, Problem> {
    let with_channels = may_see_channels(app, request)?;
    Ok(Reply::json(&statistics::snapshot(
        &app.hub,
        app.cluster.as_deref(),
        with_channels,
    )))
}

/// One snapshot a second.
pub(super) fn stream(app: &App, request: &Request) -> Result<Outcome, Problem> {
    let with_channels = may_see_channels(app, request)?;
    let head = Reply::event_stream();
    if request.method == Method::Head {
        return Ok(Outcome::Reply(head));
    }
    Ok(Outcome::Stream(Box::new(Stream {
        head,
        subscription: app.live.watch(with_channels).map_err(refused)?,
        kind: "watcher",
        heartbeat_is_event: false,
    })))
}

fn may_see_channels(app: &App, request: &Request) -> Result<bool, Problem> {
    Ok(app.access.may_see_channels(identify(app, request)?))
}

/// The Prometheus text format, version 0.0.4.
pub(super) fn metrics(app: &App) -> Reply {
    let hub = app.hub.stats();
    let counters = app.hub.counters();
    let mut text = String::with_capacity(4096);
    totals(&mut text, counters);
    gauges(&mut text, hub.connected_clients, hub.active_channels);
    let out = &mut text;
    metric(
        out,
        "history_bytes",
        "gauge",
        "Memory of all retained messages.",
        hub.history_bytes,
    );
    metric(
        out,
        "uptime_seconds",
        "gauge",
        "Time since the start.",
        counters.uptime_seconds(),
    );
    histogram(
        out,
        "delivery_delay_seconds",
        "Time from the publish of a message to the end of its write to a client.",
        &counters.delay,
    );
    if let Some(cluster) = &app.cluster {
        redis(out, cluster);
    }
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "# HELP sse_server_build_info The version that runs.\n\
         # TYPE sse_server_build_info gauge\n\
         sse_server_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(bytes) = crate::memory::resident() {
        let _ = write!(
            out,
            "# HELP process_resident_memory_bytes Resident memory size in bytes.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes {bytes}\n"
        );
    }
    Reply::new(200).with_body("text/plain; version=0.0.4; charset=utf-8", text)
}

fn totals(out: &mut String, counters: &Counters) {
    let published = counters.published.get();
    let delivered = counters.delivered.get();
    let slow = counters.slow_clients.get();
    metric(
        out,
        "messages_published_total",
        "counter",
        "Messages accepted from publishers.",
        published,
    );
    metric(
        out,
        "messages_delivered_total",
        "counter",
        "Messages written to clients, replays too.",
        delivered,
    );
    metric(
        out,
        "slow_clients_disconnected_total",
        "counter",
        "Clients disconnected because they read too slowly.",
        slow,
    );
}

fn gauges(out: &mut String, clients: usize, channels: usize) {
    metric(
        out,
        "connected_clients",
        "gauge",
        "Clients with an event stream.",
        clients,
    );
    metric(
        out,
        "active_channels",
        "gauge",
        "Channels, without broadcast.",
        channels,
    );
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "# HELP sse_server_{name} {help}\n# TYPE sse_server_{name} {kind}\nsse_server_{name} {value}\n"
    );
}

fn redis(out: &mut String, cluster: &Cluster) {
    metric(
        out,
        "redis_connected",
        "gauge",
        "Whether Redis is there and takes writes: 1 or 0.",
        u8::from(cluster.is_connected()),
    );
    metric(
        out,
        "redis_reconnects_total",
        "counter",
        "Times that Redis came back after it had been lost.",
        cluster.reconnects(),
    );
    histogram(
        out,
        "redis_round_trip_seconds",
        "Time that Redis took to store a publish, with those that were sent together with it.",
        cluster.round_trip(),
    );
}

fn histogram(out: &mut String, name: &str, help: &str, histogram: &Histogram) {
    let name = format!("sse_server_{name}");
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    let mut count = 0;
    for (bound, so_many) in histogram.cumulative() {
        let bound = if bound.is_finite() {
            bound.to_string()
        } else {
            "+Inf".into()
        };
        let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {so_many}");
        count = so_many;
    }
    let _ = writeln!(
        out,
        "{name}_sum {}\n{name}_count {count}",
        histogram.sum_seconds()
    );
}
