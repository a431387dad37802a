//! The transaction a session is in.
//!
//! ```text
//!            statement               BEGIN
//!   Idle ───────────────▶ Implicit ─────────▶ Block ◀───── ROLLBACK TO ─────┐
//!     ▲   end of batch       │                  │  error                    │
//!     ├──────────────────────┘                  ├────────▶ Failed ──────────┘
//!     └───────────── COMMIT, ROLLBACK ──────────┴─────────────┘
//! ```
//!
//! The key-value transaction begins with the first statement that needs it, so that BEGIN and SET
//! cost nothing and `SET TRANSACTION` still has something to set.

use std::sync::Arc;
use std::time::Duration;

use base::{Key, KeyRange};
use catalog::CatalogSnapshot;
use kv::{Activity, Isolation, Savepoint, Strength, Txn, TxnOptions, WaitPolicy};
use tokio::time::Instant;

use super::engine::Engine;
use super::history::History;
use super::modes::Modes;
use super::premise::SchemaPremise;
use super::temp::TempObjects;
use crate::ddl::closing::Closed;
use crate::dml::Deferrals;
use crate::settings::SettingsMark;
use crate::{SqlError, SqlState};

/// Where in the picture the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Idle,
    Implicit,
    Explicit,
    Failed,
}

/// A named savepoint and all there is to return to.
#[derive(Debug)]
struct Mark {
    name: String,
    kv: Option<Savepoint>,
    catalog: Option<Arc<CatalogSnapshot>>,
    changed_catalog: bool,
    temp: Option<Arc<TempObjects>>,
    /// As in PostgreSQL, what SET TRANSACTION READ ONLY did behind the savepoint ends with it.
    read_only: bool,
    settings: SettingsMark,
    /// Advisory locks taken for the transaction.
    advisory: usize,
}

/// A session's transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) block: Block,
    pub(crate) modes: Modes,
    txn: Option<Arc<Txn>>,
    /// A transaction to run again: it keeps its age.
    again: Option<Arc<Txn>>,
    /// An earlier run of it has failed.
    pub(crate) is_rerun: bool,
    /// What it has used of the catalog.
    pub(super) premise: Option<Arc<SchemaPremise>>,
    /// The catalog this transaction has validated, or made.
    pub(crate) catalog: Option<Arc<CatalogSnapshot>>,
    /// It made `catalog` itself: nobody else may use it, nor plans made under it.
    pub(crate) changed_catalog: bool,
    /// What it has made of the session's temporary objects.
    pub(crate) temp: Option<Arc<TempObjects>>,
    /// Its COMMIT failed: nothing is left of it but its age.
    pub(crate) commit_failed: bool,
    /// Statements that used the key-value transaction.
    pub(crate) statements: u32,
    marks: Vec<Mark>,
    /// Tables and their primary indexes that this transaction has made.
    pub(crate) fresh: std::collections::BTreeSet<(u32, u32)>,
    /// Key spans filled outside of this transaction for tables that exist only in it: to be
    /// emptied if it rolls back.
    pub(crate) loaded: Vec<KeyRange>,
    /// Tables that its statement keeps closed, over all runs.
    pub(crate) closed: Option<Closed>,
    /// When it began; `now()` shows the same moment. A repetition keeps it.
    pub(crate) began: Option<Instant>,
    /// Checks of constraints put off to its end.
    pub(crate) deferrals: Arc<Deferrals>,
    /// What it has done so far, to do it again.
    pub(crate) history: History,
    /// What the client was told cannot be repeated: only the end of the block is left.
    pub(crate) lost: bool,
    /// Keys at which earlier runs were overtaken: the next one locks them before it reads.
    contended: Vec<Key>,
    /// The implicit transaction that this one, of another time, stands in for.
    aside: Option<Box<Transaction>>,
}

/// Most keys locked ahead by a repetition.
const CONTENDED_MAX: usize = 64;

