//! The writer: one thread that stores what publishers bring. It takes all that waits, sends it in one go, and hands each
//! its own answer: while Redis works on one lot the next gathers, so its round trip does not limit the rate. Once a second
//! it reports this server's figures, which also shows whether Redis takes writes. Started by the cluster.

use super::connection::{field, Connection, Fault};
use super::entry::{self, pack_append, STREAM};
use super::report;
use super::state::Side;
use super::waiting::{Ids, Slot};
use super::{until, Backoff, Shared};
use crate::event::{ChannelName, EventId, EventName};
use crate::hub::Refusal;
use ::redis::{cmd, Value};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer may take. Who publishes into a connection that is dead waits that long, once.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How much is sent in one go.
const JOBS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What a publisher brings.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: ChannelName,
    pub(super) event_name: Option<EventName>,
    /// All are stored, one behind the other, or none.
    pub(super) messages: Vec<Box<str>>,
    pub(super) slot: Arc<Slot>,
}

/// Something to ask Redis for.
#[derive(Debug)]
pub(super) enum Job {
    Publish(Publication),
    /// The newest id of the stream.
    AskNewest(Arc<Slot>),
    /// This server stops.
    Leave(Arc<Slot>),
}

impl Job {
    fn slot(&self) -> &Arc<Slot> {
        match self {
            Job::Publish(publication) => &publication.slot,
            Job::AskNewest(slot) | Job::Leave(slot) => slot,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Job::Publish(publication) => publication.messages.iter().map(|m| m.len()).sum(),
            _ => 0,
        }
    }

    /// Appends its commands, and returns how many answers they get.
    fn pack(&self, out: &mut Vec<u8>, shared: &Shared) -> usize {
        match self {
            Job::Publish(publication) => publication.pack(out, shared.keep.load(Ordering::Relaxed)),
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
    fn pack(&self, out: &mut Vec<u8>, keep: usize) -> usize {
        let name = self.event_name.as_ref();
        if let [message] = &self.messages[..] {
            pack_append(out, keep, &self.channel, name, message);
            return 1;
        }
        cmd("MULTI").write_packed_command(out);
        for message in &self.messages {
            pack_append(out, keep, &self.channel, name, message);
        }
        cmd("EXEC").write_packed_command(out);
        self.messages.len() + 2
    }

    /// The ids in the last of its answers.
    fn ids(answer: &Value) -> Option<Ids> {
        match answer {
            Value::Array(ids) => Some((entry::id(ids.first()?)?, entry::id(ids.last()?)?)),
            id => entry::id(id).map(|id| (id, id)),
        }
    }
}

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = crossbeam_channel::unbounded();
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
                Ok(job) => job.slot().answer(Err(Refusal::RedisAway)),
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
    let mut writer = Writer { shared, connection };
    // Shows whether Redis takes writes.
    writer.report()?;
    writer.shared.state.up(Side::Writer);
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
}

impl Writer<'_> {
    fn store(&mut self, lot: Vec<Job>) -> Result<(), Fault> {
        let mut packed = Vec::new();
        let counts: Vec<usize> = lot
            .iter()
            .map(|job| job.pack(&mut packed, self.shared))
            .collect();
        let begun = Instant::now();
        let answers = self
            .connection
            .ask_all(&packed, 0, counts.iter().sum())
            .inspect_err(|_| {
                // Sent, or in part; stored, or not.
                for job in &lot {
                    job.slot().answer(Err(Refusal::Unconfirmed));
                }
            })?;
        self.shared
            .round_trip
            .observe(begun.elapsed(), lot.len() as u64);
        let mut answers = answers.into_iter();
        let mut fault = None;
        for (job, count) in lot.iter().zip(counts) {
            let own: Vec<Value> = answers.by_ref().take(count).collect();
            if let Err(refused) = self.hand_out(job, &own) {
                fault = fault.or(Some(refused));
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// Gives one job its answer. What Redis refused was not stored.
    fn hand_out(&self, job: &Job, answers: &[Value]) -> Result<(), Fault> {
        let last = answers.last();
        match job {
            Job::Publish(publication) => match last.and_then(Publication::ids) {
                Some(ids) => self.shared.waiting.stored(ids, &publication.slot),
                None => {
                    publication.slot.answer(Err(Refusal::RedisAway));
                    return Err(refusal(answers));
                }
            },
            Job::AskNewest(slot) => {
                // Without a stream there is no id.
                let newest = last
                    .and_then(|info| field(info, "last-generated-id"))
                    .and_then(entry::id)
                    .unwrap_or(EventId::ZERO);
                slot.answer(Ok((newest, newest)));
            }
            Job::Leave(slot) => slot.answer(Ok(Ids::default())),
        }
        Ok(())
    }

    fn report(&mut self) -> Result<(), Fault> {
        let mut packed = Vec::new();
        let count = report::pack(&mut packed, self.shared);
        let answers = self.connection.ask_all(&packed, 0, count)?;
        if answers.iter().any(|a| matches!(a, Value::ServerError(_))) {
            return Err(refusal(&answers));
        }
        self.shared.reports.take(answers);
        Ok(())
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
