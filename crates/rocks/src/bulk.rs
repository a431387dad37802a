//! Much sorted data at once: written to sorted files beside the database, then taken in by it.
//!
//! The files never pass through the write buffers, so a snapshot of a range does not push everybody
//! else's data out of them. RocksDB syncs a file before it takes it in, and its own manifest after.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use storage::{BulkWriter, EngineError, Family};

use crate::config::family_options;
use crate::engine::Db;
use crate::error::{engine_error, io_error};

const FILE_BYTES: usize = 32 << 20;
const DIRECTORY: &str = "bulk";

/// Tells the files of one process apart; those of earlier ones are gone.
static NEXT_FILE: AtomicU64 = AtomicU64::new(0);

/// Collects entries per family and writes a file when there are enough.
pub(crate) struct RocksBulkWriter {
    db: Arc<Db>,
    pending: [Pending; 4],
    files: Vec<(Family, PathBuf)>,
}

/// Entries of one family, in key order: the bytes, and where each key and value ends.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
    last: Vec<u8>,
}

/// Removes what a crash left of earlier bulk writes.
pub(crate) fn clean_bulk_directory(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(path.join(DIRECTORY)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_error("removing unfinished bulk files", &error))
        }
        _ => Ok(()),
    }
}

impl RocksBulkWriter {
    pub(crate) fn new(db: Arc<Db>) -> Result<Self, EngineError> {
        let directory = db.path.join(DIRECTORY);
        std::fs::create_dir_all(directory)
            .map_err(|error| io_error("creating the directory of bulk files", &error))?;
        Ok(RocksBulkWriter { db, pending: Default::default(), files: Vec::new() })
    }

    fn write_file(&mut self, family: Family) -> Result<(), EngineError> {
        let pending = &mut self.pending[family.index()];
        if pending.ends.is_empty() {
            return Ok(());
        }
        let name = format!("{:08}.sst", NEXT_FILE.fetch_add(1, Ordering::Relaxed));
        let path = self.db.path.join(DIRECTORY).join(name);
        self.files.push((family, path.clone()));
        let options = family_options(family, &self.db.config, &self.db.cache);
        let mut writer = SstFileWriter::create(&options);
        writer.open(&path).map_err(engine_error)?;
        let mut start = 0;
        for (key_end, end) in pending.ends.drain(..) {
            let (key, value) = (&pending.bytes[start..key_end], &pending.bytes[key_end..end]);
            writer.put(key, value).map_err(engine_error)?;
            start = end;
        }
        pending.bytes.clear();
        writer.finish().map_err(engine_error)
    }
}

impl BulkWriter for RocksBulkWriter {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        let pending = &mut self.pending[family.index()];
        let first = pending.ends.is_empty() && pending.last.is_empty();
        if !first && key <= &pending.last[..] {
            let place = format!("bulk data of family {}", family.name());
            return Err(EngineError::malformed(place, "keys are not in ascending order"));
        }
        pending.last.clear();
        pending.last.extend_from_slice(key);
        pending.bytes.extend_from_slice(key);
        let key_end = pending.bytes.len();
        pending.bytes.extend_from_slice(value);
        pending.ends.push((key_end, pending.bytes.len()));
        if pending.bytes.len() >= FILE_BYTES { self.write_file(family) } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), EngineError> {
        for family in Family::ALL {
            self.write_file(family)?;
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        for family in Family::ALL {
            let files: Vec<&PathBuf> =
                self.files.iter().filter(|file| file.0 == family).map(|file| &file.1).collect();
            if !files.is_empty() {
                self.db
                    .db
                    .ingest_external_file_cf_opts(self.db.family(family), &options, files)
                    .map_err(engine_error)?;
            }
        }
        Ok(())
    }
}

impl Drop for RocksBulkWriter {
    fn drop(&mut self) {
        for (_, path) in &self.files {
            // Taken in, it was moved; else it is garbage, which the next start would remove too.
            std::fs::remove_file(path).ok();
        }
    }
}
