//! SET, SHOW and RESET.

use pgtypes::Datum;
use sqlparser::ast::{self, ContextModifier, Expr, Set, Value};

use super::Session;
use super::api::{ResultColumn, Severity, Sink};
use super::execute::Tag;
use super::modes::{Level, Mode};
use super::transaction::Block;
use super::utility::text_column;
use crate::bind::{fold, name_parts};
use crate::settings::SETTINGS;
use crate::{SqlError, SqlState};

/// The name of a setting as written: `a.b` stays one name.
fn setting_name(name: &ast::ObjectName) -> Result<String, SqlError> {
    Ok(name_parts(name)?.join("."))
}

/// Values of SET: words, strings and numbers, separated by commas.
pub(crate) fn text_of(values: &[Expr]) -> Result<Option<String>, SqlError> {
    let mut words = Vec::new();
    for value in values {
        words.push(match value {
            Expr::Identifier(ident) if ident.quote_style.is_none() => {
                if values.len() == 1 && ident.value.eq_ignore_ascii_case("default") {
                    return Ok(None);
                }
                ident.value.to_lowercase()
            }
            Expr::Identifier(ident) => format!("\"{}\"", ident.value),
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text)
                    if values.len() == 1 =>
                {
                    text.clone()
                }
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                    format!("\"{text}\"")
                }
                Value::Number(number, _) => number.to_string(),
                Value::Boolean(b) => b.to_string(),
                other => return Err(SqlError::syntax(format!("invalid value: {other}"))),
            },
            // SET TIME ZONE INTERVAL '+01:00' HOUR TO MINUTE
            Expr::Interval(interval) => hours_of(interval)?,
            Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => format!("-{expr}"),
            Expr::UnaryOp { op: ast::UnaryOperator::Plus, expr } => expr.to_string(),
            other => return Err(SqlError::syntax(format!("invalid value: {other}"))),
        });
    }
    Ok(Some(words.join(", ")))
}

/// An offset from UTC as hours, which is how a time zone may be written.
fn hours_of(interval: &ast::Interval) -> Result<String, SqlError> {
    let text = match &*interval.value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.trim()),
            _ => None,
        },
        _ => None,
    };
    let seconds = text.and_then(pgtypes::datetime::zone::parse_offset);
    let seconds = seconds.ok_or_else(|| SqlError::syntax(format!("invalid value: {interval}")))?;
    Ok((f64::from(seconds) / 3600.0).to_string())
}

pub(super) fn run_set(
    session: &mut Session,
    set: &Set,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match set {
        Set::SingleAssignment { scope, hivevar: false, variable, values } => {
            let name = setting_name(variable)?;
            let local = match scope {
                Some(ContextModifier::Local) => true,
                Some(ContextModifier::Global) => {
                    return Err(SqlError::syntax("syntax error at or near \"GLOBAL\""));
                }
                Some(ContextModifier::Session) | None => false,
            };
            assign(session, &name, text_of(values)?, local, sink)?;
        }
        Set::SetTimeZone { local, value } => {
            let value = text_of(std::slice::from_ref(value))?;
            let value = value.filter(|v| !v.eq_ignore_ascii_case("local"));
            assign(session, "timezone", value, *local, sink)?;
        }
        Set::SetNames { charset_name, collation_name: None } => {
            assign(session, "client_encoding", Some(charset_name.value.clone()), false, sink)?;
        }
        other => return Err(SqlError::unsupported(other.to_string())),
    }
    Ok(Tag::Text("SET"))
}

/// SET TRANSACTION.
pub(super) fn set_transaction(
    session: &mut Session,
    modes: &[Mode],
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if session.tx.block == Block::Explicit {
        session.set_transaction(modes)?;
    } else {
        sink.notice(
            Severity::Warning,
            &SqlError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION can only be used in transaction blocks",
            ),
        );
    }
    Ok(Tag::Text("SET"))
}

/// SET SESSION CHARACTERISTICS: what is not named stays.
pub(super) fn set_session(
    session: &mut Session,
    modes: &[Mode],
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let on = |flag: bool| if flag { "on" } else { "off" };
    for mode in modes {
        let (name, value) = match *mode {
            Mode::Level(level) => ("default_transaction_isolation", level.name()),
            Mode::ReadOnly(read_only) => ("default_transaction_read_only", on(read_only)),
            Mode::Deferrable(deferrable) => ("default_transaction_deferrable", on(deferrable)),
            Mode::AsOf(_) => return Err(SqlError::unsupported("a session in the past")),
        };
        assign(session, name, Some(value.to_owned()), false, sink)?;
    }
    Ok(Tag::Text("SET"))
}

