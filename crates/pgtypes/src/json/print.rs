//! Printing JSON in PostgreSQL's spacing.

use std::fmt::{self, Write};

use super::Json;

impl fmt::Display for Json {
    /// The canonical text, if the value is canonical.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::String(text) => escape(text, f),
            Self::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (i, (key, value)) in members.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    escape(key, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Prints a JSON string with its quotes.
pub fn escape<W: Write>(text: &str, out: &mut W) -> fmt::Result {
    out.write_str("\"")?;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.write_str(&text[plain..at])?;
        plain = at + 1;
        if escaped.is_empty() {
            write!(out, "\\u{byte:04x}")?;
        } else {
            out.write_str(escaped)?;
        }
    }
    out.write_str(&text[plain..])?;
    out.write_str("\"")
}

/// What `jsonb_pretty` prints.
pub fn pretty(value: &Json) -> String {
    let mut out = String::new();
    pretty_into(value, 0, &mut out).expect("writing to a string");
    out
}

fn pretty_into(value: &Json, depth: usize, out: &mut String) -> fmt::Result {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str("    "));
    };
    match value {
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                line(depth + 1, out);
                pretty_into(item, depth + 1, out)?;
            }
            line(depth, out);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, item)) in members.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                line(depth + 1, out);
                escape(key, out)?;
                out.push_str(": ");
                pretty_into(item, depth + 1, out)?;
            }
            line(depth, out);
            out.push('}');
        }
        scalar => write!(out, "{scalar}")?,
    }
    Ok(())
}
