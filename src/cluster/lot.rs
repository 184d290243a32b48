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
pub(super) enum Job {
    Publish(Publication, Then, Waits),
    /// The newest id of the stream.
    AskNewest(Then),
    Leave(Then),
}

impl Job {
    pub(super) fn answer(self, answer: Result<Stored, Refusal>) {
        match self {
            Job::Publish(_, then, _) | Job::AskNewest(then) | Job::Leave(then) => then(answer),
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

    /// Reads its answers. `mark` is its lot's.
    fn result(&self, answers: &[Answer], mark: &str) -> Result<Stored, Refusal> {
        let refused = || Err(Refusal::RedisRefused(Fault::among(answers).reason));
        match self {
            Job::Publish(
                Publication {
                    attempt: Some(attempt),
                    ..
                },
                ..,
            ) => {
                let outcome = |&answer| once::outcome(answer, attempt, mark);
                answers.first().and_then(outcome).unwrap_or_else(refused)
            }
            Job::Publish(publication, ..) => {
                let ids: Vec<EventId> = answers.iter().copied().filter_map(entry::id).collect();
                match ids[..] {
                    [first, ..] if ids.len() == publication.messages.len() => {
                        Ok(Stored::new(first, ids[ids.len() - 1]))
                    }
                    [] => refused(),
                    // The ids ran out in the middle of a batch.
                    _ => Err(Refusal::Unconfirmed),
                }
            }
            Job::AskNewest(_) => {
                let info = answers.first();
                let newest = info
                    .and_then(|info| info.field("last-generated-id"))
                    .and_then(entry::id);
                let newest = newest.unwrap_or(EventId::ZERO);
                Ok(Stored::new(newest, newest))
            }
            Job::Leave(_) => Ok(Stored::default()),
        }
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
pub(super) enum Settlement {
    Done(Done),
    /// There was no stream, so nothing was stored.
    NoStream,
}

/// Redis's answers to a lot.
pub(super) struct Done {
    /// One for each job.
    pub(super) results: Vec<Result<Stored, Refusal>>,
    /// What the stream has after the id that the hub had.
    pub(super) entries: Vec<StreamEntry>,
    /// Why Redis refused a job, if it did.
    pub(super) fault: Option<Fault>,
}

/// The publishes of one transaction, from the queue to their answers.
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

    /// Packs its commands, behind those that read `seen` and what others have stored since. Returns the number of answers.
    pub(super) fn pack(
        &self,
        out: &mut Vec<u8>,
        seen: EventId,
        wanted: usize,
        shared: &ClusterShared,
    ) -> usize {
        pack(out, &["MULTI"]);
        out.extend(entry::read_one(seen));
        out.extend(entry::read_after(seen, wanted, None));
        let mut mark = Mark {
            text: &self.mark,
            is_taken: false,
        };
        let jobs = self.jobs.iter();
        let count: usize = jobs.map(|job| job.pack(out, &mut mark, shared)).sum();
        pack(out, &["EXEC"]);
        count + 4
    }

    /// Reads the answer to the transaction, which read up to `wanted` entries. `None` if Redis has refused all of it.
    pub(super) fn outcome(&self, transaction: Answer, wanted: usize) -> Option<Settlement> {
        let mut answers = transaction.list()?;
        let has_seen = answers.next().is_some_and(entry::has_one);
        let read = answers.next().and_then(entry::entries);
        let answers: Vec<Answer> = answers.collect();
        if answers.contains(&Answer::Nil) {
            return Some(Settlement::NoStream);
        }
        let results = self.results(&answers);
        let is_refusal = |result: &Result<_, _>| matches!(result, Err(Refusal::RedisRefused(_)));
        let fault = results
            .iter()
            .any(is_refusal)
            .then(|| Fault::among(&answers));
        let entries = match read {
            Some(read) if has_seen && read.len() < wanted => self.append_own(&results, read),
            Some(read) if has_seen => read,
            // Nobody knows what came before them. The follower will find out.
            _ => Vec::new(),
        };
        Some(Settlement::Done(Done {
            results,
            entries,
            fault,
        }))
    }

    /// One for each job.
    fn results(&self, mut answers: &[Answer]) -> Vec<Result<Stored, Refusal>> {
        let result = |job: &Job| {
            let (own, rest) = answers.split_at(job.answers().min(answers.len()));
            answers = rest;
            job.result(own, &self.mark)
        };
        self.jobs.iter().map(result).collect()
    }

    /// Appends its entries as the stream has them, as far as their ids are known.
    fn append_own(
        &self,
        results: &[Result<Stored, Refusal>],
        mut entries: Vec<StreamEntry>,
    ) -> Vec<StreamEntry> {
        for (job, result) in self.jobs.iter().zip(results) {
            let (publication, stored) = match (job, result) {
                (Job::Publish(publication, ..), Ok(stored)) if !stored.is_repeated => {
                    (publication, stored)
                }
                (_, Ok(_)) => continue,
                // A part of it may be there.
                (_, Err(_)) => break,
            };
            let Publication {
                channel,
                event_name,
                messages,
                ..
            } = publication;
            let Some(ids) = stored.ids(messages.len()) else {
                break;
            };
            let own = ids.zip(messages);
            entries.extend(own.map(|(id, message)| {
                StreamEntry::stored(id, channel, event_name.as_ref(), message)
            }));
        }
        entries
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

    /// Gives each job its result.
    pub(super) fn hand_out(self, results: Vec<Result<Stored, Refusal>>, shared: &ClusterShared) {
        for (job, result) in self.jobs.into_iter().zip(results) {
            match (job, result) {
                // A repeated one has waited for that already, wherever it was.
                (Job::Publish(_, then, _), Ok(stored)) if !stored.is_repeated => {
                    shared.answers.wait_for(stored, then);
                }
                (job, result) => job.answer(result),
            }
        }
    }

    pub(super) fn refuse(self, refusal: &Refusal) {
        for job in self.jobs {
            job.answer(Err(refusal.clone()));
        }
    }
}
