//! The store: one table of records in one file, over redb. Each commit is one transaction, which is there as a whole or not
//! at all, whatever happens in the middle of it.

use super::contents::Contents;
use super::fault::{Fault, Kind};
use super::overlay::Overlay;
use super::record::{self, FORMAT, META_KEY};
use crate::log::catch_panic;
use redb::backends::FileBackend;
use redb::{Database, ReadableTable, StorageBackend, TableDefinition, TableError};
use std::fs::File;
use std::path::Path;

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// Memory for pages. Nothing is read but at the start: what is written next lies beside what was written last.
const CACHE_BYTES: usize = 4 << 20;

/// An open file.
pub(super) struct Store(Database);

impl Store {
    /// Opens what was written before, and was read.
    pub(super) fn open(path: &Path) -> Result<Store, Fault> {
        let file = File::options().read(true).write(true).open(path)?;
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        Ok(Store(database))
    }

    /// Opens what another run has written, after looking whether every byte of it is as it was written.
    pub(super) fn check(backend: impl StorageBackend) -> Result<Store, Fault> {
        // redb takes for granted in places that its file is its own.
        let opened = catch_panic(|| {
            let mut database = builder().create_with_backend(backend)?;
            database.check_integrity()?;
            Ok::<Database, redb::DatabaseError>(database)
        });
        match opened {
            Some(database) => Ok(Store(database?)),
            None => Err(Fault::damaged("its pages are inconsistent")),
        }
    }

    /// Begins an empty file.
    pub(super) fn create(path: &Path) -> Result<Store, Fault> {
        Store::begin(FileBackend::new(File::create_new(path)?)?)
    }

    /// As `create`, with the bytes wherever they are.
    pub(super) fn begin(backend: impl StorageBackend) -> Result<Store, Fault> {
        let mut builder = builder();
        builder.create_with_file_format_v3(true);
        Ok(Store(builder.create_with_backend(backend)?))
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<Contents, Fault> {
        let transaction = self.0.begin_read()?;
        let table = transaction
            .open_table(RECORDS)
            .map_err(|error| match error {
                TableError::TableDoesNotExist(_) => Fault::damaged("it has no records"),
                error => error.into(),
            })?;
        let meta = table.get(META_KEY)?;
        let format = meta.and_then(|meta| record::format_of(meta.value()));
        match format {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => {
                let what = format!("a newer version has written it (format {newer}, and this one reads up to {FORMAT})");
                return Err(Fault::new(Kind::Newer, what));
            }
            _ => return Err(Fault::damaged("it is a database of another program")),
        }
        let mut contents = Contents::default();
        for entry in table.iter()? {
            let (key, value) = entry?;
            let taken = contents.take(key.value(), value.value());
            taken.map_err(Fault::damaged)?;
        }
        Ok(contents)
    }

    /// Writes all of it, or nothing. When this returns it is on the disk.
    pub(super) fn commit<'a>(
        &self,
        writes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), Fault> {
        let transaction = self.0.begin_write()?;
        let mut table = transaction.open_table(RECORDS)?;
        for (key, value) in writes {
            match value {
                Some(value) => table.insert(key, value).map(drop),
                None => table.remove(key).map(drop),
            }?;
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }
}

/// Reads a file that another run has written, and looks whether every byte of it is as it was written. Changes nothing.
pub(super) fn read(path: &Path) -> Result<Contents, Fault> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(Fault::damaged("it is empty"));
    }
    Store::check(Overlay::new(file)?)?.load()
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}
