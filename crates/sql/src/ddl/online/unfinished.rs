//! What a statement has begun and not finished: an index or constraint that it adds, a table that it has
//! closed. Everybody sees it in the table's descriptor, and whose it is.
//!
//! ```text
//!   the statement finishes it         by its last step
//!   it fails, or is dropped           Begun, which is dropped with it, takes it back
//!   its process ends, or lost it      whoever finds that out does: the reclaimer, and who waits for it
//! ```
//!
//! A process lists what it has begun ([`UnderWay`]) before the commit that makes it known. So what is in a
//! descriptor and not in its process' list is nobody's: taking it back meets no statement that goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use catalog::temporary::Process;
use catalog::{CatalogSnapshot, Change as Put, Constraint, Index, Table, TableId, garbage};
use kv::TxnOptions;
use parking_lot::Mutex;

use super::commit;
use crate::SqlError;
use crate::ddl::locked_catalog;
use crate::ddl::reclaim::index_span;
use crate::session::Engine;

/// Between two attempts to take a change back while the catalog can't be reached.
const TAKE_BACK_AGAIN: Duration = Duration::from_secs(1);

/// What a statement does to a table for a while, by oid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// It adds an index.
    Index(u32),
    /// It adds or validates a constraint.
    Constraint(u32),
    /// It keeps writers out.
    Closing(u32),
}

impl Item {
    /// What it is, how it is called, and how far it is: for people to look at.
    pub(crate) fn shown(self, table: &Table) -> [String; 3] {
        let [kind, name, state] = match self {
            Item::Index(oid) => {
                let index = table.index_by_oid(oid);
                let name = index.map_or("", |index| &index.name);
                ["index", name, index.map_or("", |index| index.state.name())]
            }
            Item::Constraint(oid) => {
                let constraint = table.constraint_by_oid(oid);
                let name = constraint.map_or("", |constraint| &constraint.name);
                ["constraint", name, constraint.map_or("", |c| c.demand().name())]
            }
            Item::Closing(_) => ["table", &table.name, "closed"],
        };
        [kind.to_owned(), name.to_owned(), state.to_owned()]
    }

    pub(super) fn index(self, table: &mut Table) -> Option<&mut Index> {
        let Item::Index(oid) = self else { return None };
        table.indexes.iter_mut().find(|index| index.oid == oid)
    }

    pub(super) fn constraint(self, table: &mut Table) -> Option<&mut Constraint> {
        let Item::Constraint(oid) = self else { return None };
        table.constraints.iter_mut().find(|constraint| constraint.oid == oid)
    }

    /// Whose it is while it is not finished; none once it is, or if it is not there.
    fn process(self, table: &Table) -> Option<Process> {
        let (node, incarnation) = match self {
            Item::Index(oid) => table.index_by_oid(oid)?.builder?,
            Item::Constraint(oid) => table.constraint_by_oid(oid)?.validation?.process,
            Item::Closing(token) => table.closed.filter(|closed| closed.token == token)?.process,
        };
        Some((NodeId(node), incarnation))
    }
}

/// What statements of this process have begun.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<BTreeSet<(TableId, Item)>>);

/// Something begun: taken back when this is dropped, unless it was said to be over.
#[derive(Debug)]
pub(in crate::ddl) struct Begun {
    engine: Arc<Engine>,
    table: TableId,
    item: Item,
    is_over: bool,
}

impl Begun {
    /// To be called before others may learn of it. None: another statement of this process is at it.
    pub(in crate::ddl) fn new(engine: &Arc<Engine>, table: TableId, item: Item) -> Option<Begun> {
        let is_new = engine.under_way.0.lock().insert((table, item));
        is_new.then(|| Begun { engine: Arc::clone(engine), table, item, is_over: false })
    }

    /// What, and of which table.
    pub(in crate::ddl) fn what(&self) -> (TableId, Item) {
        (self.table, self.item)
    }

    /// Whether it is known in a catalog, and not finished.
    pub(in crate::ddl) fn is_in(&self, catalog: &CatalogSnapshot) -> bool {
        let table = catalog.table_by_id(self.table);
        let process = table.and_then(|table| self.item.process(table));
        process == Some(self.engine.db.process())
    }

    /// It is finished, or was taken back by what was committed.
    pub(in crate::ddl) fn end(mut self) {
        self.is_over = true;
    }

    /// Tries until it works.
    pub(in crate::ddl) async fn take_back(self) {
        take_back_for_sure(&self.engine, self.table, self.item).await;
        self.end();
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.engine.under_way.0.lock().remove(&(self.table, self.item));
        if self.is_over {
            return;
        }
        let (engine, table, item) = (Arc::clone(&self.engine), self.table, self.item);
        self.engine.db.spawn(async move { take_back_for_sure(&engine, table, item).await });
    }
}

/// Takes back what this process has begun.
async fn take_back_for_sure(engine: &Engine, table: TableId, item: Item) {
    while let Err(error) = take_back(engine, table, item, engine.db.process()).await {
        tracing::debug!(%error, "what was begun is still there");
        engine.db.sleep(TAKE_BACK_AGAIN).await;
    }
}

/// Takes back what a process has begun, unless it is finished or gone.
pub(in crate::ddl) async fn take_back(
    engine: &Engine,
    table: TableId,
    item: Item,
    process: Process,
) -> Result<(), SqlError> {
    let txn = engine.db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    let catalog = locked_catalog(engine, &txn).await?;
    let Some(table) = catalog.table_by_id(table) else { return Ok(()) };
    if item.process(table) != Some(process) {
        return Ok(());
    }
    let mut next = Table::clone(table);
    match item {
        Item::Index(oid) => {
            let index = table.index_by_oid(oid).expect("it has a process");
            garbage::note(&txn, &index_span(table, index))?;
            next.indexes.retain(|index| index.oid != oid);
            next.drop_unused_computed();
        }
        Item::Constraint(oid) => {
            let validation = item.constraint(&mut next).and_then(|c| c.validation.take());
            if validation.is_some_and(|validation| !validation.keep) {
                next.constraints.retain(|constraint| constraint.oid != oid);
            }
        }
        Item::Closing(_) => next.closed = None,
    }
    commit(engine, &txn, &catalog, vec![Put::PutTable(Box::new(next))]).await.map(drop)
}

/// What is begun and not finished, and by which process.
pub(crate) fn unfinished(
    catalog: &CatalogSnapshot,
) -> impl Iterator<Item = (TableId, Item, Process)> {
    catalog.tables().flat_map(|table| {
        let indexes = table.indexes.iter().map(|index| Item::Index(index.oid));
        let constraints = table.constraints.iter().map(|c| Item::Constraint(c.oid));
        let closing = table.closed.iter().map(|closed| Item::Closing(closed.token));
        let all = indexes.chain(constraints).chain(closing);
        all.filter_map(|item| Some((table.id, item, item.process(table)?)))
    })
}

/// Whether nobody is at what a process has begun: the process has ended, or is this one and knows nothing
/// of it. That of another process which lives is for that one to find out.
pub(in crate::ddl) async fn is_left(
    engine: &Engine,
    table: TableId,
    item: Item,
    process: Process,
) -> bool {
    if process == engine.db.process() {
        return !engine.under_way.0.lock().contains(&(table, item));
    }
    engine.db.is_over(process).await
}
