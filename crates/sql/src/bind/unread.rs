//! Takes out of a statement what nobody reads: a column of a query in FROM that nothing mentions is not
//! computed, whatever it would cost, and whatever would fail in it.
//!
//! As in PostgreSQL, a column is computed nevertheless if it calls a volatile function, if it decides which
//! rows there are (below DISTINCT, and below all set operations but UNION ALL of equal types), and if it is
//! one of a WITH query that PostgreSQL would run by itself. Of EXISTS no column is read, unless its shape
//! makes PostgreSQL run it as it is (aggregates, window functions, locks).

use std::collections::HashSet;

use crate::ir::{
    AggCall, ColId, InsertSource, Query, Rel, RelColumn, Scalar, SetOp, Statement, Subquery,
    SubqueryKind,
};

/// Columns that something reads. Who reads a column is looked at before who makes it: operators before their
/// inputs, and the right side of a join, which may be lateral, before the left.
#[derive(Debug, Default)]
pub(super) struct Read(HashSet<ColId>);

impl Read {
    /// Marks columns that are computed in any case.
    pub(super) fn keep(&mut self, columns: impl IntoIterator<Item = ColId>) {
        self.0.extend(columns);
    }

    /// Drops what else nobody reads, from a statement.
    pub(super) fn drop_others(&mut self, statement: &mut Statement) {
        match statement {
            Statement::Explain(explain) => return self.drop_others(&mut explain.statement),
            Statement::With(with) => {
                let parts = with.parts.iter_mut().map(|part| &mut part.statement);
                parts.chain([&mut with.main]).for_each(|part| self.drop_others(part));
                return;
            }
            Statement::Query(query) => self.all_of(&query.rel),
            Statement::Insert(insert) => {
                if let InsertSource::Query(query) = &insert.source {
                    self.all_of(&query.rel);
                }
            }
            Statement::Update(_) | Statement::Delete(_) | Statement::Utility(_) => {}
        }
        let (scalars, rels) = statement.own_mut();
        scalars.into_iter().for_each(|scalar| self.scalar(scalar));
        rels.into_iter().for_each(|rel| self.below(rel));
    }

    /// Drops what else nobody reads, from a query.
    pub(super) fn drop_others_of(&mut self, query: &mut Query) {
        self.all_of(&query.rel);
        self.below(&mut query.rel);
    }

    fn all_of(&mut self, rel: &Rel) {
        self.0.extend(rel.columns().into_iter().map(|column| column.id));
    }

    fn has(&self, column: &RelColumn) -> bool {
        self.0.contains(&column.id)
    }

    /// Looks at a relation whose columns have been marked as far as they are read.
    fn below(&mut self, rel: &mut Rel) {
        match rel {
            Rel::Project { exprs, .. } => {
                self.forget_others(exprs.iter_mut().map(|(column, scalar)| (&*column, scalar)));
            }
            Rel::Values { rows, columns } => {
                if let [row] = &mut rows[..] {
                    self.forget_others(columns.iter().zip(row));
                }
            }
            Rel::Aggregate { group, aggs, .. } => self.aggregates(group.is_empty(), aggs),
            Rel::Window { input, calls } => {
                calls.retain(|call| {
                    let mut scalars = call.args.iter().chain(&call.filter);
                    self.has(&call.column) || scalars.any(is_volatile)
                });
                if calls.is_empty() {
                    *rel = std::mem::replace(&mut **input, Rel::OneRow);
                    return self.below(rel);
                }
            }
            Rel::SetOp { op: SetOp::Union, all: true, left, right, columns } => {
                let (left, right) = (left.columns(), right.columns());
                for (column, sides) in columns.iter().zip(left.iter().zip(&right)) {
                    if self.has(column) {
                        self.0.extend([sides.0.id, sides.1.id]);
                    }
                }
            }
            Rel::SetOp { left, right, .. } => {
                self.all_of(left);
                self.all_of(right);
            }
            Rel::Distinct { input } => self.all_of(input),
            Rel::Lock { locks, .. } => self.0.extend(locks.iter().map(|lock| lock.key)),
            Rel::Recursive(recursive) => {
                for term in [&mut recursive.step, &mut recursive.base] {
                    self.all_of(term);
                    self.below(term);
                }
            }
            _ => {}
        }
        rel.scalars_mut().into_iter().for_each(|scalar| self.scalar(scalar));
        rel.inputs_mut().into_iter().rev().for_each(|input| self.below(input));
    }

