//! BEGIN, COMMIT, ROLLBACK and savepoints.

use base::Timestamp;
use sqlparser::ast::{TransactionAccessMode, TransactionIsolationLevel, TransactionMode};

use super::Session;
use super::api::{Severity, Sink};
use super::execute::Tag;
use super::transaction::{Block, Modes};
use crate::{SqlError, SqlState};

/// Applies the modes of BEGIN or SET TRANSACTION.
pub(super) fn apply_modes(mut modes: Modes, list: &[TransactionMode]) -> Result<Modes, SqlError> {
    for mode in list {
        match mode {
            TransactionMode::AccessMode(access) => {
                modes.read_only = matches!(access, TransactionAccessMode::ReadOnly);
            }
            TransactionMode::IsolationLevel(level) => {
                modes.isolation = match level {
                    TransactionIsolationLevel::ReadUncommitted
                    | TransactionIsolationLevel::ReadCommitted => kv::Isolation::ReadCommitted,
                    TransactionIsolationLevel::RepeatableRead => kv::Isolation::RepeatableRead,
                    TransactionIsolationLevel::Serializable => kv::Isolation::Serializable,
                    TransactionIsolationLevel::Snapshot => {
                        return Err(SqlError::syntax("syntax error at or near \"SNAPSHOT\""));
                    }
                };
            }
        }
    }
    Ok(modes)
}

fn warn(sink: &mut dyn Sink, code: SqlState, message: &str) {
    sink.notice(Severity::Warning, &SqlError::new(code, message));
}

impl Session {
    /// BEGIN. In a simple query it turns the implicit transaction so far into the block.
    pub(super) fn begin(
        &mut self,
        modes: &[TransactionMode],
        as_of: Option<Timestamp>,
        start: bool,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        self.refuse_if_failed()?;
        match self.tx.block {
            Block::Explicit => warn(
                sink,
                SqlState::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            ),
            Block::Idle | Block::Implicit | Block::Failed => {
                if self.tx.block == Block::Idle {
                    self.tx.modes = self.modes();
                }
                self.tx.block = Block::Explicit;
            }
        }
        self.set_transaction(modes, as_of)?;
        Ok(Tag::Text(if start { "START TRANSACTION" } else { "BEGIN" }))
    }

    /// SET TRANSACTION, and the modes of BEGIN.
    pub(super) fn set_transaction(
        &mut self,
        list: &[TransactionMode],
        as_of: Option<Timestamp>,
    ) -> Result<(), SqlError> {
        let mut modes = apply_modes(self.tx.modes, list)?;
        let writes = |mode: &TransactionMode| {
            matches!(mode, TransactionMode::AccessMode(TransactionAccessMode::ReadWrite))
        };
        if as_of.or(modes.as_of).is_some() {
            if list.iter().any(writes) {
                return Err(SqlError::syntax("AS OF SYSTEM TIME specified with READ WRITE mode"));
            }
            modes.read_only = true;
            modes.as_of = as_of.or(modes.as_of);
        }
        if self.tx.txn().is_some() {
            if modes.as_of != self.tx.modes.as_of {
                return Err(SqlError::new(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    "SET TRANSACTION AS OF SYSTEM TIME must be called before any query",
                ));
            }
            if modes.isolation != self.tx.modes.isolation {
                return Err(SqlError::new(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    "SET TRANSACTION ISOLATION LEVEL must be called before any query",
                ));
            }
            if self.tx.modes.read_only && !modes.read_only {
                return Err(SqlError::new(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    "transaction read-write mode must be set before any query",
                ));
            }
        }
        self.tx.modes = modes;
        Ok(())
    }

    /// COMMIT or END.
    pub(super) async fn commit(
        &mut self,
        chain: bool,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        let modes = self.tx.modes;
        let tag = match self.tx.block {
            Block::Idle | Block::Implicit => {
                if chain {
                    return Err(outside("COMMIT AND CHAIN"));
                }
                warn(
                    sink,
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    "there is no transaction in progress",
                );
                self.commit_transaction().await?;
                return Ok(Tag::Text("COMMIT"));
            }
            Block::Explicit => {
                self.commit_transaction().await?;
                Tag::Text("COMMIT")
            }
            // COMMIT of a failed transaction rolls back and says so.
            Block::Failed => {
                self.rollback_transaction().await;
                Tag::Text("ROLLBACK")
            }
        };
        if chain {
            self.tx.modes = modes;
            self.tx.block = Block::Explicit;
        }
        Ok(tag)
    }

