//! Which of several functions a call means: chapter 10 of PostgreSQL's manual, as in
//! `func_select_candidate`.
//!
//! 1. An entry whose types are exactly the call's.
//! 2. Else those whose arguments can be coerced implicitly, narrowed in turn: most exact matches;
//!    most preferred types where a coercion is needed; for unknown literals the string category if
//!    some candidate takes it, else the category all agree on; at last unknown literals taken as
//!    the type all known arguments share.

use super::{Entry, Resolved, registry, set};
use crate::cast::{self, Context};
use crate::error::{Result, TypeError, sqlstate};
use crate::registry::signature::{ArgSpec, Signature};
use crate::ty::{Category, PgType, TypeId};

/// Why no entry was chosen.
pub(crate) enum NoChoice {
    None,
    Ambiguous,
}

/// The operator `name` means for these operands (one for a prefix operator).
pub fn resolve_operator(name: &str, types: &[PgType]) -> Result<Resolved> {
    // SQL's spellings of the same operators.
    let name = if name == "!=" { "<>" } else { name };
    let entries = registry().operators(name);
    // `5 = '6'`: an unknown operand is first tried as the other's type.
    if let [left, right] = *types
        && left.is_unknown() != right.is_unknown()
    {
        let known = if left.is_unknown() { right } else { left };
        let same = [known.base(), known.base()];
        if let Some(entry) = exact(entries, &same) {
            return Ok(concrete(entry, &same));
        }
    }
    let entry = choose(entries, |entry| &entry.signature, types).map_err(|why| {
        let words = match types {
            [operand] => format!("{name} {}", operand.sql_name()),
            [left, right] => format!("{} {name} {}", left.sql_name(), right.sql_name()),
            _ => name.to_owned(),
        };
        match why {
            NoChoice::None => TypeError::new(
                sqlstate::UNDEFINED_FUNCTION,
                format!("operator does not exist: {words}"),
            )
            .with_hint(if types.len() == 1 {
                "No operator matches the given name and argument type. You might need to add \
                     an explicit type cast."
            } else {
                "No operator matches the given name and argument types. You might need to \
                     add explicit type casts."
            }),
            NoChoice::Ambiguous => TypeError::new(
                sqlstate::AMBIGUOUS_FUNCTION,
                format!("operator is not unique: {words}"),
            )
            .with_hint(
                "Could not choose a best candidate operator. You might need to add explicit \
                     type casts.",
            ),
        }
    })?;
    check_polymorphic(&entry.signature, types)?;
    Ok(concrete(entry, types))
}

/// 42804 where `anyelement` and its kind have nothing to stand for.
pub(crate) fn check_polymorphic(signature: &Signature, types: &[PgType]) -> Result<()> {
    let Some(specs) = signature.expand(types.len()) else { return Ok(()) };
    let is_element = |spec: &ArgSpec| {
        matches!(spec, ArgSpec::Element | ArgSpec::NonArray | ArgSpec::Array | ArgSpec::Enum)
    };
    let bound = bind_polymorphic(&specs, types).unwrap_or_default();
    if specs.iter().any(is_element) && bound.element.is_none() {
        return Err(TypeError::new(
            sqlstate::DATATYPE_MISMATCH,
            "could not determine polymorphic type because input has type unknown",
        ));
    }
    Ok(())
}

/// The function `name` means for these arguments.
pub fn resolve_function(name: &str, types: &[PgType]) -> Result<Resolved> {
    let entry = choose(registry().functions(name), |entry| &entry.signature, types)
        .map_err(|why| function_error(name, types, &why))?;
    check_polymorphic(&entry.signature, types)?;
    Ok(concrete(entry, types))
}