impl Transaction {
    pub(crate) fn new(modes: Modes) -> Self {
        Transaction {
            block: Block::Idle,
            modes,
            txn: None,
            again: None,
            is_rerun: false,
            premise: None,
            catalog: None,
            changed_catalog: false,
            temp: None,
            commit_failed: false,
            statements: 0,
            marks: Vec::new(),
            fresh: Default::default(),
            loaded: Vec::new(),
            closed: None,
            began: None,
            deferrals: Arc::default(),
            history: History::default(),
            lost: false,
            contended: Vec::new(),
            aside: None,
        }
    }

    /// Makes room for one statement of another time.
    pub(crate) fn step_aside(&mut self, modes: Modes) {
        assert!(self.aside.is_none(), "one statement at a time");
        let mut stand_in = Transaction::new(modes);
        stand_in.block = Block::Implicit;
        let aside = std::mem::replace(self, stand_in);
        self.aside = Some(Box::new(aside));
    }

    /// Takes its place again, if it stepped aside.
    pub(crate) fn step_back(&mut self) {
        if let Some(aside) = self.aside.take() {
            *self = *aside;
        }
    }

    /// The key-value transaction with a statement begun.
    pub(crate) async fn statement(
        &mut self,
        engine: &Arc<Engine>,
        activity: &Arc<Activity>,
        lock_timeout: Option<Duration>,
    ) -> Result<Arc<Txn>, SqlError> {
        let txn = match &self.txn {
            Some(txn) => txn.clone(),
            None => {
                let options = TxnOptions {
                    isolation: self.modes.isolation(),
                    // Behind a savepoint it may only be read-only until that is returned to.
                    read_only: self.modes.read_only && self.marks.is_empty(),
                    as_of: self.modes.as_of,
                    ..TxnOptions::default()
                };
                let same = |t: &Arc<Txn>| {
                    t.options().isolation == options.isolation
                        && t.options().read_only == options.read_only
                        && t.options().as_of == options.as_of
                };
                let begin = || engine.db.begin(options);
                let txn = self.again.take().filter(same).unwrap_or_else(begin);
                let premise = SchemaPremise::new(engine);
                txn.rely_on(catalog::store::version_key(), premise.clone());
                self.premise = Some(premise);
                self.txn = Some(txn.clone());
                txn
            }
        };
        txn.attach(activity);
        txn.set_lock_timeout(lock_timeout);
        txn.begin_statement().await?;
        self.statements += 1;
        if self.statements == 1 && !self.contended.is_empty() && !txn.options().read_only {
            txn.lock(&self.contended, Strength::Update, WaitPolicy::Block).await?;
        }
        let moved = self.premise.as_ref().is_some_and(|premise| premise.take_moved());
        if (moved || self.modes.isolation() == Isolation::ReadCommitted) && !self.changed_catalog {
            // A new snapshot may show another catalog.
            self.catalog = None;
        }
        Ok(txn)
    }

    /// The key-value transaction, if a statement has used it.
    pub(crate) fn txn(&self) -> Option<&Arc<Txn>> {
        self.txn.as_ref()
    }

    /// A run was overtaken at `key`. From the fifth on the whole index is queued for, behind a key
    /// that no row has: what overtakes may be new rows, each at a key of its own.
    pub(crate) fn note_contended(&mut self, key: &Key, attempt: u32) {
        const GATE_AFTER: u32 = 5;
        const INDEX_PREFIX: usize = 9;
        let bytes = key.as_bytes();
        if bytes.first() != Some(&base::keyspace::TABLES) || bytes.len() <= INDEX_PREFIX {
            return;
        }
        let wanted = match attempt {
            ..GATE_AFTER => key.clone(),
            _ => Key(key.0.slice(..INDEX_PREFIX)),
        };
        if self.contended.len() < CONTENDED_MAX && !self.contended.contains(&wanted) {
            self.contended.push(wanted);
        }
    }

    /// Rolls the key-value transaction back (in the background, when it is dropped).
    pub(crate) fn release_txn(&mut self) {
        self.txn = None;
    }

    /// Whether nothing but the statement that runs has used the transaction.
    pub(crate) fn is_first_statement(&self) -> bool {
        self.statements <= 1 && self.marks.is_empty()
    }

