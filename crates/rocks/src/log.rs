//! The log store: one RocksDB instance whose write-ahead log is the Raft log of the whole node.
//!
//! ```text
//!   range id u64 | 0               term, vote, commit, truncated index and term, u64 each
//!   range id u64 | 1 | index u64   term u64, data
//! ```
//!
//! An append is one RocksDB write: one record in the write-ahead log, one fdatasync, whatever the
//! number of ranges. State and newest entries of every range are kept in memory ([`Tail`]). The
//! promises are G1 to G4 of [`storage::LogStore`].
//!
//! Truncated entries go by range deletion. Most of them are dropped when the memtable is flushed
//! and never reach a sorted file.

use std::collections::BTreeMap;
use std::path::Path;

use base::RangeId;
use bytes::Bytes;
use parking_lot::RwLock;
use rocksdb::{Cache, DB, DBRawIterator, ReadOptions, WriteBatch, WriteOptions};
use storage::{EngineError, HardState, LogBatch, LogEntry, LogOp, LogPosition, LogState, LogStore};

use crate::config::{LogConfig, log_options};
use crate::error::engine_error;
use crate::log_tail::Tail;

const CACHE_BYTES: usize = 8 << 20;
const STATE: u8 = 0;
const ENTRY: u8 = 1;
/// What a range keeps in memory when all of them together keep too much.
const TAIL_BYTES_WHEN_FULL: usize = 16 << 10;

/// The log store on RocksDB.
pub struct RocksLogStore {
    db: DB,
    config: LogConfig,
    tails: RwLock<Tails>,
    /// Appends read-lock it from the write until memory follows. Who finds the two at odds
    /// write-locks it to look again.
    appending: RwLock<()>,
    write: WriteOptions,
    write_synced: WriteOptions,
}

#[derive(Default)]
struct Tails {
    ranges: BTreeMap<RangeId, Tail>,
    bytes: usize,
}

impl RocksLogStore {
    /// Opens the log store in a directory, creating it if there is none.
    pub fn open(path: &Path, config: LogConfig) -> Result<Self, EngineError> {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let db = DB::open(&log_options(&config, &cache), path).map_err(engine_error)?;
        let mut write_synced = WriteOptions::default();
        write_synced.set_sync(true);
        let write = WriteOptions::default();
        let (tails, appending) = (RwLock::default(), RwLock::default());
        let mut store = RocksLogStore { db, config, tails, appending, write, write_synced };
        let states = store.load_states()?;
        let tails = states.into_iter().map(|(range, state)| (range, Tail::new(state)));
        store.tails.get_mut().ranges = tails.collect();
        Ok(store)
    }

    /// Finds all ranges and where their logs begin and end: a few seeks for each.
    fn load_states(&self) -> Result<Vec<(RangeId, LogState)>, EngineError> {
        let mut states = Vec::new();
        let mut iter = self.db.raw_iterator();
        iter.seek([]);
        while let Some(key) = item(&iter)?.map(|(key, _)| key) {
            let id = key.first_chunk::<8>().ok_or_else(|| malformed(key, "key cut short"))?;
            let range = RangeId(u64::from_be_bytes(*id));
            let mut state = match item(&iter)? {
                Some((key, value)) if key[8..] == [STATE] => decode_state(key, value)?,
                _ => LogState::default(),
            };
            state.last = state.truncated;
            iter.seek_for_prev(entry_key(range, u64::MAX));
            if let Some((key, value)) = item(&iter)?
                && let Some(index) = entry_index(range, key)
            {
                state.last = LogPosition { index, term: decode_entry(key, value)?.0 };
            }
            states.push((range, state));
            let Some(next) = range.0.checked_add(1) else { break };
            iter.seek(next.to_be_bytes());
        }
        Ok(states)
    }

    /// Turns a batch into one RocksDB write, and checks it.
    fn stage(&self, batch: &LogBatch) -> WriteBatch {
        let mut rocks = WriteBatch::default();
        let mut states: BTreeMap<RangeId, LogState> = BTreeMap::new();
        let tails = self.tails.read();
        for (range, op) in &batch.ops {
            let state = states.entry(*range).or_insert_with(|| {
                tails.ranges.get(range).map(|tail| tail.state).unwrap_or_default()
            });
            stage_op(&mut rocks, *range, state, op);
            *state = Tail::state_after(*state, op);
        }
        rocks
    }

