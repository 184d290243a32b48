//! `GET /sse`: parse the channels and the wishes, ask access, join the hub, and hand over a stream.

use super::addresses::AddressPlace;
use super::app::App;
use super::connected::Clients;
use super::credentials::{denied, identify};
use super::history::{self, Since};
use super::outcome::{Outcome, Stream};
use super::parameters::{refused, single, topics};
use crate::access::{Access, Caller, Denial, Permit};
use crate::event::{Form, Topic};
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::{Peer, Request};
use crate::hub::{Hub, Start};
use std::sync::Arc;

/// What a client asks for.
struct Wish {
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
    let (mut wish, caller, permit) = permitted_wish(app, request, segment)?;
    let since = wish.since.take();
    let last = wish.last;
    let joining = Joining {
        hub: app.hub.clone(),
        access: app.access.clone(),
        clients: app.clients.clone(),
        place: app.addresses.take_place(&request.peer)?,
        peer: request.peer,
        wish,
        caller,
        permit,
    };
    history::begin(app, since, last, |start| joining.join(start))
}

/// A client that may have what it asks for.
struct Joining {
    hub: Arc<Hub>,
    access: Arc<Access>,
    clients: Clients,
    place: Option<AddressPlace>,
    peer: Peer,
    wish: Wish,
    caller: Caller,
    permit: Permit,
}

impl Joining {
    fn join(self, start: Start) -> Result<Outcome, Problem> {
        let wish = self.wish;
        let subscription = self
            .hub
            .subscribe(&wish.topics, wish.form, start, self.permit)
            .map_err(refused)?;
        // A reload in between has not seen this one among the open streams.
        if !self.access.still_grants(&subscription.permit) {
            return Err(denied(Denial::NotAllowed));
        }
        let listed = self
            .clients
            .add(&subscription, wish.topics, self.peer, &self.caller);
        Ok(Outcome::Stream(Box::new(Stream {
            head: Reply::event_stream(),
            subscription,
            kind: "client",
            heartbeat_is_event: wish.heartbeat_is_event,
            answer_by: None,
            place: self.place,
            listed: Some(listed),
        })))
    }
}

/// The answer to `HEAD`: what `GET` would say, and no stream.
pub(super) fn describe(
    app: &App,
    request: &Request,
    segment: Option<&str>,
) -> Result<Reply, Problem> {
    permitted_wish(app, request, segment).map(|_| Reply::event_stream())
}

fn permitted_wish(
    app: &App,
    request: &Request,
    segment: Option<&str>,
) -> Result<(Wish, Caller, Permit), Problem> {
    let caller = identify(app, request)?;
    let wish = parse(request, segment)?;
    let permit = caller.follow(&wish.topics).map_err(denied)?;
    Ok((wish, caller, permit))
}

fn parse(request: &Request, segment: Option<&str>) -> Result<Wish, Problem> {
    let query = &request.target.query;
    let (since, last) = beginning(request)?;
    Ok(Wish {
        topics: topics(request, segment)?,
        form: match single(query, "format")? {
            None | Some("plain") => Form::Plain,
            Some("json") => Form::Json,
            Some(other) => {
                return Err(Problem::bad_request(format!(
                    "the parameter format is {other:?}; give json, or leave it out"
                )))
            }
        },
        heartbeat_is_event: match single(query, "heartbeat")? {
            None | Some("comment") => false,
            Some("event") => true,
            Some(other) => {
                return Err(Problem::bad_request(format!(
                    "the parameter heartbeat is {other:?}; give event, or leave it out"
                )))
            }
        },
        since,
        last,
    })
}

/// Where to begin. An id wins: a browser that returns sends it, with the URL that it was first given.
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
