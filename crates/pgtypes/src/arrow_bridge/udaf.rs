//! Aggregates as DataFusion aggregate functions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Int16Type, Int32Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion_common::{Result as DfResult, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature,
    Volatility as DfVolatility,
};

use super::groups::{Frame, Groups};
use super::{ColumnReader, to_arrow_type, to_scalar};
use crate::aggregate::modifier::Kept;
use crate::aggregate::{Accumulate, ResolvedAggregate};
use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};

#[derive(Debug)]
struct Udaf {
    aggregate: ResolvedAggregate,
    env: Arc<EvalEnv>,
    distinct: bool,
    signature: Signature,
}

impl PartialEq for Udaf {
    fn eq(&self, other: &Self) -> bool {
        self.aggregate.same_entry(&other.aggregate)
            && self.distinct == other.distinct
            && Arc::ptr_eq(&self.env, &other.env)
    }
}

impl Eq for Udaf {}

impl Hash for Udaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.aggregate.name, &self.aggregate.args, self.distinct).hash(state);
    }
}

pub(crate) fn make_udaf(
    aggregate: ResolvedAggregate,
    env: Arc<EvalEnv>,
    distinct: bool,
) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(DfVolatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Udaf { aggregate, env, distinct, signature }))
}

/// The aggregate that a DataFusion aggregate is, and whether it does DISTINCT; none if it is not one of ours.
pub fn described_aggregate(udaf: &AggregateUDF) -> Option<(&ResolvedAggregate, bool)> {
    udaf.inner().downcast_ref::<Udaf>().map(|udaf| (&udaf.aggregate, udaf.distinct))
}

impl AggregateUDFImpl for Udaf {
    fn name(&self) -> &str {
        self.aggregate.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(to_arrow_type(self.aggregate.result))
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn default_value(&self, _data_type: &DataType) -> DfResult<ScalarValue> {
        Ok(to_scalar(&self.aggregate.empty_result(), self.aggregate.result))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        if self.distinct || args.is_distinct || !args.order_bys.is_empty() {
            let order = args
                .order_bys
                .iter()
                .map(|sort| {
                    Ok(OrderBy {
                        options: sort.options,
                        data_type: sort.expr.data_type(args.schema)?,
                    })
                })
                .collect::<DfResult<Vec<_>>>()?;
            return Ok(Box::new(KeptAccumulator {
                types: self.aggregate.args.clone(),
                result: self.aggregate.result,
                kept: Kept::new(
                    self.aggregate.clone(),
                    Arc::clone(&self.env),
                    self.distinct || args.is_distinct,
                ),
                order: order_converter(order)?,
            }));
        }
        Ok(Box::new(PlainAccumulator {
            aggregate: self.aggregate.clone(),
            state: self.aggregate.accumulator(&self.env),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let field =
            |i: usize, ty: DataType| Arc::new(Field::new(format!("{}[{i}]", args.name), ty, true));
        if self.distinct || args.is_distinct || !args.ordering_fields.is_empty() {
            return Ok(vec![field(0, DataType::Binary)]);
        }
        let types = self.aggregate.state_types();
        Ok(types.iter().enumerate().map(|(i, ty)| field(i, to_arrow_type(*ty))).collect())
    }

    /// Beneficial makes DataFusion hand over the ORDER BY expressions behind the arguments without
    /// sorting its input for them: the accumulator sorts.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _beneficial: bool,
    ) -> DfResult<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(None)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !self.distinct && !args.is_distinct && args.order_bys.is_empty()
    }

    fn create_groups_accumulator(
        &self,
        _args: AccumulatorArgs<'_>,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(self.aggregate.clone(), Arc::clone(&self.env))))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> DfResult<Box<dyn Accumulator>> {
        if self.aggregate.accumulator(&self.env).can_retract() {
            return self.accumulator(args);
        }
        Ok(Box::new(Frame::new(self.aggregate.clone(), Arc::clone(&self.env))))
    }
}

/// Reads the argument columns; there are more columns than types where ORDER BY is appended.
fn readers<'a>(values: &'a [ArrayRef], types: &[PgType]) -> Vec<ColumnReader<'a>> {
    values.iter().zip(types).map(|(array, ty)| ColumnReader::new(array.as_ref(), *ty)).collect()
}

struct PlainAccumulator {
    aggregate: ResolvedAggregate,
    state: Box<dyn Accumulate>,
}

impl std::fmt::Debug for PlainAccumulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {:?}", self.aggregate, self.state)
    }
}