    /// Follows a batch that was written.
    fn install(&self, batch: &LogBatch) {
        let mut guard = self.tails.write();
        let tails = &mut *guard;
        for (range, op) in &batch.ops {
            if *op == LogOp::Remove {
                let removed = tails.ranges.remove(range);
                tails.bytes -= removed.map_or(0, |tail| tail.bytes());
                continue;
            }
            let tail = tails.ranges.entry(*range).or_default();
            let full = tails.bytes > self.config.tail_bytes;
            let max = if full { TAIL_BYTES_WHEN_FULL } else { self.config.tail_bytes_per_range };
            tails.bytes -= tail.bytes();
            tail.apply(op, max);
            tails.bytes += tail.bytes();
        }
    }

    /// Reads entries from the database; nothing if one is not there.
    fn read_entries(
        &self,
        range: RangeId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Option<Vec<LogEntry>>, EngineError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(entry_key(range, high));
        let mut iter = self.db.raw_iterator_opt(options);
        iter.seek(entry_key(range, low));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for index in low..high {
            let here = item(&iter)?.filter(|(key, _)| entry_index(range, key) == Some(index));
            let Some((key, value)) = here else { return Ok(None) };
            let (term, data) = decode_entry(key, value)?;
            bytes += data.len() as u64;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(LogEntry { index, term, data: Bytes::copy_from_slice(data) });
            iter.next();
        }
        Ok(Some(found))
    }

    fn in_log(&self, range: RangeId, low: u64, high: u64) -> bool {
        let tails = self.tails.read();
        tails.ranges.get(&range).is_some_and(|tail| {
            low >= tail.state.first_index() && high <= tail.state.last.index + 1
        })
    }
}

fn stage_op(rocks: &mut WriteBatch, range: RangeId, state: &LogState, op: &LogOp) {
    match op {
        LogOp::Append(entries) => {
            state.check_append(range, entries);
            let mut value = Vec::new();
            for entry in entries {
                value.clear();
                value.extend_from_slice(&entry.term.to_be_bytes());
                value.extend_from_slice(&entry.data);
                rocks.put(entry_key(range, entry.index), &value);
            }
            let last = entries.last().expect("checked not to be empty").index;
            for index in last + 1..=state.last.index {
                rocks.delete(entry_key(range, index));
            }
        }
        LogOp::HardState(hard) => put_state(rocks, range, &LogState { hard: *hard, ..*state }),
        LogOp::Compact(upto) => {
            if state.check_compact(range, *upto) > 0 {
                let first = entry_key(range, state.first_index());
                rocks.delete_range(first, entry_key(range, upto.index + 1));
                put_state(rocks, range, &LogState { truncated: *upto, ..*state });
            }
        }
        LogOp::Reset(at) => {
            if state.last.index > state.truncated.index {
                let first = entry_key(range, state.first_index());
                rocks.delete_range(first, entry_key(range, state.last.index + 1));
            }
            put_state(rocks, range, &LogState { truncated: *at, ..*state });
        }
        LogOp::Remove => {
            rocks.delete(state_key(range));
            rocks.delete_range(entry_key(range, 0), entry_key(range, u64::MAX));
        }
    }
}

fn state_key(range: RangeId) -> [u8; 9] {
    let mut key = [STATE; 9];
    key[..8].copy_from_slice(&range.0.to_be_bytes());
    key
}

