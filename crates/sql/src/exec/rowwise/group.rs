//! GROUP BY, and aggregates over everything.

use std::collections::{HashMap, HashSet};

use pgtypes::{Datum, aggregate::Accumulate};

use super::{Run, Stop, Table, identity};
use crate::ir::{AggCall, RelColumn, Scalar};

/// Whether rows can be fed as they come.
pub(super) fn is_simple(agg: &AggCall) -> bool {
    let careless = matches!(agg.func.name, "count" | "sum" | "avg" | "min" | "max");
    careless || (agg.order_by.is_empty() && !agg.distinct)
}

/// What a call needs of a row.
struct Call<'a> {
    agg: &'a AggCall,
    args: Vec<Scalar>,
    filter: Option<Scalar>,
}

/// The state of a call for one group.
struct State {
    accumulator: Box<dyn Accumulate>,
    /// Arguments met, for DISTINCT.
    seen: HashSet<Vec<u8>>,
}

struct Group {
    keys: Vec<Datum>,
    states: Vec<State>,
}

impl Run<'_> {
    pub(super) fn aggregate(
        &self,
        input: &Table,
        group: &[(RelColumn, Scalar)],
        aggs: &[AggCall],
    ) -> Result<Table, Stop> {
        let keys: Vec<Scalar> =
            group.iter().map(|(_, key)| key.over(&input.layout)).collect::<Result<_, _>>()?;
        let mut calls = Vec::with_capacity(aggs.len());
        for agg in aggs {
            let over = |scalar: &Scalar| scalar.over(&input.layout);
            let args = agg.args.iter().map(over).collect::<Result<_, _>>()?;
            calls.push(Call { agg, args, filter: agg.filter.as_ref().map(over).transpose()? });
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        if keys.is_empty() {
            groups.push(self.group(Vec::new(), &calls));
        }
        for row in &input.rows {
            let values: Vec<Datum> =
                keys.iter().map(|key| self.eval(key, row)).collect::<Result<_, _>>()?;
            let place = if keys.is_empty() {
                0
            } else {
                let typed = values.iter().zip(group.iter().map(|(column, _)| column.ty));
                *places.entry(identity(typed)).or_insert_with(|| {
                    groups.push(self.group(values, &calls));
                    groups.len() - 1
                })
            };
            for (call, state) in calls.iter().zip(&mut groups[place].states) {
                self.feed(call, state, row)?;
            }
        }
        let layout = group
            .iter()
            .map(|(column, _)| column.id)
            .chain(aggs.iter().map(|agg| agg.column.id))
            .collect();
        let mut rows = Vec::with_capacity(groups.len());
        for Group { keys: mut row, states } in groups {
            for state in states {
                row.push(state.accumulator.finish()?);
            }
            rows.push(row);
        }
        Ok(Table { layout, rows })
    }

    fn group(&self, keys: Vec<Datum>, calls: &[Call<'_>]) -> Group {
        let state = |call: &Call<'_>| State {
            accumulator: call.agg.func.accumulator(&self.ctx.env),
            seen: HashSet::new(),
        };
        Group { keys, states: calls.iter().map(state).collect() }
    }

    fn feed(&self, call: &Call<'_>, state: &mut State, row: &[Datum]) -> Result<(), Stop> {
        if let Some(filter) = &call.filter
            && self.eval(filter, row)? != Datum::Bool(true)
        {
            return Ok(());
        }
        if call.args.is_empty() {
            // `count(*)` counts a constant.
            state.accumulator.update(&[Datum::Int8(1)])?;
            return Ok(());
        }
        let args: Vec<Datum> =
            call.args.iter().map(|arg| self.eval(arg, row)).collect::<Result<_, _>>()?;
        if call.agg.distinct {
            let typed = args.iter().zip(call.args.iter().map(Scalar::ty));
            if !state.seen.insert(identity(typed)) {
                return Ok(());
            }
        }
        call.agg.func.update(state.accumulator.as_mut(), &args)?;
        Ok(())
    }
}
