//! The fake cluster's in-memory locks.

use bytes::Bytes;
use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_response::Response;
use proto::kv::{Strength, WaitPolicy};

use super::eval::{Evaluated, Verdict, gone, optional, wait_for};
use super::store::Store;

impl Store {
    pub(super) fn lock_keys(
        &mut self,
        range: u64,
        txn: &kv::TxnMeta,
        lock: &kv::LockKeys,
    ) -> Evaluated {
        let mut keys = Vec::with_capacity(lock.keys.len());
        for key in &lock.keys {
            match self.claim(range, txn, key, lock.strength()) {
                Ok(()) => {
                    let newest = self.newest_version(key);
                    keys.push(kv::LockedKey {
                        locked: true,
                        version_ts: newest.map_or(0, |(ts, _)| ts),
                        by_txn: newest.map_or(0, |(_, version)| version.by),
                        value: Some(optional(newest.and_then(|(_, v)| v.value.clone()))),
                    });
                }
                Err(Verdict::Wait { key, holder, held, queued, replicated }) => match lock.wait() {
                    WaitPolicy::Block => {
                        return Err(Verdict::Wait { key, holder, held, queued, replicated });
                    }
                    WaitPolicy::SkipLocked => {
                        self.stop_waiting(txn, &key);
                        keys.push(kv::LockedKey::default());
                    }
                    WaitPolicy::Nowait => {
                        self.stop_waiting(txn, &key);
                        let wish = lock.strength();
                        return Err(conflict(&key, wish, (&holder, held), 0, false).into());
                    }
                },
                Err(refused) => return Err(refused),
            }
        }
        Ok(Response::LockKeys(kv::LockKeysResult { keys, waited_us: 0 }))
    }

    /// Takes one lock, or a place in the queue for it.
    fn claim(
        &mut self,
        range: u64,
        txn: &kv::TxnMeta,
        key: &Bytes,
        strength: Strength,
    ) -> Result<(), Verdict> {
        if self.over.contains(&(range, txn.id)) {
            return Err(gone(txn.id).into());
        }
        if let Some(placed) = self.placed.get(key)
            && placed.owner.id != txn.id
        {
            return Err(wait_for(placed));
        }
        let claims = self.claims.entry(key.clone()).or_default();
        let rank = (txn.start_ts, txn.id);
        let mut others = claims.holders.values().filter(|(owner, _)| owner.id != txn.id);
        let blocker = others.find(|(_, held)| excludes(strength, *held)).copied();
        let mut older = claims.waiters.range(..rank).map(|(_, waiter)| waiter);
        let queued = older.find(|(_, wish)| excludes(strength, *wish)).copied();
        let holds = claims.holders.contains_key(&txn.id);
        if let Some((holder, held)) = blocker.or(queued.filter(|_| !holds)) {
            let queued = blocker.is_none();
            claims.waiters.insert(rank, (*txn, strength));
            let key = key.clone();
            return Err(Verdict::Wait { key, holder, held, queued, replicated: None });
        }
        claims.waiters.remove(&rank);
        let held = claims.holders.entry(txn.id).or_insert((*txn, strength));
        held.1 = held.1.max(strength);
        Ok(())
    }

    /// Locks what is written, and checks that nothing newer is there.
    pub(super) fn claim_writes(
        &mut self,
        range: u64,
        txn: &kv::TxnMeta,
        writes: &[kv::Write],
        must_not_exist: &[u32],
        read_ts: u64,
    ) -> Result<(), Verdict> {
        self.check_kept(txn.id)?;
        for write in writes {
            let claims = self.claims.get(&write.key);
            let held = claims.and_then(|c| c.holders.get(&txn.id)).map(|(_, held)| *held);
            if held.is_none_or(|held| held < Strength::NoKeyUpdate) {
                self.claim(range, txn, &write.key, Strength::Update)?;
            }
        }
        for (place, write) in writes.iter().enumerate() {
            let Some((ts, version)) = self.newest_version(&write.key) else { continue };
            let key = write.key.clone();
            if must_not_exist.contains(&(place as u32)) {
                if version.value.is_some() {
                    return Err(RangeError::KeyExists(kv::KeyExists { key }).into());
                }
            } else if ts > write.seen_ts.unwrap_or(read_ts) {
                let error = kv::WriteConflict { key, version_ts: ts, by_txn: version.by };
                return Err(RangeError::WriteConflict(error).into());
            }
        }
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        range: u64,
        txn: &kv::TxnMeta,
        release: &kv::ReleaseLocks,
    ) -> Response {
        if release.ended {
            self.over.insert((range, txn.id));
            self.release_keys(txn.id, |_| true, range);
        } else {
            self.release_keys(txn.id, |key| release.keys.contains(key), range);
        }
        Response::Done(kv::Done {})
    }

    pub(super) fn release_keys(&mut self, txn: u64, which: impl Fn(&Bytes) -> bool, range: u64) {
        let held = self.ranges.values().find(|r| r.descriptor.range_id == range);
        let span = held.expect("checked").descriptor.span();
        for (key, claims) in &mut self.claims {
            if span.contains(key) && which(key) {
                claims.holders.remove(&txn);
                claims.waiters.retain(|(_, id), _| *id != txn);
            }
        }
        self.claims.retain(|_, claims| !claims.holders.is_empty() || !claims.waiters.is_empty());
    }

    pub(super) fn stop_waiting(&mut self, txn: &kv::TxnMeta, key: &Bytes) {
        if let Some(claims) = self.claims.get_mut(key) {
            claims.waiters.remove(&(txn.start_ts, txn.id));
        }
    }
}

/// PostgreSQL's table, as `txn::lock_table` has it.
fn excludes(a: Strength, b: Strength) -> bool {
    a as i32 + b as i32 >= Strength::Update as i32
}

pub(super) fn conflict(
    key: &Bytes,
    wish: Strength,
    (holder, held): (&kv::TxnMeta, Strength),
    waited_ms: u64,
    timed_out: bool,
) -> RangeError {
    RangeError::LockConflict(kv::LockConflict {
        key: key.clone(),
        holder: holder.id,
        waited_ms,
        holder_start_ts: holder.start_ts,
        timed_out,
        wish: wish as i32,
        held: held as i32,
    })
}
