//! Fragments of plans: what leaders of ranges do with rows, so that only results travel.
//!
//! ```text
//!   gateway                                                    leader's node
//!   place     a part of a physical plan ── content ──bytes──▶  content ──▶ run
//!   exec::reader   rows, or states       ◀────────────────────  rows left, or states
//! ```
//!
//! How a fragment travels, and what a range does when one comes, is `kv`'s ([`kv::Fragment`]): reading is the
//! same with and without. Here is what it says and what is made of it.
//!
//! Rows that a filter leaves travel as rows, cut down to the columns wanted ([`catalog::RowCut`]), which the
//! scan decodes and checks like any others; an aggregate's states travel as Arrow's IPC stream. At both ends
//! the same operators run over the same decoding (`exec::decode`).
//!
//! # Invariants
//!
//! - **G1** A leader leaves out a row only if the plan here would. Filters of rows that stay rows are checked
//!   again, so what can't be sent of a condition is merely not checked there.
//! - **G2** What is sent means the same on every node: no setting, clock, name or catalog goes into it
//!   (`expr`).
//! - **G3** An error at a leader is none: rows come, and fail here as they would have without it.
//! - **G4** No bytes make reading one panic (`tests`).

mod content;
mod expr;
mod place;
mod run;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::physical_expr::PhysicalExpr;
use kv::Fragment;

use crate::error::SqlError;

pub(crate) use place::at_leaders;
pub use run::Fragments;

/// What a scan sends to leaders.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) fragment: Fragment,
    /// Conditions besides the scan's own, for EXPLAIN.
    pub(crate) filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Only some of the table's columns come back.
    pub(crate) cuts_rows: bool,
    /// So many rows that pass all conditions are wanted, if that is known.
    pub(crate) enough: Option<usize>,
    /// Columns of the states that come back.
    states: Option<SchemaRef>,
}

impl Sent {
    /// Hands out what a leader has answered instead of rows.
    pub(crate) fn read_states(
        &self,
        bytes: &Bytes,
        out: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), SqlError> {
        let schema = self.states.as_ref();
        let schema = schema.ok_or_else(|| SqlError::internal("states for a scan of rows"))?;
        run::read_states(bytes, schema, out)
    }
}
