//! The writer: one thread that stores what publishers bring. It takes all that waits, sends it as one transaction, and
//! hands each its own answer: while Redis works on one lot the next gathers, so its round trip does not limit the rate. (A
//! transaction because then followers are woken once for all of it; and so a batch is stored as a whole or not at all.)
//! Once a second it reports this server's figures, which also shows whether Redis takes writes. Started by the cluster.

use super::connection::{field, Connection, Fault};
use super::entry::{self, pack_append, STREAM};
use super::report;
use super::state::Side;
use super::waiting::{Ids, Then};
use super::{until, Backoff, Shared};
use crate::event::{ChannelName, EventId, EventName};
use crate::hub::Refusal;
use ::redis::{cmd, Value};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer may take. Who publishes into a connection that is dead waits that long, once.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Jobs that may wait while Redis does not answer; more are refused.
const MOST_WAITING: usize = 4096;

/// How much is sent in one go.
const JOBS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// Messages may be so much older than the newest, in the stream: long enough for a history to survive a night without
/// servers.
const LEAST_AGE: Duration = Duration::from_secs(24 * 3600);

/// How often they are taken out, by the time of the messages.
const TRIM_ROUND: Duration = Duration::from_secs(60);

/// What a publisher brings.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: ChannelName,
    pub(super) event_name: Option<EventName>,
    /// All are stored, one behind the other, or none.
    pub(super) messages: Vec<Box<str>>,
    pub(super) then: Then,
}

/// Something to ask Redis for.
#[derive(Debug)]
pub(super) enum Job {
    Publish(Publication),
    /// The newest id of the stream.
    AskNewest(Then),
    /// This server stops.
    Leave(Then),
}

impl Job {
    /// Ends it with this answer.
    pub(super) fn answer(self, answer: Result<Ids, Refusal>) {
        match self {
            Job::Publish(publication) => publication.then.answer(answer),
            Job::AskNewest(then) | Job::Leave(then) => then.answer(answer),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Job::Publish(publication) => publication.messages.iter().map(|m| m.len()).sum(),
            _ => 0,
        }
    }

    /// Appends its commands, and returns how many they are.
    fn pack(&self, out: &mut Vec<u8>, shared: &Shared) -> usize {
        match self {
            Job::Publish(publication) => publication.pack(out),
            Job::AskNewest(_) => {
                cmd("XINFO")
                    .arg("STREAM")
                    .arg(STREAM)
                    .write_packed_command(out);
                1
            }
            Job::Leave(_) => report::pack_leave(out, &shared.name),
        }
    }
}

impl Publication {
    fn pack(&self, out: &mut Vec<u8>) -> usize {
        let name = self.event_name.as_ref();
        for message in &self.messages {
            pack_append(out, &self.channel, name, message);
        }
        self.messages.len()
    }
}

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = crossbeam_channel::bounded(MOST_WAITING);
    let thread = std::thread::Builder::new().name("writer".into());
    thread.spawn(move || run(&shared, &jobs))?;
    Ok(sender)
}

