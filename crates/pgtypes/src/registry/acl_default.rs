//! `acldefault`: what privileges an object has whose list says nothing.

use super::args::text;
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::TypeId;

/// The owner's privileges, and everybody's, by the kind of object.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("c", "", ""),
    ("r", "arwdDxt", ""),
    ("s", "rwU", ""),
    ("d", "CTc", "Tc"),
    ("f", "X", "X"),
    ("l", "U", "U"),
    ("L", "rw", ""),
    ("n", "UC", ""),
    ("p", "sA", ""),
    ("t", "C", ""),
    ("F", "U", ""),
    ("S", "U", ""),
    ("T", "U", "U"),
];

fn default(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let kind = text(&a[0]);
    let known = DEFAULTS.iter().find(|(known, ..)| *known == kind);
    let Some((_, own, all)) = known else {
        let message = format!("unrecognized object type abbreviation: {kind}");
        return Err(TypeError::new(sqlstate::INVALID_PARAMETER, message));
    };
    let Datum::Oid(owner) = a[1] else { return Ok(Datum::Null) };
    let name = call.env.names.0.as_ref().and_then(|n| n.name_of(TypeId::Regrole, owner));
    let owner = name.unwrap_or_else(|| owner.to_string());
    let mut items = Vec::new();
    if !all.is_empty() {
        items.push(Datum::text(format!("={all}/{owner}")));
    }
    if !own.is_empty() {
        items.push(Datum::text(format!("{owner}={own}/{owner}")));
    }
    Ok(Datum::array(items))
}

pub(super) fn register(r: &mut Registry) {
    r.f("acldefault(qchar,oid) text[]", default).stable();
}
