//! BEGIN, COMMIT, ROLLBACK and savepoints.

use std::sync::Arc;

use kv::{KvError, Txn};
use tokio::task::coop::unconstrained;

use super::Session;
use super::api::{Severity, Sink};
use super::execute::{Tag, is_retryable};
use super::modes::{Mode, Modes};
use super::repeat::Repeated;
use super::transaction::Block;
use crate::{SqlError, SqlState};

fn warn(sink: &mut dyn Sink, code: SqlState, message: &str) {
    sink.notice(Severity::Warning, &SqlError::new(code, message));
}

impl Session {
    /// BEGIN. In a simple query it turns the implicit transaction so far into the block.
    pub(super) fn begin(
        &mut self,
        modes: &[Mode],
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
                self.refresh_env();
                self.tick();
            }
        }
        self.set_transaction(modes)?;
        if self.tx.history.modes.is_none() {
            self.tx.history.modes = Some(self.tx.modes);
        }
        Ok(Tag::Text(if start { "START TRANSACTION" } else { "BEGIN" }))
    }

    /// SET TRANSACTION, and the modes of BEGIN. Each is refused where PostgreSQL refuses it.
    pub(super) fn set_transaction(&mut self, list: &[Mode]) -> Result<(), SqlError> {
        let queried = self.tx.txn().is_some();
        let inner = self.tx.has_savepoints();
        let past = self.tx.modes.as_of.is_some() || list.iter().any(|m| matches!(m, Mode::AsOf(_)));
        if past && list.contains(&Mode::ReadOnly(false)) {
            return Err(SqlError::syntax("AS OF SYSTEM TIME specified with READ WRITE mode"));
        }
        for mode in list {
            let modes = self.tx.modes;
            let refused = match mode {
                Mode::Level(level) if *level == modes.level => None,
                Mode::Level(_) if queried => {
                    Some("SET TRANSACTION ISOLATION LEVEL must be called before any query")
                }
                Mode::Level(_) if inner => {
                    Some("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction")
                }
                Mode::ReadOnly(false) if modes.read_only && inner => {
                    Some("cannot set transaction read-write mode inside a read-only transaction")
                }
                Mode::ReadOnly(false) if modes.read_only && queried => {
                    Some("transaction read-write mode must be set before any query")
                }
                Mode::Deferrable(_) if inner => Some(
                    "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction",
                ),
                Mode::Deferrable(_) if queried => {
                    Some("SET TRANSACTION [NOT] DEFERRABLE must be called before any query")
                }
                Mode::AsOf(at) if queried && modes.as_of != Some(*at) => {
                    Some("SET TRANSACTION AS OF SYSTEM TIME must be called before any query")
                }
                Mode::Level(_) | Mode::ReadOnly(_) | Mode::Deferrable(_) | Mode::AsOf(_) => None,
            };
            if let Some(message) = refused {
                return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            match *mode {
                Mode::Level(level) => self.tx.modes.level = level,
                Mode::ReadOnly(read_only) => self.tx.modes.read_only = read_only,
                Mode::Deferrable(deferrable) => self.tx.modes.deferrable = deferrable,
                Mode::AsOf(at) => self.tx.modes.as_of = Some(at),
            }
        }
        self.tx.modes.read_only |= past;
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
                self.commit_block(sink).await?;
                Tag::Text("COMMIT")
            }
            // COMMIT of a failed transaction rolls back and says so.
            Block::Failed => {
                self.rollback_transaction().await;
                Tag::Text("ROLLBACK")
            }
        };
        if chain {
            self.chain(modes);
        }
        Ok(tag)
    }

    /// The next transaction of COMMIT AND CHAIN begins, like the one before.
    fn chain(&mut self, modes: Modes) {
        self.tx.modes = modes;
        self.tx.block = Block::Explicit;
        self.tx.history.modes = Some(modes);
        self.tick();
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
            self.chain(modes);
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
        self.cut_cursors(self.tx.savepoints(), false);
        Ok(Tag::Text("RELEASE"))
    }

    /// ROLLBACK TO SAVEPOINT: the only way out of a failed block that keeps some of it. What a deadlock
    /// took away is done again first.
    pub(super) async fn rollback_to(
        &mut self,
        name: &str,
        sink: &mut dyn Sink,
    ) -> Result<Tag, SqlError> {
        if !matches!(self.tx.block, Block::Explicit | Block::Failed) {
            return Err(outside("ROLLBACK TO SAVEPOINT"));
        }
        let gone = self.tx.txn().is_some_and(|txn| !txn.is_usable());
        if gone && !self.tx.lost {
            let error = SqlError::new(SqlState::SERIALIZATION_FAILURE, "the transaction is gone");
            // A failure is told by what follows: there is nothing to return to.
            if let Repeated::No = Box::pin(self.repeat(&error, &mut 0, sink)).await? {
                self.tx.lost = true;
            }
        }
        let (settings, advisory) = self.tx.rollback_to(name).await?;
        self.cut_cursors(self.tx.savepoints(), true);
        self.advisory.release_to(advisory).await;
        self.settings.rollback_to(&settings);
        self.env_generation = 0;
        self.refresh_env();
        Ok(Tag::Text("ROLLBACK"))
    }

    /// COMMIT of a block; what conflicts there is done again if the client would not notice.
    async fn commit_block(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let mut attempt = 0;
        loop {
            let Err(error) = self.commit_transaction().await else { return Ok(()) };
            if !is_retryable(&error) || self.restarts_script {
                return Err(error);
            }
            match Box::pin(self.repeat(&error, &mut attempt, sink)).await? {
                Repeated::Yes => {}
                Repeated::No => {
                    self.tx.commit_failed = true;
                    return Err(error);
                }
            }
        }
    }

    /// Commits what is open; the session is idle afterwards. After an error the caller runs it
    /// again or calls [`Session::fail`].
    pub(super) async fn commit_transaction(&mut self) -> Result<(), SqlError> {
        let modes = self.modes();
        if let Err(error) = self.check_deferred(None).await {
            self.epoch += 1;
            self.tx.commit_failed = true;
            return Err(error);
        }
        if let Err(error) = self.end_temp_rows().await {
            self.epoch += 1;
            self.tx.commit_failed = true;
            return Err(error);
        }
        let result = match self.tx.txn().cloned() {
            Some(txn) => match self.rise_above_loads().await {
                Ok(()) => self.settle_commit(&txn).await,
                Err(error) => Err(self.describe_kv_error(error)),
            },
            None => Ok(()),
        };
        self.epoch += 1;
        match result {
            Ok(()) => {
                self.end_cursors(true);
                let finished = self.tx.finish(modes);
                if let Some(temp) = finished.temp {
                    self.temp = temp;
                    self.env_generation = 0;
                }
                if let Some(catalog) = finished.catalog {
                    if let Some(closed) = finished.closed {
                        closed.end(&catalog);
                    }
                    self.engine.catalog.publish(&self.without_temp(&catalog));
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
                Err(error)
            }
        }
    }

    /// Commits, and waits for the outcome whatever happens: a cancel or a timeout asks the commit to
    /// give up, and is reported only if it did.
    async fn settle_commit(&self, txn: &Arc<Txn>) -> Result<(), SqlError> {
        let mut commit = std::pin::pin!(txn.commit());
        let given_up = tokio::select! {
            biased;
            result = &mut commit => {
                return result.map(drop).map_err(|error| self.describe_kv_error(error));
            }
            () = unconstrained(self.cancel.requested()) => SqlError::cancelled(),
            error = unconstrained(self.deadline.passed()) => error,
        };
        txn.interrupt();
        match commit.await {
            Ok(_) => Ok(()),
            Err(error @ KvError::Ambiguous { .. }) => Err(self.describe_kv_error(error)),
            Err(_) => Err(given_up),
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
            self.engine.db.spawn(async move { advisory.release(taken).await });
        }
    }

    /// Undoes what is open, to run it again from its beginning.
    pub(super) fn restart_transaction(&mut self, block: Block) {
        self.end_cursors(false);
        let loaded = self.tx.restart(block);
        self.release_advisory();
        self.clear_loaded(loaded);
    }

    /// Forgets what is open; the key-value transaction rolls back when it is dropped.
    pub(super) fn drop_transaction(&mut self) {
        self.end_cursors(false);
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
