//! Tables computed from the catalog and the cluster: pg_catalog, information_schema, conclave.
//!
//! A view is a list of columns and a function that computes all its rows from a [`ViewContext`].
//! Tables that PostgreSQL has and that hold nothing here (triggers, policies, …) are there and
//! empty, because clients join them; columns are those that clients have been seen to ask for, plus
//! what is cheap.

mod class;
mod cluster;
mod constraint;
mod contention;
mod cursors;
mod depend;
mod empty;
mod index;
mod information;
mod objects;
mod sequence;
mod types;

use std::fmt;
use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use pgtypes::{Datum, PgType, TypeId};

use crate::SqlError;
use crate::exec::ExecContext;
use crate::ir::{Relation, VirtualColumn, VirtualTable};
use crate::session::ViewContext;

/// A row.
type Row = Vec<Datum>;

/// How a view's rows are computed.
#[derive(Clone, Copy)]
enum Source {
    /// From the catalog and the session.
    Catalog(fn(&ViewContext) -> Vec<Row>),
    /// By asking the cluster.
    Cluster(cluster::Question),
    /// By asking each sequence.
    Sequences,
    /// By asking every node.
    Nodes(contention::Question),
    /// There are none.
    Empty,
}

/// One view.
struct SystemView {
    schema: &'static str,
    name: &'static str,
    columns: Vec<VirtualColumn>,
    source: Source,
}

impl fmt::Debug for SystemView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl VirtualTable for SystemView {
    fn name(&self) -> &str {
        self.name
    }

    fn schema(&self) -> &str {
        self.schema
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
                .ok_or_else(|| SqlError::internal("system view without a session"))?;
            let rows = match self.source {
                Source::Catalog(compute) => compute(view),
                Source::Cluster(question) => cluster::answer(question, view).await?,
                Source::Sequences => sequence::pg_sequences(view).await?,
                Source::Nodes(question) => contention::answer(question, view).await?,
                Source::Empty => Vec::new(),
            };
            debug_assert!(
                rows.iter().all(|r| r.len() == self.columns.len()),
                "{self:?}: as many values as columns"
            );
            Ok(rows)
        })
    }
}

/// A column by name and type letter: `o` oid, `n` name, `t` text, `b` bool, `2 4 8` integers,
/// `c` "char", `f` real, `O` oid[], `N` name[], `T` text[], `S` smallint[], `z` timestamptz.
fn columns(list: &'static str) -> Vec<VirtualColumn> {
    list.split_whitespace()
        .map(|entry| {
            let (name, letter) = entry.split_once(':').unwrap_or((entry, "t"));
            let ty = match letter {
                "o" => PgType::OID,
                "n" => PgType::NAME,
                "b" => PgType::BOOL,
                "2" => PgType::INT2,
                "4" => PgType::INT4,
                "8" => PgType::INT8,
                "f" => PgType::FLOAT4,
                "c" => PgType::new(TypeId::Char),
                "O" => PgType::array_of(TypeId::Oid),
                "N" => PgType::array_of(TypeId::Name),
                "T" => PgType::array_of(TypeId::Text),
                "S" => PgType::array_of(TypeId::Int2),
                "z" => PgType::TIMESTAMPTZ,
                "regtype" => PgType::new(TypeId::Regtype),
                "regproc" => PgType::new(TypeId::Regproc),
                _ => PgType::TEXT,
            };
            VirtualColumn { name, ty }
        })
        .collect()
}

fn view(
    schema: &'static str,
    name: &'static str,
    list: &'static str,
    source: Source,
) -> Arc<SystemView> {
    Arc::new(SystemView { schema, name, columns: columns(list), source })
}

static VIEWS: LazyLock<Vec<Arc<SystemView>>> = LazyLock::new(|| {
    let mut views = Vec::new();
    views.extend(class::views());
    views.extend(constraint::views());
    views.extend(depend::views());
    views.extend(objects::views());
    views.extend(types::views());
    views.extend(information::views());
    views.extend(sequence::views());
    views.extend(cluster::views());
    views.extend(contention::views());
    views.extend(cursors::views());
    views.extend(empty::views());
    views
});

/// The system view of that name.
pub(crate) fn find(schema: &str, name: &str) -> Option<Relation> {
    VIEWS
        .iter()
        .find(|v| v.schema == schema && v.name == name)
        .map(|v| Relation::Virtual(v.clone()))
}

pub(crate) use class::quote;
pub(crate) use constraint::{constraint_definition, other_definition};
pub(crate) use depend::view_definition;
pub(crate) use index::{index_column, index_definition, key_shown};
pub(crate) use sequence::SequenceTable;

/// Oid of the first system view; the others follow.
const FIRST_VIEW_OID: u32 = 12_000;

/// Schema and name of the system view with that oid.
pub(crate) fn system_relation(oid: u32) -> Option<(&'static str, &'static str)> {
    let n = usize::try_from(oid.checked_sub(FIRST_VIEW_OID)?).ok()?;
    VIEWS.get(n).map(|v| (v.schema, v.name))
}

/// Oid of the system view of that name.
pub(crate) fn oid_of(schema: &str, name: &str) -> Option<u32> {
    let n = VIEWS.iter().position(|v| v.schema == schema && v.name == name)?;
    u32::try_from(n).ok().map(|n| FIRST_VIEW_OID + n)
}

/// All of them, as (schema, name, number of columns).
fn all() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    VIEWS.iter().map(|v| (v.schema, v.name, v.columns.len()))
}

fn text(value: impl AsRef<str>) -> Datum {
    Datum::text(value.as_ref())
}

fn oid(value: u32) -> Datum {
    Datum::Oid(value)
}

fn int4(value: usize) -> Datum {
    Datum::Int4(i32::try_from(value).unwrap_or(i32::MAX))
}

/// The oid of the superuser, who owns everything.
const OWNER: u32 = catalog::BOOTSTRAP_ROLE_ID;
