//! What a start finds in a folder, or a check. Reads everything, and changes nothing.

use super::contents::{Contents, Loss};
use super::fault::Fault;
use super::folder::{self, JOURNAL, STORE};
use super::journal;
use super::record::Batch;
use super::store;
use crate::event::EventId;
use std::io;
use std::path::Path;

/// What is in a folder.
pub(super) struct Found {
    pub(super) contents: Contents,
    /// What the journal has and the store has not.
    pub(super) missing: Batch,
    /// The power has failed: up to which id messages may be lost.
    pub(super) lost: Option<EventId>,
    pub(super) damage: Option<Damage>,
}

/// What was answered is not all there.
pub(super) struct Damage {
    /// Up to which id.
    pub(super) up_to: EventId,
    pub(super) reason: &'static str,
}

pub(super) fn read(path: &Path) -> Result<Found, Fault> {
    let mut contents = store::read(&path.join(STORE))?;
    let bytes = match std::fs::read(path.join(JOURNAL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes?,
    };
    let pairs = journal::read(contents.meta.newest, &bytes);
    let missing = contents.take_journal(pairs);
    let answered = folder::answered(path);
    let (lost, damage) = match contents.finish(&folder::boot(), answered) {
        None => (None, None),
        Some(Loss::Power(up_to)) => (Some(up_to), None),
        Some(Loss::Damage(up_to)) => {
            let reason = match answered {
                Some(_) => "what was stored last cannot be read",
                None => "the file lock does not say up to which id publishers were answered",
            };
            (None, Some(Damage { up_to, reason }))
        }
    };
    Ok(Found {
        contents,
        missing,
        lost,
        damage,
    })
}
