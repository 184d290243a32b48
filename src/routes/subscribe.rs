//! `GET /sse`: parse the channels and options, ask access, join the hub, and hand over a stream.

use super::app::App;
use super::credentials::{denied, identify};
use super::history::{self, Since};
use super::joining::{find_room, Joining};
use super::outcome::Outcome;
use super::parameters::{parsed, refused, single, topics};
use crate::event::{Form, Topic};
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::{Method, Request};

/// What a client asks for.
struct StreamWish {
    topics: Vec<Topic>,
    form: Form,
    heartbeat_is_event: bool,
    since: Option<Since>,
    last: Option<usize>,
}

pub(super) fn open(
    app: &App,
    request: &Request,
    segment: Option<&str>,
) -> Result<Outcome, Problem> {
    let caller = identify(app, request)?;
    let mut wish = parse(request, segment)?;
    let permit = caller.follow(&wish.topics).map_err(denied)?;
    let place = app.addresses.take_place(&request.peer)?;
    if request.method == Method::Head {
        // What `GET` would say, without a stream.
        find_room(&app.hub, &wish.topics)?;
        return Ok(Outcome::Reply(Reply::event_stream()));
    }
    let since = wish.since.take();
    let last = wish.last;
    let joining = Joining::new(app, place, request.peer, caller, permit);
    history::begin(app, since, last, move |start| {
        let permit = joining.permit.clone();
        let subscription = joining
            .hub
            .subscribe(&wish.topics, wish.form, start, permit)
            .map_err(refused)?;
        let head = Reply::event_stream();
        joining.stream(
            subscription,
            wish.topics,
            head,
            wish.heartbeat_is_event,
            None,
        )
    })
}

fn parse(request: &Request, segment: Option<&str>) -> Result<StreamWish, Problem> {
    let query = &request.target.query;
    let (since, last) = beginning(request)?;
    Ok(StreamWish {
        topics: topics(request, segment)?,
        form: parsed(
            query,
            "format",
            "json, or leave it out",
            |form| match form {
                "plain" => Some(Form::Plain),
                "json" => Some(Form::Json),
                _ => None,
            },
        )?
        .unwrap_or(Form::Plain),
        heartbeat_is_event: parsed(
            query,
            "heartbeat",
            "event, or leave it out",
            |form| match form {
                "comment" => Some(false),
                "event" => Some(true),
                _ => None,
            },
        )?
        .unwrap_or(false),
        since,
        last,
    })
}

/// Where to begin. An id wins: a browser that reconnects sends it with the original URL.
fn beginning(request: &Request) -> Result<(Option<Since>, Option<usize>), Problem> {
    let query = &request.target.query;
    let (since, last) = (history::since(query)?, history::last(query)?);
    if let Some(Since::Id(id)) = &since {
        return Err(Problem::bad_request(format!(
            "the parameter since is {id:?}, an id; give that as last_event_id, and as since a time ago (90s, 10m, 2h or 1d) or milliseconds since 1970"
        )));
    }
    Ok(match last_event_id(request)? {
        Some(id) => (Some(Since::Id(id)), None),
        None => (since, last),
    })
}

/// The header wins over the query, unless it is empty.
fn last_event_id(request: &Request) -> Result<Option<String>, Problem> {
    let header = request.header("Last-Event-ID");
    let id = match header.filter(|id| !id.is_empty()) {
        Some(id) => Some(id),
        None => single(&request.target.query, "last_event_id")?,
    };
    Ok(id.filter(|id| !id.is_empty()).map(str::to_string))
}
