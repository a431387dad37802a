//! LockKeys and ReleaseLocks: who holds which row while statements run.
//!
//! Keys are taken one after the other in key order, so that two statements over the same rows queue up
//! instead of meeting halfway. A replicated lock of another that the lock table does not know (it was
//! placed under an earlier leader) is entered first: then waiting for it is waiting like for any other.
//!
//! The newest version of a key can't change while the key is held: what is in flight for it was put
//! there by its holder.

use base::{Key, Timestamp};
use proto::kv::{self, kv_error::Error, range_response::Response};
use storage::EngineRead;
use storage::mvcc::{self, Lock};
use txn::Owner;
use txn::lock_table::{Obstacle, Place, Strength, Verdict};

use super::common::{Evaluated, Refusal, holder_of, key, require, span_of};
use super::waits::{Parked, Wait};
use super::{Effect, Evaluator, Micros, Step};

impl Evaluator {
    pub(super) fn lock_keys(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        txn: Option<&kv::TxnMeta>,
        lock: &kv::LockKeys,
        work: &mut Parked,
    ) -> Evaluated {
        let owner = require(txn)?;
        self.check_may_lock(owner)?;
        let strength = strength_in(lock.strength());
        let policy = lock.wait();
        if work.order.is_empty() {
            work.order = (0..lock.keys.len() as u32).collect();
            work.order.sort_by(|&a, &b| lock.keys[a as usize].cmp(&lock.keys[b as usize]));
            if policy == kv::WaitPolicy::SkipLocked {
                work.skipped = vec![false; lock.keys.len()];
            }
        }
        while let Some(&at) = work.order.get(work.next) {
            let wanted = key(&lock.keys[at as usize]);
            let block = policy == kv::WaitPolicy::Block;
            match self.take(engine, &wanted, owner, strength, block)? {
                Verdict::Granted => {}
                Verdict::Waits => {
                    if block && lock.timeout_ms > 0 {
                        work.deadline = Some(work.since + lock.timeout_ms * 1000);
                    }
                    return Ok(Step::Wait(Wait::Lock(Place::Key(wanted))));
                }
                Verdict::Full | Verdict::Crowded => return Err(Refusal::lock_table_full()),
                Verdict::Refused(holder) => {
                    // A replicated lock is about to go: its transaction is committing, or dead. To call
                    // the row locked would tell a session so of what it has itself just committed.
                    let brief = self.locks.replicated_holder(wanted.as_bytes()).is_some();
                    if brief && !work.impatient {
                        self.take(engine, &wanted, owner, strength, true)?;
                        work.deadline = Some(now + self.config.brief_wait);
                        return Ok(Step::Wait(Wait::Lock(Place::Key(wanted))));
                    }
                    if policy == kv::WaitPolicy::Nowait {
                        return Err(conflict(strength, &holder, 0, false));
                    }
                    work.skipped[at as usize] = true;
                }
            }
            work.next += 1;
            work.impatient = false;
            work.deadline = None;
        }
        let mut keys = Vec::with_capacity(lock.keys.len());
        for (at, bytes) in lock.keys.iter().enumerate() {
            keys.push(if work.skipped.get(at) == Some(&true) {
                kv::LockedKey::default()
            } else {
                locked(engine, bytes, lock.want_values)?
            });
        }
        let waited_us = if work.was_parked { now - work.since } else { 0 };
        Ok(Step::Done(Response::LockKeys(kv::LockKeysResult { keys, waited_us })))
    }

    /// Refuses locks to a transaction that is over here, or whose process is.
    pub(super) fn check_may_lock(&mut self, owner: Owner) -> Evaluated<()> {
        self.check_not_ended(owner.txn)?;
        if self.gone.get(&owner.coordinator).is_some_and(|&ended| owner.incarnation <= ended) {
            return Err(Refusal::gone(owner.txn, "its coordinator is gone"));
        }
        self.note_issued(owner.start.max(Timestamp(owner.txn.0)));
        Ok(())
    }

    /// Asks the lock table for a key, after making sure that it knows of a replicated lock on it. Also of
    /// one that was placed while the key was held: see [`txn::lock_table::LockTable::adopt`].
    pub(super) fn take(
        &mut self,
        engine: &dyn EngineRead,
        wanted: &Key,
        owner: Owner,
        strength: Strength,
        wait: bool,
    ) -> Evaluated<Verdict> {
        let found = self.lock_on(engine, wanted.as_bytes())?;
        self.take_with(engine, found.as_ref(), wanted, owner, strength, wait)
    }

