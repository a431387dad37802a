//! What becomes of replicated locks: Resolve, EndTxn, QueryTxn, CheckKeys, Heartbeat.
//!
//! The record on the primary is the one truth about a transaction. All of these are idempotent and safe
//! under duplication, delay and reordering:
//!
//! - A record, once written, is never turned around (I3); who asks for the other outcome is told.
//! - *Committed* is written only while the primary's lock is there, or found in the primary's version.
//! - *Rolled back* is written where there is neither, so that a late prewrite fails.
//!
//! A transaction's versions lie at or above its id, so looking for one ends there.
//!
//! Of a transaction older than the collection point nothing may be left although it was committed: its
//! version gave way to newer ones, its record was settled. Whoever asks to roll it back is told that this
//! can't be known any more. (Not who has met one of its locks: where a lock is left the record is too.)
//!
//! Why the primary's lock is settled in the same batch as the record: nobody can then find the record
//! missing and the lock gone, which would read as "never prewritten".

use base::{Key, Timestamp, TxnId};
use bytes::Bytes;
use proto::kv::txn_state::State;
use proto::kv::{self, kv_error::Error, range_response::Response};
use storage::mvcc::{self, Lock, LockKind, TxnRecord};
use storage::{EngineRead, WriteBatch};

use super::common::{Evaluated, Refusal, holder_of, key, require};
use super::waits::Wait;
use super::{After, Command, Evaluator, Micros, Step};

