//! Set-returning functions: a list per row, then one row per element.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, NullHandling, UnnestOptions};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use pgtypes::{Datum, EvalEnv, PgType, TypeId, arrow_bridge, registry};

use super::udf::{arrays, call};
use super::{Lowerer, all_fields, project};
use crate::error::{SqlError, SqlState};
use crate::ir::{FunctionScan, RelColumn, SetFunction};

/// Most elements of one list: they are all in memory at once. A series of integers that mentions no
/// column is no list (see `series_stream`) and has no limit.
const ELEMENTS_MAX: usize = 5_000_000;

/// What the elements of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Elements {
    /// From start to stop by step.
    Series,
    /// Of an array.
    Array,
    /// 1, 2, …, as many as the longest of the others has.
    Ordinals(ListOf),
    /// As many as the argument says.
    Copies,
}

/// A hashable stand-in for [`SetFunction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ListOf {
    Series,
    Array,
}

#[derive(Debug)]
struct ListFunction {
    elements: Elements,
    args: Vec<PgType>,
    item: PgType,
    env: Arc<EvalEnv>,
    signature: Signature,
    name: String,
}

impl PartialEq for ListFunction {
    fn eq(&self, other: &Self) -> bool {
        self.elements == other.elements && self.args == other.args && self.item == other.item
    }
}

impl Eq for ListFunction {}

impl Hash for ListFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.elements.hash(state);
        self.args.hash(state);
    }
}

impl Lowerer<'_> {
    /// The rows of `plan`, each with every row of the function over it.
    pub(super) fn function(
        &mut self,
        plan: LogicalPlan,
        scan: &FunctionScan,
        keep_empty: bool,
    ) -> Result<LogicalPlan, SqlError> {
        let args = scan.args.iter().map(|arg| self.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<PgType> = scan.args.iter().map(|arg| arg.ty()).collect();
        let mut exprs = all_fields(&plan);
        let mut columns = scan.columns.clone();
        columns.extend(scan.ordinality.clone());
        if scan.function == SetFunction::Scalar {
            for (column, arg) in scan.columns.iter().zip(args) {
                exprs.push(arg.alias(column.id.to_string()));
            }
            if let Some(column) = &scan.ordinality {
                let one = datafusion::logical_expr::lit(1_i64);
                exprs.push(one.alias(column.id.to_string()));
            }
            let plan = project(plan, exprs)?;
            self.made(&plan, &columns);
            return Ok(plan);
        }
        let (elements, kind) = match scan.function {
            SetFunction::GenerateSeries => (Elements::Series, ListOf::Series),
            SetFunction::Unnest | SetFunction::Scalar => (Elements::Array, ListOf::Array),
        };
        if elements == Elements::Series {
            let list = self.list(elements, types.clone(), scan.columns[0].ty, args.clone());
            exprs.push(list.alias(scan.columns[0].id.to_string()));
        } else {
            for ((column, arg), ty) in scan.columns.iter().zip(&args).zip(&types) {
                let list = self.list(elements, vec![*ty], column.ty, vec![arg.clone()]);
                exprs.push(list.alias(column.id.to_string()));
            }
        }
        if let Some(column) = &scan.ordinality {
            let list = self.list(Elements::Ordinals(kind), types, PgType::INT8, args);
            exprs.push(list.alias(column.id.to_string()));
        }
        let plan = project(plan, exprs)?;
        self.unnest(plan, &columns, keep_empty)
    }

    /// The rows of `plan`, each as often as `count` says; columns as before.
    pub(super) fn repeated(
        &mut self,
        plan: LogicalPlan,
        columns: &[RelColumn],
        count: Expr,
    ) -> Result<LogicalPlan, SqlError> {
        let mut exprs: Vec<Expr> = all_fields(&plan).into_iter().take(columns.len()).collect();
        let name = self.fresh_name("copy");
        let list = self.list(Elements::Copies, vec![PgType::INT8], PgType::INT8, vec![count]);
        exprs.push(list.alias(name.clone()));
        let plan = project(plan, exprs)?;
        let options = UnnestOptions { null_handling: NullHandling::Drop, recursions: Vec::new() };
        let column = Column::new_unqualified(name);
        let builder = LogicalPlanBuilder::from(plan);
        Ok(builder.unnest_column_with_options(column, options)?.build()?)
    }

    fn unnest(
        &mut self,
        plan: LogicalPlan,
        columns: &[RelColumn],
        keep_empty: bool,
    ) -> Result<LogicalPlan, SqlError> {
        let names = columns.iter().map(|c| Column::new_unqualified(c.id.to_string())).collect();
        let null_handling =
            if keep_empty { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
        let options = UnnestOptions { null_handling, recursions: Vec::new() };
        let builder = LogicalPlanBuilder::from(plan);
        let plan = builder.unnest_columns_with_options(names, options)?.build()?;
        self.made(&plan, columns);
        Ok(plan)
    }

    fn list(&self, elements: Elements, args: Vec<PgType>, item: PgType, exprs: Vec<Expr>) -> Expr {
        let types = args.iter().map(|ty| arrow_bridge::to_arrow_type(*ty)).collect();
        let signature = Signature::exact(types, Volatility::Stable);
        let env = Arc::clone(&self.env);
        let name = format!("list[{elements:?}]");
        let function = ListFunction { elements, args, item, env, signature, name };
        call(Arc::new(ScalarUDF::new_from_impl(function)), exprs)
    }
}

impl ScalarUDFImpl for ListFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(DataType::List(Arc::new(self.field())))
    }

    fn invoke_with_args(
        &self,
        args: ScalarFunctionArgs,
    ) -> datafusion::common::Result<ColumnarValue> {
        let arrays = arrays(&args)?;
        let mut values = arrow_bridge::ColumnBuilder::new(self.item, args.number_rows);
        let mut lengths = Vec::with_capacity(args.number_rows);
        for at in 0..args.number_rows {
            let row: Vec<Datum> = arrays
                .iter()
                .zip(&self.args)
                .map(|(array, ty)| arrow_bridge::datum_at(array, at, *ty))
                .collect();
            let items = self.items(&row)?;
            items.iter().for_each(|item| values.push(item));
            lengths.push(items.len());
        }
        let offsets = OffsetBuffer::from_lengths(lengths);
        let list = ListArray::try_new(Arc::new(self.field()), offsets, values.finish(), None)?;
        Ok(ColumnarValue::Array(Arc::new(list) as Arc<dyn Array>))
    }
}

