//! Why the disk is of no use, in words for a person.

use super::public::OpenError;
use crate::log::Logged;
use std::fmt;
use std::io;
use std::path::Path;

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No room, by the disk, a quota or a limit of the process.
    Full,
    /// Nothing may be written there.
    ReadOnly,
    /// The file is not what a server has written.
    Damaged,
    /// A newer version has written it.
    Newer,
    /// Everything else, an I/O error first of all. What was written before may not be on the disk.
    Failed,
}

/// One fault.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Fault {
        Fault {
            kind,
            reason: reason.into(),
        }
    }

    pub(super) fn damaged(reason: impl Into<String>) -> Fault {
        Fault::new(Kind::Damaged, reason)
    }

    /// What somebody can do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self.kind {
            Kind::Full => "free some space; the server resumes by itself",
            Kind::ReadOnly => {
                "make the folder writable for this user; the server resumes by itself"
            }
            Kind::Damaged | Kind::Failed => {
                "check the system's log for disk errors; it is tried again each second"
            }
            Kind::Newer => "use the version that wrote it, or another folder",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        use io::ErrorKind as E;
        let kind = match error.kind() {
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::Full,
            E::ReadOnlyFilesystem | E::PermissionDenied => Kind::ReadOnly,
            _ => Kind::Failed,
        };
        Fault::new(kind, error.to_string())
    }
}

/// redb has an error for each kind of call, and one for all of them.
macro_rules! from_each {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Fault {
                redb::Error::from(error).into()
            }
        })*
    };
}
from_each!(DatabaseError TransactionError TableError StorageError CommitError);

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Fault {
        match error {
            redb::Error::Io(error) => match error.kind() {
                io::ErrorKind::InvalidData => Fault::damaged("it is no database"),
                io::ErrorKind::UnexpectedEof => Fault::damaged("its end is missing"),
                _ => error.into(),
            },
            redb::Error::Corrupted(what) if is_newer(&what) => Fault::new(Kind::Newer, what),
            redb::Error::Corrupted(what) => Fault::damaged(what),
            redb::Error::UpgradeRequired(_) => {
                Fault::damaged("no sse-server has written its format")
            }
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => {
                Fault::damaged("it is a database of another program")
            }
            other => Fault::new(Kind::Failed, other.to_string()),
        }
    }
}

/// The store's format is one of the next. What is further away is what a damaged byte looks like: no version has written
/// it, and whoever waited for one would have no server.
const NEXT_FORMATS: u32 = 3;

/// Whether redb says that a newer redb has written the file: "Expected file format version <= 3, found 4".
fn is_newer(what: &str) -> bool {
    let numbers = what.split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u32> = numbers.filter_map(|number| number.parse().ok()).collect();
    what.starts_with("Expected file format version")
        && matches!(numbers[..], [known, found] if (1..=NEXT_FORMATS).contains(&found.saturating_sub(known)))
}

impl OpenError {
    pub(super) fn new(folder: &Path, is_misuse: bool, what: impl fmt::Display) -> OpenError {
        OpenError {
            line: format!("DATA_DIR {}: {what}", Logged(&folder.to_string_lossy())),
            is_misuse,
        }
    }

    pub(super) fn of(folder: &Path, fault: &Fault) -> OpenError {
        let hint = match fault.kind {
            Kind::Full => "free some space",
            Kind::ReadOnly => "give a folder that this user may write to",
            Kind::Damaged | Kind::Failed => "check the system's log for disk errors",
            Kind::Newer => "use the version that wrote it, or another folder",
        };
        let is_misuse = matches!(fault.kind, Kind::ReadOnly | Kind::Newer);
        OpenError::new(folder, is_misuse, format!("{fault}; {hint}"))
    }
}