/// The function `name` means for these arguments, the last of which is VARIADIC: an array of arguments.
pub fn resolve_variadic(name: &str, types: &[PgType]) -> Result<Resolved> {
    let none = || function_error(name, types, &NoChoice::None);
    let (last, first) = types.split_last().ok_or_else(none)?;
    if !last.array && !last.is_unknown() {
        let any = registry().functions(name).iter().any(|entry| {
            entry.signature.variadic && entry.signature.args.last() == Some(&ArgSpec::Any)
        });
        if !any {
            return Err(none());
        }
        return Err(TypeError::new(
            sqlstate::DATATYPE_MISMATCH,
            "VARIADIC argument must be an array",
        ));
    }
    let element = if last.is_unknown() { *last } else { last.element() };
    let spread: Vec<PgType> = first.iter().copied().chain([element]).collect();
    let takes = |entry: &&Entry| {
        let signature = &entry.signature;
        signature.variadic
            && signature.args.len() == types.len()
            && signature.expand(types.len()).is_some_and(|args| takes(&args, &spread))
    };
    let entry = registry().functions(name).iter().find(takes).ok_or_else(none)?;
    let mut resolved = concrete(entry, &spread);
    if let Some(last) = resolved.args.last_mut() {
        *last = last.to_array();
    }
    resolved.spread = true;
    Ok(resolved)
}

/// The function or operator of exactly these types, if the name and they say enough to find it again.
pub fn resolve_exactly(name: &str, args: &[PgType], result: PgType) -> Option<Resolved> {
    let found = match super::is_operator(name) {
        true => resolve_operator(name, args),
        false => resolve_function(name, args),
    };
    found.ok().filter(|found| found.args == args && found.result == result)
}

/// The function that returns rows.
pub fn resolve_set_function(name: &str, types: &[PgType]) -> Result<Resolved> {
    let entry = choose(registry().sets(name), |entry| &entry.signature, types)
        .map_err(|why| function_error(name, types, &why))?;
    check_polymorphic(&entry.signature, types)?;
    Ok(concrete(entry, types))
}

/// The error for a function that does not exist or is ambiguous.
pub(crate) fn function_error(name: &str, types: &[PgType], why: &NoChoice) -> TypeError {
    let words: Vec<String> = types.iter().map(|ty| ty.sql_name()).collect();
    let call = format!("{name}({})", words.join(", "));
    match why {
        NoChoice::None if super::is_absent_function(name) => {
            TypeError::not_supported(format!("the function {name} is not supported"))
        }
        NoChoice::None => {
            TypeError::new(sqlstate::UNDEFINED_FUNCTION, format!("function {call} does not exist"))
                .with_hint(
                    "No function matches the given name and argument types. You might need to add \
             explicit type casts.",
                )
        }
        NoChoice::Ambiguous => TypeError::new(
            sqlstate::AMBIGUOUS_FUNCTION,
            format!("function {call} is not unique"),
        )
        .with_hint(
            "Could not choose a best candidate function. You might need to add explicit type \
             casts.",
        ),
    }
}

fn exact<'a>(entries: &'a [Entry], types: &[PgType]) -> Option<&'a Entry> {
    entries.iter().find(|entry| is_exact(&entry.signature, types))
}

fn is_exact(signature: &Signature, types: &[PgType]) -> bool {
    signature.args.len() == types.len()
        && !signature.variadic
        && signature
            .args
            .iter()
            .zip(types)
            .all(|(arg, ty)| matches!(arg, ArgSpec::Type(declared) if declared.same(*ty)))
}

/// One entry that takes the call, with its declared types spread to the number of arguments.
struct Candidate<'a, E> {
    entry: &'a E,
    args: Vec<ArgSpec>,
}

/// Picks an entry for these argument types.
pub(crate) fn choose<'a, E>(
    entries: &'a [E],
    signature: impl Fn(&E) -> &Signature,
    types: &[PgType],
) -> Result<&'a E, NoChoice> {
    if let Some(entry) = entries.iter().find(|entry| is_exact(signature(entry), types)) {
        return Ok(entry);
    }
    let mut candidates: Vec<Candidate<'a, E>> = entries
        .iter()
        .filter_map(|entry| {
            let args = signature(entry).expand(types.len())?;
            takes(&args, types).then_some(Candidate { entry, args })
        })
        .collect();
    // Declared without variadic wins over the spread form.
    if candidates.len() > 1 && candidates.iter().any(|c| !signature(c.entry).variadic) {
        candidates.retain(|c| !signature(c.entry).variadic);
    }
    match candidates.as_slice() {
        [] => return Err(NoChoice::None),
        [only] => return Ok(only.entry),
        _ => {}
    }
    keep_best(&mut candidates, |candidate| exact_matches(&candidate.args, types));
    keep_best(&mut candidates, |candidate| preferred_matches(&candidate.args, types));
    if let [only] = candidates.as_slice() {
        return Ok(only.entry);
    }
    if types.iter().any(|ty| ty.is_unknown()) {
        return by_unknowns(candidates, types);
    }
    Err(NoChoice::Ambiguous)
}

