//! Functions and aggregates through DataFusion's interfaces, on Arrow columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use pgtypes::arrow_bridge::{
    build_array, cast_udf, datum_at, from_scalar, function_udf, sort_key_udf, to_arrow_type,
    to_scalar,
};
use pgtypes::registry::{resolve_aggregate, resolve_function, resolve_operator};
use pgtypes::{Datum, EvalEnv, Numeric, PgType, TypeError, TypeId, cast};

fn run(
    udf: &ScalarUDF,
    args: Vec<ColumnarValue>,
    rows: usize,
) -> Result<ColumnarValue, DataFusionError> {
    let types: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
    let result = udf.inner().return_type(&types)?;
    udf.invoke_with_args(ScalarFunctionArgs {
        arg_fields: types.iter().map(|ty| Arc::new(Field::new("a", ty.clone(), true))).collect(),
        args,
        number_rows: rows,
        return_field: Arc::new(Field::new("r", result, true)),
        config_options: Arc::new(ConfigOptions::default()),
    })
}

fn operator(name: &str, types: &[PgType]) -> Arc<ScalarUDF> {
    let resolved = resolve_operator(name, types).expect("the operator exists");
    function_udf(Arc::new(resolved), Arc::new(EvalEnv::default()))
}

fn column(array: impl Array + 'static) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(array))
}

#[test]
fn integer_columns_add_checked() {
    let add = operator("+", &[PgType::INT4, PgType::INT4]);
    let left = column(Int32Array::from(vec![Some(1), None, Some(3)]));
    let one = ColumnarValue::Scalar(ScalarValue::Int32(Some(1)));
    let result = run(&add, vec![left, one.clone()], 3).expect("in range");
    let result = result.into_array(3).expect("a column");
    assert_eq!(
        result.as_primitive::<arrow::datatypes::Int32Type>(),
        &Int32Array::from(vec![Some(2), None, Some(4)])
    );

    let left = column(Int32Array::from(vec![i32::MAX]));
    let error = run(&add, vec![left, one], 1).expect_err("out of range");
    let error = TypeError::from_datafusion(&error).expect("ours");
    assert_eq!((error.sqlstate, error.message.as_str()), ("22003", "integer out of range"));
}

#[test]
fn division_of_columns_by_zero_has_its_sqlstate() {
    let div = operator("/", &[PgType::INT8, PgType::INT8]);
    let left = column(Int64Array::from(vec![1, 2]));
    let right = column(Int64Array::from(vec![1, 0]));
    let error = run(&div, vec![left, right], 2).expect_err("by zero");
    let wrapped = DataFusionError::Context("in a plan".to_owned(), Box::new(error));
    assert_eq!(TypeError::from_datafusion(&wrapped).expect("ours").sqlstate, "22012");
}

#[test]
fn comparisons_run_native_and_by_rows() {
    let less = operator("<", &[PgType::INT4, PgType::INT4]);
    let column_of = |values: Vec<i32>| column(Int32Array::from(values));
    let result = run(&less, vec![column_of(vec![1, 5]), column_of(vec![2, 2])], 2);
    let result = result.expect("comparable").into_array(2).expect("a column");
    assert_eq!(result.as_boolean(), &BooleanArray::from(vec![true, false]));

    // 1.50 = 1.5, though their bytes differ.
    let equal = operator("=", &[PgType::NUMERIC, PgType::NUMERIC]);
    let of = |text: &str| {
        let datum = Datum::Numeric(Numeric::parse(text).expect("a numeric"));
        ColumnarValue::Array(build_array(PgType::NUMERIC, &[datum, Datum::Null]))
    };
    let result = run(&equal, vec![of("1.50"), of("1.5")], 2).expect("comparable");
    let result = result.into_array(2).expect("a column");
    assert_eq!(result.as_boolean(), &BooleanArray::from(vec![Some(true), None]));
}

