//! The writer: one thread that stores what publishers bring. It takes all that waits, gives it its ids, writes it in one
//! commit, brings it to the hub, and hands each publisher its own answer: while the disk works on one lot the next gathers, so
//! the time of a sync does not limit the rate. What has changed in the hub beside that goes along, or waits for company.
//! Started by `Disk`.

use super::draft::Draft;
use super::fault::{Fault, Kind};
use super::folder::{bytes_of, wall_ms, Folder};
use super::journal::Journal;
use super::lot::{Job, Lot, NumberedLot, Numbering};
use super::record::{meta_value, published_key, KeyRecord, Meta, Pair, META_KEY, PROBE_KEY};
use super::settings::SyncTime;
use super::state::State;
use super::store::{self, Store};
use crate::event::Event;
use crate::hub::{Hub, Refusal};
use crate::idempotency::{LIFETIME, MOST_KEYS};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it looks after what nobody has asked for.
const ROUND: Duration = Duration::from_secs(1);

/// How often it looks who follows which channel.
const RECORDS_ROUND: Duration = Duration::from_secs(5);

/// An id that is not synced before its publisher is answered is at most so far ahead of the last sync. After a loss of power
/// ids begin behind that.
const CEILING_MS: u64 = 10_000;

/// What is in the journal and synced is in the store at most this much later: one commit for all of it.
const STORE_TIME: Duration = Duration::from_secs(1);

/// A journal of this many bytes is stored at once.
const LONGEST_JOURNAL: u64 = 16 << 20;

/// The file is written anew when it is larger than this many times what is retained, or than a new one was, and this.
const MOST_GROWTH: u64 = 3;
const LEAST_BYTES: u64 = 8 << 20;

/// It is not written anew more often, unless it has become this many times larger.
const REBUILD_ROUND: Duration = Duration::from_secs(30);
const FAR_TOO_LARGE: u64 = 2;

/// What is written to find out whether there is room again, if nothing larger was refused.
const LEAST_PROBE: usize = 64 << 10;

/// Everything that the thread has.
pub(super) struct Writer {
    pub(super) hub: Arc<Hub>,
    pub(super) state: Arc<State>,
    pub(super) jobs: Receiver<Job>,
    pub(super) folder: Folder,
    pub(super) sync_time: SyncTime,
    /// `None` until it is written, or opened again.
    pub(super) store: Option<Store>,
    /// What publishers were answered for, and the store does not have yet.
    pub(super) journal: Journal,
    pub(super) draft: Draft,
    /// What was published with a key, oldest first.
    pub(super) keys: VecDeque<KeyRecord>,
    pub(super) meta: Meta,
    /// When what is in the journal has to be in the store.
    pub(super) due: Option<Instant>,
    pub(super) rounds: Rounds,
    /// The file may be other than it seems: it is written anew from what the hub has.
    pub(super) is_doubtful: bool,
    /// Bytes that could not be stored.
    pub(super) refused_bytes: usize,
}

/// When it looks after what.
#[derive(Debug)]
pub(super) struct Rounds {
    next: Instant,
    next_records: Instant,
    rebuilt: Instant,
    /// Bytes of the files when they were new, and of what was retained then.
    new: (u64, u64),
}

impl Default for Rounds {
    fn default() -> Rounds {
        let now = Instant::now();
        Rounds {
            next: now + ROUND,
            next_records: now + RECORDS_ROUND,
            rebuilt: now,
            new: (0, 0),
        }
    }
}

impl Writer {
    /// Until this server stops.
    pub(super) fn run(mut self) {
        let stop = loop {
            let next = self
                .due
                .map_or(self.rounds.next, |due| due.min(self.rounds.next));
            let pause = next.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(pause) {
                Ok(job) => {
                    let mut lot = Lot::gather(job, &self.jobs);
                    let stop = lot.stop.take();
                    self.take(lot);
                    if stop.is_some() {
                        break stop;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break None,
            }
            self.look_after();
        };
        self.close();
        // They came too late to be stored with the last.
        for job in self.jobs.try_iter() {
            job.refuse(Refusal::Closing);
        }
        drop(stop);
    }

    /// The first commit of this run: what the journal had, and whose the file is now.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        if self.store.is_none() {
            return self.rebuild();
        }
        self.draft.note(self.hub.feed().take_changes());
        self.commit_draft()
    }

