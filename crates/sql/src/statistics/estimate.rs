//! How many rows a condition leaves.
//!
//! As PostgreSQL estimates them: the share of a common value is known; the others share what is left
//! equally; a range covers part of the histogram, and within one part of it, half. Columns are taken for
//! independent.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use catalog::statistics::{ColumnStatistics, TableStatistics};
use catalog::{Table, decode_single};
use pgtypes::Datum;

use crate::exec::{Comparison, Condition, Test};

/// What no statistics are needed for: half of a column's range, for a bound of which nothing is known.
const UNKNOWN_RANGE: f64 = 1.0 / 3.0;

/// Rows of a table without statistics.
pub(crate) const UNKNOWN_ROWS: f64 = 1_000.0;
/// Values of a column of which nothing is known.
pub(crate) const UNKNOWN_DISTINCT: f64 = 200.0;

/// The statistics of a table, with their values decoded.
#[derive(Debug)]
pub(crate) struct TableEstimates {
    pub(crate) known: TableStatistics,
    /// By position in the table.
    columns: BTreeMap<usize, Column>,
}

#[derive(Debug)]
struct Column {
    null_share: f64,
    /// How many values there are, besides NULL.
    distinct: f64,
    common: Vec<(Datum, f64)>,
    bounds: Vec<Datum>,
    /// Average bytes of a value.
    width: u64,
}

impl TableEstimates {
    /// Of a table as it is now: columns that are gone, or of another type, are left out.
    pub(crate) fn new(table: &Table, known: TableStatistics) -> Self {
        let mut columns = BTreeMap::new();
        for column in &known.columns {
            let Some(position) = table.position_of(column.column) else { continue };
            let ty = table.column_at(position).ty;
            let decode = |bytes: &Vec<u8>| decode_single(bytes, ty).ok();
            let common: Option<Vec<_>> = column
                .common
                .iter()
                .map(|(v, share)| Some((decode(v)?, f64::from(*share))))
                .collect();
            let bounds: Option<Vec<_>> = column.bounds.iter().map(decode).collect();
            if let (Some(common), Some(bounds)) = (common, bounds) {
                let distinct = distinct(column, known.rows);
                let null_share = f64::from(column.null_share);
                let width = u64::from(column.width);
                columns.insert(position, Column { null_share, distinct, common, bounds, width });
            }
        }
        TableEstimates { known, columns }
    }

    /// Rows of the table.
    pub(crate) fn rows(&self) -> f64 {
        self.known.rows as f64
    }

    /// Rows for which all conditions hold.
    pub(crate) fn rows_where<'c>(&self, conditions: impl Iterator<Item = &'c Condition>) -> f64 {
        let mut by_column: BTreeMap<usize, Vec<&Test>> = BTreeMap::new();
        for condition in conditions {
            by_column.entry(condition.column).or_default().push(&condition.test);
        }
        let share: f64 = by_column.iter().map(|(at, tests)| self.share(*at, tests)).product();
        self.rows() * share
    }

    /// How many values a column has; nothing if that is not known.
    pub(crate) fn distinct(&self, position: usize) -> Option<f64> {
        self.columns.get(&position).map(|column| column.distinct)
    }

    /// Average bytes of a column's values.
    pub(crate) fn width(&self, position: usize) -> Option<u64> {
        self.columns.get(&position).map(|column| column.width)
    }

    fn share(&self, position: usize, tests: &[&Test]) -> f64 {
        let Some(column) = self.columns.get(&position) else {
            return tests.iter().map(|test| unknown(test)).product();
        };
        let mut share = 1.0f64;
        let (mut below, mut above) = (1.0f64, 0.0f64);
        let mut ranged = false;
        for test in tests {
            match test {
                Test::Compare(Comparison::Equal, value) => share = share.min(column.equal(value)),
                Test::In(values) => {
                    let all: f64 = values.iter().map(|value| column.equal(value)).sum();
                    share = share.min(all.min(1.0));
                }
                Test::Compare(Comparison::Less | Comparison::LessOrEqual, value) => {
                    below = below.min(column.below(value));
                    ranged = true;
                }
                Test::Compare(Comparison::Greater | Comparison::GreaterOrEqual, value) => {
                    above = above.max(column.below(value));
                    ranged = true;
                }
            }
        }
        if ranged {
            let inside = (below - above).max(1.0 / column.distinct.max(1.0));
            share = share.min(inside * (1.0 - column.null_share));
        }
        share.clamp(0.0, 1.0)
    }
}

/// Rows of so many for which all conditions hold, of whose columns nothing is known.
pub(crate) fn unknown_rows<'c>(rows: f64, conditions: impl Iterator<Item = &'c Condition>) -> f64 {
    rows * conditions.map(|condition| unknown(&condition.test)).product::<f64>()
}

/// The share of a test on a column of which nothing is known.
fn unknown(test: &Test) -> f64 {
    match test {
        Test::Compare(Comparison::Equal, _) => 0.005,
        Test::In(values) => (0.005 * values.len() as f64).min(1.0),
        Test::Compare(..) => UNKNOWN_RANGE,
    }
}

fn distinct(column: &ColumnStatistics, rows: u64) -> f64 {
    match column.distinct < 0.0 {
        true => -column.distinct * rows as f64,
        false => column.distinct,
    }
}

/// Order of values that may be of different widths of integer; nothing if they can't be compared.
fn order(a: &Datum, b: &Datum) -> Option<Ordering> {
    if std::mem::discriminant(a) == std::mem::discriminant(b) {
        return Some(pgtypes::compare(a, b));
    }
    let whole = |datum: &Datum| match datum {
        Datum::Int2(n) => Some(i64::from(*n)),
        Datum::Int4(n) => Some(i64::from(*n)),
        Datum::Int8(n) => Some(*n),
        Datum::Oid(n) => Some(i64::from(*n)),
        _ => None,
    };
    Some(whole(a)?.cmp(&whole(b)?))
}

impl Column {
    /// Share of the rows that have this value.
    fn equal(&self, value: &Datum) -> f64 {
        if value.is_null() {
            return 0.0;
        }
        let is_it = |(known, _): &&(Datum, f64)| order(known, value) == Some(Ordering::Equal);
        if let Some((_, share)) = self.common.iter().find(is_it) {
            return *share;
        }
        let common: f64 = self.common.iter().map(|(_, share)| share).sum();
        let rest = (1.0 - self.null_share - common).max(0.0);
        let values = (self.distinct - self.common.len() as f64).max(1.0);
        rest / values
    }

    /// Share of the values that are not NULL which lie below one.
    fn below(&self, value: &Datum) -> f64 {
        let present = (1.0 - self.null_share).max(f64::EPSILON);
        let less = |(known, _): &&(Datum, f64)| order(known, value) == Some(Ordering::Less);
        let common: f64 = self.common.iter().map(|(_, share)| share).sum();
        let common_below: f64 = self.common.iter().filter(less).map(|(_, share)| share).sum();
        let rest = (present - common).max(0.0);
        let parts = self.bounds.len().saturating_sub(1);
        let share = match parts {
            0 if rest == 0.0 => 0.0,
            0 => UNKNOWN_RANGE,
            _ => {
                let at = self.bounds.partition_point(|b| order(b, value) == Some(Ordering::Less));
                // Between two bounds: somewhere in the middle.
                match at {
                    0 => 0.0,
                    at if at > parts => 1.0,
                    at => (at as f64 - 0.5) / parts as f64,
                }
            }
        };
        ((common_below + rest * share) / present).clamp(0.0, 1.0)
    }
}
