//! What a session knows about itself, and functions of types and object ids.
//!
//! Functions that need the catalog (`pg_get_indexdef`, `has_table_privilege`, …) are registered by
//! nobody here: the sql crate answers them.

use super::args::text;
use super::{Call, Registry};
use crate::datum::Datum;
use crate::env::{FOLLOWER_READ_LAG_MILLIS, UNIX_EPOCH_MICROS};
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};
use crate::typmod::format_type;
use crate::xid8;

fn current_setting(call: &Call<'_>, name: &str, missing_ok: bool) -> Result<Datum> {
    let known = match name.to_ascii_lowercase().as_str() {
        "timezone" => Some(call.env.time_zone.name().to_owned()),
        "server_version" => Some(call.env.server_version.clone()),
        name => match call.env.transaction.setting(name) {
            Some(value) => Some(value.to_owned()),
            None => call.env.settings.get(name).cloned(),
        },
    };
    match known {
        Some(value) => Ok(Datum::text(value)),
        None if missing_ok => Ok(Datum::Null),
        None => Err(TypeError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

fn schemas(call: &Call<'_>, implicit: bool) -> Datum {
    let own = call.env.schemas.iter().map(|name| Datum::text(name.as_str()));
    let listed = call.env.schemas.iter().any(|name| name == "pg_catalog");
    let catalog = (implicit && !listed).then(|| Datum::text("pg_catalog"));
    Datum::array(catalog.into_iter().chain(own).collect())
}

/// `1.5 MB` as bytes.
fn size_bytes(input: &str) -> Result<i64> {
    let invalid =
        || TypeError::new(sqlstate::INVALID_PARAMETER, format!("invalid size: \"{input}\""));
    let text = input.trim();
    let unit_at = text
        .char_indices()
        .find(|(at, c)| {
            let exponent = matches!(c, 'e' | 'E')
                && text[at + 1..]
                    .trim_start_matches(['+', '-'])
                    .starts_with(|d: char| d.is_ascii_digit());
            c.is_alphabetic() && !exponent
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, unit) = text.split_at(unit_at);
    let number = number.trim_end();
    let digits = number.trim_start_matches(['+', '-']);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(invalid());
    }
    let number = Numeric::parse(number).map_err(|_| invalid())?;
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "kb" => 1,
        "mb" => 2,
        "gb" => 3,
        "tb" => 4,
        "pb" => 5,
        _ => {
            return Err(invalid()
                .with_detail(format!("Invalid size unit: \"{unit}\"."))
                .with_hint(
                    "Valid units are \"bytes\", \"B\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\".",
                ));
        }
    };
    number.mul(&Numeric::from(1024i64.pow(power)))?.to_i64()
}

/// `1 kB`, `10 GB`: binary units, rounded half up, changed at ten times the next.
fn size_pretty(size: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let negative = size < 0;
    let mut value = size.unsigned_abs();
    let mut unit = 0;
    // The first step keeps one more bit, so that each later step rounds correctly.
    let limit = 10 * 1024;
    if value < limit {
        let sign = if negative { "-" } else { "" };
        return format!("{sign}{value} {}", UNITS[0]);
    }
    value >>= 9;
    unit += 1;
    while unit < 5 && value >= 2 * limit - 1 {
        value >>= 10;
        unit += 1;
    }
    let rounded = value.div_ceil(2);
    let sign = if negative { "-" } else { "" };
    format!("{sign}{rounded} {}", UNITS[unit])
}

/// Names and types only: they wait for others, so the sql crate takes the calls out of expressions.
const ADVISORY: &[&str] = &[
    "pg_advisory_lock(int8) void",
    "pg_advisory_lock_shared(int8) void",
    "pg_advisory_xact_lock(int8) void",
    "pg_advisory_xact_lock_shared(int8) void",
    "pg_try_advisory_lock(int8) bool",
    "pg_try_advisory_lock_shared(int8) bool",
    "pg_try_advisory_xact_lock(int8) bool",
    "pg_try_advisory_xact_lock_shared(int8) bool",
    "pg_advisory_unlock(int8) bool",
    "pg_advisory_unlock_shared(int8) bool",
    "pg_advisory_lock(int4,int4) void",
    "pg_advisory_lock_shared(int4,int4) void",
    "pg_advisory_xact_lock(int4,int4) void",
    "pg_advisory_xact_lock_shared(int4,int4) void",
    "pg_try_advisory_lock(int4,int4) bool",
    "pg_try_advisory_lock_shared(int4,int4) bool",
    "pg_try_advisory_xact_lock(int4,int4) bool",
    "pg_try_advisory_xact_lock_shared(int4,int4) bool",
    "pg_advisory_unlock(int4,int4) bool",
    "pg_advisory_unlock_shared(int4,int4) bool",
    "pg_advisory_unlock_all() void",
];

/// Likewise, for functions of sequences.
const SEQUENCE: &[&str] =
    &["nextval(regclass) int8", "setval(regclass,int8) int8", "setval(regclass,int8,bool) int8"];

/// Likewise: the sql crate asks the cluster.
const OUTCOMES: &[&str] = &["pg_xact_status(xid8) text", "txid_status(int8) text"];

fn not_here(what: &str) -> TypeError {
    TypeError::new(sqlstate::NOT_SUPPORTED, format!("{what} in this place is not supported"))
}

/// The session has found the id before it runs the statement, where it saw the call.
fn xact_id(call: &Call<'_>) -> Result<u64> {
    call.env.xact_id.ok_or_else(|| not_here("the transaction's id"))
}

fn xact_ids(r: &mut Registry) {
    for function in OUTCOMES {
        r.f(function, |_, _| Err(not_here("a transaction's outcome"))).volatile();
    }
    r.f("pg_current_xact_id() xid8", |call, _| Ok(xid8::datum(xact_id(call)?))).stable();
    r.f("txid_current() int8", |call, _| Ok(Datum::Int8(xact_id(call)?.cast_signed()))).stable();
    r.f("pg_current_xact_id_if_assigned() xid8", |call, _| {
        Ok(call.env.xact_id.map_or(Datum::Null, xid8::datum))
    })
    .stable();
    r.f("txid_current_if_assigned() int8", |call, _| {
        Ok(call.env.xact_id.map_or(Datum::Null, |id| Datum::Int8(id.cast_signed())))
    })
    .stable();
}

fn current_value(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let sequence = match args.first() {
        Some(Datum::Oid(oid)) => Some(*oid),
        _ => None,
    };
    match &call.env.names.0 {
        Some(names) => names.current_value(sequence).map(Datum::Int8),
        None => Err(not_here("currval or lastval")),
    }
}

pub(super) fn register(r: &mut Registry) {
    for function in ADVISORY {
        r.f(function, |_, _| Err(not_here("an advisory lock function"))).volatile();
    }
    for function in SEQUENCE {
        r.f(function, |_, _| Err(not_here("nextval or setval"))).volatile();
    }
    r.f("currval(regclass) int8", current_value).volatile();
    r.f("lastval() int8", current_value).volatile();
    xact_ids(r);
    r.f("version() text", |call, _| Ok(Datum::text(call.env.version.as_str()))).stable();
    for name in ["current_database() name", "current_catalog() name"] {
        r.f(name, |call, _| Ok(Datum::text(call.env.database.as_str()))).stable();
    }
    for name in ["current_user() name", "user() name", "current_role() name"] {
        r.f(name, |call, _| Ok(Datum::text(call.env.current_user.as_str()))).stable();
    }
    r.f("session_user() name", |call, _| Ok(Datum::text(call.env.session_user.as_str()))).stable();
    r.f("current_schema() name", |call, _| {
        Ok(call.env.schemas.first().map_or(Datum::Null, |name| Datum::text(name.as_str())))
    })
    .stable();
    r.f("current_schemas(bool) name[]", |call, a| {
        Ok(schemas(call, a[0].as_bool().unwrap_or(false)))
    })
    .stable();
    r.f("cluster_logical_timestamp() numeric", |call, _| {
        let (millis, counter) = call.env.snapshot;
        let nanos = u128::from(millis) * 1_000_000;
        Ok(Datum::Numeric(format!("{nanos}.{counter:010}").parse()?))
    })
    .stable();
    r.f("follower_read_timestamp() timestamptz", |call, _| {
        let millis = call.env.snapshot.0.saturating_sub(FOLLOWER_READ_LAG_MILLIS);
        let micros = i64::try_from(millis).unwrap_or(i64::MAX / 1000) * 1000;
        Ok(Datum::Timestamptz(micros - UNIX_EPOCH_MICROS))
    })
    .stable();
    r.f("pg_backend_pid() int4", |call, _| Ok(Datum::Int4(call.env.backend_pid))).stable();
    r.f("current_setting(text) text", |call, a| current_setting(call, text(&a[0]), false)).stable();
    r.f("current_setting(text,bool) text", |call, a| {
        current_setting(call, text(&a[0]), a[1].as_bool().unwrap_or(false))
    })
    .stable();
    r.f("pg_typeof(any) regtype", |call, _| Ok(Datum::Oid(call.args[0].oid())))
        .nonstrict()
        .stable();
    let type_text = |call: &Call<'_>, a: &[Datum]| {
        let Datum::Oid(oid) = a[0] else { return Ok(Datum::Null) };
        if let Some(names) = &call.env.names.0
            && let Some(name) = names.name_of(TypeId::Regtype, oid)
        {
            return Ok(Datum::text(name));
        }
        let typmod = match a.get(1) {
            Some(Datum::Int4(typmod)) => *typmod,
            // Without a modifier known, the bare name.
            _ => return Ok(Datum::text(name_of(oid))),
        };
        Ok(Datum::text(match PgType::from_oid(oid) {
            Some(ty) => format_type(ty.with_typmod(typmod)),
            None => name_of(oid),
        }))
    };
    r.f("format_type(oid,int4) text", type_text).nonstrict().stable();
    r.f("pg_column_size(any) int4", |call, a| {
        // Of a type of one length it is that; else what the value takes here.
        if let length @ 1.. = call.args[0].len() {
            return Ok(Datum::Int4(i32::from(length)));
        }
        Ok(Datum::Int4(i32::try_from(a[0].size()).unwrap_or(i32::MAX)))
    })
    .stable();
    r.f("pg_size_bytes(text) int8", |_, a| Ok(Datum::Int8(size_bytes(text(&a[0]))?)));
    r.f("pg_trigger_depth() int4", |_, _| Ok(Datum::Int4(0))).stable();
    r.f("pg_size_pretty(int8) text", |_, a| {
        Ok(Datum::text(size_pretty(a[0].as_i64().unwrap_or(0))))
    });
    r.f("pg_size_pretty(numeric) text", |_, a| {
        let Datum::Numeric(size) = &a[0] else { return Ok(Datum::Null) };
        // Fractions of a byte only show below the first change of unit.
        match size.to_i64() {
            Ok(whole) if whole.unsigned_abs() >= 10 * 1024 => Ok(Datum::text(size_pretty(whole))),
            Ok(_) => Ok(Datum::text(format!("{size} bytes"))),
            Err(error) => Err(error),
        }
    });
    r.f("gen_random_uuid() uuid", |_, _| Ok(Datum::Uuid(*uuid::Uuid::new_v4().as_bytes())))
        .volatile();
    r.f("pg_is_in_recovery() bool", |_, _| Ok(Datum::Bool(false))).stable();
    r.f("pg_client_encoding() name", |_, _| Ok(Datum::text("UTF8"))).stable();
    r.f("getdatabaseencoding() name", |_, _| Ok(Datum::text("UTF8"))).stable();
    r.f("pg_encoding_to_char(int4) name", |_, a| {
        Ok(Datum::text(if a[0] == Datum::Int4(6) { "UTF8" } else { "" }))
    })
    .stable();
    r.f("row_to_json(record) json", |call, a| {
        let mut out = String::new();
        crate::json::json_text(&a[0], call.args[0], call.env, &mut out)?;
        Ok(Datum::text(out))
    })
    .stable();
}

fn name_of(oid: u32) -> String {
    match PgType::from_oid(oid) {
        Some(ty) => ty.sql_name(),
        None if oid == 0 => "-".to_owned(),
        None => "???".to_owned(),
    }
}
