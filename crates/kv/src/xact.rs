//! What has become of a transaction: `pg_current_xact_id()` and `pg_xact_status()`.
//!
//! A client whose connection broke during COMMIT asks, on any node, by the id that it was told before.
//! The id is the start timestamp: unique, and kept when the transaction is run again.
//!
//! ```text
//!   0E | start     p node process   announced, before the client is told the id
//!                  c                committed: one of the transaction's own writes
//!                  a                aborted: written by who asked, when the node knew nothing of it
//! ```
//!
//! The row is an ordinary one, and the transaction's last word is an ordinary write that must find it as
//! it was announced. So *c* is there exactly if the transaction is committed, and once *a* is there, no
//! prewrite and no one-phase command of the transaction gets past it, however late it comes, whatever run
//! of it sent it, and whoever settles its locks. No rule of the protocol has to know of any of this.
//!
//! # Who may say aborted
//!
//! Whoever finds *p*, no lock of the transaction's commit in its way, and hears from the transaction's
//! process that it is not open there, or that the process has ended: a later one answers, or no node hears
//! of it. The last is a guess that can be wrong, and then costs the transaction its life
//! ([`KvError::DeclaredAborted`]), not its truth.
//!
//! # Invariants
//!
//! - **X1** A row goes from *p* to *c* or to *a*, and stays so until it is collected.
//! - **X2** An id is told only after its *p* is there; an id without a row was never told, or is too old.
//! - **X3** From before its *p* until its end is decided or its node gives up, a transaction is among the
//!   open ones of its node.
//!
//! - **X4** No run of a transaction commits that began more than [`LIFE`] after the id.
//!
//! # Forgetting
//!
//! Rows are collected by age ([`Db::forget_xacts`]): those of ids that lie [`LIFE`] below a point under
//! which ranges take no writes. A run that could still bring a *c* would have to be as old as its id, which
//! the ranges refuse, or to break X4.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::{Key, KeyRange, NodeId, Timestamp, TxnId, keyspace};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::kv;
use proto::kv::inspect::What;
use proto::kv::{Isolation, Strength, WaitPolicy};

use crate::db::{Db, Shared};
use crate::error::{KvError, Remedy, SerializationCause};
use crate::txn::{Inner, Phase, ScanOptions, Txn, TxnOptions};

/// How much later than its id a run of a transaction may begin.
pub(crate) const LIFE: Duration = Duration::from_secs(2 * 3600);
/// How long a transaction's node may take to say whether it is open.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long a commit that is under way is waited for.
const DECIDED_WITHIN: Duration = Duration::from_secs(1);
/// Runs of one small transaction before its conflict is reported.
const ATTEMPTS: usize = 50;

/// What has become of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XactStatus {
    /// It is open, or its commit is not decided yet.
    InProgress,
    /// Final. What it wrote is seen by every transaction that begins from now on.
    Committed,
    /// Final.
    Aborted,
    /// It is too old, or nobody was ever told this id.
    Unknown,
    /// No transaction has begun with this id yet.
    InFuture,
}

/// The transactions of this node that somebody may ask about, and that may still commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Xacts(Arc<Mutex<BTreeSet<Timestamp>>>);

impl Xacts {
    pub(crate) fn is_open(&self, id: Timestamp) -> bool {
        self.0.lock().contains(&id)
    }
}

/// Keeps a transaction among the open ones.
#[derive(Debug)]
struct Open {
    id: Timestamp,
    among: Xacts,
}