impl PlainAccumulator {
    /// Calls `f` for each row the aggregate does not skip.
    fn rows(
        &mut self,
        values: &[ArrayRef],
        f: fn(&mut dyn Accumulate, &[Datum]) -> crate::Result<()>,
    ) -> DfResult<()> {
        let rows = values.first().map_or(0, |array| array.len());
        let readers = readers(values, &self.aggregate.args);
        let mut args = vec![Datum::Null; readers.len()];
        for row in 0..rows {
            for (slot, reader) in args.iter_mut().zip(&readers) {
                *slot = reader.get(row);
            }
            if !(self.aggregate.strict && args.iter().any(Datum::is_null)) {
                f(self.state.as_mut(), &args)?;
            }
        }
        Ok(())
    }

    /// The state a whole column adds, for aggregates that need not see its rows one by one.
    fn column_state(&self, values: &[ArrayRef]) -> Option<Vec<Datum>> {
        let array = values.first()?;
        let present = i64::try_from(array.len() - array.logical_null_count()).ok()?;
        match self.aggregate.name {
            // `count(*)` comes with a literal that is not NULL.
            "count" => Some(vec![Datum::Int8(present)]),
            "sum" | "avg" => {
                let sum = match self.aggregate.args.first()?.id {
                    TypeId::Int2 => total::<Int16Type>(array),
                    TypeId::Int4 => total::<Int32Type>(array),
                    TypeId::Int8 => total::<Int64Type>(array),
                    _ => return None,
                };
                Some(vec![Datum::Numeric(Numeric::from(sum)), Datum::Int8(present)])
            }
            _ => None,
        }
    }
}

/// The sum of an integer column, which 128 bits always hold.
fn total<T: ArrowPrimitiveType>(array: &ArrayRef) -> i128
where
    T::Native: Into<i128>,
{
    array.as_primitive::<T>().iter().flatten().map(Into::into).sum()
}

impl Accumulator for PlainAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if let Some(state) = self.column_state(values) {
            return Ok(self.state.merge(&state)?);
        }
        self.rows(values, |state, args| state.update(args))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if self.aggregate.name == "count" {
            let nulls: usize = values[0].logical_null_count();
            let gone = i64::try_from(values[0].len() - nulls).expect("a batch is small");
            return Ok(self.state.merge(&[Datum::Int8(-gone)])?);
        }
        self.rows(values, |state, args| state.retract(args))
    }

    fn supports_retract_batch(&self) -> bool {
        self.state.can_retract()
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(to_scalar(&self.state.finish()?, self.aggregate.result))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.state.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let types = self.aggregate.state_types();
        Ok(self.state.state().iter().zip(types).map(|(datum, ty)| to_scalar(datum, ty)).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let types = self.aggregate.state_types();
        let rows = states.first().map_or(0, |array| array.len());
        let readers = readers(states, &types);
        for row in 0..rows {
            let state: Vec<Datum> = readers.iter().map(|reader| reader.get(row)).collect();
            self.state.merge(&state)?;
        }
        Ok(())
    }
}

struct OrderBy {
    options: SortOptions,
    data_type: DataType,
}

fn order_converter(order: Vec<OrderBy>) -> DfResult<Option<RowConverter>> {
    if order.is_empty() {
        return Ok(None);
    }
    let fields =
        order.into_iter().map(|by| SortField::new_with_options(by.data_type, by.options)).collect();
    Ok(Some(RowConverter::new(fields)?))
}

/// For DISTINCT and ORDER BY.
#[derive(Debug)]
struct KeptAccumulator {
    types: Vec<PgType>,
    result: PgType,
    kept: Kept,
    order: Option<RowConverter>,
}

impl Accumulator for KeptAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        // `count(*)` has a literal column and no declared argument.
        let at = self.types.len().max(usize::from(self.order.is_none()));
        let keys = match &self.order {
            Some(converter) => Some(converter.convert_columns(&values[at.min(values.len())..])?),
            None => None,
        };
        let readers = readers(values, &self.types);
        let rows = values.first().map_or(0, |array| array.len());
        for row in 0..rows {
            let args: Vec<Datum> = readers.iter().map(|reader| reader.get(row)).collect();
            let key = keys.as_ref().map(|keys| keys.row(row));
            self.kept.insert(key.as_ref().map_or(&[], |key| key.as_ref()), &args);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(to_scalar(&self.kept.finish()?, self.result))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.kept.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![to_scalar(&self.kept.state(), PgType::new(TypeId::Bytea))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let reader = ColumnReader::new(states[0].as_ref(), PgType::new(TypeId::Bytea));
        for row in 0..states[0].len() {
            self.kept.merge(&reader.get(row))?;
        }
        Ok(())
    }
}
