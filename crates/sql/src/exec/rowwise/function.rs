//! Set-returning functions, by themselves and joined laterally.

use pgtypes::{Datum, PgType};

use super::{PAIRS_MAX, ROWS_MAX, Run, Stop, Table};
use crate::ir::{ColId, FunctionScan, Join, JoinKind, Rel, Scalar, SetFunction};

/// The function below projections of its columns, which is all that a lateral join may have here.
pub(super) fn below(rel: &Rel) -> Option<&FunctionScan> {
    match rel {
        Rel::Function(call) => Some(call),
        Rel::Project { input, .. } => below(input),
        _ => None,
    }
}

fn columns_of(call: &FunctionScan) -> Vec<ColId> {
    call.columns.iter().chain(&call.ordinality).map(|column| column.id).collect()
}

impl Run<'_> {
    /// The rows of a function whose arguments are computed over `row`.
    pub(super) fn call(
        &self,
        call: &FunctionScan,
        layout: &[ColId],
        row: &[Datum],
    ) -> Result<Table, Stop> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(&arg.over(layout)?, row)?);
        }
        let mut rows: Vec<Vec<Datum>> = match call.function {
            SetFunction::Scalar => vec![args],
            SetFunction::Unnest => unnested(&args),
            SetFunction::GenerateSeries => {
                series(&args, call.columns[0].ty).ok_or(Stop::GivenUp)?
            }
        };
        if call.ordinality.is_some() {
            for (n, row) in (1i64..).zip(&mut rows) {
                row.push(Datum::Int8(n));
            }
        }
        Ok(Table { layout: columns_of(call), rows })
    }

    /// The rows of a relation that is a function, or projections of one, for a row of what it is joined to.
    fn beside(&self, rel: &Rel, layout: &[ColId], row: &[Datum]) -> Result<Table, Stop> {
        match rel {
            Rel::Function(call) => self.call(call, layout, row),
            Rel::Project { input, exprs } => {
                let input = self.beside(input, layout, row)?;
                let mut both = layout.to_vec();
                both.extend_from_slice(&input.layout);
                let over: Vec<Scalar> =
                    exprs.iter().map(|(_, s)| s.over(&both)).collect::<Result<_, _>>()?;
                let mut rows = Vec::with_capacity(input.rows.len());
                for made in input.rows {
                    let mut all = row.to_vec();
                    all.extend(made);
                    let values = over.iter().map(|s| self.eval(s, &all));
                    rows.push(values.collect::<Result<Vec<Datum>, _>>()?);
                }
                let layout = exprs.iter().map(|(column, _)| column.id).collect();
                Ok(Table { layout, rows })
            }
            _ => Err(Stop::GivenUp),
        }
    }

    /// A join whose right side is called for each row of the left.
    pub(super) async fn lateral(&self, join: &Join) -> Result<Table, Stop> {
        let left = self.evaluate(&join.left, None).await?;
        let right: Vec<ColId> = join.right.columns().iter().map(|column| column.id).collect();
        let mut layout = left.layout.clone();
        layout.extend_from_slice(&right);
        let on: Vec<Scalar> = join
            .on
            .iter()
            .flat_map(Scalar::conjuncts)
            .map(|s| s.over(&layout))
            .collect::<Result<_, _>>()?;
        let mut rows = Vec::new();
        for row in &left.rows {
            let before = rows.len();
            for made in self.beside(&join.right, &left.layout, row)?.rows {
                let mut pair = row.clone();
                pair.extend(made);
                if self.passes(&on, &pair)? {
                    rows.push(pair);
                }
            }
            if join.kind == JoinKind::Left && rows.len() == before {
                let mut lonely = row.clone();
                lonely.resize(layout.len(), Datum::Null);
                rows.push(lonely);
            }
            if rows.len() > PAIRS_MAX {
                return Err(Stop::GivenUp);
            }
        }
        Ok(Table { layout, rows })
    }
}

/// Elements side by side, the shorter arrays filled up with NULLs.
fn unnested(arrays: &[Datum]) -> Vec<Vec<Datum>> {
    let items = |datum: &Datum| match datum {
        Datum::Array(array) => array.items.clone(),
        _ => Vec::new(),
    };
    let mut columns: Vec<_> = arrays.iter().map(|datum| items(datum).into_iter()).collect();
    let longest = columns.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let row = |_| columns.iter_mut().map(|column| column.next().unwrap_or(Datum::Null)).collect();
    (0..longest).map(row).collect()
}

/// A short series of integers; none of any other.
fn series(args: &[Datum], ty: PgType) -> Option<Vec<Vec<Datum>>> {
    if args.iter().any(Datum::is_null) {
        return Some(Vec::new());
    }
    if !ty.same(PgType::INT4) && !ty.same(PgType::INT8) {
        return None;
    }
    let (start, stop) = (args.first()?.as_i64()?, args.get(1)?.as_i64()?);
    let step = args.get(2).map_or(Some(1), Datum::as_i64).filter(|step| *step != 0)?;
    let count = (i128::from(stop) - i128::from(start)) / i128::from(step);
    if count > ROWS_MAX as i128 {
        return None;
    }
    let mut rows = Vec::new();
    let mut at = start;
    while if step > 0 { at <= stop } else { at >= stop } {
        let value = if ty.same(PgType::INT8) {
            Datum::Int8(at)
        } else {
            Datum::Int4(i32::try_from(at).ok()?)
        };
        rows.push(vec![value]);
        at = at.checked_add(step)?;
    }
    Some(rows)
}
