//! What the binder asks of `pgtypes`: which function, which aggregate, which cast.

use std::sync::Arc;

use pgtypes::{PgType, cast, registry};

use crate::error::SqlError;
use crate::ir::{AggRef, CastRef, FuncRef};

pub(crate) use pgtypes::cast::Context;

/// The operator over operands of these types (one for a prefix operator).
pub(crate) fn operator(name: &str, types: &[PgType]) -> Result<FuncRef, SqlError> {
    Ok(FuncRef(Arc::new(registry::resolve_operator(name, types)?)))
}

/// The function over arguments of these types.
pub(crate) fn function(name: &str, types: &[PgType]) -> Result<FuncRef, SqlError> {
    Ok(FuncRef(Arc::new(registry::resolve_function(name, types)?)))
}

/// The function over arguments of these types, the last of which is VARIADIC.
pub(crate) fn variadic(name: &str, types: &[PgType]) -> Result<FuncRef, SqlError> {
    Ok(FuncRef(Arc::new(registry::resolve_variadic(name, types)?)))
}

/// Whether some function has that name, aggregates among them.
pub(crate) fn is_function(name: &str) -> bool {
    registry::is_function(name) || registry::is_aggregate(name)
}

/// The function that returns rows, over arguments of these types.
pub(crate) fn set_function(name: &str, types: &[PgType]) -> Result<FuncRef, SqlError> {
    Ok(FuncRef(Arc::new(registry::resolve_set_function(name, types)?)))
}

/// Whether some aggregate has that name.
pub(crate) fn is_aggregate(name: &str) -> bool {
    registry::is_aggregate(name)
}

/// The aggregate over arguments of these types; `star` is `count(*)`.
pub(crate) fn aggregate(name: &str, types: &[PgType], star: bool) -> Result<AggRef, SqlError> {
    if types.is_empty() && !star {
        return Err(SqlError::new(
            crate::error::SqlState::WRONG_OBJECT_TYPE,
            format!("{name}(*) must be used to call a parameterless aggregate function"),
        ));
    }
    Ok(AggRef(Arc::new(registry::resolve_aggregate(name, types)?)))
}

/// How to get from one type to another.
pub(crate) enum Path {
    /// The value stays as it is.
    Relabel,
    /// A conversion.
    Cast(CastRef),
}

/// How to get from one type to another in a context, if at all. Different modifiers of one type
/// are a conversion too.
pub(crate) fn cast_path(from: PgType, to: PgType, context: Context) -> Option<Path> {
    let explicit = context == Context::Explicit;
    let found = cast::lookup(from, to)?;
    if found.context > context {
        return None;
    }
    // The modifier of a row type tells its fields, and is none.
    if found.is_relabel() && to.modifier() < 0 {
        return Some(Path::Relabel);
    }
    Some(Path::Cast(CastRef { from, to, cast: found, explicit }))
}
