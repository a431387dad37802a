//! Functions that clients call to learn what kind of server this is, and to steer their session.

use super::args::{boolean, i4, text};
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::text::parse_text;
use crate::ty::{PgType, TypeId};

/// `to_regclass` and its kin: NULL where the cast would fail for want of such an object.
fn to_reg(call: &Call<'_>, a: &[Datum], id: TypeId) -> Datum {
    let name = text(&a[0]);
    // A number is taken by the cast, not here.
    if name.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        return Datum::Null;
    }
    parse_text(name, PgType::new(id), call.env).unwrap_or_default()
}

fn set_config(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    if a[0].is_null() {
        return Err(TypeError::new(sqlstate::NULL_NOT_ALLOWED, "SET requires parameter name"));
    }
    let names = call.env.names.0.as_ref();
    let names = names.ok_or_else(|| TypeError::not_supported("set_config in this place"))?;
    let local = !a[2].is_null() && boolean(&a[2]);
    names.set_config(text(&a[0]), a[1].as_str(), local).map(Datum::text)
}

/// Asks the session, which may refuse.
fn signal(call: &Call<'_>, a: &[Datum], terminate: bool) -> Result<Datum> {
    match &call.env.names.0 {
        Some(names) => names.signal(i4(&a[0]), terminate).map(Datum::Bool),
        None => Err(TypeError::not_supported("to signal a session in this place")),
    }
}

/// Names and types only: they wait, so the sql crate takes the calls out of expressions.
const SLEEPS: &[&str] = &["pg_sleep(float8) void", "pg_sleep_for(interval) void"];

pub(super) fn register(r: &mut Registry) {
    for function in SLEEPS {
        r.f(function, |_, _| Err(TypeError::not_supported("pg_sleep in this place"))).volatile();
    }
    r.f("set_config(text,text,bool) text", set_config).nonstrict().volatile();
    r.f("pg_cancel_backend(int4) bool", |call, a| signal(call, a, false)).volatile();
    r.f("pg_terminate_backend(int4) bool", |call, a| signal(call, a, true)).volatile();
    r.f("pg_terminate_backend(int4,int8) bool", |call, a| signal(call, a, true)).volatile();
    r.f("to_regtype(text) regtype", |call, a| Ok(to_reg(call, a, TypeId::Regtype))).stable();
    r.f("to_regnamespace(text) regnamespace", |call, a| Ok(to_reg(call, a, TypeId::Regnamespace)))
        .stable();
    r.f("to_regrole(text) regrole", |call, a| Ok(to_reg(call, a, TypeId::Regrole))).stable();
    r.f("to_regproc(text) regproc", |call, a| Ok(to_reg(call, a, TypeId::Regproc))).stable();
    r.f("to_regcollation(text) regcollation", |call, a| Ok(to_reg(call, a, TypeId::Regcollation)))
        .stable();
    // All of these are in pg_catalog.
    for signature in [
        "pg_collation_is_visible(oid) bool",
        "pg_opclass_is_visible(oid) bool",
        "pg_operator_is_visible(oid) bool",
        "pg_opfamily_is_visible(oid) bool",
        "pg_conversion_is_visible(oid) bool",
        "pg_statistics_obj_is_visible(oid) bool",
        "pg_ts_config_is_visible(oid) bool",
        "pg_ts_dict_is_visible(oid) bool",
        "pg_ts_parser_is_visible(oid) bool",
        "pg_ts_template_is_visible(oid) bool",
    ] {
        r.f(signature, |_, _| Ok(Datum::Bool(true))).stable();
    }
    r.f("pg_char_to_encoding(name) int4", |_, a| {
        let plain: String = text(&a[0]).chars().filter(char::is_ascii_alphanumeric).collect();
        let utf8 = matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode");
        Ok(Datum::Int4(if utf8 { 6 } else { -1 }))
    })
    .stable();
    r.f("pg_encoding_max_length(int4) int4", |_, a| {
        Ok(if a[0] == Datum::Int4(6) { Datum::Int4(4) } else { Datum::Null })
    });
    // No function is written in SQL, none has defaults; nothing is compiled just in time.
    r.f("pg_get_function_sqlbody(oid) text", |_, _| Ok(Datum::Null)).stable();
    r.f("pg_get_function_arg_default(oid,int4) text", |_, _| Ok(Datum::Null)).stable();
    r.f("pg_jit_available() bool", |_, _| Ok(Datum::Bool(false))).stable();
    r.f("pg_get_replica_identity_index(regclass) regclass", |_, _| Ok(Datum::Null)).stable();
}
