//! `/stats` and `/stats/stream`: what the server does, and with a token that may see it, each channel. `/metrics`: the
//! same for Prometheus.

use super::credentials::{denied, identify};
use super::{refused, App, Outcome, Stream};
use crate::access::Denial;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::request::{Method, Request};
use crate::statistics;
use crate::stats::{Counters, Histogram};
use std::fmt::{Display, Write};

pub(super) fn snapshot(app: &App, request: &Request) -> Result<Reply, Problem> {
    let with_channels = identify(app, request)?.may_see_channels();
    Ok(Reply::json(&statistics::snapshot(&app.hub, with_channels)))
}

/// One snapshot a second.
pub(super) fn stream(app: &App, request: &Request) -> Result<Outcome, Problem> {
    let permit = identify(app, request)?.watch();
    let head = Reply::event_stream();
    if request.method == Method::Head {
        return Ok(Outcome::Reply(head));
    }
    let subscription = app.live.watch(permit).map_err(refused)?;
    // A reload in between has not seen this one among the open streams.
    if !app.access.still_grants(&subscription.permit) {
        return Err(denied(Denial::NotAllowed));
    }
    Ok(Outcome::Stream(Box::new(Stream {
        head,
        subscription,
        kind: "watcher",
        heartbeat_is_event: false,
    })))
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
    delay(out, &counters.delay);
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

fn delay(out: &mut String, histogram: &Histogram) {
    const NAME: &str = "sse_server_delivery_delay_seconds";
    let _ = write!(
        out,
        "# HELP {NAME} Time from the publish of a message to the end of its write to a client.\n# TYPE {NAME} histogram\n"
    );
    let mut count = 0;
    for (bound, so_many) in histogram.cumulative() {
        let bound = if bound.is_finite() {
            bound.to_string()
        } else {
            "+Inf".into()
        };
        let _ = writeln!(out, "{NAME}_bucket{{le=\"{bound}\"}} {so_many}");
        count = so_many;
    }
    let _ = writeln!(
        out,
        "{NAME}_sum {}\n{NAME}_count {count}",
        histogram.sum_seconds()
    );
}
