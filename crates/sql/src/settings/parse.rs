//! Reading values of settings.

use pgtypes::EvalEnv;
use pgtypes::env::{ByteaOutput, DateFormat, DateOrder, IntervalStyle};

use super::{Kind, Setting, Settings};
use crate::{SqlError, SqlState};

fn invalid(setting: &Setting, value: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", setting.name),
    )
}

/// on, true, yes, 1 and their opposites, or an unambiguous beginning of them.
#[must_use]
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    match value.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) || begins("on", 2) => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

/// A time in milliseconds: `500`, `5s`, `1min`.
#[must_use]
pub fn parse_millis(value: &str) -> Option<i64> {
    let value = value.trim();
    let split = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1.0,
        "us" => 0.001,
        "s" => 1e3,
        "min" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    let millis = (number * factor).round();
    (0.0..=2_147_483_647.0).contains(&millis).then_some(millis as i64)
}

/// A size in bytes: `512`, `64kB`, `1MB`; no more than 1 GB.
#[must_use]
pub fn parse_bytes(value: &str) -> Option<usize> {
    let value = value.trim();
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    let bytes = number.parse::<usize>().ok()?.checked_mul(1 << shift)?;
    (bytes <= 1 << 30).then_some(bytes)
}

fn show_bytes(bytes: usize) -> String {
    const UNITS: [(usize, &str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")];
    match UNITS.iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

pub(super) fn show_millis(millis: i64) -> String {
    const UNITS: [(i64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    match UNITS.iter().find(|(size, _)| millis > 0 && millis % size == 0) {
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None => "0".to_owned(),
    }
}

/// The value as SHOW prints it, or why it is refused.
pub(super) fn canonical(setting: &Setting, value: &str) -> Result<String, SqlError> {
    let refuse = || invalid(setting, value);
    Ok(match setting.kind {
        Kind::ReadOnly => return Err(super::read_only(setting.name)),
        Kind::Bool => match parse_bool(value) {
            Some(true) => "on".to_owned(),
            Some(false) => "off".to_owned(),
            None => {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("parameter \"{}\" requires a Boolean value", setting.name),
                ));
            }
        },
        Kind::Int(least, most) => {
            let number: i64 = value.trim().parse().map_err(|_| refuse())?;
            if !(least..=most).contains(&number) {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!(
                        "{number} is outside the valid range for parameter \"{}\" ({least} .. {most})",
                        setting.name
                    ),
                ));
            }
            number.to_string()
        }
        Kind::Millis => show_millis(parse_millis(value).ok_or_else(refuse)?),
        Kind::Bytes => show_bytes(parse_bytes(value).ok_or_else(refuse)?),
        Kind::Enum(allowed) => {
            let lower = value.trim().to_ascii_lowercase();
            if !allowed.contains(&lower.as_str()) {
                let available = format!("Available values: {}.", allowed.join(", "));
                return Err(refuse().hint(available));
            }
            lower
        }
        Kind::Text => value.chars().filter(|c| !c.is_control()).collect(),
        Kind::Names => value.to_owned(),
        Kind::TimeZone => time_zone(value).ok_or_else(refuse)?,
        Kind::DateStyle => {
            let (format, order) = date_style(value).ok_or_else(refuse)?;
            show_date_style(format, order)
        }
        Kind::Only(only) => only_value(setting, only, value)?,
    })
}

fn only_value(setting: &Setting, only: &str, value: &str) -> Result<String, SqlError> {
    let same = value.eq_ignore_ascii_case(only)
        || (setting.name == "client_encoding"
            && matches!(
                value.trim_matches('\'').to_ascii_uppercase().as_str(),
                "UTF-8" | "UNICODE" | "UTF8"
            ))
        || (only == "on" && parse_bool(value) == Some(true))
        || (setting.name.starts_with("lc_") && value.is_empty());
    if same {
        return Ok(only.to_owned());
    }
    Err(SqlError::unsupported(format!("{} = \"{value}\"", setting.name))
        .hint(format!("The value is always \"{only}\".")))
}

fn time_zone(value: &str) -> Option<String> {
    let zone = value.trim();
    let zone = if zone.eq_ignore_ascii_case("default") || zone.eq_ignore_ascii_case("local") {
        "UTC"
    } else {
        zone
    };
    pgtypes::datetime::zone::TimeZone::parse(zone).map(|z| z.name().to_owned())
}

/// `ISO, MDY` in any order, either half alone.
fn date_style(value: &str) -> Option<(DateFormat, DateOrder)> {
    let (mut format, mut order) = (DateFormat::default(), None);
    for word in value.split(',').map(|w| w.trim().to_ascii_lowercase()) {
        match word.as_str() {
            "iso" | "default" => format = DateFormat::Iso,
            "sql" => format = DateFormat::Sql,
            "postgres" => format = DateFormat::Postgres,
            "german" => format = DateFormat::German,
            "mdy" | "us" | "noneuro" | "noneuropean" => order = Some(DateOrder::Mdy),
            "dmy" | "euro" | "european" => order = Some(DateOrder::Dmy),
            "ymd" => order = Some(DateOrder::Ymd),
            _ => return None,
        }
    }
    // German dates are read as they are written, unless another order is asked for.
    let default = match format {
        DateFormat::German => DateOrder::Dmy,
        DateFormat::Iso | DateFormat::Sql | DateFormat::Postgres => DateOrder::default(),
    };
    Some((format, order.unwrap_or(default)))
}

fn show_date_style(format: DateFormat, order: DateOrder) -> String {
    let format = match format {
        DateFormat::Iso => "ISO",
        DateFormat::Sql => "SQL",
        DateFormat::Postgres => "Postgres",
        DateFormat::German => "German",
    };
    let order = match order {
        DateOrder::Mdy => "MDY",
        DateOrder::Dmy => "DMY",
        DateOrder::Ymd => "YMD",
    };
    format!("{format}, {order}")
}

/// A list of identifiers, quoted or not: `"$user", public`.
pub(super) fn identifiers(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut finish = |current: &mut String, was_quoted: &mut bool| {
        let name = if *was_quoted {
            std::mem::take(current)
        } else {
            std::mem::take(current).trim().to_lowercase()
        };
        if !name.is_empty() {
            names.push(name);
        }
        *was_quoted = false;
    };
    for c in list.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => finish(&mut current, &mut was_quoted),
            ' ' if !quoted => {}
            c => current.push(c),
        }
    }
    finish(&mut current, &mut was_quoted);
    names
}

pub(super) fn fill(settings: &Settings, env: &mut EvalEnv) {
    if let Some(zone) = pgtypes::datetime::zone::TimeZone::parse(settings.known("timezone")) {
        env.time_zone = zone;
    }
    if let Some((format, order)) = date_style(settings.known("datestyle")) {
        env.date_format = format;
        env.date_order = order;
    }
    env.interval_style = match settings.known("intervalstyle") {
        "postgres_verbose" => IntervalStyle::PostgresVerbose,
        "sql_standard" => IntervalStyle::SqlStandard,
        "iso_8601" => IntervalStyle::Iso8601,
        _ => IntervalStyle::Postgres,
    };
    env.bytea_output = match settings.known("bytea_output") {
        "escape" => ByteaOutput::Escape,
        _ => ByteaOutput::Hex,
    };
    env.extra_float_digits = settings.known("extra_float_digits").parse().unwrap_or(1);
    env.server_version = settings.known("server_version").to_owned();
}
