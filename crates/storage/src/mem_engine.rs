//! The engine in memory: for tests and simulation, where a crash must lose what was not flushed.
//!
//! Each key keeps the versions that some snapshot or the present still needs, tagged with the
//! number of the write that made them. What a crash would restore is remembered per key changed
//! since the last flush, so that flushing costs nothing and crashing costs what it loses. On a machine
//! whose power may fail ([`MemEngine::on`]) the writes since then are kept as well: a crash may keep any
//! number of the first of them (E2).
//!
//! # Invariants
//!
//! - **M1** A key has an entry only if some version of it is visible now or to a live snapshot.
//! - **M2** `durable` holds exactly the keys written since the last flush, with their values then.
//!
//! The promises to callers are E1 to E4 of [`crate::Engine`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base::KeyRange;
use bytes::Bytes;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::mem_iter::{MemIter, MemSnapshot};
use crate::{
    BulkWriter, Engine, EngineError, EngineIter, EngineRead, EngineStats, Family, IterOptions,
    MemPower, Op, ValueRef, WriteBatch,
};

/// The engine in memory. Clones share the same state, as two openings of one directory would.
#[derive(Clone, Default)]
pub struct MemEngine {
    shared: Arc<RwLock<State>>,
    write_buffer_bytes: Option<usize>,
}

/// Versions of one key, oldest first: the number of the write, and the value or a deletion.
pub(crate) type Versions = SmallVec<[(u64, Option<Bytes>); 1]>;

#[derive(Default)]
pub(crate) struct State {
    written: u64,
    pub(crate) families: [BTreeMap<Bytes, Versions>; 4],
    /// Live snapshots and iterators by the write they see, counted.
    pub(crate) snapshots: BTreeMap<u64, usize>,
    /// Keys that may hold versions only snapshots need.
    superseded: Vec<(Family, Bytes)>,
    durable: [BTreeMap<Bytes, Option<Bytes>>; 4],
    unflushed_bytes: usize,
    journal: Option<Journal>,
}

/// The writes since the last flush, on a machine whose power may fail.
#[derive(Default)]
struct Journal {
    power: Arc<MemPower>,
    writes: Vec<WriteBatch>,
    /// From this one on they came without power.
    lost_from: Option<usize>,
}

impl Journal {
    /// Whether what is about to happen reaches the disk.
    fn spend(&mut self) -> bool {
        let reaches = self.power.spend();
        if !reaches {
            self.lost_from.get_or_insert(self.writes.len());
        }
        reaches
    }

    fn may_survive(&self) -> usize {
        self.lost_from.unwrap_or(self.writes.len())
    }
}

impl MemEngine {
    /// Empty; flushes only when told to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty; flushes by itself when so many bytes are unflushed, as a real engine does.
    #[must_use]
    pub fn with_write_buffer(bytes: usize) -> Self {
        MemEngine { write_buffer_bytes: Some(bytes), ..Self::default() }
    }

    /// Empty, on a machine whose power may fail; flushes only when told to.
    #[must_use]
    pub fn on(power: Arc<MemPower>) -> Self {
        let engine = MemEngine::default();
        engine.shared.write().journal = Some(Journal { power, ..Journal::default() });
        engine
    }

