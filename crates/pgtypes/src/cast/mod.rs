//! Which casts exist, in which context, and how they convert.
//!
//! The table is PostgreSQL's `pg_cast` for our types, plus its two rules without rows: anything
//! goes to a string type by assignment, and a string type to anything explicitly, through the
//! text form.

mod convert;
mod modifier;

use crate::datum::{ArrayValue, Datum};
use crate::env::EvalEnv;
use crate::error::Result;
use crate::text::{parse_text, text_of};
use crate::ty::{Category, PgType, TypeId};
use std::sync::Arc;

pub use modifier::apply_typmod;

/// Where a cast may happen. A cast for a lower context also works in the higher ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Context {
    /// Anywhere, unasked.
    Implicit,
    /// Storing into a column.
    Assignment,
    /// Only when written: `CAST`, `::`.
    Explicit,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    /// The value stays as it is.
    Relabel,
    /// Through the text form.
    Io,
    /// By a conversion.
    Convert,
    /// Each element of an array, by the element types' cast.
    Elements,
}

/// A cast from one type to another, modifiers apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cast {
    /// From where on it is allowed.
    pub context: Context,
    kind: Kind,
}

impl Cast {
    /// Does the value stay as it is (binary coercible)?
    pub fn is_relabel(&self) -> bool {
        self.kind == Kind::Relabel
    }

    /// Does it go through the text form?
    pub fn is_by_text(&self) -> bool {
        self.kind == Kind::Io
    }

    /// Converts a value and applies `to`'s modifier: an explicit cast cuts strings to length, an
    /// implicit one refuses them.
    pub fn apply(
        &self,
        env: &EvalEnv,
        datum: Datum,
        from: PgType,
        to: PgType,
        explicit: bool,
    ) -> Result<Datum> {
        if datum.is_null() {
            return Ok(Datum::Null);
        }
        let value = match self.kind {
            Kind::Relabel => datum,
            Kind::Io => through_text(env, &datum, from, to)?,
            Kind::Convert => convert::convert(env, datum, from.id, to.id)?,
            Kind::Elements => self.elements(env, &datum, from, to, explicit)?,
        };
        if to.typmod < 0 { Ok(value) } else { apply_typmod(value, to, explicit) }
    }

    fn elements(
        &self,
        env: &EvalEnv,
        datum: &Datum,
        from: PgType,
        to: PgType,
        explicit: bool,
    ) -> Result<Datum> {
        let Datum::Array(array) = datum else { panic!("not an array: {datum:?}") };
        let cast = lookup(from.element(), to.element()).expect("array casts follow elements");
        let items = array
            .items
            .iter()
            .map(|item| cast.apply(env, item.clone(), from.element(), to.element(), explicit))
            .collect::<Result<Vec<_>>>()?;
        Ok(Datum::Array(Arc::new(ArrayValue { dims: array.dims.clone(), items })))
    }
}

fn through_text(env: &EvalEnv, datum: &Datum, from: PgType, to: PgType) -> Result<Datum> {
    let text = match datum {
        // A string's text is itself; `char(n)` keeps its blanks here as its output does.
        Datum::Text(text) if from.id != TypeId::Char => text.to_string(),
        _ => text_of(datum, from, env),
    };
    parse_text(&text, to, env)
}

fn cast(context: Context, kind: Kind) -> Option<Cast> {
    Some(Cast { context, kind })
}

/// The cast between two types, modifiers apart; `None` if there is none at all.
pub fn lookup(from: PgType, to: PgType) -> Option<Cast> {
    use Context::{Assignment, Explicit, Implicit};
    if from.same(to) {
        return cast(Implicit, Kind::Relabel);
    }
    if from.is_unknown() {
        return cast(Implicit, Kind::Io);
    }
    if to.id == TypeId::Unknown || to.id == TypeId::Void || from.id == TypeId::Void {
        return None;
    }
    if to.id.is_vector() && from.array {
        return None;
    }
    if from.array && to.array {
        return lookup(from.element(), to.element()).map(|element| match element.kind {
            Kind::Relabel => element,
            _ => Cast { context: element.context, kind: Kind::Elements },
        });
    }
    if !from.array
        && !to.array
        && let Some(found) = table(from.id, to.id)
    {
        return Some(found);
    }
    // PostgreSQL's automatic I/O conversions.
    if to.category() == Category::String {
        return cast(Assignment, Kind::Io);
    }
    if from.category() == Category::String && to.id != TypeId::Record {
        return cast(Explicit, Kind::Io);
    }
    None
}

