//! ANALYZE: looks at a table, and keeps what it saw.
//!
//! The whole of a table is read if that is not much; of a larger one the beginning of each range, whose size
//! says how much there is of the same kind. What is read is a snapshot that anybody may serve, on nobody's
//! behalf. A sample of the rows, each row read with the same chance, stands for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::KeyRange;
use catalog::statistics::{self, ColumnStatistics, TableStatistics};
use catalog::{Table, encode_single};
use kv::{KvError, ScanOptions, TxnOptions};
use pgtypes::{Datum, PgType};

use super::TableEstimates;
use crate::SqlError;
use crate::dml::codec_error;
use crate::session::{Engine, wall_micros};

/// Rows of the sample.
const SAMPLE: usize = 30_000;
/// Bytes of a table that are read in any case.
const BYTES_READ: u64 = 64 << 20;
/// Bytes read at a time.
const PAGE_BYTES: u64 = 1 << 20;
/// Most common values, and parts of the histogram: PostgreSQL's default.
const TARGET: usize = 100;
/// Longer values are not kept.
const VALUE_BYTES_MAX: usize = 256;

/// Looks at a table and makes it known to all nodes.
pub(crate) async fn analyze(
    engine: &Engine,
    table: &Arc<Table>,
    automatic: bool,
) -> Result<(), SqlError> {
    let sample = Sample::of(engine, table).await?;
    let known = TableStatistics {
        rows: sample.rows,
        analyzed_at: wall_micros(&engine.db),
        automatic,
        columns: sample.columns(table),
    };
    loop {
        let txn = engine.db.begin(TxnOptions::default());
        let stamp = txn.begin_statement().await?;
        statistics::put(&txn, table.id, &known, stamp)?;
        match txn.commit().await {
            Ok(_) => break,
            // The newest wins, whoever comes first.
            Err(
                KvError::Serialization { .. } | KvError::Restatement | KvError::Deadlock { .. },
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    engine.statistics.learn(table, known);
    Ok(())
}

impl super::Statistics {
    pub(super) fn learn(&self, table: &Table, known: TableStatistics) {
        self.keep(table.id, TableEstimates::new(table, known));
        self.written.write().remove(&table.id);
    }
}

/// Some rows of a table, in key order, and how many there are of all.
struct Sample {
    rows: u64,
    seen: Vec<(u64, Vec<Datum>)>,
}

impl Sample {
    async fn of(engine: &Engine, table: &Arc<Table>) -> Result<Sample, SqlError> {
        let db = &engine.db;
        let at = db.now().await?;
        let txn = db.begin(TxnOptions { as_of: Some(at), ..TxnOptions::default() });
        txn.begin_statement().await?;
        let codec = table.codec();
        let whole = codec.span();
        let mut parts: Vec<KeyRange> = db.partitions(&whole).into_iter().map(|(p, _)| p).collect();
        if parts.is_empty() {
            parts.push(whole);
        }
        let budget = (BYTES_READ / parts.len() as u64).max(PAGE_BYTES);
        let mut random = Random(u64::from(table.id) << 32 | 1);
        let (mut rows, mut read, mut seen) = (0u64, 0u64, Vec::new());
        for part in parts {
            let (mut bytes, mut here) = (0u64, 0u64);
            let mut left = Some(part.clone());
            while let Some(span) = left.take().filter(|_| bytes < budget) {
                let options = ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() };
                let page = txn.scan(span, options).await?;
                for (key, value) in &page.rows {
                    bytes += (key.0.len() + value.len()) as u64;
                    here += 1;
                    read += 1;
                    // Reservoir sampling: each of the rows read so far stays with the same chance.
                    let place = match seen.len() < SAMPLE {
                        true => seen.len(),
                        false => random.below(read),
                    };
                    if place < SAMPLE {
                        let row = codec.decode(key, value).map_err(|e| codec_error(&e, table))?;
                        match seen.get_mut(place) {
                            Some(old) => *old = (read, row),
                            None => seen.push((read, row)),
                        }
                    }
                }
                left = page.resume;
            }
            rows += match left {
                None => here,
                // As many again for as many bytes.
                Some(_) => {
                    let all = db.range_status(&part.start).await?.bytes.max(bytes);
                    (here as f64 * all as f64 / bytes.max(1) as f64) as u64
                }
            };
        }
        seen.sort_unstable_by_key(|(nth, _)| *nth);
        Ok(Sample { rows, seen })
    }

    fn columns(&self, table: &Table) -> Vec<ColumnStatistics> {
        let columns = table.columns.iter().enumerate();
        columns.map(|(at, column)| self.column(at, column.id, column.ty)).collect()
    }

    fn column(&self, at: usize, id: u32, ty: PgType) -> ColumnStatistics {
        let mut none = ColumnStatistics {
            column: id,
            null_share: 0.0,
            width: 0,
            distinct: 0.0,
            common: Vec::new(),
            bounds: Vec::new(),
            correlation: 0.0,
        };
        let total = self.seen.len();
        let mut values: Vec<(&Datum, usize)> =
            self.seen.iter().enumerate().map(|(nth, (_, row))| (&row[at], nth)).collect();
        values.retain(|(value, _)| !value.is_null());
        if total == 0 {
            return none;
        }
        none.null_share = (total - values.len()) as f32 / total as f32;
        if values.is_empty() {
            return none;
        }
        none.width = u32::try_from(ty.len()).unwrap_or_else(|_| {
            // Of variable length: with the byte that tells it.
            let own = |value: &Datum| value.size() - std::mem::size_of::<Datum>() + 1;
            let bytes: usize = values.iter().map(|(value, _)| own(value)).sum();
            u32::try_from(bytes / values.len()).unwrap_or(u32::MAX)
        });
        if !catalog::is_indexable(ty) {
            none.distinct = -1.0;
            return none;
        }
        values.sort_by(|(a, _), (b, _)| pgtypes::compare_as(ty, a, b));
        none.correlation = correlation(&values);
        // How often each value was seen, in the order of the values.
        let mut counts: Vec<(&Datum, usize)> = Vec::new();
        for (value, _) in &values {
            match counts.last_mut() {
                Some((last, n)) if pgtypes::compare_as(ty, last, value).is_eq() => *n += 1,
                _ => counts.push((value, 1)),
            }
        }
        none.distinct = distinct(&counts, values.len(), total, self.rows);
        let common = common(&counts, values.len());
        let share = |n: usize| n as f32 / total as f32;
        let encode = |value: &Datum| {
            let bytes = encode_single(value, ty).ok()?;
            (bytes.len() <= VALUE_BYTES_MAX).then_some(bytes)
        };
        let is_common = |value: &Datum| common.iter().any(|(c, _)| std::ptr::eq(*c, value));
        let rest: Vec<&Datum> = counts
            .iter()
            .filter(|(value, _)| !is_common(value))
            .flat_map(|(value, n)| std::iter::repeat_n(*value, *n))
            .collect();
        none.common = common.iter().filter_map(|(v, n)| Some((encode(v)?, share(*n)))).collect();
        if rest.len() > 1 {
            let parts = TARGET.min(rest.len() - 1);
            let bounds = (0..=parts).map(|nth| rest[nth * (rest.len() - 1) / parts]);
            none.bounds = bounds.map(encode).collect::<Option<_>>().unwrap_or_default();
        }
        none
    }
}

/// The values that were seen clearly more often than others: all, if there are few.
fn common<'v>(counts: &[(&'v Datum, usize)], seen: usize) -> Vec<(&'v Datum, usize)> {
    let mut common: Vec<(&Datum, usize)> = counts.to_vec();
    common.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    if counts.len() > TARGET {
        let average = seen as f64 / counts.len() as f64;
        common.truncate(TARGET);
        common.retain(|(_, n)| *n > 1 && *n as f64 > 1.25 * average);
    } else {
        common.retain(|(_, n)| *n > 1);
    }
    common
}