impl ListFunction {
    fn field(&self) -> Field {
        Field::new("item", arrow_bridge::to_arrow_type(self.item), true)
    }

    fn items(&self, row: &[Datum]) -> Result<Vec<Datum>, SqlError> {
        match self.elements {
            Elements::Series => self.series(row, self.item),
            Elements::Array => Ok(array_items(&row[0])),
            Elements::Copies => {
                let count = row[0].as_i64().unwrap_or(0).max(0);
                Ok(vec![Datum::Int8(0); usize::try_from(count).unwrap_or(0)])
            }
            Elements::Ordinals(kind) => {
                let count = match kind {
                    ListOf::Series => self.series(row, self.args[0])?.len(),
                    ListOf::Array => {
                        row.iter().map(|array| array_items(array).len()).max().unwrap_or(0)
                    }
                };
                Ok((1..=count as i64).map(Datum::Int8).collect())
            }
        }
    }

    fn series(&self, row: &[Datum], ty: PgType) -> Result<Vec<Datum>, SqlError> {
        if row.iter().any(Datum::is_null) {
            return Ok(Vec::new());
        }
        let (start, stop) = (&row[0], &row[1]);
        if let (Some(start), Some(stop)) = (start.as_i64(), stop.as_i64()) {
            let step = row.get(2).map_or(Some(1), Datum::as_i64).unwrap_or(1);
            return integers(start, stop, step, ty);
        }
        for (value, what) in row.iter().zip(["start value", "stop value", "step size"]) {
            if let Datum::Numeric(number) = value
                && !number.is_finite()
            {
                let kind = if number.is_nan() { "NaN" } else { "infinity" };
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("{what} cannot be {kind}"),
                ));
            }
        }
        let one = || pgtypes::parse_text("1", PgType::NUMERIC, &self.env);
        let step = match row.get(2) {
            Some(step) => step.clone(),
            None => one()?,
        };
        let step_ty = if ty.id == TypeId::Numeric { ty } else { PgType::new(TypeId::Interval) };
        let plus = registry::resolve_operator("+", &[ty, step_ty])?;
        let next = plus.call(&self.env, &[start.clone(), step.clone()])?;
        let direction = pgtypes::compare(&next, start);
        if direction.is_eq() {
            return Err(zero_step());
        }
        let mut items = Vec::new();
        let mut at = start.clone();
        while pgtypes::compare(&at, stop) != direction {
            items.push(at.clone());
            if items.len() > ELEMENTS_MAX {
                return Err(too_long());
            }
            at = plus.call(&self.env, &[at, step.clone()])?;
        }
        Ok(items)
    }
}

fn integers(start: i64, stop: i64, step: i64, ty: PgType) -> Result<Vec<Datum>, SqlError> {
    if step == 0 {
        return Err(zero_step());
    }
    let narrow = ty.id == TypeId::Int4;
    let mut items = Vec::new();
    let mut at = start;
    while (step > 0 && at <= stop) || (step < 0 && at >= stop) {
        items.push(match i32::try_from(at) {
            Ok(value) if narrow => Datum::Int4(value),
            _ => Datum::Int8(at),
        });
        if items.len() > ELEMENTS_MAX {
            return Err(too_long());
        }
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(items)
}

fn zero_step() -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

fn too_long() -> SqlError {
    SqlError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("a set-returning function returned more than {ELEMENTS_MAX} rows"),
    )
}

fn array_items(array: &Datum) -> Vec<Datum> {
    match array {
        Datum::Array(array) => array.items.clone(),
        _ => Vec::new(),
    }
}
