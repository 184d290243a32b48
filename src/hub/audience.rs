//! Audiences: the clients that follow the same topics, and so get the same bytes.

use super::subscriber::Subscriber;
use super::topics::Topics;
use crate::event::Event;
use std::collections::HashMap;
use std::sync::Arc;

/// Number of an audience, unique while the server runs.
pub(super) type AudienceId = u64;

/// A snapshot of the clients of one audience, for the announcer.
pub(super) type Members = Arc<[Arc<Subscriber>]>;

pub(super) struct Delivery {
    pub(super) audience: AudienceId,
    pub(super) subscribers: Members,
    /// In the order of ids.
    pub(super) events: Vec<Arc<Event>>,
}

#[derive(Debug)]
struct Audience {
    /// Empty for clients that follow `broadcast` alone.
    topics: Arc<Topics>,
    members: HashMap<u64, Arc<Subscriber>>,
    /// `members` for the announcer; rebuilt after somebody joined or left.
    snapshot: Option<Members>,
}

/// A client that has left.
pub(super) struct Left {
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) topics: Arc<Topics>,
    /// Its audience, if that is now empty.
    pub(super) deserted: Option<AudienceId>,
}

/// All clients. Owned by the table, and guarded with it.
#[derive(Debug, Default)]
pub(super) struct Audiences {
    by_id: HashMap<AudienceId, Audience>,
    by_topics: HashMap<Arc<Topics>, AudienceId>,
    by_client: HashMap<u64, AudienceId>,
}

impl Audiences {
    /// Adds a client. Returns its audience if that is new.
    pub(super) fn join(
        &mut self,
        topics: &Arc<Topics>,
        subscriber: Arc<Subscriber>,
    ) -> Option<AudienceId> {
        let known = self.by_topics.get(topics).copied();
        // Clients' numbers are unique, so the first one's serves as the audience's.
        let id = known.unwrap_or(subscriber.number);
        let audience = self.by_id.entry(id).or_insert_with(|| {
            self.by_topics.insert(topics.clone(), id);
            Audience {
                topics: topics.clone(),
                members: HashMap::new(),
                snapshot: None,
            }
        });
        self.by_client.insert(subscriber.number, id);
        audience.members.insert(subscriber.number, subscriber);
        audience.snapshot = None;
        known.is_none().then_some(id)
    }

    /// `None` if the client has left already.
    pub(super) fn leave(&mut self, number: u64) -> Option<Left> {
        let id = self.by_client.remove(&number)?;
        let audience = self.by_id.get_mut(&id)?;
        audience.snapshot = None;
        let subscriber = audience.members.remove(&number)?;
        let topics = audience.topics.clone();
        let is_deserted = audience.members.is_empty();
        if is_deserted {
            self.by_id.remove(&id);
            self.by_topics.remove(&topics);
        }
        Some(Left {
            subscriber,
            topics,
            deserted: is_deserted.then_some(id),
        })
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = AudienceId> + '_ {
        self.by_id.keys().copied()
    }

    pub(super) fn members(&mut self, id: AudienceId) -> Option<Members> {
        let audience = self.by_id.get_mut(&id)?;
        let members = &audience.members;
        let snapshot = audience
            .snapshot
            .get_or_insert_with(|| members.values().cloned().collect());
        Some(snapshot.clone())
    }

    pub(super) fn subscribers(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        let audiences = self.by_id.values();
        audiences.flat_map(|audience| audience.members.values())
    }

    pub(super) fn client_count(&self) -> usize {
        self.by_client.len()
    }
}