    /// Stores a lot, and hands out the answers.
    fn take(&mut self, lot: Lot) {
        let mut numbering = Numbering::new(&self.hub, wall_ms(), Instant::now());
        let lot = lot.number(&mut numbering);
        if lot.events.is_empty() {
            return;
        }
        if !self.state.is_up() {
            return lot.refuse(&self.state.refusal());
        }
        match self.store(&lot) {
            Ok(()) => {
                let events = lot.events.iter().map(|kept| kept.event.clone());
                self.hub.feed().append(events.collect());
                self.keys.extend(&lot.keys);
                lot.confirm(&self.hub);
            }
            Err(fault) => {
                self.refused_bytes = lot.events.iter().map(|kept| kept.event.cost()).sum();
                self.fail(fault);
                lot.refuse(&self.state.refusal());
            }
        }
    }

    fn store(&mut self, lot: &NumberedLot) -> Result<(), Fault> {
        self.draft.note(self.hub.feed().take_changes());
        let (records, newest) = (lot.records(), lot.newest());
        let is_late = newest.ms >= self.meta.ceiling_ms || self.draft.has_gone;
        if is_late || self.journal.len() > LONGEST_JOURNAL {
            // Without the lot. A commit that fails may come through after all, and the lot is refused then.
            self.commit(newest.ms)?;
        }
        let begun = Instant::now();
        let answer = || self.folder.note_answered(newest);
        self.journal.append(&records, answer)?;
        let time = match self.sync_time {
            SyncTime::Within(time) => time,
            SyncTime::Always => {
                self.state.sync_time.observe(begun.elapsed(), 1);
                STORE_TIME
            }
        };
        self.draft.add(records);
        self.meta.newest = newest;
        self.due.get_or_insert(begun + time);
        Ok(())
    }

    /// Stores the draft.
    fn commit_draft(&mut self) -> Result<(), Fault> {
        self.commit(self.meta.newest.ms)
    }

    /// Stores the draft. What is published next may have ids of this time, in ms.
    fn commit(&mut self, next_ms: u64) -> Result<(), Fault> {
        let Some(store) = &self.store else {
            return Err(Fault::new(Kind::Failed, "the file is not open"));
        };
        let meta = Meta {
            forgotten: self.draft.forgotten,
            ceiling_ms: wall_ms().max(next_ms) + CEILING_MS,
            ..self.meta.clone()
        };
        let begun = Instant::now();
        write(store, &self.draft, &[], &meta)?;
        self.state.sync_time.observe(begun.elapsed(), 1);
        self.meta = meta;
        self.draft.clear();
        self.begin_journal()
    }

    /// Everything that publishers were answered for is in the store.
    fn begin_journal(&mut self) -> Result<(), Fault> {
        self.due = None;
        self.journal.begin(self.meta.newest)?;
        Ok(self.folder.note_answered(self.meta.newest)?)
    }

    fn fail(&mut self, fault: Fault) {
        self.is_doubtful |= matches!(fault.kind, Kind::Failed | Kind::Damaged);
        self.state.down(fault);
    }

    /// What is due, and what nobody has asked for.
    fn look_after(&mut self) {
        let now = Instant::now();
        let is_round = now >= self.rounds.next;
        if is_round {
            self.rounds.next = now + ROUND;
        }
        let done = match (self.state.is_up(), is_round) {
            (true, true) => self.keep_house(now),
            (true, false) if self.due.is_some_and(|due| due <= now) => self.commit_draft(),
            (false, true) => self.recover(),
            _ => Ok(()),
        };
        if let Err(fault) = done {
            self.fail(fault);
        }
    }

    fn keep_house(&mut self, now: Instant) -> Result<(), Fault> {
        self.folder.look_after()?;
        self.draft.note(self.hub.feed().take_changes());
        if now >= self.rounds.next_records {
            self.rounds.next_records = now + RECORDS_ROUND;
            let records = self.hub.feed().records();
            self.draft.note_records(records, wall_ms(), false);
            self.forget_old_keys();
        }
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due || self.draft.is_old() {
            self.commit_draft()?;
        }
        if !self.is_too_large(now) {
            return Ok(());
        }
        match self.rebuild() {
            // There is no room for a second file. The one that there is goes on.
            Err(fault) if fault.kind == Kind::Full && !self.is_doubtful => Ok(()),
            done => done,
        }
    }

    fn forget_old_keys(&mut self) {
        let oldest_ms = wall_ms().saturating_sub(LIFETIME.as_millis() as u64);
        while let Some(known) = self.keys.front() {
            if known.at_ms > oldest_ms && self.keys.len() <= MOST_KEYS {
                return;
            }
            let key = published_key(known.published.first);
            self.draft.remove_record(key);
            self.keys.pop_front();
        }
    }