/// Haas and Stokes' estimator (Duj1), as in PostgreSQL: what was seen once hints at what was not seen.
fn distinct(counts: &[(&Datum, usize)], seen: usize, total: usize, rows: u64) -> f64 {
    let once = counts.iter().filter(|(_, n)| *n == 1).count();
    let (d, n, all) = (counts.len() as f64, seen as f64, rows as f64 * seen as f64 / total as f64);
    if once == counts.len() && seen > 1 {
        return -(seen as f64 / total as f64);
    }
    let estimate = (n * d / (n - once as f64 + once as f64 * n / all.max(n))).clamp(d, all.max(d));
    match estimate > 0.1 * rows as f64 {
        true => -(estimate / rows as f64).min(1.0),
        false => estimate.round(),
    }
}

/// Of the places of values in their order with those of their rows.
fn correlation(values: &[(&Datum, usize)]) -> f32 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return 1.0;
    }
    let mean = (n - 1.0) / 2.0;
    // Places among the values that are not NULL.
    let mut places: Vec<usize> = values.iter().map(|(_, nth)| *nth).collect();
    places.sort_unstable();
    let place: BTreeMap<usize, usize> =
        places.into_iter().enumerate().map(|(p, nth)| (nth, p)).collect();
    let (mut both, mut one) = (0.0, 0.0);
    for (at, (_, nth)) in values.iter().enumerate() {
        let (x, y) = (at as f64 - mean, place[nth] as f64 - mean);
        both += x * y;
        one += x * x;
    }
    (both / one) as f32
}

/// The same numbers for the same table.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound).unwrap_or(usize::MAX)
    }
}
