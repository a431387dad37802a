//! What indexes hold besides columns: values of expressions, and whether a partial index has an entry.
//!
//! ```text
//!   row, as stored   a | b | c
//!   row, for indexes a | b | c | lower(a) | c > 0         Table::computed, behind the columns
//! ```
//!
//! Each expression of an index is a column that exists in index entries only ([`catalog::Table::computed`]);
//! the condition of a partial index is one of type boolean. So keys, uniqueness and the choice of an index
//! know nothing but positions. Here the values are computed, and queries are searched for the expressions.
//!
//! # Invariants
//!
//! - **X1** An expression is evaluated only for rows of an index that holds it: `1 / a` in an index
//!   `WHERE a <> 0` never divides by zero.
//! - **X2** Expressions are immutable, so the value in an entry is the value of the row whenever it is asked.

mod implied;

use std::any::Any;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use catalog::{CatalogSnapshot, ColumnId, Index, Table};
use pgtypes::{Datum, EvalEnv};

pub(crate) use implied::implies;

use crate::SqlError;
use crate::ir::{self, ColId, Scalar};
use crate::session::{View, bind_over_row};

/// The expressions of a table's indexes.
#[derive(Debug)]
struct Compiled {
    /// Over the slots of the row, one for each computed column.
    values: Vec<Scalar>,
    /// The same in the form that queries are compared with ([`normal`]).
    forms: Vec<Scalar>,
}

/// Immutable expressions mean the same under every catalog and setting.
static NO_CATALOG: LazyLock<CatalogSnapshot> = LazyLock::new(CatalogSnapshot::bootstrap);
static NO_SETTINGS: LazyLock<EvalEnv> = LazyLock::new(EvalEnv::default);

/// Bound once per descriptor.
fn compiled(table: &Table) -> Result<Arc<Compiled>, SqlError> {
    if let Some(known) = table.compiled().get()
        && let Ok(known) = Arc::clone(known).downcast::<Compiled>()
    {
        return Ok(known);
    }
    let view = View::of_table(&NO_CATALOG, table);
    let mut values = Vec::with_capacity(table.computed.len());
    for column in &table.computed {
        let sql = column.generated.as_deref().unwrap_or("NULL");
        values.push(bind_over_row(&view, &NO_SETTINGS, table, sql, None)?);
    }
    let forms = values.iter().map(normal).collect();
    let made = Arc::new(Compiled { values, forms });
    let shared: Arc<dyn Any + Send + Sync> = made.clone();
    // Somebody else may have been faster; theirs is the same.
    drop(table.compiled().set(shared));
    Ok(made)
}

/// A row with the values of computed columns behind it, as far as some index has an entry that holds them.
pub(crate) fn with_computed<'r>(
    table: &Table,
    row: &'r [Datum],
) -> Result<Cow<'r, [Datum]>, SqlError> {
    if table.computed.is_empty() {
        return Ok(Cow::Borrowed(row));
    }
    let compiled = compiled(table)?;
    let width = table.columns.len();
    let mut known: Vec<Option<Datum>> = vec![None; compiled.values.len()];
    let mut value = |id: ColumnId| -> Result<Option<Datum>, SqlError> {
        let at = table.position_of(id).and_then(|position| position.checked_sub(width));
        let Some(at) = at else { return Ok(None) };
        if known[at].is_none() {
            known[at] = Some(ir::eval(&compiled.values[at], &NO_SETTINGS, row, &[])?);
        }
        Ok(known[at].clone())
    };
    for index in &table.indexes {
        if let Some(predicate) = index.predicate
            && value(predicate)? != Some(Datum::Bool(true))
        {
            continue;
        }
        for column in &index.columns {
            value(column.column)?;
        }
    }
    let computed = known.into_iter().map(|value| value.unwrap_or(Datum::Null));
    Ok(Cow::Owned(row.iter().cloned().chain(computed).collect()))
}

