//! Bound statements: what the session executes.
//!
//! Queries go to `exec`. Writes are kept in a form that serves two masters: the point path reads
//! `filter` and `assignments` as scalars over the target's own columns, and everything else runs
//! [`Update::source`] or [`Delete::source`] as a query whose rows say what to write.

use std::sync::Arc;

use catalog::Table;
use pgtypes::PgType;
use sqlparser::ast;

use super::rel::{ColId, Join, JoinKind, Rel, RelColumn, Scan, WorkId};
use super::scalar::Scalar;
use crate::privilege::Access;

/// A bound statement and the types of its parameters.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What to do.
    pub statement: Statement,
    /// Type of `$1`, `$2`, …: declared or inferred.
    pub params: Vec<PgType>,
    /// What it does with relations: whoever runs it has to be allowed to.
    pub(crate) accesses: Vec<Access>,
}

/// A bound statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// SELECT, VALUES, TABLE, WITH.
    Query(Query),
    /// INSERT.
    Insert(Box<Insert>),
    /// UPDATE.
    Update(Box<Update>),
    /// DELETE.
    Delete(Box<Delete>),
    /// One of the above, with parts that run before it.
    With(Box<With>),
    /// EXPLAIN of one of the above.
    Explain(Box<Explain>),
    /// Everything without expressions to bind: DDL, SET, BEGIN, COPY … The session's business.
    Utility(Box<ast::Statement>),
}

/// Parts of a statement that run once each, in order, and then the statement. All of them read the
/// database as it was before the first.
#[derive(Clone, Debug)]
pub struct With {
    /// The parts.
    pub parts: Vec<Part>,
    /// The rest, which reads what the parts made by [`super::Rel::Work`].
    pub main: Statement,
}

/// One part of a [`With`].
#[derive(Clone, Debug)]
pub struct Part {
    /// What others call its rows.
    pub id: WorkId,
    /// A write, or a query whose result must be the same wherever it is mentioned.
    pub statement: Statement,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputColumn {
    /// Which column of the relation.
    pub id: ColId,
    /// Name shown to the client.
    pub name: Arc<str>,
    /// Type.
    pub ty: PgType,
    /// Table id and index in its `columns`, when it is a plain column of a stored table.
    pub origin: Option<(u32, usize)>,
}

/// A bound query. `rel.columns()` begins with `columns`, in order.
#[derive(Clone, Debug)]
pub struct Query {
    /// The rows.
    pub rel: Rel,
    /// What the client sees.
    pub columns: Vec<OutputColumn>,
    /// What the topmost [`Rel::Lock`] locks.
    pub locks: Vec<RowLock>,
}

/// Strengths of row locks, PostgreSQL's four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockStrength {
    /// FOR KEY SHARE.
    KeyShare,
    /// FOR SHARE.
    Share,
    /// FOR NO KEY UPDATE.
    NoKeyUpdate,
    /// FOR UPDATE.
    Update,
}

/// What to do when another transaction holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockWait {
    /// Wait.
    Block,
    /// Leave the row out.
    SkipLocked,
    /// 55P03. Wins over SKIP LOCKED where both are said of a table.
    NoWait,
}

impl LockStrength {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LockStrength::KeyShare => "FOR KEY SHARE",
            LockStrength::Share => "FOR SHARE",
            LockStrength::NoKeyUpdate => "FOR NO KEY UPDATE",
            LockStrength::Update => "FOR UPDATE",
        }
    }
}

/// One locking clause over one scan.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLock {
    /// The table.
    pub table: Arc<Table>,
    /// What the statement calls it.
    pub alias: Arc<str>,
    /// Column with the encoded key of the row (bytea; NULL where an outer join found no row).
    pub key: ColId,
    /// How strong.
    pub strength: LockStrength,
    /// What if it is held.
    pub wait: LockWait,
}

/// A bound INSERT.
#[derive(Clone, Debug)]
pub struct Insert {
    /// Target.
    pub table: Arc<Table>,
    /// Columns given, as indexes in `table.columns`, in the order of the source's columns. The
    /// others take their default.
    pub columns: Vec<usize>,
    /// Rows to insert, one column per entry of `columns`, already of the target's type (typmod
    /// applied by an assignment cast).
    pub source: InsertSource,
    /// ON CONFLICT.
    pub on_conflict: Option<OnConflict>,
    /// RETURNING.
    pub returning: Option<Returning>,
    /// The target as `returning` and `on_conflict` see it: every column of the table, no row key.
    pub target: Scan,
}

/// Where the rows of an INSERT come from.
#[derive(Clone, Debug)]
pub enum InsertSource {
    /// VALUES: `None` stands for DEFAULT.
    Values(Vec<Vec<Option<Scalar>>>),
    /// Any query.
    Query(Query),
    /// DEFAULT VALUES.
    Default,
}

/// ON CONFLICT.
#[derive(Clone, Debug)]
pub struct OnConflict {
    /// Which unique constraint may be violated.
    pub target: ConflictTarget,
    /// None: DO NOTHING.
    pub update: Option<ConflictUpdate>,
}

