//! Functions, operators, casts, operator classes, languages: what is compiled in.
//!
//! Their oids are numbers in a sorted list, below those of users' objects: stable within a version. Only
//! functions that clients know by number have PostgreSQL's.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use pgtypes::registry::{FunctionInfo, Volatility};
use pgtypes::{Datum, PgType, TypeId, cast, registry, typmod};

use super::{OWNER, Row, Source, SystemView, oid, text, view};
use crate::session::ViewContext;

/// Oids of functions, and behind them of operators and casts.
const FIRST_FUNCTION_OID: u32 = 13_000;
const FIRST_OPERATOR_OID: u32 = 15_000;
const FIRST_CAST_OID: u32 = 16_000;

/// The functions that pg_type names: drivers tell arrays by them.
const TYPE_FUNCTIONS: &[(u32, &str)] =
    &[(750, "array_in"), (751, "array_out"), (2400, "array_recv"), (2401, "array_send")];

const INTERNAL: u32 = 12;
const BTREE: u32 = 403;

/// A function of pg_proc.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) oid: u32,
    kind: &'static str,
    info: FunctionInfo,
}

static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
    let aggregates = pgtypes::aggregate::aggregates_listed();
    let all = registry::functions().into_iter().map(|info| ("f", info));
    let all = all.chain(aggregates.into_iter().map(|info| ("a", info)));
    (FIRST_FUNCTION_OID..).zip(all).map(|(oid, (kind, info))| Program { oid, kind, info }).collect()
});

static BY_NAME: LazyLock<HashMap<&'static str, Vec<u32>>> = LazyLock::new(|| {
    let mut all: HashMap<&'static str, Vec<u32>> = HashMap::new();
    for program in PROGRAMS.iter() {
        all.entry(program.info.name).or_default().push(program.oid);
    }
    TYPE_FUNCTIONS.iter().for_each(|(oid, name)| all.entry(name).or_default().push(*oid));
    all
});

/// A function by its oid.
pub(crate) fn program(oid: u32) -> Option<&'static Program> {
    PROGRAMS.get(usize::try_from(oid.checked_sub(FIRST_FUNCTION_OID)?).ok()?)
}

/// Name of a function, as `regproc` prints it.
pub(crate) fn function_name(oid: u32) -> Option<&'static str> {
    let known = TYPE_FUNCTIONS.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    known.or_else(|| program(oid).map(|program| program.info.name))
}

/// The function of that name, if there is one only.
pub(crate) fn function_oid(name: &str) -> Option<u32> {
    match BY_NAME.get(name)?.as_slice() {
        [oid] => Some(*oid),
        _ => None,
    }
}

impl Program {
    /// `integer, text`
    pub(crate) fn arguments(&self) -> String {
        self.info.args.join(", ")
    }

    /// `SETOF integer`
    pub(crate) fn result(&self) -> String {
        let set = if self.info.is_set { "SETOF " } else { "" };
        format!("{set}{}", self.info.result)
    }

    /// `name(integer, text)`
    pub(crate) fn signature(&self) -> String {
        format!("{}({})", self.info.name, self.info.args.join(","))
    }
}

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "pg_catalog",
            "pg_proc",
            "oid:o proname:n pronamespace:o proowner:o prolang:o procost:f prorows:f provariadic:o \
             prosupport:regproc prokind:c prosecdef:b proleakproof:b proisstrict:b proretset:b \
             provolatile:c proparallel:c pronargs:2 pronargdefaults:2 prorettype:o proargtypes:V \
             proallargtypes:O proargmodes:T proargnames:T proargdefaults protrftypes:O prosrc \
             probin prosqlbody proconfig:T proacl:T",
            Source::Catalog(pg_proc),
        ),
        view(
            "pg_catalog",
            "pg_operator",
            "oid:o oprname:n oprnamespace:o oprowner:o oprkind:c oprcanmerge:b oprcanhash:b \
             oprleft:o oprright:o oprresult:o oprcom:o oprnegate:o oprcode:regproc oprrest:regproc \
             oprjoin:regproc",
            Source::Catalog(pg_operator),
        ),
        view(
            "pg_catalog",
            "pg_cast",
            "oid:o castsource:o casttarget:o castfunc:o castcontext:c castmethod:c",
            Source::Catalog(pg_cast),
        ),
        view(
            "pg_catalog",
            "pg_opclass",
            "oid:o opcmethod:o opcname:n opcnamespace:o opcowner:o opcfamily:o opcintype:o \
             opcdefault:b opckeytype:o",
            Source::Catalog(pg_opclass),
        ),
        view(
            "pg_catalog",
            "pg_language",
            "oid:o lanname:n lanowner:o lanispl:b lanpltrusted:b lanplcallfoid:o laninline:o \
             lanvalidator:o lanacl:T",
            Source::Catalog(pg_language),
        ),
    ]
}

