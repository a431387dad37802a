//! One SELECT, clause by clause.
//!
//! ```text
//!   FROM -> WHERE -> GROUP BY -> HAVING -> windows -> set-returning functions
//!        -> select list -> DISTINCT -> ORDER BY -> only what was asked for
//! ```
//!
//! All expressions are bound first, over the columns of FROM; when there is a GROUP BY or an
//! aggregate, they are then rewritten to the columns of the groups (`group`).

use sqlparser::ast::{self, Distinct, GroupByExpr};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::call::OWN_FROM;
use super::expr::Cx;
use super::query::Around;
use super::scope::{Clause, Collected, Scope};
use super::select_list::Item;
use crate::error::{SqlError, SqlState};
use crate::ir::{Join, JoinKind, OutputColumn, Query, Rel, Scalar, SortKey};

/// The bound expressions of a SELECT, on their way through grouping.
pub(crate) struct Parts {
    pub(crate) items: Vec<Item>,
    pub(crate) having: Option<Scalar>,
    pub(crate) order: Vec<SortKey>,
    /// Where each key of `order` stands.
    pub(crate) order_spans: Vec<Span>,
    pub(crate) distinct: Distinction,
    pub(crate) collected: Collected,
}

/// Which duplicates go.
pub(crate) enum Distinction {
    None,
    All,
    On(Vec<Scalar>),
}

impl Parts {
    /// Every expression that sees groups instead of rows, when there are groups.
    pub(crate) fn scalars_mut(&mut self) -> Vec<&mut Scalar> {
        let mut all: Vec<&mut Scalar> =
            self.items.iter_mut().map(|item| &mut item.scalar).collect();
        all.extend(self.having.iter_mut());
        all.extend(self.order.iter_mut().map(|key| &mut key.expr));
        if let Distinction::On(on) = &mut self.distinct {
            all.extend(on.iter_mut());
        }
        for call in &mut self.collected.windows {
            all.extend(call.args.iter_mut());
            all.extend(call.filter.iter_mut());
            all.extend(call.partition_by.iter_mut());
            all.extend(call.order_by.iter_mut().map(|key| &mut key.expr));
        }
        for call in &mut self.collected.functions {
            all.extend(call.args.iter_mut());
        }
        all
    }
}

