//! What a start finds in a folder, or a check. Reads everything, and changes nothing.

use super::contents::{Contents, Loss};
use super::fault::Fault;
use super::folder::{self, JOURNAL, STORE};
use super::journal;
use super::record::Batch;
use super::store;
use std::io;
use std::path::Path;

/// What is in a folder.
pub(super) struct Found {
    pub(super) contents: Contents,
    /// What the journal has and the store has not.
    pub(super) missing: Batch,
    pub(super) loss: Option<Loss>,
}

pub(super) fn read(path: &Path) -> Result<Found, Fault> {
    let mut contents = store::read(&path.join(STORE))?;
    let bytes = match std::fs::read(path.join(JOURNAL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes?,
    };
    let pairs = journal::read(contents.meta.newest, &bytes);
    let missing = contents.take_journal(pairs);
    let loss = contents.finish(&folder::boot(), folder::answered(path));
    Ok(Found {
        contents,
        missing,
        loss,
    })
}
