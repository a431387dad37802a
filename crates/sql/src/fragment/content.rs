//! What a fragment says: how rows are decoded, and what is done with them.
//!
//! ```text
//!   version | table as far as it matters | entries of an index? | columns | conditions | steps | 0
//!   step    filter (an expression) | project (expressions) | aggregate (keys, calls), at last
//! ```
//!
//! Columns and conditions are the scan's; each step is over what the one before has made. A node that reads
//! another version answers with rows, so versions need not be negotiated.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{EntryDecoder, Table, decode_single, encode_single};
use datafusion::functions_aggregate::count::{Count, count_udaf};
use datafusion::functions_aggregate::first_last::{FirstValue, first_value_udaf};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use pgtypes::arrow_bridge::{self, to_arrow_type};
use pgtypes::registry::resolve_aggregate;

use super::expr::{self, put, take, take_condition, type_of};
use super::wire::{Input, Malformed, Output};
use crate::exec::condition::{Comparison, Condition, Test};
use crate::exec::decode::Decoding;
use crate::exec::scan::{Source, TableScanExec, alone, decoded};

/// What this node writes, and the only one that it reads.
const VERSION: u8 = 1;

const FILTER: u8 = 1;
const PROJECT: u8 = 2;
const AGGREGATE: u8 = 3;
const END: u8 = 0;

const COMPARISONS: [Comparison; 5] = [
    Comparison::Equal,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];
const ONE_OF: u8 = 9;

/// Aggregates whose result does not depend on the order of rows, nor on any setting.
const AGGREGATES: [&str; 17] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "every",
    "bit_and",
    "bit_or",
    "bit_xor",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "var_pop",
    "var_samp",
];
const OURS: u8 = 0;
const COUNT_ROWS: u8 = 1;
const FIRST: u8 = 2;

type Expr = Arc<dyn PhysicalExpr>;

/// Writes the fragment of a plan, from its scan upwards.
pub(super) struct Writer {
    out: Output,
    /// The table as it is told.
    pub(super) excerpt: Table,
}

impl Writer {
    /// A fragment of what the scan itself does; nothing if that can't be said.
    pub(super) fn new(scan: &TableScanExec) -> Option<Writer> {
        Writer::of(&scan.table, scan.access.index, &scan.output, &scan.conditions)
    }

    /// A fragment of a scan of rows, or of the entries of an index.
    pub(super) fn of(
        table: &Table,
        index: Option<usize>,
        output: &[Source],
        conditions: &[Condition],
    ) -> Option<Writer> {
        let wanted = decoded(output, conditions);
        let excerpt = table.excerpt(&wanted, index);
        let place = |at: usize| excerpt.position_of(table.column_at(at).id);
        let mut out = Output::default();
        out.byte(VERSION);
        out.bytes(&excerpt.to_bytes());
        out.flag(index.is_some());
        out.count(output.len());
        for source in output {
            match source {
                Source::RowKey => out.count(0),
                Source::Column(at, _) => out.count(1 + place(*at)?),
            }
        }
        out.count(conditions.len());
        for condition in conditions {
            let ty = table.column_at(condition.column).ty;
            out.count(place(condition.column)?);
            match &condition.test {
                Test::Compare(op, value) => {
                    let op = COMPARISONS.iter().position(|known| known == op)?;
                    out.count(op);
                    out.bytes(&encode_single(value, ty).ok()?);
                }
                Test::In(values) => {
                    out.byte(ONE_OF);
                    out.count(values.len());
                    for value in values {
                        out.bytes(&encode_single(value, ty).ok()?);
                    }
                }
            }
        }
        Some(Writer { out, excerpt })
    }

    /// Only rows for which a condition holds go on. Answers whether it can be sent; if not, it is not.
    pub(super) fn filter(&mut self, predicate: &Expr) -> bool {
        let before = self.out.0.len();
        self.out.byte(FILTER);
        let sent = put(&mut self.out, predicate).is_some();
        if !sent {
            self.out.0.truncate(before);
        }
        sent
    }

