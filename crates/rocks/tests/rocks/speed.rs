//! How long the hot calls take, for who changes them: `cargo test --workspace --test rocks --
//! speed --ignored --nocapture`, with optimisation.

use std::hint::black_box;
use std::time::Instant;

use base::{Key, KeyRange, RangeId, Timestamp, TxnId};
use rocks::{LogConfig, RocksConfig, RocksEngine, RocksLogStore};
use storage::mvcc::{self, ScanOptions};
use storage::{Engine as _, EngineRead, HardState, LogBatch, LogEntry, LogStore as _, WriteBatch};

const ROWS: u64 = 200_000;
const READS: u64 = 100_000;

/// A key of table 5, index 1, as the catalog makes them.
fn key(n: u64) -> Vec<u8> {
    let mut key = vec![0x10, 0, 0, 0, 5, 0, 0, 0, 1, 0x80];
    key.extend_from_slice(&n.to_be_bytes()[1..]);
    key
}

#[expect(clippy::print_stdout, reason = "the figures are its purpose")]
fn time(what: &str, times: u64, mut call: impl FnMut(u64)) {
    let (start, cpu) = (Instant::now(), cpu_ns());
    for n in 0..times {
        call(n);
    }
    let per_call = |ns: f64| ns / times as f64;
    let (wall, cpu) = (start.elapsed().as_nanos() as f64, (cpu_ns() - cpu) as f64);
    println!("{what:40} {:8.0} ns, {:8.0} on the processor", per_call(wall), per_call(cpu));
}

/// What this thread has had of the processor, which other load on the machine does not stretch.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}

fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ROWS
}

fn ts(n: u64) -> Timestamp {
    Timestamp(Timestamp::from_millis(1_700_000_000_000).0 + n)
}

fn reads(engine: &RocksEngine, what: &str) {
    let (now, keys) = (ts(ROWS), (0..READS).map(|n| key(scattered(n))).collect::<Vec<_>>());
    let at = |n: u64| &keys[n as usize][..];
    time(&format!("{what}: get_at"), READS, |n| {
        black_box(mvcc::get_at(engine, at(n), now).expect("get").expect("there"));
    });
    time(&format!("{what}: get_lock"), READS, |n| {
        assert!(mvcc::get_lock(engine, at(n)).expect("get").is_none());
    });
    time(&format!("{what}: get_at of no row"), READS, |n| {
        let absent = [at(n), b"x"].concat();
        assert!(mvcc::get_at(engine, &absent, now).expect("get").is_none());
    });
    time(&format!("{what}: iterator made, one seek"), READS, |n| {
        let span = mvcc::encoding::encoded_span(&KeyRange::point(at(n).to_vec().into()));
        let mut iter = engine.iter(storage::Family::Data, &span, Default::default()).expect("iter");
        assert!(iter.seek_to_first().expect("seek"));
    });
    for rows in [1, 10, 100] {
        time(&format!("{what}: scan of {rows}"), READS / 10, |n| {
            let span = KeyRange { start: Key::from(at(n).to_vec()), end: Key::MIN };
            let options = ScanOptions { max_rows: rows, ..ScanOptions::default() };
            black_box(mvcc::scan_at(engine, &span, now, options).expect("scan"));
        });
    }
    let snapshot = engine.snapshot();
    time(&format!("{what}: get_at in a snapshot"), READS, |n| {
        black_box(mvcc::get_at(&*snapshot as &dyn EngineRead, at(n), now).expect("get"));
    });
}

/// Only point reads, for a profiler.
#[test]
#[ignore = "measures, does not check"]
fn speed_of_get() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = RocksEngine::open(directory.path(), RocksConfig::default()).expect("open");
    fill(&engine);
    engine.flush().expect("flush");
    engine.compact();
    let keys = (0..READS).map(|n| key(scattered(n))).collect::<Vec<_>>();
    time("compacted: get_at", 20 * READS, |n| {
        let key = &keys[(n % READS) as usize];
        black_box(mvcc::get_at(&engine, key, ts(ROWS)).expect("get").expect("there"));
    });
}

/// Only scans, for a profiler.
#[test]
#[ignore = "measures, does not check"]
fn speed_of_scan() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = RocksEngine::open(directory.path(), RocksConfig::default()).expect("open");
    fill(&engine);
    engine.flush().expect("flush");
    engine.compact();
    let options = ScanOptions { max_rows: 1000, skip_locks: true, ..ScanOptions::default() };
    time("compacted: scan of 1000", 5000, |n| {
        let span = KeyRange { start: Key::from(key(scattered(n) / 2)), end: Key::MIN };
        let page = mvcc::scan_at(&engine, &span, ts(ROWS), options).expect("scan");
        assert_eq!(page.rows.len(), 1000);
    });
}

fn fill(engine: &RocksEngine) {
    time("write of one version", ROWS, |n| {
        let mut batch = WriteBatch::new();
        mvcc::put_version(&mut batch, &key(n), ts(n), TxnId(ts(n).0 - 1), Some(&[7; 100]));
        engine.write(&batch).expect("write");
    });
}

#[test]
#[ignore = "measures, does not check"]
fn speed() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = RocksEngine::open(&directory.path().join("kv"), RocksConfig::default());
    let engine = engine.expect("open");
    fill(&engine);
    reads(&engine, "memtable");
    engine.flush().expect("flush");
    reads(&engine, "level 0");
    engine.compact();
    reads(&engine, "compacted");
    time("read after a write", READS / 10, |n| {
        let mut batch = WriteBatch::new();
        mvcc::put_version(&mut batch, &key(n), ts(ROWS + n), TxnId(5), Some(&[7; 100]));
        engine.write(&batch).expect("write");
        black_box(mvcc::get_at(&engine, &key(scattered(n)), ts(ROWS)).expect("get"));
    });

    let log = RocksLogStore::open(&directory.path().join("log"), LogConfig::default());
    let log = log.expect("open");
    for sync in [false, true] {
        let start = log.state(RangeId(1)).expect("state").map_or(0, |state| state.last.index);
        time(&format!("log append, sync {sync}"), if sync { 1000 } else { 100_000 }, |n| {
            let index = start + n + 1;
            let mut batch = LogBatch::new();
            let entry = LogEntry { index, term: 1, data: vec![7; 200].into() };
            batch.append(RangeId(1), vec![entry]);
            batch.hard_state(RangeId(1), HardState { term: 1, vote: 1, commit: index - 1 });
            if index.is_multiple_of(1000) {
                batch.compact(RangeId(1), storage::LogPosition { index: index - 500, term: 1 });
            }
            log.append(&batch, sync).expect("append");
        });
    }
}
