//! Takes correlated subqueries out of expressions: each becomes a column of an
//! [`Rel::Apply`] below the expression.
//!
//! A query that is a whole condition of WHERE (`EXISTS`, `IN`, a scalar one inside it) stays at the first
//! attempt, if the optimizer may make a join of it (`joinable`); so does a scalar one anywhere. What it
//! cannot join is evaluated row by row, where the expression would: not for a branch of CASE that is not
//! taken. Of lateral joins what can be done after the join is taken out; the others go the same ways.

use std::sync::Arc;

use pgtypes::PgType;

use super::apply::outer_columns;
use super::joinable::{aggregates, computed_outside, decorrelates, joinable, strip};
use crate::ir::{
    ApplyCall, ColId, Join, JoinKind, Rel, RelColumn, Scalar, SetOp, Subquery, SubqueryKind,
};

/// Which subqueries to take out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that no rule makes a join of.
    Unjoinable,
    /// All.
    All,
}

/// Most conditions that a query waits for.
const CONDITIONS_MAX: usize = 32;

/// Ids of columns made here: counted down from below those of set operations.
struct Fresh(u32);

/// `rel` with its correlated subqueries taken out.
pub(super) fn hoisted(rel: &Rel, which: Which) -> Rel {
    let first = match which {
        Which::Unjoinable => u32::MAX - (1 << 20),
        Which::All => u32::MAX - (1 << 21),
    };
    let mut fresh = Fresh(first);
    node(rel, which, &mut fresh)
}

fn node(rel: &Rel, which: Which, fresh: &mut Fresh) -> Rel {
    match rel.clone() {
        Rel::Filter { input, mut predicate } => {
            let mut input = node(&input, which, fresh);
            let columns = input.columns();
            let mut taker = Taker::new(which, fresh);
            taker.take(&mut predicate, Some(&columns));
            let added = !taker.calls.is_empty();
            input = applied(input, taker.calls);
            let filter = Rel::Filter { input: Box::new(input), predicate };
            if added { narrowed(filter, &columns) } else { filter }
        }
        Rel::Project { input, mut exprs } => {
            let input = node(&input, which, fresh);
            let mut taker = Taker::new(which, fresh);
            for (_, scalar) in &mut exprs {
                taker.take(scalar, None);
            }
            Rel::Project { input: Box::new(applied(input, taker.calls)), exprs }
        }
        Rel::Aggregate { input, mut group, mut aggs } => {
            let input = node(&input, which, fresh);
            let mut taker = Taker::new(which, fresh);
            for (_, scalar) in &mut group {
                taker.take(scalar, None);
            }
            for agg in &mut aggs {
                let scalars = agg.args.iter_mut().chain(&mut agg.filter);
                scalars.for_each(|scalar| taker.take(scalar, None));
                for key in &mut agg.order_by {
                    taker.take(&mut key.expr, None);
                }
            }
            Rel::Aggregate { input: Box::new(applied(input, taker.calls)), group, aggs }
        }
        Rel::Window { input, mut calls } => {
            let input = node(&input, which, fresh);
            let mut taker = Taker::new(Which::All, fresh);
            for call in &mut calls {
                let keys = call.order_by.iter_mut().map(|key| &mut key.expr);
                let scalars = call.args.iter_mut().chain(&mut call.filter);
                for scalar in scalars.chain(&mut call.partition_by).chain(keys) {
                    taker.take(scalar, None);
                }
            }
            Rel::Window { input: Box::new(applied(input, taker.calls)), calls }
        }
        Rel::Join(join)
            if !join.lateral
                && join.on.as_ref().is_some_and(Scalar::has_subquery)
                && (join.kind != JoinKind::Full || repeats(&join)) =>
        {
            node(&by_condition(*join), which, fresh)
        }
        Rel::Join(join) if join.lateral && peels(&join) => node(&peeled(*join), which, fresh),
        Rel::Join(mut join) => {
            join.left = node(&join.left, which, fresh);
            if !join.lateral {
                join.right = node(&join.right, which, fresh);
                return Rel::Join(join);
            }
            let mut columns = join.left.columns();
            columns.extend(join.right.columns());
            if let Rel::Function(call) = &mut join.right {
                let mut taker = Taker::new(which, fresh);
                call.args.iter_mut().for_each(|arg| taker.take(arg, None));
                if taker.calls.is_empty() {
                    return Rel::Join(join);
                }
                join.left = applied(join.left, taker.calls);
                return narrowed(Rel::Join(join), &columns);
            }
            let joins = |rel: &Rel| decorrelates(rel) || aggregates(rel);
            if which == Which::Unjoinable && joins(&join.right) {
                join.right = node(&join.right, which, fresh);
                return Rel::Join(join);
            }
            let right = match join.on {
                None => join.right,
                Some(predicate) => Rel::Filter { input: Box::new(join.right), predicate },
            };
            let keep = join.kind == JoinKind::Left;
            Rel::ApplyRows { input: Box::new(join.left), rel: Box::new(right), keep }
        }
        mut other => {
            other.inputs_mut().into_iter().for_each(|input| *input = node(input, which, fresh));
            other
        }
    }
}

