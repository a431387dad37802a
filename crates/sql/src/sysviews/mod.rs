//! Tables computed from the catalog and the cluster: pg_catalog, information_schema, conclave.
//!
//! A view is a list of columns and a function that computes all its rows from a [`ViewContext`].
//! Tables that PostgreSQL has and that hold nothing here (triggers, policies, …) are there and
//! empty, because clients join them; columns are those that clients have been seen to ask for, plus
//! what is cheap.

mod class;
mod cluster;
mod compat;
mod constraint;
mod contention;
mod cursors;
mod depend;
mod empty;
mod index;
mod information;
mod objects;
mod programs;
mod roles;
mod sequence;
mod statements;
mod stats;
mod types;
mod zones;

use std::fmt;
use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use pgtypes::{Datum, PgType, TypeId};

use crate::SqlError;
use crate::exec::ExecContext;
use crate::ir::{Relation, Version, VirtualColumn, VirtualTable};
use crate::session::ViewContext;

/// A row.
type Row = Vec<Datum>;

/// How a view's rows are computed.
#[derive(Clone, Copy)]
enum Source {
    /// From the catalog, as the session's role and search path see it.
    Catalog(fn(&ViewContext) -> Vec<Row>),
    /// From the session.
    Session(fn(&ViewContext) -> Vec<Row>),
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
    oid: u32,
    columns: Vec<VirtualColumn>,
    source: Source,
}

impl SystemView {
    /// Is it a table to PostgreSQL?
    fn is_table(&self) -> bool {
        self.oid < FIRST_VIEW_OID
    }
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

    fn oid(&self) -> u32 {
        self.oid
    }

    fn columns(&self) -> &[VirtualColumn] {
        &self.columns
    }

