//! Indexes and constraints that are added while others read and write the table.
//!
//! ```text
//!   index         constraint    by                     from its commit on
//!   DeleteOnly                  a transaction          writers remove entries
//!   WriteOnly     Enforced      a transaction          writers add entries, or keep to the constraint
//!   Filling       Reading       a transaction          all writers do
//!   fill, verify  validate      pages of a snapshot
//!   Public        Validated     a transaction          it is used
//! ```
//!
//! These are F1's states. What leases are for in F1, that no more than two neighbours are in use at a time,
//! every commit makes sure of by itself ([`catalog::succession`]). So that nobody has to run again for it,
//! each step waits until those who still use the state before the last have ended (`drain`), for a while.
//!
//! # Why no row is missed, and no entry is stale
//!
//! Whoever commits once the index is Filling adds entries, and removes those of rows that go. A page is
//! read at a snapshot `S` drawn after that. Whatever was written at or below `S` is read. Whoever writes
//! one of its rows later lands above `S`, since it was read there, and leaves a version of the entry above
//! `S`: a new one, or a deletion. The load leaves such a key alone if it finds it, and lies below it if it
//! comes first (`range::eval::load`).
//!
//! Two rows with one key of a unique index: the second writer of the two sees the entry of the first, unless
//! the first is older than the index and its entry not loaded yet. Then the entry is that of one of them, and
//! the other has none, which *verify* finds.
//!
//! # What ends early
//!
//! A page that fails because a range moves or its leader dies is read again; what is filled stays filled.
//! An error or a cancellation takes everything back. If the process ends, so has its statement, and
//! whichever node finds that out takes it back (`reclaim`): what no client was told of is not there. Pages
//! already loaded belong to an index id that nobody names by then, and are cleared as those of any dropped
//! index.

mod change;
mod drain;
mod fill;
mod unfinished;

use std::sync::Arc;
use std::time::Duration;

use catalog::{CatalogSnapshot, Change as Put, Demand, IndexState, Table, TableId, store};
use kv::{ScanOptions, Txn};

use super::bulk::duplicated;
use super::{Ddl, constraint, locked_catalog, new_oids};
use crate::dml::Names;
use crate::session::api::Sink;
use crate::session::{Engine, Session, catalog_error, is_retryable, is_temporary_table};
use crate::{SqlError, SqlState};

pub(super) use change::Change;
pub(crate) use drain::Party;
pub(super) use drain::{is_needed, is_used, until_unused};
use fill::Entries;
pub(super) use fill::snapshot;
pub(super) use unfinished::{Begun, is_left, take_back};
pub(crate) use unfinished::{Item, UnderWay, unfinished};

/// Tables with fewer rows are changed by one transaction.
const SMALL_ROWS: u64 = 1_000;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Writers keep to it.
    Written,
    /// All writers do.
    Known,
    /// Done.
    Whole,
}

/// Whether something is to be added beside the writers: not as part of a larger transaction, and not for a
/// few rows that nobody writes.
pub(super) async fn is_due(
    session: &Session,
    ddl: &Ddl,
    table: &Table,
    concurrently: bool,
) -> Result<bool, SqlError> {
    if session.in_block() || !session.is_alone() || is_temporary_table(&ddl.catalog, table) {
        return Ok(false);
    }
    Ok(concurrently
        || is_large(ddl, table).await?
        || is_used(&session.engine().db, &[table.id], u64::MAX).await)
}

/// Whether a table has more than a few rows.
pub(super) async fn is_large(ddl: &Ddl, table: &Table) -> Result<bool, SqlError> {
    let few = ScanOptions { max_rows: SMALL_ROWS, unchecked: true, ..ScanOptions::default() };
    Ok(ddl.txn.scan(table.codec().span(), few).await?.resume.is_some())
}

/// Carries it out.
pub(super) async fn run(
    session: &mut Session,
    change: &Change<'_>,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let oid = new_oids(session, 1).await?;
    let announced = announce(session, change, text, sink, oid).await?;
    let Some((announced, begun)) = announced else { return Ok(()) };
    let result = finish(session, announced).await;
    match result {
        Ok(()) => begun.end(),
        Err(_) => begun.take_back().await,
    }
    result
}

