//! Fragments there and back, and bytes that are none.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use base::Key;
use bytes::Bytes;
use catalog::{Column as TableColumn, Index, IndexColumn, Table};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::empty::EmptyExec;
use kv::{FragmentEvaluator, Reduced, Unreduced};
use pgtypes::arrow_bridge::{ColumnBuilder, cast_udf, function_udf, sort_key_udf, to_scalar};
use pgtypes::registry::{resolve_aggregate, resolve_function, resolve_operator};
use pgtypes::{Datum, PgType, TypeId, cast};
use proptest::prelude::*;
use proto::kv::KeyValue;

use super::content::{Content, Writer};
use super::expr::{env, put, take};
use super::wire::{Input, Output};
use super::{Fragments, run};
use crate::exec::condition::{Comparison, Condition, Test};
use crate::exec::scan::Source;

type Expr = Arc<dyn PhysicalExpr>;
/// A value of each of [`COLUMNS`].
type Row = (Option<i64>, Option<String>, Option<i32>, Option<bool>, Option<i64>);

const COLUMNS: [PgType; 5] =
    [PgType::INT8, PgType::TEXT, PgType::INT4, PgType::BOOL, PgType::NUMERIC];

fn schema() -> SchemaRef {
    let field = |(at, ty): (usize, &PgType)| {
        Field::new(format!("c{at}"), pgtypes::arrow_bridge::to_arrow_type(*ty), true)
    };
    Arc::new(Schema::new(COLUMNS.iter().enumerate().map(field).collect::<Vec<_>>()))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let mut builders = COLUMNS.map(|ty| ColumnBuilder::new(ty, rows.len()));
    for (a, b, c, d, e) in rows {
        let datums = [
            a.map(Datum::Int8),
            b.clone().map(Datum::text),
            c.map(Datum::Int4),
            d.map(Datum::Bool),
            e.map(|e| Datum::Numeric(e.into())),
        ];
        for (builder, datum) in builders.iter_mut().zip(datums) {
            builder.push(&datum.unwrap_or(Datum::Null));
        }
    }
    let arrays = builders.iter_mut().map(ColumnBuilder::finish).collect();
    RecordBatch::try_new(schema(), arrays).expect("columns of one length")
}

fn column(at: usize) -> Expr {
    Arc::new(Column::new(&format!("c{at}"), at))
}

fn constant(datum: Datum, ty: PgType) -> Expr {
    Arc::new(Literal::new(to_scalar(&datum, ty)))
}

fn call(udf: Arc<datafusion::logical_expr::ScalarUDF>, args: Vec<Expr>) -> Expr {
    let call = ScalarFunctionExpr::try_new(udf, args, &schema(), Arc::default());
    Arc::new(call.expect("arguments that fit"))
}

fn function(name: &str, types: &[PgType], args: Vec<Expr>) -> Expr {
    let resolved = match pgtypes::registry::is_operator(name) {
        true => resolve_operator(name, types),
        false => resolve_function(name, types),
    };
    call(function_udf(Arc::new(resolved.expect(name)), env()), args)
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Arc::new(BinaryExpr::new(left, op, right))
}

fn int8s() -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        Just(column(0)),
        Just(Arc::new(CastExpr::new(column(2), DataType::Int64, None)) as Expr),
        any::<i8>().prop_map(|v| constant(Datum::Int8(v.into()), PgType::INT8)),
        Just(constant(Datum::Null, PgType::INT8)),
        Just(call(
            cast_udf(
                cast::lookup(PgType::INT4, PgType::INT8).expect("a cast"),
                PgType::INT4,
                PgType::INT8,
                false,
                env(),
            ),
            vec![column(2)],
        )),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner).prop_map(|(left, right)| {
            function("+", &[PgType::INT8, PgType::INT8], vec![left, right])
        })
    })
    .boxed()
}

fn conditions() -> BoxedStrategy<Expr> {
    let comparison = prop_oneof![
        Just(Operator::Eq),
        Just(Operator::NotEq),
        Just(Operator::Lt),
        Just(Operator::GtEq),
        Just(Operator::IsDistinctFrom),
    ];
    let text = |pattern: &str| constant(Datum::text(pattern), PgType::TEXT);
    let texts = [PgType::TEXT, PgType::TEXT];
    let leaf = prop_oneof![
        (int8s(), comparison.clone(), int8s())
            .prop_map(|(left, op, right)| binary(left, op, right)),
        Just(column(3)),
        "[a-c%_]{0,3}"
            .prop_map(move |pattern| { function("~~", &texts, vec![column(1), text(&pattern)]) }),
        (comparison, any::<i16>()).prop_map(|(op, value)| {
            let key = |expr| call(sort_key_udf(PgType::NUMERIC), vec![expr]);
            let value = Datum::Numeric(i64::from(value).into());
            binary(key(column(4)), op, key(constant(value, PgType::NUMERIC)))
        }),
        (int8s(), proptest::collection::vec(any::<i8>(), 1..4), any::<bool>()).prop_map(
            |(needle, list, negated)| {
                let list = list.into_iter();
                let list = list.map(|v| constant(Datum::Int8(v.into()), PgType::INT8)).collect();
                let list = InListExpr::try_new(needle, list, negated, &schema());
                Arc::new(list.expect("of one type")) as Expr
            }
        ),
        (0usize..5).prop_map(|at| Arc::new(IsNullExpr::new(column(at))) as Expr),
        (0usize..5).prop_map(|at| Arc::new(IsNotNullExpr::new(column(at))) as Expr),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| binary(l, Operator::And, r)),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| binary(l, Operator::Or, r)),
            inner.clone().prop_map(|arg| Arc::new(NotExpr::new(arg)) as Expr),
            (inner.clone(), inner.clone(), proptest::option::of(inner)).prop_map(|(w, t, o)| {
                Arc::new(CaseExpr::try_new(None, vec![(w, t)], o).expect("a case")) as Expr
            }),
        ]
    })
    .boxed()
}

