//! Running bound statements: queries through DataFusion, writes that need one to find their rows.

use std::sync::Arc;

use catalog::CatalogSnapshot;
use kv::{Db, MemoryBudget, Reservation, Txn};
use parking_lot::Mutex;
use pgtypes::{Datum, EvalEnv};

use super::api::{ResultColumn, Sink};
use super::cache::Plan;
use super::collect::CollectSink;
use super::execute::{Job, Tag};
use super::plan::result_columns;
use super::script::Parsed;
use super::view::ViewContext;
use super::{CatalogDefaults, Engine, SequenceCalls, Session, SessionInfo};
use crate::dml::{Deferrals, Event, References};
use crate::exec::work::{Work, Works};
use crate::exec::{self, ExecContext, Rows};
use crate::ir::{ColId, OutputColumn, Query, Rel, RelColumn, Scalar, Statement, With};
use crate::{SqlError, SqlState, dml};

/// Rows taken from a plan at a time.
const CHUNK_ROWS: usize = 512;

/// Events for foreign keys, gathered over the parts of a statement.
type Events = Arc<parking_lot::Mutex<Vec<Event>>>;

/// What a write of any shape may use.
pub(crate) struct DmlContext {
    pub(crate) db: Db,
    pub(crate) engine: Arc<Engine>,
    pub(crate) txn: Arc<Txn>,
    pub(crate) env: Arc<EvalEnv>,
    pub(crate) params: Arc<[Datum]>,
    pub(crate) catalog: Arc<CatalogSnapshot>,
    /// Duplicates are left to the commit.
    pub(crate) lone: bool,
    /// What the statement reads, if other parts of it may have written already.
    before: Option<Arc<Txn>>,
    /// Where events for foreign keys are kept until all parts of the statement have run.
    events: Option<Events>,
    deferrals: Arc<Deferrals>,
    info: Arc<SessionInfo>,
    exec: ExecContext,
    held: Mutex<Held>,
}

impl DmlContext {
    /// Calls of sequence functions.
    pub(crate) fn sequence_calls(&self) -> SequenceCalls<'_> {
        let read_only = self.txn.options().read_only;
        let own = &self.info.sequences;
        SequenceCalls::new(&self.db, &self.engine.sequences, own, &self.catalog, read_only)
    }

    /// What foreign keys make of rows that were written.
    pub(crate) async fn follow(&self, events: Vec<Event>) -> Result<(), SqlError> {
        if events.is_empty() {
            return Ok(());
        }
        if let Some(kept) = &self.events {
            kept.lock().extend(events);
            return Ok(());
        }
        let sequences = self.sequence_calls();
        let references = References {
            db: &self.db,
            txn: &self.txn,
            env: &self.env,
            catalog: &self.catalog,
            deferrals: &self.deferrals,
            sequences: &sequences,
        };
        references.follow(events).await
    }

    /// Runs a relation.
    pub(crate) async fn open(&self, rel: &Rel) -> Result<Cursor, SqlError> {
        let stream = exec::run_rel(&self.exec, rel).await?;
        Ok(Cursor::new(stream, Arc::new([]), None))
    }

    /// The value of an expression that holds queries and no columns.
    pub(crate) async fn scalar_query(&self, scalar: &Scalar) -> Result<Datum, SqlError> {
        scalar_query(&self.exec, scalar).await
    }

    /// Where queries run that see nothing of what the statement writes from here on.
    pub(crate) fn before(&self) -> Before {
        let txn = self.before.clone().unwrap_or_else(|| self.txn.frozen());
        Before(ExecContext { txn, ..self.exec.clone() })
    }

    /// Whether another part of the statement has written a row: it is not written again.
    pub(crate) fn is_written(&self, key: &base::Key) -> bool {
        self.before.as_ref().is_some_and(|before| self.txn.has_written_since(before, key))
    }

    /// Counts a row that is held in memory.
    pub(crate) fn account(&self, row: &[Datum]) -> Result<(), SqlError> {
        let size: usize = row.iter().map(Datum::size).sum::<usize>() + 64;
        self.held.lock().add(size).map_err(|error| {
            error
                .detail("The rows that the statement writes do not fit into memory beside what others use.")
                .hint("Write fewer rows per statement, or start the nodes with a higher --sql-memory.")
        })
    }
}

/// What was there before a statement wrote.
pub(crate) struct Before(ExecContext);

