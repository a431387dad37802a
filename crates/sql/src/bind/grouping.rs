//! GROUPING SETS, ROLLUP, CUBE, and GROUPING().
//!
//! Several sets of keys group the same rows several times. Here every row is repeated once per set, with
//! the number of the set beside it, and the keys that a set lacks are NULL in its rows:
//!
//! ```text
//!   sets 0: (a, b)  1: (a)  2: ()        row (x, y) ──▶ (0, x, y) (1, x, NULL) (2, NULL, NULL)
//!   GROUP BY set, CASE WHEN set IN (0, 1) THEN a END, CASE WHEN set IN (0) THEN b END
//! ```
//!
//! The empty set has a group even where there is no row: then the sets are joined to the rows from the
//! left, and what that adds counts in no aggregate.

use pgtypes::{Datum, PgType};
use sqlparser::ast::{self, Expr, FunctionArguments};
use sqlparser::tokenizer::Span;

use super::COLUMNS_MAX;
use super::expr::Cx;
use super::scope::Scope;
use super::select_list::{Item, too_many_targets};
use super::{Binder, resolve};
use crate::error::{SqlError, SqlState};
use crate::ir::{AggCall, FuncRef, Join, JoinKind, Rel, RelColumn, Scalar};

/// Most sets, as in PostgreSQL.
const SETS_MAX: usize = 4_096;

/// What rows are grouped by.
#[derive(Default)]
pub(crate) struct Groups {
    /// Keys, each once.
    pub(crate) keys: Vec<Scalar>,
    /// Which of them each set has; none: all of them, in one set.
    pub(crate) sets: Option<Vec<Vec<usize>>>,
}

/// A call of GROUPING().
#[derive(Debug)]
pub(crate) struct GroupingCall {
    /// Column made.
    pub(crate) column: RelColumn,
    /// Keys, as the user wrote them.
    pub(crate) args: Vec<Scalar>,
    span: Span,
}

impl Groups {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.sets.is_none()
    }

    /// Index of a key, new or known.
    pub(super) fn key(&mut self, key: Scalar) -> Result<usize, SqlError> {
        if let Some(at) = self.keys.iter().position(|known| *known == key) {
            return Ok(at);
        }
        if self.keys.len() >= COLUMNS_MAX {
            return Err(too_many_targets());
        }
        self.keys.push(key);
        Ok(self.keys.len() - 1)
    }
}

/// Sets of keys, by index.
type Sets = Vec<Vec<usize>>;

