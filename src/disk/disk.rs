//! The disk as the routes and `main` see it.

use super::contents::{Cause, Contents, Loss};
use super::draft::Draft;
use super::fault::{Fault, Kind};
use super::folder::{self, Folder, STORE};
use super::found::{self, Found};
use super::journal::Journal;
use super::lot::Job;
use super::public::{DiskFigures, OpenError};
use super::record::{Batch, Meta};
use super::settings::{DataDir, SyncTime};
use super::state::State;
use super::store::Store;
use super::writer::{Rounds, Writer};
use crate::counters::Histogram;
use crate::event::EventId;
use crate::host;
use crate::hub::{Hub, Published, Refusal};
use crate::idempotency::{Keys, Publication};
use crate::log::Logged;
use crate::waiting::WaitingBytes;
use crossbeam_channel::{RecvTimeoutError, Sender, TrySendError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Publications that may wait for the disk; more are refused.
const MOST_WAITING: usize = 4096;

/// The folder, the writer, and what both know.
#[derive(Debug)]
pub struct Disk {
    hub: Arc<Hub>,
    state: Arc<State>,
    jobs: Sender<Job>,
    waiting_bytes: WaitingBytes,
    folder: PathBuf,
    sync_time: SyncTime,
}

impl Disk {
    /// Takes the folder, fills the hub with what it has, and starts the writer. What is damaged is set aside.
    ///
    /// # Errors
    /// One line for a person.
    pub fn open(
        data_dir: &DataDir,
        sync_time: SyncTime,
        hub: Arc<Hub>,
        keys: &Keys,
    ) -> Result<Arc<Disk>, OpenError> {
        let begun = Instant::now();
        let path = data_dir.path();
        let mut folder = Folder::take(path)?;
        let loaded = load(&mut folder, sync_time).map_err(|fault| OpenError::of(path, &fault))?;
        let (store, contents, missing, journal) = loaded;
        let (kept, known) = (contents.kept, contents.keys);
        let messages = kept.events.len();
        let mut draft = Draft::new(&kept.channels, missing);
        draft.forgotten = kept.forgotten;
        let newest = kept.newest;
        let lost = kept.lost;
        hub.feed().fill(kept);
        let now_ms = folder::wall_ms();
        for record in &known {
            let age = Duration::from_millis(now_ms.saturating_sub(record.at_ms));
            keys.restore(&record.attempt, record.published, age);
        }
        let state = Arc::new(State::new(path));
        let (jobs, receiver) = crossbeam_channel::bounded(MOST_WAITING);
        let mut writer = Writer {
            hub: hub.clone(),
            state: state.clone(),
            jobs: receiver,
            sync_time,
            is_doubtful: store.is_none(),
            store,
            journal,
            draft,
            keys: known.into(),
            meta: Meta {
                newest,
                lost,
                answers_early: sync_time != SyncTime::Always,
                is_closed: false,
                boot: folder::boot(),
                ..contents.meta
            },
            folder,
            due: None,
            rounds: Rounds::default(),
            refused_bytes: 0,
        };
        match writer.begin() {
            Ok(()) => {}
            // It serves those who listen, and goes on when there is room.
            Err(fault) if fault.kind == Kind::Full => state.down(fault),
            Err(fault) => return Err(OpenError::of(path, &fault)),
        }
        let folder = writer.folder.path.clone();
        log::info!(
            "event=disk_opened folder={} sync={sync_time} messages={messages} channels={} bytes={} seconds={:.3}",
            Logged(&path.to_string_lossy()),
            hub.stats().active_channels,
            folder::bytes_of(&folder),
            begun.elapsed().as_secs_f64(),
        );
        host::start("disk", move || writer.run()).map_err(|error| {
            OpenError::new(path, false, format!("cannot start a thread: {error}"))
        })?;
        Ok(Arc::new(Disk {
            hub,
            state,
            jobs,
            waiting_bytes: WaitingBytes::default(),
            folder,
            sync_time,
        }))
    }

    /// Whether what is published is stored.
    pub fn is_writable(&self) -> bool {
        self.state.is_up()
    }

    /// Publishes messages, and calls `then` with what came of it: when they are on the disk (or in the
    /// journal), in the history, and on their way to every subscriber. Never waits. `then` is called once, and must not wait
    /// for anybody. With an `attempt` the next run knows what was published with it. A refusal means that nothing was published.
    pub fn publish(
        &self,
        publication: Publication,
        then: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        if !self.is_writable() {
            return then(Err(self.state.refusal()));
        }
        let place = match self.hub.feed().reserve(&publication.channel) {
            Ok(place) => place,
            Err(refusal) => return then(Err(refusal)),
        };
        let waits = self.waiting_bytes.add(publication.bytes(), Instant::now());
        let Some(waits) = waits else {
            return then(Err(behind()));
        };
        let then = Box::new(move |published| {
            drop(place);
            then(published);
        });
        self.send(Job::Publish(publication, then, waits));
    }

    fn send(&self, job: Job) {
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => job.refuse(behind()),
            // The writer ends when the server stops.
            Err(TrySendError::Disconnected(job)) => job.refuse(Refusal::Closing),
        }
    }

    /// Stores everything, behind every publish that is under way, and closes the file. Nothing can be published afterwards.
    pub fn leave(&self, bound: Duration) {
        let (sender, stopped) = crossbeam_channel::bounded(0);
        let end = Instant::now() + bound;
        // It waits for its place behind the publishes.
        let has_place = self.jobs.send_deadline(Job::Stop(sender), end).is_ok();
        // Nothing is ever sent: this waits for the writer to end.
        if !has_place || stopped.recv_deadline(end) == Err(RecvTimeoutError::Timeout) {
            log::warn!("event=disk_slow hint=\"the disk did not take everything in time; the next start will be like one after a crash\"");
        }
    }

    /// Figures for people and machines.
    pub fn figures(&self) -> DiskFigures {
        self.state.figures(folder::bytes_of(&self.folder))
    }

    /// When what is published is synced.
    pub fn sync_time(&self) -> SyncTime {
        self.sync_time
    }

    /// Time that commits took.
    pub fn commit_time(&self) -> &Histogram {
        &self.state.sync_time
    }
}