    fn is_too_large(&self, now: Instant) -> bool {
        let retained = self.retained();
        // A new file may be larger than that from the start: pages are not full, and files grow by doubling.
        let (bytes, retained_then) = self.rounds.new;
        let bytes = if retained < retained_then / 2 {
            0
        } else {
            bytes
        };
        let most = bytes.max(MOST_GROWTH * retained) + LEAST_BYTES;
        let is_early = now < self.rounds.rebuilt + REBUILD_ROUND;
        let most = if is_early { most * FAR_TOO_LARGE } else { most };
        bytes_of(&self.folder.path) > most
    }

    /// Bytes of what is in the file, roughly: a record of a key or of a channel is as an empty message.
    fn retained(&self) -> u64 {
        let stats = self.hub.stats();
        let others = self.keys.len() + stats.active_channels;
        (stats.history_bytes + others * Event::OVERHEAD_BYTES) as u64
    }

    /// Tries whether it can be stored again.
    fn recover(&mut self) -> Result<(), Fault> {
        if self.is_doubtful {
            self.rebuild()?;
        } else {
            self.reopen()?;
        }
        let probe = vec![0; self.refused_bytes.max(LEAST_PROBE)];
        if let Some(store) = &self.store {
            store.commit([(PROBE_KEY, Some(&probe[..]))].into_iter())?;
        }
        // Takes the probe out again.
        self.commit_draft()?;
        self.refused_bytes = 0;
        self.state.up();
        Ok(())
    }

    /// Opens the file again, which redb wants after a fault.
    fn reopen(&mut self) -> Result<(), Fault> {
        self.store = None;
        let path = self.folder.store();
        store::read(&path)?;
        self.store = Some(Store::open(&path)?);
        self.draft.note(self.hub.feed().take_changes());
        self.commit_draft()
    }

    /// Writes a new file with all that the hub has, and puts it in the place of the other.
    fn rebuild(&mut self) -> Result<(), Fault> {
        self.rounds.rebuilt = Instant::now();
        // What is open is not in a folder that somebody has made again.
        self.is_doubtful |= !self.folder.is_locked();
        self.folder.take_again()?;
        self.folder.tidy()?;
        // What has changed before is in what comes now. If that fails the other file needs it.
        self.draft.note(self.hub.feed().take_changes());
        let kept = self.hub.feed().kept();
        let mut draft = Draft::of_all(&kept.channels);
        draft.forgotten = kept.forgotten;
        let meta = Meta {
            newest: kept.newest,
            forgotten: kept.forgotten,
            lost: kept.lost,
            ceiling_ms: wall_ms().max(kept.newest.ms) + CEILING_MS,
            ..self.meta.clone()
        };
        let all = NumberedLot::of_all(kept.events, self.keys.iter().copied().collect());
        let written = Store::create(&self.folder.new_store())
            .and_then(|store| write(&store, &draft, &all.records(), &meta).map(|()| store));
        let Ok(store) = written else {
            // Its room is needed more than it is.
            self.folder.tidy()?;
            return written.map(drop);
        };
        // Whatever fails from here on, the file before may have lost its name, and the journal does not fit the new one.
        self.is_doubtful = true;
        draft.clear();
        self.store = Some(store);
        self.draft = draft;
        self.meta = meta;
        self.folder.put_new_store_in_place()?;
        // The folder may be another one.
        let syncs = self.sync_time == SyncTime::Always;
        self.journal = Journal::open(&self.folder.journal(), syncs)?;
        self.folder.sync()?;
        self.begin_journal()?;
        self.rounds.new = (bytes_of(&self.folder.path), self.retained());
        self.is_doubtful = false;
        Ok(())
    }

    /// Stores what is left, so that the next start finds all in order.
    fn close(&mut self) {
        if !self.state.is_up() {
            return;
        }
        self.draft.note(self.hub.feed().take_changes());
        let records = self.hub.feed().records();
        self.draft.note_records(records, wall_ms(), true);
        self.meta.is_closed = true;
        if let Err(fault) = self.commit_draft() {
            self.fail(fault);
        }
        self.store = None;
    }
}

/// Commits, with the figures of the whole.
fn write(store: &Store, draft: &Draft, records: &[Pair], meta: &Meta) -> Result<(), Fault> {
    let value = meta_value(meta);
    // A run that ended while it looked for room has left its probe.
    let last = [(PROBE_KEY, None), (META_KEY, Some(&value[..]))];
    let records = records.iter();
    let records = records.map(|(key, value)| (&key[..], Some(&value[..])));
    store.commit(draft.writes().chain(records).chain(last))
}