    /// These go on instead of the columns.
    pub(super) fn project<'e>(
        &mut self,
        exprs: impl ExactSizeIterator<Item = &'e Expr>,
    ) -> Option<()> {
        self.out.byte(PROJECT);
        self.out.count(exprs.len());
        for expr in exprs {
            put(&mut self.out, expr)?;
        }
        Some(())
    }

    /// Rows become states.
    pub(super) fn aggregate(&mut self, aggregate: &AggregateExec) -> Option<()> {
        let group = aggregate.group_expr();
        let out = &mut self.out;
        out.byte(AGGREGATE);
        out.count(group.expr().len());
        for (key, _) in group.expr() {
            put(out, key)?;
        }
        out.count(aggregate.aggr_expr().len());
        for (call, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
            put_call(out, call)?;
            out.flag(filter.is_some());
            if let Some(filter) = filter {
                put(out, filter)?;
            }
        }
        Some(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.byte(END);
        self.out.0
    }
}

fn put_call(out: &mut Output, call: &AggregateFunctionExpr) -> Option<()> {
    let plain = !call.is_distinct()
        && !call.is_reversed()
        && !call.ignore_nulls()
        && call.order_bys().is_empty();
    if !plain {
        return None;
    }
    let inner = call.fun().inner();
    if inner.is::<Count>() {
        out.byte(COUNT_ROWS);
    } else if inner.is::<FirstValue>() {
        out.byte(FIRST);
    } else {
        let (aggregate, distinct) = arrow_bridge::described_aggregate(call.fun())?;
        let again = resolve_aggregate(aggregate.name, &aggregate.args).ok()?;
        if distinct || !AGGREGATES.contains(&aggregate.name) || !again.same_entry(aggregate) {
            return None;
        }
        out.byte(OURS);
        out.bytes(aggregate.name.as_bytes());
        out.count(aggregate.args.len());
        aggregate.args.iter().for_each(|ty| out.ty(*ty));
    }
    let args = call.expressions();
    out.count(args.len());
    args.iter().try_for_each(|arg| put(out, arg))
}

/// What is done with rows.
pub(super) enum Step {
    Filter(Expr),
    Project(Vec<Expr>, SchemaRef),
}

/// The aggregate at the end, over rows of `input`.
pub(super) struct Grouping {
    pub(super) group: PhysicalGroupBy,
    pub(super) calls: Vec<Arc<AggregateFunctionExpr>>,
    pub(super) filters: Vec<Option<Expr>>,
    pub(super) input: SchemaRef,
}

/// A fragment that was received.
pub(super) struct Content {
    pub(super) table: Arc<Table>,
    /// Whether entries of the excerpt's one index are decoded instead of rows.
    pub(super) entries: bool,
    pub(super) decoding: Decoding,
    pub(super) steps: Vec<Step>,
    pub(super) grouping: Option<Grouping>,
}

impl Content {
    /// Reads what [`Writer`] has written.
    pub(super) fn read(bytes: &[u8]) -> Result<Content, Malformed> {
        let mut input = Input(bytes);
        let input = &mut input;
        if input.byte()? != VERSION {
            return Err(Malformed);
        }
        let table = Table::from_bytes(input.bytes()?).map_err(|_| Malformed)?;
        let entries = input.flag()?;
        if entries != (table.indexes.len() == 1) {
            return Err(Malformed);
        }
        let width = table.columns.len() + table.computed.len();
        let count = input.count()?;
        let mut output = Vec::with_capacity(count);
        for _ in 0..count {
            output.push(match input.place()? {
                0 => Source::RowKey,
                at if at <= width => Source::Column(at - 1, table.column_at(at - 1).ty),
                _ => return Err(Malformed),
            });
        }
        let count = input.count()?;
        let mut conditions = Vec::with_capacity(count);
        for _ in 0..count {
            conditions.push(take_test(input, &table)?);
        }
        let schema = numbered(output.iter().map(|source| match source {
            Source::Column(_, ty) => to_arrow_type(*ty),
            Source::RowKey => DataType::Binary,
        }));
        let table = Arc::new(table);
        let index = match entries {
            false => None,
            true => {
                let decoder = alone(&table, 0, &output, &conditions).ok_or(Malformed)?;
                Some((0, Arc::<EntryDecoder>::new(decoder)))
            }
        };
        let computed = |s: &Source| matches!(s, Source::Column(at, _) if table.is_computed(*at));
        if !entries && output.iter().any(computed) {
            return Err(Malformed);
        }
        let decoding = Decoding::new(
            Arc::clone(&table),
            output.into(),
            conditions.into(),
            Arc::clone(&schema),
            index,
        );
        let (steps, grouping) = take_steps(input, schema)?;
        if !input.0.is_empty() {
            return Err(Malformed);
        }
        Ok(Content { table, entries, decoding, steps, grouping })
    }
}