/// `None` is DEFAULT.
pub(super) fn assign(
    session: &mut Session,
    name: &str,
    value: Option<String>,
    local: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    // The level of the transaction that runs is the transaction's, not the session's.
    if let Some(value) = &value
        && let Some(mode) = transaction_mode(name, value)?
    {
        return session.set_transaction(&[mode]);
    }
    if local && session.tx.block == Block::Idle {
        sink.notice(
            Severity::Warning,
            &SqlError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            ),
        );
        return Ok(());
    }
    if let Some(value) = &value {
        session.may_assign(name, value)?;
    }
    let (name, value) = match value {
        None => session.settings.reset(name)?,
        Some(value) if local => session.settings.set_local(name, &value)?,
        Some(value) => session.settings.set(name, &value)?,
    };
    if session.tx.block == Block::Idle {
        session.settings.commit();
    }
    session.refresh_env();
    report(&name, &value, sink);
    Ok(())
}

fn transaction_mode(name: &str, value: &str) -> Result<Option<Mode>, SqlError> {
    let flag = |name: &str| {
        crate::settings::parse_bool(value).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{name}\" requires a Boolean value"),
            )
        })
    };
    let name = name.to_ascii_lowercase();
    Ok(match name.as_str() {
        "transaction_isolation" => match Level::named(value) {
            Some(level) => Some(Mode::Level(level)),
            None => {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("invalid value for parameter \"{name}\": \"{value}\""),
                )
                .hint(
                    "Available values: serializable, repeatable read, read committed, read \
                     uncommitted.",
                ));
            }
        },
        "transaction_read_only" => Some(Mode::ReadOnly(flag(&name)?)),
        "transaction_deferrable" => Some(Mode::Deferrable(flag(&name)?)),
        _ => None,
    })
}

fn report(name: &str, value: &str, sink: &mut dyn Sink) {
    let setting = SETTINGS.iter().find(|s| s.reported && s.name.eq_ignore_ascii_case(name));
    if let Some(setting) = setting {
        sink.parameter_status(setting.name, value);
    }
}

/// Tells the client every reported setting anew.
pub(super) fn report_all(session: &Session, sink: &mut dyn Sink) {
    for (name, value) in session.parameter_status() {
        sink.parameter_status(name, &value);
    }
}

/// `SHOW a b` as one name: sqlparser splits `TIME ZONE` and the like into words.
fn shown(variable: &[ast::Ident]) -> String {
    let words: Vec<String> = variable.iter().map(fold).collect();
    match words.join(" ").as_str() {
        "time zone" => "timezone".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "session authorization" => "session_authorization".to_owned(),
        _ => words.join("."),
    }
}

pub(super) fn show_columns(variable: &[ast::Ident]) -> Vec<ResultColumn> {
    let name = shown(variable);
    if name == "all" {
        return ["name", "setting", "description"].map(text_column).to_vec();
    }
    let canonical = SETTINGS.iter().find(|s| s.name.eq_ignore_ascii_case(&name));
    vec![text_column(canonical.map_or(&name, |s| s.name))]
}

pub(super) fn show(
    session: &mut Session,
    variable: &[ast::Ident],
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let name = shown(variable);
    sink.environment(&session.env);
    sink.columns(&show_columns(variable))?;
    if name == "all" {
        for (name, value, description) in session.all_settings() {
            sink.row(&[Datum::text(name), Datum::text(value), Datum::text(description)])?;
        }
        return Ok(Tag::Text("SHOW"));
    }
    let lower = name.to_ascii_lowercase();
    let value = match session.current_modes().shown().setting(&lower) {
        Some(value) => value.to_owned(),
        None if lower == "session_authorization" => session.env.session_user.clone(),
        None => session.settings.get(&name)?,
    };
    sink.row(&[Datum::text(value)])?;
    Ok(Tag::Text("SHOW"))
}

pub(super) fn reset(
    session: &mut Session,
    reset: &ast::Reset,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    match reset {
        ast::Reset::ALL => {
            session.settings.reset_all();
            if session.tx.block == Block::Idle {
                session.settings.commit();
            }
            session.refresh_env();
            report_all(session, sink);
        }
        ast::Reset::ConfigurationParameter(name)
            if matches!(setting_name(name)?.as_str(), "role" | "session_authorization") =>
        {
            return session.reset_who(setting_name(name)? != "role", sink);
        }
        ast::Reset::ConfigurationParameter(name) => {
            assign(session, &setting_name(name)?, None, false, sink)?;
        }
    }
    Ok(Tag::Text("RESET"))
}
