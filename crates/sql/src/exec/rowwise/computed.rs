//! Computed tables as inputs of joins: found by the values of columns, like stored ones by index.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgtypes::{Datum, PgType, TypeId};

use super::scan::Known;
use super::{COMPUTED_MAX, Run, Stop};
use crate::error::SqlError;
use crate::exec::virtuals::Loaded;
use crate::ir::{ColId, Scalar, VirtualScan};

/// Most combinations of values that one look-up asks for.
const VALUES_MAX: usize = 10_000;

/// A computed table that a query mentions.
pub(super) struct Computed<'a> {
    scan: &'a VirtualScan,
    /// All of its columns, which conditions on it alone are over.
    pub(super) layout: Vec<ColId>,
    /// Those that somebody mentions, which are taken from its rows.
    pub(super) taken: Vec<ColId>,
    slots: Vec<usize>,
}

/// What a conjunct says of a column: it equals one of these.
struct Equal<'s> {
    column: usize,
    ty: PgType,
    values: Values<'s>,
}

enum Values<'s> {
    One(&'s Scalar),
    List(&'s [Scalar]),
    Array(&'s Scalar),
}

/// Types whose values look alike and are equal alike, under one name.
fn class(ty: PgType) -> Option<PgType> {
    if ty.array {
        return None;
    }
    match ty.id {
        TypeId::Name | TypeId::Text | TypeId::Varchar | TypeId::Char => Some(PgType::TEXT),
        TypeId::Bool | TypeId::Int2 | TypeId::Int4 | TypeId::Int8 => Some(PgType::new(ty.id)),
        id if id.is_oid_like() => Some(PgType::OID),
        _ => None,
    }
}

impl<'a> Computed<'a> {
    /// `mentioned`: columns that the query names anywhere.
    pub(super) fn new(scan: &'a VirtualScan, mentioned: &HashSet<ColId>) -> Self {
        let layout: Vec<ColId> = scan.columns.iter().map(|column| column.id).collect();
        let slots: Vec<usize> =
            (0..layout.len()).filter(|&at| mentioned.contains(&layout[at])).collect();
        let taken = slots.iter().map(|&at| layout[at]).collect();
        Computed { scan, layout, taken, slots }
    }

    fn take(&self, row: &[Datum]) -> Vec<Datum> {
        self.slots.iter().map(|&at| row[at].clone()).collect()
    }

    /// The column that a scalar is, under another type of its class maybe.
    fn column(&self, scalar: &Scalar) -> Option<(usize, PgType)> {
        let (id, ty) = match scalar {
            Scalar::Column(id, ty) => (id, ty),
            Scalar::Relabel(inner, _) => return self.column(inner),
            // Of these the value stays as it is.
            Scalar::Cast { cast, arg, ty } => {
                let same = class(cast.from).filter(|from| class(*ty) == Some(*from));
                return same.and_then(|_| self.column(arg));
            }
            _ => return None,
        };
        let at = self.layout.iter().position(|known| known == id)?;
        Some((at, class(*ty)?))
    }

    /// What a conjunct says, where its other side is known.
    fn equal<'s>(&self, conjunct: &'s Scalar, known: Known<'_>) -> Option<Equal<'s>> {
        let fits =
            |ty: PgType, other: &Scalar| class(other.ty()) == Some(ty) && known.suffices(other);
        match conjunct {
            Scalar::Call { func, args, .. } if func.name == "=" => {
                let [left, right] = args.as_slice() else { return None };
                [(left, right), (right, left)].into_iter().find_map(|(column, other)| {
                    let (column, ty) = self.column(column)?;
                    let values = Values::One(other);
                    fits(ty, other).then_some(Equal { column, ty, values })
                })
            }
            Scalar::InList { needle, list, .. } => {
                let (column, ty) = self.column(needle)?;
                let values = Values::List(list);
                list.iter().all(|s| fits(ty, s)).then_some(Equal { column, ty, values })
            }
            Scalar::Quantified { op, needle, array, all: false } if op.name == "=" => {
                let (column, ty) = self.column(needle)?;
                let element = array.ty().element();
                let known = class(element) == Some(ty) && known.suffices(array);
                known.then_some(Equal { column, ty, values: Values::Array(array) })
            }
            _ => None,
        }
    }

    /// Whether its rows are found by what is known.
    pub(super) fn is_found_by<'s>(
        &self,
        mut conjuncts: impl Iterator<Item = &'s Scalar>,
        known: Known<'_>,
    ) -> bool {
        conjuncts.any(|conjunct| self.equal(conjunct, known).is_some())
    }
}

impl Run<'_> {
    /// The rows of a computed table for which conjuncts hold as far as an index tells, and `residual` does:
    /// their columns that are taken.
    pub(super) async fn compute<'s>(
        &self,
        source: &Computed<'_>,
        conjuncts: impl Iterator<Item = &'s Scalar>,
        known: Known<'_>,
        residual: &[Scalar],
    ) -> Result<Vec<Vec<Datum>>, Stop> {
        let loaded = self.ctx.virtuals.load(self.ctx, &source.scan.table).await?;
        let mut equals: Vec<Equal<'s>> = Vec::new();
        for equal in conjuncts.filter_map(|conjunct| source.equal(conjunct, known)) {
            if equals.iter().all(|other| other.column != equal.column) {
                equals.push(equal);
            }
        }
        let mut found = Vec::new();
        if equals.is_empty() {
            self.count_computed(loaded.rows.len())?;
            for row in &loaded.rows {
                if self.passes(residual, row)? {
                    found.push(source.take(row));
                }
            }
            return Ok(found);
        }
        equals.sort_by_key(|equal| equal.column);
        let columns: Vec<(usize, PgType)> = equals.iter().map(|e| (e.column, e.ty)).collect();
        for values in self.combinations(&equals, known)? {
            self.found(source, &loaded, &columns, &values, residual, &mut found)?;
        }
        Ok(found)
    }

    fn found(
        &self,
        source: &Computed<'_>,
        loaded: &Arc<Loaded>,
        columns: &[(usize, PgType)],
        values: &[Datum],
        residual: &[Scalar],
        found: &mut Vec<Vec<Datum>>,
    ) -> Result<(), Stop> {
        let rows = loaded.find(columns, values);
        self.count_computed(rows.len())?;
        for row in rows {
            if self.passes(residual, row)? {
                found.push(source.take(row));
            }
        }
        Ok(())
    }

    /// Every combination of the values that columns may have, each once.
    fn combinations(
        &self,
        equals: &[Equal<'_>],
        known: Known<'_>,
    ) -> Result<Vec<Vec<Datum>>, Stop> {
        let mut all: Vec<Vec<Datum>> = vec![Vec::new()];
        for equal in equals {
            let value = |scalar: &Scalar| -> Result<Datum, SqlError> {
                self.eval(&scalar.over(known.layout)?, known.row)
            };
            let mut values = match &equal.values {
                Values::One(scalar) => vec![value(scalar)?],
                Values::List(list) => list.iter().map(value).collect::<Result<_, _>>()?,
                Values::Array(array) => match value(array)? {
                    Datum::Array(array) => array.items.clone(),
                    _ => Vec::new(),
                },
            };
            values.retain(|value| !value.is_null());
            values.sort_by(pgtypes::compare);
            values.dedup_by(|a, b| pgtypes::compare(a, b).is_eq());
            if all.len().saturating_mul(values.len()) > VALUES_MAX {
                return Err(Stop::GivenUp);
            }
            let with = |value: &Datum, before: &Vec<Datum>| {
                before.iter().chain([value]).cloned().collect::<Vec<Datum>>()
            };
            all = all.iter().flat_map(|b| values.iter().map(move |v| with(v, b))).collect();
        }
        Ok(all)
    }

    fn count_computed(&self, rows: usize) -> Result<(), Stop> {
        let read = self.computed.fetch_add(rows, Ordering::Relaxed) + rows;
        if read > COMPUTED_MAX { Err(Stop::GivenUp) } else { Ok(()) }
    }
}