    /// Whether a savepoint is set.
    pub(crate) fn has_savepoints(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Number of savepoints set.
    pub(crate) fn savepoints(&self) -> usize {
        self.marks.len()
    }

    /// Sets the savepoint that a statement returns to if it has to run again.
    pub(crate) fn savepoint(&mut self, name: String, settings: SettingsMark, advisory: usize) {
        self.marks.push(Mark {
            name,
            kv: self.txn.as_ref().map(|t| t.savepoint()),
            catalog: self.catalog.clone(),
            changed_catalog: self.changed_catalog,
            temp: self.temp.clone(),
            read_only: self.modes.read_only,
            settings,
            advisory,
        });
    }

    fn position(&self, name: &str) -> Result<usize, SqlError> {
        self.marks.iter().rposition(|m| m.name == name).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_SAVEPOINT,
                format!("savepoint \"{name}\" does not exist"),
            )
        })
    }

    /// RELEASE SAVEPOINT.
    pub(crate) fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let at = self.position(name)?;
        self.modes.read_only = self.marks[at].read_only;
        self.marks.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT. Returns the settings and the number of advisory locks to go back to. Row
    /// locks taken behind the mark are released; what was read stays read: the client has seen it.
    pub(crate) async fn rollback_to(
        &mut self,
        name: &str,
    ) -> Result<(SettingsMark, usize), SqlError> {
        if self.lost {
            return Err(lost());
        }
        let at = self.position(name)?;
        if self.txn.as_ref().is_some_and(|txn| !txn.is_usable()) {
            return Err(lost());
        }
        self.marks.truncate(at + 1);
        let mark = &self.marks[at];
        if let Some(txn) = &self.txn {
            txn.rollback_to_and_release(mark.kv).await?;
        }
        self.catalog = mark.catalog.clone();
        self.changed_catalog = mark.changed_catalog;
        self.temp = mark.temp.clone();
        self.modes.read_only = mark.read_only;
        self.block = Block::Explicit;
        Ok((mark.settings.clone(), mark.advisory))
    }

    /// Ends it and leaves nothing; the caller has committed or rolled back.
    pub(crate) fn finish(&mut self, modes: Modes) -> Finished {
        let finished = Finished {
            txn: self.txn.take(),
            catalog: self.catalog.take().filter(|_| self.changed_catalog),
            loaded: std::mem::take(&mut self.loaded),
            closed: self.closed.take(),
            temp: self.temp.take(),
        };
        let again = self.again.take();
        *self = Transaction::new(modes);
        self.again = again;
        finished
    }

    /// Undoes everything so that it can run again, as old as it is. Returns spans to be emptied.
    pub(crate) fn restart(&mut self, block: Block) -> Vec<KeyRange> {
        if let Some(txn) = self.txn.take() {
            txn.restart();
            self.again = Some(txn);
        }
        self.is_rerun = true;
        self.block = block;
        self.premise = None;
        self.catalog = None;
        self.changed_catalog = false;
        self.temp = None;
        self.commit_failed = false;
        self.statements = 0;
        self.marks.clear();
        self.fresh.clear();
        self.deferrals = Arc::default();
        self.history = History::default();
        std::mem::take(&mut self.loaded)
    }

    /// Forgets a transaction kept to run again.
    pub(crate) fn forget(&mut self) {
        self.again = None;
        self.contended.clear();
    }
}

/// What is left of a transaction when it ends.
pub(crate) struct Finished {
    pub(crate) txn: Option<Arc<Txn>>,
    pub(crate) catalog: Option<Arc<CatalogSnapshot>>,
    pub(crate) loaded: Vec<KeyRange>,
    /// Opens again when this is dropped.
    pub(crate) closed: Option<Closed>,
    pub(crate) temp: Option<Arc<TempObjects>>,
}

/// 40001: the transaction is gone, its savepoints with it.
fn lost() -> SqlError {
    SqlError::new(
        SqlState::SERIALIZATION_FAILURE,
        "could not serialize access: the transaction cannot be returned to a savepoint",
    )
    .detail("It was rolled back as a whole, to end a deadlock or because of a conflict.")
    .hint("Run the transaction again from its beginning.")
}