fn behind() -> Refusal {
    Refusal::DiskFailed("it is far behind".into())
}

/// What a start finds: the store, unless there is none yet, or a damaged one; what was in the folder; what the journal has
/// and the store has not; and the journal.
type Loaded = (Option<Store>, Contents, Batch, Journal);

fn load(folder: &mut Folder, sync_time: SyncTime) -> Result<Loaded, Fault> {
    folder.tidy()?;
    let (store, contents, missing) = match find(folder)? {
        Some(found) if folder.is_damaged() => (None, found.contents, found.missing),
        Some(found) => {
            let store = Store::open(&folder.store())?;
            (Some(store), found.contents, found.missing)
        }
        None => (None, begin(folder), Batch::new()),
    };
    let journal = Journal::open(&folder.journal(), sync_time == SyncTime::Always)?;
    folder.sync()?;
    Ok((store, contents, missing, journal))
}

/// What is in the folder, if anything. What is damaged is set aside, now or when a new store takes its place, and a loss is
/// logged.
fn find(folder: &mut Folder) -> Result<Option<Found>, Fault> {
    if !folder.store().try_exists()? {
        return Ok(None);
    }
    let found = match found::read(&folder.path) {
        Err(fault) if fault.kind == Kind::Damaged => {
            let name = folder.set_aside()?;
            log::error!(
                "event=disk_damaged file=\"{STORE}\" reason={:?} set_aside={name:?} hint=\"the history starts over, and clients that come back are told of a gap\"",
                fault.reason
            );
            return Ok(None);
        }
        found => found?,
    };
    match found.loss {
        None => {}
        Some(Loss {
            up_to,
            cause: Cause::Damage(reason),
        }) => {
            let name = folder.set_aside_later();
            log::error!(
                "event=disk_damaged file=\"{STORE}\" reason={reason:?} set_aside={name:?} up_to={up_to} hint=\"what can be read is there, and clients that come back are told of a gap\""
            );
        }
        Some(Loss {
            up_to,
            cause: Cause::Power,
        }) => log::warn!(
            "event=disk_gap up_to={up_to} hint=\"the power failed before the last messages were on the disk (SYNC is not always); clients that come back are told of a gap\""
        ),
    }
    Ok(Some(found))
}

/// Nothing is known but that whoever has an id has it from somewhere else.
fn begin(folder: &Folder) -> Contents {
    let now = EventId {
        ms: folder::wall_ms() + 1,
        seq: 0,
    };
    let answered = folder::answered(&folder.path);
    let begin = answered.map_or(now, |id| id.max(now));
    let mut contents = Contents::default();
    contents.kept.newest = begin;
    contents.kept.lost = begin;
    contents
}
