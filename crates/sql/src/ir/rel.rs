//! Relations of a bound statement: a tree whose nodes name their columns by [`ColId`].
//!
//! A `ColId` is given out once per statement, by the node that makes the column, and never means
//! anything else in that statement. So a scalar may be moved up or down the tree without being
//! rewritten, and a scalar that mentions a column its input does not make is *correlated*: it
//! belongs to an enclosing query.
//!
//! # Invariants
//!
//! - **R1** Every `ColId` is made by exactly one node.
//! - **R2** A scalar of a node mentions columns of the node's input, or outer ones; a parameter or
//!   literal is typed.
//! - **R3** The sides of a set operation have columns of equal types, in order.

use std::fmt;
use std::sync::Arc;

use catalog::Table;
use pgtypes::PgType;

use super::catalog_view::VirtualTable;
use super::func::{AggRef, SetFunction, WindowFunc};
use super::scalar::{Scalar, Subquery};
use super::statement::{LockStrength, LockWait, RowLock};

/// Names one column of one node of one statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColId(pub u32);

impl fmt::Display for ColId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Debug for ColId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// A column a node makes.
#[derive(Clone, Debug, PartialEq)]
pub struct RelColumn {
    /// Its name in the statement.
    pub id: ColId,
    /// What the user would call it.
    pub name: Arc<str>,
    /// Its type.
    pub ty: PgType,
}

/// One relation.
#[derive(Clone, Debug, PartialEq)]
pub enum Rel {
    /// One row without columns: a SELECT without FROM.
    OneRow,
    /// No row at all, with these columns.
    Empty {
        /// The columns.
        columns: Vec<RelColumn>,
    },
    /// A stored table.
    Scan(Scan),
    /// A table computed on the fly (pg_catalog).
    Virtual(VirtualScan),
    /// Rows of expressions.
    Values {
        /// One scalar per column and row, already of the column's type.
        rows: Vec<Vec<Scalar>>,
        /// The columns.
        columns: Vec<RelColumn>,
    },
    /// Rows that another part of the statement has made.
    Work(WorkScan),
    /// WITH RECURSIVE.
    Recursive(Box<Recursive>),
    /// A set-returning function in FROM.
    Function(FunctionScan),
    /// Rows for which the predicate is true.
    Filter {
        /// Where rows come from.
        input: Box<Rel>,
        /// Boolean.
        predicate: Scalar,
    },
    /// Exactly these columns, in this order.
    Project {
        /// Where rows come from.
        input: Box<Rel>,
        /// Column and what it is computed from.
        exprs: Vec<(RelColumn, Scalar)>,
    },
    /// A join. Its columns are the left ones, then the right ones.
    Join(Box<Join>),
    /// Groups. Its columns are the group keys, then the aggregates.
    Aggregate {
        /// Where rows come from.
        input: Box<Rel>,
        /// Group keys. None: one group, also over no rows.
        group: Vec<(RelColumn, Scalar)>,
        /// What is computed per group.
        aggs: Vec<AggCall>,
    },
    /// Window functions. Its columns are the input's, then the results.
    Window {
        /// Where rows come from.
        input: Box<Rel>,
        /// The calls.
        calls: Vec<WindowCall>,
    },
    /// Queries evaluated anew for each row. Its columns are the input's, then the results. Not made
    /// by binding: execution puts it where a correlated subquery cannot become a join.
    Apply {
        /// Where rows come from.
        input: Box<Rel>,
        /// What is evaluated.
        calls: Vec<ApplyCall>,
    },
    /// A query run anew for each row, all its rows beside that row: what becomes of a lateral join
    /// that is no other join. Its columns are the input's, then the query's. Made by execution.
    ApplyRows {
        /// Where rows come from.
        input: Box<Rel>,
        /// The query.
        rel: Box<Rel>,
        /// Rows for which the query has none stay, with NULLs.
        keep: bool,
    },
    /// Rows in order.
    Sort {
        /// Where rows come from.
        input: Box<Rel>,
        /// Most significant first.
        keys: Vec<SortKey>,
    },
    /// The rows that could be locked, in the order of the input.
    Lock {
        /// Where rows come from.
        input: Box<Rel>,
        /// What is locked; the keys are columns of the input.
        locks: Vec<RowLock>,
    },
    /// Expressions that call functions which wait for others (advisory locks, nextval, pg_xact_status),
    /// evaluated for each row before the next is looked at. Its columns are the input's, then theirs. Not
    /// made by binding: execution puts it where an expression calls such a function.
    Waiting {
        /// Where rows come from.
        input: Box<Rel>,
        /// What is evaluated, in this order.
        exprs: Vec<(RelColumn, Scalar)>,
        /// Only rows for which this is true go on.
        keep_if: Option<Scalar>,
    },
    /// A stretch of the input.
    Limit {
        /// Where rows come from.
        input: Box<Rel>,
        /// Most rows to return; int8, NULL means all.
        limit: Option<Scalar>,
        /// Rows to skip; int8, NULL means none.
        offset: Option<Scalar>,
    },
    /// Rows without duplicates (NULLs are equal).
    Distinct {
        /// Where rows come from.
        input: Box<Rel>,
    },
    /// The first row of each group of equal `on`, in the order of `keys`.
    DistinctOn {
        /// Where rows come from.
        input: Box<Rel>,
        /// What makes rows duplicates.
        on: Vec<Scalar>,
        /// Order in which the first is chosen, and of the result; begins with `on` in some order.
        keys: Vec<SortKey>,
    },
    /// UNION, INTERSECT, EXCEPT.
    SetOp {
        /// Which.
        op: SetOp,
        /// Duplicates are kept.
        all: bool,
        /// Left side.
        left: Box<Rel>,
        /// Right side.
        right: Box<Rel>,
        /// Columns of the result, by position.
        columns: Vec<RelColumn>,
    },
}