/// Which conflict is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum ConflictTarget {
    /// Any (DO NOTHING only).
    Any,
    /// These unique indexes: those over exactly the columns and expressions that were listed.
    Indexes(Vec<catalog::IndexId>),
    /// The constraint of that name.
    Constraint(Arc<str>),
}

/// DO UPDATE.
#[derive(Clone, Debug)]
pub struct ConflictUpdate {
    /// `excluded`: every column of the table under fresh ids, in `table.columns` order.
    pub excluded: Vec<RelColumn>,
    /// Assignments over `target` and `excluded`.
    pub assignments: Vec<Assignment>,
    /// WHERE.
    pub filter: Option<Scalar>,
}

/// `column = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// Index in `table.columns`.
    pub column: usize,
    /// New value, of the column's type; `None` for DEFAULT.
    pub value: Option<Scalar>,
}

/// RETURNING: scalars over the target's columns (new values; old ones for DELETE), and over the
/// FROM or USING list.
#[derive(Clone, Debug)]
pub struct Returning {
    /// What to compute.
    pub exprs: Vec<Scalar>,
    /// What the client sees, in the order of `exprs`.
    pub columns: Vec<OutputColumn>,
}

/// A bound UPDATE.
#[derive(Clone, Debug)]
pub struct Update {
    /// Target, with every column of the table in table order, and `row_key`.
    pub target: Scan,
    /// FROM.
    pub from: Option<Rel>,
    /// WHERE.
    pub filter: Option<Scalar>,
    /// SET.
    pub assignments: Vec<Assignment>,
    /// RETURNING.
    pub returning: Option<Returning>,
}

/// A bound DELETE.
#[derive(Clone, Debug)]
pub struct Delete {
    /// Target, with every column of the table in table order, and `row_key`.
    pub target: Scan,
    /// USING.
    pub using: Option<Rel>,
    /// WHERE.
    pub filter: Option<Scalar>,
    /// RETURNING.
    pub returning: Option<Returning>,
}

fn filtered(target: &Scan, other: Option<&Rel>, filter: Option<&Scalar>) -> Rel {
    let mut rel = Rel::Scan(target.clone());
    if let Some(other) = other {
        rel = Rel::Join(Box::new(Join {
            kind: JoinKind::Inner,
            left: rel,
            right: other.clone(),
            on: None,
            lateral: false,
        }));
    }
    match filter {
        Some(predicate) => Rel::Filter { input: Box::new(rel), predicate: predicate.clone() },
        None => rel,
    }
}

impl Update {
    /// The rows to change: the target's columns, then those of FROM.
    pub fn source(&self) -> Rel {
        filtered(&self.target, self.from.as_ref(), self.filter.as_ref())
    }

    /// No FROM and no subquery: everything can be evaluated over the target's row alone.
    pub fn is_row_wise(&self) -> bool {
        self.from.is_none()
            && !self.filter.as_ref().is_some_and(Scalar::has_subquery)
            && !self.assignments.iter().flat_map(|a| &a.value).any(Scalar::has_subquery)
            && !self.returning.as_ref().is_some_and(Returning::has_subquery)
    }
}

impl Delete {
    /// The rows to delete: the target's columns, then those of USING.
    pub fn source(&self) -> Rel {
        filtered(&self.target, self.using.as_ref(), self.filter.as_ref())
    }

    /// No USING and no subquery: everything can be evaluated over the target's row alone.
    pub fn is_row_wise(&self) -> bool {
        self.using.is_none()
            && !self.filter.as_ref().is_some_and(Scalar::has_subquery)
            && !self.returning.as_ref().is_some_and(Returning::has_subquery)
    }
}

impl Returning {
    /// Some expression needs a query of its own.
    pub fn has_subquery(&self) -> bool {
        self.exprs.iter().any(Scalar::has_subquery)
    }
}

/// EXPLAIN.
#[derive(Clone, Debug)]
pub struct Explain {
    /// What to explain.
    pub statement: Statement,
    /// Run it and report what happened.
    pub analyze: bool,
    /// Output columns too.
    pub verbose: bool,
    /// Estimated costs.
    pub costs: bool,
    /// What it would lock.
    pub locks: bool,
    /// Whom it would ask, and what its commit would cost.
    pub ranges: bool,
    /// With `analyze`: how long each node took.
    pub timing: bool,
    /// Times at the end; by default with `analyze`.
    pub summary: Option<bool>,
    /// Format.
    pub format: ExplainFormat,
    /// The one column of the result.
    pub columns: Vec<OutputColumn>,
}

/// Formats of EXPLAIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainFormat {
    /// Lines.
    Text,
    /// One JSON document.
    Json,
}

impl Statement {
    /// Columns of the result, if it has rows.
    pub fn columns(&self) -> Option<&[OutputColumn]> {
        match self {
            Statement::Query(query) => Some(&query.columns),
            Statement::Insert(insert) => insert.returning.as_ref().map(|r| r.columns.as_slice()),
            Statement::Update(update) => update.returning.as_ref().map(|r| r.columns.as_slice()),
            Statement::Delete(delete) => delete.returning.as_ref().map(|r| r.columns.as_slice()),
            Statement::With(with) => with.main.columns(),
            Statement::Explain(explain) => Some(&explain.columns),
            Statement::Utility(_) => None,
        }
    }
}
