//! Which rows of a partition a window's frame has, for frames that DataFusion does not know: EXCLUDE, and
//! RANGE with an offset of any type.
//!
//! Pure: a partition's order keys in, stretches of rows out.

use std::cmp::Ordering;
use std::ops::Range;

use pgtypes::datetime::civil::DAY_MICROS;
use pgtypes::{Datum, EvalEnv, PgType, TypeId, registry};

use crate::error::{SqlError, SqlState};
use crate::ir::{FrameExclusion, FrameUnits};

/// One end of a frame, with the value of its offset.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    Unbounded,
    Current,
    Preceding(Datum),
    Following(Datum),
}

/// A frame, ready to be laid over partitions.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) units: FrameUnits,
    pub(super) start: Bound,
    pub(super) end: Bound,
    pub(super) exclude: FrameExclusion,
    /// RANGE with an offset: the types of the key and of the offset.
    pub(super) key: Option<(PgType, PgType)>,
    /// The key's order is from the largest.
    pub(super) desc: bool,
}

/// A partition in order.
pub(super) struct Partition<'a> {
    /// Number of the group of peers of each row.
    group: Vec<usize>,
    /// The rows of each group of peers.
    groups: Vec<Range<usize>>,
    /// The order key of each row, as [`shifted`] compares it; empty where no offset needs it.
    keys: Vec<Datum>,
    /// Rows whose key is not NULL.
    known: Range<usize>,
    shape: &'a Shape,
    env: &'a EvalEnv,
}

impl<'a> Partition<'a> {
    /// `same`: whether a row and the one before it are peers. `keys` are needed where the shape has a key.
    pub(super) fn new(
        shape: &'a Shape,
        env: &'a EvalEnv,
        rows: usize,
        same: impl Fn(usize) -> bool,
        keys: Vec<Datum>,
    ) -> Self {
        let mut group = Vec::with_capacity(rows);
        let mut groups: Vec<Range<usize>> = Vec::new();
        for row in 0..rows {
            match groups.last_mut() {
                Some(last) if same(row) => last.end = row + 1,
                _ => groups.push(row..row + 1),
            }
            group.push(groups.len() - 1);
        }
        let keys: Vec<Datum> = keys.into_iter().map(comparable).collect();
        let first = keys.iter().position(|key| !key.is_null()).unwrap_or(keys.len());
        let count = keys.iter().filter(|key| !key.is_null()).count();
        Partition { group, groups, keys, known: first..first + count, shape, env }
    }

    /// The rows of the frame of `row`, in order, in at most three stretches.
    pub(super) fn frame(&self, row: usize) -> Result<Vec<Range<usize>>, SqlError> {
        let rows = self.group.len();
        let start = self.start(row)?.min(rows);
        let end = self.end(row)?.clamp(start, rows);
        let peers = self.groups[self.group[row]].clone();
        let out = match self.shape.exclude {
            FrameExclusion::Nothing => [row..row, row..row],
            FrameExclusion::CurrentRow => [row..row + 1, row + 1..row + 1],
            FrameExclusion::Group => [peers.clone(), peers.end..peers.end],
            FrameExclusion::Ties => [peers.start..row, row + 1..peers.end],
        };
        let mut stretches = Vec::with_capacity(3);
        let mut from = start;
        for gap in out.into_iter().filter(|gap| !gap.is_empty()) {
            if from < gap.start.min(end) {
                stretches.push(from..gap.start.min(end));
            }
            from = from.max(gap.end);
        }
        if from < end {
            stretches.push(from..end);
        }
        Ok(stretches)
    }

    fn start(&self, row: usize) -> Result<usize, SqlError> {
        let group = self.group[row];
        Ok(match (self.shape.units, &self.shape.start) {
            (_, Bound::Unbounded) => 0,
            (FrameUnits::Rows, Bound::Current) => row,
            (FrameUnits::Rows, Bound::Preceding(n)) => row.saturating_sub(count(n)),
            (FrameUnits::Rows, Bound::Following(n)) => row.saturating_add(count(n)),
            (_, Bound::Current) => self.groups[group].start,
            (FrameUnits::Groups, Bound::Preceding(n)) => {
                self.groups[group.saturating_sub(count(n))].start
            }
            (FrameUnits::Groups, Bound::Following(n)) => {
                let group = self.groups.get(group.saturating_add(count(n)));
                group.map_or(self.group.len(), |rows| rows.start)
            }
            (FrameUnits::Range, Bound::Preceding(n)) => self.at_or_after(row, n, true)?,
            (FrameUnits::Range, Bound::Following(n)) => self.at_or_after(row, n, false)?,
        })
    }

    /// Behind the last row.
    fn end(&self, row: usize) -> Result<usize, SqlError> {
        let group = self.group[row];
        Ok(match (self.shape.units, &self.shape.end) {
            (_, Bound::Unbounded) => self.group.len(),
            (FrameUnits::Rows, Bound::Current) => row + 1,
            (FrameUnits::Rows, Bound::Preceding(n)) => (row + 1).saturating_sub(count(n)),
            (FrameUnits::Rows, Bound::Following(n)) => (row + 1).saturating_add(count(n)),
            (_, Bound::Current) => self.groups[group].end,
            (FrameUnits::Groups, Bound::Preceding(n)) => {
                group.checked_sub(count(n)).map_or(0, |group| self.groups[group].end)
            }
            (FrameUnits::Groups, Bound::Following(n)) => {
                let last = self.groups.len() - 1;
                self.groups[group.saturating_add(count(n)).min(last)].end
            }
            (FrameUnits::Range, Bound::Preceding(n)) => self.behind(row, n, true)?,
            (FrameUnits::Range, Bound::Following(n)) => self.behind(row, n, false)?,
        })
    }

