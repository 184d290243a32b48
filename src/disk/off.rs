//! In place of the disk, where the feature `disk` is not built in: `DATA_DIR` is refused.

mod public;

pub use public::{DiskFigures, OpenError};

use crate::counters::Histogram;
use crate::hub::{Hub, Published, Refusal};
use crate::idempotency::{Keys, Publication};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MISSING: &str = "needs an sse-server built with the feature disk, and this one was built without (cargo build --no-default-features); build it with that feature";

/// There is none.
#[derive(Clone, Debug)]
pub struct DataDir(Infallible);

impl DataDir {
    /// Refuses every folder.
    ///
    /// # Errors
    /// Always.
    pub fn parse(_: OsString) -> Result<DataDir, String> {
        Err(format!("{MISSING}, or unset DATA_DIR"))
    }
}

/// There is nothing to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTime {
    /// Whatever was asked for.
    Always,
}

impl SyncTime {
    /// Takes everything: nothing comes of it.
    pub fn parse(_: &str) -> Option<SyncTime> {
        Some(SyncTime::Always)
    }
}

impl fmt::Display for SyncTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("always")
    }
}

/// There is none, so none of its methods can be called.
#[derive(Debug)]
pub struct Disk(Infallible);

impl Disk {
    ///
    /// # Errors
    /// Never.
    pub fn open(
        data_dir: &DataDir,
        _: SyncTime,
        _: Arc<Hub>,
        _: &Keys,
    ) -> Result<Arc<Disk>, OpenError> {
        match data_dir.0 {}
    }

    pub fn is_writable(&self) -> bool {
        match self.0 {}
    }

    pub fn publish(
        &self,
        _: Publication,
        _: impl FnOnce(Result<Published, Refusal>) + Send + 'static,
    ) {
        match self.0 {}
    }

    pub fn leave(&self, _: Duration) {
        match self.0 {}
    }

    pub fn figures(&self) -> DiskFigures {
        match self.0 {}
    }

    pub fn sync_time(&self) -> SyncTime {
        match self.0 {}
    }

    pub fn commit_time(&self) -> &Histogram {
        match self.0 {}
    }
}

/// Cannot be called.
///
/// # Errors
/// None.
pub fn outlook(data_dir: &DataDir) -> Result<String, OpenError> {
    match data_dir.0 {}
}

/// Says why it cannot look.
///
/// # Errors
/// Always.
pub fn check(_: &Path) -> Result<String, String> {
    Err(format!("--check-data {MISSING}"))
}
