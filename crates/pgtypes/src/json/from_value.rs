//! Any value as JSON text: what `to_json`, `json_build_object` and `json_agg` print.

use super::escape;
use crate::datum::Datum;
use crate::env::EvalEnv;
use crate::error::Result;
use crate::text::to_text;
use crate::ty::{Category, PgType, TypeId};

/// Appends any value as JSON text, as `to_json` has it.
pub(crate) fn json_text(datum: &Datum, ty: PgType, env: &EvalEnv, out: &mut String) -> Result<()> {
    match datum {
        Datum::Null => out.push_str("null"),
        Datum::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Datum::Jsonb(text) => out.push_str(text),
        Datum::Text(text) if ty.id == TypeId::Json => out.push_str(text),
        Datum::Array(array) => array_json(&array.dims, &array.items, ty.element(), env, out)?,
        Datum::Record(fields) => {
            let names = crate::record::fields(ty);
            out.push('{');
            for (i, (ty, field)) in fields.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                let written = match names.as_ref().and_then(|names| names.get(i)) {
                    Some((name, _)) => escape(name, out),
                    None => escape(&format!("f{}", i + 1), out),
                };
                written.expect("writing to a string");
                out.push(':');
                json_text(field, *ty, env, out)?;
            }
            out.push('}');
        }
        _ => {
            let mut text = String::new();
            to_text(datum, ty, env, &mut text);
            let finite_number = ty.category() == Category::Numeric
                && ty.id != TypeId::Regtype
                && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                && !text.ends_with('y');
            if finite_number {
                out.push_str(&text);
                return Ok(());
            }
            if matches!(datum, Datum::Timestamp(_) | Datum::Timestamptz(_)) {
                text = iso_stamp(datum, env);
            }
            escape(&text, out).expect("writing to a string");
        }
    }
    Ok(())
}

/// JSON has `T` between date and time, and a zone with minutes.
fn iso_stamp(datum: &Datum, env: &EvalEnv) -> String {
    let iso = EvalEnv { date_format: crate::env::DateFormat::Iso, ..env.clone() };
    let mut text = String::new();
    let zoned = matches!(datum, Datum::Timestamptz(_));
    let ty = if zoned { TypeId::Timestamptz } else { TypeId::Timestamp };
    to_text(datum, PgType::new(ty), &iso, &mut text);
    let mut text = text.replacen(' ', "T", 1);
    if zoned
        && text.len() > 3
        && text.as_bytes()[text.len() - 3..][0].is_ascii_punctuation()
        && text.as_bytes()[text.len() - 3] != b':'
    {
        text.push_str(":00");
    }
    text
}

fn array_json(
    dims: &[crate::datum::Dim],
    items: &[Datum],
    element: PgType,
    env: &EvalEnv,
    out: &mut String,
) -> Result<()> {
    out.push('[');
    if let Some(dim) = dims.first() {
        let step = items.len() / usize::try_from(dim.len).expect("lengths are positive");
        for (i, chunk) in items.chunks(step).enumerate() {
            out.push_str(if i == 0 { "" } else { "," });
            if dims.len() > 1 {
                array_json(&dims[1..], chunk, element, env, out)?;
            } else {
                json_text(&chunk[0], element, env, out)?;
            }
        }
    }
    out.push(']');
    Ok(())
}
