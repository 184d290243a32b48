//! The writer: one thread that stores what publishers bring. It takes everything that waits, sends it as one
//! transaction, and hands out the answers. While Redis works on one lot the next one gathers, so the round trip does
//! not limit the rate. (A transaction wakes followers once for all of it, and a batch is stored as a whole or not at
//! all.) The transaction also reads what others have stored before the lot, so the hub gets the lot at once, and the
//! messages do not come back from Redis. Once a second it reports this server's figures, which also shows whether Redis takes writes.
//!
//! A lot that was under way when the connection died is settled by looking: the next connection ends the previous one,
//! so that Redis does nothing more for it, and reads the end of the stream. What is there was stored; what is not is
//! sent again.

use super::entry;
use super::fault::Fault;
use super::link::Link;
use super::lot::{Job, Lot, Settlement};
use super::outage::until;
use super::outage::Outage;
use super::report;
use super::resp::Answer;
use super::shared::ClusterShared;
use super::state::Side;
use super::stream;
use super::system;
use crate::event::EventId;
use crate::hub::Refusal;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A publisher that has waited this long waits only half of `PATIENCE` for the answer.
const URGENT: Duration = Duration::from_secs(1);

/// Jobs that may wait while Redis does not answer; more are refused.
const MOST_WAITING: usize = 4096;

/// How often a lot is sent when it finds no stream, which is then created. More would only be needed if somebody kept
/// deleting it.
const TRIES: usize = 3;

/// How much older than the newest a message in the stream may be: enough for a history to survive a night without
/// servers.
const LEAST_AGE: Duration = Duration::from_secs(24 * 3600);

/// How often older ones are removed, by the messages' time.
const TRIM_ROUND: Duration = Duration::from_secs(60);

pub(super) fn start(shared: Arc<ClusterShared>) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = crossbeam_channel::bounded(MOST_WAITING);
    system::spawn("writer", move || {
        run(&shared, &jobs);
        // They came too late to be stored with the last.
        for job in jobs.try_iter() {
            job.answer(Err(Refusal::Closing));
        }
    })?;
    Ok(sender)
}

/// Ends when this server leaves.
fn run(shared: &ClusterShared, jobs: &Receiver<Job>) {
    let mut writer = Writer {
        shared,
        jobs,
        under_way: None,
        lots: 0,
        trimmed_at: 0,
    };
    let mut outage = Outage::default();
    while let Err(fault) = writer.serve(&mut outage) {
        let oldest = writer.under_way.as_ref().and_then(Lot::oldest);
        let pause = outage.note(&fault, oldest);
        if shared.state.is_up() && outage.may_pass(&fault) {
            system::pause(pause);
            continue;
        }
        shared.state.down(Side::Writer, &fault);
        if let Some(lot) = writer.under_way.take() {
            lot.refuse(&Refusal::Unconfirmed);
        }
        if !writer.refuse_for(pause) {
            return;
        }
    }
}

struct Writer<'a> {
    shared: &'a ClusterShared,
    jobs: &'a Receiver<Job>,
    /// Sent, and not answered.
    under_way: Option<Lot>,
    /// Number of lots so far.
    lots: u64,
    /// The newest id's time when the stream was last trimmed by age, in ms.
    trimmed_at: u64,
}