/// A table as a step has left it.
struct Stepped {
    table: Arc<Table>,
    catalog: Arc<CatalogSnapshot>,
    item: Item,
}

impl Stepped {
    /// The item in a catalog that has it.
    fn of(catalog: &Arc<CatalogSnapshot>, table: TableId, item: Item) -> Option<Stepped> {
        let table = catalog.table_by_id(table).filter(|table| item.is_in(table))?;
        Some(Stepped { table: table.clone(), catalog: catalog.clone(), item })
    }

    /// Waits until nobody uses what was before.
    async fn settle(&self, session: &Session) {
        let referred = self.table.foreign_keys().map(|(_, key)| key.table);
        let tables: Vec<TableId> = referred.chain([self.table.id]).collect();
        let engine = session.engine();
        until_unused(engine, &tables, self.catalog.version(), engine.patience).await;
    }
}

async fn finish(session: &mut Session, announced: Stepped) -> Result<(), SqlError> {
    let mut now = announced;
    if matches!(now.item, Item::Index(_)) {
        now.settle(session).await;
        now = advance(session, &now, Step::Written).await?;
    }
    now.settle(session).await;
    now = advance(session, &now, Step::Known).await?;
    loop {
        match now.item {
            Item::Index(oid) => fill_index(session, &now, oid).await?,
            Item::Constraint(oid) => read_rows(session, &now, oid).await?,
            Item::Closing(_) => unreachable!("it is not announced here"),
        }
        now.settle(session).await;
        let whole = advance(session, &now, Step::Whole).await?;
        if has_same_rows(&now.table, &whole.table) {
            return Ok(());
        }
        // The rows have moved elsewhere meanwhile, and nothing was advanced.
        now = whole;
    }
}

/// Whether rows that were read of one are those of the other.
fn has_same_rows(old: &Table, new: &Table) -> bool {
    let types = |table: &Table| table.columns.iter().map(|c| (c.id, c.ty)).collect::<Vec<_>>();
    old.primary.id == new.primary.id && types(old) == types(new)
}

async fn fill_index(session: &Session, now: &Stepped, oid: u32) -> Result<(), SqlError> {
    let table = &now.table;
    let position = table.indexes.iter().position(|index| index.oid == oid);
    let position = position.expect("it was announced in it");
    let entries = Entries { engine: session.engine(), table, position };
    entries.fill().await?;
    if table.indexes[position].unique
        && let Some(key) = entries.without_their_own().await?
    {
        let names = Names { catalog: &now.catalog, env: session.env() };
        return Err(duplicated(names.duplicate(&key)));
    }
    Ok(())
}

async fn read_rows(session: &Session, now: &Stepped, oid: u32) -> Result<(), SqlError> {
    loop {
        let (_, txn) = snapshot(session.engine()).await?;
        let ddl = Ddl { txn, catalog: now.catalog.clone() };
        let made = now.table.constraint_by_oid(oid).expect("it was announced in it");
        match constraint::validate(session, &ddl, &now.table, &now.table, made).await {
            // It took so long that the snapshot is gone.
            Err(error) if error.code() == SqlState::SNAPSHOT_TOO_OLD => {}
            result => return result,
        }
    }
}

/// Adds it, for writers to know of. Nothing if the statement is content without.
async fn announce(
    session: &mut Session,
    change: &Change<'_>,
    text: &str,
    sink: &mut dyn Sink,
    oid: u32,
) -> Result<Option<(Stepped, Begun)>, SqlError> {
    let mut attempt = 0;
    let mut begun: Option<Begun> = None;
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
        if let Some(begun) = begun.take_if(|begun| begun.is_in(&catalog)) {
            let (table, item) = begun.what();
            return Ok(Stepped::of(&catalog, table, item).map(|stepped| (stepped, begun)));
        }
        let seen = session.with_temp(catalog.clone());
        session.set_names(&seen);
        let ddl = Ddl { txn: txn.clone(), catalog: seen };
        let Some((next, item)) = change.define(session, &ddl, text, sink, oid)? else {
            return Ok(None);
        };
        let table = next.id;
        let made = match begun.take_if(|begun| begun.what() == (table, item)) {
            Some(begun) => begun,
            None => Begun::new(session.engine(), table, item).ok_or_else(in_use)?,
        };
        let change = vec![Put::PutTable(Box::new(next))];
        match commit(session.engine(), &txn, &catalog, change).await {
            Ok(catalog) => {
                return Ok(Stepped::of(&catalog, table, item).map(|stepped| (stepped, made)));
            }
            Err(error) => again(session.engine(), error, &mut attempt).await?,
        }
        begun = Some(made);
    }
}

