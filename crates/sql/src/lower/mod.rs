//! From the bound form to DataFusion's logical plan.
//!
//! Every column of the bound statement keeps its name (`c12`) in the plan, so nothing is ever
//! ambiguous. Types are final: each expression is either one whose Arrow meaning is PostgreSQL's
//! (comparison of integers, AND, CASE), or a function of `pgtypes`. Where Arrow would compare
//! values differently (numeric, interval, floats, `char(n)`, jsonb), a *sort key* is compared
//! instead: bytes that order and equal as PostgreSQL's values do, so that joins, groups and sorts
//! run on DataFusion's own operators.
//!
//! ```text
//!   mod      names, levels of correlation     group    GROUP BY, DISTINCT, set operations
//!   scalar   expressions                      window   OVER, DISTINCT ON
//!   rel      relations                        udf      any expression as a function of its columns
//!   hints    filters for indexes of expressions and partial ones
//!   join_order  which inner join comes first
//! ```

mod group;
mod hints;
mod join_order;
mod rel;
mod scalar;
mod series;
mod series_stream;
mod set_op;
mod sorted_input;
mod udf;
mod window;

pub(crate) use udf::RowFunction;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};
use pgtypes::EvalEnv;

use crate::error::SqlError;
use crate::exec::{Computed, ExecContext};
use crate::ir::{ColId, Rel, RelColumn, Scalar};

/// A column as the plan knows it.
#[derive(Clone, Debug)]
struct Known {
    column: Column,
    field: FieldRef,
    /// How deep in subqueries it is made.
    level: usize,
}

/// Lowers one statement.
pub(crate) struct Lowerer<'c> {
    ctx: &'c ExecContext,
    /// Rows of computed tables, fetched beforehand.
    computed: &'c Computed,
    env: Arc<EvalEnv>,
    known: HashMap<ColId, Known>,
    level: usize,
    /// Gives every scan a name of its own.
    scans: usize,
    /// Names made up on the way.
    fresh: usize,
    /// Rows that the limit around asks for, on the way down to what locks them.
    wanted: Option<usize>,
    /// What filters demand of the rows of the relation that is next on the way down.
    demanded: Vec<Scalar>,
    /// Joins whose order is settled, by where they lie.
    placed: Vec<usize>,
    /// Conditions around that the optimizer may move down.
    conditions: usize,
    /// Some subquery mentions columns of the query around it.
    pub(crate) correlated: bool,
}

impl<'c> Lowerer<'c> {
    pub(crate) fn new(ctx: &'c ExecContext, computed: &'c Computed) -> Self {
        Lowerer {
            ctx,
            computed,
            env: Arc::clone(&ctx.env),
            known: HashMap::new(),
            level: 0,
            scans: 0,
            fresh: 0,
            wanted: None,
            demanded: Vec::new(),
            placed: Vec::new(),
            conditions: 0,
            correlated: false,
        }
    }

    /// The plan of a relation; its fields are the relation's columns, in order.
    pub(crate) fn plan(&mut self, rel: &Rel) -> Result<LogicalPlan, SqlError> {
        let plan = self.rel(rel)?;
        // Joins and groups qualify fields; whoever reads the result goes by position.
        let columns = rel.columns();
        if plan.schema().fields().len() == columns.len() {
            return Ok(plan);
        }
        self.narrowed(plan, &columns)
    }

    /// A plan with exactly these columns.
    fn narrowed(
        &mut self,
        plan: LogicalPlan,
        columns: &[RelColumn],
    ) -> Result<LogicalPlan, SqlError> {
        let exprs = columns
            .iter()
            .map(|column| Ok(self.column(column.id)?.alias(column.id.to_string())))
            .collect::<Result<Vec<_>, SqlError>>()?;
        let plan = project(plan, exprs)?;
        self.made(&plan, columns);
        Ok(plan)
    }

    /// Notes that the last fields of `plan` are `columns`, in order, from here up.
    fn made(&mut self, plan: &LogicalPlan, columns: &[RelColumn]) {
        let schema = plan.schema();
        let from = schema.fields().len() - columns.len();
        for (i, column) in columns.iter().enumerate() {
            let (qualifier, field) = schema.qualified_field(from + i);
            let known = Known {
                column: Column::from((qualifier, field)),
                field: Arc::clone(field),
                level: self.level,
            };
            self.known.insert(column.id, known);
        }
    }

    /// A reference to a column, of this query or an enclosing one.
    fn column(&mut self, id: ColId) -> Result<Expr, SqlError> {
        let Some(known) = self.known.get(&id) else {
            return Err(SqlError::internal(format!("column {id} is not in the plan")));
        };
        if known.level < self.level {
            self.correlated = true;
            return Ok(Expr::OuterReferenceColumn(Arc::clone(&known.field), known.column.clone()));
        }
        Ok(Expr::Column(known.column.clone()))
    }

    fn fresh_name(&mut self, what: &str) -> String {
        self.fresh += 1;
        format!("{what}{}", self.fresh)
    }
}

/// `plan` with other columns.
fn project(plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan, SqlError> {
    let projection = datafusion::logical_expr::Projection::try_new(exprs, Arc::new(plan))?;
    Ok(LogicalPlan::Projection(projection))
}

/// `plan` without the rows for which `predicate` is not true.
fn filter(plan: LogicalPlan, predicate: Expr) -> Result<LogicalPlan, SqlError> {
    let filter = datafusion::logical_expr::Filter::try_new(predicate, Arc::new(plan))?;
    Ok(LogicalPlan::Filter(filter))
}

/// References to all fields of a plan.
fn all_fields(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().iter().map(|(q, f)| Expr::Column(Column::from((q, f)))).collect()
}
