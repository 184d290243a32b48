//! `--check-data`: reads a folder as a start would, changes nothing, and says what is in it.

use super::contents::Contents;
use super::fault::{Fault, Kind};
use super::folder::{self, Folder};
use super::journal;
use super::store::Store;
use redb::StorageBackend;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    let file = File::open(folder.store())?;
    let store = Store::check(Overlay::new(file)?)?;
    let mut contents = store.load()?;
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

/// A file that is only read, and what a repair would have written to it.
#[derive(Debug)]
struct Overlay {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Where something was written, and what; later ones win.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Overlay {
    fn new(file: File) -> io::Result<Overlay> {
        let length = file.metadata()?.len();
        Ok(Overlay {
            file,
            written: Mutex::new(Written {
                length,
                pieces: Vec::new(),
            }),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        let size = self.file.metadata()?.len();
        let there = size.saturating_sub(offset).min(len as u64) as usize;
        self.file.read_exact_at(&mut buffer[..there], offset)?;
        for (start, bytes) in &self.written().pieces {
            let from = offset.max(*start);
            let to = (offset + len as u64).min(start + bytes.len() as u64);
            if from < to {
                let source = &bytes[(from - start) as usize..(to - start) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(buffer)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written().length = len;
        Ok(())
    }

    fn sync_data(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written().pieces.push((offset, data.to_vec()));
        Ok(())
    }
}
