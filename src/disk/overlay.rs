//! A file that is looked at and not changed, although redb repairs what it opens.

use crate::locks::lock;
use redb::StorageBackend;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

/// A file that is only read, and what a repair would have written to it.
#[derive(Debug)]
pub(super) struct Overlay {
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
    pub(super) fn new(file: File) -> io::Result<Overlay> {
        let length = file.metadata()?.len();
        Ok(Overlay {
            file,
            written: Mutex::new(Written {
                length,
                pieces: Vec::new(),
            }),
        })
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.written).length)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        let size = self.file.metadata()?.len();
        let there = size.saturating_sub(offset).min(len as u64) as usize;
        self.file.read_exact_at(&mut buffer[..there], offset)?;
        for (start, bytes) in &lock(&self.written).pieces {
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
        lock(&self.written).length = len;
        Ok(())
    }

    fn sync_data(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        lock(&self.written).pieces.push((offset, data.to_vec()));
        Ok(())
    }
}