    /// The first row whose key is not before that of `row`, moved by an offset.
    fn at_or_after(&self, row: usize, offset: &Datum, back: bool) -> Result<usize, SqlError> {
        let Some(target) = self.target(row, offset, back)? else {
            return Ok(self.groups[self.group[row]].start);
        };
        Ok(self.search(|key| self.order(key, &target) == Ordering::Less))
    }

    /// Behind the last row whose key is not after that of `row`, moved by an offset.
    fn behind(&self, row: usize, offset: &Datum, back: bool) -> Result<usize, SqlError> {
        let Some(target) = self.target(row, offset, back)? else {
            return Ok(self.groups[self.group[row]].end);
        };
        Ok(self.search(|key| self.order(key, &target) != Ordering::Greater))
    }

    fn search(&self, before: impl Fn(&Datum) -> bool) -> usize {
        let known = &self.keys[self.known.clone()];
        self.known.start + known.partition_point(before)
    }

    fn order(&self, left: &Datum, right: &Datum) -> Ordering {
        let order = pgtypes::compare(left, right);
        if self.shape.desc { order.reverse() } else { order }
    }

    /// `None`: the row's key is NULL, whose only neighbours are its peers.
    fn target(&self, row: usize, offset: &Datum, back: bool) -> Result<Option<Datum>, SqlError> {
        let key = &self.keys[row];
        if key.is_null() {
            return Ok(None);
        }
        let Some((_, offset_ty)) = self.shape.key else {
            return Err(SqlError::internal("an offset without a key"));
        };
        shifted(key, offset, offset_ty, back != self.shape.desc, self.env).map(Some)
    }
}

fn count(offset: &Datum) -> usize {
    offset.as_i64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

/// A key in the type in which keys and moved keys are compared.
fn comparable(key: Datum) -> Datum {
    match key {
        Datum::Int2(value) => Datum::Int8(i64::from(value)),
        Datum::Int4(value) => Datum::Int8(i64::from(value)),
        Datum::Float4(value) => Datum::Float8(f64::from(value)),
        Datum::Date(i32::MIN) => Datum::Timestamp(i64::MIN),
        Datum::Date(i32::MAX) => Datum::Timestamp(i64::MAX),
        Datum::Date(days) => Datum::Timestamp(i64::from(days).saturating_mul(DAY_MICROS)),
        other => other,
    }
}

/// `key - offset`, or `key + offset`.
fn shifted(
    key: &Datum,
    offset: &Datum,
    offset_ty: PgType,
    minus: bool,
    env: &EvalEnv,
) -> Result<Datum, SqlError> {
    let ty = match key {
        Datum::Int8(value) => {
            let offset = offset.as_i64().unwrap_or(0);
            return Ok(Datum::Int8(match minus {
                true => value.saturating_sub(offset),
                false => value.saturating_add(offset),
            }));
        }
        Datum::Float8(value) => {
            let Datum::Float8(offset) = offset else { return Ok(key.clone()) };
            return Ok(Datum::Float8(if minus { value - offset } else { value + offset }));
        }
        // Times of day do not wrap around here.
        Datum::Time(value) => {
            let Datum::Interval(offset) = offset else { return Ok(key.clone()) };
            return Ok(Datum::Time(match minus {
                true => value.saturating_sub(offset.micros),
                false => value.saturating_add(offset.micros),
            }));
        }
        Datum::Timestamp(i64::MIN | i64::MAX) | Datum::Timestamptz(i64::MIN | i64::MAX) => {
            return Ok(key.clone());
        }
        Datum::Timestamp(_) => TypeId::Timestamp,
        Datum::Timestamptz(_) => TypeId::Timestamptz,
        Datum::Interval(_) => TypeId::Interval,
        _ => TypeId::Numeric,
    };
    let op = if minus { "-" } else { "+" };
    let op = registry::resolve_operator(op, &[PgType::new(ty), offset_ty])?;
    Ok(op.call(env, &[key.clone(), offset.clone()])?)
}

/// Refuses what is no offset.
pub(super) fn check_offset(offset: &Datum, units: FrameUnits, which: &str) -> Result<(), SqlError> {
    if offset.is_null() {
        return Err(SqlError::new(
            SqlState("22004"),
            format!("frame {which} offset must not be null"),
        ));
    }
    let negative = match offset {
        Datum::Float8(value) => *value < 0.0 || value.is_nan(),
        Datum::Interval(value) => value.span_micros() < 0,
        Datum::Numeric(value) => value.to_string().starts_with('-'),
        other => other.as_i64().is_some_and(|value| value < 0),
    };
    match (negative, units) {
        (false, _) => Ok(()),
        (true, FrameUnits::Range) => Err(SqlError::new(
            SqlState("22013"),
            "invalid preceding or following size in window function",
        )),
        (true, _) => Err(SqlError::new(
            SqlState("22013"),
            format!("frame {which} offset must not be negative"),
        )),
    }
}
