//! CREATE INDEX while others read and write the table.
//!
//! ```text
//!   announce   a transaction adds the index,      from its commit on every writer keeps it up to date
//!              not public
//!   fill       page by page: the rows of a        a key that has a version keeps it: a writer was there
//!              snapshot, loaded at that snapshot   at a later moment
//!   verify     (unique) each row has its entry    else 23505
//!   publish    a transaction makes it public      from its commit on it is read
//! ```
//!
//! # Why no row is missed, and no entry is stale
//!
//! Whoever commits a write commits it under the catalog's newest version (`catalog::store`). So once the
//! announcement is committed, nobody commits without the index any more, and F1's delete-only state has
//! nobody to protect from. A page is read at a snapshot `S` drawn after that. Whatever was written at or
//! below `S` is read. Whoever writes one of its rows later lands above `S`, since it was read there, and
//! leaves a version of the entry above `S`: a new one, or a deletion. The load leaves such a key alone if it
//! finds it, and lies below it if it comes first (`range::eval::load`).
//!
//! Two rows with one key of a unique index: the second writer of the two sees the entry of the first, unless
//! the first is older than the index and its entry not loaded yet. Then the entry is that of one of them, and
//! the other has none, which *verify* finds.
//!
//! # What ends early
//!
//! An error or a cancellation takes the index back. If the process ends, whichever node finds that out does
//! (`reclaim`). Nothing else of the statement is left behind by then: pages already loaded belong to an index
//! id that nobody names, and are cleared as those of any dropped index.

use std::sync::Arc;
use std::time::Duration;

use base::{Key, KeyRange, NodeId, Timestamp};
use bytes::Bytes;
use catalog::temporary::Process;
use catalog::{CatalogSnapshot, Change, IndexState, Table, TableId, garbage, store};
use kv::{KvError, ScanOptions, Txn, TxnOptions};
use sqlparser::ast::CreateIndex;

use super::bulk::duplicated;
use super::reclaim::index_span;
use super::{Ddl, index, locked_catalog, new_oids};
use crate::dml::{Names, codec_error};
use crate::indexed::with_computed;
use crate::session::api::Sink;
use crate::session::{Engine, Session, TEMP_SCHEMA, catalog_error, is_retryable};
use crate::{SqlError, SqlState};

/// Tables with fewer rows are indexed by one transaction.
const SMALL_ROWS: u64 = 1_000;
/// Bytes of rows read, and indexed, at a time.
const PAGE_BYTES: u64 = 512 << 10;
/// Between two attempts to take an index back while the catalog can't be reached.
const TAKE_BACK_AGAIN: Duration = Duration::from_secs(1);

/// Whether an index of the table is to be built beside the writers: not as part of a larger transaction,
/// and not for a few rows.
pub(super) async fn is_due(
    session: &Session,
    ddl: &Ddl,
    table: &Table,
    concurrently: bool,
) -> Result<bool, SqlError> {
    let schema = ddl.catalog.schema_by_id(table.schema);
    let temporary = schema.is_some_and(|schema| schema.name == TEMP_SCHEMA);
    if session.in_block() || !session.is_alone() || temporary {
        return Ok(false);
    }
    let few = ScanOptions { max_rows: SMALL_ROWS, unchecked: true, ..ScanOptions::default() };
    Ok(concurrently || ddl.txn.scan(table.codec().span(), few).await?.resume.is_some())
}

/// Builds it.
pub(super) async fn build(
    session: &mut Session,
    create: &CreateIndex,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let oid = new_oids(session, 1).await?;
    let Some((table, catalog)) = announce(session, create, text, sink, oid).await? else {
        return Ok(());
    };
    let mut building = Building::new(session.engine(), table.id, oid);
    let result = fill_and_publish(session, &table, &catalog, oid).await;
    if result.is_err() {
        building.take_back().await;
    }
    building.is_over = true;
    result
}

async fn fill_and_publish(
    session: &Session,
    table: &Table,
    catalog: &CatalogSnapshot,
    oid: u32,
) -> Result<(), SqlError> {
    let position = place_of(table, oid).expect("it was announced in it");
    let entries = Entries { engine: session.engine(), table, position };
    entries.fill().await?;
    if table.indexes[position].unique {
        let duplicate = entries.without_their_own().await?;
        if let Some(key) = duplicate {
            let names = Names { catalog, env: session.env() };
            return Err(duplicated(names.duplicate(&key)));
        }
    }
    publish(session, table.id, oid).await
}

fn place_of(table: &Table, oid: u32) -> Option<usize> {
    table.indexes.iter().position(|index| index.oid == oid)
}