    fn forget_others<'e>(&self, made: impl Iterator<Item = (&'e RelColumn, &'e mut Scalar)>) {
        made.filter(|(column, _)| !self.has(column)).for_each(|(_, scalar)| forget(scalar));
    }

    /// Those of one operator. Without keys and aggregates it would be none.
    fn aggregates(&self, one_row: bool, aggs: &mut Vec<AggCall>) {
        let unread = |agg: &AggCall| {
            !self.has(&agg.column) && !agg.args.iter().chain(&agg.filter).any(is_volatile)
        };
        if one_row && aggs.iter().all(unread) {
            aggs.truncate(1);
            for agg in aggs {
                let keys = agg.order_by.iter_mut().map(|key| &mut key.expr);
                agg.args.iter_mut().chain(&mut agg.filter).chain(keys).for_each(forget);
            }
        } else {
            aggs.retain(|agg| !unread(agg));
        }
    }

    fn scalar(&mut self, scalar: &mut Scalar) {
        match scalar {
            Scalar::Column(id, _) => self.0.extend([*id]),
            Scalar::Subquery(subquery) => self.subquery(subquery),
            _ => {}
        }
        stacker::maybe_grow(64 << 10, 2 << 20, || {
            scalar.children_mut().into_iter().for_each(|child| self.scalar(child));
        });
    }

    fn subquery(&mut self, subquery: &mut Subquery) {
        match &mut subquery.kind {
            SubqueryKind::Exists => {
                if is_about_rows(&mut subquery.rel) {
                    return self.below(&mut subquery.rel);
                }
            }
            SubqueryKind::Any { column, .. } | SubqueryKind::All { column, .. } => {
                self.scalar(column);
            }
            SubqueryKind::Scalar | SubqueryKind::Array => {}
        }
        self.all_of(&subquery.rel);
        self.below(&mut subquery.rel);
    }
}

/// An expression that nobody reads.
fn forget(scalar: &mut Scalar) {
    if !is_volatile(scalar) {
        *scalar = Scalar::null(scalar.ty());
    }
}

/// Whether it, or a query in it, calls a function that answers differently each time.
fn is_volatile(scalar: &Scalar) -> bool {
    scalar.any(&mut |node| match node {
        Scalar::Subquery(subquery) => subquery.rel.is_volatile(),
        _ => false,
    }) || scalar.is_volatile()
}

/// Takes away from the query of an EXISTS what makes no difference to whether it has rows: order, duplicates,
/// a LIMIT that leaves one, and, where this says so, its select list and what it groups by.
fn is_about_rows(rel: &mut Rel) -> bool {
    loop {
        let input = match rel {
            Rel::Sort { input, .. } | Rel::Distinct { input } | Rel::DistinctOn { input, .. } => {
                input
            }
            Rel::Limit { input, limit, offset: None } if leaves_one(limit.as_ref()) => input,
            _ => break,
        };
        *rel = std::mem::replace(&mut **input, Rel::OneRow);
    }
    let Rel::Project { input, exprs } = rel else { return false };
    match &mut **input {
        Rel::Aggregate { input: grouped, group, aggs } if !group.is_empty() && aggs.is_empty() => {
            **input = std::mem::replace(&mut **grouped, Rel::OneRow);
        }
        Rel::Aggregate { .. } | Rel::Window { .. } | Rel::Lock { .. } => return false,
        Rel::Filter { input, .. } if matches!(**input, Rel::Aggregate { .. }) => return false,
        _ => {}
    }
    exprs.iter_mut().for_each(|(_, scalar)| *scalar = Scalar::null(scalar.ty()));
    true
}

fn leaves_one(limit: Option<&Scalar>) -> bool {
    match limit {
        None => true,
        Some(Scalar::Literal(datum, _)) => datum.as_i64().is_some_and(|limit| limit > 0),
        Some(_) => false,
    }
}
