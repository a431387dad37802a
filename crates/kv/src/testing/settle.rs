//! The fake cluster's transaction records, and what becomes of replicated locks.

use std::time::{Duration, Instant};

use base::Key;
use bytes::Bytes;
use proto::kv;
use proto::kv::checked_key::State as Checked;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_response::Response;
use proto::kv::txn_state::State;

use super::eval::Evaluated;
use super::store::{Fate, Placed, Store};

impl Store {
    pub(super) fn end_txn(&mut self, end: &kv::EndTxn) -> Evaluated {
        let record = (end.primary.clone(), end.txn_id);
        if let Some(fate) = self.records.get(&record) {
            return Ok(Response::TxnState(state_of(*fate)));
        }
        let own = self.placed.get(&end.primary).filter(|lock| lock.owner.id == end.txn_id);
        let fate = match (end.commit_ts, own) {
            (0, Some(_)) => Fate::RolledBack,
            (ts, Some(lock)) if lock.min_commit_ts > ts => {
                let min_ts = lock.min_commit_ts;
                return Err(RangeError::TimestampTooLow(kv::TimestampTooLow { min_ts }).into());
            }
            (ts, Some(_)) => Fate::Committed(ts),
            (_, None) => match self.version_by(&end.primary, end.txn_id) {
                Some(ts) => Fate::Committed(ts),
                None => Fate::RolledBack,
            },
        };
        self.records.insert(record, fate);
        self.settle(&end.primary, end.txn_id, fate);
        Ok(Response::TxnState(state_of(fate)))
    }

    /// When the transaction has written the key, if it has.
    fn version_by(&self, key: &[u8], txn: u64) -> Option<u64> {
        let mut versions = self.rows.get(key).into_iter().flatten();
        versions.find(|(_, version)| version.by == txn).map(|(ts, _)| *ts)
    }

    pub(super) fn resolve(&mut self, resolve: &kv::Resolve) -> Response {
        let fate = match resolve.commit_ts {
            0 => Fate::RolledBack,
            ts => Fate::Committed(ts),
        };
        for key in &resolve.keys {
            self.settle(key, resolve.txn_id, fate);
        }
        Response::Done(kv::Done {})
    }

    fn settle(&mut self, key: &Bytes, txn: u64, fate: Fate) {
        if self.placed.get(key).is_some_and(|lock| lock.owner.id == txn) {
            let lock = self.placed.remove(key).expect("looked at above");
            if let Fate::Committed(ts) = fate {
                assert!(ts >= lock.min_commit_ts, "{txn} committed below its lock on {key:?}");
                self.install(&lock.write, ts, txn);
            }
        }
        if fate == Fate::RolledBack {
            self.records.entry((key.clone(), txn)).or_insert(fate);
        }
    }

    pub(super) fn query_txn(&mut self, query: &kv::QueryTxn) -> kv::TxnState {
        let record = (query.primary.clone(), query.txn_id);
        if let Some(fate) = self.records.get(&record) {
            return state_of(*fate);
        }
        let lock = self.placed.get_mut(&query.primary).filter(|l| l.owner.id == query.txn_id);
        let Some(lock) = lock else {
            // Asked about only when a lock has expired: its primary was never placed.
            self.records.insert(record, Fate::RolledBack);
            return state_of(Fate::RolledBack);
        };
        let expired = lock.expires <= Instant::now();
        if expired && !lock.parallel {
            let primary = query.primary.clone();
            self.records.insert(record, Fate::RolledBack);
            self.settle(&primary, query.txn_id, Fate::RolledBack);
            return state_of(Fate::RolledBack);
        }
        if !lock.parallel && query.push_above_ts > 0 {
            lock.min_commit_ts = lock.min_commit_ts.max(query.push_above_ts + 1);
        }
        let mut state = kv::TxnState { min_commit_ts: lock.min_commit_ts, ..Default::default() };
        state.set_state(if expired { State::Staging } else { State::Pending });
        if expired {
            state.secondaries = lock.secondaries.clone();
        }
        state
    }

    /// Places the locks of a parallel commit whose coordinator has died.
    pub(super) fn abandon(&mut self, id: u64, rows: &[(Key, Bytes)], complete: bool) {
        let owner = kv::TxnMeta { id, start_ts: id, coordinator: 99, ..kv::TxnMeta::default() };
        let primary = rows[0].0.0.clone();
        for (key, value) in &rows[usize::from(!complete)..] {
            let write =
                kv::Write { key: key.0.clone(), value: value.clone(), ..kv::Write::default() };
            let placed = Placed {
                owner,
                write,
                primary: primary.clone(),
                secondaries: rows[1..].iter().map(|(key, _)| key.0.clone()).collect(),
                parallel: true,
                min_commit_ts: self.min_commit_ts(key.as_bytes(), &owner, id),
                expires: Instant::now() + Duration::from_millis(100),
            };
            self.placed.insert(key.0.clone(), placed);
        }
    }

    pub(super) fn check_keys(&mut self, check: &kv::CheckKeys) -> Response {
        let mut keys = Vec::new();
        for key in &check.keys {
            let lock = self.placed.get(key).filter(|lock| lock.owner.id == check.txn_id);
            let (state, ts) = match (lock, self.version_by(key, check.txn_id)) {
                (Some(lock), _) => (Checked::Locked, lock.min_commit_ts),
                (None, Some(ts)) => (Checked::Committed, ts),
                (None, None) if check.prevent => {
                    self.records.insert((key.clone(), check.txn_id), Fate::RolledBack);
                    (Checked::Prevented, 0)
                }
                (None, None) => (Checked::Missing, 0),
            };
            keys.push(kv::CheckedKey { state: state as i32, ts });
        }
        Response::CheckKeys(kv::CheckKeysResult { keys })
    }

    pub(super) fn heartbeat(&mut self, txn: &kv::TxnMeta, beat: &kv::Heartbeat) -> Response {
        if let Some(lock) = self.placed.get_mut(&beat.primary)
            && lock.owner.id == txn.id
        {
            lock.expires = Instant::now() + Duration::from_secs(3);
        }
        Response::Done(kv::Done {})
    }
}

fn state_of(fate: Fate) -> kv::TxnState {
    let mut state = kv::TxnState::default();
    match fate {
        Fate::Committed(ts) => {
            state.set_state(State::Committed);
            state.commit_ts = ts;
        }
        Fate::RolledBack => state.set_state(State::RolledBack),
    }
    state
}
