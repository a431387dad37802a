//! The log store in memory: for tests and simulation, where a crash must lose what was not synced.
//!
//! The promises to callers are G1 to G4 of [`crate::LogStore`]. The rules for one range's log live
//! in [`RangeLog`]; batches that were not synced are kept beside the durable state, so a crash can
//! keep any prefix of them. Without power ([`MemPower`]) nothing is synced any more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::RangeId;
use parking_lot::RwLock;

use crate::{EngineError, LogBatch, LogEntry, LogOp, LogPosition, LogState, LogStore, MemPower};

/// The log store in memory.
#[derive(Default)]
pub struct MemLogStore {
    state: RwLock<State>,
    power: Arc<MemPower>,
}

#[derive(Default)]
struct State {
    current: BTreeMap<RangeId, RangeLog>,
    durable: BTreeMap<RangeId, RangeLog>,
    unsynced: Vec<LogBatch>,
    /// From this one on they came without power.
    lost_from: Option<usize>,
}

impl State {
    fn may_survive(&self) -> usize {
        self.lost_from.unwrap_or(self.unsynced.len())
    }

    /// Whether what is about to happen reaches the disk.
    fn spend(&mut self, power: &MemPower) -> bool {
        let reaches = power.spend();
        if !reaches {
            self.lost_from.get_or_insert(self.unsynced.len());
        }
        reaches
    }
}

#[derive(Debug, Clone, Default)]
struct RangeLog {
    state: LogState,
    entries: VecDeque<LogEntry>,
}

impl MemLogStore {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty, on a machine whose power may fail.
    #[must_use]
    pub fn on(power: Arc<MemPower>) -> Self {
        MemLogStore { power, ..Self::default() }
    }

    /// Loses what was not synced, but for the first `kept` of those appends: a crash may fall at
    /// any point of writing.
    pub fn crash(&self, kept: usize) {
        let mut state = self.state.write();
        let kept = kept.min(state.may_survive());
        let unsynced = std::mem::take(&mut state.unsynced);
        state.lost_from = None;
        for batch in unsynced.iter().take(kept) {
            apply(&mut state.durable, batch);
        }
        state.current = state.durable.clone();
    }

    /// How many of the appends that were not synced a crash may keep.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state.read().may_survive()
    }
}

fn apply(logs: &mut BTreeMap<RangeId, RangeLog>, batch: &LogBatch) {
    for (range, op) in &batch.ops {
        if *op == LogOp::Remove {
            logs.remove(range);
        } else {
            logs.entry(*range).or_default().apply(*range, op);
        }
    }
}

impl RangeLog {
    fn apply(&mut self, range: RangeId, op: &LogOp) {
        match op {
            LogOp::Append(entries) => {
                let kept = self.state.check_append(range, entries);
                self.entries.truncate(kept);
                self.entries.extend(entries.iter().cloned());
            }
            LogOp::HardState(hard) => self.state.hard = *hard,
            LogOp::Compact(upto) => {
                let dropped = self.state.check_compact(range, *upto);
                self.entries.drain(..dropped);
                self.state.truncated = *upto;
            }
            LogOp::Reset(at) => {
                self.entries.clear();
                self.state.truncated = *at;
            }
            LogOp::Remove => unreachable!("the range's log is removed as a whole"),
        }
        self.state.last = self.entries.back().map_or(self.state.truncated, |last| LogPosition {
            index: last.index,
            term: last.term,
        });
    }

    fn entry(&self, index: u64) -> Option<&LogEntry> {
        let offset = index.checked_sub(self.state.first_index())?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

impl LogStore for MemLogStore {
    fn append(&self, batch: &LogBatch, sync: bool) -> Result<(), EngineError> {
        let mut state = self.state.write();
        state.spend(&self.power);
        apply(&mut state.current, batch);
        state.unsynced.push(batch.clone());
        drop(state);
        if sync { self.sync() } else { Ok(()) }
    }

    fn entries(
        &self,
        range: RangeId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Option<Vec<LogEntry>>, EngineError> {
        let state = self.state.read();
        let Some(log) = state.current.get(&range) else { return Ok(None) };
        if low < log.state.first_index() || high > log.state.last.index + 1 {
            return Ok(None);
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for index in low..high {
            let entry = log.entry(index).expect("G1: the log has no holes");
            bytes += entry.data.len() as u64;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(Some(found))
    }

    fn term(&self, range: RangeId, index: u64) -> Result<Option<u64>, EngineError> {
        let state = self.state.read();
        let Some(log) = state.current.get(&range) else { return Ok(None) };
        if index == log.state.truncated.index {
            return Ok(Some(log.state.truncated.term));
        }
        Ok(log.entry(index).map(|entry| entry.term))
    }

    fn state(&self, range: RangeId) -> Result<Option<LogState>, EngineError> {
        Ok(self.state.read().current.get(&range).map(|log| log.state))
    }

    fn ranges(&self) -> Result<Vec<RangeId>, EngineError> {
        Ok(self.state.read().current.keys().copied().collect())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut guard = self.state.write();
        let state = &mut *guard;
        if !state.spend(&self.power) {
            return Ok(());
        }
        for batch in state.unsynced.drain(..) {
            apply(&mut state.durable, &batch);
        }
        Ok(())
    }
}
