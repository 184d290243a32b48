//! The folder: whose it is, and what the files in it are called.

use super::fault::{Fault, Kind};
use super::public::OpenError;
use super::record::{answered_value, read_answered};
use crate::event::EventId;
use crate::host;
use crate::moments::since_1970;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub(super) const STORE: &str = "history.redb";
const NEW_STORE: &str = "history.redb.new";
pub(super) const JOURNAL: &str = "journal";
pub(super) const LOCK: &str = "lock";

/// A folder that no other server has.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Locked while it is open. Says up to which id publishers were answered.
    lock: File,
    /// When the store there was found damaged: it is set aside, under this time, when a new one takes its place.
    damaged_ms: Option<u64>,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it for this process alone.
    pub(super) fn take(path: &Path) -> Result<Folder, OpenError> {
        if let Some(what) = obstacle(path) {
            return Err(OpenError::new(path, true, what));
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(path)
            .map_err(|error| wrong(path, "cannot be made", &error))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = options
            .open(path.join(LOCK))
            .map_err(|error| wrong(path, "cannot be written to", &error))?;
        match host::lock_file(&lock) {
            Ok(true) => Ok(Folder {
                path: path.into(),
                lock,
                damaged_ms: None,
            }),
            Ok(false) => Err(OpenError::new(
                path,
                false,
                "another sse-server has it; stop that one, or give each a folder of its own",
            )),
            Err(error) => Err(OpenError::new(
                path,
                false,
                format!("cannot be locked: {error}; give a folder on a local disk"),
            )),
        }
    }

    /// Whether it is still the one that was taken: somebody may remove it, and make it again.
    pub(super) fn is_locked(&self) -> bool {
        let there = std::fs::metadata(self.path.join(LOCK));
        let is_same =
            |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let locked = self.lock.metadata();
        locked.is_ok_and(|locked| there.is_ok_and(|there| is_same(locked, there)))
    }

    /// Looks whether its files are there, in the folder that was taken. What is written to a removed file is lost.
    pub(super) fn look_after(&self) -> Result<(), Fault> {
        if self.is_locked() && self.store().exists() && self.journal().exists() {
            return Ok(());
        }
        let reason = "the folder or a file in it was removed";
        Err(Fault::new(Kind::Failed, reason))
    }

    /// Takes it again if somebody has removed it, unless another server has it now. What another one has left is set aside.
    pub(super) fn take_again(&mut self) -> Result<(), Fault> {
        if self.is_locked() {
            return Ok(());
        }
        *self = Folder::take(&self.path).map_err(|error| Fault::new(Kind::Failed, error.line))?;
        if self.store().try_exists()? {
            let name = self.set_aside()?;
            log::error!("event=disk_damaged file=\"{STORE}\" reason=\"another server has written it\" set_aside={name:?} hint=\"it is rewritten from memory\"");
        }
        Ok(())
    }

    /// Publishers are answered up to this id from now on. What says so is not synced: it outlives the process.
    pub(super) fn note_answered(&self, id: EventId) -> io::Result<()> {
        self.lock.write_all_at(&answered_value(id), 0)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Where a store is written anew, before it takes the place of the other.
    pub(super) fn new_store(&self) -> PathBuf {
        self.path.join(NEW_STORE)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Removes what was left half written.
    pub(super) fn tidy(&self) -> io::Result<()> {
        match std::fs::remove_file(self.new_store()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts the new store in the place of the other.
    pub(super) fn put_new_store_in_place(&mut self) -> io::Result<()> {
        if let Some(ms) = self.damaged_ms {
            // The server goes on with that file.
            std::fs::copy(self.path.join(LOCK), self.path.join(aside(LOCK, ms)))?;
            self.set_aside_as_of(ms)?;
            self.damaged_ms = None;
        }
        std::fs::rename(self.new_store(), self.store())?;
        self.sync()
    }

    /// Puts a store aside, and the journal with it, and returns its new name.
    pub(super) fn set_aside(&self) -> io::Result<String> {
        let ms = wall_ms();
        self.set_aside_as_of(ms)?;
        self.sync()?;
        Ok(aside(STORE, ms))
    }

    fn set_aside_as_of(&self, ms: u64) -> io::Result<()> {
        // It goes on with what an earlier try has left.
        let there = |file: &&str| self.path.join(file).exists();
        for file in [JOURNAL, STORE].into_iter().filter(there) {
            std::fs::rename(self.path.join(file), self.path.join(aside(file, ms)))?;
        }
        Ok(())
    }

    /// Has the store that is there set aside when a new one takes its place, with what can be read of it. Returns the name
    /// that it gets. Needs no room for a copy, and until then the next start finds all as it is.
    pub(super) fn set_aside_later(&mut self) -> String {
        let ms = wall_ms();
        self.damaged_ms = Some(ms);
        aside(STORE, ms)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged_ms.is_some()
    }

    /// Which files there are is on the disk then.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// What a file is called that is set aside now.
fn aside(file: &str, ms: u64) -> String {
    format!("{file}.damaged-{ms}")
}

/// Wall time in ms.
pub(super) fn wall_ms() -> u64 {
    since_1970(SystemTime::now()).as_millis() as u64
}

/// What is there and is not what a server has made, in words for a person. To open a pipe would wait for ever, and a
/// device keeps nothing.
pub(super) fn obstacle(path: &Path) -> Option<String> {
    if path.is_file() {
        return Some("is a file; give a folder".into());
    }
    if std::fs::symlink_metadata(path).is_ok() && !path.is_dir() {
        return Some("is not a folder, and does not lead to one; give a folder".into());
    }
    let is_other = |name: &&str| {
        let there = std::fs::metadata(path.join(name));
        there.is_ok_and(|there| !there.is_file())
    };
    let name = [STORE, NEW_STORE, JOURNAL, LOCK]
        .into_iter()
        .find(is_other)?;
    Some(format!(
        "{name} in it is not a file; move it away, or give another folder"
    ))
}

/// Whether a server has the folder now. As long as the file is open that is returned, none can take it.
pub(super) fn look(path: &Path) -> io::Result<(bool, Option<File>)> {
    if let Some(what) = obstacle(path) {
        return Err(io::Error::other(what));
    }
    match File::open(path.join(LOCK)) {
        Ok(lock) => Ok((!host::lock_file(&lock)?, Some(lock))),
        // Every server that has a folder has made one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((false, None)),
        Err(error) => Err(error),
    }
}

/// Up to which id publishers were answered. `None` if nothing says so.
pub(super) fn answered(path: &Path) -> Option<EventId> {
    read_answered(&std::fs::read(path.join(LOCK)).ok()?)
}

pub(super) fn wrong(path: &Path, what: &str, error: &io::Error) -> OpenError {
    let hint = "give a folder that this user may write to";
    OpenError::new(path, true, format!("{what}: {error}; {hint}"))
}

/// Which run of this machine it is, if the system tells: power that fails ends it, and a process that dies does not.
pub(super) fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.unwrap_or_default().trim().into()
}

/// Bytes that the store and the journal in a folder take.
pub(super) fn bytes_of(folder: &Path) -> u64 {
    let files = [STORE, JOURNAL].map(|name| std::fs::metadata(folder.join(name)));
    files.iter().flatten().map(std::fs::Metadata::len).sum()
}