fn table() -> Table {
    let columns = COLUMNS.iter().enumerate().map(|(at, &ty)| TableColumn {
        nullable: at > 0,
        ..TableColumn::new(u32::try_from(at).expect("few") + 1, format!("c{at}"), ty)
    });
    let mut primary = Index::new(7, "t_pkey".to_owned(), true);
    primary.columns = vec![IndexColumn::ascending(1)];
    let mut table = Table::new(5, 2, "t".to_owned(), 10, columns.collect(), primary);
    let mut index = Index::new(8, "t_c2".to_owned(), false);
    index.columns = vec![IndexColumn::ascending(3)];
    table.indexes = vec![index];
    table
}

fn stored(rows: &[(i64, &str, i32)]) -> Vec<KeyValue> {
    let table = table();
    let encoded = rows.iter().map(|&(id, text, group)| {
        let row =
            [Datum::Int8(id), Datum::text(text), Datum::Int4(group), Datum::Null, Datum::Null];
        let key: Key = table.codec().key(&row).expect("a key");
        KeyValue { key: key.0, value: table.codec().value(&row).expect("a row") }
    });
    encoded.collect()
}

fn all_columns() -> Vec<Source> {
    COLUMNS.iter().enumerate().map(|(at, ty)| Source::Column(at, *ty)).collect()
}

/// `SELECT c2, count(*), sum(c0) FROM t WHERE <predicate> GROUP BY c2`, below its Final.
fn counted(predicate: Option<&Expr>) -> (Vec<u8>, SchemaRef) {
    let mut writer = Writer::of(&table(), None, &all_columns(), &[]).expect("a scan");
    if let Some(predicate) = predicate {
        assert!(writer.filter(predicate));
    }
    let group = PhysicalGroupBy::new_single(vec![(column(2), "c2".to_owned())]);
    let one = constant(Datum::Int8(1), PgType::INT8);
    let sum = resolve_aggregate("sum", &[PgType::INT8]).expect("sum").udaf(env(), false);
    let count = datafusion::functions_aggregate::count::count_udaf();
    let aggregate = |function, arg| {
        let builder = AggregateExprBuilder::new(function, vec![arg]).schema(schema());
        Arc::new(builder.alias("a").build().expect("an aggregate"))
    };
    let calls = vec![aggregate(count, one), aggregate(sum, column(0))];
    let plan = AggregateExec::try_new(
        AggregateMode::Partial,
        group,
        calls,
        vec![None, None],
        Arc::new(EmptyExec::new(schema())),
        schema(),
    );
    let plan = plan.expect("a plan");
    writer.aggregate(&plan).expect("it can be sent");
    (writer.finish(), datafusion::physical_plan::ExecutionPlan::schema(&plan))
}

async fn evaluated(content: Vec<u8>, pages: Vec<Vec<KeyValue>>) -> Result<Reduced, Unreduced> {
    let mut run = Fragments.begin(&Bytes::from(content)).ok_or(Unreduced)?;
    for page in pages {
        run.add(page).await?;
    }
    run.finish().await
}

proptest! {
    #[test]
    fn an_expression_means_the_same_when_it_has_been_sent(
        expr in conditions(),
        rows in proptest::collection::vec(
            (
                proptest::option::of((-3i64..3).boxed()),
                proptest::option::of("[a-c]{0,2}"),
                proptest::option::of(-3i32..3),
                proptest::option::of(any::<bool>()),
                proptest::option::of(-3i64..3),
            ),
            1..12,
        ),
    ) {
        let mut sent = Output::default();
        prop_assert!(put(&mut sent, &expr).is_some(), "{expr}");
        let mut input = Input(&sent.0);
        let received = take(&mut input, &schema()).expect("what was written");
        prop_assert!(input.0.is_empty());
        let mut again = Output::default();
        prop_assert!(put(&mut again, &received).is_some());
        prop_assert_eq!(&sent.0, &again.0);
        let batch = batch(&rows);
        let value = |expr: &Expr| {
            let value = expr.evaluate(&batch).and_then(|value| value.into_array(batch.num_rows()));
            value.map(|array| array.as_boolean().clone()).map_err(|error| error.to_string())
        };
        prop_assert_eq!(value(&expr), value(&received));
    }

    #[test]
    fn bytes_that_are_no_fragment_are_refused_and_do_no_harm(
        noise in proptest::collection::vec(any::<u8>(), 0..100),
        at in any::<proptest::sample::Index>(),
        to in any::<u8>(),
        expr in conditions(),
    ) {
        prop_assert!(Content::read(&noise).is_err());
        let (good, _) = counted(Some(&expr));
        prop_assert!(Content::read(&good).is_ok());
        let at = at.index(good.len());
        prop_assert!(Content::read(&good[..at]).is_err());
        let mut changed = good;
        changed[at] = to;
        drop(Content::read(&changed));
    }
}

