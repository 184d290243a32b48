//! Events whose ids come from outside (Redis): whether all that is retained there has arrived, clients that name an id
//! that has not, and notices of losses. It knows no channels and no history.

use super::time;
use crate::event::{ChannelName, Event, EventId, Kind, Topic};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The id that a returning client names.
#[derive(Clone, Debug)]
pub struct LastId {
    /// As the client named it.
    pub id: String,
    /// It may have been given outside, and not have arrived here yet.
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

/// A client's claim that an id newer than the hub's was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdClaim {
    /// The client's number.
    client: u64,
    id: EventId,
}

/// Owned by the table, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Everything that is retained outside is here.
    pub(super) is_filled: bool,
    /// Everything after this id was retained outside when the hub began to fill, once that is known.
    begun_after: Option<EventId>,
    /// Unsettled claims, by the client's number.
    claims: HashMap<u64, EventId>,
    /// When the last event came for which old channels had to make room.
    made_room: Option<Instant>,
}

impl Arrivals {
    /// For a client that wants history before it has arrived: the id after which it gets live events. It gets none, and
    /// is told to reconnect.
    pub(super) const EARLY: EventId = EventId { ms: 0, seq: 1 };

    /// `is_filled` is true from the start where ids do not come from outside.
    pub(super) fn new(is_filled: bool) -> Arrivals {
        Arrivals {
            is_filled,
            ..Arrivals::default()
        }
    }

    /// Whether old channels have to make room for an event of this time: while the hub fills, and as often as the
    /// contract has channels expire, since each time costs a look at all of them.
    pub(super) fn makes_room(&mut self, at: Instant) -> bool {
        const ROUND: Duration = Duration::from_secs(5);
        let is_early = self.made_room.is_some_and(|made| at < made + ROUND);
        if self.is_filled || is_early {
            return false;
        }
        self.made_room = Some(at);
        true
    }

    /// Records that nothing up to `id` is retained outside, while the hub fills and has come to `newest`. Returns
    /// whether the hub has missed some of that.
    pub(super) fn begin_after(&mut self, id: EventId, newest: EventId) -> bool {
        let Some(begun_after) = self.begun_after else {
            self.begun_after = Some(id);
            return true;
        };
        id > begun_after.max(newest)
    }

    /// For a client that names no id: the id after which it gets live events. What arrives before the hub is filled is
    /// not announced; the client is told of that afterwards.
    pub(super) fn live_from(&self, newest: EventId) -> EventId {
        if self.is_filled {
            newest
        } else {
            EventId::ZERO
        }
    }

    /// For a client that names `last` and cannot get a replay yet: the id after which it gets live events. `newest` is
    /// the newest id here.
    pub(super) fn live_after(&self, last: &LastId, newest: EventId) -> Option<EventId> {
        let id = EventId::parse(&last.id);
        if !self.is_filled {
            // Nothing is known yet. It gets nothing, and has to reconnect when the hub is filled.
            return Some(id.unwrap_or_default().max(Arrivals::EARLY));
        }
        id.filter(|id| last.may_be_ahead && *id > newest)
    }

    /// Records that a client names an id that is not here.
    pub(super) fn claim(&mut self, client: u64, id: EventId) {
        self.claims.insert(client, id);
    }

    pub(super) fn forget(&mut self, client: u64) {
        self.claims.remove(&client);
    }

    pub(super) fn claims(&self) -> Vec<IdClaim> {
        let claims = self.claims.iter();
        claims
            .map(|(&client, &id)| IdClaim { client, id })
            .collect()
    }

    /// Settles claims that were made before `newest` was found to be the newest id. Returns the clients whose claim is
    /// wrong.
    pub(super) fn settle(&mut self, claims: &[IdClaim], newest: EventId) -> Vec<u64> {
        for claim in claims {
            // A number is never reused: this is the same claim, or its client has left.
            self.claims.remove(&claim.client);
        }
        let wrong = claims.iter().filter(|claim| claim.id > newest);
        wrong.map(|claim| claim.client).collect()
    }
}

/// Notices that messages of these topics after `after` are, or may be, lost. They have the id `newest`, which no later
/// message has: so they come after what was there, and clients that join after they went out do not get them.
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
