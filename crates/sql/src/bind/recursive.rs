//! WITH RECURSIVE: which queries mention themselves, and how they may.
//!
//! # Rule
//!
//! A recursive query is `first-term UNION [ALL] recursive-term`. The recursive term mentions the query
//! once, in a FROM clause and not where rows without a partner are kept or taken away; the first term
//! does not. Column names and types are the first term's.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use pgtypes::PgType;
use sqlparser::ast::{
    self, JoinOperator, ObjectName, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor,
    TableWithJoins, Visit, Visitor,
};
use sqlparser::tokenizer::Span;

use super::query::{Around, output_of};
use super::scope::{Cte, Scope, WorkRows};
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{Query, Recursive, Rel, WorkId, WorkScan};

/// Where a query mentions itself, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Fine,
    OuterJoin,
    Intersect,
    Except,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Fine => "its place",
            Place::OuterJoin => "an outer join",
            Place::Intersect => "INTERSECT",
            Place::Except => "EXCEPT",
        }
    }
}

impl Binder<'_> {
    /// Puts the queries of a WITH RECURSIVE in an order in which each mentions only those in front, and
    /// marks those that mention themselves.
    pub(super) fn order_recursive(&self, scope: &mut Scope<'_>) -> Result<(), SqlError> {
        let mut left: Vec<Cte<'_>> = std::mem::take(&mut scope.ctes);
        let mentions = |cte: &Cte<'_>, name: &str| !mentions_of(cte.query, name).is_empty();
        while !left.is_empty() {
            let ready = (0..left.len()).find(|&at| {
                let others = left.iter().enumerate().filter(|(n, _)| *n != at);
                others.into_iter().all(|(_, other)| !mentions(&left[at], &other.name))
            });
            let Some(at) = ready else {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "mutual recursion between WITH items is not implemented",
                )
                .at(self.pos(left[0].span)));
            };
            let mut cte = left.remove(at);
            cte.recursive = mentions(&cte, &cte.name);
            cte.visible = scope.ctes.len();
            scope.ctes.push(cte);
        }
        Ok(())
    }

    /// Rows made elsewhere as a query.
    pub(crate) fn work_query(
        &mut self,
        id: WorkId,
        name: &str,
        columns: &[(Arc<str>, PgType)],
    ) -> Query {
        let columns: Vec<_> =
            columns.iter().map(|(name, ty)| self.fresh(Arc::clone(name), *ty)).collect();
        let output = columns.iter().map(output_of).collect();
        let rel = Rel::Work(WorkScan { id, alias: Arc::from(name), columns });
        Query { rel, columns: output, locks: Vec::new() }
    }

    /// A query that mentions itself. `scope` has what it may mention besides.
    pub(super) fn recursive<'q>(
        &mut self,
        cte: &Cte<'q>,
        mut scope: Scope<'q>,
    ) -> Result<Query, SqlError> {
        let name = &cte.name;
        let query: &'q ast::Query = cte.query;
        let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } =
            &*query.body
        else {
            return Err(self.ill_formed(
                cte.span,
                format!(
                    "recursive query \"{name}\" does not have the form non-recursive-term UNION \
                     [ALL] recursive-term"
                ),
            ));
        };
        let all = match set_quantifier {
            SetQuantifier::All => true,
            SetQuantifier::None | SetQuantifier::Distinct => false,
            other => return Err(SqlError::unsupported(format!("UNION {other}"))),
        };
        self.check_recursion(name, left, right)?;
        self.refuse_around_recursion(query)?;
        // Queries of a WITH inside may mention this one too, but what it makes is not known yet.
        let outside = scope.ctes.len();
        let mut inside = Scope::inside(None);
        if let Some(with) = &query.with {
            self.with(with, &mut inside, query, false)?;
        }
        scope.ctes.extend(inside.ctes.into_iter().map(|mut cte| {
            cte.visible += outside;
            cte
        }));
        let around = Around { settle: true, ..Around::inside_set_operation() };
        let base = self.body(left, &scope, &around)?;
        let id = self.fresh_work();
        let named = cte.columns.iter().map(|name| Arc::from(name.as_str())).map(Some);
        let columns: Vec<(Arc<str>, PgType)> = base
            .columns
            .iter()
            .zip(named.chain(std::iter::repeat(None)))
            .map(|(column, name)| (name.unwrap_or_else(|| column.name.clone()), column.ty))
            .collect();
        let rows = WorkRows { id, columns: Some(columns.clone()) };
        let own = Cte { work: Rc::new(OnceCell::from(rows)), ..cte.clone() };
        scope.ctes[outside..].iter_mut().for_each(|cte| cte.visible += 1);
        scope.ctes.insert(outside, own);
        let inside = Around::inside_set_operation();
        let mut step = self.body(right, &scope, &inside)?;
        refuse_aggregates(&step.rel, id)?;
        if step.columns.len() != base.columns.len() {
            return Err(SqlError::syntax("each UNION query must have the same number of columns")
                .at(self.pos(super::query::nth_item(right, 0))));
        }
        for (at, (column_name, ty)) in columns.iter().enumerate() {
            let types =
                [(*ty, Span::empty()), (step.columns[at].ty, super::query::nth_item(right, at))];
            let common = self.common_type(&types, "UNION")?;
            if !common.same(*ty) || common.typmod != ty.typmod {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "recursive query \"{name}\" column {} has type {} in non-recursive term but \
                         type {} overall",
                        at + 1,
                        ty.sql_name(),
                        common.sql_name()
                    ),
                )
                .hint("Cast the output of the non-recursive term to the correct type.")
                .at(self.pos(super::query::nth_item(left, at))));
            }
            self.retype_output(&mut step, at, *ty, column_name)?;
        }
        let made: Vec<_> =
            columns.iter().map(|(name, ty)| self.fresh(Arc::clone(name), *ty)).collect();
        let output = made.iter().map(output_of).collect();
        let recursive = Recursive { id, base: base.rel, step: step.rel, all, columns: made };
        let rel = Rel::Recursive(Box::new(recursive));
        Ok(Query { rel, columns: output, locks: Vec::new() })
    }

    fn ill_formed(&self, span: Span, message: String) -> SqlError {
        SqlError::new(SqlState::INVALID_RECURSION, message).at(self.pos(span))
    }

    /// Whether the terms mention the query where they may.
    fn check_recursion(
        &self,
        name: &str,
        first: &SetExpr,
        recursive: &SetExpr,
    ) -> Result<(), SqlError> {
        let wrong = |span: Span, place: &str| {
            let message =
                format!("recursive reference to query \"{name}\" must not appear {place}");
            self.ill_formed(span, message)
        };
        if let Some(span) = mentions_of(first, name).first() {
            return Err(wrong(*span, "within its non-recursive term"));
        }
        let mut known = Vec::new();
        in_body(recursive, name, Place::Fine, &mut known);
        if let Some((span, place)) = known.iter().find(|(_, place)| *place != Place::Fine) {
            return Err(wrong(*span, &format!("within {}", place.name())));
        }
        let all = mentions_of(recursive, name);
        if let Some(span) = all.iter().find(|span| !known.iter().any(|(at, _)| at == *span)) {
            return Err(wrong(*span, "within a subquery"));
        }
        match known.get(1) {
            Some((span, _)) => Err(wrong(*span, "more than once")),
            None => Ok(()),
        }
    }

    fn refuse_around_recursion(&self, query: &ast::Query) -> Result<(), SqlError> {
        let limited = |clause: &ast::LimitClause| match clause {
            ast::LimitClause::LimitOffset { limit, offset, limit_by: _ } => {
                (limit.is_some(), offset.is_some())
            }
            ast::LimitClause::OffsetCommaLimit { .. } => (true, true),
        };
        let (limit, offset) = query.limit_clause.as_ref().map_or((false, false), limited);
        let refused = [
            (query.order_by.is_some(), "ORDER BY"),
            (offset, "OFFSET"),
            (limit || query.fetch.is_some(), "LIMIT"),
            (!query.locks.is_empty(), "FOR UPDATE/SHARE"),
        ];
        match refused.iter().find(|(present, _)| *present) {
            Some((_, what)) => Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("{what} in a recursive query is not implemented"),
            )),
            None => Ok(()),
        }
    }
}

