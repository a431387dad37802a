//! What the fields of a row type are called, and their types.
//!
//! A row type has no name: its fields are told by the modifier of [`TypeId::Record`], which counts the
//! lists of fields that this process has met. It is never sent or stored: clients are told no modifier.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::ty::{PgType, TypeId};

/// Name and type of a field.
pub type Field = (Arc<str>, PgType);

/// Lists of fields kept at most. Further ones have no names: their fields cannot be selected.
const SHAPES_MAX: usize = 100_000;

#[derive(Default)]
struct Shapes {
    by_number: Vec<Arc<[Field]>>,
    numbers: HashMap<Arc<[Field]>, i32>,
}

static SHAPES: LazyLock<RwLock<Shapes>> = LazyLock::new(RwLock::default);

/// The row type with these fields.
#[must_use]
pub fn row_type(fields: &[Field]) -> PgType {
    let ty = PgType::new(TypeId::Record);
    let known = SHAPES.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(number) = known.numbers.get(fields) {
        return ty.with_typmod(*number);
    }
    drop(known);
    let mut shapes = SHAPES.write().unwrap_or_else(PoisonError::into_inner);
    let fields: Arc<[Field]> = fields.into();
    let next = match i32::try_from(shapes.by_number.len()) {
        Ok(next) if shapes.by_number.len() < SHAPES_MAX => next,
        _ => return ty,
    };
    let number = *shapes.numbers.entry(fields.clone()).or_insert(next);
    if number == next {
        shapes.by_number.push(fields);
    }
    ty.with_typmod(number)
}

/// The fields of a row type (or of the rows in an array), if they are known.
#[must_use]
pub fn fields(ty: PgType) -> Option<Arc<[Field]>> {
    if ty.id != TypeId::Record {
        return None;
    }
    let number = usize::try_from(ty.typmod).ok()?;
    SHAPES.read().unwrap_or_else(PoisonError::into_inner).by_number.get(number).cloned()
}
