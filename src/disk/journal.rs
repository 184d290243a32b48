//! The journal: what is published is written to it before its publisher is answered, and to the store some time later, all in
//! one commit; then the journal begins anew, in the same place of the file. Each part has a checksum, which covers the newest
//! id of the commit before it as well: what is left of an earlier time does not count. A part that is not as it was written
//! ends it.

use super::record::{put_id, put_piece, sum_of, take_piece, Pair, SUM_BYTES};
use crate::event::EventId;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file grows in steps of this size: a sync of bytes that the file has already costs half of one that makes it longer.
const CHUNK: u64 = 256 << 10;
const PAGE: usize = 4096;

/// The file is cut to this length when it begins anew.
const LONGEST_EMPTY: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Bytes that are parts of this time.
    length: u64,
    file_length: u64,
    /// The newest id of the last commit.
    after: EventId,
    /// Behind the length there may be whole parts that nobody was answered for, or those of another run.
    has_remains: bool,
    /// Each part is synced. Otherwise it outlives the process and not the power.
    syncs: bool,
}

impl Journal {
    /// Opens it. Before something is appended it has to begin anew.
    pub(super) fn open(path: &Path, syncs: bool) -> io::Result<Journal> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path)?;
        let file_length = file.metadata()?.len();
        Ok(Journal {
            file,
            length: file_length,
            file_length,
            after: EventId::ZERO,
            has_remains: true,
            syncs,
        })
    }

    /// Appends one part: all of it is read again, or nothing. It counts if `then` succeeds as well.
    pub(super) fn append(
        &mut self,
        pairs: &[Pair],
        then: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut part = vec![0; SUM_BYTES + 4];
        for (key, value) in pairs {
            put_piece(&mut part, key);
            put_piece(&mut part, value);
        }
        let length = (part.len() - SUM_BYTES - 4) as u32;
        part[SUM_BYTES..SUM_BYTES + 4].copy_from_slice(&length.to_be_bytes());
        let sum = sum_after(self.after, &part[SUM_BYTES..]);
        part[..SUM_BYTES].copy_from_slice(&sum);
        let written = self.write(&part).and_then(|()| then());
        if written.is_ok() {
            self.length += part.len() as u64;
        } else {
            // What was written of the part would end the journal for those that come behind it, or be there later.
            self.has_remains = self.cut(self.length).is_err();
        }
        written
    }

    /// What is behind this length is not there after a loss of power either.
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file_length = length;
        self.file.sync_data()
    }

    fn write(&mut self, part: &[u8]) -> io::Result<()> {
        let end = self.length + part.len() as u64;
        if end > self.file_length && self.syncs {
            // Page by page: Linux counts all that came with one call as written again whenever a byte of it is.
            while self.file_length < end + CHUNK {
                self.file.write_all_at(&[0; PAGE], self.file_length)?;
                self.file_length += PAGE as u64;
            }
        }
        self.file.write_all_at(part, self.length)?;
        self.file_length = self.file_length.max(end);
        if self.syncs {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Begins anew: everything is in the store, with this as the newest id.
    pub(super) fn begin(&mut self, after: EventId) -> io::Result<()> {
        if self.has_remains {
            // If no id is newer than those of the last commit, their checksums still hold.
            self.cut(0)?;
            self.has_remains = false;
        } else if self.file_length > LONGEST_EMPTY {
            self.file.set_len(LONGEST_EMPTY)?;
            self.file_length = LONGEST_EMPTY;
        }
        self.length = 0;
        self.after = after;
        Ok(())
    }

    /// Bytes that it has.
    pub(super) fn len(&self) -> u64 {
        self.length
    }
}

/// The pairs of all parts behind a commit with this newest id, up to the first that is not whole.
pub(super) fn read(after: EventId, bytes: &[u8]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut rest = bytes;
    while let Some((part, behind)) = take_part(after, rest) {
        pairs.extend(part);
        rest = behind;
    }
    pairs
}

fn take_part(after: EventId, bytes: &[u8]) -> Option<(Vec<Pair>, &[u8])> {
    let (sum, rest) = bytes.split_first_chunk::<SUM_BYTES>()?;
    let (length, behind) = rest.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (mut part, behind) = behind.split_at_checked(length)?;
    if sum_after(after, &rest[..4 + length]) != *sum {
        return None;
    }
    let mut pairs = Vec::new();
    while !part.is_empty() {
        let key = take_piece(&mut part)?.to_vec();
        pairs.push((key, take_piece(&mut part)?.to_vec()));
    }
    Some((pairs, behind))
}

fn sum_after(after: EventId, bytes: &[u8]) -> [u8; SUM_BYTES] {
    let mut salt = Vec::with_capacity(16);
    put_id(&mut salt, after);
    sum_of(&[&salt, bytes])
}
