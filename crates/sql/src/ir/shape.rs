//! What each kind of relation makes, and from what.

use super::rel::{Rel, RelColumn};

impl Rel {
    /// Columns of the result, in order.
    pub fn columns(&self) -> Vec<RelColumn> {
        match self {
            Rel::OneRow => Vec::new(),
            Rel::Scan(scan) => scan
                .columns
                .iter()
                .map(|(column, _)| column.clone())
                .chain(scan.row_key.clone())
                .collect(),
            Rel::Virtual(scan) => scan.columns.clone(),
            Rel::Work(scan) => scan.columns.clone(),
            Rel::Recursive(recursive) => recursive.columns.clone(),
            Rel::Empty { columns } | Rel::Values { columns, .. } | Rel::SetOp { columns, .. } => {
                columns.clone()
            }
            Rel::Function(call) => {
                call.columns.iter().chain(call.ordinality.iter()).cloned().collect()
            }
            Rel::Filter { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Lock { input, .. }
            | Rel::Distinct { input }
            | Rel::DistinctOn { input, .. } => input.columns(),
            Rel::Project { exprs, .. } => exprs.iter().map(|(column, _)| column.clone()).collect(),
            Rel::Join(join) => {
                let mut columns = join.left.columns();
                columns.extend(join.right.columns());
                columns
            }
            Rel::Aggregate { group, aggs, .. } => group
                .iter()
                .map(|(column, _)| column.clone())
                .chain(aggs.iter().map(|agg| agg.column.clone()))
                .collect(),
            Rel::Window { input, calls } => {
                let mut columns = input.columns();
                columns.extend(calls.iter().map(|call| call.column.clone()));
                columns
            }
            Rel::ApplyRows { input, rel, .. } => {
                let mut columns = input.columns();
                columns.extend(rel.columns());
                columns
            }
            Rel::Waiting { input, exprs, .. } => {
                let mut columns = input.columns();
                columns.extend(exprs.iter().map(|(column, _)| column.clone()));
                columns
            }
            Rel::Apply { input, calls } => {
                let mut columns = input.columns();
                columns.extend(calls.iter().map(|call| call.column.clone()));
                columns
            }
        }
    }

    /// Direct inputs. The terms of a recursive query are none: they run many times.
    pub fn inputs(&self) -> Vec<&Rel> {
        match self {
            Rel::OneRow
            | Rel::Empty { .. }
            | Rel::Scan(_)
            | Rel::Virtual(_)
            | Rel::Work(_)
            | Rel::Recursive(_)
            | Rel::Values { .. }
            | Rel::Function(_) => Vec::new(),
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Window { input, .. }
            | Rel::Apply { input, .. }
            | Rel::ApplyRows { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Lock { input, .. }
            | Rel::Waiting { input, .. }
            | Rel::Distinct { input }
            | Rel::DistinctOn { input, .. } => vec![input],
            Rel::Join(join) => vec![&join.left, &join.right],
            Rel::SetOp { left, right, .. } => vec![left, right],
        }
    }

    /// Direct inputs, to be replaced.
    pub fn inputs_mut(&mut self) -> Vec<&mut Rel> {
        match self {
            Rel::OneRow
            | Rel::Empty { .. }
            | Rel::Scan(_)
            | Rel::Virtual(_)
            | Rel::Work(_)
            | Rel::Recursive(_)
            | Rel::Values { .. }
            | Rel::Function(_) => Vec::new(),
            Rel::Filter { input, .. }
            | Rel::Project { input, .. }
            | Rel::Aggregate { input, .. }
            | Rel::Window { input, .. }
            | Rel::Apply { input, .. }
            | Rel::ApplyRows { input, .. }
            | Rel::Sort { input, .. }
            | Rel::Limit { input, .. }
            | Rel::Lock { input, .. }
            | Rel::Waiting { input, .. }
            | Rel::Distinct { input }
            | Rel::DistinctOn { input, .. } => vec![input],
            Rel::Join(join) => vec![&mut join.left, &mut join.right],
            Rel::SetOp { left, right, .. } => vec![left, right],
        }
    }
}