/// A stored table.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The table.
    pub table: Arc<Table>,
    /// What the statement calls it.
    pub alias: Arc<str>,
    /// Columns made, with their index in `table.columns`.
    pub columns: Vec<(RelColumn, usize)>,
    /// Also make the row's encoded key (bytea), as the last column: what a write or lock needs.
    pub row_key: Option<RelColumn>,
    /// A locking clause around it means it: it is not inside of a WITH query.
    pub lockable: bool,
    /// How a locking clause locks its rows.
    pub lock: Option<(LockStrength, LockWait)>,
}

impl Scan {
    /// Whether rows that others hold are passed over, so that what is read proves nothing.
    #[must_use]
    pub fn skips_locked(&self) -> bool {
        self.lock.is_some_and(|(_, wait)| wait == LockWait::SkipLocked)
    }
}

/// Names rows that one part of a statement makes and others read. Unique in the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId(pub u32);

/// A mention of such rows.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkScan {
    /// Which rows.
    pub id: WorkId,
    /// What the statement calls them.
    pub alias: Arc<str>,
    /// All their columns, under ids of this mention.
    pub columns: Vec<RelColumn>,
}

/// A recursive query: the rows of `base`, then those of `step` over the rows made last, until there are
/// none.
#[derive(Clone, Debug, PartialEq)]
pub struct Recursive {
    /// What `step` calls the rows made last.
    pub id: WorkId,
    /// The term without recursion. Its columns have the types of `columns`.
    pub base: Rel,
    /// The recursive term. Its columns have the types of `columns`.
    pub step: Rel,
    /// Duplicates are kept.
    pub all: bool,
    /// Columns of the result, by position.
    pub columns: Vec<RelColumn>,
}

/// A computed table.
#[derive(Clone, Debug)]
pub struct VirtualScan {
    /// The table.
    pub table: Arc<dyn VirtualTable>,
    /// What the statement calls it.
    pub alias: Arc<str>,
    /// All its columns.
    pub columns: Vec<RelColumn>,
}

impl PartialEq for VirtualScan {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.columns == other.columns
    }
}

/// A set-returning function in FROM.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionScan {
    /// Which.
    pub function: SetFunction,
    /// Arguments; may be correlated (functions in FROM are LATERAL by nature).
    pub args: Vec<Scalar>,
    /// Columns made, without the ordinality.
    pub columns: Vec<RelColumn>,
    /// WITH ORDINALITY: an int8 counting from 1.
    pub ordinality: Option<RelColumn>,
}

/// A join.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// Which rows without a partner are kept.
    pub kind: JoinKind,
    /// Left side.
    pub left: Rel,
    /// Right side.
    pub right: Rel,
    /// Condition; None: every pair.
    pub on: Option<Scalar>,
    /// The right side mentions columns of the left.
    pub lateral: bool,
}

/// Kinds of join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs only.
    Inner,
    /// And left rows without a partner.
    Left,
    /// And right rows without a partner.
    Right,
    /// And both.
    Full,
}

/// Set operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOp {
    /// Rows of either.
    Union,
    /// Rows of both.
    Intersect,
    /// Rows of the left only.
    Except,
}

/// One key of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// What to compare.
    pub expr: Scalar,
    /// Largest first.
    pub desc: bool,
    /// NULLs before all others. PostgreSQL's default is `desc`.
    pub nulls_first: bool,
}

/// One aggregate of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct AggCall {
    /// Column made.
    pub column: RelColumn,
    /// Which aggregate.
    pub func: AggRef,
    /// Arguments, cast to what the aggregate takes. None for `count(*)`.
    pub args: Vec<Scalar>,
    /// Over distinct arguments.
    pub distinct: bool,
    /// Rows that count.
    pub filter: Option<Scalar>,
    /// Order in which rows are fed.
    pub order_by: Vec<SortKey>,
}

/// A query inside an expression, evaluated anew for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyCall {
    /// The column made.
    pub column: RelColumn,
    /// The query.
    pub subquery: Subquery,
    /// Its value is used only where this holds: elsewhere it is not run, and NULL.
    pub only_if: Option<Scalar>,
}

/// One window function of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCall {
    /// Column made.
    pub column: RelColumn,
    /// Which function.
    pub func: WindowFunc,
    /// Arguments.
    pub args: Vec<Scalar>,
    /// Rows that count (aggregates only).
    pub filter: Option<Scalar>,
    /// Partition.
    pub partition_by: Vec<Scalar>,
    /// Order within the partition.
    pub order_by: Vec<SortKey>,
    /// Frame.
    pub frame: Frame,
}

/// A window frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// How offsets count.
    pub units: FrameUnits,
    /// First row.
    pub start: FrameBound,
    /// Last row.
    pub end: FrameBound,
    /// Rows left out.
    pub exclude: FrameExclusion,
}

/// Rows of a frame that do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameExclusion {
    /// All count.
    Nothing,
    /// Not the current row.
    CurrentRow,
    /// Neither the current row nor its peers.
    Group,
    /// Not the current row's peers.
    Ties,
}

/// How the offsets of a frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// Values of the order key.
    Range,
    /// Groups of peers.
    Groups,
}

/// One end of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameBound {
    /// The partition's first row.
    UnboundedPreceding,
    /// That far before.
    Preceding(Scalar),
    /// The current row (its peers, for RANGE and GROUPS).
    CurrentRow,
    /// That far after.
    Following(Scalar),
    /// The partition's last row.
    UnboundedFollowing,
}
