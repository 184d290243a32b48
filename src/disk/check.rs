//! What `--check-data` and `--check` say of a folder: they read it as a start would, and change nothing.

use super::contents::{Cause, Contents, Loss};
use super::fault::Kind;
use super::folder::{self, JOURNAL, LOCK, STORE};
use super::found;
use super::public::OpenError;
use super::settings::DataDir;
use crate::host;
use std::collections::HashSet;
use std::path::Path;

const ASIDE: &str = "a server that starts there sets it aside";

/// Looks at the folder, and says in a few lines what it has.
///
/// # Errors
/// One line, if it cannot be read or is damaged.
pub fn check(path: &Path) -> Result<String, String> {
    if !path.is_dir() {
        return Err(format!(
            "{path:?} is not a folder; give one that DATA_DIR has named"
        ));
    }
    let store = path.join(STORE);
    let (is_in_use, _lock) = folder::look(path).map_err(|error| format!("{path:?}: {error}"))?;
    if is_in_use {
        // It may be in the middle of a change.
        return Err(format!(
            "{path:?}: another sse-server has it; stop that one, or ask it for /stats"
        ));
    }
    if !store.exists() {
        return Err(format!(
            "{path:?} has no file {STORE}; no server has kept a history there"
        ));
    }
    let found = found::read(path).map_err(|fault| match fault.kind {
        Kind::Damaged => format!("{store:?}: {fault}; {ASIDE}, and starts over"),
        _ => format!("{store:?}: {fault}"),
    })?;
    if let Some(Loss {
        up_to,
        cause: Cause::Damage(reason),
    }) = found.loss
    {
        return Err(format!(
            "{path:?} is damaged: {reason} (up to {up_to}); {ASIDE}, goes on with the rest, and tells clients of a gap"
        ));
    }
    Ok(report(&found.contents, folder::bytes_of(path)))
}

/// Says in a line what a start would find.
///
/// # Errors
/// One line for a person, if it would fail.
pub fn outlook(data_dir: &DataDir) -> Result<String, OpenError> {
    let path = data_dir.path();
    if let Some(what) = folder::obstacle(path) {
        return Err(OpenError::new(path, true, what));
    }
    let mut there = path
        .ancestors()
        .filter(|above| !above.as_os_str().is_empty());
    let there = there.find(|above| above.exists()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(OpenError::new(
            path,
            true,
            "leads through a file; give a folder",
        ));
    }
    let files = [LOCK, STORE, JOURNAL].map(|name| path.join(name));
    let files = files.iter().filter(|file| file.exists());
    if let Some(closed) = files
        .map(|file| &**file)
        .chain([there])
        .find(|file| !host::may_write(file))
    {
        let error = std::io::ErrorKind::PermissionDenied.into();
        let what = format!("{closed:?} cannot be written to");
        return Err(folder::wrong(path, &what, &error));
    }
    if there != path {
        return Ok("it is made at the start".into());
    }
    let (is_in_use, _lock) =
        folder::look(path).map_err(|error| folder::wrong(path, "cannot be locked", &error))?;
    if is_in_use {
        return Ok("a server has it now".into());
    }
    if !path.join(STORE).exists() {
        return Ok("nothing is kept there yet".into());
    }
    match found::read(path) {
        Ok(found) => match found.loss.map(|loss| loss.cause) {
            Some(Cause::Damage(reason)) => Ok(format!("{reason}; {ASIDE}")),
            _ => Ok(size(&found.contents, folder::bytes_of(path))),
        },
        Err(fault) if fault.kind == Kind::Damaged => {
            Ok(format!("{STORE}: {fault}; {ASIDE}, and starts over"))
        }
        Err(fault) => Err(OpenError::of(path, &fault)),
    }
}

fn report(contents: &Contents, bytes: u64) -> String {
    let events = &contents.kept.events;
    let mut lines = vec![size(contents, bytes)];
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

fn size(contents: &Contents, bytes: u64) -> String {
    let events = &contents.kept.events;
    let channels: HashSet<_> = events.iter().map(|kept| &kept.event.channel).collect();
    format!(
        "{} messages in {} channels, {bytes} bytes in the files",
        events.len(),
        channels.len()
    )
}
