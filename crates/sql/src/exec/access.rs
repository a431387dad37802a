//! Which index a scan reads, and which spans of it.
//!
//! By simple rules for small tables and those without statistics: the index with most leading columns bound
//! by equality wins, a complete unique key beats all, a range on the next column breaks ties, then the
//! primary index. A secondary index is worth its second visit to the row only with an equality or a range
//! bounded on both sides, or if it is a partial one.
//!
//! Of a larger table with statistics, the index from which least is read: an entry costs as much as a row,
//! and a row that is looked up for an entry [`LOOK_UP`] times that. A complete unique key still beats all.

use std::cmp::Ordering;

use base::{Key, KeyRange};
use catalog::{CodecError, Index, IndexCodec, Table};
use pgtypes::Datum;

use super::condition::{Comparison, Condition, Test};
use crate::statistics::TableEstimates;

/// Most spans one scan is split into; beyond, the leading columns only.
const SPANS_MAX: usize = 100_000;

/// From so many rows on, statistics decide.
const MANY_ROWS: f64 = 1_000.0;
/// A row found by its key, against one read in passing.
pub(crate) const LOOK_UP: f64 = 10.0;
/// The share of a table that a partial index is taken to hold.
const PARTIAL: f64 = 0.1;

/// What is known of a scan besides its conditions.
pub(crate) struct Known<'a> {
    /// Whether a partial index has an entry for every row wanted.
    pub(crate) implied: &'a dyn Fn(&Index) -> bool,
    /// Whether the entries of the index at this place hold all that is wanted.
    pub(crate) covers: &'a dyn Fn(usize) -> bool,
    pub(crate) estimates: Option<&'a TableEstimates>,
}

/// What to read.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Which index: `None` is the primary one.
    pub(crate) index: Option<usize>,
    /// Disjoint, in key order.
    pub(crate) spans: Vec<KeyRange>,
    /// Leading index columns that have one value throughout.
    pub(crate) constant: usize,
    /// The spans hold at most one row each.
    pub(crate) points: bool,
    /// A leading column has known values, or bounds on both sides.
    pub(crate) bounded: bool,
    /// No condition bounds it: all of the index is read.
    pub(crate) is_whole: bool,
    /// About how many rows pass, if that is known.
    pub(crate) rows: Option<f64>,
}

impl Access {
    /// The descriptor of the index read.
    pub(crate) fn descriptor<'t>(&self, table: &'t Table) -> &'t Index {
        match self.index {
            None => &table.primary,
            Some(at) => &table.indexes[at],
        }
    }
}

impl Fit<'_> {
    /// How many leading columns something is said of.
    fn bound(&self) -> usize {
        self.equal.len() + usize::from(self.lower.is_some() || self.upper.is_some())
    }
}

/// What the conditions say about the leading columns of an index.
struct Fit<'c> {
    /// Values of the leading columns bound by equality.
    equal: Vec<Vec<&'c Datum>>,
    lower: Option<(Comparison, &'c Datum)>,
    upper: Option<(Comparison, &'c Datum)>,
    /// All columns of a unique index are bound.
    complete: bool,
}

/// Chooses index and spans. No span at all: no row can pass.
pub(crate) fn choose(
    table: &Table,
    conditions: &[Condition],
    known: &Known<'_>,
) -> Result<Access, CodecError> {
    let estimates = known.estimates.filter(|estimates| estimates.rows() >= MANY_ROWS);
    let (index, fit) = match estimates {
        Some(estimates) => cheapest(table, conditions, known, estimates),
        None => fittest(table, conditions, known),
    };
    let codec = match index {
        None => table.codec().primary(),
        Some(at) => &table.codec().indexes()[at],
    };
    let constant = fit.equal.iter().take_while(|values| values.len() == 1).count();
    let points = fit.complete;
    let bounded = !fit.equal.is_empty() || (fit.lower.is_some() && fit.upper.is_some());
    let is_whole = fit.equal.is_empty() && fit.lower.is_none() && fit.upper.is_none();
    let spans = spans(codec, &fit)?;
    let rows = known.estimates.map(|estimates| estimates.rows_where(conditions.iter()));
    Ok(Access { index, spans, constant, points, bounded, is_whole, rows })
}

/// The index from which least is read.
fn cheapest<'c>(
    table: &Table,
    conditions: &'c [Condition],
    known: &Known<'_>,
    estimates: &TableEstimates,
) -> (Option<usize>, Fit<'c>) {
    let entries = |codec: &IndexCodec, fit: &Fit<'_>| {
        let bound: Vec<usize> = codec.positions().take(fit.bound()).collect();
        estimates.rows_where(conditions.iter().filter(|c| bound.contains(&c.column))).max(1.0)
    };
    let codec = table.codec();
    let primary = fit(codec.primary(), true, conditions);
    let cost = if primary.complete { 0.0 } else { entries(codec.primary(), &primary) };
    let mut best = (cost, None, primary);
    for (at, (index, codec)) in table.indexes.iter().zip(codec.indexes()).enumerate() {
        let candidate = fit(codec, index.unique, conditions);
        let partial = index.predicate.is_some();
        if !index.state.is_public() || (candidate.bound() == 0 && !partial) {
            continue;
        }
        let mut entries = entries(codec, &candidate);
        if partial {
            entries = entries.min(PARTIAL * estimates.rows());
        }
        let cost = match candidate.complete {
            true => 0.5,
            false if (known.covers)(at) => entries,
            false => (1.0 + LOOK_UP) * entries,
        };
        if cost < best.0 && (known.implied)(index) {
            best = (cost, Some(at), candidate);
        }
    }
    (best.1, best.2)
}

