//! The process is killed while it writes. The test runs itself as a child that tells on its standard
//! output what it was promised, and is killed without warning.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base::{KeyRange, RangeId};
use storage::{
    Engine as _, EngineRead as _, Family, IterOptions, LogBatch, LogEntry, LogStore as _,
    WriteBatch,
};

const CHILD: &str = "ROCKS_CRASH_DIRECTORY";
const ROUNDS: usize = 4;

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

/// Writes numbered batches over all families, each of which replaces the one before, and flushes some.
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
                batch.compact(RangeId(2), storage::LogPosition { index: upto, term });
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
        let promised = kill_after(child("crash::log_child", directory.path()), 400 + 111 * round);
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
