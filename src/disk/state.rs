//! Whether the disk takes what is published, for everybody who wants to know; and the log lines when that changes, one for
//! each loss and not one for each try. Written by the writer.

use super::fault::Fault;
use super::public::DiskFigures;
use crate::counters::{Counter, Histogram};
use crate::hub::Refusal;
use crate::locks::lock;
use crate::log::Logged;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// As the writer sees it, and as it was logged.
#[derive(Debug, Default)]
pub(super) struct State {
    folder: String,
    is_down: AtomicBool,
    /// Guards the fault that there is now, or was last.
    fault: Mutex<Option<Down>>,
    faults: Counter,
    /// Time of a commit, with its sync.
    pub(super) sync_time: Histogram,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    fault: Fault,
}

impl State {
    pub(super) fn new(folder: &Path) -> State {
        State {
            folder: Logged(&folder.to_string_lossy()).to_string(),
            ..State::default()
        }
    }

    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Acquire)
    }

    /// Why nothing is accepted.
    pub(super) fn refusal(&self) -> Refusal {
        let down = lock(&self.fault);
        let reason = down.as_ref().map(|down| down.fault.reason.clone());
        Refusal::DiskFailed(reason.unwrap_or_default())
    }

    pub(super) fn figures(&self, bytes: u64) -> DiskFigures {
        let down = lock(&self.fault);
        DiskFigures {
            is_writable: self.is_up(),
            bytes,
            faults: self.faults.get(),
            last_fault: down.as_ref().map(|down| down.fault.reason.clone()),
        }
    }

    /// Something could not be stored.
    pub(super) fn down(&self, fault: Fault) {
        let mut down = lock(&self.fault);
        let was_down = self.is_down.swap(true, Ordering::AcqRel);
        let is_known = down
            .as_ref()
            .is_some_and(|known| was_down && known.fault.kind == fault.kind);
        if !is_known {
            self.faults.add(1);
            log::warn!(
                "event=disk_lost folder={} reason={:?} hint=\"{}\"",
                self.folder,
                fault.reason,
                fault.hint()
            );
        }
        let since = match &*down {
            Some(known) if was_down => known.since,
            _ => Instant::now(),
        };
        *down = Some(Down { since, fault });
    }

    /// It can be stored again.
    pub(super) fn up(&self) {
        let down = lock(&self.fault);
        if self.is_down.swap(false, Ordering::AcqRel) {
            let seconds = down.as_ref().map_or(Duration::ZERO, |d| d.since.elapsed());
            log::info!(
                "event=disk_back folder={} seconds={:.1}",
                self.folder,
                seconds.as_secs_f64()
            );
        }
    }
}