/// Queries over `input`, those that mention the value of another one above that one.
fn applied(mut input: Rel, calls: Vec<ApplyCall>) -> Rel {
    let mut layer: Vec<ApplyCall> = Vec::new();
    for call in calls {
        let outer = outer_columns(std::slice::from_ref(&call));
        if layer.iter().any(|made| outer.iter().any(|(id, _)| *id == made.column.id)) {
            input = Rel::Apply { input: Box::new(input), calls: std::mem::take(&mut layer) };
        }
        layer.push(call);
    }
    if layer.is_empty() { input } else { Rel::Apply { input: Box::new(input), calls: layer } }
}

/// Whether the outermost step of a lateral query can be taken after the join.
fn peels(join: &Join) -> bool {
    match join.kind {
        JoinKind::Inner => matches!(join.right, Rel::Project { .. } | Rel::Filter { .. }),
        JoinKind::Left => {
            join.on.as_ref().is_none_or(|on| *on == Scalar::bool(true)) && computes(&join.right)
        }
        JoinKind::Right | JoinKind::Full => false,
    }
}

/// Whether a query computes columns, of no table.
fn computes(rel: &Rel) -> bool {
    match rel {
        Rel::Project { input, .. } => matches!(**input, Rel::OneRow) || computes(input),
        _ => false,
    }
}

/// The lateral join with that step taken after it. What is left is often not lateral any more.
fn peeled(join: Join) -> Rel {
    let Join { kind, left, right, on, .. } = join;
    let columns = left.columns();
    let joined = |right: Box<Rel>| {
        if matches!(*right, Rel::OneRow) {
            return Box::new(left);
        }
        let lateral = matches!(*right, Rel::Function(_)) || right.mentions(&left);
        let join = Join { kind, left, right: *right, on: None, lateral };
        Box::new(Rel::Join(Box::new(join)))
    };
    let peeled = match right {
        Rel::Project { input, exprs } => {
            let exprs = columns.iter().map(kept).chain(exprs).collect();
            Rel::Project { input: joined(input), exprs }
        }
        Rel::Filter { input, predicate } => Rel::Filter { input: joined(input), predicate },
        _ => unreachable!("it has no step that peels"),
    };
    match on {
        None => peeled,
        Some(predicate) => Rel::Filter { input: Box::new(peeled), predicate },
    }
}

/// Whether both sides can be read twice.
fn repeats(join: &Join) -> bool {
    let once = |rel: &Rel| rel.is_volatile() || rel.has_locks();
    !once(&join.left) && !once(&join.right)
}

/// A join on a condition with a query in it, which no rule knows, as something that the rules know: a
/// filter, or the right side's rows for each row of the left one. A full join becomes a left one, and the
/// right side's rows that find no partner.
fn by_condition(join: Join) -> Rel {
    let Join { kind, left, right, on, lateral } = join;
    let predicate = on.expect("the condition has a query in it");
    match kind {
        JoinKind::Inner => {
            let join = Join { kind, left, right, on: None, lateral };
            Rel::Filter { input: Box::new(Rel::Join(Box::new(join))), predicate }
        }
        JoinKind::Left => {
            let rel = Box::new(Rel::Filter { input: Box::new(right), predicate });
            Rel::ApplyRows { input: Box::new(left), rel, keep: true }
        }
        JoinKind::Right => {
            let columns: Vec<RelColumn> =
                left.columns().into_iter().chain(right.columns()).collect();
            let rel = Box::new(Rel::Filter { input: Box::new(left), predicate });
            let swapped = Rel::ApplyRows { input: Box::new(right), rel, keep: true };
            narrowed(swapped, &columns)
        }
        JoinKind::Full => {
            let partners =
                Rel::Filter { input: Box::new(left.clone()), predicate: predicate.clone() };
            let partner = Subquery {
                kind: SubqueryKind::Exists,
                rel: partners,
                ty: PgType::BOOL,
                position: None,
            };
            let alone = Rel::Filter {
                input: Box::new(right.clone()),
                predicate: Scalar::Not(Box::new(Scalar::Subquery(Box::new(partner)))),
            };
            let missing = left.columns().into_iter().map(|c| (c.clone(), Scalar::null(c.ty)));
            let exprs: Vec<(RelColumn, Scalar)> =
                missing.chain(right.columns().iter().map(kept)).collect();
            let columns = exprs.iter().map(|(column, _)| column.clone()).collect();
            let alone = Rel::Project { input: Box::new(alone), exprs };
            let join = Join { kind: JoinKind::Left, left, right, on: Some(predicate), lateral };
            let (left, right) = (Box::new(by_condition(join)), Box::new(alone));
            Rel::SetOp { op: SetOp::Union, all: true, left, right, columns }
        }
    }
}

