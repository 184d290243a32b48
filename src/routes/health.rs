//! `/health` and `/health/ready`, for probes: no token, no cost.

use super::app::App;
use crate::http::problem::{Problem, RETRY_AFTER};
use crate::http::reply::Reply;
use serde_json::json;

/// `200` while the process serves.
pub(super) fn alive(app: &App) -> Reply {
    Reply::json(&json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.hub.counters().uptime_seconds(),
    }))
}

/// `200` while the process takes new clients and messages.
pub(super) fn ready(app: &App) -> Result<Reply, Problem> {
    if app.hub.is_closing() {
        return Err(Problem::unavailable(
            "the server is shutting down",
            RETRY_AFTER,
        ));
    }
    if app.cluster.as_ref().is_some_and(|c| !c.is_connected()) {
        return Err(Problem::unavailable(
            "Redis is unreachable or takes no writes; clients stay connected, but nothing can be published",
            RETRY_AFTER,
        ));
    }
    if app.disk.as_ref().is_some_and(|disk| !disk.is_writable()) {
        return Err(Problem::unavailable(
            "the disk (DATA_DIR) takes no writes; clients stay connected, but nothing can be published",
            RETRY_AFTER,
        ));
    }
    Ok(Reply::json(&json!({ "status": "ok" })))
}
