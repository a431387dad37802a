//! CommitOnePhase: a whole transaction as one entry of one range's log.
//!
//! 1. Wait for commands in flight on the keys; a replay of this command waits for itself here.
//! 2. Answer a replay as before: the versions name their transaction.
//! 3. Take the locks that are not held yet, in key order.
//! 4. No version newer than what the transaction has seen, no row where there must be none.
//! 5. The commit timestamp: at least the read timestamp, above every version of the keys, above every
//!    read of them by others, and above what is closed.
//! 6. What was read must hold up to it.
//! 7. Propose the versions. The locks are handed on when they are applied.
//!
//! # Why a timestamp that was not issued yet is not verified up to
//!
//! A commit timestamp may lie above the largest issued (a reader at that one pushed it). Verifying reads
//! up to it would put it into the read cache; a leader that takes over knows the cache only as "anything
//! up to a fresh timestamp may have been read", which may be lower. So the command is refused, and comes
//! again with a fresh timestamp.
//!
//! No lock is ever replicated, and there is no record: the version on the first key is the memory of the
//! outcome. A rolled-back record there (settlement of an ambiguous result) stops a late command.
//!
//! Handing the locks on at the proposal would let the next transaction on a hot row commit right behind
//! in the same log. It would be safe if evaluation read through what is proposed; it does not yet.

use base::{Key, Timestamp};
use proto::kv::{self, kv_error::Error, range_response::Response, write::Kind};
use storage::mvcc::{self, Newest, TxnRecord};
use storage::{EngineRead, WriteBatch};
use txn::lock_table::{Place, Strength, Verdict};
use txn::{Owner, Rules};

use super::common::{Evaluated, Refusal, key, require};
use super::waits::{Parked, Wait};
use super::{After, Command, Evaluator, Step};

/// Bytes of a batch that are neither key nor value, per write.
const WRITE_OVERHEAD: usize = 32;

/// What a transaction wants to write in this range, and how.
pub(super) struct Writing<'a> {
    pub(super) owner: Owner,
    pub(super) writes: &'a [kv::Write],
    pub(super) must_not_exist: &'a [u32],
    pub(super) read_ts: Timestamp,
    /// Zero: none in particular.
    pub(super) exact_ts: Timestamp,
}

impl Evaluator {
    pub(super) fn commit_one_phase(
        &mut self,
        engine: &dyn EngineRead,
        txn: Option<&kv::TxnMeta>,
        commit: &kv::CommitOnePhase,
        work: &Parked,
    ) -> Evaluated {
        let writing = Writing {
            owner: require(txn)?,
            writes: &commit.writes,
            must_not_exist: &commit.must_not_exist,
            read_ts: Timestamp(commit.read_ts),
            exact_ts: Timestamp(commit.exact_ts),
        };
        let owner = writing.owner;
        writing.check_order()?;
        if let Some(wait) = self.in_flight(writing.writes) {
            return Ok(Step::Wait(wait));
        }
        let first = &commit.writes[0].key;
        let newest = newest_of(engine, writing.writes)?;
        if let Some(at) = replayed(engine, first, newest[0].as_ref(), owner)? {
            return Ok(committed(at));
        }
        self.check_alive(engine, owner.txn)?;
        let rolled_back =
            mvcc::get_record(engine, first, owner.txn)? == Some(TxnRecord::RolledBack);
        if rolled_back && self.config.rules.rollback_marks_count {
            return Err(Refusal::gone(owner.txn, "it was rolled back"));
        }
        for write in writing.writes {
            if let Some(wait) = self.take_to_write(engine, &key(&write.key), owner)? {
                return Ok(Step::Wait(wait));
            }
        }
        writing.check_versions(&newest, &self.config.rules)?;
        let spans = &commit.read_spans;
        self.note_issued(writing.exact_ts.max(owner.start));
        if !spans.is_empty() {
            // Else the snapshot may have moved to a row's newest version, which may be above them all.
            self.note_issued(writing.read_ts);
        }
        let at = self.commit_ts(&writing, &newest)?;
        if !spans.is_empty() && at > self.issued {
            return Err(too_low(at));
        }
        if let Some(wait) = self.verify(engine, spans, writing.read_ts, at, owner.txn, work)? {
            return Ok(Step::Wait(wait));
        }
        self.remember_verified(spans, at, owner.txn);
        Ok(Step::Propose(Command {
            batch: install(&writing, at),
            keys: writing.keys(),
            commits_from: at,
            response: Response::Committed(kv::Committed { commit_ts: at.0 }),
            after: After::Ended(owner.txn),
        }))
    }

    /// The command in flight that writes one of the keys.
    pub(super) fn in_flight(&self, writes: &[kv::Write]) -> Option<Wait> {
        if self.latches.is_empty() {
            return None;
        }
        writes.iter().find_map(|write| self.latches.writer(&write.key)).map(Wait::Latch)
    }