/// The oid of a type as signatures spell it, pseudo-types included.
fn type_oid(name: &str) -> u32 {
    match name {
        "\"any\"" => 2276,
        "anyelement" => 2283,
        "anyarray" => 2277,
        "anynonarray" => 2776,
        "anycompatible" => 5077,
        "anycompatiblearray" => 5078,
        "record" => 2249,
        "void" => 2278,
        name => typmod::parse_type(name).map_or(0, PgType::oid),
    }
}

fn pg_proc(_: &ViewContext) -> Vec<Row> {
    let listed = PROGRAMS.iter().map(|program| {
        let info = &program.info;
        let args: Vec<u32> = info.args.iter().map(|arg| type_oid(arg)).collect();
        let volatility = match info.volatility {
            Volatility::Immutable => "i",
            Volatility::Stable => "s",
            Volatility::Volatile => "v",
        };
        proc_row(program, info.name, &args, type_oid(&info.result), volatility)
    });
    listed.collect()
}

fn proc_row(program: &Program, name: &str, args: &[u32], result: u32, volatility: &str) -> Row {
    let b = Datum::Bool;
    let (none, zero) = (Datum::Null, oid(0));
    let is_set = program.info.is_set;
    vec![
        oid(program.oid),
        text(name),
        oid(catalog::PG_CATALOG_ID),
        oid(OWNER),
        oid(INTERNAL),
        Datum::Float4(1.0),
        Datum::Float4(if is_set { 1_000.0 } else { 0.0 }),
        zero.clone(),
        zero,
        text(program.kind),
        b(false),
        b(false),
        b(program.info.strict),
        b(is_set),
        text(volatility),
        text("s"),
        Datum::Int2(i16::try_from(args.len()).unwrap_or(i16::MAX)),
        Datum::Int2(0),
        oid(result),
        Datum::vector(args.iter().map(|arg| oid(*arg)).collect()),
        none.clone(),
        none.clone(),
        none.clone(),
        none.clone(),
        none.clone(),
        text(name),
        none.clone(),
        none.clone(),
        none.clone(),
        none,
    ]
}

fn pg_operator(_: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    let row = |(id, info): (u32, FunctionInfo)| {
        let args: Vec<u32> = info.args.iter().map(|arg| type_oid(arg)).collect();
        let (left, right) = match args.as_slice() {
            [right] => (0, *right),
            [left, right, ..] => (*left, *right),
            [] => (0, 0),
        };
        vec![
            oid(id),
            text(info.name),
            oid(catalog::PG_CATALOG_ID),
            oid(OWNER),
            text(if left == 0 { "l" } else { "b" }),
            b(info.name == "="),
            b(info.name == "="),
            oid(left),
            oid(right),
            oid(type_oid(&info.result)),
            oid(0),
            oid(0),
            oid(0),
            oid(0),
            oid(0),
        ]
    };
    (FIRST_OPERATOR_OID..).zip(registry::operators()).map(row).collect()
}

