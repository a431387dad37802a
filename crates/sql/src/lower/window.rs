//! Window functions and DISTINCT ON.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::functions_window as fw;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Cast, Expr, LogicalPlan, SortExpr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};
use pgtypes::{Datum, PgType, arrow_bridge};

use super::scalar::{binary, literal};
use super::{Lowerer, all_fields, filter, project};
use crate::error::{SqlError, SqlState};
use crate::exec::frame_exec;
use crate::ir::{
    Frame, FrameBound, FrameUnits, RelColumn, Scalar, SortKey, WindowCall, WindowFunc,
};

impl Lowerer<'_> {
    pub(super) fn window(
        &mut self,
        mut plan: LogicalPlan,
        calls: &[WindowCall],
    ) -> Result<LogicalPlan, SqlError> {
        // One node per call: those with equal windows share a sort anyway, and a later node sees
        // the order an earlier one left.
        for call in calls {
            if frame_exec::needed(call) {
                plan = self.framed(plan, call)?;
                continue;
            }
            let expr = self.window_call(call)?;
            plan = self.windowed(plan, expr, &call.column)?;
        }
        Ok(plan)
    }

    /// `plan` with one more column, over a frame of our own.
    fn framed(&mut self, plan: LogicalPlan, call: &WindowCall) -> Result<LogicalPlan, SqlError> {
        let mut exprs = all_fields(&plan);
        let width = exprs.len();
        for scalar in frame_exec::inputs(call) {
            let name = self.fresh_name("input");
            exprs.push(self.scalar(&scalar)?.alias(name));
        }
        let plan = project(plan, exprs)?;
        let inputs = all_fields(&plan).split_off(width);
        let plan = frame_exec::node(self.ctx, plan, call, inputs)?;
        let mut exprs = all_fields(&plan);
        let result = exprs.pop().ok_or_else(|| SqlError::internal("a window without a result"))?;
        exprs.truncate(width);
        exprs.push(result);
        let plan = project(plan, exprs)?;
        self.made(&plan, std::slice::from_ref(&call.column));
        Ok(plan)
    }

    /// `plan` with one more column.
    fn windowed(
        &mut self,
        plan: LogicalPlan,
        expr: Expr,
        column: &RelColumn,
    ) -> Result<LogicalPlan, SqlError> {
        let window = Window::try_new(vec![expr], Arc::new(plan))?;
        let plan = LogicalPlan::Window(window);
        let schema = plan.schema();
        let last = schema.fields().len() - 1;
        let (qualifier, field) = schema.qualified_field(last);
        let made = field.data_type().clone();
        let result = Expr::Column(Column::from((qualifier, field)));
        let want = arrow_bridge::to_arrow_type(column.ty);
        let result =
            if made == want { result } else { Expr::Cast(Cast::new(Box::new(result), want)) };
        let mut exprs: Vec<Expr> = all_fields(&plan).into_iter().take(last).collect();
        exprs.push(result.alias(column.id.to_string()));
        let plan = project(plan, exprs)?;
        self.made(&plan, std::slice::from_ref(column));
        Ok(plan)
    }

    fn window_call(&mut self, call: &WindowCall) -> Result<Expr, SqlError> {
        let fun = |udf| WindowFunctionDefinition::WindowUDF(udf);
        let mut args =
            call.args.iter().map(|arg| self.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
        // What a constant decides: NULL for all rows, or an error.
        let constant = |at: usize| match call.args.get(at) {
            Some(Scalar::Literal(datum, _)) => Some(datum),
            _ => None,
        };
        let not_positive = |at: usize| constant(at).and_then(Datum::as_i64).is_some_and(|n| n < 1);
        let nothing = |at: usize, ty: PgType| match constant(at) {
            Some(Datum::Null) => Some(vec![literal(&Datum::Null, ty)]),
            _ => None,
        };
        let refused = |state: &'static str, name: &str| {
            SqlError::new(SqlState(state), format!("argument of {name} must be greater than zero"))
        };
        let definition = match &call.func {
            WindowFunc::Ntile if not_positive(0) => return Err(refused("22014", "ntile")),
            WindowFunc::NthValue if not_positive(1) => return Err(refused("22016", "nth_value")),
            WindowFunc::Ntile if nothing(0, PgType::INT4).is_some() => {
                args = nothing(0, PgType::INT4).expect("just seen");
                fun(fw::lead_lag::lag_udwf())
            }
            WindowFunc::Lag | WindowFunc::Lead if nothing(1, call.args[0].ty()).is_some() => {
                args = nothing(1, call.args[0].ty()).expect("just seen");
                fun(fw::lead_lag::lag_udwf())
            }
            WindowFunc::RowNumber => fun(fw::row_number::row_number_udwf()),
            WindowFunc::Rank => fun(fw::rank::rank_udwf()),
            WindowFunc::DenseRank => fun(fw::rank::dense_rank_udwf()),
            WindowFunc::PercentRank => fun(fw::rank::percent_rank_udwf()),
            WindowFunc::CumeDist => fun(fw::cume_dist::cume_dist_udwf()),
            WindowFunc::Ntile => {
                widen(&mut args, 0);
                fun(fw::ntile::ntile_udwf())
            }
            WindowFunc::Lag => {
                widen(&mut args, 1);
                fun(fw::lead_lag::lag_udwf())
            }
            WindowFunc::Lead => {
                widen(&mut args, 1);
                fun(fw::lead_lag::lead_udwf())
            }
            WindowFunc::FirstValue => fun(fw::nth_value::first_value_udwf()),
            WindowFunc::LastValue => fun(fw::nth_value::last_value_udwf()),
            WindowFunc::NthValue => {
                widen(&mut args, 1);
                fun(fw::nth_value::nth_value_udwf())
            }
            WindowFunc::Aggregate(_) if args.is_empty() => {
                args.push(literal(&Datum::Int8(1), PgType::INT8));
                WindowFunctionDefinition::AggregateUDF(
                    datafusion::functions_aggregate::count::count_udaf(),
                )
            }
            WindowFunc::Aggregate(agg) => {
                WindowFunctionDefinition::AggregateUDF(agg.udaf(Arc::clone(&self.env), false))
            }
        };
        let partition_by = call
            .partition_by
            .iter()
            .map(|expr| self.comparable(expr))
            .collect::<Result<Vec<_>, _>>()?;
        let order_by = self.sort_exprs(&call.order_by)?;
        let window_frame = match frame_exec::uses_frame(&call.func) {
            true => self.frame(&call.frame, &call.order_by)?,
            false => WindowFrame::new(Some(false)),
        };
        let filter = match &call.filter {
            None => None,
            Some(filter) => Some(Box::new(self.scalar(filter)?)),
        };
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment: None,
            distinct: false,
        };
        Ok(Expr::WindowFunction(Box::new(WindowFunction { fun: definition, params })))
    }

    fn frame(&self, frame: &Frame, order: &[SortKey]) -> Result<WindowFrame, SqlError> {
        let units = match frame.units {
            FrameUnits::Rows => WindowFrameUnits::Rows,
            FrameUnits::Range => WindowFrameUnits::Range,
            FrameUnits::Groups => WindowFrameUnits::Groups,
        };
        if units == WindowFrameUnits::Groups && order.is_empty() {
            return Err(SqlError::new(
                crate::SqlState::WINDOWING_ERROR,
                "GROUPS mode requires an ORDER BY clause",
            ));
        }
        let start = self.bound(&frame.start, frame.units)?;
        let end = self.bound(&frame.end, frame.units)?;
        // Without an order all rows are peers of the current one.
        if order.is_empty() && units == WindowFrameUnits::Range {
            let whole = |_| WindowFrameBound::Following(ScalarValue::UInt64(None));
            let end = if matches!(end, WindowFrameBound::CurrentRow) { whole(()) } else { end };
            let start = match start {
                WindowFrameBound::CurrentRow => {
                    WindowFrameBound::Preceding(ScalarValue::UInt64(None))
                }
                start => start,
            };
            return Ok(WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end));
        }
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn bound(&self, bound: &FrameBound, units: FrameUnits) -> Result<WindowFrameBound, SqlError> {
        let none = match units {
            FrameUnits::Range => ScalarValue::Null,
            FrameUnits::Rows | FrameUnits::Groups => ScalarValue::UInt64(None),
        };
        Ok(match bound {
            FrameBound::UnboundedPreceding => WindowFrameBound::Preceding(none),
            FrameBound::UnboundedFollowing => WindowFrameBound::Following(none),
            FrameBound::CurrentRow => WindowFrameBound::CurrentRow,
            FrameBound::Preceding(offset) => {
                WindowFrameBound::Preceding(self.offset(offset, units, "starting")?)
            }
            FrameBound::Following(offset) => {
                WindowFrameBound::Following(self.offset(offset, units, "ending")?)
            }
        })
    }

    fn offset(
        &self,
        scalar: &Scalar,
        units: FrameUnits,
        which: &str,
    ) -> Result<ScalarValue, SqlError> {
        if !scalar.is_row_independent() {
            return Err(SqlError::unsupported(
                "a window frame whose offset is a column of a query around it",
            ));
        }
        let datum = crate::ir::eval(scalar, &self.env, &[], &self.ctx.params)?;
        if datum.is_null() {
            return Err(SqlError::new(
                crate::SqlState("22004"),
                format!("frame {which} offset must not be null"),
            ));
        }
        if datum.as_i64().is_some_and(|offset| offset < 0) {
            return Err(SqlError::new(
                crate::SqlState("22013"),
                format!("frame {which} offset must not be negative"),
            ));
        }
        match units {
            FrameUnits::Range => Err(SqlError::internal("RANGE with an offset has its own node")),
            FrameUnits::Rows | FrameUnits::Groups => {
                let rows = datum.as_i64().and_then(|offset| u64::try_from(offset).ok());
                Ok(ScalarValue::UInt64(rows))
            }
        }
    }

    /// The first row of each group of equal `on`.
    pub(super) fn distinct_on(
        &mut self,
        plan: LogicalPlan,
        columns: &[RelColumn],
        on: &[Scalar],
        keys: &[SortKey],
    ) -> Result<LogicalPlan, SqlError> {
        let partition_by =
            on.iter().map(|expr| self.comparable(expr)).collect::<Result<Vec<_>, _>>()?;
        let order_by: Vec<SortExpr> = self.sort_exprs(keys)?;
        let frame = WindowFrame::new(Some(false));
        let params = WindowFunctionParams {
            args: Vec::new(),
            partition_by,
            order_by,
            window_frame: frame,
            filter: None,
            null_treatment: None,
            distinct: false,
        };
        let fun = WindowFunctionDefinition::WindowUDF(fw::row_number::row_number_udwf());
        let expr = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
        let window = Window::try_new(vec![expr], Arc::new(plan))?;
        let plan = LogicalPlan::Window(window);
        let last = plan.schema().fields().len() - 1;
        let number = Expr::Column(Column::from(plan.schema().qualified_field(last)));
        let first = binary(number, datafusion::logical_expr::Operator::Eq, lit(1_u64));
        let plan = filter(plan, first)?;
        let exprs = all_fields(&plan).into_iter().take(last).collect();
        let plan = project(plan, exprs)?;
        self.made(&plan, columns);
        self.sort(plan, keys)
    }
}

/// DataFusion takes offsets and counts as int8.
fn widen(args: &mut [Expr], at: usize) {
    if let Some(arg) = args.get_mut(at) {
        let inner = arg.clone();
        *arg = match inner {
            Expr::Literal(value, metadata) => match value.cast_to(&DataType::Int64) {
                Ok(value) => Expr::Literal(value, metadata),
                Err(_) => Expr::Literal(value, metadata),
            },
            other => Expr::Cast(Cast::new(Box::new(other), DataType::Int64)),
        };
    }
}