    /// Takes a key unless what is held of it already allows writing; returns what to wait for.
    pub(super) fn take_to_write(
        &mut self,
        engine: &dyn EngineRead,
        wanted: &Key,
        owner: Owner,
    ) -> Evaluated<Option<Wait>> {
        let holds = self.locks.held(wanted.as_bytes(), owner.txn).is_some_and(Strength::may_write);
        let replicated = self.lock_on(engine, wanted.as_bytes())?;
        // Not if another's lock was placed meanwhile: `take` makes the table know of it.
        if holds && replicated.as_ref().is_none_or(|lock| lock.txn == owner.txn) {
            return Ok(None);
        }
        match self.take_with(engine, replicated.as_ref(), wanted, owner, Strength::Update, true)? {
            Verdict::Granted => Ok(None),
            Verdict::Waits => Ok(Some(Wait::Lock(Place::Key(wanted.clone())))),
            Verdict::Full | Verdict::Crowded => Err(Refusal::lock_table_full()),
            Verdict::Refused(holder) => unreachable!("willing to wait for {holder:?}"),
        }
    }

    /// The lowest timestamp at which the writes may become visible; the exact one if it is not below.
    pub(super) fn commit_ts(
        &self,
        writing: &Writing<'_>,
        newest: &[Option<Newest>],
    ) -> Evaluated<Timestamp> {
        // At least the id, so that settlement knows where to stop looking for a version.
        let own = writing.owner.start.max(Timestamp(writing.owner.txn.0));
        let closed = match self.config.rules.closed_is_closed {
            true => self.closed,
            false => Timestamp::ZERO,
        };
        let mut at = writing.read_ts.max(own).max(closed.next());
        for (write, newest) in writing.writes.iter().zip(newest) {
            let read = self.cache.get(&write.key, writing.owner.txn);
            at = at.max(read.next());
            if let Some(newest) = newest {
                at = at.max(newest.ts.next());
            }
        }
        if writing.exact_ts == Timestamp::ZERO {
            return Ok(at);
        }
        if at > writing.exact_ts {
            return match self.config.rules.commits_land_where_verified {
                true => Err(too_low(at)),
                false => Ok(at),
            };
        }
        Ok(writing.exact_ts)
    }
}

impl Writing<'_> {
    /// Locks are taken in key order, and the first key remembers the outcome.
    pub(super) fn check_order(&self) -> Evaluated<()> {
        let ascending = self.writes.windows(2).all(|pair| pair[0].key < pair[1].key);
        let indexed = self.must_not_exist.iter().all(|&at| (at as usize) < self.writes.len());
        if self.writes.is_empty() || !ascending || !indexed {
            return Err(Refusal::invalid("writes must be in key order, each key once"));
        }
        Ok(())
    }

    /// No row where there must be none, and no version that the transaction has not seen. The lock kept
    /// others away; a version newer than its acquisition says that it was lost.
    pub(super) fn check_versions(&self, newest: &[Option<Newest>], rules: &Rules) -> Evaluated<()> {
        for &at in self.must_not_exist {
            let exists = newest[at as usize].as_ref().is_some_and(|n| n.value.is_some());
            if exists {
                let key = self.writes[at as usize].key.clone();
                return Err(Refusal::new(Error::KeyExists(kv::KeyExists { key })));
            }
        }
        for (write, newest) in self.writes.iter().zip(newest) {
            let seen = match write.seen_ts {
                Some(_) if !rules.lost_locks_are_noticed => continue,
                seen => seen.map_or(self.read_ts, Timestamp),
            };
            if let Some(newest) = newest
                && newest.ts > seen
            {
                return Err(Refusal::new(Error::WriteConflict(kv::WriteConflict {
                    key: write.key.clone(),
                    version_ts: newest.ts.0,
                    by_txn: newest.txn.0,
                })));
            }
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.writes.iter().map(|write| key(&write.key)).collect()
    }
}

pub(super) fn newest_of(
    engine: &dyn EngineRead,
    writes: &[kv::Write],
) -> Evaluated<Vec<Option<Newest>>> {
    let mut newest = Vec::with_capacity(writes.len());
    for write in writes {
        newest.push(mvcc::newest_version(engine, &write.key)?);
    }
    Ok(newest)
}

/// At which timestamp the transaction has written the key already, if it has.
pub(super) fn replayed(
    engine: &dyn EngineRead,
    key: &[u8],
    newest: Option<&Newest>,
    owner: Owner,
) -> Evaluated<Option<Timestamp>> {
    match newest {
        Some(newest) if newest.txn == owner.txn => Ok(Some(newest.ts)),
        // Committed since the transaction began; perhaps on top of ours.
        Some(newest) if newest.ts.0 > owner.txn.0 => {
            Ok(mvcc::version_by(engine, key, owner.txn, Timestamp(owner.txn.0))?)
        }
        _ => Ok(None),
    }
}

fn install(writing: &Writing<'_>, at: Timestamp) -> WriteBatch {
    let bytes: usize = writing
        .writes
        .iter()
        .map(|write| write.key.len() + write.value.len() + WRITE_OVERHEAD)
        .sum();
    let mut batch = WriteBatch::with_capacity(bytes);
    let txn = writing.owner.txn;
    for write in writing.writes {
        match write.kind() {
            Kind::Put => mvcc::put_version(&mut batch, &write.key, at, txn, Some(&write.value)),
            Kind::Delete => mvcc::put_version(&mut batch, &write.key, at, txn, None),
            Kind::LockOnly => {}
        }
    }
    batch
}

fn too_low(min: Timestamp) -> Refusal {
    Refusal::new(Error::TimestampTooLow(kv::TimestampTooLow { min_ts: min.0 }))
}

fn committed(at: Timestamp) -> Step {
    Step::Done(Response::Committed(kv::Committed { commit_ts: at.0 }))
}
