//! The dependent join, logically: queries run once for each row of the input.
//!
//! The plan sees a node with more columns than its input and with the outer columns as its
//! expressions, so that rules keep and rename them. What runs is in `apply_exec`.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use pgtypes::PgType;

use super::ExecContext;
use super::provider::field;
use crate::error::SqlError;
use crate::ir::{ApplyCall, ColId, Rel, RelColumn, Scalar, Subquery, SubqueryKind};

/// What a node computes for each row.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A value of each query; their conditions are over the outer columns.
    Values(Vec<ApplyCall>),
    /// All rows of one query; `keep`: one of NULLs if there is none.
    Rows {
        /// The query.
        rel: Rel,
        /// As for a left join.
        keep: bool,
    },
}

impl What {
    /// Columns made.
    pub(super) fn columns(&self) -> Vec<RelColumn> {
        match self {
            What::Values(calls) => calls.iter().map(|call| call.column.clone()).collect(),
            What::Rows { rel, .. } => rel.columns(),
        }
    }
}

/// The queries of one node.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) ctx: ExecContext,
    pub(super) what: What,
    /// Columns of the input that the queries and their conditions mention.
    pub(super) outer: Vec<(ColId, PgType)>,
    /// Which of them the queries mention: rows that are alike in these have the same results.
    pub(super) decides: Vec<bool>,
}

/// A dependent join.
#[derive(Debug, Clone)]
pub(super) struct ApplyNode {
    input: LogicalPlan,
    schema: DFSchemaRef,
    pub(super) calls: Arc<Calls>,
    /// The outer columns as the input calls them, in the order of `calls.outer`.
    pub(super) outer: Vec<Expr>,
}

/// Columns outside that the queries and their conditions mention.
pub(crate) fn outer_columns(calls: &[ApplyCall]) -> Vec<(ColId, PgType)> {
    let mut outer = Vec::new();
    for call in calls {
        outer.extend(mentioned(&call.subquery));
        call.only_if.iter().for_each(|condition| columns_in(condition, &mut outer));
    }
    outer.sort_unstable_by_key(|(id, _)| *id);
    outer.dedup_by_key(|(id, _)| *id);
    outer
}

/// Columns outside that a query and what it is compared with mention.
fn mentioned(subquery: &Subquery) -> Vec<(ColId, PgType)> {
    let mut outer = subquery.rel.outer_columns();
    if let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } = &subquery.kind {
        columns_in(needle, &mut outer);
    }
    outer
}

fn columns_in(scalar: &Scalar, columns: &mut Vec<(ColId, PgType)>) {
    scalar.any(&mut |node| {
        if let Scalar::Column(id, ty) = node {
            columns.push((*id, *ty));
        }
        false
    });
}

/// The node over `input`; `outer` are the columns outside that it mentions, as `input` calls them.
pub(crate) fn node(
    ctx: &ExecContext,
    input: LogicalPlan,
    mut what: What,
    outer: Vec<(ColId, PgType, Expr)>,
) -> Result<LogicalPlan, SqlError> {
    let exprs = outer.iter().map(|(_, _, expr)| expr.clone()).collect();
    let outer: Vec<_> = outer.into_iter().map(|(id, ty, _)| (id, ty)).collect();
    let decides = match &mut what {
        What::Rows { .. } => vec![true; outer.len()],
        What::Values(calls) => {
            let layout: Vec<ColId> = outer.iter().map(|(id, _)| *id).collect();
            for condition in calls.iter_mut().filter_map(|call| call.only_if.as_mut()) {
                *condition = condition.over(&layout)?;
            }
            let mentioned: HashSet<ColId> =
                calls.iter().flat_map(|call| mentioned(&call.subquery)).map(|(id, _)| id).collect();
            outer.iter().map(|(id, _)| mentioned.contains(id)).collect()
        }
    };
    let calls = Arc::new(Calls { ctx: ctx.clone(), what, outer, decides });
    let node = ApplyNode::new(input, calls, exprs)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

impl ApplyNode {
    fn new(input: LogicalPlan, calls: Arc<Calls>, outer: Vec<Expr>) -> Result<Self> {
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.extend(calls.what.columns().iter().map(|column| (None, Arc::new(field(column)))));
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(ApplyNode { input, schema: Arc::new(schema), calls, outer })
    }
}

impl PartialEq for ApplyNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.calls, &other.calls)
            && self.input == other.input
            && self.outer == other.outer
    }
}

impl Eq for ApplyNode {}

impl Hash for ApplyNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.outer.hash(state);
    }
}

impl PartialOrd for ApplyNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for ApplyNode {
    fn name(&self) -> &str {
        "Apply"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.outer.clone()
    }

    /// Conditions on the results cannot move below what makes them; others may.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.calls.what.columns().iter().map(|column| column.id.to_string()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apply: {} columns", self.calls.what.columns().len())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        let input = inputs.next().ok_or_else(|| SqlError::internal("Apply without an input"))?;
        ApplyNode::new(input, Arc::clone(&self.calls), exprs)
    }
}
