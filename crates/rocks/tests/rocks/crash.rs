//! The process is killed while it writes. The test runs itself as a child that tells on its
//! standard output what it was promised, and is killed without warning.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base::{KeyRange, RangeId};
use storage::{
    Engine as _, EngineRead as _, Family, IterOptions, LogBatch, LogEntry, LogPosition,
    LogStore as _, WriteBatch,
};

const CHILD: &str = "ROCKS_CRASH_DIRECTORY";
const ROUNDS: usize = 3;

/// Starts a test of this binary as a child with a directory to write into.
fn child(test: &str, directory: &Path) -> Child {
    let binary = std::env::current_exe().expect("the test's own binary");
    Command::new(binary)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the child")
}

/// Where to write, if this is a child.
fn directory() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// Reads what the child tells until it has told enough, kills it, and returns the last number.
fn kill_after(mut child: Child, promises: usize) -> u64 {
    let stdout = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let number = |line: String| line.strip_prefix("promised ")?.parse::<u64>().ok();
    let mut last = lines.by_ref().filter_map(number).nth(promises).expect("the child tells");
    child.kill().expect("kill the child");
    child.wait().expect("the child is gone");
    if let Some(later) = lines.filter_map(number).last() {
        last = later;
    }
    last
}

fn promise(number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "promised {number}").expect("tell the parent");
    out.flush().expect("tell the parent");
}

/// Writes numbered batches over all families, each of which replaces the one before, and flushes
/// some.
#[test]
#[ignore = "the child of families_agree_after_a_kill"]
fn engine_child() {
    let Some(directory) = directory() else { return };
    let engine = crate::open_engine(&directory);
    let local = engine.get(Family::Local, b"n").expect("get");
    let mut n = local.map_or(0, |n| u64::from_be_bytes(n[..].try_into().expect("a number")));
    loop {
        n += 1;
        let mut batch = WriteBatch::new();
        for family in Family::ALL {
            batch.put(family, b"n", &n.to_be_bytes());
            batch.put(family, format!("k{n:012}").as_bytes(), &[n as u8; 2000]);
            if let Some(old) = n.checked_sub(100) {
                batch.delete(family, format!("k{old:012}").as_bytes());
            }
        }
        engine.write(&batch).expect("write");
        if n.is_multiple_of(200) {
            engine.flush().expect("flush");
            promise(n);
        }
    }
}

#[test]
fn families_agree_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..ROUNDS {
        let promised = kill_after(child("crash::engine_child", directory.path()), 2 + round);
        let engine = crate::open_engine(directory.path());
        let applied = |family| {
            let n = engine.get(family, b"n").expect("get").expect("it was flushed");
            u64::from_be_bytes(n[..].try_into().expect("a number"))
        };
        let n = applied(Family::Local);
        assert!(n >= promised, "E2: {promised} was flushed, {n} is there");
        for family in Family::ALL {
            assert_eq!(applied(family), n, "E1: {family:?}");
            let mut iter =
                engine.iter(family, &KeyRange::ALL, IterOptions::default()).expect("iter");
            let mut found = iter.seek(b"k").expect("seek");
            for expected in n - 99..=n {
                assert!(found, "E1: {family:?} has no {expected}");
                assert_eq!(iter.key(), format!("k{expected:012}").as_bytes(), "E1: {family:?}");
                assert_eq!(iter.value().as_slice(), [expected as u8; 2000]);
                found = iter.next().expect("next");
            }
            assert!(found && iter.key() == b"n", "E1: {family:?} has more than it should");
        }
        let durable = engine.get_durable(Family::Local, b"n").expect("get").expect("flushed");
        assert_eq!(durable[..], n.to_be_bytes());
    }
}

/// Appends entries of two ranges, synced, and truncates behind.
#[test]
#[ignore = "the child of synced_entries_survive_a_kill"]
fn log_child() {
    let Some(directory) = directory() else { return };
    let log = crate::open_log(&directory);
    let last = log.state(RangeId(1)).expect("state").map_or(0, |state| state.last.index);
    for index in last + 1.. {
        let mut batch = LogBatch::new();
        for range in [RangeId(1), RangeId(2)] {
            let entry = LogEntry { index, term: index / 50, data: vec![index as u8; 3000].into() };
            batch.append(range, vec![entry]);
        }
        if index > 300 && index.is_multiple_of(100) {
            let upto = index - 300;
            if let Some(term) = log.term(RangeId(2), upto).expect("term") {
                batch.compact(RangeId(2), LogPosition { index: upto, term });
            }
        }
        log.append(&batch, true).expect("append");
        promise(index);
    }
}