    /// The same, with the replicated lock on the key, if there is one.
    pub(super) fn take_with(
        &mut self,
        engine: &dyn EngineRead,
        found: Option<&Lock>,
        wanted: &Key,
        owner: Owner,
        strength: Strength,
        wait: bool,
    ) -> Evaluated<Verdict> {
        // Only who may insert is kept out of a span.
        let matters = self.locks.has_spans() && strength.may_write();
        let vacant = matters && is_vacant(engine, wanted)?;
        let mut grants = Vec::new();
        if let Some(lock) = found
            && self.locks.replicated_holder(wanted.as_bytes()).is_none()
        {
            self.locks.adopt(wanted, holder_of(lock), &mut grants);
        }
        let verdict = self.locks.acquire(wanted, owner, strength, vacant, wait, &mut grants);
        self.wake_granted(grants);
        Ok(verdict)
    }

    pub(super) fn release_locks(
        &mut self,
        txn: Option<&kv::TxnMeta>,
        release: &kv::ReleaseLocks,
        out: &mut Vec<Effect>,
    ) -> Evaluated {
        let owner = require(txn)?;
        let mut grants = Vec::new();
        if release.ended {
            self.ended.add(owner.txn);
            self.refuse_parked_of(owner.txn, "it has ended", out);
            self.locks.release_txn(owner.txn, &mut grants);
            self.wake_granted(grants);
            return Ok(Step::Done(Response::Done(kv::Done {})));
        }
        for bytes in &release.keys {
            // A replicated lock is not given back: it is settled.
            let replicated = self.locks.replicated_holder(bytes);
            if replicated.is_none_or(|holder| holder.txn != owner.txn) {
                // A request that still waits for the key starts over.
                let place = Place::Key(key(bytes));
                if let Some(tokens) = self.lock_waits.remove(&(place, owner.txn)) {
                    self.ready.extend(tokens);
                }
                self.locks.release(bytes, owner.txn, &mut grants);
            }
        }
        for span in &release.spans {
            self.release_span(&span_of(span), owner.txn, &mut grants);
        }
        self.wake_granted(grants);
        Ok(Step::Done(Response::Done(kv::Done {})))
    }
}

/// Whether there is no row.
pub(super) fn is_vacant(engine: &dyn EngineRead, key: &Key) -> Evaluated<bool> {
    let newest = mvcc::newest_version(engine, key.as_bytes())?;
    Ok(newest.is_none_or(|newest| newest.value.is_none()))
}

fn locked(engine: &dyn EngineRead, key: &[u8], want_value: bool) -> Evaluated<kv::LockedKey> {
    if !want_value {
        let version_ts = mvcc::newest_ts(engine, key)?.map_or(0, |ts| ts.0);
        return Ok(kv::LockedKey { locked: true, version_ts, value: None, by_txn: 0 });
    }
    let newest = mvcc::newest_version(engine, key)?;
    let version_ts = newest.as_ref().map_or(0, |version| version.ts.0);
    let by_txn = newest.as_ref().map_or(0, |version| version.txn.0);
    let value = match newest.and_then(|version| version.value) {
        Some(value) => kv::OptionalValue { present: true, value },
        None => kv::OptionalValue::default(),
    };
    Ok(kv::LockedKey { locked: true, version_ts, value: Some(value), by_txn })
}

pub(super) fn conflict(
    wish: Strength,
    holder: &Obstacle,
    waited: Micros,
    timed_out: bool,
) -> Refusal {
    Refusal::new(Error::LockConflict(kv::LockConflict {
        key: holder.key.0.clone(),
        holder: holder.owner.txn.0,
        waited_ms: waited / 1000,
        holder_start_ts: holder.owner.start.0,
        timed_out,
        wish: strength_out(wish) as i32,
        held: strength_out(holder.strength) as i32,
    }))
}

/// A strength as the lock table names it.
#[must_use]
pub fn strength_in(strength: kv::Strength) -> Strength {
    match strength {
        kv::Strength::KeyShare => Strength::KeyShare,
        kv::Strength::Share => Strength::Share,
        kv::Strength::NoKeyUpdate => Strength::NoKeyUpdate,
        kv::Strength::Update => Strength::Update,
    }
}

/// A strength as messages name it.
#[must_use]
pub fn strength_out(strength: Strength) -> kv::Strength {
    match strength {
        Strength::KeyShare => kv::Strength::KeyShare,
        Strength::Share => kv::Strength::Share,
        Strength::NoKeyUpdate => kv::Strength::NoKeyUpdate,
        Strength::Update => kv::Strength::Update,
    }
}
