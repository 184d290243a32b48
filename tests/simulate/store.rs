//! A simulated Redis stream, and a follower that brings what is in it to a hub by the same calls as `src/cluster/follower.rs`.

use crate::event::{ChannelName, Event, EventId, Kind};
use crate::hub::{time, Claim, Hub};
use crate::ledger::{Ledger, NAMES};
use crate::oracle::text_of;
use crate::random::Random;
use std::collections::VecDeque;
use std::sync::Arc;

/// The stream: numbers of messages, oldest first.
#[derive(Debug, Default)]
pub struct Store {
    entries: VecDeque<usize>,
    last: EventId,
}

impl Store {
    /// Takes one more message, and gives it its id.
    pub fn add(&mut self, number: usize) -> EventId {
        self.last = self.last.next(time::wall_ms());
        self.entries.push_back(number);
        self.last
    }

    /// Trims it, or deletes all of it, or forgets the newest entries (as after a failover). The next id grows all the same.
    pub fn lose(&mut self, random: &mut Random) -> usize {
        let count = random.below(self.entries.len() + 1);
        match random.below(4) {
            0 => self.entries.clear(),
            1 => self.entries.truncate(self.entries.len() - count.min(3)),
            _ => drop(self.entries.drain(..count)),
        }
        count
    }
}

/// What one transaction has shown.
struct Look {
    claims: Vec<Claim>,
    /// Up to this id something is not there any more.
    begin: EventId,
    newest: EventId,
    entries: Vec<usize>,
    is_all: bool,
}

/// Where one server is in the stream.
#[derive(Default)]
pub struct Follower {
    look: Option<Look>,
    /// Losses up to here were told.
    told: EventId,
    /// It was answered once.
    has_looked: bool,
    /// Until then it has no connection.
    pub cut_until_ms: u64,
}

impl Follower {
    /// Half a round of `catch_up`: it asks, or takes the answer.
    pub fn step(
        &mut self,
        server: usize,
        hub: &Hub,
        store: &Store,
        ledger: &mut Ledger,
        wanted: usize,
    ) {
        if time::running_ms() < self.cut_until_ms {
            self.look = None;
        } else if let Some(look) = self.look.take() {
            self.take(look, server, hub, ledger);
        } else {
            self.look = Some(Self::ask(hub, store, ledger, wanted));
        }
    }

    fn ask(hub: &Hub, store: &Store, ledger: &Ledger, wanted: usize) -> Look {
        let claims = hub.claims();
        // As there: what is known to be lost is passed over as well.
        let seen = hub.newest();
        let first = store
            .entries
            .partition_point(|&number| ledger.id_of(number) <= seen);
        let entries: Vec<usize> = store.entries.range(first..).take(wanted).copied().collect();
        let count = ledger.next_number();
        let is_there = |number: &usize| store.entries.binary_search(number).is_ok();
        let gone = (0..count).rev().find(|number| !is_there(number));
        Look {
            claims,
            begin: gone.map_or(EventId::ZERO, |number| ledger.id_of(number)),
            newest: store.last,
            is_all: entries.len() < wanted,
            entries,
        }
    }

    fn take(&mut self, look: Look, server: usize, hub: &Hub, ledger: &mut Ledger) {
        if !std::mem::replace(&mut self.has_looked, true) {
            ledger.begin_after(server, look.begin);
        }
        let seen = hub.newest();
        if !hub.is_filled() {
            hub.begin_after(look.begin);
        } else if look.begin > seen.max(self.told) {
            self.told = look.begin;
            hub.send_away_ahead_of(seen);
            hub.lose_up_to(look.begin);
            ledger.lose(server, look.begin);
        }
        if let Some(&last) = look.entries.last() {
            let events = look.entries.iter().map(|&number| event_of(number, ledger));
            hub.append(events.collect());
            hub.skip_to(ledger.id_of(last));
        }
        if !look.is_all {
            return;
        }
        hub.skip_to(look.newest);
        hub.settle(&look.claims, look.newest);
        if !hub.is_filled() {
            hub.set_filled();
            ledger.lose(server, look.newest);
        }
    }
}

fn event_of(number: usize, ledger: &Ledger) -> Arc<Event> {
    let id = ledger.id_of(number);
    let channel = ledger.message(number).map_or(0, |message| message.channel);
    Arc::new(Event {
        id,
        channel: ChannelName::parse(NAMES[channel]).expect("a good name"),
        name: None,
        text: text_of(number).into(),
        kind: Kind::Message,
        timestamp_ms: id.ms,
        at: time::now(),
    })
}
