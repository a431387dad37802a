//! Sequences: each as the table of one row that it can be read as, and all of them in pg_sequence,
//! pg_sequences and information_schema.sequences.

use std::sync::Arc;

use catalog::Sequence;
use futures::future::BoxFuture;
use pgtypes::{Datum, PgType};

use super::{Row, Source, SystemView, oid, text, view};
use crate::SqlError;
use crate::exec::ExecContext;
use crate::ir::{VirtualColumn, VirtualTable};
use crate::session::{ViewContext, sequence_state};

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "pg_catalog",
            "pg_sequence",
            "seqrelid:o seqtypid:o seqstart:8 seqincrement:8 seqmax:8 seqmin:8 seqcache:8 \
             seqcycle:b",
            Source::Catalog(pg_sequence),
        ),
        view(
            "pg_catalog",
            "pg_sequences",
            "schemaname:n sequencename:n sequenceowner:n data_type:regtype start_value:8 \
             min_value:8 max_value:8 increment_by:8 cycle:b cache_size:8 last_value:8",
            Source::Sequences,
        ),
        view(
            "information_schema",
            "sequences",
            "sequence_catalog sequence_schema sequence_name data_type numeric_precision:4 \
             numeric_precision_radix:4 numeric_scale:4 start_value minimum_value maximum_value \
             increment cycle_option",
            Source::Catalog(information),
        ),
    ]
}

/// Sequences of the current database, with the names of their schemas.
pub(super) fn sequences(cx: &ViewContext) -> impl Iterator<Item = (&str, &Arc<Sequence>)> {
    cx.catalog
        .schemas_of(cx.info.database)
        .flat_map(|s| cx.catalog.sequences_of(s.id).map(move |q| (s.name.as_str(), q)))
}

fn pg_sequence(cx: &ViewContext) -> Vec<Row> {
    sequences(cx)
        .map(|(_, s)| {
            vec![
                oid(s.id),
                oid(s.ty.oid()),
                Datum::Int8(s.start),
                Datum::Int8(s.increment),
                Datum::Int8(s.max),
                Datum::Int8(s.min),
                Datum::Int8(s.cache),
                Datum::Bool(s.cycle),
            ]
        })
        .collect()
}

/// The rows of pg_sequences: each sequence is asked where it is.
pub(super) async fn pg_sequences(cx: &ViewContext) -> Result<Vec<Row>, SqlError> {
    let mut rows = Vec::new();
    for (schema, s) in sequences(cx) {
        let state = sequence_state(cx.info.engine.db(), s).await?;
        rows.push(vec![
            text(schema),
            text(&s.name),
            text(cx.catalog.role_name(s.owner)),
            oid(s.ty.oid()),
            Datum::Int8(s.start),
            Datum::Int8(s.min),
            Datum::Int8(s.max),
            Datum::Int8(s.increment),
            Datum::Bool(s.cycle),
            Datum::Int8(s.cache),
            if state.called { Datum::Int8(state.last) } else { Datum::Null },
        ]);
    }
    Ok(rows)
}

fn information(cx: &ViewContext) -> Vec<Row> {
    // Those of identity columns are the column's business.
    let own = |s: &Sequence| crate::ddl::identity_of(&cx.catalog, s).is_none();
    sequences(cx)
        .filter(|(_, s)| own(s))
        .map(|(schema, s)| {
            let bits = match s.ty.id {
                pgtypes::TypeId::Int2 => 16,
                pgtypes::TypeId::Int4 => 32,
                _ => 64,
            };
            vec![
                text(&cx.info.database_name),
                text(schema),
                text(&s.name),
                text(s.ty.sql_name()),
                Datum::Int4(bits),
                Datum::Int4(2),
                Datum::Int4(0),
                text(s.start.to_string()),
                text(s.min.to_string()),
                text(s.max.to_string()),
                text(s.increment.to_string()),
                text(if s.cycle { "YES" } else { "NO" }),
            ]
        })
        .collect()
}

/// A sequence in FROM.
#[derive(Debug)]
pub(crate) struct SequenceTable {
    schema: String,
    sequence: Arc<Sequence>,
    columns: Vec<VirtualColumn>,
}

impl SequenceTable {
    pub(crate) fn new(schema: String, sequence: Arc<Sequence>) -> Self {
        let column = |name, ty| VirtualColumn { name, ty };
        let columns = vec![
            column("last_value", PgType::INT8),
            column("log_cnt", PgType::INT8),
            column("is_called", PgType::BOOL),
        ];
        SequenceTable { schema, sequence, columns }
    }
}

impl VirtualTable for SequenceTable {
    fn name(&self) -> &str {
        &self.sequence.name
    }

    fn schema(&self) -> &str {
        &self.schema
    }

    fn oid(&self) -> u32 {
        self.sequence.id
    }

    fn columns(&self) -> &[VirtualColumn] {
        &self.columns
    }

    fn rows<'a>(
        &'a self,
        ctx: &'a ExecContext,
    ) -> BoxFuture<'a, Result<Vec<Vec<Datum>>, SqlError>> {
        Box::pin(async move {
            let view = ctx
                .session
                .downcast_ref::<ViewContext>()
                .ok_or_else(|| SqlError::internal("a sequence without a session"))?;
            let state = sequence_state(view.info.engine.db(), &self.sequence).await?;
            Ok(vec![vec![Datum::Int8(state.last), Datum::Int8(0), Datum::Bool(state.called)]])
        })
    }
}
