//! Tables that are closed to writers while a statement changes them.
//!
//! ALTER TABLE that moves rows, TRUNCATE and DROP are one transaction, with which whoever writes the table
//! conflicts. So that neither side has to run again, the table is closed first, as PostgreSQL's lock does:
//! writers wait, and readers go on.
//!
//! ```text
//!   the statement     mark ──▶ wait for ──▶ its transaction ──▶ commit: it writes the table without mark
//!   has written       goes on ── ends ─┘
//!   comes to write      meets the mark ┄┄┄ waits ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄▶ goes on, as the table is then
//! ```
//!
//! The mark ([`catalog::Table::closed`]) is committed by a transaction of its own, before the statement's
//! begins. It is a courtesy, like the waiting of `online::drain`: who misses it, or is not waited for, is
//! found by [`catalog::succession`] and runs again. So a mark too many, or too few, costs time only.
//!
//! # Who waits for whom
//!
//! - **C1** The statement waits for those who have written a table whose writers use the closed one
//!   ([`catalog::succession::writers_of`]). None of them waits for a table to open, whichever it is.
//! - **C2** Who waits for one to open has noted no such use, and holds as little as can be: a transaction
//!   that begins holds nothing.
//! - **C3** Who holds what one of those needs who are waited for, or who wants to change the catalog, is let
//!   in (`online::is_needed`): else all three would wait for ever.
//! - **C4** A mark goes with its statement: [`Closed`] takes it back. One whose process has ended, or has
//!   lost it, is taken back by those who wait.

use std::sync::Arc;
use std::time::Duration;

use catalog::succession::writers_of;
use catalog::{CatalogSnapshot, Change, Closing, Table, TableId};

use super::online::{
    Begun, Item, Party, again, commit, is_large, is_left, is_needed, is_used, snapshot, take_back,
    until_unused,
};
use super::{Ddl, locked_catalog, new_oids};
use crate::SqlError;
use crate::session::{Engine, Session, catalog_error, current_catalog, is_temporary_table};

/// The first pause between two looks whether a table is open, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Who has waited for so long asks whether others wait for it, or the mark is nobody's; and again so often.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// What a transaction does that has read the catalog just before the mark is seen by then.
const SEEN_AFTER: Duration = Duration::from_millis(5);

/// Tables that a statement has closed. They open when it commits, or this is dropped.
#[derive(Debug)]
pub(crate) struct Closed {
    token: u32,
    marks: Vec<Begun>,
}

impl Closed {
    fn new(engine: &Arc<Engine>, token: u32, tables: &[TableId]) -> Closed {
        let mark = |table: &TableId| Begun::new(engine, *table, Item::Closing(token));
        Closed { token, marks: tables.iter().filter_map(mark).collect() }
    }

    /// What stands for the statement in the tables' descriptors.
    pub(crate) fn token(&self) -> u32 {
        self.token
    }

    /// The statement has committed this catalog: what it has written is open again.
    pub(crate) fn end(self, catalog: &CatalogSnapshot) {
        let (left, gone): (Vec<_>, Vec<_>) =
            self.marks.into_iter().partition(|mark| mark.is_in(catalog));
        gone.into_iter().for_each(Begun::end);
        drop(left);
    }
}

/// Closes the tables that `pick` finds, if the statement is a transaction by itself, and there are more rows
/// than a few in them or somebody uses them. Returns when nobody writes them any more.
pub(super) async fn close(
    session: &mut Session,
    pick: impl Fn(&Session, &Ddl) -> Result<Vec<Arc<Table>>, SqlError>,
) -> Result<(), SqlError> {
    if session.in_block() || !session.is_alone() {
        return Ok(());
    }
    let engine = session.engine().clone();
    let (_, txn) = snapshot(&engine).await?;
    let catalog = engine.catalog.snapshot(&txn).await.map_err(catalog_error)?;
    let catalog = session.with_temp(catalog);
    session.set_names(&catalog);
    let ddl = Ddl { txn, catalog };
    // What is wrong with the statement it tells by itself.
    let Ok(mut tables) = pick(session, &ddl) else { return Ok(()) };
    tables.retain(|table| !is_temporary_table(&ddl.catalog, table));
    let own = session.closing();
    let is_own = |table: &Arc<Table>| table.closed.map(|closing| closing.token) == own;
    if own.is_some() && tables.iter().all(is_own) {
        // By an earlier run of the statement.
        return Ok(());
    }
    let users = users_of(&ddl.catalog, tables.iter().map(|table| table.id));
    if !matter(&engine, &ddl, &tables, &users).await? {
        return Ok(());
    }
    let ids: Vec<TableId> = tables.iter().map(|table| table.id).collect();
    let (closed, catalog) = mark(session, &ids).await?;
    session.keep_closed(closed);
    let users = users_of(&catalog, ids.into_iter());
    engine.db.sleep(SEEN_AFTER).await;
    let patience = session.lock_timeout().filter(|timeout| *timeout <= engine.patience);
    let unused = until_unused(&engine, &users, u64::MAX, patience.unwrap_or(engine.patience)).await;
    match unused || patience.is_none() {
        true => Ok(()),
        false => Err(SqlError::lock_timeout()),
    }
}

