//! Any bound expression as a DataFusion function of the columns it mentions.
//!
//! The way out for forms without an Arrow kernel (GREATEST, `= ANY(array)`, arrays …): the
//! expression is evaluated row by row as the point path does it, so both agree.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use pgtypes::{Datum, EvalEnv, PgType, arrow_bridge};

use crate::ir::{Scalar, eval};

/// An expression over slots.
#[derive(Debug)]
pub(crate) struct RowFunction {
    name: String,
    scalar: Scalar,
    args: Vec<PgType>,
    env: Arc<EvalEnv>,
    params: Arc<[Datum]>,
    signature: Signature,
}

impl RowFunction {
    /// The expression, over slots: one for each argument.
    pub(crate) fn scalar(&self) -> &Scalar {
        &self.scalar
    }
}

impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.scalar == other.scalar && self.args == other.args
    }
}

impl Eq for RowFunction {}

impl Hash for RowFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// `scalar` as a function of its slots, whose types are `args`.
pub(crate) fn row_function(
    scalar: Scalar,
    args: Vec<PgType>,
    env: Arc<EvalEnv>,
    params: Arc<[Datum]>,
) -> Arc<ScalarUDF> {
    // Equal names mean equal columns to a plan, so the name says everything.
    let name = format!("row[{scalar:?}]");
    let types = args.iter().map(|ty| arrow_bridge::to_arrow_type(*ty)).collect();
    // Volatile: it may hold a function that is, and folding it early gains nothing.
    let signature = Signature::exact(types, Volatility::Volatile);
    let function = RowFunction { name, scalar, args, env, params, signature };
    Arc::new(ScalarUDF::new_from_impl(function))
}

/// The call of `scalar` over `args`.
pub(crate) fn call(udf: Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(udf, args))
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(arrow_bridge::to_arrow_type(self.scalar.ty()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = arrays(&args)?;
        // What has no type is NULL: the optimizer finds out so what a condition makes of it.
        let datum = |array: &ArrayRef, at: usize, ty: PgType| match array.data_type() {
            DataType::Null => Datum::Null,
            _ => arrow_bridge::datum_at(array, at, ty),
        };
        let mut out = arrow_bridge::ColumnBuilder::new(self.scalar.ty(), args.number_rows);
        let mut row = Vec::with_capacity(self.args.len());
        for at in 0..args.number_rows {
            row.clear();
            for (array, ty) in arrays.iter().zip(&self.args) {
                row.push(datum(array, at, *ty));
            }
            out.push(&eval(&self.scalar, &self.env, &row, &self.params)?);
        }
        Ok(ColumnarValue::Array(out.finish()))
    }
}

/// Arguments as arrays of one length.
pub(crate) fn arrays(args: &ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect()
}
