//! What the evaluation of every request needs: refusals, who asks, replicated locks in the way.

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use bytes::Bytes;
use proto::kv::{self, kv_error::Error};
use storage::mvcc::{self, Lock};
use storage::{EngineError, EngineRead};
use txn::Owner;

use super::waits::Wait;
use super::{Evaluator, ForeignLock, Replicated, Step};

/// Locks counted at most when a leader begins; with more, reads look for locks every time.
const COUNTED_MAX: usize = 10_000;

/// Why a request is not carried out.
pub(super) struct Refusal(pub(super) Box<Error>);

pub(super) type Evaluated<T = Step> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(error: Error) -> Self {
        Refusal(Box::new(error))
    }

    pub(super) fn invalid(reason: &str) -> Self {
        Refusal::new(Error::Invalid(kv::Invalid { reason: reason.into() }))
    }

    pub(super) fn gone(txn: TxnId, reason: &str) -> Self {
        Refusal::new(Error::TxnGone(kv::TxnGone { txn_id: txn.0, reason: reason.into() }))
    }

    pub(super) fn lock_table_full() -> Self {
        Refusal::new(Error::LocksExhausted(kv::LocksExhausted {}))
    }

    pub(super) fn overloaded(reason: &str) -> Self {
        Refusal::new(Error::Overloaded(kv::Overloaded { reason: reason.into() }))
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Refusal::new(match error {
            EngineError::Corrupt { file, detail } => Error::Corrupt(kv::Corrupt { file, detail }),
            // A read changes nothing, so nothing was done.
            EngineError::NoSpace { detail } | EngineError::Io { detail } => {
                Error::Unavailable(kv::Unavailable { reason: detail })
            }
        })
    }
}

pub(super) fn error_response(error: Error) -> kv::RangeResponse {
    kv::RangeResponse { error: Some(kv::KvError { error: Some(error) }), response: None }
}

pub(super) fn owner_of(meta: &kv::TxnMeta) -> Owner {
    Owner {
        txn: TxnId(meta.id),
        start: Timestamp(meta.start_ts),
        coordinator: NodeId(meta.coordinator),
        incarnation: meta.incarnation,
    }
}

pub(super) fn meta_of(owner: Owner) -> kv::TxnMeta {
    kv::TxnMeta {
        id: owner.txn.0,
        start_ts: owner.start.0,
        isolation: 0,
        coordinator: owner.coordinator.0,
        incarnation: owner.incarnation,
    }
}

pub(super) fn holder_of(lock: &Lock) -> Owner {
    Owner {
        txn: lock.txn,
        start: lock.start_ts,
        coordinator: lock.coordinator,
        incarnation: lock.incarnation,
    }
}

pub(super) fn require(txn: Option<&kv::TxnMeta>) -> Evaluated<Owner> {
    match txn {
        Some(meta) if meta.id != 0 => Ok(owner_of(meta)),
        _ => Err(Refusal::invalid("a request of a transaction without its id")),
    }
}

/// Who reads: nobody that ever writes, if it is not a transaction.
pub(super) fn reader_of(txn: Option<&kv::TxnMeta>) -> TxnId {
    TxnId(txn.map_or(0, |meta| meta.id))
}

pub(super) fn key(bytes: &Bytes) -> Key {
    Key(bytes.clone())
}

pub(super) fn span_of(span: &kv::Span) -> KeyRange {
    KeyRange { start: key(&span.start), end: key(&span.end) }
}

/// The only key of a span, if it has just one by construction.
pub(super) fn point_of(span: &KeyRange) -> Option<&Key> {
    let (start, end) = (span.start.as_bytes(), span.end.as_bytes());
    let is_point = end.len() == start.len() + 1 && end.last() == Some(&0) && end.starts_with(start);
    is_point.then_some(&span.start)
}

/// Transactions that are over in this range and may not come back: a request that was delayed on its way
/// would take a lock that nobody releases. Bounded, so it may forget; then the deadlock detector finds
/// the lock of a transaction that its coordinator does not know.
#[derive(Debug, Default)]
pub(super) struct Ended {
    slots: Vec<TxnId>,
}

impl Ended {
    const SLOTS: usize = 1024;

    pub(super) fn add(&mut self, txn: TxnId) {
        if self.slots.is_empty() {
            self.slots = vec![TxnId(0); Self::SLOTS];
        }
        self.slots[Self::slot(txn)] = txn;
    }

    pub(super) fn contains(&self, txn: TxnId) -> bool {
        self.slots.get(Self::slot(txn)) == Some(&txn)
    }

