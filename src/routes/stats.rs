//! `/stats` and `/stats/stream`: what the server does, and with a token that may see it, each channel.

use super::{identify, refused, App, Outcome, Stream};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::request::{Method, Request};
use crate::statistics;

pub(super) fn snapshot(app: &App, request: &Request) -> Result<Reply, Problem> {
    let with_channels = may_see_channels(app, request)?;
    Ok(Reply::json(&statistics::snapshot(&app.hub, with_channels)))
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