/// The casts that `pg_cast` lists: those that do not come of the rule about text.
pub fn listed() -> Vec<(TypeId, TypeId, Cast)> {
    let pairs = TypeId::all().flat_map(|from| TypeId::all().map(move |to| (from, to)));
    let known = pairs.filter(|(from, to)| from != to);
    known.filter_map(|(from, to)| Some((from, to, table(from, to)?))).collect()
}

/// `pg_cast` for our types.
fn table(from: TypeId, to: TypeId) -> Option<Cast> {
    use Context::{Assignment, Explicit, Implicit};
    use Kind::{Convert, Io, Relabel};
    use TypeId as T;
    if let (Some(a), Some(b)) = (numeric_rank(from), numeric_rank(to)) {
        return cast(if a < b { Implicit } else { Assignment }, Convert);
    }
    match (from, to) {
        (T::Int4, T::Bool) | (T::Bool, T::Int4) => cast(Explicit, Convert),
        (T::Int4, T::Char) | (T::Char, T::Int4) => cast(Explicit, Convert),
        (T::Bool, T::Text | T::Varchar | T::Bpchar) => cast(Assignment, Convert),
        // Object ids.
        (T::Int2 | T::Int4 | T::Int8, to) if to.is_oid_like() && to != T::Xid => {
            cast(Implicit, Convert)
        }
        (from, T::Int4 | T::Int8) if from.is_oid_like() && from != T::Xid => {
            cast(Assignment, Convert)
        }
        (T::Oid, to) if to.is_oid_like() && to != T::Xid => cast(Implicit, Relabel),
        (from, T::Oid) if from.is_oid_like() && from != T::Xid => cast(Implicit, Relabel),
        (T::Xid8, T::Xid) => cast(Explicit, Convert),
        (T::Text | T::Varchar, T::Regclass) => cast(Implicit, Io),
        // Strings.
        (T::Text, T::Varchar | T::Bpchar) | (T::Varchar, T::Text | T::Bpchar) => {
            cast(Implicit, Relabel)
        }
        (T::Bpchar, T::Text | T::Varchar) => cast(Implicit, Convert),
        (T::Text | T::Varchar | T::Bpchar, T::Name) => cast(Implicit, Convert),
        (T::Name, T::Text) => cast(Implicit, Convert),
        (T::Name, T::Varchar | T::Bpchar) => cast(Assignment, Convert),
        (T::Char, T::Text) => cast(Implicit, Convert),
        (T::Char, T::Varchar | T::Bpchar) => cast(Assignment, Convert),
        (T::Text | T::Varchar | T::Bpchar, T::Char) => cast(Assignment, Convert),
        // Dates and times.
        (T::Date, T::Timestamp | T::Timestamptz) => cast(Implicit, Convert),
        (T::Time, T::Interval) => cast(Implicit, Convert),
        (T::Timestamp, T::Timestamptz) => cast(Implicit, Convert),
        (T::Timestamp, T::Date | T::Time) => cast(Assignment, Convert),
        (T::Timestamptz, T::Date | T::Time | T::Timestamp) => cast(Assignment, Convert),
        (T::Interval, T::Time) => cast(Assignment, Convert),
        // JSON.
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => cast(Assignment, Io),
        (T::Jsonb, T::Bool | T::Numeric | T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Float8) => {
            cast(Explicit, Convert)
        }
        _ => None,
    }
}

/// Numbers cast implicitly upwards. `numeric` to float is implicit, float to `numeric` is not.
fn numeric_rank(id: TypeId) -> Option<u8> {
    Some(match id {
        TypeId::Int2 => 0,
        TypeId::Int4 => 1,
        TypeId::Int8 => 2,
        TypeId::Numeric => 3,
        TypeId::Float4 => 4,
        TypeId::Float8 => 5,
        _ => return None,
    })
}
