//! GROUP BY: expressions over rows become expressions over groups.
//!
//! # Rule
//!
//! After grouping, an expression may mention group keys, aggregates, and columns of enclosing
//! queries. A column of FROM that is none of these is an error (42803), unless its table's whole
//! primary key is among the keys: then it is one more key, because it cannot differ in a group.

use sqlparser::ast::{Expr, GroupByExpr, Spanned};

use super::Binder;
use super::grouping::{self, Groups};
use super::rewrite_query::is_distinct_mark;
use super::scope::{Clause, Scope};
use super::select::Parts;
use super::select_list::Item;
use crate::error::{SqlError, SqlState};
use crate::ir::{ColId, Rel, RelColumn, Scalar};

impl Binder<'_> {
    /// Binds the keys of GROUP BY.
    pub(crate) fn group_by(
        &mut self,
        group_by: &GroupByExpr,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Groups, SqlError> {
        let mut groups = Groups::default();
        let GroupByExpr::Expressions(exprs, _) = group_by else { return Ok(groups) };
        let (distinct, exprs) = match exprs.split_first() {
            Some((first, rest)) if is_distinct_mark(first) => (true, rest),
            _ => (false, exprs.as_slice()),
        };
        let mut sets = vec![Vec::new()];
        for expr in exprs {
            let more = self.grouping_sets(expr, items, scope, &mut groups)?;
            sets = grouping::product(sets, &more)?;
        }
        if exprs.iter().any(grouping::is_sets) {
            if distinct {
                // Sets are the same whatever the order of their keys.
                let mut seen = Vec::new();
                sets.retain(|set| {
                    let mut keys = set.clone();
                    keys.sort_unstable();
                    keys.dedup();
                    let new = !seen.contains(&keys);
                    seen.push(keys);
                    new
                });
            }
            groups.sets = Some(sets);
        }
        Ok(groups)
    }

    pub(super) fn group_key(
        &mut self,
        expr: &Expr,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Scalar, SqlError> {
        let key = self.group_expr(expr, items, scope)?;
        let key = self.settle_unknown(key)?;
        let ty = key.ty();
        super::resolve::operator("=", &[ty, ty]).map_err(|_| {
            SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify an equality operator for type {}", ty.sql_name()),
            )
            .at(self.pos(expr.span()))
        })?;
        Ok(key)
    }

    /// A number is a position; a bare name is a column of FROM, or else an alias.
    fn group_expr(
        &mut self,
        expr: &Expr,
        items: &[Item],
        scope: &Scope<'_>,
    ) -> Result<Scalar, SqlError> {
        let position = self.ordinal(expr, items.len(), Clause::GroupBy)?;
        let found = match (position, expr) {
            (Some(index), _) => Some(items[index].scalar.clone()),
            (None, Expr::Identifier(ident)) => {
                let local = Scope { parent: None, ..scope.clone() };
                if self.find_column(ident, &local)?.is_some() {
                    None
                } else {
                    self.alias(ident, items, Clause::GroupBy)?
                }
            }
            _ => None,
        };
        let Some(scalar) = found else { return self.expr_in(expr, scope, Clause::GroupBy) };
        // What an alias or position stands for may hold what no key may hold.
        let mut foreign = false;
        scalar.any(&mut |node| {
            if let Scalar::Column(id, _) = node {
                foreign |= !self.is_visible(scope, *id);
            }
            false
        });
        if foreign {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                "aggregate functions are not allowed in GROUP BY",
            )
            .at(self.pos(expr.span())));
        }
        Ok(scalar)
    }

    fn is_visible(&self, scope: &Scope<'_>, id: ColId) -> bool {
        let mut level = Some(scope);
        while let Some(at) = level {
            if at.makes(id) {
                return true;
            }
            level = at.parent;
        }
        false
    }

    /// Builds the groups and rewrites everything above them.
    pub(crate) fn group(
        &mut self,
        input: Rel,
        groups: Groups,
        parts: &mut Parts,
        scope: &Scope<'_>,
    ) -> Result<Rel, SqlError> {
        let mut group: Vec<(RelColumn, Scalar)> = Vec::with_capacity(groups.keys.len());
        for key in groups.keys {
            let column = self.fresh("group key", key.ty());
            group.push((column, key));
        }
        let dependent = match &groups.sets {
            None => dependent_columns(&group, scope),
            Some(_) => Vec::new(),
        };
        let mut failure = None;
        for scalar in parts.scalars_mut() {
            let inner = Grouping { scope, dependent: &dependent };
            if let Err(error) = self.regroup(scalar, &mut group, &inner) {
                failure.get_or_insert(error);
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let aggs = std::mem::take(&mut parts.collected.aggs);
        let groupings = std::mem::take(&mut parts.collected.groupings);
        if let Some(sets) = &groups.sets {
            return self.group_by_sets(input, &group, sets, aggs, &groupings);
        }
        let known = group.clone();
        let rel = Rel::Aggregate { input: Box::new(input), group, aggs };
        self.grouping_of_one_set(rel, &known, &groupings)
    }

    fn regroup(
        &mut self,
        scalar: &mut Scalar,
        group: &mut Vec<(RelColumn, Scalar)>,
        grouping: &Grouping<'_, '_>,
    ) -> Result<(), SqlError> {
        if let Some((column, _)) = group.iter().find(|(_, key)| key == scalar) {
            *scalar = Scalar::Column(column.id, column.ty);
            return Ok(());
        }
        if let Scalar::Column(id, ty) = *scalar {
            if !grouping.scope.makes(id) {
                return Ok(());
            }
            if grouping.dependent.contains(&id) {
                let column = self.fresh("group key", ty);
                group.push((column.clone(), scalar.clone()));
                *scalar = Scalar::Column(column.id, ty);
                return Ok(());
            }
            return Err(self.ungrouped(id, grouping.scope));
        }
        for child in scalar.children_mut() {
            self.regroup(child, group, grouping)?;
        }
        if let Scalar::Subquery(subquery) = scalar {
            let mut failure = None;
            subquery.rel.for_each_scalar_mut(&mut |inner| {
                // Below, only references to our own columns concern us, and they are leaves.
                if let Scalar::Column(id, _) = inner
                    && grouping.scope.makes(*id)
                    && let Err(error) = self.regroup(inner, group, grouping)
                {
                    failure.get_or_insert(error);
                }
            });
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }

    fn ungrouped(&self, id: ColId, scope: &Scope<'_>) -> SqlError {
        let name = scope
            .tables
            .iter()
            .flat_map(|table| table.columns.iter().map(move |column| (table, column)))
            .find(|(_, column)| column.column.id == id)
            .map(|(table, column)| format!("{}.{}", table.alias, column.column.name));
        let name = name.unwrap_or_else(|| {
            let column = scope.columns.iter().find(|c| c.column.id == id);
            column.map_or_else(|| id.to_string(), |c| c.column.name.to_string())
        });
        let at = self.mentioned.get(&id).and_then(|span| self.pos(*span));
        SqlError::new(
            SqlState::GROUPING_ERROR,
            format!(
                "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate \
                 function"
            ),
        )
        .at(at)
    }
}

struct Grouping<'g, 's> {
    scope: &'g Scope<'s>,
    dependent: &'g [ColId],
}

/// Columns of tables whose whole primary key is grouped by.
fn dependent_columns(group: &[(RelColumn, Scalar)], scope: &Scope<'_>) -> Vec<ColId> {
    let is_key = |id: &ColId| {
        group.iter().any(|(_, key)| matches!(key, Scalar::Column(column, _) if column == id))
    };
    scope
        .tables
        .iter()
        .filter(|table| !table.primary_key.is_empty() && table.primary_key.iter().all(is_key))
        .flat_map(|table| table.columns.iter().map(|column| column.column.id))
        .collect()
}