fn take_steps(
    input: &mut Input<'_>,
    mut schema: SchemaRef,
) -> Result<(Vec<Step>, Option<Grouping>), Malformed> {
    let (mut steps, mut projects) = (Vec::new(), false);
    loop {
        match input.byte()? {
            FILTER => steps.push(Step::Filter(take_condition(input, &schema)?)),
            PROJECT => {
                projects = true;
                let count = input.count()?;
                let exprs: Vec<Expr> =
                    (0..count).map(|_| take(input, &schema)).collect::<Result<_, _>>()?;
                let types = exprs.iter().map(|expr| type_of(expr, &schema));
                schema = numbered(types.collect::<Result<Vec<_>, _>>()?.into_iter());
                steps.push(Step::Project(exprs, Arc::clone(&schema)));
            }
            AGGREGATE => {
                let grouping = take_grouping(input, schema)?;
                return match input.byte()? {
                    END => Ok((steps, Some(grouping))),
                    _ => Err(Malformed),
                };
            }
            // Rows that stay rows keep their columns.
            END if !projects => return Ok((steps, None)),
            _ => return Err(Malformed),
        }
    }
}

/// Columns by number, as they are called here.
fn numbered(types: impl Iterator<Item = DataType>) -> SchemaRef {
    let fields = types.enumerate().map(|(at, ty)| Field::new(format!("c{at}"), ty, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn take_test(input: &mut Input<'_>, table: &Table) -> Result<Condition, Malformed> {
    let column = input.place()?;
    if column >= table.columns.len() + table.computed.len() {
        return Err(Malformed);
    }
    let ty = table.column_at(column).ty;
    let value = |input: &mut Input<'_>| decode_single(input.bytes()?, ty).map_err(|_| Malformed);
    let test = match input.byte()? {
        ONE_OF => {
            let count = input.count()?;
            let values = (0..count).map(|_| value(input)).collect::<Result<Vec<_>, _>>()?;
            Test::one_of(values)
        }
        op => {
            let op = *COMPARISONS.get(usize::from(op)).ok_or(Malformed)?;
            Test::Compare(op, value(input)?)
        }
    };
    Ok(Condition { column, test })
}

fn take_grouping(input: &mut Input<'_>, schema: SchemaRef) -> Result<Grouping, Malformed> {
    let count = input.count()?;
    let mut keys = Vec::with_capacity(count);
    for at in 0..count {
        keys.push((take(input, &schema)?, format!("k{at}")));
    }
    let group = match keys.is_empty() {
        true => PhysicalGroupBy::default(),
        false => PhysicalGroupBy::new_single(keys),
    };
    let count = input.count()?;
    let (mut calls, mut filters) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for at in 0..count {
        calls.push(Arc::new(take_call(input, &schema, at)?));
        filters.push(match input.flag()? {
            true => Some(take_condition(input, &schema)?),
            false => None,
        });
    }
    Ok(Grouping { group, calls, filters, input: schema })
}

fn take_call(
    input: &mut Input<'_>,
    schema: &SchemaRef,
    at: usize,
) -> Result<AggregateFunctionExpr, Malformed> {
    let (function, types): (Arc<AggregateUDF>, Option<Vec<DataType>>) = match input.byte()? {
        COUNT_ROWS => (count_udaf(), None),
        FIRST => (first_value_udaf(), None),
        OURS => {
            let name = input.text()?;
            let count = input.count()?;
            let types = (0..count).map(|_| input.ty()).collect::<Result<Vec<_>, _>>()?;
            let aggregate = resolve_aggregate(name, &types).map_err(|_| Malformed)?;
            if !AGGREGATES.contains(&aggregate.name) || aggregate.args != types {
                return Err(Malformed);
            }
            let stored = types.into_iter().map(to_arrow_type).collect();
            (aggregate.udaf(expr::env(), false), Some(stored))
        }
        _ => return Err(Malformed),
    };
    let count = input.count()?;
    let args = (0..count).map(|_| take(input, schema)).collect::<Result<Vec<_>, _>>()?;
    let fits = match &types {
        None => args.len() == 1,
        Some(types) => args.len() == types.len(),
    };
    if !fits || args.is_empty() {
        return Err(Malformed);
    }
    for (arg, ty) in args.iter().zip(types.iter().flatten()) {
        expr::is_a(arg, schema, ty)?;
    }
    let call = AggregateExprBuilder::new(function, args).schema(Arc::clone(schema));
    call.alias(format!("a{at}")).build().map_err(|_| Malformed)
}
