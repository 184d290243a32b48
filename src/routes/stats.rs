//! `/stats`, `/stats/stream` and `/stats/history`: the server's figures, and with a token that may see them, each
//! channel's.

use super::app::App;
use super::credentials::{check_again, identify};
use super::outcome::{Outcome, Stream};
use super::parameters::refused;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::{Method, Request};

pub(super) fn snapshot(app: &App, request: &Request) -> Result<Reply, Problem> {
    let with_channels = identify(app, request)?.may_see_channels();
    Ok(Reply::json(&app.live.snapshot(with_channels)))
}

/// The last minutes, for a page that was just opened.
pub(super) fn history(app: &App, request: &Request) -> Result<Reply, Problem> {
    // Everybody may see them, but a bad token is refused.
    identify(app, request)?;
    Ok(Reply::json(&app.live.history()))
}

pub(super) fn stream(app: &App, request: &Request) -> Result<Outcome, Problem> {
    let permit = identify(app, request)?.watch();
    let head = Reply::event_stream();
    let place = app.addresses.take_place(&request.peer)?;
    let subscription = app.live.watch(permit).map_err(refused)?;
    // A reload in between did not see this one among the open streams.
    check_again(&app.access, &subscription.permit)?;
    if request.method == Method::Head {
        // What `GET` says, without the stream.
        return Ok(Outcome::Reply(head));
    }
    Ok(Outcome::Stream(Box::new(Stream {
        head,
        subscription,
        kind: "watcher",
        heartbeat_is_event: false,
        answer_by: None,
        place,
        listed: None,
    })))
}