/// Aggregates over the rows made last would see a part of the result only.
fn refuse_aggregates(rel: &Rel, id: WorkId) -> Result<(), SqlError> {
    let mut wrong = false;
    rel.for_each_rel(&mut |node| {
        if let Rel::Aggregate { input, aggs, .. } = node
            && !aggs.is_empty()
        {
            input.for_each_rel(&mut |inner| {
                wrong |= matches!(inner, Rel::Work(scan) if scan.id == id);
            });
        }
    });
    if wrong {
        return Err(SqlError::new(
            SqlState::INVALID_RECURSION,
            "aggregate functions are not allowed in a recursive query's recursive term",
        ));
    }
    Ok(())
}

struct Mentions<'n> {
    name: &'n str,
    found: Vec<Span>,
}

impl Visitor for Mentions<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if is_named(relation, self.name) {
            self.found.push(relation.span());
        }
        ControlFlow::Continue(())
    }
}

fn is_named(relation: &ObjectName, name: &str) -> bool {
    match relation.0.as_slice() {
        [part] => part.as_ident().is_some_and(|ident| fold(ident) == name),
        _ => false,
    }
}

/// Where a relation of that name, without a schema, is mentioned.
pub(super) fn mentions_of(node: &impl Visit, name: &str) -> Vec<Span> {
    let mut mentions = Mentions { name, found: Vec::new() };
    let flow = node.visit(&mut mentions);
    debug_assert!(flow.is_continue(), "the visitor never breaks");
    mentions.found
}

