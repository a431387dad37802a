//! The engine and the log store in memory keep the promises of their traits, and a crash loses what
//! it may lose.

use std::sync::Arc;

use base::RangeId;
use storage::conformance::{ENGINE, EngineHarness, LOG, LogHarness};
use storage::{
    Engine, EngineRead, Family, LogBatch, LogEntry, LogStore, MemEngine, MemLogStore, MemPower,
    WriteBatch,
};

struct Mem(MemEngine);

impl EngineHarness for Mem {
    fn engine(&self) -> Arc<dyn Engine> {
        self.0.check_invariants();
        Arc::new(self.0.clone())
    }

    fn restart(&mut self) {
        self.0.crash();
        self.0.check_invariants();
    }
}

struct MemLog {
    log: Arc<MemLogStore>,
    kept: usize,
}

impl LogHarness for MemLog {
    fn log(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.log) as Arc<dyn LogStore>
    }

    fn restart(&mut self) {
        self.log.crash(self.kept);
    }
}

#[test]
fn the_engine_conforms() {
    for (name, case) in ENGINE {
        println!("{name}");
        case(&mut Mem(MemEngine::new()));
        case(&mut Mem(MemEngine::with_write_buffer(100)));
        case(&mut Mem(MemEngine::on(Arc::default())));
    }
}

#[test]
fn the_log_store_conforms() {
    for (name, case) in LOG {
        println!("{name}");
        for kept in [0, 1] {
            case(&mut MemLog { log: Arc::default(), kept });
        }
    }
}

#[test]
fn a_crash_loses_what_was_not_flushed() {
    let engine = MemEngine::new();
    let put = |value: &[u8]| {
        let mut batch = WriteBatch::new();
        batch.put(Family::Data, b"k", value);
        engine.write(&batch).expect("write");
    };
    put(b"1");
    engine.flush().expect("flush");
    put(b"2");
    put(b"3");
    let durable = engine.get_durable(Family::Data, b"k").expect("get");
    assert_eq!(durable.as_deref(), Some(&b"1"[..]));
    engine.crash();
    assert_eq!(engine.get(Family::Data, b"k").expect("get").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_crash_may_keep_the_first_writes_after_the_flush() {
    let power = Arc::new(MemPower::default());
    let engine = MemEngine::on(Arc::clone(&power));
    let put = |key: &[u8]| {
        let mut batch = WriteBatch::new();
        batch.put(Family::Data, key, b"v");
        batch.put(Family::Lock, key, b"v");
        engine.write(&batch).expect("write");
    };
    let has = |key: &[u8]| {
        let get = |family| engine.get(family, key).expect("get").is_some();
        assert_eq!(get(Family::Data), get(Family::Lock), "E1: {key:?}");
        get(Family::Data)
    };
    put(b"1");
    engine.flush().expect("flush");
    [b"2", b"3", b"4"].into_iter().for_each(|key| put(key));
    assert_eq!(engine.unflushed(), 3);
    engine.crash_keeping(1);
    assert_eq!([b"1", b"2", b"3", b"4"].map(|key| has(key)), [true, true, false, false]);
    let durable = engine.get_durable(Family::Data, b"2").expect("get");
    assert!(durable.is_some(), "what survived is durable");

    // Without power: the process sees what it wrote, the disk does not.
    power.fail_after(1);
    [b"5", b"6"].into_iter().for_each(|key| put(key));
    engine.flush().expect("flush");
    assert!(power.has_failed() && has(b"6"));
    assert_eq!(engine.unflushed(), 1);
    power.restore();
    engine.crash_keeping(1);
    assert!(has(b"5") && !has(b"6"));
}

#[test]
fn without_power_nothing_is_synced() {
    let power = Arc::new(MemPower::default());
    let log = MemLogStore::on(Arc::clone(&power));
    let append = |index| {
        let mut batch = LogBatch::new();
        batch.append(RangeId(1), vec![LogEntry { index, term: 1, data: Default::default() }]);
        log.append(&batch, true).expect("append");
    };
    let last = || log.state(RangeId(1)).expect("state").map(|state| state.last.index);
    append(1);
    // The second append reaches the disk, its sync does not.
    power.fail_after(1);
    [2, 3].into_iter().for_each(append);
    assert_eq!((last(), log.unsynced()), (Some(3), 1));
    power.restore();
    log.crash(1);
    assert_eq!(last(), Some(2));
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    let log = MemLogStore::new();
    for index in 1..=3 {
        let mut batch = LogBatch::new();
        let entry = LogEntry { index, term: 1, data: Default::default() };
        batch.append(RangeId(1), vec![entry]);
        log.append(&batch, index == 1).expect("append");
    }
    assert_eq!(log.unsynced(), 2);
    log.crash(1);
    let state = log.state(RangeId(1)).expect("state").expect("known");
    assert_eq!(state.last.index, 2);
}

#[test]
#[should_panic(expected = "G1")]
fn a_gap_in_the_log_is_refused() {
    let log = MemLogStore::new();
    let mut batch = LogBatch::new();
    batch.append(RangeId(1), vec![LogEntry { index: 2, term: 1, data: Default::default() }]);
    let _ignored = log.append(&batch, true);
}