#[test]
fn synced_entries_survive_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..ROUNDS {
        let promised = kill_after(child("crash::log_child", directory.path()), 250 + 111 * round);
        let log = crate::open_log(directory.path());
        let states = [1, 2].map(|id| log.state(RangeId(id)).expect("state").expect("known"));
        assert_eq!(states[0].last, states[1].last, "G4");
        assert!(states[0].last.index >= promised, "G3: {promised}, {states:?}");
        for (state, range) in states.iter().zip([RangeId(1), RangeId(2)]) {
            let (low, high) = (state.first_index(), state.last.index + 1);
            let entries = log.entries(range, low, high, u64::MAX).expect("entries");
            let entries = entries.expect("in the log");
            assert_eq!(entries.len() as u64, high - low, "G1");
            for (entry, index) in entries.iter().zip(low..) {
                assert_eq!((entry.index, entry.term), (index, index / 50));
                assert_eq!(entry.data, vec![index as u8; 3000]);
            }
        }
    }
}

/// What entry `index` does to the engine: it moves a counter of each of ten keys, unevenly.
fn effect(index: u64, engine: &rocks::RocksEngine) -> WriteBatch {
    let key = [b'c', (index % 10) as u8];
    let before = engine.get(Family::Data, &key).expect("get");
    let before = before.map_or(0, |n| u64::from_be_bytes(n[..8].try_into().expect("a number")));
    let mut batch = WriteBatch::new();
    let counter = [&(before + index).to_be_bytes()[..], &[index as u8; 2000]].concat();
    batch.put(Family::Data, &key, &counter);
    batch.put(Family::Lock, &key, &index.to_be_bytes());
    batch.put(Family::Local, b"applied", &index.to_be_bytes());
    batch
}

fn applied(stored: Option<bytes::Bytes>) -> u64 {
    stored.map_or(0, |n| u64::from_be_bytes(n[..].try_into().expect("a number")))
}

/// Appends, applies, and truncates the log behind what the engine says is durable, as a replica
/// does.
#[test]
#[ignore = "the child of the_log_reaches_back_to_what_was_flushed"]
fn replica_child() {
    let Some(directory) = directory() else { return };
    let engine = crate::open_engine(&directory.join("kv"));
    let log = crate::open_log(&directory.join("log"));
    let range = RangeId(1);
    let last = log.state(range).expect("state").map_or(0, |state| state.last.index);
    for index in applied(engine.get(Family::Local, b"applied").expect("get")) + 1.. {
        let mut batch = LogBatch::new();
        if index > last {
            let entry = LogEntry { index, term: 1, data: index.to_be_bytes().to_vec().into() };
            batch.append(range, vec![entry]);
        }
        if index % 64 == 0 {
            let durable = engine.get_durable(Family::Local, b"applied").expect("get");
            let upto = LogPosition { index: applied(durable), term: 1 };
            let truncated = log.state(range).expect("state").expect("known").truncated;
            if upto.index > truncated.index {
                batch.compact(range, upto);
            }
        }
        // A killed process loses nothing that it has handed to the kernel, so a sync would only
        // make the test slow.
        log.append(&batch, index % 64 == 0).expect("append");
        engine.write(&effect(index, &engine)).expect("write");
        promise(index);
    }
}

/// The engine has no log of its own: what it loses in a crash must still be in the Raft log, and
/// applying that again must give what an engine that never crashed would hold.
#[test]
fn the_log_reaches_back_to_what_was_flushed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut lost, mut truncated) = (0, 0);
    for round in 0..ROUNDS {
        let child = child("crash::replica_child", directory.path());
        let promised = kill_after(child, 1500 + 700 * round);
        let engine = crate::open_engine(&directory.path().join("kv"));
        let log = crate::open_log(&directory.path().join("log"));
        let state = log.state(RangeId(1)).expect("state").expect("known");
        let durable = applied(engine.get(Family::Local, b"applied").expect("get"));
        assert!(state.truncated.index <= durable, "a gap: applied {durable}, {state:?}");
        assert!(state.last.index >= promised, "G3");
        lost += state.last.index - durable;
        truncated = state.truncated.index;
        for index in durable + 1..=state.last.index {
            let entries = log.entries(RangeId(1), index, index + 1, 0).expect("entries");
            assert_eq!(entries.expect("in the log")[0].data[..], index.to_be_bytes());
            engine.write(&effect(index, &engine)).expect("write");
        }
        for residue in 0..10 {
            let counter = engine.get(Family::Data, &[b'c', residue as u8]).expect("get");
            let expected: u64 = (1..=state.last.index).filter(|n| n % 10 == residue).sum();
            assert_eq!(counter.expect("there")[..8], expected.to_be_bytes());
        }
        // Half of the rounds go on from the replayed state, half from what the crash left.
        if round % 2 == 0 {
            engine.flush().expect("flush");
        }
    }
    assert!(lost > 0 && truncated > 0, "nothing was put to the test: {lost} {truncated}");
}