/// Ends when this server leaves.
fn run(shared: &Shared, jobs: &Receiver<Job>) {
    let mut backoff = Backoff::default();
    loop {
        let fault = match Connection::open(&shared.address, PATIENCE) {
            Ok(connection) => match serve(shared, jobs, connection, &mut backoff) {
                Ok(()) => return,
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        shared.state.down(Side::Writer, &fault);
        let end = Instant::now() + backoff.next();
        // Who asked before it was known.
        loop {
            match jobs.recv_timeout(until(end)) {
                Ok(job) => job.answer(Err(Refusal::RedisAway)),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn serve(
    shared: &Shared,
    jobs: &Receiver<Job>,
    connection: Connection,
    backoff: &mut Backoff,
) -> Result<(), Fault> {
    let mut writer = Writer {
        shared,
        connection,
        trimmed_at: 0,
    };
    writer.report()?;
    backoff.reset();
    let mut next_report = Instant::now() + report::ROUND;
    loop {
        match jobs.recv_timeout(until(next_report)) {
            Ok(first) => {
                let lot = gather(first, jobs);
                let is_last = lot.iter().any(|job| matches!(job, Job::Leave(_)));
                writer.store(lot)?;
                if is_last {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if until(next_report).is_zero() {
            writer.report()?;
            next_report = Instant::now() + report::ROUND;
        }
    }
}

/// What waits, as far as it is sent in one go.
fn gather(first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.bytes();
    let mut lot = vec![first];
    while lot.len() < JOBS_AT_ONCE && bytes < BYTES_AT_ONCE {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.bytes();
        lot.push(job);
    }
    lot
}

struct Writer<'a> {
    shared: &'a Shared,
    connection: Connection,
    /// The newest id's time when the stream was trimmed by age, in ms.
    trimmed_at: u64,
}

impl Writer<'_> {
    fn store(&mut self, lot: Vec<Job>) -> Result<(), Fault> {
        let mut packed = Vec::new();
        cmd("MULTI").write_packed_command(&mut packed);
        let counts: Vec<usize> = lot
            .iter()
            .map(|job| job.pack(&mut packed, self.shared))
            .collect();
        let wanted = self.shared.at_once();
        let seen = self.shared.hub.newest();
        entry::read_after(seen, wanted, None).write_packed_command(&mut packed);
        cmd("EXEC").write_packed_command(&mut packed);
        let commands = counts.iter().sum::<usize>() + 3;
        // Not in the transaction: it needs no answer of its own.
        let trim = self.shared.keep_from().map(entry::trim_before);
        let skipped = usize::from(trim.is_some());
        if let Some(trim) = trim {
            packed.splice(0..0, trim.get_packed_command());
        }
        let begun = Instant::now();
        let answers = self.connection.ask_all(&packed, skipped, commands);
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(fault) => {
                // Sent, or in part; stored, or not.
                answer_all(lot, Refusal::Unconfirmed);
                return Err(fault);
            }
        };
        self.shared
            .round_trip
            .observe(begun.elapsed(), lot.len() as u64);
        let Some(Value::Array(mut done)) = answers.pop() else {
            answer_all(lot, Refusal::RedisAway);
            return Err(refusal(&answers));
        };
        let read = done.pop().and_then(entry::entries).unwrap_or_default();
        // A full answer proves nothing, and tells not all: that is for the follower.
        if read.len() < wanted && self.shared.state.is_up() {
            self.shared.take(read);
        }
        let mut rest = done.as_slice();
        let mut is_good = true;
        for (job, count) in lot.into_iter().zip(counts) {
            let (own, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            is_good &= self.hand_out(job, own);
        }
        if is_good {
            Ok(())
        } else {
            Err(refusal(&done))
        }
    }

    /// Gives one job its answer. Whether it was done.
    fn hand_out(&self, job: Job, answers: &[Value]) -> bool {
        match job {
            Job::Publish(publication) => {
                let ids: Option<Vec<EventId>> = answers.iter().map(entry::id).collect();
                let (Some(first), Some(last)) = (
                    ids.as_ref().and_then(|ids| ids.first()),
                    ids.as_ref().and_then(|ids| ids.last()),
                ) else {
                    publication.then.answer(Err(Refusal::Unconfirmed));
                    return false;
                };
                self.shared
                    .waiting
                    .wait_for((*first, *last), publication.then);
            }
            Job::AskNewest(then) => {
                // Without a stream there is no id.
                let newest = answers
                    .first()
                    .and_then(|info| field(info, "last-generated-id"))
                    .and_then(entry::id)
                    .unwrap_or(EventId::ZERO);
                then.answer(Ok((newest, newest)));
            }
            Job::Leave(then) => then.answer(Ok(Ids::default())),
        }
        true
    }

    /// Takes what is far older than the newest message out of the stream, now and then.
    fn trim_by_age(&mut self) -> Result<(), Fault> {
        let hub = &self.shared.hub;
        let newest = hub.newest().ms;
        if newest < self.trimmed_at + TRIM_ROUND.as_millis() as u64 || !hub.is_filled() {
            return Ok(());
        }
        self.trimmed_at = newest;
        let age = hub.limits().channel_ttl.max(LEAST_AGE).as_millis() as u64;
        let mut command = cmd("XTRIM");
        command
            .arg(STREAM)
            .arg("MINID")
            .arg(newest.saturating_sub(age));
        self.connection.ask(command).map(drop)
    }

    /// Takes out what nobody needs also where nobody publishes: what was read is remembered only until then.
    fn trim_by_number(&mut self) -> Result<(), Fault> {
        match self.shared.keep_from() {
            Some(id) => self.connection.ask(entry::trim_before(id)).map(drop),
            None => Ok(()),
        }
    }

    fn report(&mut self) -> Result<(), Fault> {
        self.trim_by_number()?;
        self.trim_by_age()?;
        let mut packed = Vec::new();
        let count = report::pack(&mut packed, self.shared);
        let answers = self.connection.ask_all(&packed, 0, count)?;
        if answers.iter().any(|a| matches!(a, Value::ServerError(_))) {
            return Err(refusal(&answers));
        }
        self.shared.reports.take(answers);
        // Redis takes writes.
        self.shared.state.up(Side::Writer);
        Ok(())
    }
}

fn answer_all(lot: Vec<Job>, refusal: Refusal) {
    for job in lot {
        job.answer(Err(refusal));
    }
}

/// The first error among the answers: in a transaction that is the reason, and the last only says that it was given up.
fn refusal(answers: &[Value]) -> Fault {
    answers
        .iter()
        .find_map(|answer| match answer {
            Value::ServerError(error) => Some(Fault::from_answer(error)),
            _ => None,
        })
        .unwrap_or_else(Fault::protocol)
}