fn keep_best<E>(
    candidates: &mut Vec<Candidate<'_, E>>,
    score: impl Fn(&Candidate<'_, E>) -> usize,
) {
    let best = candidates.iter().map(&score).max().unwrap_or(0);
    candidates.retain(|candidate| score(candidate) == best);
}

/// Can all arguments be coerced implicitly?
fn takes(args: &[ArgSpec], types: &[PgType]) -> bool {
    let each = args.iter().zip(types).all(|(arg, ty)| match arg {
        ArgSpec::Type(declared) => {
            cast::lookup(*ty, *declared).is_some_and(|cast| cast.context == Context::Implicit)
        }
        ArgSpec::Any | ArgSpec::Element | ArgSpec::Compatible => true,
        ArgSpec::NonArray => !ty.array,
        ArgSpec::Enum => ty.is_unknown() || (ty.id == TypeId::Enum && !ty.array),
        ArgSpec::Array | ArgSpec::CompatibleArray => ty.array || ty.is_unknown(),
    });
    // Of literals alone nothing says which enumeration is meant.
    let is_enum = |arg: &ArgSpec| *arg == ArgSpec::Enum;
    let enum_known = !args.iter().any(is_enum)
        || args.iter().zip(types).any(|(arg, ty)| is_enum(arg) && !ty.is_unknown());
    each && enum_known && bind_polymorphic(args, types).is_some()
}

fn exact_matches(args: &[ArgSpec], types: &[PgType]) -> usize {
    args.iter()
        .zip(types)
        .filter(|(arg, ty)| {
            !ty.is_unknown() && matches!(arg, ArgSpec::Type(declared) if declared.same(**ty))
        })
        .count()
}

fn preferred_matches(args: &[ArgSpec], types: &[PgType]) -> usize {
    args.iter()
        .zip(types)
        .filter(|(arg, ty)| match arg {
            ArgSpec::Type(declared) if !ty.is_unknown() => {
                declared.same(**ty)
                    || (declared.category() == ty.category() && declared.is_preferred())
            }
            _ => false,
        })
        .count()
}

fn category(arg: &ArgSpec) -> (Category, bool) {
    match arg {
        ArgSpec::Type(ty) => (ty.category(), ty.is_preferred()),
        _ => (Category::Pseudo, false),
    }
}

/// The rules for unknown literals.
fn by_unknowns<'a, E>(
    candidates: Vec<Candidate<'a, E>>,
    types: &[PgType],
) -> Result<&'a E, NoChoice> {
    let mut kept: Vec<&Candidate<'a, E>> = candidates.iter().collect();
    let mut wanted: Vec<Option<(Category, bool)>> = vec![None; types.len()];
    let mut resolved = true;
    for (at, ty) in types.iter().enumerate() {
        if !ty.is_unknown() {
            continue;
        }
        let offered: Vec<(Category, bool)> =
            candidates.iter().map(|candidate| category(&candidate.args[at])).collect();
        let chosen = if offered.iter().any(|(category, _)| *category == Category::String) {
            Some(Category::String)
        } else if offered.iter().all(|(category, _)| *category == offered[0].0) {
            Some(offered[0].0)
        } else {
            None
        };
        match chosen {
            Some(chosen) => {
                let preferred =
                    offered.iter().any(|(category, preferred)| *category == chosen && *preferred);
                wanted[at] = Some((chosen, preferred));
            }
            None => resolved = false,
        }
    }
    if resolved {
        let fits: Vec<&Candidate<'a, E>> = kept
            .iter()
            .copied()
            .filter(|candidate| {
                candidate.args.iter().zip(&wanted).all(|(arg, wanted)| match wanted {
                    None => true,
                    Some((wanted, preferred)) => {
                        let (category, is_preferred) = category(arg);
                        category == *wanted && (!preferred || is_preferred)
                    }
                })
            })
            .collect();
        if !fits.is_empty() {
            kept = fits;
        }
        if let [only] = kept.as_slice() {
            return Ok(only.entry);
        }
    }
    // All known arguments of one type: the unknown ones are taken as that.
    let mut known = types.iter().filter(|ty| !ty.is_unknown());
    if let Some(first) = known.next()
        && known.all(|ty| ty.same(*first))
    {
        let assumed = vec![first.base(); types.len()];
        let mut fits = kept.iter().filter(|candidate| takes(&candidate.args, &assumed));
        if let (Some(only), None) = (fits.next(), fits.next()) {
            return Ok(only.entry);
        }
    }
    Err(NoChoice::Ambiguous)
}