impl Before {
    /// The value of an expression over a row, queries inside of it included.
    pub(crate) async fn eval(
        &self,
        scalar: &Scalar,
        layout: &[ColId],
        row: &[Datum],
    ) -> Result<Datum, SqlError> {
        let mut alone = scalar.clone();
        alone.for_each_mut(&mut |node| {
            if let Scalar::Column(id, ty) = node
                && let Some(at) = layout.iter().position(|column| column == id)
            {
                *node = Scalar::Literal(row[at].clone(), *ty);
            }
        });
        scalar_query(&self.0, &alone).await
    }
}

async fn scalar_query(exec: &ExecContext, scalar: &Scalar) -> Result<Datum, SqlError> {
    let column = RelColumn { id: ColId(1 << 30), name: "".into(), ty: scalar.ty() };
    let exprs = vec![(column, scalar.clone())];
    let rel = Rel::Project { input: Box::new(Rel::OneRow), exprs };
    let stream = exec::run_rel(exec, &rel).await?;
    let mut cursor = Cursor::new(stream, Arc::new([]), None);
    let mut value = Datum::Null;
    while let Some(rows) = cursor.next_rows().await? {
        if let Some(found) = rows.into_iter().next().and_then(|mut row| row.pop()) {
            value = found;
        }
    }
    Ok(value)
}

/// Counts the rows that a statement, or a cursor, holds in memory.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    memory: Reservation,
}

impl Held {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Held {
        Held { bytes: 0, memory: Reservation::new(budget) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts bytes more: 53200 if there are no more.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), SqlError> {
        self.bytes += bytes;
        let covered = self.memory.cover(self.bytes);
        covered.map_err(|_| SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory"))
    }

    /// Counts bytes less; they stay reserved for what comes.
    pub(super) fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }
}

/// A query that runs as it is fetched.
#[derive(Debug)]
pub(crate) struct Cursor {
    stream: Rows,
    /// Rows taken from the stream and not given out yet.
    pending: std::collections::VecDeque<Vec<Datum>>,
    columns: Arc<[ResultColumn]>,
    /// Columns the client sees; the rest is cut off.
    width: Option<usize>,
    fetched: u64,
    /// A transaction of a past time, which the session has left: it ends with its last user.
    past: Option<Arc<Txn>>,
}

impl Cursor {
    fn new(stream: Rows, columns: Arc<[ResultColumn]>, width: Option<usize>) -> Self {
        let pending = std::collections::VecDeque::new();
        Cursor { stream, pending, columns, width, fetched: 0, past: None }
    }

    /// Rows given out so far.
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched
    }

