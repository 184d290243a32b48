//! The hub as readers see it: by a stream, at once, or by waiting for the next message.

use super::arrivals::Arrivals;
use super::history::Replay;
use super::hub::Hub;
use super::limits::Refusal;
use super::shared::Shared;
use super::start::{From, Start};
use super::subscription::{self, Admitted, Subscription};
use super::table::Table;
use super::topics::Topics;
use crate::access::Permit;
use crate::event::{EventId, Form, Topic};
use crate::locks::lock;
use std::sync::Arc;

/// The result of a read.
#[derive(Debug)]
pub struct Reading {
    pub replay: Replay,
    /// The next read begins after this id: nothing up to it is still to come.
    pub up_to: EventId,
}

impl Reading {
    /// Whether a client that wants this form would see nothing of it.
    pub fn is_empty(&self, form: Form) -> bool {
        let has_gaps = !self.replay.gaps.is_empty() && form != Form::Text;
        !has_gaps && self.replay.events.is_empty()
    }
}

/// The result of a read that may wait.
#[derive(Debug)]
pub enum Polled {
    /// Something is there already.
    There(Reading),
    /// Nothing is there: the client gets what comes.
    Waits(Subscription),
}

impl Hub {
    /// Connects a client to `topics`; `broadcast` comes with all of them. If `start` asks for history, it gets that
    /// first. Replay and live delivery meet at one id, taken under one lock, so nothing is lost or repeated. The stream
    /// ends when its permit does.
    ///
    /// # Errors
    /// The refusal. Nothing has changed.
    pub fn subscribe(
        &self,
        topics: &[Topic],
        form: Form,
        start: Start,
        permit: Permit,
    ) -> Result<Subscription, Refusal> {
        let topics = Arc::new(Topics::new(topics));
        let open = lock(&self.open).clone().ok_or(Refusal::Closing)?;
        let mut table = self.shared.lock();
        let number = table.admit(&topics)?;
        let (replay, joined_after) = replay_for(&table, &topics, start);
        let admitted = Admitted {
            number,
            form,
            joined_after,
            newest: None,
            permit,
            replay,
            open,
        };
        Ok(join(&self.shared, &mut table, &topics, admitted))
    }

    /// What is retained of `topics` and `broadcast`. A reader is no client, and creates no channel.
    ///
    /// # Errors
    /// The refusal.
    pub fn read(&self, topics: &[Topic], start: Start) -> Result<Reading, Refusal> {
        read(&self.shared.lock(), &Topics::new(topics), start)
    }

    /// As `read`; if nothing is there, it connects a client that gets what comes.
    ///
    /// # Errors
    /// The refusal. Nothing has changed.
    pub fn poll(
        &self,
        topics: &[Topic],
        form: Form,
        start: Start,
        permit: Permit,
    ) -> Result<Polled, Refusal> {
        let topics = Arc::new(Topics::new(topics));
        let open = lock(&self.open).clone().ok_or(Refusal::Closing)?;
        let newest = start
            .last
            .and_then(|last| u32::try_from(last).ok()?.try_into().ok());
        let mut table = self.shared.lock();
        let reading = read(&table, &topics, start)?;
        if !reading.is_empty(form) {
            return Ok(Polled::There(reading));
        }
        let admitted = Admitted {
            number: table.admit(&topics)?,
            form,
            joined_after: reading.up_to,
            newest,
            permit,
            replay: None,
            open,
        };
        let subscription = join(&self.shared, &mut table, &topics, admitted);
        Ok(Polled::Waits(subscription))
    }
}

/// Whether the hub would admit a client of these topics now.
///
/// # Errors
/// The refusal.
pub fn would_admit(hub: &Hub, topics: &[Topic]) -> Result<(), Refusal> {
    let topics = Topics::new(topics);
    hub.shared.lock().admit(&topics).map(drop)
}

fn join(
    shared: &Arc<Shared>,
    table: &mut Table,
    topics: &Arc<Topics>,
    admitted: Admitted,
) -> Subscription {
    let (subscriber, subscription) = subscription::pair(shared.clone(), admitted);
    table.join(topics, subscriber);
    subscription
}

fn read(table: &Table, topics: &Topics, start: Start) -> Result<Reading, Refusal> {
    if !table.arrivals.is_filled {
        return Err(Refusal::NotFilled);
    }
    let (replay, up_to) = replay_for(table, topics, start);
    let replay = replay.unwrap_or_default();
    Ok(Reading { replay, up_to })
}

/// The replay for a client that wants history, if there can be one, and the id after which live delivery begins. Both
/// are taken under one lock, so nothing is lost or repeated between them.
fn replay_for(table: &Table, topics: &Topics, start: Start) -> (Option<Replay>, EventId) {
    let (history, arrivals) = (&table.history, &table.arrivals);
    let newest = history.ids.newest();
    let named = match start.from {
        From::Now => return (None, arrivals.live_from(newest)),
        From::Moment(_) if !arrivals.is_filled => return (None, Arrivals::EARLY),
        From::Moment(ms) => return (Some(history.since(topics, ms, start.last)), newest),
        From::Id(named) => named,
    };
    match arrivals.live_after(&named, newest) {
        Some(id) if !arrivals.is_filled => (None, id),
        Some(id) => (history.loss_after(topics, id, named.id), id),
        None => {
            let replay = history.replay(topics, named.id, start.last);
            (Some(replay), newest)
        }
    }
}
