//! The disk returns other bytes than were written. Whatever byte of a sorted file is flipped, a
//! read gives the row as it was or an error that names the file: never another row, and never none.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base::KeyRange;
use rocks::{RocksConfig, RocksEngine};
use storage::{Engine as _, EngineError, EngineRead, Family, IterOptions, WriteBatch};

const ROWS: u32 = 400;

fn key(n: u32) -> Vec<u8> {
    format!("row/{n:06}/version!").into_bytes()
}

fn value(n: u32) -> Vec<u8> {
    format!("the value of row {n} ").repeat(10).into_bytes()
}

fn open(path: &Path) -> Result<RocksEngine, EngineError> {
    RocksEngine::open(path, RocksConfig { cache_bytes: 1 << 20, ..RocksConfig::default() })
}

fn sorted_files(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).expect("the directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|ext| ext == "sst")).collect()
}

/// Reads every row by key and by scan. Panics on a wrong row, returns the first error.
fn read_all(engine: &RocksEngine) -> Result<(), EngineError> {
    let snapshot = engine.snapshot();
    let mut first_error = Ok(());
    for n in 0..ROWS {
        for reader in [engine as &dyn EngineRead, &*snapshot] {
            match reader.get(Family::Data, &key(n)) {
                Ok(found) => assert_eq!(found.as_deref(), Some(&value(n)[..]), "row {n}"),
                Err(error) => first_error = first_error.and(Err(error)),
            }
            let (from, mut seen) = (key(n), None);
            match reader.first_with_prefix(Family::Data, &from, from.len() - 8, &mut |_, value| {
                seen = Some(value.to_bytes(0));
            }) {
                Ok(_) => assert_eq!(seen.as_deref(), Some(&value(n)[..]), "row {n} by prefix"),
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
    }
    let mut iter = engine.iter(Family::Data, &KeyRange::ALL, IterOptions { bulk: true })?;
    let mut found = iter.seek_to_first()?;
    for n in 0..ROWS {
        assert!(found, "the scan ends before row {n} without an error");
        assert_eq!((iter.key(), iter.value().as_slice()), (&key(n)[..], &value(n)[..]));
        found = iter.next()?;
    }
    assert!(!found, "the scan finds more rows than were written");
    first_error
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path()).expect("open");
    let mut batch = WriteBatch::new();
    for n in 0..ROWS {
        batch.put(Family::Data, &key(n), &value(n));
    }
    engine.write(&batch).expect("write");
    engine.flush().expect("flush");
    // Packed, as most data is.
    engine.compact();
    read_all(&engine).expect("all is well");
    drop(engine);

    let files = sorted_files(directory.path());
    let [file] = &files[..] else { panic!("one sorted file, not {files:?}") };
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let pristine = std::fs::read(file).expect("read the file");
    let disk = std::fs::OpenOptions::new().write(true).open(file).expect("open the file");
    let (mut damaged, mut harmless) = (0, 0);
    let step = (pristine.len() / 60).max(1);
    for offset in (0..pristine.len()).step_by(step) {
        let flipped = [pristine[offset] ^ 0x40];
        disk.write_all_at(&flipped, offset as u64).expect("damage the file");
        match open(directory.path()).and_then(|engine| read_all(&engine)) {
            // A byte of a part that was not needed, as the properties.
            Ok(()) => harmless += 1,
            Err(EngineError::Corrupt { file, detail }) => {
                // RocksDB reads the properties as it opens, and then names the manifest.
                let named = file.ends_with(&name) || detail.contains("properties");
                assert!(named, "byte {offset}: {file:?} in {detail:?}");
                damaged += 1;
            }
            Err(error) => panic!("byte {offset}: {error:?}"),
        }
        disk.write_all_at(&pristine[offset..=offset], offset as u64).expect("mend the file");
    }
    assert!(damaged > 40 && harmless < damaged, "{damaged} noticed, {harmless} not");
    open(directory.path()).and_then(|engine| read_all(&engine)).expect("mended");
}

#[test]
fn damage_met_by_a_compaction_stops_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path()).expect("open");
    for _ in 0..2 {
        let mut batch = WriteBatch::new();
        for n in 0..ROWS {
            batch.put(Family::Data, &key(n), &value(n));
        }
        engine.write(&batch).expect("write");
        engine.flush().expect("flush");
    }
    drop(engine);
    for file in sorted_files(directory.path()) {
        let disk = std::fs::OpenOptions::new().write(true).open(&file).expect("open the file");
        disk.write_all_at(&[0xFF; 3], 5000).expect("damage the file");
    }
    let engine = open(directory.path()).expect("the damage is not met yet");
    engine.compact();
    let mut batch = WriteBatch::new();
    batch.put(Family::Local, b"k", b"v");
    // It is refused though this write has nothing to do with the damaged data.
    let error = engine.write(&batch).expect_err("refused");
    let EngineError::Corrupt { file, .. } = &error else { panic!("{error:?}") };
    assert!(file.ends_with(".sst"), "{error:?}");
}

#[test]
fn a_file_cut_short_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path()).expect("open");
    let mut batch = WriteBatch::new();
    for n in 0..ROWS {
        batch.put(Family::Data, &key(n), &value(n));
    }
    engine.write(&batch).expect("write");
    engine.flush().expect("flush");
    drop(engine);
    for file in sorted_files(directory.path()) {
        let len = file.metadata().expect("metadata").len();
        let disk = std::fs::OpenOptions::new().write(true).open(&file).expect("open the file");
        disk.set_len(len / 2).expect("cut it");
    }
    let error = open(directory.path()).and_then(|engine| read_all(&engine)).expect_err("cut");
    assert!(matches!(error, EngineError::Corrupt { .. }), "{error:?}");
}