    /// The next rows; `None` at the end.
    pub(crate) async fn next_rows(&mut self) -> Result<Option<Vec<Vec<Datum>>>, SqlError> {
        let mut rows = Vec::new();
        while rows.len() < CHUNK_ROWS {
            match self.stream.next().await? {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        if let Some(width) = self.width {
            for row in &mut rows {
                row.truncate(width);
            }
        }
        Ok(Some(rows))
    }

    /// Writes up to `most` rows. True at the end.
    pub(crate) async fn fetch(
        &mut self,
        most: usize,
        sink: &mut dyn Sink,
    ) -> Result<bool, SqlError> {
        if self.fetched == 0 {
            sink.columns(&self.columns)?;
        }
        let mut left = most;
        loop {
            while left > 0 {
                let Some(row) = self.pending.pop_front() else { break };
                sink.row(&row)?;
                self.fetched += 1;
                left -= 1;
            }
            if left == 0 {
                return Ok(false);
            }
            match self.next_rows().await? {
                Some(rows) => self.pending.extend(rows),
                None => return Ok(true),
            }
            sink.flush().await?;
        }
    }
}

/// Runs a bound statement and writes its rows.
pub(super) async fn run(
    session: &mut Session,
    statement: &Statement,
    job: &Job<'_>,
    txn: &Arc<Txn>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match statement {
        Statement::Query(query) => {
            if query.rel.has_locks() {
                session.refuse_if_read_only("SELECT FOR UPDATE")?;
            }
            let mut cursor = session.open_query(query, job.params, txn).await?;
            while !cursor.fetch(usize::MAX, sink).await? {}
            Ok(Tag::Count("SELECT", cursor.fetched()))
        }
        Statement::Explain(explained) => {
            Box::pin(session.explain(explained, job, txn, sink)).await?;
            Ok(Tag::Text("EXPLAIN"))
        }
        Statement::With(with) => run_with(session, with, job, txn, sink).await,
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
            write(session, statement, job, txn, None, sink).await
        }
        Statement::Utility(_) => Err(SqlError::internal("a utility statement was bound")),
    }
}

/// What the parts of a statement share.
struct Shared {
    /// The transaction as it was before the first part.
    before: Arc<Txn>,
    works: Works,
    /// What foreign keys have to be told when all parts have run.
    events: Events,
}

/// Runs the parts of a statement one after another, then the statement: all read one state.
async fn run_with(
    session: &mut Session,
    with: &With,
    job: &Job<'_>,
    txn: &Arc<Txn>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let mut shared =
        Shared { before: txn.frozen(), works: Works::default(), events: Events::default() };
    for part in &with.parts {
        let columns: Vec<RelColumn> = part.statement.columns().map_or_else(Vec::new, |columns| {
            let column = |c: &OutputColumn| RelColumn { id: c.id, name: c.name.clone(), ty: c.ty };
            columns.iter().map(column).collect()
        });
        let mut rows = CollectSink::over(sink);
        run_part(session, &part.statement, job, txn, &shared, &mut rows).await?;
        let rows: Vec<Vec<Datum>> = rows.into_rows().into();
        let work = Arc::new(Work::default());
        work.put(vec![exec::provider::batch_of(&columns, &rows)?]);
        shared.works = shared.works.with(part.id, work);
    }
    let tag = run_part(session, &with.main, job, txn, &shared, sink).await?;
    let events = std::mem::take(&mut *shared.events.lock());
    if !events.is_empty() {
        let catalog = session.tx.catalog.clone();
        let catalog = catalog.ok_or_else(|| SqlError::internal("a write without a catalog"))?;
        session.dml_context(txn, job.params, catalog).follow(events).await?;
    }
    Ok(tag)
}

async fn run_part(
    session: &mut Session,
    statement: &Statement,
    job: &Job<'_>,
    txn: &Arc<Txn>,
    shared: &Shared,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let Statement::Query(query) = statement else {
        return write(session, statement, job, txn, Some(shared), sink).await;
    };
    if query.rel.has_locks() {
        session.refuse_if_read_only("SELECT FOR UPDATE")?;
    }
    let mut cx = session.exec_context(job.params, &shared.before);
    cx.works = shared.works.clone();
    let stream = exec::run_rel(&cx, &query.rel).await?;
    let mut cursor = Cursor::new(stream, columns_of(&query.columns), Some(query.columns.len()));
    while !cursor.fetch(usize::MAX, sink).await? {}
    Ok(Tag::Count("SELECT", cursor.fetched()))
}

async fn write(
    session: &mut Session,
    statement: &Statement,
    job: &Job<'_>,
    txn: &Arc<Txn>,
    shared: Option<&Shared>,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let verb = match statement {
        Statement::Insert(_) => "INSERT 0",
        Statement::Update(_) => "UPDATE",
        _ => "DELETE",
    };
    session.refuse_if_read_only(verb)?;
    let catalog = session.tx.catalog.clone().ok_or_else(|| {
        // The version moved between planning and the lock on it.
        SqlError::new(SqlState::SERIALIZATION_FAILURE, "the catalog changed")
    })?;
    let env = session.env.clone();
    let mut cx = session.dml_context(txn, job.params, catalog.clone());
    cx.lone = job.lone && session.is_lone() && shared.is_none();
    if let Some(shared) = shared {
        cx.exec.txn = Arc::clone(&shared.before);
        cx.exec.works = shared.works.clone();
        cx.before = Some(Arc::clone(&shared.before));
        cx.events = Some(Arc::clone(&shared.events));
    }
    let defaults = CatalogDefaults { view: session.view(&catalog), env: &env };
    let count = match statement {
        Statement::Insert(insert) => dml::run_insert(&cx, insert, &defaults, sink).await?,
        Statement::Update(update) => dml::run_update(&cx, update, &defaults, sink).await?,
        Statement::Delete(delete) => dml::run_delete(&cx, delete, &defaults, sink).await?,
        _ => return Err(SqlError::internal("not a write")),
    };
    let table = match statement {
        Statement::Insert(insert) => Some(insert.table.id),
        Statement::Update(update) => Some(update.target.table.id),
        Statement::Delete(delete) => Some(delete.target.table.id),
        _ => None,
    };
    if let Some(table) = table {
        session.engine.statistics.note_written(table, count);
    }
    Ok(Tag::Count(verb, count))
}

fn columns_of(columns: &[OutputColumn]) -> Arc<[ResultColumn]> {
    result_columns(columns).into()
}

impl Session {
    /// What a write may use.
    pub(crate) fn dml_context(
        &self,
        txn: &Arc<Txn>,
        params: &Arc<[Datum]>,
        catalog: Arc<CatalogSnapshot>,
    ) -> DmlContext {
        DmlContext {
            db: self.engine.db.clone(),
            engine: self.engine.clone(),
            txn: txn.clone(),
            env: self.env.clone(),
            params: params.clone(),
            catalog,
            lone: false,
            before: None,
            events: None,
            deferrals: self.tx.deferrals.clone(),
            info: self.info.clone(),
            exec: self.exec_context(params, txn),
            held: Mutex::new(Held::new(Arc::clone(self.engine.db.memory()))),
        }
    }