#[test]
fn constants_stay_constants() {
    let upper = resolve_function("upper", &[PgType::UNKNOWN]).expect("exists");
    let upper = function_udf(Arc::new(upper), Arc::new(EvalEnv::default()));
    let result = run(&upper, vec![ColumnarValue::Scalar(ScalarValue::from("abc"))], 5);
    let ColumnarValue::Scalar(result) = result.expect("no error") else { panic!("a column") };
    assert_eq!(from_scalar(&result, PgType::TEXT), Datum::from("ABC"));
}

#[test]
fn casts_apply_modifiers() {
    let (from, to) = (PgType::TEXT, PgType::new(TypeId::Numeric).with_typmod((5 << 16 | 2) + 4));
    let found = cast::lookup(from, to).expect("text casts explicitly");
    let udf = cast_udf(found, from, to, true, Arc::new(EvalEnv::default()));
    let column = build_array(from, &["1.555".into(), Datum::Null]);
    let result = run(&udf, vec![ColumnarValue::Array(column)], 2).expect("fits");
    let result = result.into_array(2).expect("a column");
    assert_eq!(datum_at(&result, 0, to), Datum::Numeric(Numeric::parse("1.56").expect("one")));
    assert!(result.is_null(1));
}

#[test]
fn sort_keys_group_equal_values() {
    let udf = sort_key_udf(PgType::NUMERIC);
    let values: Vec<Datum> = ["1.50", "1.5", "-2", "NaN"]
        .iter()
        .map(|text| Datum::Numeric(Numeric::parse(text).expect("a numeric")))
        .collect();
    let column = ColumnarValue::Array(build_array(PgType::NUMERIC, &values));
    let keys = run(&udf, vec![column], 4).expect("keys").into_array(4).expect("a column");
    let keys: &BinaryArray = keys.as_binary();
    assert_eq!(keys.value(0), keys.value(1));
    assert!(keys.value(2) < keys.value(0) && keys.value(0) < keys.value(3));
}

