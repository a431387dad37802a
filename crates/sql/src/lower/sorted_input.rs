//! Aggregates that see the order of their input: `SELECT array_agg(x) FROM (SELECT … ORDER BY x)`.
//!
//! PostgreSQL feeds rows as they come, so people rely on it. DataFusion holds an order for wasted that
//! no operator asks for. So the order of the input becomes the ORDER BY of such calls.

use pgtypes::PgType;

use super::Lowerer;
use crate::ir::{AggCall, ColId, Rel, RelColumn, Scalar, SortKey};

/// Ids of columns made here: above any that others give out.
const FIRST_OWN_COLUMN: u32 = 3 << 30;

fn sees_order(agg: &AggCall) -> bool {
    let names =
        ["array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg"];
    names.contains(&agg.func.name) && agg.order_by.is_empty() && !agg.distinct
}

impl Lowerer<'_> {
    /// The input with what it is sorted by among its columns, and the calls that ask for that order.
    /// None: nobody sees the order, or there is none.
    pub(super) fn with_input_order(
        &mut self,
        input: &Rel,
        aggs: &[AggCall],
    ) -> Option<(Rel, Vec<AggCall>)> {
        if !aggs.iter().any(sees_order) {
            return None;
        }
        let (input, keys) = self.sorted(input)?;
        let mut aggs = aggs.to_vec();
        for agg in aggs.iter_mut().filter(|agg| sees_order(agg)) {
            agg.order_by.clone_from(&keys);
        }
        Some((input, aggs))
    }

    fn sorted(&mut self, rel: &Rel) -> Option<(Rel, Vec<SortKey>)> {
        match rel {
            Rel::Sort { keys, .. } => Some((rel.clone(), keys.clone())),
            Rel::Limit { input, limit, offset } => {
                let (input, keys) = self.sorted(input)?;
                let (limit, offset) = (limit.clone(), offset.clone());
                Some((Rel::Limit { input: Box::new(input), limit, offset }, keys))
            }
            Rel::Filter { input, predicate } => {
                let (input, keys) = self.sorted(input)?;
                let predicate = predicate.clone();
                Some((Rel::Filter { input: Box::new(input), predicate }, keys))
            }
            Rel::Project { input, exprs } => {
                let (input, mut keys) = self.sorted(input)?;
                let mut exprs = exprs.clone();
                for key in &mut keys {
                    let column = self.own_column(key.expr.ty());
                    let (id, ty) = (column.id, column.ty);
                    let made_of = std::mem::replace(&mut key.expr, Scalar::Column(id, ty));
                    exprs.push((column, made_of));
                }
                Some((Rel::Project { input: Box::new(input), exprs }, keys))
            }
            _ => None,
        }
    }

    fn own_column(&mut self, ty: PgType) -> RelColumn {
        self.fresh += 1;
        let nth = u32::try_from(self.fresh).unwrap_or(0);
        RelColumn { id: ColId(FIRST_OWN_COLUMN + nth), name: "".into(), ty }
    }
}
