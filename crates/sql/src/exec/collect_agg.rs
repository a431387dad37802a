//! Aggregates with DISTINCT or ORDER BY: rows of a group are collected, put in order, and fed.
//!
//! PostgreSQL sorts the arguments to find duplicates, so `array_agg(DISTINCT x)` comes out sorted;
//! here too.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
    utils::AggregateOrderSensitivity,
};
use pgtypes::{Datum, EvalEnv, PgType, arrow_bridge};

use crate::error::SqlError;
use crate::ir::{AggCall, AggRef};

/// How collected rows are ordered: by which argument, and in which direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    arg: usize,
    desc: bool,
    nulls_first: bool,
}

#[derive(Debug)]
struct Collect {
    name: String,
    inner: AggRef,
    env: Arc<EvalEnv>,
    /// Types of the aggregate's arguments, then of the order keys.
    types: Vec<PgType>,
    keys: Vec<Key>,
    distinct: bool,
    signature: Signature,
}

impl PartialEq for Collect {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner && self.keys == other.keys && self.distinct == other.distinct
    }
}

impl Eq for Collect {}

impl Hash for Collect {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The aggregate of a call with DISTINCT or ORDER BY. It takes the call's arguments, then its order
/// keys.
pub(crate) fn collecting(agg: &AggCall, env: Arc<EvalEnv>) -> Arc<AggregateUDF> {
    let mut types: Vec<PgType> = agg.args.iter().map(|arg| arg.ty()).collect();
    let given = types.len();
    types.extend(agg.order_by.iter().map(|key| key.expr.ty()));
    let mut keys: Vec<Key> = agg
        .order_by
        .iter()
        .enumerate()
        .map(|(i, key)| Key { arg: given + i, desc: key.desc, nulls_first: key.nulls_first })
        .collect();
    if agg.distinct {
        keys.extend((0..given).map(|arg| Key { arg, desc: false, nulls_first: false }));
    }
    let signature = Signature::exact(
        types.iter().map(|ty| arrow_bridge::to_arrow_type(*ty)).collect(),
        Volatility::Immutable,
    );
    let name = format!("{}[distinct={} {keys:?}]", agg.func.name, agg.distinct);
    let collect = Collect {
        name,
        inner: agg.func.clone(),
        env,
        types,
        keys,
        distinct: agg.distinct,
        signature,
    };
    Arc::new(AggregateUDF::new_from_impl(collect))
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(arrow_bridge::to_arrow_type(self.inner.result))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Collected {
            inner: self.inner.clone(),
            env: Arc::clone(&self.env),
            types: self.types.clone(),
            keys: self.keys.clone(),
            args: self.inner.args.len(),
            distinct: self.distinct,
            rows: Vec::new(),
            bytes: 0,
        }))
    }

    /// The rows collected: a list for each argument and key.
    fn state_fields(&self, _: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |(at, ty): (usize, &PgType)| {
            let items = Field::new_list_field(arrow_bridge::to_arrow_type(*ty), true);
            let name = format!("{}[{at}]", self.name);
            Arc::new(Field::new(name, DataType::List(Arc::new(items)), true))
        };
        Ok(self.types.iter().enumerate().map(list).collect())
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug)]
struct Collected {
    inner: AggRef,
    env: Arc<EvalEnv>,
    types: Vec<PgType>,
    keys: Vec<Key>,
    args: usize,
    distinct: bool,
    rows: Vec<Vec<Datum>>,
    bytes: usize,
}

impl Collected {
    fn order(&self, left: &[Datum], right: &[Datum]) -> Ordering {
        for key in &self.keys {
            let (l, r) = (&left[key.arg], &right[key.arg]);
            let order = match (l.is_null(), r.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) if key.nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if key.nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) if key.desc => pgtypes::compare(r, l),
                (false, false) => pgtypes::compare(l, r),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }

    fn same_args(&self, left: &[Datum], right: &[Datum]) -> bool {
        left[..self.args].iter().zip(&right[..self.args]).all(|(l, r)| {
            match (l.is_null(), r.is_null()) {
                (true, true) => true,
                (false, false) => pgtypes::compare(l, r) == Ordering::Equal,
                _ => false,
            }
        })
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let count = values.first().map_or(0, |array| array.len());
        let readers: Vec<_> = values
            .iter()
            .zip(&self.types)
            .map(|(array, ty)| arrow_bridge::ColumnReader::new(array, *ty))
            .collect();
        for at in 0..count {
            let row: Vec<Datum> = readers.iter().map(|reader| reader.get(at)).collect();
            self.bytes += row.iter().map(Datum::size).sum::<usize>() + size_of::<Vec<Datum>>();
            self.rows.push(row);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by(|left, right| self.order(left, right));
        let mut accumulator = self.inner.accumulator(&self.env);
        let mut last: Option<&Vec<Datum>> = None;
        for row in &rows {
            if self.distinct && last.is_some_and(|last| self.same_args(last, row)) {
                continue;
            }
            let args = &row[..self.args];
            self.inner.update(&mut *accumulator, args).map_err(SqlError::from)?;
            last = Some(row);
        }
        let result = accumulator.finish().map_err(SqlError::from)?;
        Ok(arrow_bridge::to_scalar(&result, self.inner.result))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let list = |(at, ty): (usize, &PgType)| {
            let mut items = arrow_bridge::ColumnBuilder::new(*ty, rows.len());
            rows.iter().for_each(|row| items.push(&row[at]));
            SingleRowListArrayBuilder::new(items.finish()).build_list_scalar()
        };
        Ok(self.types.iter().enumerate().map(list).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = states.first().map_or(0, |array| array.len());
        for group in 0..groups {
            let lists: Vec<ArrayRef> =
                states.iter().map(|state| state.as_list::<i32>().value(group)).collect();
            self.update_batch(&lists)?;
        }
        Ok(())
    }
}