    /// How many of the writes since the last flush a crash may keep: none are known of, unless the engine
    /// is [`MemEngine::on`] a machine.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.shared.read().journal.as_ref().map_or(0, Journal::may_survive)
    }

    /// Loses everything written since the last flush, over all families. Snapshots and iterators
    /// must be gone: no process outlives its own crash.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// The same, but for the first `kept` writes since the last flush: an engine may have made them
    /// durable by itself. Never more than [`MemEngine::unflushed`] of them.
    pub fn crash_keeping(&self, kept: usize) {
        let mut state = self.shared.write();
        assert!(state.snapshots.is_empty(), "a snapshot outlives the crash: {:?}", state.snapshots);
        for family in Family::ALL {
            for (key, value) in std::mem::take(&mut state.durable[family.index()]) {
                let entries = &mut state.families[family.index()];
                match value {
                    Some(value) => {
                        entries.insert(key, Versions::from_iter([(0, Some(value))]));
                    }
                    None => {
                        entries.remove(&key);
                    }
                }
            }
        }
        state.superseded.clear();
        state.unflushed_bytes = 0;
        let Some(journal) = &mut state.journal else { return };
        let kept = kept.min(journal.may_survive());
        let writes = std::mem::take(&mut journal.writes);
        journal.lost_from = None;
        for batch in writes.iter().take(kept) {
            state.apply(batch);
        }
        state.flush();
    }

    /// Asserts M1 and M2. Linear in the data.
    pub fn check_invariants(&self) {
        let state = self.shared.read();
        for (family, entries) in Family::ALL.iter().zip(&state.families) {
            for (key, versions) in entries {
                let (_, newest) = versions.last().expect("M1: a key without versions");
                let needed = newest.is_some() || !state.snapshots.is_empty();
                assert!(needed, "M1: {family:?} {key:?} is deleted and nobody looks: {versions:?}");
                assert!(versions.is_sorted_by_key(|v| v.0), "M1: {family:?} {key:?}: {versions:?}");
            }
        }
        let changed = state.durable.iter().any(|keys| !keys.is_empty());
        assert!(changed || state.unflushed_bytes == 0, "M2: unflushed bytes of no key");
    }

    fn pin(&self) -> Pin {
        let mut state = self.shared.write();
        let at = state.written;
        *state.snapshots.entry(at).or_default() += 1;
        Pin { shared: Arc::clone(&self.shared), at }
    }
}

impl State {
    fn newest(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.visible(family, key, u64::MAX)
    }

    pub(crate) fn visible(&self, family: Family, key: &[u8], at: u64) -> Option<Bytes> {
        self.families[family.index()].get(key).and_then(|versions| visible(versions, at)).cloned()
    }

    fn set(&mut self, family: Family, key: &[u8], value: Option<Bytes>) {
        let known = self.families[family.index()].get_key_value(key).map(|(key, _)| key.clone());
        if known.is_none() && value.is_none() {
            return;
        }
        let key = known.unwrap_or_else(|| Bytes::copy_from_slice(key));
        if !self.durable[family.index()].contains_key(&key) {
            let before = self.newest(family, &key);
            self.durable[family.index()].insert(key.clone(), before);
        }
        self.unflushed_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        let at = self.written;
        let versions = self.families[family.index()].entry(key.clone()).or_default();
        versions.retain(|(written, _)| *written != at);
        versions.push((at, value));
        if !self.prune(family, &key) {
            self.superseded.push((family, key));
        }
    }

    /// Drops the versions of a key that nobody can see; says whether only the present is left.
    fn prune(&mut self, family: Family, key: &Bytes) -> bool {
        let Some(versions) = self.families[family.index()].get_mut(key) else { return true };
        let mut kept = Versions::new();
        for (i, version) in versions.iter().enumerate() {
            let until = versions.get(i + 1).map_or(u64::MAX, |next| next.0);
            let seen = self.snapshots.range(version.0..until).next().is_some();
            if until == u64::MAX || seen {
                kept.push(version.clone());
            }
        }
        let only_present = kept.len() == 1;
        if only_present && kept[0].1.is_none() && self.snapshots.is_empty() {
            self.families[family.index()].remove(key);
            return true;
        }
        let deleted = kept.last().is_some_and(|(_, value)| value.is_none());
        *versions = kept;
        only_present && !deleted
    }

    fn apply(&mut self, batch: &WriteBatch) {
        self.written += 1;
        for op in batch {
            match op {
                Op::Put { family, key, value } => {
                    self.set(family, key, Some(Bytes::copy_from_slice(value)));
                }
                Op::Delete { family, key } => self.set(family, key, None),
                Op::DeleteRange { family, start, end } => {
                    let span =
                        KeyRange::new(Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
                    let entries = &self.families[family.index()];
                    let keys: Vec<Bytes> =
                        in_span(entries, &span).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        self.set(family, &key, None);
                    }
                }
            }
        }
    }

    fn write(&mut self, batch: &WriteBatch) {
        if let Some(journal) = &mut self.journal {
            journal.spend();
            journal.writes.push(batch.clone());
        }
        self.apply(batch);
    }

    fn flush(&mut self) {
        self.durable = Default::default();
        self.unflushed_bytes = 0;
        if let Some(journal) = &mut self.journal {
            journal.writes.clear();
        }
    }
}

