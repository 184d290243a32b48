//! What the writer sends in one transaction: jobs, each with somebody who waits for its answer. The first entry of a
//! lot carries its mark: by it the writer finds out what became of a lot when the connection died before the answer. No
//! I/O here.

use super::answers::{Stored, Then};
use super::entry::{self, pack_append, StreamEntry, STREAM};
use super::fault::Fault;
use super::link::Session;
use super::once;
use super::report;
use super::resp::{pack, Answer};
use super::shared::ClusterShared;
use super::stream::StreamInfo;
use crate::event::EventId;
use crate::hub::Refusal;
use crate::idempotency::Publication;
use crate::waiting::Waits;
use crossbeam_channel::Receiver;
use std::time::Instant;

/// How much is sent at once.
const JOBS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// A request to Redis.
#[derive(Debug)]
pub(super) enum Job {
    Publish(Publication, Then, Waits),
    /// The newest id of the stream.
    AskNewest(Then),
    Leave(Then),
}

impl Job {
    pub(super) fn answer(self, answer: Result<Stored, Refusal>) {
        match self {
            Job::Publish(_, then, _) | Job::AskNewest(then) | Job::Leave(then) => {
                then.answer(answer)
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Job::Publish(_, _, waits) => waits.bytes,
            _ => 0,
        }
    }

    /// Its entries to look for when its fate is unknown: none if it has a key, because then it is sent again.
    fn entries(&self) -> usize {
        self.without_key()
            .map_or(0, |publication| publication.messages.len())
    }

    fn without_key(&self) -> Option<&Publication> {
        match self {
            Job::Publish(publication, ..) if publication.attempt.is_none() => Some(publication),
            _ => None,
        }
    }

    /// Answers that Redis gives it within the transaction.
    fn answers(&self) -> usize {
        match self {
            Job::Publish(..) | Job::AskNewest(_) => self.entries().max(1),
            Job::Leave(_) => report::LEAVE_COMMANDS,
        }
    }

    fn has_key(&self) -> bool {
        matches!(self, Job::Publish(publication, ..) if publication.attempt.is_some())
    }

    /// Appends its commands, and returns their number.
    fn pack(&self, out: &mut Vec<u8>, mark: &mut Mark, shared: &ClusterShared) -> usize {
        match self {
            Job::Publish(publication, ..) => pack_publication(publication, out, mark, shared),
            Job::AskNewest(_) => {
                pack(out, &["XINFO", "STREAM", STREAM]);
                1
            }
            Job::Leave(_) => report::pack_leave(out, &shared.name),
        }
    }
}

/// Appends its commands, and returns their number.
fn pack_publication(
    publication: &Publication,
    out: &mut Vec<u8>,
    mark: &mut Mark,
    shared: &ClusterShared,
) -> usize {
    let (channel, name) = (&publication.channel, publication.event_name.as_ref());
    if let Some(attempt) = &publication.attempt {
        let clients = shared.hub.feed().clients_of(channel);
        once::pack_store(out, attempt, publication, mark.text, clients);
        return 1;
    }
    for message in &publication.messages {
        pack_append(out, channel, name, message, mark.take());
    }
    publication.messages.len()
}

/// A lot's mark, for the first entry to be found by it.
struct Mark<'a> {
    text: &'a str,
    is_taken: bool,
}

impl<'a> Mark<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let was_taken = std::mem::replace(&mut self.is_taken, true);
        (!was_taken).then_some(self.text)
    }
}

/// What became of a lot.
pub(super) enum Settlement<'a> {
    /// It is done: these are the answers, and the entries read after it.
    Done(Vec<Answer<'a>>, Vec<StreamEntry>),
    /// There was no stream, so nothing was stored.
    NoStream,
}

/// The publishes of one transaction, from the queue to their answers.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) jobs: Vec<Job>,
    mark: String,
    /// All its entries come after this id.
    pub(super) after: EventId,
    /// The generation of the stream that it is for, if known.
    pub(super) generation: Option<String>,
    /// The connection on which it was sent last.
    pub(super) sent: Option<Session>,
}

