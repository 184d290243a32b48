//! A client that may have what it asks for, on its way into the hub. Used by `subscribe` and `messages`.

use super::addresses::AddressPlace;
use super::app::App;
use super::connected::ConnectedClients;
use super::credentials::check_again;
use super::outcome::{Outcome, Stream};
use super::parameters::refused;
use crate::access::{Access, Caller, Permit};
use crate::event::Topic;
use crate::http::problem::Problem;
use crate::http::reply::Reply;
use crate::http::request::Peer;
use crate::hub::{would_admit, Hub, Subscription};
use std::sync::Arc;
use std::time::Instant;

/// Whether there is room for a client of these topics, who only asks (`HEAD`).
///
/// # Errors
/// The refusal.
pub(super) fn find_room(hub: &Hub, topics: &[Topic]) -> Result<(), Problem> {
    would_admit(hub, topics).map_err(refused)
}

pub(super) struct Joining {
    pub(super) hub: Arc<Hub>,
    access: Arc<Access>,
    clients: ConnectedClients,
    place: Option<AddressPlace>,
    peer: Peer,
    caller: Caller,
    pub(super) permit: Permit,
}

impl Joining {
    pub(super) fn new(
        app: &App,
        place: Option<AddressPlace>,
        peer: Peer,
        caller: Caller,
        permit: Permit,
    ) -> Joining {
        Joining {
            hub: app.hub.clone(),
            access: app.access.clone(),
            clients: app.clients.clone(),
            place,
            peer,
            caller,
            permit,
        }
    }

    /// Whether it may still have what it asked for: it may have waited.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&self) -> Result<(), Problem> {
        check_again(&self.access, &self.permit)
    }

    /// Lists the client, and hands its stream over.
    pub(super) fn stream(
        self,
        subscription: Subscription,
        topics: Vec<Topic>,
        head: Reply,
        heartbeat_is_event: bool,
        answer_by: Option<Instant>,
    ) -> Result<Outcome, Problem> {
        // A reload in between did not see this one among the open streams.
        self.check()?;
        let listed = self
            .clients
            .add(&subscription, topics, self.peer, &self.caller);
        Ok(Outcome::Stream(Box::new(Stream {
            head,
            subscription,
            kind: "client",
            heartbeat_is_event,
            answer_by,
            place: self.place,
            listed: Some(listed),
        })))
    }
}
