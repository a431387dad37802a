//! Any aggregate over many groups at once, and over moving window frames.
//!
//! DataFusion can drive one accumulator per group through its own adapter, which gathers and
//! slices columns for every group of every batch. [`Groups`] hands each row to its group instead.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion_common::{Result as DfResult, ScalarValue};
use datafusion_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::{ColumnBuilder, ColumnReader, to_scalar};
use crate::aggregate::{Accumulate, ResolvedAggregate};
use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::ty::PgType;
use std::sync::Arc;

/// One accumulator for each group.
pub(super) struct Groups {
    pub(super) aggregate: ResolvedAggregate,
    pub(super) env: Arc<EvalEnv>,
    groups: Vec<Box<dyn Accumulate>>,
    bytes: usize,
}

impl Groups {
    pub(super) fn new(aggregate: ResolvedAggregate, env: Arc<EvalEnv>) -> Self {
        Self { aggregate, env, groups: Vec::new(), bytes: 0 }
    }

    fn grow(&mut self, total: usize) {
        while self.groups.len() < total {
            let group = self.aggregate.accumulator(&self.env);
            self.bytes += group.size() + size_of::<Box<dyn Accumulate>>();
            self.groups.push(group);
        }
    }

    /// Does something to a group and keeps the count of bytes.
    fn with_group(
        &mut self,
        group: usize,
        f: impl FnOnce(&mut dyn Accumulate) -> crate::Result<()>,
    ) -> crate::Result<()> {
        let group = &mut self.groups[group];
        let before = group.size();
        let done = f(group.as_mut());
        self.bytes = self.bytes + group.size() - before;
        done
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Box<dyn Accumulate>> {
        let taken = emit_to.take_needed(&mut self.groups);
        let gone: usize =
            taken.iter().map(|group| group.size() + size_of::<Box<dyn Accumulate>>()).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        taken
    }
}

fn readers<'a>(values: &'a [ArrayRef], types: &[PgType]) -> Vec<ColumnReader<'a>> {
    values.iter().zip(types).map(|(array, ty)| ColumnReader::new(array.as_ref(), *ty)).collect()
}

fn is_kept(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// The columns of states of these accumulators.
fn state_columns(aggregate: &ResolvedAggregate, groups: &[Box<dyn Accumulate>]) -> Vec<ArrayRef> {
    let types = aggregate.state_types();
    let mut builders: Vec<ColumnBuilder> =
        types.iter().map(|ty| ColumnBuilder::new(*ty, groups.len())).collect();
    for group in groups {
        for (builder, datum) in builders.iter_mut().zip(group.state()) {
            builder.push(&datum);
        }
    }
    builders.iter_mut().map(ColumnBuilder::finish).collect()
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.grow(total_num_groups);
        let types = self.aggregate.args.clone();
        let readers = readers(values, &types);
        // `count` looks at validity only; `count(*)` comes with a literal.
        let only_validity = self.aggregate.name == "count";
        let nulls = values.first().and_then(|array| array.logical_nulls());
        let strict = self.aggregate.strict;
        let mut args = vec![Datum::Null; readers.len()];
        for (row, &group) in group_indices.iter().enumerate() {
            if !is_kept(opt_filter, row) {
                continue;
            }
            if only_validity {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    self.groups[group].update(&[])?;
                }
                continue;
            }
            for (slot, reader) in args.iter_mut().zip(&readers) {
                *slot = reader.get(row);
            }
            if !(strict && args.iter().any(Datum::is_null)) {
                self.with_group(group, |state| state.update(&args))?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let groups = self.take(emit_to);
        let mut builder = ColumnBuilder::new(self.aggregate.result, groups.len());
        for group in &groups {
            builder.push(&group.finish()?);
        }
        Ok(builder.finish())
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let groups = self.take(emit_to);
        Ok(state_columns(&self.aggregate, &groups))
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.grow(total_num_groups);
        let types = self.aggregate.state_types();
        let readers = readers(values, &types);
        for (row, &group) in group_indices.iter().enumerate() {
            let state: Vec<Datum> = readers.iter().map(|reader| reader.get(row)).collect();
            self.with_group(group, |own| own.merge(&state))?;
        }
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |array| array.len());
        let mut single = Self::new(self.aggregate.clone(), Arc::clone(&self.env));
        let own_group: Vec<usize> = (0..rows).collect();
        single.update_batch(values, &own_group, opt_filter, rows)?;
        Ok(state_columns(&single.aggregate, &single.groups))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

/// An aggregate over a moving frame that cannot take rows back: it keeps the frame's rows and
/// starts again for each result.
pub(super) struct Frame {
    aggregate: ResolvedAggregate,
    env: Arc<EvalEnv>,
    rows: VecDeque<Vec<Datum>>,
}

impl Frame {
    pub(super) fn new(aggregate: ResolvedAggregate, env: Arc<EvalEnv>) -> Self {
        Self { aggregate, env, rows: VecDeque::new() }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} over {} rows", self.aggregate, self.rows.len())
    }
}

impl Accumulator for Frame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let readers = readers(values, &self.aggregate.args);
        for row in 0..values.first().map_or(0, |array| array.len()) {
            self.rows.push_back(readers.iter().map(|reader| reader.get(row)).collect());
        }
        Ok(())
    }

    /// Rows leave a frame in the order they came.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let count = values.first().map_or(0, |array| array.len()).min(self.rows.len());
        self.rows.drain(..count);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut state = self.aggregate.accumulator(&self.env);
        for row in &self.rows {
            self.aggregate.update(state.as_mut(), row)?;
        }
        Ok(to_scalar(&state.finish()?, self.aggregate.result))
    }

    fn size(&self) -> usize {
        let rows: usize = self.rows.iter().flatten().map(Datum::size).sum();
        size_of::<Self>() + rows
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let mut state = self.aggregate.accumulator(&self.env);
        for row in &self.rows {
            self.aggregate.update(state.as_mut(), row)?;
        }
        let types = self.aggregate.state_types();
        Ok(state.state().iter().zip(types).map(|(datum, ty)| to_scalar(datum, ty)).collect())
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> DfResult<()> {
        Err(datafusion_common::DataFusionError::Internal(
            "window frames are not merged from states".to_owned(),
        ))
    }
}