/// Adds the index, for writers alone. Nothing if there is a relation of that name, and the statement is
/// content with that.
async fn announce(
    session: &mut Session,
    create: &CreateIndex,
    text: &str,
    sink: &mut dyn Sink,
    oid: u32,
) -> Result<Option<(Table, Arc<CatalogSnapshot>)>, SqlError> {
    let mut attempt = 0;
    loop {
        let txn = session.own_txn().await?;
        let catalog = match locked_catalog(session.engine(), &txn).await {
            Ok(catalog) => catalog,
            Err(error) => {
                again(session.engine(), error, &mut attempt).await?;
                continue;
            }
        };
        // An attempt of which nobody knew may have done it.
        let done = catalog.tables().find(|table| place_of(table, oid).is_some());
        if let Some(table) = done {
            return Ok(Some((Table::clone(table), catalog)));
        }
        let seen = session.with_temp(catalog.clone());
        session.set_names(&seen);
        let ddl = Ddl { txn: txn.clone(), catalog: seen };
        let Some((_, mut next)) = index::definition(session, &ddl, create, text, sink)? else {
            return Ok(None);
        };
        index::name_last(&mut next, oid);
        let process = session.engine().db.process();
        let index = next.indexes.last_mut().expect("it was just defined");
        (index.state, index.builder) = (IndexState::WriteOnly, Some((process.0.0, process.1)));
        let change = vec![Change::PutTable(Box::new(next.clone()))];
        match commit(session.engine(), &txn, &catalog, change).await {
            Ok(catalog) => return Ok(Some((next, catalog))),
            Err(error) => again(session.engine(), error, &mut attempt).await?,
        }
    }
}

/// Lets readers use it.
async fn publish(session: &Session, table: TableId, oid: u32) -> Result<(), SqlError> {
    let mut attempt = 0;
    loop {
        let txn = session.own_txn().await?;
        let result = async {
            let catalog = locked_catalog(session.engine(), &txn).await?;
            let found = catalog.table_by_id(table).and_then(|t| Some((t, place_of(t, oid)?)));
            let Some((table, place)) = found else { return Err(dropped_meanwhile()) };
            let mut next = Table::clone(table);
            let index = &mut next.indexes[place];
            if index.state == IndexState::Public {
                return Ok(());
            }
            (index.state, index.builder) = (IndexState::Public, None);
            let change = vec![Change::PutTable(Box::new(next))];
            commit(session.engine(), &txn, &catalog, change).await.map(drop)
        };
        match result.await {
            Ok(()) => return Ok(()),
            Err(error) => again(session.engine(), error, &mut attempt).await?,
        }
    }
}

/// Commits changes of descriptors in a transaction that has locked the catalog, and lets this node know.
async fn commit(
    engine: &Engine,
    txn: &Txn,
    catalog: &CatalogSnapshot,
    changes: Vec<Change>,
) -> Result<Arc<CatalogSnapshot>, SqlError> {
    let next = store::write(txn, catalog, changes).await.map_err(catalog_error)?;
    txn.commit().await?;
    engine.catalog.publish(&next);
    Ok(next)
}

/// Waits a little if the error is one that trying again may mend, as an outcome that nobody knows is: the
/// next attempt finds out. Else it is the caller's.
async fn again(engine: &Engine, error: SqlError, attempt: &mut u32) -> Result<(), SqlError> {
    const ATTEMPTS_MAX: u32 = 1_000;
    let mends = is_retryable(&error) || error.code() == SqlState::STATEMENT_COMPLETION_UNKNOWN;
    if !mends || *attempt >= ATTEMPTS_MAX {
        return Err(error);
    }
    *attempt += 1;
    let millis = u64::from((*attempt).min(20));
    engine.db.sleep(Duration::from_millis(millis)).await;
    Ok(())
}

fn dropped_meanwhile() -> SqlError {
    SqlError::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the index was dropped while it was being built",
    )
}

/// The entries of one index for the rows of its table.
struct Entries<'a> {
    engine: &'a Engine,
    table: &'a Table,
    position: usize,
}

/// Keys and values of entries, in key order.
type Page = Vec<(Key, Bytes)>;