/// The computed column that a scalar is the expression of. `position` says which columns are the table's.
pub(crate) fn position_of_expr(
    table: &Table,
    scalar: &Scalar,
    position: &dyn Fn(ColId) -> Option<usize>,
) -> Option<usize> {
    if table.computed.is_empty() || scalar.is_row_independent() {
        return None;
    }
    let wanted = normal(&over_table(scalar, position));
    let compiled = compiled(table).ok()?;
    let at = compiled.forms.iter().position(|form| *form == wanted)?;
    Some(table.columns.len() + at)
}

/// The form of an index's condition; `None` if it has none.
fn condition(table: &Table, index: &Index) -> Option<Scalar> {
    let position = table.position_of(index.predicate?)?;
    let at = position.checked_sub(table.columns.len())?;
    Some(compiled(table).ok()?.forms[at].clone())
}

/// What a query demands of the rows of a table, to be held against the conditions of partial indexes.
pub(crate) struct Demands<'t> {
    table: &'t Table,
    conjuncts: Vec<Scalar>,
}

impl<'t> Demands<'t> {
    /// Of conjuncts that hold for every row wanted. Parameters that have no value yet imply nothing.
    pub(crate) fn new<'s>(
        table: &'t Table,
        conjuncts: impl Iterator<Item = &'s Scalar>,
        position: &dyn Fn(ColId) -> Option<usize>,
        params: &[Datum],
    ) -> Self {
        let partial = table.indexes.iter().any(|index| index.predicate.is_some());
        let form = |scalar: &Scalar| {
            let mut scalar = over_table(scalar, position);
            scalar.rewrite(&mut |node| {
                if let Scalar::Param { index, ty } = node
                    && let Some(value) = params.get(*index)
                {
                    *node = Scalar::Literal(value.clone(), *ty);
                }
            });
            normal(&scalar)
        };
        let conjuncts = match partial {
            true => conjuncts.map(form).collect(),
            false => Vec::new(),
        };
        Demands { table, conjuncts }
    }

    /// Whether the rows wanted all have an entry in the index.
    pub(crate) fn imply(&self, index: &Index) -> bool {
        if index.predicate.is_none() {
            return true;
        }
        condition(self.table, index).is_some_and(|wanted| implies(&self.conjuncts, &wanted))
    }
}

/// Columns of the table as slots; others stay what they are.
fn over_table(scalar: &Scalar, position: &dyn Fn(ColId) -> Option<usize>) -> Scalar {
    let mut scalar = scalar.clone();
    scalar.rewrite(&mut |node| {
        if let Scalar::Column(id, ty) = *node
            && let Some(at) = position(id)
        {
            *node = Scalar::Slot(at, ty);
        }
    });
    scalar
}

/// The form in which expressions are compared: constants are computed, conversions do not say who asked for
/// them, and `x = true` is `x`.
fn normal(scalar: &Scalar) -> Scalar {
    let mut scalar = scalar.clone();
    scalar.rewrite(&mut |node| match node {
        Scalar::Relabel(arg, ty) => match &**arg {
            Scalar::Literal(datum, _) => *node = Scalar::Literal(datum.clone(), *ty),
            Scalar::Relabel(inner, _) => *node = Scalar::Relabel(inner.clone(), *ty),
            _ => {}
        },
        Scalar::Cast { cast, arg, ty } => {
            if let Scalar::Literal(datum, _) = &**arg
                && cast.is_immutable()
                && let Ok(value) = cast.apply(&NO_SETTINGS, datum.clone())
            {
                *node = Scalar::Literal(value, *ty);
            } else if ty.typmod < 0 {
                cast.explicit = true;
            }
        }
        Scalar::Call { func, args, .. } if func.name == "=" => {
            let truth = |scalar: &Scalar| match scalar {
                Scalar::Literal(Datum::Bool(value), _) => Some(*value),
                _ => None,
            };
            let (other, value) = match args.as_slice() {
                [left, right] => match (truth(left), truth(right)) {
                    (None, Some(value)) => (left.clone(), value),
                    (Some(value), None) => (right.clone(), value),
                    _ => return,
                },
                _ => return,
            };
            *node = if value { other } else { Scalar::Not(Box::new(other)) };
        }
        _ => {}
    });
    scalar
}
