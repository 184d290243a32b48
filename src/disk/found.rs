//! What a start finds in a folder, or a check. Reads everything, and changes nothing.

use super::contents::{Contents, Loss};
use super::fault::Fault;
use super::folder::{self, JOURNAL, LOCK, STORE};
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
    /// The file that is not as it was written.
    pub(super) file: &'static str,
    /// What is wrong with it.
    pub(super) reason: String,
}

pub(super) fn read(path: &Path) -> Result<Found, Fault> {
    let mut contents = store::read(&path.join(STORE))?;
    let bytes = match std::fs::read(path.join(JOURNAL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes?,
    };
    let (pairs, end) = journal::read(&bytes);
    let missing = contents.take_journal(pairs);
    let answered = folder::answered(path);
    let (lost, damage) = match contents.finish(&folder::boot(), answered) {
        None => (None, None),
        Some(Loss::Power(up_to)) => (Some(up_to), None),
        Some(Loss::Damage(up_to)) => {
            let (file, reason) = if answered.is_none() {
                (
                    LOCK,
                    "it does not say up to which id publishers were answered".into(),
                )
            } else if end < bytes.len() {
                (JOURNAL, format!("it cannot be read from byte {end} on"))
            } else {
                (STORE, "what was stored last is missing".into())
            };
            let damage = Damage {
                up_to,
                file,
                reason,
            };
            (None, Some(damage))
        }
    };
    Ok(Found {
        contents,
        missing,
        lost,
        damage,
    })
}
