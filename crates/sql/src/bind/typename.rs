//! Names of types as written: `integer`, `numeric(10,2)`, `text[]`, `timestamp(3) with time zone`.

use pgtypes::typmod::interval_field as field;
use pgtypes::{PgType, TypeId, typmod};
use sqlparser::ast::{
    self, ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, IntervalFields,
    TimezoneInfo,
};

use super::name_parts;
use super::parse::LOCK_MARK;
use crate::error::{SqlError, SqlState};
use crate::ir::CatalogView;

/// The type a name stands for, those of the catalog among them.
pub(crate) fn type_in(name: &DataType, catalog: &dyn CatalogView) -> Result<PgType, SqlError> {
    match name {
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
            let element = type_in(element, catalog)?;
            Ok(if element.array { element } else { element.to_array() })
        }
        DataType::Custom(custom, args) => {
            let known = type_of(name);
            if known.is_ok() || !args.is_empty() {
                return known;
            }
            let mut parts = name_parts(custom)?;
            let last = parts.pop().unwrap_or_default();
            let find = |name: &str| catalog.enum_type(parts.last().map(String::as_str), name);
            let array = || find(last.strip_prefix('_')?).map(PgType::to_array);
            match find(&last).or_else(array) {
                Some(found) => Ok(found),
                None if parts.is_empty() => known,
                None => Err(unknown(&format!("{}.{last}", parts.join(".")))),
            }
        }
        other => type_of(other),
    }
}

/// The enumeration that stored text names ([`LOCK_MARK`]).
pub(super) fn stored_enum(name: &DataType) -> Option<PgType> {
    match name {
        DataType::Custom(name, _) => match name.0.as_slice() {
            [ast::ObjectNamePart::Identifier(only)] => {
                let oid = only.value.strip_prefix(LOCK_MARK)?.strip_prefix("enum ")?;
                oid.parse().ok().map(PgType::enumeration)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The type a name stands for, if it is a built-in one.
pub fn type_of(name: &DataType) -> Result<PgType, SqlError> {
    let plain = |id: TypeId| Ok(PgType::new(id));
    match name {
        DataType::Bool | DataType::Boolean => plain(TypeId::Bool),
        DataType::SmallInt(None) | DataType::Int2(None) => plain(TypeId::Int2),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(TypeId::Int4),
        DataType::BigInt(None) | DataType::Int8(None) => plain(TypeId::Int8),
        DataType::Real | DataType::Float4 => plain(TypeId::Float4),
        DataType::DoublePrecision | DataType::Float8 => plain(TypeId::Float8),
        DataType::Float(info) => float(info),
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info),
        DataType::Text => plain(TypeId::Text),
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length) => characters(TypeId::Varchar, length.as_ref()),
        DataType::Char(length) | DataType::Character(length) => match length {
            None => modified(TypeId::Bpchar, &[1]),
            some => characters(TypeId::Bpchar, some.as_ref()),
        },
        DataType::Bytea => plain(TypeId::Bytea),
        DataType::Date => plain(TypeId::Date),
        DataType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            temporal(TypeId::Time, *precision)
        }
        DataType::Timestamp(precision, zone) => match zone {
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => {
                temporal(TypeId::Timestamp, *precision)
            }
            TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => {
                temporal(TypeId::Timestamptz, *precision)
            }
        },
        DataType::Interval { fields, precision } => interval(fields.as_ref(), *precision),
        DataType::Uuid => plain(TypeId::Uuid),
        DataType::JSON => plain(TypeId::Json),
        DataType::JSONB => plain(TypeId::Jsonb),
        DataType::Regclass => plain(TypeId::Regclass),
        DataType::Array(element) => array(element),
        stored if stored_enum(stored).is_some() => Ok(stored_enum(stored).expect("it is one")),
        DataType::Custom(name, args) => custom(name, args),
        other => Err(unknown(&other.to_string())),
    }
}

fn unknown(name: &str) -> SqlError {
    // Without a modifier, an array's brackets, or the schema of PostgreSQL's own.
    let lower = name.to_lowercase();
    let plain = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    let plain = plain.split(['(', '[']).next().unwrap_or(plain).trim();
    if pgtypes::registry::is_absent_type(plain)
        || (plain == "time" && lower.contains("with time zone"))
    {
        return SqlError::unsupported(format!("the type {lower}"));
    }
    SqlError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("type \"{}\" does not exist", name.to_lowercase()),
    )
}

/// The type that a function of this name casts to: its name in the catalog, no other spelling of it.
pub(super) fn cast_function(name: &str) -> Option<PgType> {
    let id = match name {
        "char" => TypeId::Char,
        other => TypeId::from_name(other).filter(|id| id.name() == other)?,
    };
    let pseudo = matches!(id, TypeId::Unknown | TypeId::Void | TypeId::Record | TypeId::Enum);
    (!pseudo && !id.is_vector()).then(|| PgType::named(id))
}

fn modified(id: TypeId, args: &[i64]) -> Result<PgType, SqlError> {
    Ok(PgType::new(id).with_typmod(typmod::encode(id, args)?))
}