pub(crate) fn visible(versions: &Versions, at: u64) -> Option<&Bytes> {
    versions.iter().rev().find(|(written, _)| *written <= at).and_then(|(_, value)| value.as_ref())
}

pub(crate) fn upper(end: &[u8]) -> Bound<&[u8]> {
    if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) }
}

fn in_span<'a>(
    entries: &'a BTreeMap<Bytes, Versions>,
    span: &'a KeyRange,
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Versions)> {
    let (start, end) = (span.start.as_bytes(), upper(span.end.as_bytes()));
    let bounds = if span.is_empty() {
        (Bound::Included(start), Bound::Excluded(start))
    } else {
        (Bound::Included(start), end)
    };
    entries.range::<[u8], _>(bounds)
}

/// Holds one state visible.
pub(crate) struct Pin {
    pub(crate) shared: Arc<RwLock<State>>,
    pub(crate) at: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.shared.write();
        let count = state.snapshots.get_mut(&self.at).expect("a pin is counted");
        *count -= 1;
        if *count == 0 {
            state.snapshots.remove(&self.at);
            let superseded = std::mem::take(&mut state.superseded);
            for (family, key) in superseded {
                if !state.prune(family, &key) {
                    state.superseded.push((family, key));
                }
            }
        }
    }
}

impl EngineRead for MemEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.shared.read().newest(family, key))
    }

    fn iter(
        &self,
        family: Family,
        span: &KeyRange,
        _options: IterOptions,
    ) -> Result<Box<dyn EngineIter + '_>, EngineError> {
        let pin = self.pin();
        Ok(Box::new(MemIter { pin, family, span: span.clone(), current: None }))
    }

    fn first_with_prefix(
        &self,
        family: Family,
        from: &[u8],
        prefix_len: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        Ok(first_with_prefix(&self.shared.read(), u64::MAX, family, from, prefix_len, visit))
    }
}

pub(crate) fn first_with_prefix(
    state: &State,
    at: u64,
    family: Family,
    from: &[u8],
    prefix_len: usize,
    visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
) -> bool {
    let entries = &state.families[family.index()];
    let found = entries
        .range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(&from[..prefix_len]))
        .find_map(|(key, versions)| Some((key, visible(versions, at)?)));
    if let Some((key, value)) = found {
        visit(key, ValueRef::Shared(value));
    }
    found.is_some()
}

impl Engine for MemEngine {
    fn snapshot(&self) -> Arc<dyn EngineRead> {
        Arc::new(MemSnapshot { pin: self.pin() })
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        let mut state = self.shared.write();
        state.write(batch);
        if self.write_buffer_bytes.is_some_and(|limit| state.unflushed_bytes > limit) {
            state.flush();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        let mut state = self.shared.write();
        if state.journal.as_mut().is_none_or(Journal::spend) {
            state.flush();
        }
        Ok(())
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let state = self.shared.read();
        match state.durable[family.index()].get(key) {
            Some(durable) => Ok(durable.clone()),
            None => Ok(state.newest(family, key)),
        }
    }

    fn bulk_writer(&self) -> Result<Box<dyn BulkWriter>, EngineError> {
        Ok(Box::new(MemBulkWriter { engine: self.clone(), batch: WriteBatch::new() }))
    }

    fn approximate_size(&self, family: Family, span: &KeyRange) -> Result<u64, EngineError> {
        let state = self.shared.read();
        let entries = in_span(&state.families[family.index()], span);
        let sizes = entries.map(|(key, versions)| {
            let newest = visible(versions, u64::MAX);
            newest.map_or(0, |value| (key.len() + value.len()) as u64)
        });
        Ok(sizes.sum())
    }

    fn unflushed_bytes(&self) -> u64 {
        self.shared.read().unflushed_bytes as u64
    }

    fn stats(&self) -> EngineStats {
        EngineStats { write_buffer_bytes: self.unflushed_bytes(), ..EngineStats::default() }
    }
}

struct MemBulkWriter {
    engine: MemEngine,
    batch: WriteBatch,
}

impl BulkWriter for MemBulkWriter {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        self.batch.put(family, key, value);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), EngineError> {
        self.engine.write(&self.batch)?;
        self.engine.flush()
    }
}
