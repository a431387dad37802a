//! The power fails in the middle of writing. Of the sectors of the log file that were not synced, some are
//! new and some old, in any mixture: what comes back is a prefix of the appends, whole ones only, and no
//! synced one is missing (G3, G4). Whether the file is a fresh one or a recycled one full of old records.

use std::fs;
use std::path::{Path, PathBuf};

use base::RangeId;
use storage::{HardState, LogBatch, LogEntry, LogStore};

use crate::open_log;

const SECTOR: usize = 512;
const RANGES: [RangeId; 2] = [RangeId(1), RangeId(2)];
/// Appends that were synced, and those after them.
const SYNCED: u64 = 12;
const UNSYNCED: u64 = 10;
const IMAGES: u64 = 25;

/// Numbers by chance, the same ones each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// An append to both ranges: entries of sizes from nothing to several sectors, and a hard state.
fn append(log: &dyn LogStore, index: u64, sync: bool) {
    let mut batch = LogBatch::new();
    for range in RANGES {
        let data = vec![index as u8; (index * 397 % 3_000) as usize];
        batch.append(range, vec![LogEntry { index, term: 1, data: data.into() }]);
        batch.hard_state(range, HardState { term: index, vote: 0, commit: 0 });
    }
    log.append(&batch, sync).expect("append");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

/// Copies a folder; false if RocksDB was tidying up meanwhile.
fn copy(from: &Path, to: &Path) -> bool {
    let names = files(from);
    let copied = names.iter().all(|path| {
        let name = path.file_name().expect("a file");
        name == "LOCK" || fs::copy(path, to.join(name)).is_ok()
    });
    copied && names == files(from)
}

/// What a disk may hold: each sector that differs as it was or as it was to be, or all from one on as it
/// was, or the file cut short.
fn tear(before: &[u8], after: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut image = after.to_vec();
    let differs = |at: &usize| before.get(*at) != after.get(*at);
    let first = (0..after.len()).find(differs).expect("something was written") / SECTOR;
    let sectors = (0..after.len()).rfind(differs).expect("as above") / SECTOR + 1;
    let from = first + chance.below(sectors - first + 1);
    let kind = chance.below(3);
    for sector in first..sectors {
        let old = match kind {
            0 => sector >= from,
            _ => chance.below(3) == 0,
        };
        let span = sector * SECTOR..((sector + 1) * SECTOR).min(after.len());
        for (at, byte) in span.clone().zip(&mut image[span]) {
            if old {
                *byte = before.get(at).copied().unwrap_or(0);
            }
        }
    }
    if kind == 1 {
        // Nothing was there: the file may not have grown yet.
        image.truncate((from * SECTOR).max(before.len()));
    }
    image
}

fn check(directory: &Path, least: u64, most: u64, name: &str) -> u64 {
    let log = open_log(directory);
    let states = RANGES.map(|range| log.state(range).expect("state").expect("known"));
    assert_eq!(states[0], states[1], "{name}: half an append");
    let last = states[0].last.index;
    assert!((least..=most).contains(&last), "{name}: {last} of {least} to {most}");
    assert_eq!(states[0].hard.term, last, "{name}: half an append");
    for range in RANGES {
        let low = states[0].first_index();
        let entries = log.entries(range, low, last + 1, u64::MAX).expect("entries").expect("there");
        assert_eq!(entries.len() as u64, last + 1 - low, "{name}: a hole");
        for (entry, index) in entries.iter().zip(low..) {
            let data = vec![index as u8; (index * 397 % 3_000) as usize];
            assert!(entry.index == index && entry.data == data, "{name}: entry {index} is another");
        }
    }
    last
}

/// Tears the log's end after `written` appends. Whether its file was a recycled one; nothing if RocksDB
/// went on to another file meanwhile.
fn torn_after(written: u64) -> Option<bool> {
    let (home, before) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let log = open_log(home.path());
    for index in 1..=written {
        append(&log, index, index == written);
    }
    for index in written + 1..=written + SYNCED {
        append(&log, index, true);
    }
    if !copy(home.path(), before.path()) {
        return None;
    }
    let (least, most) = (written + SYNCED, written + SYNCED + UNSYNCED);
    for index in least + 1..=most {
        append(&log, index, false);
    }
    let after = tempfile::tempdir().expect("a folder");
    let settled = copy(home.path(), after.path());
    let names = |folder: &tempfile::TempDir| -> Vec<_> {
        files(folder.path()).iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect()
    };
    if !settled || names(&before) != names(&after) {
        return None;
    }
    let changed: Vec<PathBuf> = files(after.path())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .filter(|path| {
            let old = fs::read(before.path().join(path.file_name().expect("a file")));
            old.ok() != fs::read(path).ok()
        })
        .collect();
    let [wal] = changed.as_slice() else { panic!("appends went to {changed:?}") };
    let name = wal.file_name().expect("a file");
    let (old, new) = (fs::read(before.path().join(name)), fs::read(wal));
    let (old, new) = (old.expect("read"), new.expect("read"));
    let (mut chance, mut kept) = (Chance(written), Vec::new());
    for image in 0..IMAGES {
        let torn = tempfile::tempdir().expect("a folder");
        assert!(copy(after.path(), torn.path()), "nobody else is there");
        fs::write(torn.path().join(name), tear(&old, &new, &mut chance)).expect("written");
        kept.push(check(torn.path(), least, most, &format!("image {image} after {written}")));
    }
    kept.sort_unstable();
    kept.dedup();
    assert!(kept.len() > 1, "nothing was torn: {kept:?}");
    Some(old.len() == new.len())
}

#[test]
fn a_fresh_log_comes_back_as_a_prefix() {
    assert_eq!(torn_after(1), Some(false));
    assert_eq!(torn_after(40), Some(false));
}

#[test]
fn a_recycled_log_comes_back_as_a_prefix() {
    // Some times the size of a log file. When one is free to be used again is RocksDB's business.
    let recycled = |more: u64| torn_after(3_000 + 200 * more) == Some(true);
    assert!((0..10).any(recycled), "none was recycled");
}
