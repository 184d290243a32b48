//! `GET /sse`: parse the channels and the wishes, ask access, join the hub, and hand over a stream.

use super::addresses::AddressPlace;
use super::app::App;
use super::connected::Clients;
use super::credentials::{denied, identify};
use super::outcome::{Outcome, Stream, Waiting};
use super::parameters::{channels, refused, single};
use crate::access::{Access, Caller, Denial, Permit};
use crate::event::{ChannelName, Form};
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::{Peer, Request};
use crate::hub::{Hub, LastId};
use crate::log::Logged;
use std::sync::Arc;

/// What a client asks for.
struct Wish {
    channels: Vec<ChannelName>,
    form: Form,
    heartbeat_is_event: bool,
    last_event_id: Option<String>,
}

pub(super) fn open(
    app: &App,
    request: &Request,
    segment: Option<&str>,
) -> Result<Outcome, Problem> {
    let (mut wish, caller, permit) = permitted_wish(app, request, segment)?;
    let last_event_id = wish.last_event_id.take();
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
    match (last_event_id, app.cluster.clone()) {
        (Some(id), Some(cluster)) if cluster.has_to_wait_for(&id) => {
            Ok(Outcome::Waiting(Waiting::new(move || {
                let last_id = cluster.judge(id);
                joining.join(Some(last_id)).unwrap_or_else(Outcome::from)
            })))
        }
        (id, _) => joining.join(id.map(LastId::of_this_server)),
    }
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
    fn join(self, last_id: Option<LastId>) -> Result<Outcome, Problem> {
        let wish = self.wish;
        let subscription = self
            .hub
            .subscribe(&wish.channels, wish.form, last_id, self.permit)
            .map_err(refused)?;
        // A reload in between has not seen this one among the open streams.
        if !self.access.still_grants(&subscription.permit) {
            return Err(denied(Denial::NotAllowed));
        }
        let names: Vec<&str> = wish.channels.iter().map(ChannelName::as_str).collect();
        log::info!(
            "event=connect client={} peer={} {caller} channels={}",
            subscription.number,
            self.peer,
            Logged(&names.join(",")),
            caller = self.caller,
        );
        let listed = self
            .clients
            .add(&subscription, wish.channels, self.peer, &self.caller);
        Ok(Outcome::Stream(Box::new(Stream {
            head: Reply::event_stream(),
            subscription,
            kind: "client",
            heartbeat_is_event: wish.heartbeat_is_event,
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
    let permit = caller.follow(&wish.channels).map_err(denied)?;
    Ok((wish, caller, permit))
}

fn parse(request: &Request, segment: Option<&str>) -> Result<Wish, Problem> {
    let query = &request.target.query;
    Ok(Wish {
        channels: channels(request, segment)?,
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
        last_event_id: last_event_id(request)?,
    })
}

/// The header wins: a browser sends it when it returns, with the URL that it was first given.
fn last_event_id(request: &Request) -> Result<Option<String>, Problem> {
    let id = match request.header("Last-Event-ID") {
        Some(id) => Some(id),
        None => single(&request.target.query, "last_event_id")?,
    };
    Ok(id.filter(|id| !id.is_empty()).map(str::to_string))
}