impl Open {
    fn new(id: Timestamp, among: &Xacts) -> Result<Self, KvError> {
        if !among.0.lock().insert(id) {
            return Err(KvError::NotUsable("its id is about to be known"));
        }
        Ok(Open { id, among: among.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.among.0.lock().remove(&self.id);
    }
}

/// A transaction that was announced.
#[derive(Debug)]
pub(crate) struct Xact {
    open: Open,
    /// The version of its row: the newest there is, until its end is decided.
    announced: Timestamp,
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Announced { node: NodeId, incarnation: u64 },
    Committed,
    Aborted,
}

impl Word {
    fn is_announcement(row: Option<Word>) -> bool {
        matches!(row, Some(Word::Announced { .. }))
    }

    fn write(self) -> Bytes {
        let mut value = BytesMut::with_capacity(17);
        match self {
            Word::Announced { node, incarnation } => {
                value.put_u8(b'p');
                value.put_u64(node.0);
                value.put_u64(incarnation);
            }
            Word::Committed => value.put_u8(b'c'),
            Word::Aborted => value.put_u8(b'a'),
        }
        value.freeze()
    }

    fn read(mut value: &[u8]) -> Result<Word, KvError> {
        match (value.first(), value.len()) {
            (Some(b'p'), 17) => {
                value.advance(1);
                let node = NodeId(value.get_u64());
                Ok(Word::Announced { node, incarnation: value.get_u64() })
            }
            (Some(b'c'), 1) => Ok(Word::Committed),
            (Some(b'a'), 1) => Ok(Word::Aborted),
            (_, len) => Err(KvError::Invalid(format!("a transaction's outcome of {len} bytes"))),
        }
    }
}

fn key_of(id: Timestamp) -> Key {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(keyspace::XACTS);
    key.put_u64(id.0);
    Key(key.freeze())
}

impl Xact {
    pub(crate) fn id(&self) -> Timestamp {
        self.open.id
    }

    /// Whether a run that began at `run` may commit under this id (X4).
    pub(crate) fn may_end(&self, run: TxnId) -> bool {
        run.0 <= self.open.id.0.saturating_add(life().0)
    }

    pub(crate) fn key(&self) -> Key {
        key_of(self.open.id)
    }

    /// The write by which it is committed: refused if the row is not as it was announced.
    pub(crate) fn outcome(&self) -> kv::Write {
        kv::Write {
            kind: kv::write::Kind::Put as i32,
            key: self.key().0,
            value: Word::Committed.write(),
            seen_ts: Some(self.announced.0),
        }
    }

    /// The end of a transaction that can't write: in one of its own.
    pub(crate) fn conclude(
        self: Arc<Self>,
        shared: Arc<Shared>,
    ) -> BoxFuture<'static, Result<(), KvError>> {
        let xact = self.open.id;
        Box::pin(async move {
            loop {
                match change(&shared, xact, Word::is_announcement, Word::Committed).await? {
                    Found::Row(Some((_, Word::Committed))) => return Ok(()),
                    Found::Row(_) => return Err(KvError::DeclaredAborted { xact }),
                    // By somebody who is about to call it aborted, or not.
                    Found::Locked => {}
                }
            }
        })
    }
}

impl Inner {
    /// Its owner has let go of it. A commit under way goes on, and remembers it.
    pub(crate) fn forget_xact(&self) {
        let mut state = self.state.lock();
        if state.phase != Phase::Committing {
            state.xact = None;
        }
    }

    /// What is wrong with a commit that may have found its own row changed.
    pub(crate) fn unless_declared_aborted(&self, error: KvError) -> KvError {
        let xact = self.state.lock().xact.clone();
        match (&error, xact) {
            (KvError::Serialization { key: Some(key), cause, .. }, Some(xact))
                if *key == xact.key() && matches!(cause, SerializationCause::WriteConflict(_)) =>
            {
                KvError::DeclaredAborted { xact: xact.id() }
            }
            _ => error,
        }
    }
}

/// Gives a transaction an id, and announces it, unless that was done before.
pub(crate) async fn assign(inner: &Arc<Inner>) -> Result<Timestamp, KvError> {
    let shared = &inner.shared;
    let start = {
        let state = inner.state.lock();
        state.usable()?;
        if let Some(xact) = &state.xact {
            return Ok(xact.id());
        }
        if state.phase == Phase::New {
            return Err(KvError::NotUsable("no statement has begun"));
        }
        state.start
    };
    // One that reads the past has no start of its own.
    let id = match start {
        Timestamp::ZERO => shared.oracle.draw(&shared.router).await?,
        start => start,
    };
    let open = Open::new(id, &shared.xacts)?;
    let (node, incarnation) = shared.router.transport.local_node();
    let announcement = Word::Announced { node, incarnation };
    // An earlier announcement may have been carried out, its answer lost, and the id be forgotten.
    let again = |found: Option<Word>| found.is_none_or(|word| word == announcement);
    let announced = loop {
        match change(shared, id, again, announcement).await? {
            Found::Row(Some((at, word))) if word == announcement => break at,
            Found::Row(_) => return Err(KvError::DeclaredAborted { xact: id }),
            Found::Locked => {}
        }
    };
    let mut state = inner.state.lock();
    state.usable()?;
    state.xact = Some(Arc::new(Xact { open, announced }));
    Ok(id)
}

fn life() -> Timestamp {
    Timestamp::from_millis(u64::try_from(LIFE.as_millis()).expect("hours"))
}

fn small(shared: &Arc<Shared>) -> Arc<Txn> {
    let isolation = Isolation::ReadCommitted;
    Txn::new(shared.clone(), TxnOptions { isolation, ..TxnOptions::default() })
}

fn is_transient(error: &KvError) -> bool {
    matches!(error.remedy(), Remedy::RerunStatement | Remedy::RestartTransaction)
}

/// A row, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// What it says, and since when.
    Row(Option<(Timestamp, Word)>),
    /// A commit under way has it, or somebody who changes it.
    Locked,
}