/// A column under its own id.
fn kept(column: &RelColumn) -> (RelColumn, Scalar) {
    (column.clone(), Scalar::Column(column.id, column.ty))
}

/// Only `columns`, in this order: what is above must not see the helpers.
fn narrowed(rel: Rel, columns: &[RelColumn]) -> Rel {
    Rel::Project { input: Box::new(rel), exprs: columns.iter().map(kept).collect() }
}

/// Takes correlated subqueries out of expressions.
struct Taker<'a> {
    which: Which,
    fresh: &'a mut Fresh,
    /// What was taken out.
    calls: Vec<ApplyCall>,
    /// Conditions without which the expression that is looked at is not evaluated.
    reached_if: Vec<Scalar>,
}

impl<'a> Taker<'a> {
    fn new(which: Which, fresh: &'a mut Fresh) -> Taker<'a> {
        Taker { which, fresh, calls: Vec::new(), reached_if: Vec::new() }
    }

    /// Out of one. `filtered`: it decides which rows of these columns stay.
    fn take(&mut self, scalar: &mut Scalar, filtered: Option<&[RelColumn]>) {
        match scalar {
            Scalar::And(args) if filtered.is_some() => {
                args.iter_mut().for_each(|arg| self.take(arg, filtered));
            }
            Scalar::Not(arg) if filtered.is_some() && matches!(**arg, Scalar::Subquery(_)) => {
                self.take_operand(arg, filtered, true);
            }
            Scalar::Subquery(subquery) => {
                if self.which == Which::Unjoinable && subquery.rel.is_correlated() {
                    computed_outside(scalar);
                }
                match scalar {
                    Scalar::Subquery(_) => self.take_operand(scalar, filtered, false),
                    computed => self.take_below(computed),
                }
            }
            other => self.take_below(other),
        }
    }

    /// Out of its operands.
    fn take_below(&mut self, scalar: &mut Scalar) {
        let known = self.reached_if.len();
        match scalar {
            Scalar::Case { whens, otherwise, .. } => {
                for (condition, result) in whens {
                    self.take(condition, None);
                    let before = self.reached_if.len();
                    self.only_if(|| condition.clone());
                    self.take(result, None);
                    self.reached_if.truncate(before);
                    self.only_if(|| is_not(condition, true));
                }
                self.take(otherwise, None);
            }
            Scalar::Coalesce(args, _) => {
                for arg in args {
                    self.take(arg, None);
                    self.only_if(|| Scalar::IsNull(Box::new(arg.clone())));
                }
            }
            Scalar::And(args) => self.take_until(args, false),
            Scalar::Or(args) => self.take_until(args, true),
            other => other.children_mut().into_iter().for_each(|child| self.take(child, None)),
        }
        self.reached_if.truncate(known);
    }

    /// Out of operands that are evaluated until one is so.
    fn take_until(&mut self, args: &mut [Scalar], decided: bool) {
        for arg in args {
            self.take(arg, None);
            self.only_if(|| is_not(arg, decided));
        }
    }

    /// What follows is evaluated only if this holds, as far as that can be told beforehand.
    fn only_if(&mut self, condition: impl FnOnce() -> Scalar) {
        if self.reached_if.len() < CONDITIONS_MAX {
            let condition = condition();
            if !condition.has_subquery() && !condition.is_volatile() {
                self.reached_if.push(condition);
            }
        }
    }

    /// Takes a subquery out: it decides which rows of these columns stay, and is negated.
    fn take_operand(&mut self, scalar: &mut Scalar, filtered: Option<&[RelColumn]>, negated: bool) {
        let Scalar::Subquery(subquery) = scalar else { return self.take(scalar, None) };
        strip(subquery);
        let stays = self.which == Which::Unjoinable && joinable(subquery, filtered, negated);
        if !stays
            && let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
                &mut subquery.kind
        {
            let which = std::mem::replace(&mut self.which, Which::All);
            self.take(needle, None);
            self.which = which;
        }
        if stays || (!subquery.rel.is_correlated() && filtered.is_some()) {
            // It becomes a part of the plan, with what is inside of it.
            subquery.rel = node(&subquery.rel, self.which, self.fresh);
        } else {
            self.fresh.0 -= 1;
            let id = ColId(self.fresh.0);
            let ty = subquery.ty;
            let column = RelColumn { id, name: Arc::from("subquery"), ty };
            let only_if = match &self.reached_if[..] {
                [] => None,
                [condition] => Some(condition.clone()),
                conditions => Some(Scalar::And(conditions.to_vec())),
            };
            self.calls.push(ApplyCall { column, subquery: (**subquery).clone(), only_if });
            *scalar = Scalar::Column(id, ty);
        }
    }
}

fn is_not(scalar: &Scalar, value: bool) -> Scalar {
    Scalar::Not(Box::new(Scalar::IsBool(Box::new(scalar.clone()), value)))
}