    /// What DataFusion's operators need to know of this statement.
    pub(super) fn exec_context(&self, params: &Arc<[Datum]>, txn: &Arc<Txn>) -> ExecContext {
        let catalog = self.known_catalog();
        let view = ViewContext {
            info: self.info.clone(),
            catalog,
            settings: self.all_settings(),
            lock_timeout: self.hot.lock_timeout,
            cursors: self.cursor_infos(),
            authority: self.authority.clone(),
            prepared: self.prepared.listed(),
        };
        ExecContext {
            engine: self.engine.exec.clone(),
            txn: txn.clone(),
            env: self.env.clone(),
            params: params.clone(),
            works: exec::work::Works::default(),
            virtuals: exec::virtuals::Virtuals::default(),
            session: Arc::new(view),
            row_execution: self.hot.row_execution,
            joins: self.hot.joins,
            analysis: self.analysis.clone(),
        }
    }

    /// Begins a query.
    pub(crate) async fn open_query(
        &self,
        query: &Query,
        params: &[Datum],
        txn: &Arc<Txn>,
    ) -> Result<Cursor, SqlError> {
        let params: Arc<[Datum]> = params.into();
        let cx = self.exec_context(&params, txn);
        let stream = exec::run_rel(&cx, &query.rel).await?;
        let width = Some(query.columns.len());
        Ok(Cursor::new(stream, columns_of(&query.columns), width))
    }

    /// A cursor over a statement that is a query; `None` for all others.
    pub(super) async fn open_cursor(&mut self, job: Job<'_>) -> Result<Option<Cursor>, SqlError> {
        if !super::plan::is_bindable(job.parsed) {
            return Ok(None);
        }
        self.refuse_if_failed()?;
        self.begin_statement();
        let Parsed::AsOf(historic) = job.parsed else { return self.open_bindable(job).await };
        let at = self.time_of(&historic.past, job.text).await?;
        self.enter_past(at).map_err(|e| e.at(historic.past.position))?;
        let cursor = self.open_bindable(job).await;
        self.leave_past();
        cursor
    }

    async fn open_bindable(&mut self, job: Job<'_>) -> Result<Option<Cursor>, SqlError> {
        let txn = self.statement_txn().await?;
        let planned = self.planned(&job, &txn).await?;
        Arc::make_mut(&mut self.env).snapshot = super::as_of::parts(txn.read_ts());
        let rebound;
        let statement = match &planned.plan {
            Plan::Bound(statement) => &**statement,
            // It would fetch all rows at once, however many are asked for.
            Plan::Point(point) if point.has_no_limit() => {
                rebound = self.bind_again(&job)?;
                &rebound
            }
            Plan::Point(_) => return Ok(None),
        };
        let Statement::Query(query) = statement else { return Ok(None) };
        self.find_xact_id(planned.xact_id, &txn).await?;
        if query.rel.has_locks() {
            self.refuse_if_read_only("SELECT FOR UPDATE")?;
        }
        // It goes on being read while other statements write, and computes no row before it is asked for.
        let mut cx = self.exec_context(job.params, &txn.frozen());
        cx.row_execution = false;
        let stream = exec::run_rel(&cx, &query.rel).await?;
        let width = Some(query.columns.len());
        let mut cursor = Cursor::new(stream, columns_of(&query.columns), width);
        cursor.past = Some(txn).filter(|txn| txn.options().as_of.is_some());
        Ok(Some(cursor))
    }
}
