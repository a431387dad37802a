//! Functions that look into the catalog: what `psql` and drivers describe tables with.
//!
//! The catalog belongs to the session, which answers through [`crate::env::SystemNames`].

use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::Result;

fn ask(call: &Call<'_>, function: &str, args: &[Datum]) -> Result<Datum> {
    Ok(call.env.names.0.as_ref().map_or(Datum::Null, |names| names.call(function, args)))
}

/// The end of the group that begins at `open`, if its parenthesis is closed.
fn group_end(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    for (at, c) in text[open..].char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

/// An expression with fewer parentheses: none around the whole, the arms of AND and OR, and what is cast
/// if that is a name or number.
#[must_use]
pub fn pretty_expr(text: &str) -> String {
    let mut text = text;
    if text.starts_with('(') && group_end(text, 0) == Some(text.len() - 1) {
        text = &text[1..text.len() - 1];
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut arm = true;
    let has_logic = |inner: &str| inner.contains(" AND ") || inner.contains(" OR ");
    while at < text.len() {
        let rest = &text[at..];
        let end = rest.starts_with('(').then(|| group_end(text, at)).flatten();
        if let Some(end) = end {
            let inner = &text[at + 1..end];
            let behind = &text[end + 1..];
            let plain = inner.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
            let whole_arm =
                behind.is_empty() || behind.starts_with(" AND ") || behind.starts_with(" OR ");
            if plain && behind.starts_with("::") {
                out.push_str(inner);
            } else if arm && whole_arm && !has_logic(inner) {
                out.push_str(&pretty_expr(inner));
            } else {
                let pretty = pretty_expr(inner);
                out.push('(');
                out.push_str(&pretty);
                out.push(')');
            }
            at = end + 1;
            arm = false;
            continue;
        }
        let c = rest.chars().next().expect("not at the end");
        if c == '\'' {
            let close = rest[1..].find('\'').map_or(rest.len(), |n| n + 2);
            out.push_str(&rest[..close]);
            at += close;
            continue;
        }
        out.push(c);
        at += c.len_utf8();
        arm = out.ends_with(" AND ") || out.ends_with(" OR ");
    }
    out
}

macro_rules! asked {
    ($r:ident, $($name:literal: $($signature:literal)|+;)*) => {
        $($($r.f($signature, |call, args| ask(call, $name, args)).stable();)+)*
    };
}

pub(super) fn register(r: &mut Registry) {
    asked! { r,
        "pg_table_is_visible": "pg_table_is_visible(oid) bool";
        "pg_type_is_visible": "pg_type_is_visible(oid) bool";
        "pg_function_is_visible": "pg_function_is_visible(oid) bool";
        "pg_get_userbyid": "pg_get_userbyid(oid) name";
        "pg_get_indexdef": "pg_get_indexdef(oid) text" | "pg_get_indexdef(oid,int4,bool) text";
        "pg_get_constraintdef":
            "pg_get_constraintdef(oid) text" | "pg_get_constraintdef(oid,bool) text";
        "obj_description": "obj_description(oid) text" | "obj_description(oid,name) text";
        "col_description": "col_description(oid,int4) text";
        "shobj_description": "shobj_description(oid,name) text";
        "to_regclass": "to_regclass(text) regclass";
        "pg_get_viewdef": "pg_get_viewdef(oid) text" | "pg_get_viewdef(oid,bool) text";
        "pg_get_statisticsobjdef": "pg_get_statisticsobjdef(oid) text";
        "pg_get_statisticsobjdef_columns": "pg_get_statisticsobjdef_columns(oid) text";
        "pg_get_triggerdef": "pg_get_triggerdef(oid) text" | "pg_get_triggerdef(oid,bool) text";
        "pg_get_ruledef": "pg_get_ruledef(oid) text" | "pg_get_ruledef(oid,bool) text";
        "pg_get_functiondef": "pg_get_functiondef(oid) text";
        "pg_get_function_arguments": "pg_get_function_arguments(oid) text";
        "pg_get_function_identity_arguments": "pg_get_function_identity_arguments(oid) text";
        "pg_get_function_result": "pg_get_function_result(oid) text";
        "pg_get_partkeydef": "pg_get_partkeydef(oid) text";
        "pg_get_partition_constraintdef": "pg_get_partition_constraintdef(oid) text";
        "pg_relation_filenode": "pg_relation_filenode(regclass) oid";
        "pg_tablespace_location": "pg_tablespace_location(oid) text";
        "pg_get_serial_sequence": "pg_get_serial_sequence(text,text) text";
        "pg_relation_size": "pg_relation_size(regclass) int8";
        "pg_table_size": "pg_table_size(regclass) int8";
        "pg_total_relation_size": "pg_total_relation_size(regclass) int8";
        "pg_indexes_size": "pg_indexes_size(regclass) int8";
        "pg_database_size": "pg_database_size(name) int8" | "pg_database_size(oid) int8";
    }
    // Expressions are stored as text already.
    r.f("pg_get_expr(text,oid) text", |_, a| Ok(a[0].clone())).stable();
    r.f("pg_get_expr(text,oid,bool) text", |_, a| match (a[0].as_str(), &a[1..]) {
        (Some(text), [_, Datum::Bool(true)]) => Ok(Datum::text(pretty_expr(text))),
        _ => Ok(a[0].clone()),
    })
    .stable();
    // There are no partitions: a relation is its own only ancestor.
    r.f("pg_partition_ancestors(regclass) regclass", |_, a| Ok(a[0].clone())).stable();
    r.f("pg_relation_is_publishable(regclass) bool", |_, _| Ok(Datum::Bool(false))).stable();
    privileges(r);
}

macro_rules! allowed {
    ($r:ident, $($name:literal: $($signature:literal)|+;)*) => {
        $($($r.f($signature, |call, args| may(call, $name, args)).stable();)+)*
    };
}

fn may(call: &Call<'_>, function: &str, args: &[Datum]) -> Result<Datum> {
    match &call.env.names.0 {
        Some(names) => names.may(function, args),
        None => Ok(Datum::Null),
    }
}

/// With a role in front, or of who asks; roles and objects by name or oid.
fn privileges(r: &mut Registry) {
    allowed! { r,
        "has_table_privilege":
            "has_table_privilege(text,text) bool"
            | "has_table_privilege(name,text,text) bool"
            | "has_table_privilege(oid,text,text) bool"
            | "has_table_privilege(oid,text) bool"
            | "has_table_privilege(name,oid,text) bool"
            | "has_table_privilege(oid,oid,text) bool";
        "has_any_column_privilege":
            "has_any_column_privilege(text,text) bool"
            | "has_any_column_privilege(name,text,text) bool"
            | "has_any_column_privilege(oid,text,text) bool"
            | "has_any_column_privilege(oid,text) bool"
            | "has_any_column_privilege(name,oid,text) bool"
            | "has_any_column_privilege(oid,oid,text) bool";
        "has_sequence_privilege":
            "has_sequence_privilege(text,text) bool"
            | "has_sequence_privilege(name,text,text) bool"
            | "has_sequence_privilege(oid,text,text) bool"
            | "has_sequence_privilege(oid,text) bool"
            | "has_sequence_privilege(name,oid,text) bool"
            | "has_sequence_privilege(oid,oid,text) bool";
        "has_schema_privilege":
            "has_schema_privilege(text,text) bool"
            | "has_schema_privilege(name,text,text) bool"
            | "has_schema_privilege(oid,text,text) bool"
            | "has_schema_privilege(oid,text) bool"
            | "has_schema_privilege(name,oid,text) bool"
            | "has_schema_privilege(oid,oid,text) bool";
        "has_database_privilege":
            "has_database_privilege(text,text) bool"
            | "has_database_privilege(name,text,text) bool"
            | "has_database_privilege(oid,text,text) bool"
            | "has_database_privilege(oid,text) bool"
            | "has_database_privilege(name,oid,text) bool"
            | "has_database_privilege(oid,oid,text) bool";
        "has_function_privilege":
            "has_function_privilege(text,text) bool"
            | "has_function_privilege(name,text,text) bool"
            | "has_function_privilege(oid,text,text) bool"
            | "has_function_privilege(oid,text) bool"
            | "has_function_privilege(name,oid,text) bool"
            | "has_function_privilege(oid,oid,text) bool";
        "has_type_privilege":
            "has_type_privilege(text,text) bool"
            | "has_type_privilege(name,text,text) bool"
            | "has_type_privilege(oid,text,text) bool"
            | "has_type_privilege(oid,text) bool"
            | "has_type_privilege(name,oid,text) bool"
            | "has_type_privilege(oid,oid,text) bool";
        "has_language_privilege":
            "has_language_privilege(text,text) bool"
            | "has_language_privilege(name,text,text) bool"
            | "has_language_privilege(oid,text,text) bool"
            | "has_language_privilege(oid,text) bool"
            | "has_language_privilege(name,oid,text) bool"
            | "has_language_privilege(oid,oid,text) bool";
        "has_column_privilege":
            "has_column_privilege(text,text,text) bool"
            | "has_column_privilege(name,text,text,text) bool"
            | "has_column_privilege(oid,text,text,text) bool"
            | "has_column_privilege(oid,text,text) bool"
            | "has_column_privilege(name,oid,text,text) bool"
            | "has_column_privilege(oid,oid,text,text) bool"
            | "has_column_privilege(text,int2,text) bool"
            | "has_column_privilege(name,text,int2,text) bool"
            | "has_column_privilege(oid,text,int2,text) bool"
            | "has_column_privilege(oid,int2,text) bool"
            | "has_column_privilege(name,oid,int2,text) bool"
            | "has_column_privilege(oid,oid,int2,text) bool";
        "pg_has_role":
            "pg_has_role(name,text) bool"
            | "pg_has_role(name,name,text) bool"
            | "pg_has_role(oid,name,text) bool"
            | "pg_has_role(oid,text) bool"
            | "pg_has_role(name,oid,text) bool"
            | "pg_has_role(oid,oid,text) bool";
    }
}
