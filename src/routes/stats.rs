//! `/stats`: what the server does, and with a token that may see it, each channel.

use super::{identify, App};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::request::Request;
use serde_json::{json, Value};

pub(super) fn snapshot(app: &App, request: &Request) -> Result<Reply, Problem> {
    let identity = identify(app, request)?;
    let mut body = figures(app);
    if app.access.may_see_channels(identity) {
        body["channels"] = channels(app);
    }
    Ok(Reply::json(&body))
}

fn figures(app: &App) -> Value {
    let hub = app.hub.stats();
    let counters = app.hub.counters();
    json!({
        "active_channels": hub.active_channels,
        "connected_clients": hub.connected_clients,
        "messages_published": counters.published.get(),
        "messages_delivered": counters.delivered.get(),
        "slow_clients_disconnected": counters.slow_clients.get(),
        "history_bytes": hub.history_bytes,
        "uptime_seconds": counters.uptime_seconds(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn channels(app: &App) -> Value {
    let list = app.hub.channel_stats().into_iter().map(|channel| {
        json!({
            "canal": channel.name.as_str(),
            "clients": channel.clients,
            "messages": channel.messages,
            "history": channel.history,
            "idle_seconds": channel.idle.as_secs(),
        })
    });
    Value::Array(list.collect())
}