impl Evaluator {
    pub(super) fn resolve(&mut self, engine: &dyn EngineRead, resolve: &kv::Resolve) -> Evaluated {
        let mut keys: Vec<Key> = resolve.keys.iter().map(key).collect();
        keys.sort();
        keys.dedup();
        if let Some(command) = keys.iter().find_map(|key| self.latches.writer(key.as_bytes())) {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        let (txn, at) = (TxnId(resolve.txn_id), Timestamp(resolve.commit_ts));
        let mut batch = WriteBatch::new();
        let mut removed = 0;
        for key in &keys {
            let lock = self.lock_on(engine, key.as_bytes())?.filter(|lock| lock.txn == txn);
            if let Some(lock) = lock {
                settle_lock(&mut batch, key.as_bytes(), &lock, at)?;
                removed += 1;
            }
        }
        let response = Response::Done(kv::Done {});
        if batch.is_empty() {
            // Nothing of it in the data; what it holds in memory is over too.
            let mut grants = Vec::new();
            self.settle_keys(txn, &keys, &mut grants);
            self.wake_granted(grants);
            return Ok(Step::Done(response));
        }
        let commits_from = if at == Timestamp::ZERO { Timestamp::MAX } else { at };
        let after = After::Settled { txn, keys: keys.clone(), removed };
        Ok(Step::Propose(Command { batch, keys, commits_from, response, after }))
    }

    pub(super) fn end_txn(&mut self, engine: &dyn EngineRead, end: &kv::EndTxn) -> Evaluated {
        if let Some(command) = self.latches.writer(&end.primary) {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        let (txn, at) = (TxnId(end.txn_id), Timestamp(end.commit_ts));
        match mvcc::get_record(engine, &end.primary, txn)? {
            Some(TxnRecord::Committed { ts, settled }) => {
                if settled || !end.settled {
                    return Ok(Step::Done(state(State::Committed, ts)));
                }
                let record = TxnRecord::Committed { ts, settled: true };
                return self.record(&end.primary, txn, record, None);
            }
            Some(TxnRecord::RolledBack) => {
                return Ok(Step::Done(state(State::RolledBack, Timestamp::ZERO)));
            }
            None => {}
        }
        let lock = self.lock_on(engine, &end.primary)?.filter(|lock| lock.txn == txn);
        if let Some(lock) = lock {
            if at == Timestamp::ZERO {
                return self.record(&end.primary, txn, TxnRecord::RolledBack, Some(&lock));
            }
            if lock.min_commit_ts > at {
                let too_low = kv::TimestampTooLow { min_ts: lock.min_commit_ts.0 };
                return Err(Refusal::new(Error::TimestampTooLow(too_low)));
            }
            let record = TxnRecord::Committed { ts: at, settled: end.settled };
            return self.record(&end.primary, txn, record, Some(&lock));
        }
        if let Some(ts) = mvcc::version_by(engine, &end.primary, txn, Timestamp(txn.0))? {
            return Ok(Step::Done(state(State::Committed, ts)));
        }
        self.check_collected(engine, txn)?;
        self.record(&end.primary, txn, TxnRecord::RolledBack, None)
    }

    pub(super) fn query_txn(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        query: &kv::QueryTxn,
    ) -> Evaluated {
        if let Some(command) = self.latches.writer(&query.primary) {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        let txn = TxnId(query.txn_id);
        match mvcc::get_record(engine, &query.primary, txn)? {
            Some(TxnRecord::Committed { ts, .. }) => {
                return Ok(Step::Done(state(State::Committed, ts)));
            }
            Some(TxnRecord::RolledBack) => {
                return Ok(Step::Done(state(State::RolledBack, Timestamp::ZERO)));
            }
            None => {}
        }
        if let Some(lock) = self.lock_on(engine, &query.primary)?.filter(|lock| lock.txn == txn) {
            return self.query_undecided(now, query, lock);
        }
        if let Some(ts) = mvcc::version_by(engine, &query.primary, txn, Timestamp(txn.0))? {
            return Ok(Step::Done(state(State::Committed, ts)));
        }
        // Prewrites travel in parallel, so the primary's may be still on its way.
        let ttl = self.config.lock_ttl;
        let coordinator = (base::NodeId(query.coordinator), query.incarnation);
        if self.is_silent(now, txn, coordinator, ttl) {
            return self.record(&query.primary, txn, TxnRecord::RolledBack, None);
        }
        Ok(Step::Done(state(State::Unknown, Timestamp::ZERO)))
    }

    /// The primary is locked, so the transaction is undecided, or its locks are the decision.
    fn query_undecided(&mut self, now: Micros, query: &kv::QueryTxn, lock: Lock) -> Evaluated {
        let txn = lock.txn;
        let owner = holder_of(&lock);
        let ttl = lock.ttl_ms.max(1) * 1000;
        let silent = self.is_silent(now, txn, (owner.coordinator, owner.incarnation), ttl);
        let push_above = Timestamp(query.push_above_ts);
        let rules = self.config.rules;
        let pushable = !lock.parallel || !rules.parallel_commits_are_not_pushed;
        match (silent, lock.parallel && rules.parallel_commits_are_recovered) {
            (true, false) => self.record(&query.primary, txn, TxnRecord::RolledBack, Some(&lock)),
            (true, true) => Ok(Step::Done(Response::TxnState(kv::TxnState {
                state: State::Staging as i32,
                commit_ts: 0,
                min_commit_ts: lock.min_commit_ts.0,
                secondaries: lock.secondaries.iter().map(|key| key.0.clone()).collect(),
            }))),
            (false, _) if pushable && lock.min_commit_ts <= push_above => {
                let mut pushed = lock;
                pushed.min_commit_ts = push_above.next();
                let mut batch = WriteBatch::new();
                mvcc::put_lock(&mut batch, &query.primary, &pushed);
                Ok(Step::Propose(Command {
                    batch,
                    keys: vec![key(&query.primary)],
                    commits_from: Timestamp::MAX,
                    response: state(State::Pending, pushed.min_commit_ts),
                    after: After::Nothing,
                }))
            }
            (false, _) => Ok(Step::Done(state(State::Pending, lock.min_commit_ts))),
        }
    }

    pub(super) fn check_keys(
        &mut self,
        engine: &dyn EngineRead,
        check: &kv::CheckKeys,
    ) -> Evaluated {
        use kv::checked_key::State as Checked;
        for key in &check.keys {
            if let Some(command) = self.latches.writer(key) {
                return Ok(Step::Wait(Wait::Latch(command)));
            }
        }
        let txn = TxnId(check.txn_id);
        let mut batch = WriteBatch::new();
        let (mut checked, mut marked) = (Vec::with_capacity(check.keys.len()), Vec::new());
        for bytes in &check.keys {
            let lock = self.lock_on(engine, bytes)?.filter(|lock| lock.txn == txn);
            let (state, ts) = if let Some(lock) = lock {
                (Checked::Locked, lock.min_commit_ts)
            } else if let Some(ts) = mvcc::version_by(engine, bytes, txn, Timestamp(txn.0))? {
                (Checked::Committed, ts)
            } else {
                match mvcc::get_record(engine, bytes, txn)? {
                    Some(TxnRecord::Committed { ts, .. }) => (Checked::Committed, ts),
                    Some(TxnRecord::RolledBack) => (Checked::Prevented, Timestamp::ZERO),
                    None if check.prevent => {
                        mvcc::put_record(&mut batch, bytes, txn, TxnRecord::RolledBack);
                        marked.push(key(bytes));
                        (Checked::Prevented, Timestamp::ZERO)
                    }
                    None => (Checked::Missing, Timestamp::ZERO),
                }
            };
            checked.push(kv::CheckedKey { state: state as i32, ts: ts.0 });
        }
        let response = Response::CheckKeys(kv::CheckKeysResult { keys: checked });
        if batch.is_empty() {
            return Ok(Step::Done(response));
        }
        Ok(Step::Propose(Command {
            batch,
            keys: marked,
            commits_from: Timestamp::MAX,
            response,
            after: After::Nothing,
        }))
    }

    pub(super) fn heartbeat(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        txn: Option<&kv::TxnMeta>,
        beat: &kv::Heartbeat,
    ) -> Evaluated {
        let owner = require(txn)?;
        if let Some(TxnRecord::RolledBack) = mvcc::get_record(engine, &beat.primary, owner.txn)? {
            return Err(Refusal::gone(owner.txn, "it was rolled back"));
        }
        self.heartbeats.insert(owner.txn, now);
        Ok(Step::Done(Response::Done(kv::Done {})))
    }

    /// Whether a coordinator has shown no sign of life for `ttl`. A leader that has heard nothing yet
    /// begins to count now.
    fn is_silent(
        &mut self,
        now: Micros,
        txn: TxnId,
        (node, incarnation): (base::NodeId, u64),
        ttl: Micros,
    ) -> bool {
        if self.gone.get(&node).is_some_and(|&ended| incarnation <= ended) {
            return true;
        }
        let last = *self.heartbeats.entry(txn).or_insert(now);
        now >= last + ttl
    }

    /// Writes a transaction's record, and settles the primary's lock with it.
    fn record(
        &mut self,
        primary: &Bytes,
        txn: TxnId,
        record: TxnRecord,
        lock: Option<&Lock>,
    ) -> Evaluated {
        let (at, response) = match record {
            TxnRecord::Committed { ts, .. } => (ts, state(State::Committed, ts)),
            TxnRecord::RolledBack => (Timestamp::ZERO, state(State::RolledBack, Timestamp::ZERO)),
        };
        let mut batch = WriteBatch::new();
        mvcc::put_record(&mut batch, primary, txn, record);
        if let Some(lock) = lock {
            settle_lock(&mut batch, primary, lock, at)?;
        }
        let commits_from =
            if lock.is_none() || at == Timestamp::ZERO { Timestamp::MAX } else { at };
        let keys = vec![key(primary)];
        let after = match lock {
            Some(_) => After::Settled { txn, keys: keys.clone(), removed: 1 },
            None => After::Nothing,
        };
        Ok(Step::Propose(Command { batch, keys, commits_from, response, after }))
    }
}

/// Turns a lock into a version, or into nothing if `at` is zero.
fn settle_lock(
    batch: &mut WriteBatch,
    key: &[u8],
    lock: &Lock,
    at: Timestamp,
) -> Result<(), Refusal> {
    mvcc::delete_lock(batch, key);
    if at == Timestamp::ZERO {
        return Ok(());
    }
    if at < lock.min_commit_ts {
        return Err(Refusal::invalid("a lock can't be committed below its least timestamp"));
    }
    match lock.kind {
        LockKind::Put => mvcc::put_version(batch, key, at, lock.txn, Some(&lock.value)),
        LockKind::Delete => mvcc::put_version(batch, key, at, lock.txn, None),
        LockKind::LockOnly => {}
    }
    Ok(())
}

fn state(state: State, ts: Timestamp) -> Response {
    let (commit_ts, min_commit_ts) = match state {
        State::Committed => (ts.0, 0),
        State::Unknown | State::Pending | State::RolledBack | State::Staging => (0, ts.0),
    };
    Response::TxnState(kv::TxnState {
        state: state as i32,
        commit_ts,
        min_commit_ts,
        secondaries: Vec::new(),
    })
}