    fn version(&self, ctx: &ExecContext) -> Option<Version> {
        let Source::Catalog(_) = self.source else { return None };
        let view = ctx.session.downcast_ref::<ViewContext>()?;
        // Names are printed as the search path asks for.
        let path = view.settings.iter().find(|(name, ..)| *name == "search_path");
        let path = path.map_or("", |(_, path, _)| path.as_str());
        let reader = format!("{}\0{path}\0{}", view.info.database, ctx.env.current_user);
        Some(Version { of: view.catalog.clone(), reader })
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
                Source::Catalog(compute) | Source::Session(compute) => compute(view),
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
/// `c` "char", `f` real, `d` double precision, `O` oid[], `N` name[], `T` text[], `S` smallint[], `F` real[],
/// `v` int2vector, `V` oidvector, `z` timestamptz, `i` interval, `x` xid, `y` bytea.
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
                "F" => PgType::array_of(TypeId::Float4),
                "d" => PgType::FLOAT8,
                "i" => PgType::new(TypeId::Interval),
                "v" => PgType::named(TypeId::Int2vector),
                "V" => PgType::named(TypeId::Oidvector),
                "x" => PgType::new(TypeId::Xid),
                "y" => PgType::new(TypeId::Bytea),
                "z" => PgType::TIMESTAMPTZ,
                "regtypes" => PgType::array_of(TypeId::Regtype),
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
    // Oids of those that are no tables are given when all are known.
    let known = SYSTEM_TABLES.iter().find(|(known, _)| schema == "pg_catalog" && *known == name);
    let oid = known.map_or(FIRST_VIEW_OID, |(_, oid)| *oid);
    Arc::new(SystemView { schema, name, oid, columns: columns(list), source })
}

static VIEWS: LazyLock<Vec<Arc<SystemView>>> = LazyLock::new(|| {
    let mut views = Vec::new();
    views.extend(class::views());
    views.extend(constraint::views());
    views.extend(depend::views());
    views.extend(objects::views());
    views.extend(roles::views());
    views.extend(types::views());
    views.extend(zones::views());
    views.extend(information::views());
    views.extend(sequence::views());
    views.extend(cluster::views());
    views.extend(compat::views());
    views.extend(contention::views());
    views.extend(cursors::views());
    views.extend(statements::views());
    views.extend(programs::views());
    views.extend(stats::views());
    views.extend(empty::views());
    for (n, view) in (FIRST_VIEW_OID..).zip(views.iter_mut().filter(|view| !view.is_table())) {
        Arc::get_mut(view).expect("nobody else has it yet").oid = n;
    }
    let mut names: Vec<_> = views.iter().map(|view| (view.schema, view.name)).collect();
    names.sort_unstable();
    debug_assert!(names.is_sorted_by(|a, b| a < b), "a view is there twice: {names:?}");
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

pub(crate) use programs::{function_name, function_oid, program};

/// Oid of the first system view that is no table to PostgreSQL; the others follow.
const FIRST_VIEW_OID: u32 = 12_000;

/// What are tables to PostgreSQL, with its oids, which some clients know by heart.
const SYSTEM_TABLES: &[(&str, u32)] = &[
    ("pg_aggregate", 2_600),
    ("pg_am", 2_601),
    ("pg_amop", 2_602),
    ("pg_amproc", 2_603),
    ("pg_attrdef", 2_604),
    ("pg_attribute", 1_249),
    ("pg_auth_members", 1_261),
    ("pg_authid", 1_260),
    ("pg_cast", 2_605),
    ("pg_class", 1_259),
    ("pg_collation", 3_456),
    ("pg_constraint", 2_606),
    ("pg_conversion", 2_607),
    ("pg_database", 1_262),
    ("pg_db_role_setting", 2_964),
    ("pg_default_acl", 826),
    ("pg_depend", 2_608),
    ("pg_description", 2_609),
    ("pg_enum", 3_501),
    ("pg_event_trigger", 3_466),
    ("pg_extension", 3_079),
    ("pg_foreign_data_wrapper", 2_328),
    ("pg_foreign_server", 1_417),
    ("pg_foreign_table", 3_118),
    ("pg_index", 2_610),
    ("pg_inherits", 2_611),
    ("pg_init_privs", 3_394),
    ("pg_language", 2_612),
    ("pg_largeobject", 2_613),
    ("pg_largeobject_metadata", 2_995),
    ("pg_namespace", 2_615),
    ("pg_opclass", 2_616),
    ("pg_operator", 2_617),
    ("pg_opfamily", 2_753),
    ("pg_parameter_acl", 6_243),
    ("pg_partitioned_table", 3_350),
    ("pg_policy", 3_256),
    ("pg_proc", 1_255),
    ("pg_publication", 6_104),
    ("pg_publication_namespace", 6_237),
    ("pg_publication_rel", 6_106),
    ("pg_range", 3_541),
    ("pg_replication_origin", 6_000),
    ("pg_rewrite", 2_618),
    ("pg_seclabel", 3_596),
    ("pg_sequence", 2_224),
    ("pg_shdepend", 1_214),
    ("pg_shdescription", 2_396),
    ("pg_shseclabel", 3_592),
    ("pg_statistic", 2_619),
    ("pg_statistic_ext", 3_381),
    ("pg_statistic_ext_data", 3_429),
    ("pg_subscription", 6_100),
    ("pg_subscription_rel", 6_102),
    ("pg_tablespace", 1_213),
    ("pg_transform", 3_576),
    ("pg_trigger", 2_620),
    ("pg_ts_config", 3_602),
    ("pg_ts_config_map", 3_603),
    ("pg_ts_dict", 3_600),
    ("pg_ts_parser", 3_601),
    ("pg_ts_template", 3_764),
    ("pg_type", 1_247),
    ("pg_user_mapping", 1_418),
];

/// Schema and name of the system view with that oid.
pub(crate) fn system_relation(oid: u32) -> Option<(&'static str, &'static str)> {
    VIEWS.iter().find(|v| v.oid == oid).map(|v| (v.schema, v.name))
}

/// Oid of the system view of that name.
pub(crate) fn oid_of(schema: &str, name: &str) -> Option<u32> {
    VIEWS.iter().find(|v| v.schema == schema && v.name == name).map(|v| v.oid)
}

/// Those of which something holds.
fn all_of(
    test: impl Fn(&SystemView) -> bool + 'static,
) -> impl Iterator<Item = &'static Arc<SystemView>> {
    VIEWS.iter().filter(move |view| test(view))
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

/// The oid of the superuser, who owns what the system brings along.
const OWNER: u32 = catalog::BOOTSTRAP_ROLE_ID;