impl Binder<'_> {
    /// Sets of one item of GROUP BY.
    pub(super) fn grouping_sets(
        &mut self,
        expr: &Expr,
        items: &[Item],
        scope: &Scope<'_>,
        groups: &mut Groups,
    ) -> Result<Sets, SqlError> {
        match expr {
            Expr::Rollup(parts) => {
                let parts = self.grouping_parts(parts, items, scope, groups)?;
                Ok((0..=parts.len()).rev().map(|n| parts[..n].concat()).collect())
            }
            Expr::Cube(parts) => {
                let parts = self.grouping_parts(parts, items, scope, groups)?;
                if parts.len() > 12 {
                    return Err(too_many());
                }
                let chosen = |set: usize| {
                    let with = |&n: &usize| set & (1 << (parts.len() - 1 - n)) != 0;
                    (0..parts.len()).filter(with).flat_map(|n| parts[n].clone()).collect()
                };
                Ok((0..1 << parts.len()).rev().map(chosen).collect())
            }
            Expr::GroupingSets(sets) => {
                let mut all = Vec::new();
                for set in sets {
                    match set.as_slice() {
                        [inner] => all.extend(self.grouping_sets(inner, items, scope, groups)?),
                        keys => all.push(self.grouping_keys(keys, items, scope, groups)?),
                    }
                }
                Ok(all)
            }
            Expr::Tuple(keys) => Ok(vec![self.grouping_keys(keys, items, scope, groups)?]),
            other => match nested(other) {
                Some(inner) => self.grouping_sets(&inner, items, scope, groups),
                None => {
                    let key = self.group_key(other, items, scope)?;
                    Ok(vec![vec![groups.key(key)?]])
                }
            },
        }
    }

    fn grouping_parts(
        &mut self,
        parts: &[Vec<Expr>],
        items: &[Item],
        scope: &Scope<'_>,
        groups: &mut Groups,
    ) -> Result<Sets, SqlError> {
        parts.iter().map(|part| self.grouping_keys(part, items, scope, groups)).collect()
    }

    fn grouping_keys(
        &mut self,
        exprs: &[Expr],
        items: &[Item],
        scope: &Scope<'_>,
        groups: &mut Groups,
    ) -> Result<Vec<usize>, SqlError> {
        let mut keys = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let key = self.group_key(expr, items, scope)?;
            keys.push(groups.key(key)?);
        }
        Ok(keys)
    }

    /// `GROUPING(a, b)`: a bit for each argument, set where the group's set of keys lacks it.
    pub(crate) fn grouping_call(
        &mut self,
        args: &[&Expr],
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if !cx.clause.aggregates() || cx.collected.is_none() {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("grouping operations are not allowed in {}", cx.clause.name()),
            )
            .at(self.pos(span)));
        }
        if args.len() > 31 {
            return Err(SqlError::new(
                SqlState::TOO_MANY_ARGUMENTS,
                "GROUPING must have fewer than 32 arguments",
            )
            .at(self.pos(span)));
        }
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            let scalar = self.expr(arg, &mut Cx::plain(cx.scope, cx.clause))?;
            bound.push(self.settle_unknown(scalar)?);
        }
        let column = self.fresh("grouping", PgType::INT4);
        let scalar = Scalar::Column(column.id, column.ty);
        let collected = cx.collected.as_mut().expect("checked above");
        collected.groupings.push(GroupingCall { column, args: bound, span });
        Ok(scalar)
    }

    /// The rows of `input`, once per set, and the column that tells the set. `present`, where the empty
    /// set makes it necessary, is true in rows of `input`.
    fn repeated(&mut self, input: Rel, sets: &Sets) -> (Rel, Scalar, Option<Scalar>) {
        let set = self.fresh("grouping set", PgType::INT4);
        let number = |at: usize| vec![int4(at)];
        let numbers =
            Rel::Values { rows: (0..sets.len()).map(number).collect(), columns: vec![set.clone()] };
        let set = Scalar::Column(set.id, set.ty);
        let join = |kind, right, on| {
            Rel::Join(Box::new(Join { kind, left: numbers, right, on, lateral: false }))
        };
        if sets.iter().all(|set| !set.is_empty()) {
            return (join(JoinKind::Inner, input, None), set, None);
        }
        let present = self.fresh("present", PgType::BOOL);
        let mut exprs: Vec<(RelColumn, Scalar)> = input
            .columns()
            .into_iter()
            .map(|column| {
                let scalar = Scalar::Column(column.id, column.ty);
                (column, scalar)
            })
            .collect();
        exprs.push((present.clone(), Scalar::bool(true)));
        let right = Rel::Project { input: Box::new(input), exprs };
        let rel = join(JoinKind::Left, right, Some(Scalar::bool(true)));
        (rel, set, Some(Scalar::Column(present.id, present.ty)))
    }

    /// Groups by several sets. `group` has the keys as they are known above; the result has its columns.
    pub(super) fn group_by_sets(
        &mut self,
        input: Rel,
        group: &[(RelColumn, Scalar)],
        sets: &Sets,
        mut aggs: Vec<AggCall>,
        groupings: &[GroupingCall],
    ) -> Result<Rel, SqlError> {
        let equal = resolve::operator("=", &[PgType::INT4, PgType::INT4])?;
        let (rel, set, present) = self.repeated(input, sets);
        let made = self.fresh("grouping set", PgType::INT4);
        let made_set = Scalar::Column(made.id, made.ty);
        let mut keys = vec![(made, set.clone())];
        for (at, (column, key)) in group.iter().enumerate() {
            let having: Vec<usize> = (0..sets.len()).filter(|&n| sets[n].contains(&at)).collect();
            let masked = match having.len() == sets.len() {
                true => key.clone(),
                false => Scalar::Case {
                    whens: vec![(one_of(&equal, &set, &having), key.clone())],
                    otherwise: Box::new(Scalar::null(key.ty())),
                    ty: key.ty(),
                },
            };
            keys.push((column.clone(), masked));
        }
        let mut kept = None;
        if let Some(present) = &present {
            for agg in &mut aggs {
                agg.filter = Some(match agg.filter.take() {
                    None => present.clone(),
                    Some(filter) => Scalar::And(vec![present.clone(), filter]),
                });
            }
            let column = self.fresh("rows", PgType::INT8);
            let rows = Scalar::Column(column.id, column.ty);
            aggs.push(AggCall {
                column,
                func: resolve::aggregate("count", &[], true)?,
                args: Vec::new(),
                distinct: false,
                filter: Some(present.clone()),
                order_by: Vec::new(),
            });
            let more = resolve::operator(">", &[PgType::INT8, PgType::INT8])?;
            let some =
                Scalar::Call { func: more, args: vec![rows, Scalar::int8(0)], ty: PgType::BOOL };
            let empty: Vec<usize> = (0..sets.len()).filter(|&n| sets[n].is_empty()).collect();
            kept = Some(Scalar::Or(vec![some, one_of(&equal, &made_set, &empty)]));
        }
        let mut columns: Vec<RelColumn> = group.iter().map(|(column, _)| column.clone()).collect();
        columns.extend(aggs.iter().map(|agg| agg.column.clone()));
        let mut rel = Rel::Aggregate { input: Box::new(rel), group: keys, aggs };
        if let Some(predicate) = kept {
            rel = Rel::Filter { input: Box::new(rel), predicate };
        }
        let mut exprs: Vec<(RelColumn, Scalar)> = columns
            .into_iter()
            .map(|column| {
                let scalar = Scalar::Column(column.id, column.ty);
                (column, scalar)
            })
            .collect();
        for call in groupings {
            let at = self.grouping_args(call, group)?;
            let whens = sets
                .iter()
                .enumerate()
                .map(|(n, set)| (one_of(&equal, &made_set, &[n]), int4(lacking(&at, set))))
                .collect();
            let otherwise = Box::new(Scalar::null(PgType::INT4));
            exprs.push((call.column.clone(), Scalar::Case { whens, otherwise, ty: PgType::INT4 }));
        }
        Ok(Rel::Project { input: Box::new(rel), exprs })
    }

    /// GROUPING() over one set of keys lacks none.
    pub(super) fn grouping_of_one_set(
        &mut self,
        rel: Rel,
        group: &[(RelColumn, Scalar)],
        groupings: &[GroupingCall],
    ) -> Result<Rel, SqlError> {
        if groupings.is_empty() {
            return Ok(rel);
        }
        let mut exprs: Vec<(RelColumn, Scalar)> = rel
            .columns()
            .into_iter()
            .map(|column| {
                let scalar = Scalar::Column(column.id, column.ty);
                (column, scalar)
            })
            .collect();
        for call in groupings {
            self.grouping_args(call, group)?;
            exprs.push((call.column.clone(), int4(0)));
        }
        Ok(Rel::Project { input: Box::new(rel), exprs })
    }

    fn grouping_args(
        &self,
        call: &GroupingCall,
        group: &[(RelColumn, Scalar)],
    ) -> Result<Vec<usize>, SqlError> {
        let place = |arg: &Scalar| group.iter().position(|(_, key)| key == arg);
        let at: Option<Vec<usize>> = call.args.iter().map(place).collect();
        at.ok_or_else(|| {
            SqlError::new(
                SqlState::GROUPING_ERROR,
                "arguments to GROUPING must be grouping expressions of the associated query level",
            )
            .at(self.pos(call.span))
        })
    }
}

