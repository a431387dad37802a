//! `= <> < <= > >=` for every type, and the `char(n)` kind that ignores trailing blanks.

use super::args::text;
use super::arith::wide;
use super::{Registry, Vector};
use crate::compare::{compare, compare_f64};
use crate::datum::Datum;

/// Types whose Arrow storage compares as PostgreSQL does, and which the bridge vectorises.
macro_rules! family {
    ($r:ident, $vector:expr; $($name:literal)*) => {
        $(
            family!(@ $r, $vector, $name, "=", Eq, is_eq);
            family!(@ $r, $vector, $name, "<>", Ne, is_ne);
            family!(@ $r, $vector, $name, "<", Lt, is_lt);
            family!(@ $r, $vector, $name, "<=", Le, is_le);
            family!(@ $r, $vector, $name, ">", Gt, is_gt);
            family!(@ $r, $vector, $name, ">=", Ge, is_ge);
        )*
    };
    (@ $r:ident, $vector:expr, $name:literal, $op:literal, $code:ident, $is:ident) => {
        one(
            $r,
            concat!($op, "(", $name, ",", $name, ") bool"),
            |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).$is())),
            Vector::$code,
            $vector,
        );
    };
}

fn one(r: &mut Registry, signature: &'static str, kernel: super::Kernel, op: Vector, native: bool) {
    let entry = r.op(signature, kernel);
    if native {
        entry.vector(op);
    }
}

fn blanks(datum: &Datum) -> &[u8] {
    text(datum).trim_end_matches(' ').as_bytes()
}

/// `real` with `double precision`, as doubles: `real '0.1' = 0.1` is false, as in PostgreSQL.
fn mixed_floats(r: &mut Registry) {
    macro_rules! both {
        ($($op:literal $is:ident;)*) => {
            $(
                r.op(concat!($op, "(float4,float8) bool"), |_, a| {
                    Ok(Datum::Bool(compare_f64(wide(&a[0]), wide(&a[1])).$is()))
                });
                r.op(concat!($op, "(float8,float4) bool"), |_, a| {
                    Ok(Datum::Bool(compare_f64(wide(&a[0]), wide(&a[1])).$is()))
                });
            )*
        };
    }
    both! {
        "=" is_eq;
        "<>" is_ne;
        "<" is_lt;
        "<=" is_le;
        ">" is_gt;
        ">=" is_ge;
    }
}

pub(super) fn register(r: &mut Registry) {
    family!(r, true;
        "bool" "int2" "int4" "int8" "text" "name" "qchar" "bytea" "date" "time" "timestamp"
        "timestamptz" "uuid" "oid" "xid8" "anyenum");
    family!(r, false;
        "float4" "float8" "numeric" "interval" "jsonb" "record" "anyarray");
    mixed_floats(r);
    r.op("=(xid,xid) bool", |_, a| Ok(Datum::Bool(a[0] == a[1])));
    r.op("<>(xid,xid) bool", |_, a| Ok(Datum::Bool(a[0] != a[1])));
    r.op("=(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) == blanks(&a[1]))));
    r.op("<>(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) != blanks(&a[1]))));
    r.op("<(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) < blanks(&a[1]))));
    r.op("<=(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) <= blanks(&a[1]))));
    r.op(">(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) > blanks(&a[1]))));
    r.op(">=(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) >= blanks(&a[1]))));
}
