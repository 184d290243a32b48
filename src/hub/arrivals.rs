//! Events whose ids come from outside (Redis): whether all that is retained there has come in, clients that name an id
//! which has not, and the notices of what is lost. It knows no channels and no history.

use super::time;
use crate::event::{ChannelName, Event, EventId, Kind, Topic};
use std::collections::HashMap;
use std::sync::Arc;

/// The id with which a client comes back.
#[derive(Clone, Debug)]
pub struct LastId {
    /// As the client named it.
    pub id: String,
    /// It may be one that was given outside and is yet to come in here.
    pub may_be_ahead: bool,
}

impl LastId {
    /// An id that only this server can have given.
    pub fn of_this_server(id: String) -> LastId {
        LastId {
            id,
            may_be_ahead: false,
        }
    }
}

/// A client's word that an id was given that is newer than what the hub has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The client's number.
    client: u64,
    id: EventId,
}

/// Owned by the table, and guarded with it.
#[derive(Debug)]
pub(super) struct Arrivals {
    is_filled: bool,
    /// After this id everything was retained outside when the hub was begun to be filled, once that is so.
    begun_after: Option<EventId>,
    /// Claims that are not settled, by the client's number.
    claims: HashMap<u64, EventId>,
}

impl Arrivals {
    /// The id after which a client gets what comes live that wants history and came before that was here: it gets nothing,
    /// and is sent to come again.
    pub(super) const EARLY: EventId = EventId { ms: 0, seq: 1 };

    /// Filled from the start where ids do not come from outside.
    pub(super) fn new(is_filled: bool) -> Arrivals {
        Arrivals {
            is_filled,
            begun_after: None,
            claims: HashMap::new(),
        }
    }

    /// Whether everything that is retained outside is here.
    pub(super) fn is_filled(&self) -> bool {
        self.is_filled
    }

    /// Takes note that everything that is retained outside is here.
    pub(super) fn set_filled(&mut self) {
        self.is_filled = true;
    }

    /// Takes note that what was up to `id` is not retained outside, while the hub is being filled and has come to `newest`.
    /// Returns whether the hub has not had all of that either.
    pub(super) fn begin_after(&mut self, id: EventId, newest: EventId) -> bool {
        let Some(begun_after) = self.begun_after else {
            self.begun_after = Some(id);
            return true;
        };
        id > begun_after.max(newest)
    }

    /// The id after which a client that names none gets what comes live: what comes in before the hub is filled is not
    /// announced, and the client is told of that then.
    pub(super) fn live_from(&self, newest: EventId) -> EventId {
        if self.is_filled {
            newest
        } else {
            EventId::ZERO
        }
    }

    /// If there can be no replay yet for a client that names `last`: the id after which it gets what comes live. `newest`
    /// is the newest id that is here.
    pub(super) fn live_after(&self, last: &LastId, newest: EventId) -> Option<EventId> {
        let id = EventId::parse(&last.id);
        if !self.is_filled {
            // Nothing is known yet. It gets nothing, and is sent to come again when the hub is filled.
            return Some(id.unwrap_or_default().max(Arrivals::EARLY));
        }
        // It has all that is here.
        id.filter(|id| last.may_be_ahead && *id > newest)
    }

    /// Takes note that a client names an id that is not here.
    pub(super) fn claim(&mut self, client: u64, id: EventId) {
        self.claims.insert(client, id);
    }

    /// Forgets the claim of a client that leaves.
    pub(super) fn forget(&mut self, client: u64) {
        self.claims.remove(&client);
    }

    /// Claims that are not settled.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let claims = self.claims.iter();
        claims.map(|(&client, &id)| Claim { client, id }).collect()
    }

    /// Settles claims that were made before it was known that `newest` is the newest id. Returns the clients whose claim is
    /// wrong.
    pub(super) fn settle(&mut self, claims: &[Claim], newest: EventId) -> Vec<u64> {
        for claim in claims {
            // Numbers are given once: this is the same claim, or its client has left.
            self.claims.remove(&claim.client);
        }
        let wrong = claims.iter().filter(|claim| claim.id > newest);
        wrong.map(|claim| claim.client).collect()
    }
}

/// Notices that messages of these topics after `after` are, or may be, lost. They have the id `newest`, which no message
/// has that is yet to come: so they are behind what was there, and who joins from now on does not get them.
pub(super) fn gap_notices(
    topics: Vec<Topic>,
    newest: EventId,
    after: EventId,
) -> impl Iterator<Item = Arc<Event>> {
    topics.into_iter().map(move |of| {
        Arc::new(Event {
            id: newest,
            channel: ChannelName::broadcast(),
            name: None,
            text: Box::default(),
            kind: Kind::Gap { of, after },
            timestamp_ms: 0,
            at: time::now(),
        })
    })
}
