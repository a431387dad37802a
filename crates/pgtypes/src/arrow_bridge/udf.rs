//! Functions, casts and sort keys as DataFusion scalar functions.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryBuilder, new_null_array};
use arrow::datatypes::DataType;
use datafusion_common::{Result as DfResult, ScalarValue};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility as DfVolatility,
};

use super::{ColumnBuilder, ColumnReader, from_scalar, to_arrow_type, to_scalar, vector};
use crate::cast::Cast;
use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::error::Result;
use crate::registry::{Resolved, Volatility};
use crate::sortkey::sort_key;
use crate::ty::PgType;

/// A column or a constant, read as datums.
enum Input<'a> {
    Column(ColumnReader<'a>),
    Constant(Datum),
}

impl Input<'_> {
    fn get(&self, row: usize) -> Datum {
        match self {
            Self::Column(reader) => reader.get(row),
            Self::Constant(datum) => datum.clone(),
        }
    }
}

/// The arguments, where one has no type NULLs of the type that is wanted: the optimizer finds out so what a
/// condition makes of them.
fn typed<'a>(args: &'a [ColumnarValue], types: &[PgType]) -> DfResult<Cow<'a, [ColumnarValue]>> {
    if args.iter().all(|arg| arg.data_type() != DataType::Null) {
        return Ok(Cow::Borrowed(args));
    }
    let typed = args.iter().zip(types).map(|(arg, ty)| match (arg.data_type(), arg) {
        (DataType::Null, ColumnarValue::Array(array)) => {
            Ok(ColumnarValue::Array(new_null_array(&to_arrow_type(*ty), array.len())))
        }
        (DataType::Null, ColumnarValue::Scalar(_)) => {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from(&to_arrow_type(*ty))?))
        }
        _ => Ok(arg.clone()),
    });
    Ok(Cow::Owned(typed.collect::<DfResult<_>>()?))
}

fn inputs<'a>(args: &'a [ColumnarValue], types: &[PgType]) -> Vec<Input<'a>> {
    args.iter()
        .zip(types)
        .map(|(arg, ty)| match arg {
            ColumnarValue::Array(array) => Input::Column(ColumnReader::new(array.as_ref(), *ty)),
            ColumnarValue::Scalar(scalar) => Input::Constant(from_scalar(scalar, *ty)),
        })
        .collect()
}

/// Runs a row function over columns; constant in, constant out.
fn map_rows(
    args: &[ColumnarValue],
    types: &[PgType],
    result: PgType,
    rows: usize,
    per_row: bool,
    mut f: impl FnMut(&[Datum]) -> Result<Datum>,
) -> DfResult<ColumnarValue> {
    let inputs = inputs(args, types);
    let constant = inputs.iter().all(|input| matches!(input, Input::Constant(_)));
    let mut row_args: Vec<Datum> = inputs
        .iter()
        .map(|input| match input {
            Input::Constant(datum) => datum.clone(),
            Input::Column(_) => Datum::Null,
        })
        .collect();
    if constant && !per_row {
        let value = f(&row_args)?;
        return Ok(ColumnarValue::Scalar(to_scalar(&value, result)));
    }
    let mut builder = ColumnBuilder::new(result, rows);
    for row in 0..rows {
        for (slot, input) in row_args.iter_mut().zip(&inputs) {
            if matches!(input, Input::Column(_)) {
                *slot = input.get(row);
            }
        }
        builder.push(&f(&row_args)?);
    }
    Ok(ColumnarValue::Array(builder.finish()))
}

fn volatility(volatility: Volatility) -> DfVolatility {
    match volatility {
        Volatility::Immutable => DfVolatility::Immutable,
        Volatility::Stable => DfVolatility::Stable,
        Volatility::Volatile => DfVolatility::Volatile,
    }
}

#[derive(Debug)]
struct FunctionUdf {
    function: Arc<Resolved>,
    env: Arc<EvalEnv>,
    signature: Signature,
}

impl PartialEq for FunctionUdf {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.function.entry, other.function.entry)
            && self.function.args == other.function.args
            && self.function.result == other.function.result
            && Arc::ptr_eq(&self.env, &other.env)
    }
}

impl Eq for FunctionUdf {}

impl Hash for FunctionUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
        self.function.args.hash(state);
    }
}

impl ScalarUDFImpl for FunctionUdf {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(to_arrow_type(self.function.result))
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let function = &self.function;
        let rows = args.number_rows;
        let args = typed(&args.args, &function.args)?;
        if let Some(result) = vector::run(function, &args)? {
            return Ok(result);
        }
        let per_row = function.volatility == Volatility::Volatile;
        map_rows(&args, &function.args, function.result, rows, per_row, |row| {
            function.call(&self.env, row)
        })
    }
}