/// What the polymorphic places stand for: the element type and the common element type.
#[derive(Clone, Copy, Default)]
struct Bound {
    element: Option<PgType>,
    compatible: Option<PgType>,
}

fn bind_polymorphic(args: &[ArgSpec], types: &[PgType]) -> Option<Bound> {
    let mut bound = Bound::default();
    for (arg, ty) in args.iter().zip(types) {
        if ty.is_unknown() {
            continue;
        }
        let ty = ty.base();
        match arg {
            ArgSpec::Type(_) | ArgSpec::Any => {}
            ArgSpec::Element | ArgSpec::NonArray | ArgSpec::Enum => {
                if *bound.element.get_or_insert(ty) != ty {
                    return None;
                }
            }
            ArgSpec::Array => {
                if *bound.element.get_or_insert(ty.element()) != ty.element() {
                    return None;
                }
            }
            ArgSpec::Compatible => bound.compatible = Some(common(bound.compatible, ty)?),
            ArgSpec::CompatibleArray => {
                bound.compatible = Some(common(bound.compatible, ty.element())?);
            }
        }
    }
    Some(bound)
}

fn common(so_far: Option<PgType>, ty: PgType) -> Option<PgType> {
    let Some(other) = so_far else { return Some(ty) };
    if ty.category() != other.category() {
        return None;
    }
    let implicit =
        |from, to| cast::lookup(from, to).is_some_and(|cast| cast.context == Context::Implicit);
    if implicit(ty, other) {
        Some(other)
    } else if implicit(other, ty) {
        Some(ty)
    } else {
        None
    }
}

/// Declared types made concrete for a call; unknown literals become `text` where nothing says.
pub(crate) fn concrete_types(signature: &Signature, types: &[PgType]) -> (Vec<PgType>, PgType) {
    let specs = signature.expand(types.len()).expect("chosen for this many");
    let bound = bind_polymorphic(&specs, types).unwrap_or_default();
    let element = bound.element.unwrap_or(PgType::TEXT);
    let compatible = bound.compatible.unwrap_or(PgType::TEXT);
    let of = |spec: &ArgSpec, ty: PgType| match spec {
        // What the fields of a row are is known by its own type only.
        ArgSpec::Type(declared) if declared.same(ty) && ty.id == TypeId::Record => ty,
        ArgSpec::Type(declared) => *declared,
        ArgSpec::Any if ty.is_unknown() => PgType::TEXT,
        ArgSpec::Any => ty,
        ArgSpec::Element | ArgSpec::NonArray | ArgSpec::Enum => element,
        ArgSpec::Array => element.to_array(),
        ArgSpec::Compatible => compatible,
        ArgSpec::CompatibleArray => compatible.to_array(),
    };
    let args = specs.iter().zip(types).map(|(spec, ty)| of(spec, *ty)).collect();
    (args, of(&signature.result, PgType::new(TypeId::Void)))
}

fn concrete(entry: &'static Entry, types: &[PgType]) -> Resolved {
    let (args, mut result) = concrete_types(&entry.signature, types);
    let column = |(name, spec): &(&'static str, ArgSpec)| {
        let signature = Signature { result: *spec, ..entry.signature.clone() };
        (*name, concrete_types(&signature, types).1)
    };
    let columns: Vec<_> = entry.columns.iter().map(column).collect();
    if !columns.is_empty() {
        result = set::result(&columns);
    }
    Resolved {
        columns,
        name: entry.name,
        args,
        result,
        strict: entry.strict,
        volatility: entry.volatility,
        spread: false,
        entry,
    }
}
