//! Prewrite: places the replicated locks of a transaction over several ranges.
//!
//! As a one-phase commit up to the timestamp, which here is only the least at which the transaction may
//! commit; what it has read is verified by Refresh. Asked for an exact timestamp that can't be had, the
//! range places *nothing*: a lock above it would let a third party declare a commit at a timestamp up to
//! which nobody has verified the reads.
//!
//! Placed already: a key that has the transaction's lock keeps it, raised to a higher exact timestamp;
//! a key that has its version was settled by somebody, as committed. A rollback mark refuses.

use base::{Key, Timestamp};
use proto::kv::{self, kv_error::Error, range_response::Response, write::Kind};
use storage::mvcc::{self, Lock, LockKind, Newest, TxnRecord};
use storage::{EngineRead, WriteBatch};

use super::commit::{Writing, newest_of, replayed};
use super::common::{Evaluated, Refusal, key, require};
use super::{After, Command, Evaluator, Step};

/// What a key holds of the transaction.
enum Place {
    /// Nothing yet.
    Free,
    /// Its lock.
    Locked(Box<Lock>),
    /// Its version.
    Committed(Timestamp),
}

impl Evaluator {
    pub(super) fn prewrite(
        &mut self,
        engine: &dyn EngineRead,
        txn: Option<&kv::TxnMeta>,
        prewrite: &kv::Prewrite,
    ) -> Evaluated {
        let writing = Writing {
            owner: require(txn)?,
            writes: &prewrite.writes,
            must_not_exist: &prewrite.must_not_exist,
            read_ts: Timestamp(prewrite.read_ts),
            exact_ts: Timestamp(prewrite.exact_ts),
        };
        let owner = writing.owner;
        writing.check_order()?;
        if let Some(wait) = self.in_flight(writing.writes) {
            return Ok(Step::Wait(wait));
        }
        let newest = newest_of(engine, writing.writes)?;
        let places = self.places(engine, &writing, &newest)?;
        if places.iter().any(|place| matches!(place, Place::Free)) {
            self.check_alive(engine, owner.txn)?;
        }
        for (write, place) in writing.writes.iter().zip(&places) {
            // The lock of a key that is locked already may be unknown to the table: a new leader.
            if !matches!(place, Place::Committed(_))
                && let Some(wait) = self.take_to_write(engine, &key(&write.key), owner)?
            {
                return Ok(Step::Wait(wait));
            }
        }
        let free = writing.only(&places);
        let free_newest: Vec<Option<Newest>> = newest
            .into_iter()
            .zip(&places)
            .filter(|(_, place)| matches!(place, Place::Free))
            .map(|(newest, _)| newest)
            .collect();
        let free = Writing { writes: &free.0, must_not_exist: &free.1, ..writing };
        free.check_versions(&free_newest, &self.config.rules)?;
        let at = if free.writes.is_empty() {
            writing.exact_ts
        } else {
            self.commit_ts(&free, &free_newest)?
        };
        Ok(place(prewrite, &writing, &places, at))
    }

    fn places(
        &mut self,
        engine: &dyn EngineRead,
        writing: &Writing<'_>,
        newest: &[Option<Newest>],
    ) -> Evaluated<Vec<Place>> {
        let owner = writing.owner;
        let mut places = Vec::with_capacity(writing.writes.len());
        for (write, newest) in writing.writes.iter().zip(newest) {
            if let Some(lock) = self.lock_on(engine, &write.key)?
                && lock.txn == owner.txn
            {
                // A plain commit's lock that a reader has pushed.
                if writing.exact_ts != Timestamp::ZERO && lock.min_commit_ts > writing.exact_ts {
                    let too_low = kv::TimestampTooLow { min_ts: lock.min_commit_ts.0 };
                    return Err(Refusal::new(Error::TimestampTooLow(too_low)));
                }
                places.push(Place::Locked(Box::new(lock)));
                continue;
            }
            if let Some(at) = replayed(engine, &write.key, newest.as_ref(), owner)? {
                places.push(Place::Committed(at));
                continue;
            }
            match mvcc::get_record(engine, &write.key, owner.txn)? {
                Some(TxnRecord::RolledBack) if self.config.rules.rollback_marks_count => {
                    return Err(Refusal::gone(owner.txn, "it was rolled back"));
                }
                Some(TxnRecord::Committed { ts, .. }) => places.push(Place::Committed(ts)),
                Some(TxnRecord::RolledBack) | None => places.push(Place::Free),
            }
        }
        Ok(places)
    }
}

impl Writing<'_> {
    /// The writes that are not placed yet, and which of them must be new.
    fn only(&self, places: &[Place]) -> (Vec<kv::Write>, Vec<u32>) {
        let (mut writes, mut must_not_exist) = (Vec::new(), Vec::new());
        let mut must_be_new = vec![false; self.writes.len()];
        for &at in self.must_not_exist {
            must_be_new[at as usize] = true;
        }
        for ((write, place), must_be_new) in self.writes.iter().zip(places).zip(must_be_new) {
            if matches!(place, Place::Free) {
                if must_be_new {
                    must_not_exist.push(writes.len() as u32);
                }
                writes.push(write.clone());
            }
        }
        (writes, must_not_exist)
    }
}

/// The locks to write: new ones, and old ones that lie below an exact timestamp.
fn place(prewrite: &kv::Prewrite, writing: &Writing<'_>, places: &[Place], at: Timestamp) -> Step {
    let mut batch = WriteBatch::new();
    let (mut highest, mut new) = (at, 0);
    let mut keys: Vec<Key> = Vec::new();
    for (write, place) in writing.writes.iter().zip(places) {
        match place {
            Place::Committed(ts) => highest = highest.max(*ts),
            Place::Locked(lock) if lock.min_commit_ts >= writing.exact_ts => {
                highest = highest.max(lock.min_commit_ts);
            }
            Place::Locked(lock) => {
                let mut raised = (**lock).clone();
                raised.min_commit_ts = writing.exact_ts;
                mvcc::put_lock(&mut batch, &write.key, &raised);
                keys.push(key(&write.key));
            }
            Place::Free => {
                mvcc::put_lock(&mut batch, &write.key, &new_lock(prewrite, writing, write, at));
                keys.push(key(&write.key));
                new += 1;
            }
        }
    }
    let response = Response::Prewritten(kv::Prewritten { min_commit_ts: highest.0 });
    if batch.is_empty() {
        return Step::Done(response);
    }
    let after = After::Placed { txn: writing.owner.txn, keys: keys.clone(), new };
    Step::Propose(Command { batch, keys, commits_from: at, response, after })
}

fn new_lock(
    prewrite: &kv::Prewrite,
    writing: &Writing<'_>,
    write: &kv::Write,
    at: Timestamp,
) -> Lock {
    let (kind, value) = match write.kind() {
        Kind::Put => (LockKind::Put, write.value.clone()),
        Kind::Delete => (LockKind::Delete, bytes::Bytes::new()),
        Kind::LockOnly => (LockKind::LockOnly, bytes::Bytes::new()),
    };
    let secondaries = if write.key == prewrite.primary {
        prewrite.secondaries.iter().map(key).collect()
    } else {
        Vec::new()
    };
    Lock {
        txn: writing.owner.txn,
        start_ts: writing.owner.start,
        primary: key(&prewrite.primary),
        kind,
        value,
        ttl_ms: prewrite.ttl_ms,
        min_commit_ts: at,
        parallel: prewrite.parallel,
        secondaries,
        coordinator: writing.owner.coordinator,
        incarnation: writing.owner.incarnation,
    }
}