fn accumulate(name: &str, types: &[PgType], distinct: bool, batches: &[Vec<ArrayRef>]) -> Datum {
    let aggregate = resolve_aggregate(name, types).expect("the aggregate exists");
    let udaf = aggregate.udaf(Arc::new(EvalEnv::default()), distinct);
    let fields: Vec<_> = batches[0]
        .iter()
        .map(|array| Arc::new(Field::new("a", array.data_type().clone(), true)))
        .collect();
    let schema = Schema::new(fields.clone());
    let args = || AccumulatorArgs {
        return_field: Arc::new(Field::new("r", to_arrow_type(aggregate.result), true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name,
        is_distinct: false,
        exprs: &[],
        expr_fields: &fields,
    };
    // Each batch in an accumulator of its own, merged by their states, as partial plans do.
    let mut last = udaf.accumulator(args()).expect("an accumulator");
    for batch in batches {
        let mut partial = udaf.accumulator(args()).expect("an accumulator");
        partial.update_batch(batch).expect("an update");
        let state = partial.state().expect("a state");
        let columns: Vec<ArrayRef> =
            state.iter().map(|value| value.to_array().expect("a column")).collect();
        last.merge_batch(&columns).expect("a merge");
    }
    from_scalar(&last.evaluate().expect("a result"), aggregate.result)
}

#[test]
fn aggregates_merge_partial_states() {
    let ints = |values: Vec<Option<i32>>| vec![Arc::new(Int32Array::from(values)) as ArrayRef];
    let batches = [ints(vec![Some(1), None, Some(2)]), ints(vec![]), ints(vec![Some(2), Some(5)])];
    let int4 = [PgType::INT4];
    assert_eq!(accumulate("sum", &int4, false, &batches), Datum::Int8(10));
    assert_eq!(accumulate("sum", &int4, true, &batches), Datum::Int8(8));
    assert_eq!(accumulate("count", &int4, false, &batches), Datum::Int8(4));
    assert_eq!(accumulate("count", &int4, true, &batches), Datum::Int8(3));
    assert_eq!(accumulate("max", &int4, false, &batches), Datum::Int4(5));
    let average = Numeric::parse("2.5000000000000000").expect("a numeric");
    assert_eq!(accumulate("avg", &int4, false, &batches), Datum::Numeric(average));
    let all = accumulate("array_agg", &int4, false, &batches);
    let expected =
        vec![Datum::Int4(1), Datum::Null, Datum::Int4(2), Datum::Int4(2), Datum::Int4(5)];
    assert_eq!(all, Datum::array(expected));
    // `count(*)` counts the rows of the literal it is lowered with.
    let rows = [vec![Arc::new(Int64Array::from(vec![1, 1, 1])) as ArrayRef]];
    assert_eq!(accumulate("count", &[], false, &rows), Datum::Int8(3));
}

#[test]
fn distinct_goes_by_sql_equality() {
    let values: Vec<Datum> = ["1.50", "1.5", "2"]
        .iter()
        .map(|text| Datum::Numeric(Numeric::parse(text).expect("a numeric")))
        .collect();
    let batches = [vec![build_array(PgType::NUMERIC, &values)]];
    assert_eq!(accumulate("count", &[PgType::NUMERIC], true, &batches), Datum::Int8(2));
    let scalar = to_scalar(&values[0], PgType::NUMERIC);
    assert_eq!(from_scalar(&scalar, PgType::NUMERIC), values[0]);
}

#[test]
fn groups_take_rows_and_merge_states() {
    let aggregate = resolve_aggregate("sum", &[PgType::NUMERIC]).expect("exists");
    let udaf = aggregate.udaf(Arc::new(EvalEnv::default()), false);
    let schema = Schema::empty();
    let args = || AccumulatorArgs {
        return_field: Arc::new(Field::new("r", DataType::Binary, true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "sum",
        is_distinct: false,
        exprs: &[],
        expr_fields: &[],
    };
    assert!(udaf.groups_accumulator_supported(args()));
    let numeric = |text: &str| Datum::Numeric(Numeric::parse(text).expect("a numeric"));
    let values = [numeric("1.5"), Datum::Null, numeric("2.25"), numeric("4")];
    let column = build_array(PgType::NUMERIC, &values);
    let mut partial = udaf.create_groups_accumulator(args()).expect("supported");
    let filter = BooleanArray::from(vec![true, true, true, false]);
    partial.update_batch(&[column], &[0, 1, 0, 1], Some(&filter), 2).expect("an update");
    let state = partial.state(datafusion_expr::EmitTo::All).expect("states");
    let mut last = udaf.create_groups_accumulator(args()).expect("supported");
    last.merge_batch(&state, &[1, 0], 2).expect("a merge");
    let result = last.evaluate(datafusion_expr::EmitTo::All).expect("results");
    assert_eq!(datum_at(&result, 1, PgType::NUMERIC), numeric("3.75"));
    assert!(datum_at(&result, 0, PgType::NUMERIC).is_null());
    assert!(last.size() < 1000);
}

#[test]
fn frames_move() {
    let aggregate = resolve_aggregate("min", &[PgType::INT4]).expect("exists");
    let udaf = aggregate.udaf(Arc::new(EvalEnv::default()), false);
    let schema = Schema::empty();
    let mut frame = udaf
        .create_sliding_accumulator(AccumulatorArgs {
            return_field: Arc::new(Field::new("r", DataType::Int32, true)),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "min",
            is_distinct: false,
            exprs: &[],
            expr_fields: &[],
        })
        .expect("supported");
    let ints = |values: Vec<i32>| vec![Arc::new(Int32Array::from(values)) as ArrayRef];
    assert!(frame.supports_retract_batch());
    frame.update_batch(&ints(vec![1, 5, 3])).expect("an update");
    assert_eq!(frame.evaluate().expect("a result"), ScalarValue::Int32(Some(1)));
    frame.retract_batch(&ints(vec![1])).expect("a retraction");
    assert_eq!(frame.evaluate().expect("a result"), ScalarValue::Int32(Some(3)));
}