impl Lot {
    /// Takes what waits, as far as it is sent at once.
    pub(super) fn gather(first: Job, jobs: &Receiver<Job>, mark: String, after: EventId) -> Lot {
        let mut bytes = first.bytes();
        let mut gathered = vec![first];
        while gathered.len() < JOBS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += job.bytes();
            gathered.push(job);
        }
        // Those without a key are together in the stream, right behind the mark.
        gathered.sort_by_key(Job::has_key);
        Lot {
            jobs: gathered,
            mark,
            after,
            generation: None,
            sent: None,
        }
    }

    /// Packs its commands, and those that read `seen` and what comes after it. Returns the number of answers.
    pub(super) fn pack(
        &self,
        out: &mut Vec<u8>,
        seen: EventId,
        wanted: usize,
        shared: &ClusterShared,
    ) -> usize {
        pack(out, &["MULTI"]);
        let mut mark = Mark {
            text: &self.mark,
            is_taken: false,
        };
        let jobs = self.jobs.iter();
        let count: usize = jobs.map(|job| job.pack(out, &mut mark, shared)).sum();
        out.extend(entry::read_one(seen));
        out.extend(entry::read_after(seen, wanted, None));
        pack(out, &["EXEC"]);
        count + 4
    }

    /// Reads the answer to the transaction. `None` if Redis has refused all of it.
    pub(super) fn outcome<'a>(&self, transaction: Answer<'a>) -> Option<Settlement<'a>> {
        let mut answers: Vec<Answer> = transaction.list()?.collect();
        let mut read = answers.pop().and_then(entry::entries).unwrap_or_default();
        let seen = answers.pop();
        if !seen.is_some_and(entry::has_one) {
            // Nobody knows what came before them. The follower will find out.
            read.clear();
        }
        if answers.contains(&Answer::Nil) {
            return Some(Settlement::NoStream);
        }
        Some(Settlement::Done(answers, read))
    }

    /// Whether its entries have to be looked for if its fate is unknown.
    pub(super) fn is_to_be_found(&self) -> bool {
        self.jobs.iter().any(|job| job.entries() > 0)
    }

    /// Since when its oldest publisher waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let publications = self.jobs.iter().filter_map(|job| match job {
            Job::Publish(_, _, waits) => Some(waits.since),
            _ => None,
        });
        publications.min()
    }

    pub(super) fn is_last(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job, Job::Leave(_)))
    }

    /// Whether this may be the stream that it was sent to, with everything that was there then.
    pub(super) fn is_for(&self, stream: &StreamInfo) -> bool {
        let is_same = self.generation.is_none() || self.generation == stream.generation;
        is_same && stream.newest >= self.after
    }

    /// These entries, from its first one on.
    pub(super) fn beginning_at_mark(&self, entries: Vec<StreamEntry>) -> Vec<StreamEntry> {
        let is_first = |entry: &StreamEntry| entry.mark.as_ref() == Some(&self.mark);
        let mut entries = entries.into_iter();
        let first = entries.by_ref().find(is_first);
        first.into_iter().chain(entries).collect()
    }

    /// The ids of its entries, if these are they. What one transaction stores is contiguous.
    pub(super) fn ids_of(&self, entries: &[StreamEntry]) -> Option<Vec<EventId>> {
        let mut entries = entries.iter();
        let mut ids = Vec::new();
        for publication in self.jobs.iter().filter_map(Job::without_key) {
            for message in &publication.messages {
                let entry = entries.next()?;
                let event = entry.event.as_ref()?;
                if event.channel != publication.channel || event.text != *message {
                    return None;
                }
                ids.push(entry.id);
            }
        }
        Some(ids)
    }

    /// Entries that it has in the stream once stored.
    pub(super) fn entries(&self) -> usize {
        self.jobs.iter().map(Job::entries).sum()
    }

    /// Answers each job that was found, given the ids of all entries. What is left can be sent again.
    pub(super) fn hand_out_ids(&mut self, mut ids: &[EventId], shared: &ClusterShared) {
        for job in std::mem::take(&mut self.jobs) {
            match job {
                Job::Publish(publication, then, _) if publication.attempt.is_none() => {
                    let (own, rest) = ids.split_at(publication.messages.len().min(ids.len()));
                    ids = rest;
                    if let ([first, ..], [.., last]) = (own, own) {
                        let stored = Stored::new(*first, *last);
                        shared.answers.wait_for(stored, then);
                    }
                }
                other => self.jobs.push(other),
            }
        }
    }

    /// Answers each job from the transaction's answers. Returns whether all was done.
    pub(super) fn hand_out(self, answers: &[Answer], shared: &ClusterShared) -> bool {
        let mut rest = answers;
        let mut is_good = true;
        for job in self.jobs {
            let (own, after) = rest.split_at(job.answers().min(rest.len()));
            rest = after;
            is_good &= hand_out(job, own, &self.mark, shared);
        }
        is_good
    }

    pub(super) fn refuse(self, refusal: &Refusal) {
        for job in self.jobs {
            job.answer(Err(refusal.clone()));
        }
    }
}

/// Answers one job. Returns whether it was done.
fn hand_out(job: Job, answers: &[Answer], mark: &str, shared: &ClusterShared) -> bool {
    match job {
        Job::Publish(publication, then, _) if publication.attempt.is_some() => {
            let outcome = |&answer| once::outcome(answer, publication.attempt.as_ref()?, mark);
            match answers.first().and_then(outcome) {
                // The first one has waited for that already, wherever it was.
                Some(Ok(stored)) if stored.is_repeated => then.answer(Ok(stored)),
                Some(Ok(stored)) => shared.answers.wait_for(stored, then),
                Some(Err(refusal)) => then.answer(Err(refusal)),
                None => {
                    let reason = Fault::among(answers).reason;
                    then.answer(Err(Refusal::RedisRefused(reason)));
                    return false;
                }
            }
            true
        }
        Job::Publish(publication, then, _) => {
            let ids: Vec<EventId> = answers.iter().copied().filter_map(entry::id).collect();
            match ids[..] {
                [first, ..] if ids.len() == publication.messages.len() => {
                    let last = ids[ids.len() - 1];
                    let stored = Stored::new(first, last);
                    shared.answers.wait_for(stored, then);
                    return true;
                }
                // The ids ran out in the middle of a batch.
                [_, ..] => then.answer(Err(Refusal::Unconfirmed)),
                [] => {
                    let reason = Fault::among(answers).reason;
                    then.answer(Err(Refusal::RedisRefused(reason)));
                }
            }
            false
        }
        Job::AskNewest(then) => {
            let newest = answers
                .first()
                .and_then(|info| info.field("last-generated-id"))
                .and_then(entry::id)
                .unwrap_or(EventId::ZERO);
            then.answer(Ok(Stored::new(newest, newest)));
            true
        }
        Job::Leave(then) => {
            then.answer(Ok(Stored::default()));
            true
        }
    }
}