#[tokio::test]
async fn rows_that_pass_travel_with_the_columns_wanted_alone() {
    let output = [Source::Column(2, PgType::INT4)];
    let over = [Condition { column: 0, test: Test::Compare(Comparison::Greater, Datum::Int8(1)) }];
    let mut writer = Writer::of(&table(), None, &output, &over).expect("a scan");
    // Over the scan's columns, of which there is one.
    let two: Expr = constant(Datum::Int4(20), PgType::INT4);
    let group: Expr = Arc::new(Column::new("c0", 0));
    assert!(writer.filter(&binary(group, Operator::Eq, two)));
    let rows = stored(&[(1, "a long text", 20), (2, "a long text", 20), (3, "a long text", 21)]);
    let whole = rows[1].clone();
    let reduced = evaluated(writer.finish(), vec![rows]).await.expect("it can be evaluated");
    let keys: Vec<&Bytes> = reduced.rows.iter().map(|row| &row.key).collect();
    assert_eq!(keys, [&whole.key]);
    assert!(reduced.rows[0].value.len() + 10 < whole.value.len(), "{reduced:?}");
    let mut row = Vec::new();
    let (key, value) = (Key(whole.key), reduced.rows[0].value.clone());
    table().codec().decoder(&[0, 2]).decode(&key, &value, &mut row).expect("a row");
    assert_eq!(row, [Datum::Int8(2), Datum::Int4(20)]);
}

#[tokio::test]
async fn states_of_several_pages_come_merged() {
    let predicate = binary(column(0), Operator::NotEq, constant(Datum::Int8(2), PgType::INT8));
    let (content, partial) = counted(Some(&predicate));
    let pages = vec![
        stored(&[(1, "", 7), (2, "", 7), (3, "", 8)]),
        stored(&[(4, "", 7), (5, "", 8)]),
        Vec::new(),
    ];
    let reduced = evaluated(content, pages).await.expect("it can be evaluated");
    assert!(reduced.rows.is_empty());
    let mut groups = BTreeMap::new();
    for states in &reduced.states {
        let mut batches = Vec::new();
        run::read_states(states, &partial, &mut |batch| batches.push(batch)).expect("states");
        for batch in batches {
            let keys = batch.column(0).as_primitive::<arrow::datatypes::Int32Type>();
            let counts = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                assert!(keys.is_valid(row));
                assert_eq!(groups.insert(keys.value(row), counts.value(row)), None);
            }
        }
    }
    assert_eq!(groups, BTreeMap::from([(7, 2), (8, 2)]));
}

#[tokio::test]
async fn an_error_and_groups_as_many_as_rows_leave_the_rows_as_they_are() {
    let zero = constant(Datum::Int8(0), PgType::INT8);
    let types = [PgType::INT8, PgType::INT8];
    let divided = function("/", &types, vec![column(0), zero.clone()]);
    let (content, _) = counted(Some(&binary(divided, Operator::Eq, zero)));
    let failed = evaluated(content, vec![stored(&[(1, "", 7)])]).await;
    assert_eq!(failed.err(), Some(Unreduced));
    let rows: Vec<(i64, &str, i32)> = (0..3_000).map(|at| (at.into(), "", at)).collect();
    let (content, _) = counted(None);
    assert_eq!(evaluated(content, vec![stored(&rows)]).await.err(), Some(Unreduced));
}

#[test]
fn what_depends_on_settings_or_the_clock_is_not_sent() {
    let timestamptz = PgType::new(TypeId::Timestamptz);
    let stays = |expr: Expr| put(&mut Output::default(), &expr).is_none();
    assert!(stays(function("now", &[], vec![])));
    assert!(stays(function("random", &[], vec![])));
    let zoned = |from: PgType, to: PgType, arg: Expr| {
        call(cast_udf(cast::lookup(from, to).expect("a cast"), from, to, true, env()), vec![arg])
    };
    let moment = constant(Datum::Timestamptz(0), timestamptz);
    assert!(stays(zoned(timestamptz, PgType::new(TypeId::Date), moment)));
    let float = constant(Datum::Float8(0.5), PgType::FLOAT8);
    assert!(stays(zoned(PgType::FLOAT8, PgType::TEXT, float)));
}