fn entry_key(range: RangeId, index: u64) -> [u8; 17] {
    let mut key = [ENTRY; 17];
    key[..8].copy_from_slice(&range.0.to_be_bytes());
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

fn entry_index(range: RangeId, key: &[u8]) -> Option<u64> {
    let index: [u8; 8] = key.get(9..)?.try_into().ok()?;
    let index = u64::from_be_bytes(index);
    (key == entry_key(range, index)).then_some(index)
}

fn put_state(rocks: &mut WriteBatch, range: RangeId, state: &LogState) {
    let LogState { hard: HardState { term, vote, commit }, truncated, .. } = state;
    let mut value = [0; 40];
    let numbers = [*term, *vote, *commit, truncated.index, truncated.term];
    for (slot, number) in value.chunks_exact_mut(8).zip(numbers) {
        slot.copy_from_slice(&number.to_be_bytes());
    }
    rocks.put(state_key(range), value);
}

fn decode_state(key: &[u8], value: &[u8]) -> Result<LogState, EngineError> {
    let (numbers, rest) = value.as_chunks::<8>();
    let &[term, vote, commit, index, truncated_term] = numbers else {
        return Err(malformed(key, "not the state of a log"));
    };
    if !rest.is_empty() {
        return Err(malformed(key, "bytes after the state of a log"));
    }
    let number = u64::from_be_bytes;
    let truncated = LogPosition { index: number(index), term: number(truncated_term) };
    let hard = HardState { term: number(term), vote: number(vote), commit: number(commit) };
    Ok(LogState { hard, truncated, last: truncated })
}

fn decode_entry<'a>(key: &[u8], value: &'a [u8]) -> Result<(u64, &'a [u8]), EngineError> {
    let (term, data) =
        value.split_first_chunk::<8>().ok_or_else(|| malformed(key, "entry cut short"))?;
    Ok((u64::from_be_bytes(*term), data))
}

/// A key and its value where they lie.
type Item<'a> = (&'a [u8], &'a [u8]);

/// What is under the iterator, or nothing at the end.
fn item<'a>(iter: &'a DBRawIterator<'_>) -> Result<Option<Item<'a>>, EngineError> {
    match iter.item() {
        Some(item) => Ok(Some(item)),
        None => iter.status().map(|()| None).map_err(engine_error),
    }
}

fn malformed(key: &[u8], detail: &str) -> EngineError {
    EngineError::malformed(format!("log store, key {}", key.escape_ascii()), detail)
}

impl LogStore for RocksLogStore {
    fn append(&self, batch: &LogBatch, sync: bool) -> Result<(), EngineError> {
        let _appending = self.appending.read();
        let rocks = self.stage(batch);
        let options = if sync { &self.write_synced } else { &self.write };
        self.db.write_opt(rocks, options).map_err(engine_error)?;
        self.install(batch);
        Ok(())
    }

    fn entries(
        &self,
        range: RangeId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Option<Vec<LogEntry>>, EngineError> {
        {
            let tails = self.tails.read();
            let Some(tail) = tails.ranges.get(&range) else { return Ok(None) };
            if low < tail.state.first_index() || high > tail.state.last.index + 1 {
                return Ok(None);
            }
            let (mut found, mut bytes) = (Vec::new(), 0);
            if low >= high {
                return Ok(Some(found));
            }
            if tail.entry(low).is_some() {
                for index in low..high {
                    let entry = tail.entry(index).expect("the tail goes to the end of the log");
                    bytes += entry.data.len() as u64;
                    if bytes > max_bytes && !found.is_empty() {
                        break;
                    }
                    found.push(entry.clone());
                }
                return Ok(Some(found));
            }
        }
        if let Some(found) = self.read_entries(range, low, high, max_bytes)? {
            return Ok(Some(found));
        }
        // Entries that memory has and the database has not: dropped a moment ago, or lost.
        let _nobody_appends = self.appending.write();
        if !self.in_log(range, low, high) {
            return Ok(None);
        }
        let found = self.read_entries(range, low, high, max_bytes)?;
        found.map(Some).ok_or_else(|| malformed(&entry_key(range, low), "entries are missing"))
    }

    fn term(&self, range: RangeId, index: u64) -> Result<Option<u64>, EngineError> {
        {
            let tails = self.tails.read();
            let Some(tail) = tails.ranges.get(&range) else { return Ok(None) };
            let LogState { truncated, last, .. } = tail.state;
            if index < truncated.index || index > last.index {
                return Ok(None);
            }
            for known in [truncated, last] {
                if index == known.index {
                    return Ok(Some(known.term));
                }
            }
            if let Some(entry) = tail.entry(index) {
                return Ok(Some(entry.term));
            }
        }
        let found = self.entries(range, index, index + 1, 0)?;
        Ok(found.and_then(|entries| entries.first().map(|entry| entry.term)))
    }

    fn state(&self, range: RangeId) -> Result<Option<LogState>, EngineError> {
        Ok(self.tails.read().ranges.get(&range).map(|tail| tail.state))
    }

    fn ranges(&self) -> Result<Vec<RangeId>, EngineError> {
        Ok(self.tails.read().ranges.keys().copied().collect())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush_wal(true).map_err(engine_error)
    }
}