    fn slot(txn: TxnId) -> usize {
        (txn.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize
    }
}

const _: () = assert!(Ended::SLOTS == 1 << (64 - 54));

impl Evaluator {
    /// Whether there may be replicated locks in the span.
    pub(super) fn may_have_locks(&mut self, engine: &dyn EngineRead) -> Evaluated<bool> {
        if self.replicated == Replicated::Unknown {
            let found = mvcc::locks_in_span(engine, &self.span, COUNTED_MAX, |_| true)?.len();
            // What is in flight is counted when it is applied.
            self.replicated =
                if found < COUNTED_MAX { Replicated::Count(found) } else { Replicated::Many };
        }
        Ok(self.replicated != Replicated::Count(0))
    }

    /// A timestamp has come from the oracle.
    pub(super) fn note_issued(&mut self, ts: Timestamp) {
        self.issued = self.issued.max(ts);
    }

    pub(super) fn add_replicated(&mut self, new: usize) {
        if let Replicated::Count(count) = &mut self.replicated {
            *count += new;
        }
    }

    pub(super) fn remove_replicated(&mut self, removed: usize) {
        if let Replicated::Count(count) = &mut self.replicated {
            assert!(*count >= removed, "{removed} locks removed of {count}");
            *count -= removed;
        }
    }

    /// The replicated lock on a key, whoever has it.
    pub(super) fn lock_on(
        &mut self,
        engine: &dyn EngineRead,
        key: &[u8],
    ) -> Evaluated<Option<Lock>> {
        if !self.may_have_locks(engine)? {
            return Ok(None);
        }
        Ok(mvcc::get_lock(engine, key)?)
    }

    /// Whether a lock could become a version at or below `ts`, as far as this leader knows.
    pub(super) fn could_commit_by(&self, lock: &Lock, ts: Timestamp) -> bool {
        self.config.rules.reads_wait_for_locks
            && lock.blocks_read_at(ts)
            && self.pushed.get(&lock.txn).is_none_or(|&min| min <= ts)
    }

    /// What keeps a read of `span` at `ts` by `reader` waiting, other than a command in flight.
    pub(super) fn foreign_in_span(
        &mut self,
        engine: &dyn EngineRead,
        span: &KeyRange,
        ts: Timestamp,
        reader: TxnId,
    ) -> Evaluated<Option<Wait>> {
        if !self.may_have_locks(engine)? {
            return Ok(None);
        }
        let found = mvcc::locks_in_span(engine, span, 1, |lock| {
            lock.txn != reader && self.could_commit_by(lock, ts)
        })?;
        Ok(found.into_iter().next().map(|(key, lock)| foreign(key, &lock, ts)))
    }

    /// What keeps a read of `key` at `ts` by `reader` waiting, other than a command in flight.
    pub(super) fn foreign_on_key(
        &mut self,
        engine: &dyn EngineRead,
        key: &Key,
        ts: Timestamp,
        reader: TxnId,
    ) -> Evaluated<Option<Wait>> {
        let Some(lock) = self.lock_on(engine, key.as_bytes())? else { return Ok(None) };
        let blocks = lock.txn != reader && self.could_commit_by(&lock, ts);
        Ok(blocks.then(|| foreign(key.clone(), &lock, ts)))
    }

    /// Refuses a transaction that is over here.
    pub(super) fn check_not_ended(&self, txn: TxnId) -> Evaluated<()> {
        match self.ended.contains(txn) && self.config.rules.rollback_marks_count {
            true => Err(Refusal::gone(txn, "it has ended in this range")),
            false => Ok(()),
        }
    }

    /// Refuses the writes of a transaction that is over here, or so old that what stops its late requests
    /// may have been collected. Locks in memory it may take however old it is: advisory locks are held for
    /// as long as a session lasts.
    pub(super) fn check_alive(&mut self, engine: &dyn EngineRead, txn: TxnId) -> Evaluated<()> {
        self.check_not_ended(txn)?;
        self.check_collected(engine, txn)
    }

    /// Refuses a transaction of which nothing may be left here.
    pub(super) fn check_collected(&mut self, engine: &dyn EngineRead, txn: TxnId) -> Evaluated<()> {
        let safe_point = self.gc_point(engine)?.0;
        if txn.0 < safe_point && self.config.rules.collected_writes_are_refused {
            return Err(Refusal::new(Error::BelowGc(kv::BelowGc { safe_point })));
        }
        Ok(())
    }
}

/// A wait for the end of another's lock, which a reader would also be content to see pushed.
pub(super) fn foreign(key: Key, lock: &Lock, push_above: Timestamp) -> Wait {
    Wait::Foreign(Box::new(foreign_lock(key, lock, push_above)))
}

pub(super) fn foreign_lock(key: Key, lock: &Lock, push_above: Timestamp) -> ForeignLock {
    ForeignLock {
        key,
        owner: holder_of(lock),
        primary: lock.primary.clone(),
        parallel: lock.parallel,
        min_commit: lock.min_commit_ts,
        push_above,
    }
}