/// The index that the conditions fit best.
fn fittest<'c>(
    table: &Table,
    conditions: &'c [Condition],
    known: &Known<'_>,
) -> (Option<usize>, Fit<'c>) {
    let codec = table.codec();
    let mut best = (None, fit(codec.primary(), true, conditions), false);
    for (at, (index, codec)) in table.indexes.iter().zip(codec.indexes()).enumerate() {
        if !index.state.is_public() {
            continue;
        }
        let candidate = fit(codec, index.unique, conditions);
        let bounded = candidate.lower.is_some() && candidate.upper.is_some();
        let partial = index.predicate.is_some();
        if candidate.equal.is_empty() && !bounded && !partial {
            continue;
        }
        let better = (score(&candidate), partial) > (score(&best.1), best.2);
        if better && (known.implied)(index) {
            best = (Some(at), candidate, partial);
        }
    }
    (best.0, best.1)
}

fn score(fit: &Fit<'_>) -> (bool, usize, usize) {
    let bounds = usize::from(fit.lower.is_some()) + usize::from(fit.upper.is_some());
    (fit.complete, fit.equal.len(), bounds)
}

fn fit<'c>(codec: &IndexCodec, unique: bool, conditions: &'c [Condition]) -> Fit<'c> {
    let mut equal: Vec<Vec<&Datum>> = Vec::new();
    let (mut lower, mut upper) = (None, None);
    let positions: Vec<usize> = codec.positions().collect();
    let mut spans = 1usize;
    for &position in &positions {
        let own = conditions.iter().filter(|c| c.column == position);
        let mut values: Option<Vec<&Datum>> = None;
        for condition in own.clone() {
            let next: Vec<&Datum> = match &condition.test {
                Test::Compare(Comparison::Equal, value) => vec![value],
                Test::In(list) => list.iter().collect(),
                Test::Compare(..) => continue,
            };
            if values.as_ref().is_none_or(|known| next.len() < known.len()) {
                values = Some(next);
            }
        }
        if let Some(values) = values {
            spans = spans.saturating_mul(values.len());
            if spans > SPANS_MAX {
                break;
            }
            equal.push(values);
            continue;
        }
        for condition in own {
            let Test::Compare(op, value) = &condition.test else { continue };
            match op {
                Comparison::Greater | Comparison::GreaterOrEqual => lower = Some((*op, value)),
                Comparison::Less | Comparison::LessOrEqual => upper = Some((*op, value)),
                Comparison::Equal => {}
            }
        }
        break;
    }
    let complete = unique && !positions.is_empty() && equal.len() == positions.len();
    Fit { equal, lower, upper, complete }
}

fn spans(codec: &IndexCodec, fit: &Fit<'_>) -> Result<Vec<KeyRange>, CodecError> {
    let mut prefixes: Vec<Vec<Datum>> = vec![Vec::new()];
    for values in &fit.equal {
        let mut longer = Vec::with_capacity(prefixes.len() * values.len());
        for prefix in &prefixes {
            for value in values.iter().filter(|value| !value.is_null()) {
                let mut next = prefix.clone();
                next.push((*value).clone());
                longer.push(next);
            }
        }
        prefixes = longer;
    }
    let mut result = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let span = bounded(codec, prefix, fit)?;
        if !span.is_empty() {
            result.push(span);
        }
    }
    result.sort_by(|a: &KeyRange, b| order(&a.start, &b.start));
    result.dedup();
    Ok(result)
}

fn order(a: &Key, b: &Key) -> Ordering {
    a.as_bytes().cmp(b.as_bytes())
}

/// The part of a prefix's entries that the bounds on the next column leave.
fn bounded(codec: &IndexCodec, prefix: Vec<Datum>, fit: &Fit<'_>) -> Result<KeyRange, CodecError> {
    let whole = codec.key_prefix(&prefix)?.prefix_range();
    if fit.lower.is_none() && fit.upper.is_none() {
        return Ok(whole);
    }
    let descending = codec.is_descending(prefix.len());
    // In a descending column the greatest value comes first, so the bounds change ends.
    let (first, last) = if descending { (fit.upper, fit.lower) } else { (fit.lower, fit.upper) };
    let edge = |bound: Option<(Comparison, &Datum)>| -> Result<Option<(Key, bool)>, CodecError> {
        let Some((op, value)) = bound else { return Ok(None) };
        if value.is_null() {
            return Ok(None);
        }
        let mut values = prefix.clone();
        values.push(value.clone());
        let inclusive = matches!(op, Comparison::GreaterOrEqual | Comparison::LessOrEqual);
        Ok(Some((codec.key_prefix(&values)?, inclusive)))
    };
    let start = match edge(first)? {
        None => whole.start,
        Some((key, true)) => key,
        Some((key, false)) => key.prefix_end(),
    };
    let end = match edge(last)? {
        None => whole.end,
        Some((key, true)) => key.prefix_end(),
        Some((key, false)) => key,
    };
    if order(&start, &end) != Ordering::Less {
        return Ok(KeyRange::new(start.clone(), start));
    }
    Ok(KeyRange::new(start, end))
}