    /// ROLLBACK.
    pub(super) async fn rollback(
        &mut self,
        chain: bool,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        let modes = self.tx.modes;
        if matches!(self.tx.block, Block::Idle | Block::Implicit) {
            if chain {
                return Err(outside("ROLLBACK AND CHAIN"));
            }
            warn(sink, SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        }
        self.rollback_transaction().await;
        if chain {
            self.tx.modes = modes;
            self.tx.block = Block::Explicit;
        }
        Ok(Tag::Text("ROLLBACK"))
    }

    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: String) -> Result<Tag, SqlError> {
        self.refuse_if_failed()?;
        if self.tx.block != Block::Explicit {
            return Err(outside("SAVEPOINT"));
        }
        let settings = self.settings.mark();
        self.tx.savepoint(name, settings, self.advisory.mark());
        Ok(Tag::Text("SAVEPOINT"))
    }

    /// RELEASE SAVEPOINT.
    pub(super) fn release(&mut self, name: &str) -> Result<Tag, SqlError> {
        self.refuse_if_failed()?;
        if self.tx.block != Block::Explicit {
            return Err(outside("RELEASE SAVEPOINT"));
        }
        self.tx.release(name)?;
        Ok(Tag::Text("RELEASE"))
    }

    /// ROLLBACK TO SAVEPOINT: the only way out of a failed block that keeps some of it.
    pub(super) async fn rollback_to(&mut self, name: &str) -> Result<Tag, SqlError> {
        if !matches!(self.tx.block, Block::Explicit | Block::Failed) {
            return Err(outside("ROLLBACK TO SAVEPOINT"));
        }
        let (settings, advisory) = self.tx.rollback_to(name).await?;
        self.advisory.release_to(advisory).await;
        self.settings.rollback_to(&settings);
        self.refresh_env();
        Ok(Tag::Text("ROLLBACK"))
    }

    /// Commits what is open; the session is idle afterwards. After an error the caller runs it
    /// again or calls [`Session::fail`].
    pub(super) async fn commit_transaction(&mut self) -> Result<(), SqlError> {
        let modes = self.modes();
        let result = match self.tx.txn().cloned() {
            Some(txn) => match self.rise_above_loads().await {
                Ok(()) => txn.commit().await,
                Err(error) => Err(error),
            },
            None => Ok(None),
        };
        self.epoch += 1;
        match result {
            Ok(_) => {
                let finished = self.tx.finish(modes);
                if let Some(catalog) = finished.catalog {
                    self.engine.catalog.publish(&catalog);
                    // Schemas may have come or gone.
                    self.env_generation = 0;
                }
                self.advisory.release_to(0).await;
                self.settings.commit();
                self.refresh_env();
                self.tx.modes = self.modes();
                self.tx.forget();
                Ok(())
            }
            Err(error) => {
                self.tx.commit_failed = true;
                Err(self.describe_kv_error(error))
            }
        }
    }

    /// Makes a transaction that has loaded rows commit above a timestamp drawn now.
    ///
    /// The rows are as old as its snapshot, and a follower may have been promised that nothing that old
    /// is written any more, before they came. It must not show the past without them to anybody who knows
    /// of them. Whoever does reads at the commit or above; what is promised up to there is promised
    /// from now on, when the rows are there. What makes them known is a change of the catalog, so a
    /// read of the catalog's version at that timestamp is what the commit has to stay above.
    async fn rise_above_loads(&self) -> Result<(), kv::KvError> {
        if self.tx.loaded.is_empty() {
            return Ok(());
        }
        let db = &self.engine.db;
        let as_of = Some(db.now().await?);
        let reader = db.begin(kv::TxnOptions { as_of, ..Default::default() });
        reader.begin_statement().await?;
        reader.get(&catalog::store::version_key()).await.map(drop)
    }

    /// Rolls back what is open; the session is idle afterwards.
    pub(super) async fn rollback_transaction(&mut self) {
        if let Some(txn) = self.tx.txn() {
            txn.clone().rollback().await;
        }
        self.drop_transaction();
    }

    /// The transaction is over: gives back, in the background, the advisory locks taken for it.
    pub(super) fn release_advisory(&self) {
        let taken = self.advisory.take_since(0);
        if !taken.is_empty() {
            let advisory = self.advisory.clone();
            tokio::spawn(async move { advisory.release(taken).await });
        }
    }

    /// Undoes what is open, to run it again from its beginning.
    pub(super) fn restart_transaction(&mut self, block: Block) {
        let loaded = self.tx.restart(block);
        self.release_advisory();
        self.clear_loaded(loaded);
    }

    /// Forgets what is open; the key-value transaction rolls back when it is dropped.
    pub(super) fn drop_transaction(&mut self) {
        let finished = self.tx.finish(self.tx.modes);
        drop(finished.txn);
        self.release_advisory();
        self.epoch += 1;
        self.settings.rollback();
        self.env_generation = 0;
        self.refresh_env();
        self.tx.modes = self.modes();
        self.clear_loaded(finished.loaded);
    }
}

fn outside(what: &str) -> SqlError {
    SqlError::new(
        SqlState::NO_ACTIVE_SQL_TRANSACTION,
        format!("{what} can only be used in transaction blocks"),
    )
}
