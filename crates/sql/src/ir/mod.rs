//! The bound form of a statement: what binding produces and everything else consumes.
//!
//! ```text
//!   text -> sqlparser's tree -> bind -> Statement
//!                                        |- Rel, a tree of relations --- lower -> DataFusion
//!                                        |    `- Scalar, typed expressions
//!                                        `- Scalar over one row -------- eval (point path, DML)
//! ```
//!
//! Nothing here knows sqlparser's expressions or DataFusion.

mod catalog_view;
pub(crate) mod deparse;
mod eval;
mod fold;
mod func;
mod rel;
mod scalar;
mod shape;
mod statement;
mod walk;

pub use catalog_view::{CatalogView, Relation, Version, VirtualColumn, VirtualTable};
pub use eval::{Row, eval};
pub use func::{AggRef, CastRef, FuncRef, SetFunction, WindowFunc};
pub use rel::{
    AggCall, ApplyCall, ColId, Frame, FrameBound, FrameExclusion, FrameUnits, FunctionScan, Join,
    JoinKind, Recursive, Rel, RelColumn, Scan, SetOp, SortKey, VirtualScan, WindowCall, WorkId,
    WorkScan,
};
pub use scalar::{Scalar, Subquery, SubqueryKind};
pub use statement::{
    Assignment, Bound, ConflictTarget, ConflictUpdate, Delete, Explain, ExplainFormat, Insert,
    InsertSource, LockStrength, LockWait, OnConflict, OutputColumn, Part, Query, Returning,
    RowLock, Statement, Update, With,
};
