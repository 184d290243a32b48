//! `POST /publish`: ask access, read the message, hand it to the hub, answer with its id.

use super::{channels, denied, identify, refused, single, App};
use crate::access::Action;
use crate::event::{ChannelName, EventName};
use crate::problem::Problem;
use crate::query::Query;
use crate::reply::Reply;
use crate::request::{BodyError, ReadBody, Request};
use serde_json::json;

pub(super) fn publish(
    app: &App,
    request: &Request,
    segment: Option<&str>,
    read_body: &mut ReadBody,
) -> Result<Reply, Problem> {
    // Before anything else is looked at: nobody without a right learns more than that, or makes us read a body.
    let identity = identify(app, request)?;
    let channel = channel(request, segment);
    let asked = channel.clone().unwrap_or_else(|_| ChannelName::broadcast());
    app.access
        .check(identity, Action::Publish, &asked)
        .map_err(denied)?;
    let channel = channel?;
    let query = &request.target.query;
    let event_name = single(query, "event")?
        .map_or(Ok(None), EventName::parse)
        .map_err(Problem::bad_request)?;
    let text = message(app, query, read_body)?;

    let bytes = text.len();
    let published = app
        .hub
        .publish(channel.clone(), event_name, text.into())
        .map_err(refused)?;
    log::info!(
        "event=publish id={} channel={channel} bytes={bytes} clients={} peer={}",
        published.id,
        published.clients,
        request.peer
    );
    Ok(Reply::json(&json!({
        "id": published.id.to_string(),
        "canal": channel.as_str(),
        "clients": published.clients,
    })))
}

fn channel(request: &Request, segment: Option<&str>) -> Result<ChannelName, Problem> {
    let mut channels = channels(request, segment)?;
    match channels.pop() {
        Some(channel) if channels.is_empty() => Ok(channel),
        _ => Err(Problem::bad_request(
            "more than one channel is named; a message goes to one channel, or to broadcast",
        )),
    }
}

/// The message: the request's body, or the parameter `msg`.
fn message(app: &App, query: &Query, read_body: &mut ReadBody) -> Result<String, Problem> {
    let limit = app.max_message_bytes;
    let msg = single(query, "msg")?;
    let body = read_body(limit).map_err(|error| bad_body(error, limit))?;
    let text = match msg {
        Some(_) if !body.is_empty() => {
            return Err(Problem::bad_request(
                "the message is given as the body and as msg; give one of the two",
            ))
        }
        Some(msg) => msg.to_string(),
        None => String::from_utf8(body).map_err(|_| not_utf8_body())?,
    };
    if text.len() > limit {
        return Err(Problem::too_large(limit));
    }
    if text.is_empty() {
        return Err(Problem::bad_request(
            "the message is empty; send it as the request's body, or as the parameter msg",
        ));
    }
    Ok(text)
}

fn not_utf8_body() -> Problem {
    Problem::bad_request("the message is not UTF-8; encode it as UTF-8")
}

fn bad_body(error: BodyError, limit: usize) -> Problem {
    match error {
        BodyError::TooLarge => Problem::too_large(limit),
        BodyError::TooSlow => {
            Problem::timeout("the body did not arrive in time; send it without pauses")
        }
        BodyError::Broken => Problem::bad_request(
            "the body ended early or is malformed; send as many bytes as Content-Length says, or correct chunks",
        ),
    }
}
