//! `--check-data`: reads a folder as a start would, changes nothing, and says what is in it.

use super::contents::Contents;
use super::fault::{Fault, Kind};
use super::folder::{self, Folder};
use super::journal;
use super::store;
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Looks at the folder, and says in a few lines what it has.
///
/// # Errors
/// One line, if it cannot be read or is damaged.
pub fn check(path: &Path) -> Result<String, String> {
    if !path.is_dir() {
        return Err(format!(
            "{path:?} is no folder; give one that DATA_DIR has named"
        ));
    }
    // A server that runs may be in the middle of a change.
    let folder = match Folder::lock(path) {
        Ok(folder) => folder,
        Err(error) => return Err(error.line),
    };
    let store = folder.store();
    if !store.exists() {
        return Err(format!(
            "{path:?} has no file history.redb; no server has kept a history there"
        ));
    }
    let contents = read(&folder).map_err(|fault| {
        let hint = match fault.kind {
            Kind::Damaged => "; a server that starts there sets it aside, and begins anew",
            _ => "",
        };
        format!("{store:?}: {fault}{hint}")
    })?;
    Ok(report(&contents, folder::bytes_of(path)))
}

fn read(folder: &Folder) -> Result<Contents, Fault> {
    let mut contents = store::read(&folder.store())?;
    let journal = match std::fs::read(folder.journal()) {
        Ok(bytes) => journal::read(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    contents.take_journal(journal);
    contents.finish(&folder::boot());
    Ok(contents)
}

fn report(contents: &Contents, bytes: u64) -> String {
    let events = &contents.kept.events;
    let channels: HashSet<_> = events.iter().map(|kept| &kept.event.channel).collect();
    let mut lines = vec![format!(
        "{} messages in {} channels, {bytes} bytes in the files",
        events.len(),
        channels.len()
    )];
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        lines.push(format!("ids {} to {}", first.event.id, last.event.id));
    }
    lines.push(format!("newest id given: {}", contents.kept.newest));
    let how = if contents.meta.is_closed {
        "in order"
    } else {
        "without notice"
    };
    lines.push(format!("its server has stopped {how}"));
    lines.join("\n")
}
