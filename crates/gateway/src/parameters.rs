//! Which values did the client bind?

use bytes::Bytes;
use pgtypes::{Datum, EvalEnv, PgType};
use sql::SqlError;

use crate::formats::Formats;
use crate::sqlstate;

/// The values of a Bind, by the types of the statement's parameters.
pub(crate) fn decode(
    statement: &str,
    values: Vec<Option<Bytes>>,
    codes: &[i16],
    types: &[PgType],
    env: &EvalEnv,
) -> Result<Vec<Datum>, SqlError> {
    let formats = Formats::parse("parameter", codes, values.len())?;
    if values.len() != types.len() {
        return Err(sqlstate::wrong_parameter_count(statement, values.len(), types.len()));
    }
    let decoded = values.into_iter().zip(types).enumerate().map(|(at, (value, &ty))| match value {
        None => Ok(Datum::Null),
        Some(bytes) if formats.is_binary(at) && ty.enum_oid().is_some() => {
            Ok(pgtypes::enums::parse_wire(bytes, ty, env)?)
        }
        Some(bytes) if formats.is_binary(at) => Ok(pgtypes::parse_binary(bytes, ty)?),
        Some(bytes) => text(&bytes, ty, env),
    });
    decoded.collect()
}

fn text(bytes: &Bytes, ty: PgType, env: &EvalEnv) -> Result<Datum, SqlError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let from = error.valid_up_to();
        sqlstate::invalid_utf8(
            &bytes[from..(from + error.error_len().unwrap_or(1)).min(bytes.len())],
        )
    })?;
    if text.contains('\0') {
        return Err(sqlstate::invalid_utf8(&[0]));
    }
    Ok(pgtypes::parse_text(text, ty, env)?)
}
