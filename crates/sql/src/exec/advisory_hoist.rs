//! Takes the calls of functions that wait (advisory locks, sequences) out of expressions: see `advisory`.

use crate::error::SqlError;
use crate::ir::{AdvisoryCall, ColId, Rel, RelColumn, Scalar};
use crate::session::is_sequence_function;

/// Ids of columns made here: counted down from below those of `hoist`.
const FIRST_COLUMN: u32 = u32::MAX - (3 << 20);

/// `rel` with its advisory locks in nodes of their own; none if it has none.
pub(in crate::exec) fn hoisted(rel: &Rel) -> Result<Option<Rel>, SqlError> {
    let mut any = false;
    rel.for_each_rel(&mut |node| any |= node.scalars().into_iter().any(calls_one));
    if !any {
        return Ok(None);
    }
    let mut next = FIRST_COLUMN;
    hoist(rel, &mut next).map(Some)
}

/// Whether it is a call of a function that waits.
pub(crate) fn is_one(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Call { func, .. } if waits(&func.name))
}

fn waits(function: &str) -> bool {
    function.contains("_advisory_") || is_sequence_function(function)
}

fn calls_one(scalar: &Scalar) -> bool {
    scalar.any(&mut is_one)
}

fn hoist(rel: &Rel, next: &mut u32) -> Result<Rel, SqlError> {
    let mut rel = rel.clone();
    match &mut rel {
        Rel::Project { input, exprs } => {
            let mut below = hoist(input, next)?;
            for (_, scalar) in exprs {
                take(scalar, next, &mut below)?;
            }
            **input = below;
        }
        Rel::Filter { input, predicate } => {
            let mut below = hoist(input, next)?;
            let columns = below.columns();
            let (with, without): (Vec<Scalar>, Vec<Scalar>) =
                predicate.conjuncts().iter().cloned().partition(calls_one);
            if let Some(predicate) = all(without) {
                below = Rel::Filter { input: Box::new(below), predicate };
            }
            for mut condition in with {
                take(&mut condition, next, &mut below)?;
                keep_if(&mut below, condition)?;
            }
            let exprs = columns.into_iter().map(|c| {
                let (id, ty) = (c.id, c.ty);
                (c, Scalar::Column(id, ty))
            });
            return Ok(Rel::Project { input: Box::new(below), exprs: exprs.collect() });
        }
        Rel::Sort { input, .. }
        | Rel::Lock { input, .. }
        | Rel::Limit { input, .. }
        | Rel::Distinct { input }
        | Rel::DistinctOn { input, .. }
        | Rel::Aggregate { input, .. }
        | Rel::Window { input, .. } => **input = hoist(input, next)?,
        Rel::Join(join) => {
            join.left = hoist(&join.left, next)?;
            join.right = hoist(&join.right, next)?;
        }
        Rel::SetOp { left, right, .. } => {
            **left = hoist(left, next)?;
            **right = hoist(right, next)?;
        }
        Rel::OneRow
        | Rel::Empty { .. }
        | Rel::Scan(_)
        | Rel::Virtual(_)
        | Rel::Work(_)
        | Rel::Recursive(_)
        | Rel::Values { .. }
        | Rel::Function(_)
        | Rel::Apply { .. }
        | Rel::ApplyRows { .. }
        | Rel::Advisory { .. } => {}
    }
    if rel.scalars().into_iter().any(calls_one) {
        return Err(SqlError::unsupported(
            "an advisory lock function, nextval or setval in this clause",
        ));
    }
    Ok(rel)
}

fn all(mut conditions: Vec<Scalar>) -> Option<Scalar> {
    match conditions.len() {
        0 => None,
        1 => conditions.pop(),
        _ => Some(Scalar::And(conditions)),
    }
}

/// Puts the calls in an expression below it, innermost first.
fn take(scalar: &mut Scalar, next: &mut u32, below: &mut Rel) -> Result<(), SqlError> {
    if !calls_one(scalar) {
        return Ok(());
    }
    let always = matches!(
        scalar,
        Scalar::Call { .. }
            | Scalar::Cast { .. }
            | Scalar::Relabel(..)
            | Scalar::Not(_)
            | Scalar::IsNull(_)
            | Scalar::IsBool(..)
            | Scalar::Row(_)
            | Scalar::Array(..)
    );
    if !always {
        return Err(SqlError::unsupported(
            "an advisory lock function, nextval or setval where it might not be reached, or in a \
             subquery's operand,",
        ));
    }
    for child in scalar.children_mut() {
        take(child, next, below)?;
    }
    if let Scalar::Call { func, args, ty } = &*scalar
        && waits(&func.name)
    {
        *next -= 1;
        let column = RelColumn { id: ColId(*next), name: "advisory".into(), ty: *ty };
        let call = AdvisoryCall { column, function: func.name.to_string(), args: args.clone() };
        let (id, ty) = (call.column.id, *ty);
        let input = Box::new(std::mem::replace(below, Rel::OneRow));
        *below = Rel::Advisory { input, call, keep_if: None };
        *scalar = Scalar::Column(id, ty);
    }
    Ok(())
}

/// Lets the node on top drop the rows for which a condition is not true.
fn keep_if(below: &mut Rel, condition: Scalar) -> Result<(), SqlError> {
    match below {
        Rel::Advisory { keep_if, .. } => {
            *keep_if = Some(condition);
            Ok(())
        }
        _ => Err(SqlError::internal("a condition without its advisory lock")),
    }
}
