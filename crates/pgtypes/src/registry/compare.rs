//! `= <> < <= > >=` for every type, and the `char(n)` kind that ignores trailing blanks.

use super::args::text;
use super::{Registry, Vector};
use crate::compare::compare;
use crate::datum::Datum;

/// Types whose Arrow storage compares as PostgreSQL does, and which the bridge vectorises.
macro_rules! family {
    ($r:ident, $vector:expr; $($name:literal)*) => {
        $(
            one($r, concat!("=(", $name, ",", $name, ") bool"), |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).is_eq())), Vector::Eq, $vector);
            one($r, concat!("<>(", $name, ",", $name, ") bool"), |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).is_ne())), Vector::Ne, $vector);
            one($r, concat!("<(", $name, ",", $name, ") bool"), |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).is_lt())), Vector::Lt, $vector);
            one($r, concat!("<=(", $name, ",", $name, ") bool"), |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).is_le())), Vector::Le, $vector);
            one($r, concat!(">(", $name, ",", $name, ") bool"), |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).is_gt())), Vector::Gt, $vector);
            one($r, concat!(">=(", $name, ",", $name, ") bool"), |_, a| Ok(Datum::Bool(compare(&a[0], &a[1]).is_ge())), Vector::Ge, $vector);
        )*
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

pub(super) fn register(r: &mut Registry) {
    family!(r, true;
        "bool" "int2" "int4" "int8" "text" "name" "qchar" "bytea" "date" "time" "timestamp"
        "timestamptz" "uuid" "oid");
    family!(r, false;
        "float4" "float8" "numeric" "interval" "jsonb" "record" "anyarray");
    r.op("=(xid,xid) bool", |_, a| Ok(Datum::Bool(a[0] == a[1])));
    r.op("<>(xid,xid) bool", |_, a| Ok(Datum::Bool(a[0] != a[1])));
    r.op("=(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) == blanks(&a[1]))));
    r.op("<>(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) != blanks(&a[1]))));
    r.op("<(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) < blanks(&a[1]))));
    r.op("<=(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) <= blanks(&a[1]))));
    r.op(">(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) > blanks(&a[1]))));
    r.op(">=(bpchar,bpchar) bool", |_, a| Ok(Datum::Bool(blanks(&a[0]) >= blanks(&a[1]))));
}
