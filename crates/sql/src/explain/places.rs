//! Keys and spans of keys as a person writes them: `accounts (id) = (7)`.
//!
//! A span's bounds are values that were encoded, or the first key behind all that begin with such a
//! value ([`base::Key::prefix_end`]). Both are turned back here:
//!
//! ```text
//!   [key(10), prefix_end(key(20)))   accounts (id) from (10) to (20)
//!   [key(a),  key(b))                accounts_owner (owner) from (a), below (b)
//! ```

use base::{Key, KeyRange};
use catalog::{Index, IndexCodec, Table};
use pgtypes::{Datum, EvalEnv, registry::quote_ident};

use crate::dml::print;

/// One end of a span.
enum Bound {
    Open,
    /// Up to here, and all that begins with it.
    At(Vec<Datum>),
    /// Not this, and nothing that begins with it.
    Short(Vec<Datum>),
    /// Between two values.
    Unnamed,
}

/// A span of an index of a table. All of the index: `accounts (id), all rows`.
pub(super) fn span(table: &Table, index: &Index, span: &KeyRange, env: &EvalEnv) -> String {
    let name = index_name(table, index);
    let Some(codec) = table.codec().index(index.id) else { return name };
    if index.columns.is_empty() {
        let whole = *span == codec.span();
        return if whole { format!("{name}, all rows") } else { format!("{name}, one row") };
    }
    let shown = |values: &[Datum]| tuple(table, index, values, env);
    if let Some(values) = equal(codec, span) {
        return format!("{} = {}", columns(table, index, values.len()), shown(&values));
    }
    let (start, end) = (start_of(codec, span), end_of(codec, span));
    let width = [&start, &end].into_iter().map(|bound| match bound {
        Bound::At(values) | Bound::Short(values) => values.len(),
        Bound::Open | Bound::Unnamed => 1,
    });
    let name = columns(table, index, width.max().unwrap_or(1));
    let start = match start {
        Bound::Open => None,
        Bound::At(values) => Some(format!("from {}", shown(&values))),
        Bound::Short(values) => Some(format!("above {}", shown(&values))),
        Bound::Unnamed => Some("from a value".to_owned()),
    };
    let end = match end {
        Bound::Open => None,
        Bound::At(values) => Some(format!("to {}", shown(&values))),
        Bound::Short(values) => Some(format!("below {}", shown(&values))),
        Bound::Unnamed => Some("to a value".to_owned()),
    };
    match (start, end) {
        (None, None) => format!("{name}, all rows"),
        (Some(one), None) | (None, Some(one)) => format!("{name} {one}"),
        (Some(start), Some(end)) => format!("{name} {start} {end}"),
    }
}

/// What an index is called: its table if it is the primary one.
pub(super) fn index_name(table: &Table, index: &Index) -> String {
    if index.id == table.primary.id {
        return quote_ident(&table.name);
    }
    format!("{} {}", quote_ident(&table.name), quote_ident(&index.name))
}

/// The index with its first columns.
pub(super) fn columns(table: &Table, index: &Index, width: usize) -> String {
    let positions = table.index_positions(index);
    let names = positions.iter().take(width).map(|&at| crate::sysviews::key_shown(table, at));
    format!("{} ({})", index_name(table, index), names.collect::<Vec<_>>().join(", "))
}

fn tuple(table: &Table, index: &Index, values: &[Datum], env: &EvalEnv) -> String {
    let positions = table.index_positions(index);
    let values = positions.iter().zip(values);
    let values = values.map(|(&at, value)| print(value, table.column_at(at).ty, env));
    format!("({})", values.collect::<Vec<_>>().join(", "))
}

/// The values that all keys of the span begin with, if these are all keys that do.
fn equal(codec: &IndexCodec, span: &KeyRange) -> Option<Vec<Datum>> {
    if span.end != span.start.prefix_end() && span.end != span.start.next() {
        return None;
    }
    codec.decode_bound(span.start.as_bytes()).filter(|values| !values.is_empty())
}

fn start_of(codec: &IndexCodec, span: &KeyRange) -> Bound {
    if span.start <= codec.span().start {
        return Bound::Open;
    }
    match exactly(codec, &span.start) {
        Some(values) => Bound::At(values),
        None => before_end(codec, &span.start).map_or(Bound::Unnamed, Bound::Short),
    }
}

fn end_of(codec: &IndexCodec, span: &KeyRange) -> Bound {
    let whole = codec.span().end;
    if span.end.0.is_empty() || (!whole.0.is_empty() && span.end >= whole) {
        return Bound::Open;
    }
    let exact = exactly(codec, &span.end);
    let behind = before_end(codec, &span.end);
    match (exact, behind) {
        // Whole numbers have a neighbour: up to 20 says more than below 21.
        (Some(values), Some(neighbour)) if !is_whole(&values) => {
            drop(neighbour);
            Bound::Short(values)
        }
        (_, Some(values)) => Bound::At(values),
        (Some(values), None) => Bound::Short(values),
        (None, None) => Bound::Unnamed,
    }
}

fn is_whole(values: &[Datum]) -> bool {
    matches!(
        values.last(),
        Some(Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Date(_) | Datum::Oid(_))
    )
}

/// The values that a bound says. One that was carried over is shorter than what it stands for.
fn exactly(codec: &IndexCodec, bound: &Key) -> Option<Vec<Datum>> {
    let values = codec.decode_bound(bound.as_bytes());
    values.or_else(|| padded(codec, bound.as_bytes(), 0x00)).filter(|values| !values.is_empty())
}

/// The values whose [`Key::prefix_end`] a bound is.
fn before_end(codec: &IndexCodec, bound: &Key) -> Option<Vec<Datum>> {
    let mut bytes = bound.as_bytes().to_vec();
    let last = bytes.last_mut()?;
    *last = last.checked_sub(1)?;
    let values = codec.decode_bound(&bytes);
    values.or_else(|| padded(codec, &bytes, 0xFF)).filter(|values| !values.is_empty())
}

fn padded(codec: &IndexCodec, bytes: &[u8], with: u8) -> Option<Vec<Datum>> {
    // As long as a number is.
    const WIDTH: usize = 8;
    (1..WIDTH).find_map(|missing| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len() + missing, with);
        codec.decode_bound(&bytes)
    })
}