/// Sets of all combinations of a set of each.
pub(super) fn product(mut left: Sets, right: &Sets) -> Result<Sets, SqlError> {
    if let [one] = right.as_slice() {
        left.iter_mut().for_each(|set| set.extend_from_slice(one));
        return Ok(left);
    }
    if left.len() * right.len() > SETS_MAX {
        return Err(too_many());
    }
    let both = |l: &Vec<usize>, r: &Vec<usize>| l.iter().chain(r).copied().collect();
    Ok(left.iter().flat_map(|l| right.iter().map(move |r| both(l, r))).collect())
}

fn too_many() -> SqlError {
    SqlError::new(
        SqlState::STATEMENT_TOO_COMPLEX,
        format!("too many grouping sets present (maximum {SETS_MAX})"),
    )
}

/// Bits of the arguments that a set lacks, the first argument's the most significant.
fn lacking(args: &[usize], set: &[usize]) -> usize {
    args.iter().fold(0, |bits, arg| bits << 1 | usize::from(!set.contains(arg)))
}

fn int4(value: usize) -> Scalar {
    let value = i32::try_from(value).unwrap_or(i32::MAX);
    Scalar::Literal(Datum::Int4(value), PgType::INT4)
}

fn one_of(equal: &FuncRef, set: &Scalar, numbers: &[usize]) -> Scalar {
    let list = numbers.iter().map(|&number| int4(number)).collect();
    Scalar::InList { eq: equal.clone(), needle: Box::new(set.clone()), list }
}

/// ROLLUP and CUBE inside of GROUPING SETS, which the parser takes for functions.
fn nested(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let [part] = function.name.0.as_slice() else { return None };
    let name = part.as_ident().filter(|ident| ident.quote_style.is_none())?;
    let FunctionArguments::List(list) = &function.args else { return None };
    let parts: Option<Vec<Vec<Expr>>> = list
        .args
        .iter()
        .map(|arg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Tuple(keys))) => {
                Some(keys.clone())
            }
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Nested(key))) => {
                Some(vec![(**key).clone()])
            }
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(key)) => Some(vec![key.clone()]),
            _ => None,
        })
        .collect();
    match name.value.to_ascii_lowercase().as_str() {
        "rollup" => parts.map(Expr::Rollup),
        "cube" => parts.map(Expr::Cube),
        _ => None,
    }
}

/// Whether an item of GROUP BY is more than a key.
pub(super) fn is_sets(expr: &Expr) -> bool {
    match expr {
        Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => true,
        Expr::Tuple(keys) => keys.is_empty(),
        other => nested(other).is_some(),
    }
}