fn pg_cast(_: &ViewContext) -> Vec<Row> {
    let row = |(id, (from, to, cast)): (u32, (TypeId, TypeId, cast::Cast))| {
        let context = match cast.context {
            cast::Context::Implicit => "i",
            cast::Context::Assignment => "a",
            cast::Context::Explicit => "e",
        };
        let method = match (cast.is_relabel(), cast.is_by_text()) {
            (true, _) => "b",
            (_, true) => "i",
            _ => "f",
        };
        vec![oid(id), oid(from.oid()), oid(to.oid()), oid(0), text(context), text(method)]
    };
    (FIRST_CAST_OID..).zip(cast::listed()).map(row).collect()
}

/// Operator classes of btree: oid, name, family, type, whether it is the type's default.
const CLASSES: &[(u32, &str, u32, TypeId, bool)] = &[
    (10_003, "bool_ops", 424, TypeId::Bool, true),
    (10_004, "bpchar_ops", 426, TypeId::Bpchar, true),
    (4_219, "bpchar_pattern_ops", 2_097, TypeId::Bpchar, false),
    (10_006, "bytea_ops", 428, TypeId::Bytea, true),
    (10_007, "char_ops", 429, TypeId::Char, true),
    (3_122, "date_ops", 434, TypeId::Date, true),
    (10_012, "float4_ops", 1_970, TypeId::Float4, true),
    (3_123, "float8_ops", 1_970, TypeId::Float8, true),
    (1_979, "int2_ops", 1_976, TypeId::Int2, true),
    (1_978, "int4_ops", 1_976, TypeId::Int4, true),
    (3_124, "int8_ops", 1_976, TypeId::Int8, true),
    (10_022, "interval_ops", 1_982, TypeId::Interval, true),
    (10_088, "jsonb_ops", 4_033, TypeId::Jsonb, true),
    (10_028, "name_ops", 1_994, TypeId::Name, true),
    (3_125, "numeric_ops", 1_988, TypeId::Numeric, true),
    (1_981, "oid_ops", 1_989, TypeId::Oid, true),
    (3_126, "text_ops", 1_994, TypeId::Text, true),
    (4_217, "text_pattern_ops", 2_095, TypeId::Text, false),
    (10_038, "time_ops", 1_996, TypeId::Time, true),
    (3_128, "timestamp_ops", 434, TypeId::Timestamp, true),
    (3_127, "timestamptz_ops", 434, TypeId::Timestamptz, true),
    (10_065, "uuid_ops", 2_968, TypeId::Uuid, true),
    (10_044, "varchar_ops", 1_994, TypeId::Text, false),
    (4_218, "varchar_pattern_ops", 2_095, TypeId::Text, false),
    (10_053, "xid8_ops", 5_067, TypeId::Xid8, true),
];

/// The operator class by which an index orders a column of a type.
pub(super) fn operator_class(ty: PgType) -> u32 {
    if ty.array {
        return 10_000;
    }
    let id = match ty.id {
        TypeId::Varchar => TypeId::Text,
        id if id.is_oid_like() => TypeId::Oid,
        id => id,
    };
    CLASSES.iter().find(|class| class.3 == id && class.4).map_or(0, |class| class.0)
}

fn pg_opclass(_: &ViewContext) -> Vec<Row> {
    let row = |id: u32, name: &str, family: u32, ty: u32, default: bool| {
        vec![
            oid(id),
            oid(BTREE),
            text(name),
            oid(catalog::PG_CATALOG_ID),
            oid(OWNER),
            oid(family),
            oid(ty),
            Datum::Bool(default),
            oid(0),
        ]
    };
    let mut rows = vec![row(10_000, "array_ops", 397, 2_277, true)];
    let of = |&(id, name, family, ty, default): &(u32, &str, u32, TypeId, bool)| {
        row(id, name, family, ty.oid(), default)
    };
    rows.extend(CLASSES.iter().map(of));
    rows
}

fn pg_language(_: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    let row = |(id, name, trusted): (u32, &str, bool)| {
        let zero = oid(0);
        vec![
            oid(id),
            text(name),
            oid(OWNER),
            b(false),
            b(trusted),
            zero.clone(),
            zero.clone(),
            zero,
            Datum::Null,
        ]
    };
    [(INTERNAL, "internal", false), (13, "c", false), (14, "sql", true)].map(row).to_vec()
}
