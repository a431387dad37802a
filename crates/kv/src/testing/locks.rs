//! The fake cluster's in-memory locks.

use base::KeyRange;
use bytes::Bytes;
use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_response::Response;
use proto::kv::{Strength, WaitPolicy};

use super::eval::{Evaluated, Verdict, gone, optional, wait_for};
use super::store::{SpanClaim, Store};

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

    /// Claims spans; of the order of the queue only that the holder goes first.
    pub(super) fn lock_spans(
        &mut self,
        range: u64,
        txn: &kv::TxnMeta,
        lock: &kv::LockSpans,
    ) -> Evaluated {
        let mut result = kv::LockedSpans::default();
        for span in lock.spans.iter().cloned().map(KeyRange::from) {
            if self.over.contains(&(range, txn.id)) {
                return Err(gone(txn.id).into());
            }
            let strength = lock.strength();
            self.spans.retain(|claim| claim.granted || claim.owner.id != txn.id);
            let mut claim = SpanClaim { owner: *txn, span: span.clone(), strength, granted: true };
            match (self.in_the_way_of(&claim), lock.wait()) {
                (None, _) => self.spans.push(claim),
                (Some(_), WaitPolicy::SkipLocked | WaitPolicy::Nowait) => {}
                (Some(wait), WaitPolicy::Block) => {
                    claim.granted = false;
                    self.spans.push(claim);
                    return Err(wait);
                }
            }
            for (key, versions) in self.rows.iter().filter(|(key, _)| span.contains(key)) {
                let newest = versions.last_key_value().map_or(0, |(ts, _)| *ts);
                if newest > lock.read_ts.max(result.version_ts) {
                    let by_txn = versions[&newest].by;
                    let (version_ts, key) = (newest, key.clone());
                    result = kv::LockedSpans { version_ts, key, by_txn, waited_us: 0 };
                }
            }
        }
        Ok(Response::LockedSpans(result))
    }

    fn is_vacant(&self, key: &[u8]) -> bool {
        self.newest_version(key).is_none_or(|(_, version)| version.value.is_none())
    }

    /// Who is inserting into a span, or claims a part of it.
    fn in_the_way_of(&self, claim: &SpanClaim) -> Option<Verdict> {
        let SpanClaim { owner, span, strength, .. } = claim;
        let mut placed = self.placed.iter().filter(|(key, _)| span.contains(key));
        if let Some((_, placed)) = placed.find(|(_, placed)| placed.owner.id != owner.id) {
            return Some(wait_for(placed));
        }
        let wait = |key: &Bytes, holder: kv::TxnMeta, held| {
            let key = key.clone();
            Some(Verdict::Wait { key, holder, held, queued: false, replicated: None })
        };
        let inside = |key: &Bytes| span.contains(key) && self.is_vacant(key);
        for (key, claims) in self.claims.iter().filter(|(key, _)| inside(key)) {
            let mut others = claims.holders.values().filter(|(other, _)| other.id != owner.id);
            if let Some((holder, held)) = others.find(|(_, held)| *held >= Strength::NoKeyUpdate) {
                return wait(key, *holder, *held);
            }
        }
        let mut others = self.spans.iter().filter(|c| c.granted && c.owner.id != owner.id);
        let excluded = |c: &&SpanClaim| excludes(*strength, c.strength) && c.span.overlaps(span);
        let other = others.find(excluded)?;
        wait(&span.start.clone().max(other.span.start.clone()).0, other.owner, other.strength)
    }

    /// Takes a part out of the spans of some transactions.
    pub(super) fn cut_spans(&mut self, part: &KeyRange, whose: impl Fn(u64) -> bool) {
        for claim in std::mem::take(&mut self.spans) {
            let left = match whose(claim.owner.id) {
                true => claim.span.without(part),
                false => vec![claim.span.clone()],
            };
            self.spans.extend(left.into_iter().map(|span| SpanClaim { span, ..claim.clone() }));
        }
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
        let inserts = strength >= Strength::NoKeyUpdate && self.is_vacant(key);
        let claims = self.claims.entry(key.clone()).or_default();
        let rank = (txn.start_ts, txn.id);
        let mut others = claims.holders.values().filter(|(owner, _)| owner.id != txn.id);
        let blocker = others.find(|(_, held)| excludes(strength, *held)).copied();
        let mut older = claims.waiters.range(..rank).map(|(_, waiter)| waiter);
        let queued = older.find(|(_, wish)| excludes(strength, *wish)).copied();
        let holds = claims.holders.contains_key(&txn.id);
        let writes = claims.holders.get(&txn.id).is_some_and(|(_, h)| *h >= Strength::NoKeyUpdate);
        let around = self
            .spans
            .iter()
            .find(|c| c.granted && c.owner.id != txn.id && c.span.contains(key) && !writes);
        let around = around.filter(|_| inserts);
        let blocker = blocker.or(around.map(|claim| (claim.owner, claim.strength)));
        let own = self.spans.iter().any(|c| c.owner.id == txn.id && c.span.contains(key));
        if let Some((holder, held)) = blocker.or(queued.filter(|_| !holds && !own)) {
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
            self.release_all(txn.id, range);
        } else {
            self.release_keys(txn.id, |key| release.keys.contains(key), range);
            for span in release.spans.iter().cloned().map(KeyRange::from) {
                self.cut_spans(&span, |id| id == txn.id);
            }
        }
        Response::Done(kv::Done {})
    }

    /// All that an ended transaction holds in a range.
    pub(super) fn release_all(&mut self, txn: u64, range: u64) {
        self.release_keys(txn, |_| true, range);
        let range = self.ranges.values().find(|r| r.descriptor.range_id == range);
        let span = range.expect("checked").descriptor.span();
        self.cut_spans(&span, |id| id == txn);
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
        self.spans.retain(|claim| claim.granted || claim.owner.id != txn.id);
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