/// Takes a step, unless the last one is due and the rows are not those that were read.
async fn advance(session: &Session, now: &Stepped, step: Step) -> Result<Stepped, SqlError> {
    let mut attempt = 0;
    loop {
        let txn = session.own_txn().await?;
        let result = async {
            let catalog = locked_catalog(session.engine(), &txn).await?;
            let found = Stepped::of(&catalog, now.table.id, now.item);
            let Some(found) = found else { return Err(dropped_meanwhile()) };
            let moved = step == Step::Whole && !has_same_rows(&now.table, &found.table);
            let mut next = Table::clone(&found.table);
            if moved || !now.item.step(&mut next, step) {
                return Ok(found);
            }
            let change = vec![Put::PutTable(Box::new(next))];
            let catalog = commit(session.engine(), &txn, &catalog, change).await?;
            Ok(Stepped::of(&catalog, now.table.id, now.item).unwrap_or(found))
        };
        match result.await {
            Ok(stepped) => return Ok(stepped),
            Err(error) => again(session.engine(), error, &mut attempt).await?,
        }
    }
}

impl Item {
    fn is_in(self, table: &Table) -> bool {
        match self {
            Item::Index(oid) => table.index_by_oid(oid).is_some(),
            Item::Constraint(oid) => table.constraint_by_oid(oid).is_some(),
            Item::Closing(_) => false,
        }
    }

    /// Whether the table is changed by the step: it may have been taken before.
    fn step(self, table: &mut Table, step: Step) -> bool {
        if let Some(index) = self.index(table) {
            let state = match step {
                Step::Written => IndexState::WriteOnly,
                Step::Known => IndexState::Filling,
                Step::Whole => IndexState::Public,
            };
            let steps = index.state < state;
            if steps {
                index.state = state;
                index.builder = index.builder.filter(|_| step != Step::Whole);
            }
            return steps;
        }
        let Some(constraint) = self.constraint(table) else { return false };
        let demand = match step {
            Step::Written => Demand::Enforced,
            Step::Known => Demand::Reading,
            Step::Whole => Demand::Validated,
        };
        if constraint.demand() >= demand {
            return false;
        }
        match &mut constraint.validation {
            Some(validation) if step == Step::Known => validation.reading = true,
            validation => {
                *validation = None;
                constraint.validated = true;
            }
        }
        let not_null = constraint.not_null().filter(|_| step == Step::Whole);
        if let Some(id) = not_null {
            table.constraints.retain(|constraint| constraint.not_null() != Some(id));
            let column = table.columns.iter_mut().find(|column| column.id == id);
            column.expect("a constraint of its column").nullable = false;
        }
        true
    }
}

/// Commits changes of descriptors in a transaction that has locked the catalog, and lets this node know.
pub(super) async fn commit(
    engine: &Engine,
    txn: &Txn,
    catalog: &CatalogSnapshot,
    changes: Vec<Put>,
) -> Result<Arc<CatalogSnapshot>, SqlError> {
    let next = store::write(txn, catalog, changes).await.map_err(catalog_error)?;
    txn.commit().await?;
    engine.catalog.publish(&next);
    Ok(next)
}

/// Waits a little if the error is one that trying again may mend, as an outcome that nobody knows is: the
/// next attempt finds out. Else it is the caller's.
pub(super) async fn again(
    engine: &Engine,
    error: SqlError,
    attempt: &mut u32,
) -> Result<(), SqlError> {
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

fn in_use() -> SqlError {
    SqlError::new(SqlState::OBJECT_IN_USE, "the index or constraint is being added already")
}

fn dropped_meanwhile() -> SqlError {
    SqlError::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the index or constraint was dropped while it was being added",
    )
}