impl Binder<'_> {
    pub(crate) fn select(
        &mut self,
        select: &ast::Select,
        parent: &Scope<'_>,
        around: &Around<'_>,
    ) -> Result<Query, SqlError> {
        self.one_more_relation()?;
        self.refuse_foreign_clauses(select)?;
        let mut scope = Scope::inside(Some(parent));
        let waiting = self.waiting_aggregates();
        let mut rel = self.tables_of_from(&select.from, &mut scope)?;
        self.refuse_aggregates_of(&scope, waiting, OWN_FROM)?;
        self.name_windows(select, &mut scope)?;
        if let Some(selection) = &select.selection {
            let predicate = self.condition_in(selection, &scope, Clause::Where, "WHERE")?;
            rel = Rel::Filter { input: Box::new(rel), predicate };
        }
        let mut parts = self.parts(select, &scope, around)?;
        let group = self.group_by(&select.group_by, &parts.items, &scope)?;
        let grouped = !group.is_empty()
            || !parts.collected.aggs.is_empty()
            || !parts.collected.groupings.is_empty()
            || parts.having.is_some();
        let locks = if around.locks.is_empty() {
            Vec::new()
        } else {
            let refused = [
                (!matches!(parts.distinct, Distinction::None), "DISTINCT clause"),
                (!group.is_empty(), "GROUP BY clause"),
                (parts.having.is_some(), "HAVING clause"),
                (!parts.collected.aggs.is_empty(), "aggregate functions"),
                (!parts.collected.windows.is_empty(), "window functions"),
                (
                    !parts.collected.functions.is_empty(),
                    "set-returning functions in the target list",
                ),
            ];
            if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("{} is not allowed with {what}", lock_name(around.locks)),
                ));
            }
            self.row_locks(around.locks, &mut rel, &scope)?
        };
        if grouped {
            rel = self.group(rel, group, &mut parts, &scope)?;
        }
        if let Some(predicate) = parts.having.take() {
            rel = Rel::Filter { input: Box::new(rel), predicate };
        }
        if !parts.collected.windows.is_empty() {
            let calls = std::mem::take(&mut parts.collected.windows);
            rel = Rel::Window { input: Box::new(rel), calls };
        }
        for call in std::mem::take(&mut parts.collected.functions) {
            rel = Rel::Join(Box::new(Join {
                kind: JoinKind::Inner,
                left: rel,
                right: Rel::Function(call),
                on: None,
                lateral: true,
            }));
        }
        let query = self.finish(rel, parts, locks)?;
        self.limited(query, around, &scope)
    }

    /// Binds select list, HAVING, ORDER BY and DISTINCT ON over the columns of FROM.
    fn parts(
        &mut self,
        select: &ast::Select,
        scope: &Scope<'_>,
        around: &Around<'_>,
    ) -> Result<Parts, SqlError> {
        let mut collected = Collected::default();
        let mut items =
            self.select_list(&select.projection, scope, Clause::Select, &mut collected)?;
        if around.settle {
            for item in &mut items {
                let scalar = std::mem::replace(&mut item.scalar, Scalar::bool(false));
                item.scalar = self.settle_unknown(scalar)?;
            }
        }
        let having = match &select.having {
            None => None,
            Some(expr) => {
                let mut cx = Cx::collecting(scope, Clause::Having, &mut collected);
                let scalar = self.expr(expr, &mut cx)?;
                Some(self.condition(scalar, "HAVING", super::expr::extent(expr))?)
            }
        };
        let (order, order_spans) =
            self.order_keys(around.order_by, &items, scope, &mut collected)?;
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => Distinction::None,
            Some(Distinct::Distinct) => Distinction::All,
            Some(Distinct::On(exprs)) => {
                let mut on = Vec::with_capacity(exprs.len());
                for expr in exprs {
                    let what = Clause::DistinctOn;
                    on.push(self.item_or_expr(expr, &items, scope, what, &mut collected)?);
                }
                Distinction::On(on)
            }
        };
        Ok(Parts { items, having, order, order_spans, distinct, collected })
    }

    /// Select list, DISTINCT, ORDER BY over the finished input.
    fn finish(
        &mut self,
        input: Rel,
        parts: Parts,
        locks: Vec<crate::ir::RowLock>,
    ) -> Result<Query, SqlError> {
        let Parts { items, having: _, mut order, order_spans, distinct, collected: _ } = parts;
        let mut key_spans = order_spans.into_iter();
        let mut exprs = Vec::with_capacity(items.len());
        let mut columns = Vec::with_capacity(items.len());
        for item in items {
            let column = self.fresh(item.name, item.scalar.ty());
            columns.push(OutputColumn {
                id: column.id,
                name: column.name.clone(),
                ty: column.ty,
                origin: item.origin,
            });
            exprs.push((column, item.scalar));
        }
        let visible = exprs.len();
        for lock in &locks {
            let ty = pgtypes::PgType::new(pgtypes::TypeId::Bytea);
            let name: std::sync::Arc<str> = "row key".into();
            let column = crate::ir::RelColumn { id: lock.key, name, ty };
            exprs.push((column, Scalar::Column(lock.key, ty)));
        }
        let only_listed = matches!(distinct, Distinction::All);
        for key in &mut order {
            let at = key_spans.next().and_then(|span| self.pos(span));
            key.expr = self
                .listed(key.expr.clone(), &mut exprs, visible, only_listed)
                .map_err(|error| error.at(at))?;
        }
        let mut on = Vec::new();
        if let Distinction::On(wanted) = &distinct {
            for expr in wanted {
                on.push(self.listed(expr.clone(), &mut exprs, visible, false)?);
            }
        }
        let trim = exprs.len() > visible;
        let kept: Vec<_> = exprs[..visible].iter().map(|(column, _)| column.clone()).collect();
        let mut rel = Rel::Project { input: Box::new(input), exprs };
        match distinct {
            Distinction::None => rel = sorted(rel, order),
            Distinction::All => {
                rel = sorted(Rel::Distinct { input: Box::new(rel) }, order);
            }
            Distinction::On(_) => {
                let keys = distinct_on_order(&on, order)?;
                rel = Rel::DistinctOn { input: Box::new(rel), on, keys };
            }
        }
        if !locks.is_empty() {
            rel = Rel::Lock { input: Box::new(rel), locks: locks.clone() };
        }
        if trim {
            rel = self.trimmed(rel, &kept, &mut columns);
        }
        Ok(Query { rel, columns, locks })
    }

    /// Leaves only `kept`, under fresh ids (R1).
    fn trimmed(
        &mut self,
        rel: Rel,
        kept: &[crate::ir::RelColumn],
        columns: &mut [OutputColumn],
    ) -> Rel {
        let mut exprs = Vec::with_capacity(kept.len());
        for (i, column) in kept.iter().enumerate() {
            let scalar = Scalar::Column(column.id, column.ty);
            let mut made = column.clone();
            if let Some(visible) = columns.get_mut(i) {
                made = self.fresh(column.name.clone(), column.ty);
                visible.id = made.id;
            }
            exprs.push((made, scalar));
        }
        Rel::Project { input: Box::new(rel), exprs }
    }

    /// The column of the select list that computes `expr`, or a new hidden one behind it.
    fn listed(
        &mut self,
        expr: Scalar,
        exprs: &mut Vec<(crate::ir::RelColumn, Scalar)>,
        visible: usize,
        only_listed: bool,
    ) -> Result<Scalar, SqlError> {
        let range = if only_listed { visible } else { exprs.len() };
        // An item whose type is not known yet is one that is, as a key.
        let same = |scalar: &Scalar| match (scalar, &expr) {
            (Scalar::Literal(item, ty), Scalar::Literal(key, _)) if ty.is_unknown() => item == key,
            _ => *scalar == expr,
        };
        if let Some((column, _)) = exprs[..range].iter().find(|(_, scalar)| same(scalar)) {
            return Ok(Scalar::Column(column.id, column.ty));
        }
        if only_listed {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        let column = self.fresh("order key", expr.ty());
        let scalar = Scalar::Column(column.id, column.ty);
        exprs.push((column, expr));
        Ok(scalar)
    }

    /// Clauses of other dialects that the parser lets through.
    fn refuse_foreign_clauses(&self, select: &ast::Select) -> Result<(), SqlError> {
        let ast::Select {
            select_token: _,
            optimizer_hints: _,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from: _,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let refused = [
            (select_modifiers.is_some(), "a modifier of SELECT"),
            (top.is_some(), "TOP"),
            (exclude.is_some(), "EXCLUDE"),
            (into.is_some(), "SELECT INTO"),
            (!lateral_views.is_empty(), "LATERAL VIEW"),
            (prewhere.is_some(), "PREWHERE"),
            (!connect_by.is_empty(), "CONNECT BY"),
            (!cluster_by.is_empty(), "CLUSTER BY"),
            (!distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!sort_by.is_empty(), "SORT BY"),
            (qualify.is_some(), "QUALIFY"),
            (value_table_mode.is_some(), "SELECT AS"),
            (!matches!(flavor, ast::SelectFlavor::Standard), "FROM before SELECT"),
            (matches!(group_by, GroupByExpr::All(_)), "GROUP BY ALL"),
            (
                matches!(group_by, GroupByExpr::Expressions(_, modifiers) if !modifiers.is_empty()),
                "GROUP BY WITH",
            ),
        ];
        match refused.iter().find(|(present, _)| *present) {
            Some((_, what)) => Err(SqlError::unsupported(what)),
            None => Ok(()),
        }
    }
}

/// As errors call a locking clause.
pub(crate) fn lock_name(locks: &[ast::LockClause]) -> &'static str {
    locks.first().map_or("FOR UPDATE", |clause| super::from_lock::strength(clause).name())
}

pub(crate) fn sorted(rel: Rel, keys: Vec<SortKey>) -> Rel {
    if keys.is_empty() { rel } else { Rel::Sort { input: Box::new(rel), keys } }
}

/// DISTINCT ON wants its expressions first in the order, in any order among themselves.
fn distinct_on_order(on: &[Scalar], order: Vec<SortKey>) -> Result<Vec<SortKey>, SqlError> {
    let mut missing: Vec<Scalar> = on.to_vec();
    for key in &order {
        if missing.is_empty() {
            break;
        }
        if !on.contains(&key.expr) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
            ));
        }
        missing.retain(|expr| *expr != key.expr);
    }
    let mut keys = order;
    keys.extend(missing.into_iter().map(|expr| SortKey { expr, desc: false, nulls_first: false }));
    Ok(keys)
}