fn float(info: &ExactNumberInfo) -> Result<PgType, SqlError> {
    match info {
        ExactNumberInfo::None => Ok(PgType::FLOAT8),
        ExactNumberInfo::Precision(0) => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "precision for type float must be at least 1 bit",
        )),
        ExactNumberInfo::Precision(1..=24) => Ok(PgType::FLOAT4),
        ExactNumberInfo::Precision(25..=53) => Ok(PgType::FLOAT8),
        ExactNumberInfo::Precision(_) => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "precision for type float must be less than 54 bits",
        )),
        ExactNumberInfo::PrecisionAndScale(..) => Err(SqlError::syntax("syntax error in float")),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<PgType, SqlError> {
    let wide = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    match info {
        ExactNumberInfo::None => Ok(PgType::NUMERIC),
        ExactNumberInfo::Precision(p) => modified(TypeId::Numeric, &[wide(*p)]),
        ExactNumberInfo::PrecisionAndScale(p, s) => modified(TypeId::Numeric, &[wide(*p), *s]),
    }
}

fn characters(id: TypeId, length: Option<&CharacterLength>) -> Result<PgType, SqlError> {
    match length {
        None => Ok(PgType::new(id)),
        Some(CharacterLength::IntegerLength { length, unit: None }) => {
            modified(id, &[i64::try_from(*length).unwrap_or(i64::MAX)])
        }
        Some(other) => Err(SqlError::unsupported(format!("the length {other}"))),
    }
}

fn temporal(id: TypeId, precision: Option<u64>) -> Result<PgType, SqlError> {
    match precision {
        None => Ok(PgType::new(id)),
        Some(p) => modified(id, &[i64::try_from(p).unwrap_or(i64::MAX)]),
    }
}

fn interval(fields: Option<&IntervalFields>, precision: Option<u64>) -> Result<PgType, SqlError> {
    if fields.is_none() && precision.is_none() {
        return Ok(PgType::new(TypeId::Interval));
    }
    let mask = match fields {
        None => field::FULL_RANGE,
        Some(IntervalFields::Year) => field::YEAR,
        Some(IntervalFields::Month) => field::MONTH,
        Some(IntervalFields::Day) => field::DAY,
        Some(IntervalFields::Hour) => field::HOUR,
        Some(IntervalFields::Minute) => field::MINUTE,
        Some(IntervalFields::Second) => field::SECOND,
        Some(IntervalFields::YearToMonth) => field::YEAR | field::MONTH,
        Some(IntervalFields::DayToHour) => field::DAY | field::HOUR,
        Some(IntervalFields::DayToMinute) => field::DAY | field::HOUR | field::MINUTE,
        Some(IntervalFields::DayToSecond) => {
            field::DAY | field::HOUR | field::MINUTE | field::SECOND
        }
        Some(IntervalFields::HourToMinute) => field::HOUR | field::MINUTE,
        Some(IntervalFields::HourToSecond) => field::HOUR | field::MINUTE | field::SECOND,
        Some(IntervalFields::MinuteToSecond) => field::MINUTE | field::SECOND,
    };
    let precision = precision.map(|p| i32::try_from(p).unwrap_or(i32::MAX));
    Ok(PgType::new(TypeId::Interval).with_typmod(typmod::interval(mask, precision)?))
}

fn array(element: &ArrayElemTypeDef) -> Result<PgType, SqlError> {
    match element {
        // Sizes and the number of dimensions are accepted and ignored, as in PostgreSQL.
        ArrayElemTypeDef::SquareBracket(element, _) => match &**element {
            DataType::Array(inner) => array(inner),
            element => Ok(type_of(element)?.to_array()),
        },
        ArrayElemTypeDef::AngleBracket(_)
        | ArrayElemTypeDef::Parenthesis(_)
        | ArrayElemTypeDef::None => Err(SqlError::syntax("syntax error in an array type")),
    }
}

fn custom(name: &ast::ObjectName, args: &[String]) -> Result<PgType, SqlError> {
    let mut parts = name_parts(name)?;
    let last = parts.pop().ok_or_else(|| unknown(""))?;
    if parts.last().is_some_and(|schema| schema != "pg_catalog") {
        return Err(unknown(&name.to_string()));
    }
    // Quoted "char" is the one-byte type; the keyword never comes this way.
    let id = match last.as_str() {
        "char" => Some(TypeId::Char),
        "unknown" | "void" | "record" | "anyenum" => None,
        other => TypeId::from_name(other),
    };
    let array = last.strip_prefix('_').and_then(TypeId::from_name);
    let args: Vec<i64> = args
        .iter()
        .map(|arg| {
            arg.trim().parse().map_err(|_| SqlError::syntax("type modifiers must be integers"))
        })
        .collect::<Result<_, _>>()?;
    match (id, array) {
        (Some(id), _) if args.is_empty() => Ok(PgType::named(id)),
        (Some(id), _) => modified(id, &args),
        (None, Some(element)) if args.is_empty() => Ok(PgType::array_of(element)),
        _ => Err(unknown(&last)),
    }
}