impl Entries<'_> {
    /// Loads those of all rows, each page at a snapshot of its own.
    async fn fill(&self) -> Result<(), SqlError> {
        let mut left = Some(self.table.codec().span());
        while let Some(span) = left {
            let (at, snapshot) = self.snapshot().await?;
            let loaded = async {
                let (mut entries, rest) = self.page(&snapshot, span.clone()).await?;
                // Of two rows with one key of a unique index one has no entry of its own: found later.
                entries.dedup_by(|a, b| a.0 == b.0);
                if !entries.is_empty() {
                    self.engine.db.fill(entries, at).await.map_err(Failed::Kv)?;
                }
                Ok(rest)
            };
            left = match loaded.await {
                Ok(rest) => rest,
                // It took so long that the snapshot is gone.
                Err(Failed::Kv(KvError::SnapshotTooOld { .. })) => Some(span),
                Err(failed) => return Err(failed.into()),
            };
        }
        Ok(())
    }

    /// The key of an entry that is not its row's, if there is one.
    async fn without_their_own(&self) -> Result<Option<Key>, SqlError> {
        let (_, snapshot) = self.snapshot().await?;
        let mut left = Some(self.table.codec().span());
        while let Some(span) = left {
            let (entries, rest) = self.page(&snapshot, span).await?;
            let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
            let found = snapshot.get_many(&keys).await?;
            let mut pairs = entries.into_iter().zip(found);
            if let Some(((key, _), _)) = pairs.find(|((_, own), found)| found.as_ref() != Some(own))
            {
                return Ok(Some(key));
            }
            left = rest;
        }
        Ok(None)
    }

    /// A snapshot of now, which no collection overtakes while it is read.
    async fn snapshot(&self) -> Result<(Timestamp, Arc<Txn>), KvError> {
        let at = self.engine.db.now().await?;
        let options = TxnOptions { as_of: Some(at), ..TxnOptions::default() };
        let txn = self.engine.db.begin(options);
        txn.begin_statement().await?;
        Ok((at, txn))
    }

    /// Entries of some rows, and where the others are.
    async fn page(
        &self,
        snapshot: &Txn,
        span: KeyRange,
    ) -> Result<(Page, Option<KeyRange>), Failed> {
        let options = ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() };
        let page = snapshot.scan(span, options).await.map_err(Failed::Kv)?;
        let codec = self.table.codec();
        let index = &codec.indexes()[self.position];
        let failed = |e: catalog::CodecError| Failed::Sql(codec_error(&e, self.table));
        let mut entries = Vec::with_capacity(page.rows.len());
        for (key, value) in &page.rows {
            let row = codec.decode(key, value).map_err(failed)?;
            let row = with_computed(self.table, &row).map_err(Failed::Sql)?;
            let entry = codec.entry(index, key, &row).map_err(failed)?;
            entries.extend(entry.map(|entry| (entry.key, entry.value)));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok((entries, page.resume))
    }
}

enum Failed {
    Kv(KvError),
    Sql(SqlError),
}

impl From<Failed> for SqlError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Kv(error) => error.into(),
            Failed::Sql(error) => error,
        }
    }
}

/// An index that is not public yet: taken back when this is dropped before it is.
struct Building {
    engine: Arc<Engine>,
    table: TableId,
    oid: u32,
    is_over: bool,
}

impl Building {
    fn new(engine: &Arc<Engine>, table: TableId, oid: u32) -> Self {
        Building { engine: Arc::clone(engine), table, oid, is_over: false }
    }

    /// Tries until it works.
    async fn take_back(&self) {
        while let Err(error) = take_back(&self.engine, self.table, self.oid).await {
            tracing::debug!(%error, "an index that failed is still there");
            self.engine.db.sleep(TAKE_BACK_AGAIN).await;
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut again = Building::new(&self.engine, self.table, self.oid);
        again.is_over = true;
        self.engine.db.spawn(async move { again.take_back().await });
    }
}

/// Removes an index, unless it has become public or is gone.
pub(super) async fn take_back(engine: &Engine, table: TableId, oid: u32) -> Result<(), SqlError> {
    let txn = engine.db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    let catalog = locked_catalog(engine, &txn).await?;
    let found = catalog.table_by_id(table).and_then(|t| Some((t, place_of(t, oid)?)));
    let Some((table, place)) = found else { return Ok(()) };
    let mut next = Table::clone(table);
    let index = next.indexes.remove(place);
    if index.state == IndexState::Public {
        return Ok(());
    }
    garbage::note(&txn, &index_span(table, &index))?;
    commit(engine, &txn, &catalog, vec![Change::PutTable(Box::new(next))]).await.map(drop)
}

/// Indexes that are being built, and by which process.
pub(super) fn unfinished(
    catalog: &CatalogSnapshot,
) -> impl Iterator<Item = (TableId, u32, Process)> {
    catalog.tables().flat_map(|table| {
        table.indexes.iter().filter_map(|index| {
            let (node, incarnation) = index.builder?;
            Some((table.id, index.oid, (NodeId(node), incarnation)))
        })
    })
}