impl Writer<'_> {
    /// Serves over one connection, until this server leaves.
    fn serve(&mut self, outage: &mut Outage) -> Result<(), Fault> {
        let mut link = Link::open(&self.shared.address, PATIENCE, outage.bound())?;
        if let Some(lot) = self.under_way.take() {
            let is_last = lot.is_last();
            self.settle(&mut link, lot)?;
            if is_last {
                return Ok(());
            }
        }
        self.report(&mut link)?;
        // Redis takes writes.
        self.shared.state.up(Side::Writer, outage.end());
        let mut next_report = system::now() + report::ROUND;
        loop {
            match system::receive(self.jobs, until(next_report)) {
                Ok(first) => {
                    let lot = self.gather(first);
                    let is_last = lot.is_last();
                    self.store(&mut link, lot)?;
                    if is_last {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if until(next_report).is_zero() {
                self.report(&mut link)?;
                self.shared.state.up(Side::Writer, None);
                next_report = system::now() + report::ROUND;
            }
        }
    }

    fn gather(&mut self, first: Job) -> Lot {
        self.lots += 1;
        let mark = format!("{}.{:x}", self.shared.run, self.lots);
        Lot::gather(first, self.jobs, mark, self.shared.hub.feed().newest())
    }

    /// Refuses whoever asks, and waits. Returns false when nobody can ask any more.
    fn refuse_for(&self, pause: Duration) -> bool {
        let end = system::now() + pause;
        loop {
            match system::receive(self.jobs, until(end)) {
                Ok(job) => job.answer(Err(self.shared.state.refusal())),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn store(&mut self, link: &mut Link, mut lot: Lot) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let mut packed = Vec::new();
            // Outside the transaction: it needs no answer of its own.
            let trim = self.shared.keep_from().map(entry::trim_before);
            if let Some(trim) = &trim {
                packed.extend_from_slice(trim);
            }
            let wanted = self.shared.at_once();
            let seen = self.shared.hub.feed().newest();
            let count = lot.pack(&mut packed, seen, wanted, self.shared);
            lot.sent = Some(link.session().clone());
            lot.generation = self.shared.generation();
            let begun = system::now();
            let is_urgent = lot.oldest().is_some_and(|oldest| begun - oldest > URGENT);
            if is_urgent {
                // If this fails, the exchange fails as well, and says why.
                let _ = link.set_patience(PATIENCE / 2);
            }
            let answers = link.ask_all(&packed, usize::from(trim.is_some()) + count);
            if is_urgent {
                let _ = link.set_patience(PATIENCE);
            }
            let answers = match answers {
                Ok(answers) => answers,
                Err(fault) => {
                    self.under_way = Some(lot);
                    return Err(fault);
                }
            };
            let taken = system::now() - begun;
            let answers = answers.all();
            match answers.last().and_then(|last| lot.outcome(*last, wanted)) {
                Some(Settlement::Done(done)) => {
                    let jobs = lot.jobs.len() as u64;
                    self.shared.round_trip.observe(taken, jobs);
                    if self.shared.state.is_up() {
                        self.shared.take(done.entries);
                    }
                    lot.hand_out(done.results, self.shared);
                    return done.fault.map_or(Ok(()), Err);
                }
                Some(Settlement::NoStream) => {
                    if !stream::can_grow(seen) {
                        // The follower starts over.
                        lot.refuse(&Refusal::RedisAway);
                        return Ok(());
                    }
                    let known = self.shared.generation();
                    let begun = stream::begin(link, seen, known.as_deref());
                    if let Err(fault) = begun {
                        lot.refuse(&Refusal::RedisAway);
                        return Err(fault);
                    }
                }
                None => {
                    let fault = Fault::among(&answers);
                    lot.refuse(&Refusal::RedisRefused(fault.reason.clone()));
                    return Err(fault);
                }
            }
        }
        lot.refuse(&Refusal::RedisRefused(NO_STREAM.into()));
        Ok(())
    }

    /// Finds out what became of a lot that was sent on a connection that died. If that cannot be known yet, it stays
    /// under way.
    fn settle(&mut self, link: &mut Link, mut lot: Lot) -> Result<(), Fault> {
        let found = match self.find(link, &lot) {
            Ok(found) => found,
            Err(fault) => {
                self.under_way = Some(lot);
                return Err(fault);
            }
        };
        match found {
            Found::Nothing => self.store(link, lot),
            Found::All(ids) => {
                lot.hand_out_ids(&ids, self.shared);
                if lot.jobs.is_empty() {
                    return Ok(());
                }
                self.store(link, lot)
            }
            Found::Unsure => {
                lot.refuse(&Refusal::Unconfirmed);
                Ok(())
            }
        }
    }

    fn find(&self, link: &mut Link, lot: &Lot) -> Result<Found, Fault> {
        let is_ended = match &lot.sent {
            Some(session) => link.end(session)?,
            None => true,
        };
        if !lot.is_to_be_found() {
            return Ok(Found::Nothing);
        }
        let mut own = Vec::new();
        let mut after = lot.after;
        let mut is_whole = true;
        loop {
            let wanted = self.shared.at_once();
            let (stream, entries) = self.shared.look(link, after, wanted)?;
            is_whole &= stream.begin() <= after && lot.is_for(&stream);
            let is_all = entries.len() < wanted;
            after = entries.last().map_or(after, |last| last.id);
            own.extend(if own.is_empty() {
                lot.beginning_at_mark(entries)
            } else {
                entries
            });
            if is_all || own.len() >= lot.entries() {
                break;
            }
        }
        if own.is_empty() && is_whole && is_ended {
            return Ok(Found::Nothing);
        }
        // Without the first entry, the others may have been stored, or may still be.
        Ok(lot.ids_of(&own).map_or(Found::Unsure, Found::All))
    }

    /// Removes what is far older than the newest message, now and then.
    fn trim_by_age(&mut self, link: &mut Link) -> Result<(), Fault> {
        let hub = &self.shared.hub;
        let newest = hub.feed().newest().ms;
        if newest < self.trimmed_at + TRIM_ROUND.as_millis() as u64 || !hub.feed().is_filled() {
            return Ok(());
        }
        self.trimmed_at = newest;
        let age = hub.limits().channel_ttl.max(LEAST_AGE).as_millis() as u64;
        let oldest = EventId {
            ms: newest.saturating_sub(age),
            seq: 0,
        };
        link.tell(&entry::trim_exactly_before(oldest))
    }

    /// Removes what nobody needs even if nobody publishes: what was read is remembered only until then.
    fn trim_by_number(&mut self, link: &mut Link) -> Result<(), Fault> {
        match self.shared.keep_from() {
            Some(id) => link.tell(&entry::trim_before(id)),
            None => Ok(()),
        }
    }

    fn report(&mut self, link: &mut Link) -> Result<(), Fault> {
        self.trim_by_number(link)?;
        self.trim_by_age(link)?;
        let mut packed = Vec::new();
        let count = report::pack_report(&mut packed, &self.shared.name, &self.shared.hub);
        let answers = link.ask_all(&packed, count)?;
        let answers = answers.all();
        if answers.iter().any(|a| matches!(a, Answer::Error(_))) {
            return Err(Fault::among(&answers));
        }
        if let [.., found] = answers[..] {
            self.shared.reports.take(found);
        }
        Ok(())
    }
}

/// What the stream has of a lot.
enum Found {
    Nothing,
    /// The ids of its entries.
    All(Vec<EventId>),
    /// Something else, or unknown.
    Unsure,
}

const NO_STREAM: &str = "somebody keeps deleting the key sse-server:events";
