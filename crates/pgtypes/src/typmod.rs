//! Type modifiers: `(10,2)`, `(30)`, `(3)`, `interval day to second`, in PostgreSQL's encoding.
//!
//! - `varchar(n)`, `char(n)`: `n + 4`
//! - `numeric(p,s)`: `(p << 16 | s & 0x7ff) + 4`, scale signed in 11 bits
//! - `time(p)`, `timestamp(p)`, `timestamptz(p)`: `p`
//! - `interval`: `fields << 16 | p`, where `p` is `0xffff` for full precision

use crate::error::{Result, TypeError, sqlstate};
use crate::ty::{PgType, TypeId};

/// Bits of an interval's field mask, as in PostgreSQL's `datetime.h`.
pub mod interval_field {
    /// `YEAR`
    pub const YEAR: i32 = 1 << 2;
    /// `MONTH`
    pub const MONTH: i32 = 1 << 1;
    /// `DAY`
    pub const DAY: i32 = 1 << 3;
    /// `HOUR`
    pub const HOUR: i32 = 1 << 10;
    /// `MINUTE`
    pub const MINUTE: i32 = 1 << 11;
    /// `SECOND`
    pub const SECOND: i32 = 1 << 12;
    /// No restriction.
    pub const FULL_RANGE: i32 = 0x7fff;
    /// No precision.
    pub const FULL_PRECISION: i32 = 0xffff;
}

/// Precision and scale of a numeric's modifier.
pub fn numeric_parts(typmod: i32) -> Option<(i32, i32)> {
    if typmod < 4 {
        return None;
    }
    let bits = typmod - 4;
    let scale = ((bits & 0x7ff) ^ 1024) - 1024;
    Some(((bits >> 16) & 0xffff, scale))
}

/// The modifier of `numeric(precision, scale)`.
pub fn numeric(precision: i32, scale: i32) -> Result<i32> {
    if !(1..=1000).contains(&precision) {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("NUMERIC scale {scale} must be between -1000 and 1000"),
        ));
    }
    Ok(((precision << 16) | (scale & 0x7ff)) + 4)
}

/// The length of a `varchar(n)` or `char(n)` modifier.
pub fn char_length(typmod: i32) -> Option<usize> {
    if typmod >= 4 { usize::try_from(typmod - 4).ok() } else { None }
}

/// The fraction digits of a `time`, `timestamp` or `interval` modifier.
pub fn fraction_digits(ty: PgType) -> Option<u32> {
    if ty.typmod < 0 {
        return None;
    }
    let digits = match ty.id {
        TypeId::Interval => ty.typmod & interval_field::FULL_PRECISION,
        _ => ty.typmod,
    };
    u32::try_from(digits).ok().filter(|&digits| digits <= 6)
}

/// The modifier for `name(args…)` as written in a statement. Intervals with fields go through
/// [`interval`].
pub fn encode(id: TypeId, args: &[i64]) -> Result<i32> {
    let invalid = |message: String| Err(TypeError::new(sqlstate::INVALID_PARAMETER, message));
    let arg = |index: usize| i32::try_from(args[index]).unwrap_or(i32::MAX);
    if args.is_empty() {
        // `char` is `char(1)`; the binder asks with no arguments only for that spelling.
        return Ok(-1);
    }
    match id {
        TypeId::Varchar | TypeId::Bpchar => {
            let name = if id == TypeId::Varchar { "varchar" } else { "char" };
            if args.len() != 1 {
                return invalid("invalid type modifier".to_owned());
            }
            if arg(0) < 1 {
                return invalid(format!("length for type {name} must be at least 1"));
            }
            if arg(0) > 10_485_760 {
                return invalid(format!("length for type {name} cannot exceed 10485760"));
            }
            Ok(arg(0) + 4)
        }
        TypeId::Numeric => match args.len() {
            1 => numeric(arg(0), 0),
            2 => numeric(arg(0), arg(1)),
            _ => invalid("invalid NUMERIC type modifier".to_owned()),
        },
        TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz => {
            let (name, zone) = match id {
                TypeId::Time => ("TIME", ""),
                TypeId::Timestamptz => ("TIMESTAMP", " WITH TIME ZONE"),
                _ => ("TIMESTAMP", ""),
            };
            if arg(0) < 0 {
                return invalid(format!("{name}({}){zone} precision must not be negative", arg(0)));
            }
            // PostgreSQL warns and takes 6.
            Ok(arg(0).min(6))
        }
        TypeId::Interval => interval(interval_field::FULL_RANGE, Some(arg(0))),
        _ => Err(TypeError::new(
            sqlstate::SYNTAX,
            format!("type modifier is not allowed for type \"{}\"", id.name()),
        )),
    }
}

