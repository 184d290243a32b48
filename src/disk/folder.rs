//! The folder: whose it is, and what the files in it are called.

use super::fault::OpenError;
use crate::host;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const STORE: &str = "history.redb";
const JOURNAL: &str = "journal";

/// A folder that no other server has.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it for this process alone.
    pub(super) fn take(path: &Path) -> Result<Folder, OpenError> {
        if path.is_file() {
            return Err(OpenError::new(path, true, "is a file; give a folder"));
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(path)
            .map_err(|error| wrong(path, "cannot be made", &error))?;
        Folder::lock(path)
    }

    /// Takes one that is there.
    pub(super) fn lock(path: &Path) -> Result<Folder, OpenError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = options
            .open(path.join("lock"))
            .map_err(|error| wrong(path, "cannot be written to", &error))?;
        match host::lock_file(&lock) {
            Ok(true) => Ok(Folder {
                path: path.into(),
                _lock: lock,
            }),
            Ok(false) => Err(OpenError::new(
                path,
                false,
                "another sse-server has it; stop that one, or give each a folder of its own",
            )),
            Err(error) => Err(OpenError::new(
                path,
                false,
                format!("cannot be locked: {error}; give a folder on a disk of this machine"),
            )),
        }
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Where a store is written anew, before it takes the place of the other.
    pub(super) fn new_store(&self) -> PathBuf {
        self.path.join("history.redb.new")
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
    pub(super) fn put_new_store_in_place(&self) -> io::Result<()> {
        std::fs::rename(self.new_store(), self.store())?;
        self.sync()
    }

    /// Puts a damaged store aside, and the journal with it, and returns its new name.
    pub(super) fn set_aside(&self) -> io::Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ms = now.unwrap_or_default().as_millis();
        let name = format!("history.redb.damaged-{ms}");
        std::fs::rename(self.store(), self.path.join(&name))?;
        if self.journal().exists() {
            std::fs::rename(
                self.journal(),
                self.path.join(format!("journal.damaged-{ms}")),
            )?;
        }
        self.sync()?;
        Ok(name)
    }

    /// Bytes that its files take.
    pub(super) fn bytes(&self) -> u64 {
        bytes_of(&self.path)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn wrong(path: &Path, what: &str, error: &io::Error) -> OpenError {
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
