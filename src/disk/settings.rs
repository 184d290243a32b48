//! What `DATA_DIR` and `SYNC` can be.

use crate::numbers::digits;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder, as it was given. It is not looked at yet.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Takes a path.
    ///
    /// # Errors
    /// What is wrong with it, to stand behind the variable's name.
    pub fn parse(path: OsString) -> Result<DataDir, String> {
        if path.is_empty() {
            return Err("is empty; give the path of a folder, or unset it".into());
        }
        Ok(DataDir(path.into()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// When what was written has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTime {
    /// Before its publisher is answered.
    Always,
    /// So much later at the most.
    Within(Duration),
}

/// The longest time that can be asked for.
const LONGEST: Duration = Duration::from_secs(60);

impl SyncTime {
    /// Reads `always`, or a time such as `1s` or `200ms`.
    pub fn parse(text: &str) -> Option<SyncTime> {
        if text == "always" {
            return Some(SyncTime::Always);
        }
        let (count, unit_ms) = match text.strip_suffix("ms") {
            Some(count) => (count, 1),
            None => (text.strip_suffix('s')?, 1000),
        };
        let time = Duration::from_millis(digits::<u64>(count)?.checked_mul(unit_ms)?);
        (!time.is_zero() && time <= LONGEST).then_some(SyncTime::Within(time))
    }
}

impl fmt::Display for SyncTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncTime::Always => f.write_str("always"),
            SyncTime::Within(time) if time.subsec_millis() == 0 => write!(f, "{}s", time.as_secs()),
            SyncTime::Within(time) => write!(f, "{}ms", time.as_millis()),
        }
    }
}
