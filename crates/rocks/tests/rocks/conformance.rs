//! The shared cases of `storage::conformance`. A restart closes and opens the directory.

use std::path::Path;
use std::sync::Arc;

use rocks::{RocksConfig, RocksEngine};
use storage::conformance::{ENGINE, EngineHarness, LOG, LogHarness};
use storage::{Engine, EngineRead, Family, LogStore, WriteBatch};
use tempfile::TempDir;

struct OnDisk<T: ?Sized> {
    directory: TempDir,
    open: fn(&Path) -> Arc<T>,
    now: Option<Arc<T>>,
}

impl<T: ?Sized> OnDisk<T> {
    fn new(open: fn(&Path) -> Arc<T>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let now = Some(open(directory.path()));
        OnDisk { directory, open, now }
    }

    fn now(&self) -> Arc<T> {
        Arc::clone(self.now.as_ref().expect("it is open"))
    }

    fn reopen(&mut self) {
        let last = self.now.take().expect("it is open");
        assert_eq!(Arc::strong_count(&last), 1, "somebody holds on to what is restarted");
        drop(last);
        self.now = Some((self.open)(self.directory.path()));
    }
}

impl EngineHarness for OnDisk<dyn Engine> {
    fn engine(&self) -> Arc<dyn Engine> {
        self.now()
    }

    fn restart(&mut self) {
        self.reopen();
    }
}

impl LogHarness for OnDisk<dyn LogStore> {
    fn log(&self) -> Arc<dyn LogStore> {
        self.now()
    }

    fn restart(&mut self) {
        self.reopen();
    }
}

#[test]
fn the_engine_conforms() {
    for (name, case) in ENGINE {
        println!("{name}");
        case(&mut OnDisk::<dyn Engine>::new(|path| Arc::new(crate::open_engine(path))));
    }
}

#[test]
fn the_log_store_conforms() {
    for (name, case) in LOG {
        println!("{name}");
        case(&mut OnDisk::<dyn LogStore>::new(|path| Arc::new(crate::open_log(path))));
    }
}

#[test]
fn the_figures_are_of_this_engine() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = RocksConfig { compress: false, ..RocksConfig::default() };
    let engine = RocksEngine::open(directory.path(), config).expect("open");
    let mut batch = WriteBatch::new();
    for n in 0..1000u32 {
        batch.put(Family::Data, &n.to_be_bytes(), &[7; 1000]);
    }
    engine.write(&batch).expect("write");
    let before = engine.stats();
    assert!(before.write_buffer_bytes > 1_000_000, "{before:?}");
    engine.flush().expect("flush");
    for n in 0..1000u32 {
        engine.get(Family::Data, &n.to_be_bytes()).expect("get");
    }
    let after = engine.stats();
    assert_eq!(after.write_buffer_bytes, 0, "{after:?}");
    assert!(after.disk_bytes > 1_000_000, "{after:?}");
    assert!(after.block_cache_bytes > 1_000_000, "{after:?}");
}