/// The modifier of `interval <fields>(p)`; `fields` from [`interval_field`].
pub fn interval(fields: i32, precision: Option<i32>) -> Result<i32> {
    let precision = match precision {
        None => interval_field::FULL_PRECISION,
        Some(p) if p < 0 => {
            return Err(TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("INTERVAL({p}) precision must not be negative"),
            ));
        }
        Some(p) => p.min(6),
    };
    Ok((fields << 16) | precision)
}

/// What PostgreSQL's `format_type(oid, typmod)` prints.
pub fn format_type(ty: PgType) -> String {
    let mut name = element_name(ty);
    if ty.is_plain_array() {
        name.push_str("[]");
    }
    name
}

fn element_name(ty: PgType) -> String {
    let typmod = ty.typmod;
    if typmod < 0 {
        // Without a length, `character` would be read back as `character(1)`.
        return if ty.id == TypeId::Bpchar { "bpchar" } else { ty.id.sql_name() }.to_owned();
    }
    match ty.id {
        TypeId::Varchar => format!("character varying({})", typmod - 4),
        TypeId::Bpchar => format!("character({})", typmod - 4),
        TypeId::Numeric => match numeric_parts(typmod) {
            Some((precision, scale)) => format!("numeric({precision},{scale})"),
            None => "numeric".to_owned(),
        },
        TypeId::Time => format!("time({typmod}) without time zone"),
        TypeId::Timestamp => format!("timestamp({typmod}) without time zone"),
        TypeId::Timestamptz => format!("timestamp({typmod}) with time zone"),
        TypeId::Interval => {
            let fields = interval_fields_name((typmod >> 16) & 0x7fff);
            match typmod & interval_field::FULL_PRECISION {
                interval_field::FULL_PRECISION => format!("interval{fields}"),
                precision => format!("interval{fields}({precision})"),
            }
        }
        TypeId::Enum => PgType { array: false, ..ty }.sql_name(),
        _ => ty.id.sql_name().to_owned(),
    }
}

fn interval_fields_name(fields: i32) -> &'static str {
    use interval_field::{DAY, HOUR, MINUTE, MONTH, SECOND, YEAR};
    const YM: i32 = YEAR | MONTH;
    const DH: i32 = DAY | HOUR;
    const DM: i32 = DAY | HOUR | MINUTE;
    const DS: i32 = DAY | HOUR | MINUTE | SECOND;
    const HM: i32 = HOUR | MINUTE;
    const HS: i32 = HOUR | MINUTE | SECOND;
    const MS: i32 = MINUTE | SECOND;
    match fields {
        YEAR => " year",
        MONTH => " month",
        DAY => " day",
        HOUR => " hour",
        MINUTE => " minute",
        SECOND => " second",
        YM => " year to month",
        DH => " day to hour",
        DM => " day to minute",
        DS => " day to second",
        HM => " hour to minute",
        HS => " hour to second",
        MS => " minute to second",
        _ => "",
    }
}

/// Reads `integer`, `numeric(10,2)`, `character varying(3)[]`, `timestamp(3) with time zone`: what
/// `::regtype` and catalogs spell. Case-insensitive.
pub fn parse_type(text: &str) -> Option<PgType> {
    let mut text = text.trim().to_ascii_lowercase();
    let mut array = false;
    while let Some(open) = text.strip_suffix(']').and_then(|rest| rest.rfind('[')) {
        array = true;
        text.truncate(open);
    }
    if let Some(rest) = text.strip_prefix("pg_catalog.") {
        text = rest.to_owned();
    }
    if let Some(element) = text.strip_prefix('_').and_then(TypeId::from_name) {
        return Some(PgType::array_of(element));
    }
    let (name, args) = match (text.find('('), text.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let args: Option<Vec<i64>> =
                text[open + 1..close].split(',').map(|arg| arg.trim().parse().ok()).collect();
            (format!("{}{}", text[..open].trim_end(), &text[close + 1..]), args?)
        }
        _ => (text.clone(), Vec::new()),
    };
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let id = TypeId::from_name(&name)?;
    let typmod = match (name.as_str(), args.is_empty()) {
        ("char" | "character" | "nchar", true) => 5,
        _ => encode(id, &args).ok()?,
    };
    if id.is_vector() && array {
        return None;
    }
    Some(PgType { array: array || id.is_vector(), id, typmod })
}