/// A resolved function or operator as a DataFusion function.
pub fn function_udf(function: Arc<Resolved>, env: Arc<EvalEnv>) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(volatility(function.volatility));
    Arc::new(ScalarUDF::new_from_impl(FunctionUdf { function, env, signature }))
}

#[derive(Debug)]
struct CastUdf {
    cast: Cast,
    from: PgType,
    to: PgType,
    explicit: bool,
    env: Arc<EvalEnv>,
    name: String,
    signature: Signature,
}

impl PartialEq for CastUdf {
    fn eq(&self, other: &Self) -> bool {
        (self.cast, self.from, self.to, self.explicit)
            == (other.cast, other.from, other.to, other.explicit)
            && Arc::ptr_eq(&self.env, &other.env)
    }
}

impl Eq for CastUdf {}

impl Hash for CastUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.from, self.to, self.explicit).hash(state);
    }
}

impl ScalarUDFImpl for CastUdf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(to_arrow_type(self.to))
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let args = typed(&args.args, &[self.from])?;
        if let Some(result) = vector::cast(self.from, self.to, &args[0])? {
            return Ok(result);
        }
        map_rows(&args, &[self.from], self.to, rows, false, |row| {
            self.cast.apply(&self.env, row[0].clone(), self.from, self.to, self.explicit)
        })
    }
}

/// A cast, modifier included, as a DataFusion function of one argument.
pub fn cast_udf(
    cast: Cast,
    from: PgType,
    to: PgType,
    explicit: bool,
    env: Arc<EvalEnv>,
) -> Arc<ScalarUDF> {
    // Casts that read settings (dates, times) are stable: their environment is a statement's.
    let signature = Signature::user_defined(DfVolatility::Stable);
    let name = format!("cast_{}", to.type_name());
    Arc::new(ScalarUDF::new_from_impl(CastUdf { cast, from, to, explicit, env, name, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SortKeyUdf {
    ty: PgType,
    signature: Signature,
}

impl ScalarUDFImpl for SortKeyUdf {
    fn name(&self) -> &str {
        "sort_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Binary)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let args = typed(&args.args, &[self.ty])?;
        let constant = matches!(args[0], ColumnarValue::Scalar(_));
        let array: ArrayRef = args[0].to_array(rows)?;
        let keys = sort_keys(array.as_ref(), self.ty);
        if constant && rows > 0 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&keys, 0)?));
        }
        Ok(ColumnarValue::Array(keys))
    }
}

fn sort_keys(array: &dyn Array, ty: PgType) -> ArrayRef {
    let reader = ColumnReader::new(array, ty);
    let mut builder = BinaryBuilder::with_capacity(array.len(), array.len() * 8);
    let mut key = Vec::new();
    for row in 0..array.len() {
        let datum = reader.get(row);
        if datum.is_null() {
            builder.append_null();
            continue;
        }
        key.clear();
        sort_key(&datum, ty, &mut key);
        builder.append_value(&key);
    }
    Arc::new(builder.finish())
}

/// A function from a column of `ty` to bytes that order, group and join as PostgreSQL does; for
/// the types of which [`super::needs_sort_key`] says so.
pub fn sort_key_udf(ty: PgType) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(DfVolatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(SortKeyUdf { ty, signature }))
}

/// What a DataFusion function of this module does.
#[derive(Clone, Copy, Debug)]
pub enum Described<'a> {
    /// [`function_udf`].
    Function(&'a Resolved),
    /// [`cast_udf`].
    Cast {
        /// From this type.
        from: PgType,
        /// To this one, modifier included.
        to: PgType,
        /// Written by the user.
        explicit: bool,
    },
    /// [`sort_key_udf`] of this type.
    SortKey(PgType),
}

/// What a DataFusion function does, if it is one of this module.
pub fn described(udf: &ScalarUDF) -> Option<Described<'_>> {
    let udf = udf.inner();
    if let Some(udf) = udf.downcast_ref::<FunctionUdf>() {
        return Some(Described::Function(&udf.function));
    }
    if let Some(CastUdf { from, to, explicit, .. }) = udf.downcast_ref::<CastUdf>() {
        return Some(Described::Cast { from: *from, to: *to, explicit: *explicit });
    }
    udf.downcast_ref::<SortKeyUdf>().map(|udf| Described::SortKey(udf.ty))
}