/// Mentions in FROM clauses, each with what surrounds it; those inside of expressions are not found.
fn in_body(body: &SetExpr, name: &str, place: Place, found: &mut Vec<(Span, Place)>) {
    match body {
        SetExpr::Select(select) => {
            for table in &select.from {
                in_joins(table, name, place, found);
            }
        }
        SetExpr::Query(query) => in_query(query, name, place, found),
        SetExpr::SetOperation { left, op, set_quantifier, right } => {
            let all = *set_quantifier == SetQuantifier::All;
            let (l, r) = match op {
                SetOperator::Union => (place, place),
                SetOperator::Intersect if all => (Place::Intersect, Place::Intersect),
                SetOperator::Intersect => (place, place),
                SetOperator::Except | SetOperator::Minus if all => (Place::Except, Place::Except),
                SetOperator::Except | SetOperator::Minus => (place, Place::Except),
            };
            in_body(left, name, l, found);
            in_body(right, name, r, found);
        }
        _ => {}
    }
}

fn in_query(query: &ast::Query, name: &str, place: Place, found: &mut Vec<(Span, Place)>) {
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        in_query(&cte.query, name, place, found);
    }
    in_body(&query.body, name, place, found);
}

fn in_joins(table: &TableWithJoins, name: &str, place: Place, found: &mut Vec<(Span, Place)>) {
    let mut left = Vec::new();
    in_factor(&table.relation, name, place, &mut left);
    for join in &table.joins {
        let (l, r) = match &join.join_operator {
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
            JoinOperator::FullOuter(_) => (true, true),
            _ => (false, false),
        };
        if l {
            left.iter_mut().for_each(|(_, place)| *place = Place::OuterJoin);
        }
        in_factor(&join.relation, name, if r { Place::OuterJoin } else { place }, &mut left);
    }
    found.append(&mut left);
}

fn in_factor(factor: &TableFactor, name: &str, place: Place, found: &mut Vec<(Span, Place)>) {
    match factor {
        TableFactor::Table { name: relation, args: None, .. } if is_named(relation, name) => {
            found.push((relation.span(), place));
        }
        TableFactor::Derived { subquery, .. } => in_query(subquery, name, place, found),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            in_joins(table_with_joins, name, place, found);
        }
        _ => {}
    }
}
