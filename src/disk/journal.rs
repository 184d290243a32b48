//! The journal, for `SYNC` other than `always`: what is published is written to it at once and without a sync, and so
//! outlives the process; the store gets it some time later, synced, and the journal begins anew. A part that is not as it
//! was written, because the power has failed, ends it.

use super::record::{sum_of, SUM_BYTES};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// One key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// It is never synced: what has to outlive the machine's power is in the store.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Bytes that are whole parts.
    length: u64,
}

impl Journal {
    /// Opens it.
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path)?;
        let length = file.metadata()?.len();
        Ok(Journal { file, length })
    }

    /// Appends one part: all of it is read again, or nothing.
    pub(super) fn append<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<()> {
        let mut part = vec![0; SUM_BYTES + 4];
        for (key, value) in pairs {
            for piece in [key, value] {
                part.extend_from_slice(&(piece.len() as u32).to_be_bytes());
                part.extend_from_slice(piece);
            }
        }
        let length = (part.len() - SUM_BYTES - 4) as u32;
        part[SUM_BYTES..SUM_BYTES + 4].copy_from_slice(&length.to_be_bytes());
        let sum = sum_of(&part[SUM_BYTES..]);
        part[..SUM_BYTES].copy_from_slice(&sum);
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(&part));
        match written {
            Ok(()) => {
                self.length += part.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What was written of the part would end the journal for those that come behind it.
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }

    /// Begins anew: everything is in the store.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.length > 0 {
            self.file.set_len(0)?;
            self.length = 0;
        }
        Ok(())
    }

    /// Bytes that it has.
    pub(super) fn len(&self) -> u64 {
        self.length
    }
}

/// The pairs of all parts up to the first that is not whole, and where that begins.
pub(super) fn read(bytes: &[u8]) -> (Vec<Pair>, usize) {
    let mut pairs = Vec::new();
    let mut rest = bytes;
    while let Some((part, behind)) = take_part(rest) {
        pairs.extend(part);
        rest = behind;
    }
    (pairs, bytes.len() - rest.len())
}

fn take_part(bytes: &[u8]) -> Option<(Vec<Pair>, &[u8])> {
    let (sum, rest) = bytes.split_first_chunk::<SUM_BYTES>()?;
    let (length, behind) = rest.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (mut part, behind) = behind.split_at_checked(length)?;
    if sum_of(&rest[..4 + length]) != *sum {
        return None;
    }
    let mut pairs = Vec::new();
    while !part.is_empty() {
        let key = take_piece(&mut part)?;
        pairs.push((key, take_piece(&mut part)?));
    }
    Some((pairs, behind))
}

fn take_piece(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, behind) = rest.split_first_chunk()?;
    let (piece, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = behind;
    Some(piece.to_vec())
}