/// Tables whose writers use one of these.
fn users_of(catalog: &CatalogSnapshot, tables: impl Iterator<Item = TableId>) -> Vec<TableId> {
    let mut all: Vec<TableId> = tables.flat_map(|table| writers_of(catalog, table)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a change of the tables takes long, or somebody is in its way, another change among them.
async fn matter(
    engine: &Engine,
    ddl: &Ddl,
    tables: &[Arc<Table>],
    users: &[TableId],
) -> Result<bool, SqlError> {
    for table in tables {
        if table.closed.is_some() || is_large(ddl, table).await? {
            return Ok(true);
        }
    }
    Ok(is_used(&engine.db, users, u64::MAX).await)
}

/// Marks all of the tables at once, when nobody else has closed any.
async fn mark(
    session: &Session,
    tables: &[TableId],
) -> Result<(Closed, Arc<CatalogSnapshot>), SqlError> {
    let engine = session.engine();
    let process = engine.db.process();
    let token = new_oids(session, 1).await?;
    let closing = Closing { process: (process.0.0, process.1), token };
    let closed = Closed::new(engine, token, tables);
    let of_others = |catalog: &CatalogSnapshot| {
        let all = catalog.closed_tables().filter(|(_, closing)| closing.token != token);
        let all = all.map(|(table, _)| table.id).filter(|id| tables.contains(id));
        all.collect::<Vec<_>>()
    };
    let mut attempt = 0;
    loop {
        let txn = session.own_txn().await?;
        let marked = async {
            let catalog = locked_catalog(engine, &txn).await?;
            if !of_others(&catalog).is_empty() {
                return Ok(None);
            }
            let found = tables.iter().filter_map(|id| catalog.table_by_id(*id));
            let changes = found.map(|table| {
                let mut next = Table::clone(table);
                next.closed = Some(closing);
                Change::PutTable(Box::new(next))
            });
            commit(engine, &txn, &catalog, changes.collect()).await.map(Some)
        };
        match marked.await {
            Ok(Some(catalog)) => return Ok((closed, catalog)),
            Ok(None) => {
                txn.rollback().await;
                until_open(engine, of_others, None, session.lock_timeout()).await?;
            }
            Err(error) => again(engine, error, &mut attempt).await?,
        }
    }
}

/// The closed tables that keep a writer of these tables out, unless it is `own` statement that has closed
/// them.
pub(crate) fn in_the_way(
    catalog: &CatalogSnapshot,
    written: &[TableId],
    own: Option<u32>,
) -> Vec<TableId> {
    let others = catalog.closed_tables().filter(|(_, closing)| Some(closing.token) != own);
    let used = |id: &TableId| writers_of(catalog, *id).iter().any(|user| written.contains(user));
    others.map(|(table, _)| table.id).filter(used).collect()
}

/// Waits until `out` finds no closed table in the way any more, and returns the catalog in which it does
/// not. None: others wait for the session, which may hold something, so it is to go on at once (C3).
pub(crate) async fn until_open(
    engine: &Engine,
    out: impl Fn(&CatalogSnapshot) -> Vec<TableId>,
    holder: Option<Party>,
    timeout: Option<Duration>,
) -> Result<Option<Arc<CatalogSnapshot>>, SqlError> {
    let began = engine.db.clock();
    let (mut pause, mut ask_after) = (PAUSE.0, ASK_EVERY.0);
    loop {
        let catalog = current_catalog(engine).await?;
        let closed = out(&catalog);
        if closed.is_empty() {
            return Ok(Some(catalog));
        }
        let waited = engine.db.clock().saturating_sub(began);
        if timeout.is_some_and(|timeout| waited >= timeout) {
            return Err(SqlError::lock_timeout());
        }
        if waited >= ask_after {
            ask_after = waited + (waited / 2).min(ASK_EVERY.1);
            let users = users_of(&catalog, catalog.closed_tables().map(|(table, _)| table.id));
            if let Some(holder) = holder
                && is_needed(&engine.db, &users, holder).await
            {
                return Ok(None);
            }
            take_back_left(engine, &catalog, &closed).await?;
        }
        let left = timeout.map_or(pause, |timeout| timeout.saturating_sub(waited));
        engine.db.sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Takes back the marks of tables that nobody is at any more.
async fn take_back_left(
    engine: &Engine,
    catalog: &CatalogSnapshot,
    tables: &[TableId],
) -> Result<(), SqlError> {
    for id in tables {
        let closed = catalog.table_by_id(*id).and_then(|table| table.closed);
        let Some(Closing { process: (node, incarnation), token }) = closed else { continue };
        let (item, process) = (Item::Closing(token), (base::NodeId(node), incarnation));
        if is_left(engine, *id, item, process).await {
            take_back(engine, *id, item, process).await?;
        }
    }
    Ok(())
}
