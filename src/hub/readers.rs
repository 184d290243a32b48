//! The hub as those see it who read: from a stream, at once, or by waiting for what comes.

use super::arrivals::Arrivals;
use super::history::Replay;
use super::hub::Hub;
use super::limits::Refusal;
use super::start::{From, Start};
use super::subscription::{self, Joining, Subscription};
use super::table::Table;
use crate::access::Permit;
use crate::event::{ChannelName, EventId, Form};

/// What was there when somebody read.
#[derive(Debug)]
pub struct Reading {
    /// What there was.
    pub replay: Replay,
    /// Behind this id the next reading begins: nothing up to it is still to come.
    pub up_to: EventId,
}

/// What comes of reading for somebody who would wait.
#[derive(Debug)]
pub enum Polled {
    /// There is something already.
    There(Reading),
    /// It gets what comes.
    Waits(Subscription),
}

impl Hub {
    /// Connects a client to `channels` (`broadcast` comes with all of them). Where `start` asks for history it first gets
    /// that; replay and live delivery meet at one id, taken under one lock, so nothing is lost or repeated. The stream ends
    /// when its permit does.
    ///
    /// # Errors
    /// The refusal, and nothing has changed.
    pub fn subscribe(
        &self,
        channels: &[ChannelName],
        form: Form,
        start: Start,
        permit: Permit,
    ) -> Result<Subscription, Refusal> {
        let channels = sorted(channels);
        let open = self.open_sender()?;
        let mut table = self.shared.lock();
        let number = table.admit(&channels)?;
        let (replay, joined_after) = replay_for(&table, &channels, start);
        let joining = Joining {
            number,
            form,
            joined_after,
            permit,
            replay,
            open,
        };
        Ok(self.join(&mut table, &channels, joining))
    }

    /// What is retained of `channels` and of `broadcast`. Who reads is no client, and makes no channel.
    ///
    /// # Errors
    /// The refusal.
    pub fn read(&self, channels: &[ChannelName], start: Start) -> Result<Reading, Refusal> {
        read(&self.shared.lock(), &sorted(channels), start)
    }

    /// As `read`; if there is nothing, it connects a client that gets what comes.
    ///
    /// # Errors
    /// The refusal, and nothing has changed.
    pub fn poll(
        &self,
        channels: &[ChannelName],
        form: Form,
        start: Start,
        permit: Permit,
    ) -> Result<Polled, Refusal> {
        let channels = sorted(channels);
        let open = self.open_sender()?;
        let mut table = self.shared.lock();
        let reading = read(&table, &channels, start)?;
        let has_gaps = !reading.replay.gaps.is_empty() && form != Form::Text;
        if has_gaps || !reading.replay.events.is_empty() {
            return Ok(Polled::There(reading));
        }
        let joining = Joining {
            number: table.admit(&channels)?,
            form,
            joined_after: reading.up_to,
            permit,
            replay: None,
            open,
        };
        Ok(Polled::Waits(self.join(&mut table, &channels, joining)))
    }

    fn join(&self, table: &mut Table, channels: &[ChannelName], joining: Joining) -> Subscription {
        let (subscriber, subscription) = subscription::pair(self.shared.clone(), joining);
        table.join(channels, subscriber);
        subscription
    }
}

/// What is there now.
fn read(table: &Table, channels: &[ChannelName], start: Start) -> Result<Reading, Refusal> {
    if !table.arrivals.is_filled() {
        return Err(Refusal::NotFilled);
    }
    let (replay, up_to) = replay_for(table, channels, start);
    let replay = replay.unwrap_or_default();
    Ok(Reading { replay, up_to })
}

/// The replay for a client that wants history, if there can be one, and the id after which live delivery begins. With both
/// taken under one lock nothing is lost or repeated between them.
fn replay_for(table: &Table, channels: &[ChannelName], start: Start) -> (Option<Replay>, EventId) {
    let (history, arrivals) = (&table.history, &table.arrivals);
    let newest = history.newest();
    let named = match start.from {
        From::Now => return (None, arrivals.live_from(newest)),
        From::Moment(_) if !arrivals.is_filled() => return (None, Arrivals::EARLY),
        From::Moment(ms) => return (Some(history.since(channels, ms, start.last)), newest),
        From::Id(named) => named,
    };
    match arrivals.live_after(&named, newest) {
        Some(id) if !arrivals.is_filled() => (None, id),
        Some(id) => (history.loss_after(channels, id, named.id), id),
        None => {
            let replay = history.replay(channels, named.id, start.last);
            (Some(replay), newest)
        }
    }
}

/// Each channel once, in the order of an audience's.
fn sorted(channels: &[ChannelName]) -> Vec<ChannelName> {
    let named = channels.iter().filter(|name| !name.is_broadcast());
    let mut channels: Vec<ChannelName> = named.cloned().collect();
    channels.sort_unstable();
    channels.dedup();
    channels
}
