//! Point reads draw used iterators from a pool; what one of them saw before must not show.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::{Timestamp, TxnId};
use storage::{Engine as _, WriteBatch, mvcc};

const KEYS: u64 = 50;
const WRITES: u64 = 20_000;
const READERS: u64 = 3;

/// A read that begins after a write has returned sees it, on every thread, while memtables and
/// files come and go.
#[test]
fn a_read_sees_every_write_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = crate::open_engine(directory.path());
    let written: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let key = |n: u64| format!("key/{n:04}").into_bytes();
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (engine, written, done) = (&engine, &written, &done);
            scope.spawn(move || {
                let mut n = reader;
                while !done.load(Ordering::Acquire) {
                    n = n.wrapping_mul(31).wrapping_add(17) % KEYS;
                    let before = written[n as usize].load(Ordering::Acquire);
                    let found = mvcc::newest_version(engine, &key(n)).expect("read");
                    let seen = found.as_ref().map_or(0, |newest| newest.ts.0);
                    assert!(seen >= before, "key {n}: {before} was written, {seen} is seen");
                    if let Some(newest) = found {
                        let value = newest.value.expect("no deletions");
                        assert_eq!(value[..8], seen.to_be_bytes(), "key {n}");
                    }
                    let at = Timestamp(before);
                    let old = mvcc::get_at(engine, &key(n), at).expect("read");
                    assert_eq!(old.map_or(0, |version| version.ts.0), before, "key {n}");
                }
            });
        }
        for n in 1..=WRITES {
            let at = n * 7 % KEYS;
            let mut batch = WriteBatch::new();
            let value = [&n.to_be_bytes()[..], &[1; 200]].concat();
            mvcc::put_version(&mut batch, &key(at), Timestamp(n), TxnId(n), Some(&value));
            engine.write(&batch).expect("write");
            written[at as usize].store(n, Ordering::Release);
            if n.is_multiple_of(3000) {
                engine.flush().expect("flush");
            }
        }
        done.store(true, Ordering::Release);
    });
}
