//! Correlated subqueries of expressions over computed tables: run for a row when their value is needed.
//!
//! Metadata queries guard them by CASE (`CASE WHEN a.atthasdef THEN (SELECT … FROM pg_attrdef …) END`), so
//! that one in many rows needs one. Rows with the same outer values share a run.

use std::collections::HashMap;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use pgtypes::{Datum, PgType};

use super::{Run, Stop, identity, qualifies};
use crate::error::{SqlError, SqlState};
use crate::ir::{ColId, Rel, Scalar, Subquery, SubqueryKind};

/// Values of subqueries by what they depend on, for the expressions of one operator: found by the places of
/// these, which must not move meanwhile.
#[derive(Default)]
pub(super) struct Memo(Mutex<HashMap<usize, Entry>>);

struct Entry {
    /// Outer columns that the query mentions: where in the row, and which.
    outer: Vec<(usize, ColId, PgType)>,
    values: HashMap<Vec<u8>, Datum>,
}

/// Whether all subqueries of an expression are of a kind that is run here.
pub(super) fn are_runnable(scalar: &Scalar, depth: usize) -> bool {
    !scalar.any(&mut |node| match node {
        Scalar::Subquery(subquery) => {
            let kind = match subquery.kind {
                SubqueryKind::Scalar | SubqueryKind::Exists => true,
                SubqueryKind::Array => !subquery.ty.element().array,
                SubqueryKind::Any { .. } | SubqueryKind::All { .. } => false,
            };
            !kind || depth == 0 || !qualifies(&subquery.rel, depth - 1)
        }
        _ => false,
    })
}

/// Whether no stored table is read, in subqueries neither.
pub(super) fn is_computed(rel: &Rel) -> bool {
    let mut stored = false;
    rel.for_each_rel(&mut |node| stored |= matches!(node, Rel::Scan(_) | Rel::Work(_)));
    !stored
}

/// An expression over rows: its columns are slots already, those that its subqueries mention are not.
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    pub(super) layout: &'a [ColId],
    pub(super) row: &'a [Datum],
    pub(super) memo: &'a Memo,
}

impl Run<'_> {
    /// The value of an expression; of subqueries in it, as far as they are needed.
    pub(super) fn value<'s>(
        &'s self,
        scalar: &'s Scalar,
        over: Over<'s>,
    ) -> BoxFuture<'s, Result<Datum, Stop>> {
        Box::pin(async move {
            if !scalar.has_subquery() {
                return Ok(self.eval(scalar, over.row)?);
            }
            match scalar {
                Scalar::Subquery(subquery) => self.subquery(subquery, over).await,
                Scalar::Case { whens, otherwise, .. } => {
                    for (condition, result) in whens {
                        if self.value(condition, over).await? == Datum::Bool(true) {
                            return self.value(result, over).await;
                        }
                    }
                    self.value(otherwise, over).await
                }
                Scalar::And(args) => self.logic(args, false, over).await,
                Scalar::Or(args) => self.logic(args, true, over).await,
                Scalar::Coalesce(args, _) => {
                    for arg in args {
                        let value = self.value(arg, over).await?;
                        if !value.is_null() {
                            return Ok(value);
                        }
                    }
                    Ok(Datum::Null)
                }
                // All others need all of their operands.
                strict => {
                    let mut known = strict.clone();
                    for (child, place) in strict.children().into_iter().zip(known.children_mut()) {
                        if child.has_subquery() {
                            *place = Scalar::Literal(self.value(child, over).await?, child.ty());
                        }
                    }
                    Ok(self.eval(&known, over.row)?)
                }
            }
        })
    }

    /// AND (`stop` false) and OR (`stop` true).
    async fn logic(&self, args: &[Scalar], stop: bool, over: Over<'_>) -> Result<Datum, Stop> {
        let mut unknown = false;
        for arg in args {
            match self.value(arg, over).await? {
                Datum::Bool(value) if value == stop => return Ok(Datum::Bool(stop)),
                Datum::Null => unknown = true,
                _ => {}
            }
        }
        Ok(if unknown { Datum::Null } else { Datum::Bool(!stop) })
    }

    async fn subquery(&self, subquery: &Subquery, over: Over<'_>) -> Result<Datum, Stop> {
        let place = std::ptr::from_ref(subquery) as usize;
        let (key, outer) = {
            let mut memo = over.memo.0.lock();
            let entry = memo.entry(place).or_insert_with(|| {
                let slot = |id: &ColId| over.layout.iter().position(|known| known == id);
                let columns = subquery.rel.outer_columns().into_iter();
                let outer = columns.filter_map(|(id, ty)| Some((slot(&id)?, id, ty))).collect();
                Entry { outer, values: HashMap::new() }
            });
            let key = identity(entry.outer.iter().map(|&(slot, _, ty)| (&over.row[slot], ty)));
            if let Some(known) = entry.values.get(&key) {
                return Ok(known.clone());
            }
            (key, entry.outer.clone())
        };
        let mut rel = subquery.rel.clone();
        rel.for_each_scalar_mut(&mut |scalar| {
            if let Scalar::Column(id, ty) = *scalar
                && let Some((slot, ..)) = outer.iter().find(|(_, known, _)| *known == id)
            {
                *scalar = Scalar::Literal(over.row[*slot].clone(), ty);
            }
        });
        let value = self.value_of(subquery, &rel).await?;
        if let Some(entry) = over.memo.0.lock().get_mut(&place) {
            entry.values.insert(key, value.clone());
        }
        Ok(value)
    }

    async fn value_of(&self, subquery: &Subquery, rel: &Rel) -> Result<Datum, Stop> {
        let goal = matches!(subquery.kind, SubqueryKind::Exists).then_some(1);
        let mut rows = self.ordered(rel, goal).await?.rows;
        match subquery.kind {
            SubqueryKind::Exists => Ok(Datum::Bool(!rows.is_empty())),
            SubqueryKind::Scalar => match rows.len() {
                0 => Ok(Datum::Null),
                1 => Ok(rows.swap_remove(0).swap_remove(0)),
                _ => Err(Stop::Failed(SqlError::new(
                    SqlState::CARDINALITY_VIOLATION,
                    "more than one row returned by a subquery used as an expression",
                ))),
            },
            SubqueryKind::Array => {
                let items = rows.into_iter().map(|mut row| row.swap_remove(0));
                Ok(Datum::array(items.collect()))
            }
            SubqueryKind::Any { .. } | SubqueryKind::All { .. } => Err(Stop::GivenUp),
        }
    }
}