/// Locks a row and reads its newest state.
async fn look(
    shared: &Arc<Shared>,
    txn: &Txn,
    id: Timestamp,
    strength: Strength,
) -> Result<Found, KvError> {
    txn.set_lock_timeout(Some(DECIDED_WITHIN));
    let locked = match txn.lock(&[key_of(id)], strength, WaitPolicy::Block).await {
        Ok(locked) => locked,
        Err(KvError::LockNotAvailable { .. }) => return Ok(Found::Locked),
        Err(error) => return Err(error),
    };
    let row = locked.into_iter().next().expect("one for each key");
    // It may lie above all that was issued: who begins after our answer must see it too.
    shared.oracle.until_issued(&shared.router, row.seen).await?;
    let word = row.value.map(|value| Word::read(&value)).transpose()?;
    Ok(Found::Row(word.map(|word| (row.seen, word))))
}

/// Writes a row if it is as `from` wants it. Returns what it says then.
async fn change(
    shared: &Arc<Shared>,
    id: Timestamp,
    from: impl Fn(Option<Word>) -> bool + Sync,
    to: Word,
) -> Result<Found, KvError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let txn = small(shared);
        let changed = async {
            txn.begin_statement().await?;
            let found = look(shared, &txn, id, Strength::Update).await?;
            match found {
                Found::Row(row) if from(row.map(|(_, word)| word)) => {
                    txn.put(key_of(id), to.write())?;
                    let at = txn.commit().await?.expect("a write has a timestamp");
                    Ok(Found::Row(Some((at, to))))
                }
                found => Ok(found),
            }
        };
        match changed.await {
            Err(error) if is_transient(&error) && attempt < ATTEMPTS => {}
            done => return done,
        }
    }
}

/// What a row tells by itself, or whom to ask.
fn status_of(found: Found) -> Result<XactStatus, Word> {
    match found {
        Found::Locked => Ok(XactStatus::InProgress),
        Found::Row(None) => Ok(XactStatus::Unknown),
        Found::Row(Some((_, Word::Committed))) => Ok(XactStatus::Committed),
        Found::Row(Some((_, Word::Aborted))) => Ok(XactStatus::Aborted),
        Found::Row(Some((_, announced @ Word::Announced { .. }))) => Err(announced),
    }
}

impl Db {
    /// What has become of the transaction that has, or had, this id ([`Txn::xact_id`]). May be asked of
    /// any node. `Committed` and `Aborted` are final; a transaction whose node has died is found to be
    /// `Aborted` when no node hears of that any more, and is `InProgress` until then.
    pub async fn xact_status(&self, id: Timestamp) -> Result<XactStatus, KvError> {
        let announced = match self.xact_row(id).await? {
            Err(status) => return Ok(status),
            Ok(found) => match status_of(found) {
                Err(announced) => announced,
                Ok(status) => return Ok(status),
            },
        };
        if self.may_commit(id, announced).await {
            return Ok(XactStatus::InProgress);
        }
        let unchanged = |found| found == Some(announced);
        let found = change(&self.shared, id, unchanged, Word::Aborted).await?;
        Ok(status_of(found).unwrap_or(XactStatus::InProgress))
    }

    /// What a row says, without being in the way of others who ask.
    async fn xact_row(&self, id: Timestamp) -> Result<Result<Found, XactStatus>, KvError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let txn = small(&self.shared);
            let looked = async {
                if txn.begin_statement().await? < id {
                    return Ok(Err(XactStatus::InFuture));
                }
                look(&self.shared, &txn, id, Strength::Share).await.map(Ok)
            };
            match looked.await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS => {}
                done => return done,
            }
        }
    }

    async fn may_commit(&self, id: Timestamp, announced: Word) -> bool {
        let Word::Announced { node, incarnation } = announced else { return false };
        if self.shared.router.transport.local_node() == (node, incarnation) {
            return self.shared.xacts.is_open(id);
        }
        let inspect = kv::Inspect { what: What::Xact as i32, txn_id: id.0, key: Bytes::default() };
        match self.ask(node, inspect, ANSWER_WITHIN).await {
            Some(answer) => answer.held && answer.incarnation == incarnation,
            None => !self.is_gone(node).await,
        }
    }

    /// Forgets outcomes of transactions that began two hours before `point` or earlier. The caller vouches
    /// that nobody who began before `point` need write or read any more.
    pub async fn forget_xacts(&self, point: Timestamp) -> Result<(), KvError> {
        let oldest = Timestamp(point.0.saturating_sub(life().0));
        let span = KeyRange { start: key_of(Timestamp::ZERO), end: key_of(oldest) };
        let txn = self.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
        txn.begin_statement().await?;
        let options = ScanOptions { max_rows: 1, ..ScanOptions::default() };
        if txn.scan(span.clone(), options).await?.rows.is_empty() {
            return Ok(());
        }
        self.clear(span, point).await
    }
}
