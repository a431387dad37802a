//! Whether some conditions on a row make sure that another one is true of it.
//!
//! By PostgreSQL's rules (`predicate_implied_by`), as far as they need no catalog: the same condition, parts
//! of AND and OR, comparisons of one expression with constants, and IS NOT NULL of what is compared.
//! Not to find a proof costs an index; a wrong one would lose rows.

use std::cmp::Ordering;

use pgtypes::Datum;

use crate::ir::Scalar;

/// Whether `wanted` is true of every row of which all the conjuncts are. Both are in the form that
/// `indexed` compares in.
pub(crate) fn implies(conjuncts: &[Scalar], wanted: &Scalar) -> bool {
    match wanted {
        Scalar::And(parts) => parts.iter().all(|part| implies(conjuncts, part)),
        Scalar::Or(parts) => {
            conjuncts.iter().any(|given| one_implies(given, wanted))
                || parts.iter().any(|part| implies(conjuncts, part))
        }
        _ => conjuncts.iter().any(|given| one_implies(given, wanted)),
    }
}

fn one_implies(given: &Scalar, wanted: &Scalar) -> bool {
    if given == wanted {
        return true;
    }
    match given {
        Scalar::And(parts) => return implies(parts, wanted),
        Scalar::Or(parts) => {
            return parts.iter().all(|part| implies(std::slice::from_ref(part), wanted));
        }
        _ => {}
    }
    match wanted {
        Scalar::Or(parts) => parts.iter().any(|part| one_implies(given, part)),
        Scalar::And(parts) => parts.iter().all(|part| one_implies(given, part)),
        Scalar::Not(inner) => match &**inner {
            // IS NOT NULL
            Scalar::IsNull(of) => needs_value(given, of),
            // NOT x
            of => matches!(given, Scalar::IsBool(x, false) if **x == *of),
        },
        Scalar::IsBool(of, true) => given == &**of,
        Scalar::IsBool(of, false) => matches!(given, Scalar::Not(x) if x == of),
        _ => matches!(given, Scalar::IsBool(x, true) if **x == *wanted) || compared(given, wanted),
    }
}

/// Whether `given` can only be true if `of` is not NULL.
fn needs_value(given: &Scalar, of: &Scalar) -> bool {
    match given {
        Scalar::IsBool(inner, _) => is_strict_in(inner, of),
        Scalar::Not(inner) => match &**inner {
            Scalar::IsNull(inner) => is_strict_in(inner, of),
            other => is_strict_in(other, of),
        },
        Scalar::InList { needle, .. } => is_strict_in(needle, of),
        other => is_strict_in(other, of),
    }
}

/// Whether `scalar` is NULL whenever `of` is.
fn is_strict_in(scalar: &Scalar, of: &Scalar) -> bool {
    if scalar == of {
        return true;
    }
    match scalar {
        Scalar::Relabel(arg, _) | Scalar::Cast { arg, .. } => is_strict_in(arg, of),
        Scalar::Call { func, args, .. } => {
            func.strict && args.iter().any(|arg| is_strict_in(arg, of))
        }
        _ => false,
    }
}

/// `expression op constant`.
fn comparison(scalar: &Scalar) -> Option<(&Scalar, &'static str, &Datum)> {
    let Scalar::Call { func, args, .. } = scalar else { return None };
    let op = func.name;
    if !matches!(op, "=" | "<>" | "<" | "<=" | ">" | ">=") {
        return None;
    }
    match args.as_slice() {
        [left, Scalar::Literal(value, _)] => Some((left, op, value)),
        [Scalar::Literal(value, _), right] => {
            let mirrored = match op {
                "<" => ">",
                "<=" => ">=",
                ">" => "<",
                ">=" => "<=",
                same => same,
            };
            Some((right, mirrored, value))
        }
        _ => None,
    }
}

fn compared(given: &Scalar, wanted: &Scalar) -> bool {
    let wanted_list = |x: &Scalar, value: &Datum| match wanted {
        Scalar::InList { needle, list, .. } => {
            **needle == *x && list.iter().any(|item| is_literal(item, value))
        }
        _ => comparison(wanted).is_some_and(|(of, op, bound)| {
            of == x && !bound.is_null() && !value.is_null() && holds(value, op, bound)
        }),
    };
    if let Scalar::InList { needle, list, .. } = given {
        return list.iter().all(|item| match item {
            Scalar::Literal(value, _) => value.is_null() || wanted_list(needle, value),
            _ => false,
        });
    }
    let Some((x, op, value)) = comparison(given) else { return false };
    if value.is_null() {
        return false;
    }
    if op == "=" {
        return wanted_list(x, value);
    }
    let Some((of, wanted_op, bound)) = comparison(wanted) else { return false };
    if of != x || bound.is_null() || !comparable(value, bound) {
        return false;
    }
    let order = pgtypes::compare(value, bound);
    match (op, wanted_op) {
        ("<", "<" | "<=" | "<>") | ("<=", "<=") => order != Ordering::Greater,
        ("<=", "<" | "<>") => order == Ordering::Less,
        (">", ">" | ">=" | "<>") | (">=", ">=") => order != Ordering::Less,
        (">=", ">" | "<>") => order == Ordering::Greater,
        ("<>", "<>") => order == Ordering::Equal,
        _ => false,
    }
}

fn is_literal(item: &Scalar, value: &Datum) -> bool {
    matches!(item, Scalar::Literal(known, _)
        if comparable(known, value) && pgtypes::compare(known, value) == Ordering::Equal)
}

/// Whether two constants are of one type, so that they have an order.
fn comparable(a: &Datum, b: &Datum) -> bool {
    !a.is_null() && !b.is_null() && std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn holds(value: &Datum, op: &str, bound: &Datum) -> bool {
    if !comparable(value, bound) {
        return false;
    }
    let order = pgtypes::compare(value, bound);
    match op {
        "=" => order == Ordering::Equal,
        "<>" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => false,
    }
}
