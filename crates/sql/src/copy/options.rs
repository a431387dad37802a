//! COPY's options: defaults, and what contradicts what.

use super::parse::{CopyStatement, OptionValue};
use crate::bind::fold;
use crate::settings::parse_bool;
use crate::{SqlError, SqlState};

/// What a file looks like.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) csv: bool,
    pub(super) binary: bool,
    pub(super) delimiter: u8,
    pub(super) null: String,
    pub(super) header: Header,
    pub(super) quote: u8,
    pub(super) escape: u8,
    /// TO: columns always quoted.
    pub(super) force_quote: Columns,
    /// FROM: columns whose values are never NULL.
    pub(super) force_not_null: Columns,
    /// FROM: columns whose quoted values may be NULL.
    pub(super) force_null: Columns,
}

/// What the first line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// Data.
    None,
    /// Names.
    Names,
    /// Names, and they must be those of the columns.
    Match,
}

/// Some columns, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Columns {
    All,
    Named(Vec<String>),
}

impl Columns {
    const NONE: Columns = Columns::Named(Vec::new());

    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Columns::All => true,
            Columns::Named(names) => names.iter().any(|n| n == name),
        }
    }

    fn is_none(&self) -> bool {
        *self == Columns::NONE
    }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

fn one_byte(name: &str, value: &str) -> Result<u8, SqlError> {
    match value.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(invalid(format!("COPY {name} must be a single one-byte character"))),
    }
}

fn columns(name: &str, value: &OptionValue) -> Result<Columns, SqlError> {
    match value {
        OptionValue::Columns(None) => Ok(Columns::All),
        OptionValue::Columns(Some(list)) => Ok(Columns::Named(list.iter().map(fold).collect())),
        _ => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("argument to option \"{name}\" must be a list of column names"),
        )),
    }
}

fn boolean(name: &str, value: &OptionValue) -> Result<bool, SqlError> {
    match value {
        OptionValue::None => Ok(true),
        OptionValue::Word(word) => parse_bool(word)
            .ok_or_else(|| SqlError::syntax(format!("{name} requires a Boolean value"))),
        OptionValue::Columns(_) => {
            Err(SqlError::syntax(format!("{name} requires a Boolean value")))
        }
    }
}

impl Options {
    pub(super) fn new(statement: &CopyStatement) -> Result<Options, SqlError> {
        let mut seen: Vec<&str> = Vec::new();
        let (mut csv, mut binary) = (false, false);
        let (mut delimiter, mut null, mut quote, mut escape) = (None, None, None, None);
        let mut options = Options {
            csv: false,
            binary: false,
            delimiter: b'\t',
            null: "\\N".to_owned(),
            header: Header::None,
            quote: b'"',
            escape: b'"',
            force_quote: Columns::NONE,
            force_not_null: Columns::NONE,
            force_null: Columns::NONE,
        };
        for (name, value) in &statement.options {
            if seen.contains(&name.as_str()) {
                return Err(SqlError::syntax("conflicting or redundant options"));
            }
            seen.push(name);
            let word = || match value {
                OptionValue::Word(word) => Ok(word.as_str()),
                _ => Err(SqlError::syntax(format!("{name} requires a parameter"))),
            };
            match name.as_str() {
                "format" => match word()?.to_ascii_lowercase().as_str() {
                    "text" => {}
                    "csv" => csv = true,
                    "binary" => binary = true,
                    other => {
                        return Err(SqlError::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("COPY format \"{other}\" not recognized"),
                        ));
                    }
                },
                // Rows are never frozen here, nor is there anything to freeze.
                "freeze" => drop(boolean(name, value)?),
                "delimiter" => delimiter = Some(one_byte(name, word()?)?),
                "null" => null = Some(word()?.to_owned()),
                "quote" => quote = Some(one_byte(name, word()?)?),
                "escape" => escape = Some(one_byte(name, word()?)?),
                "header" => {
                    options.header = match value {
                        OptionValue::Word(w) if w.eq_ignore_ascii_case("match") => Header::Match,
                        _ if boolean(name, value)? => Header::Names,
                        _ => Header::None,
                    };
                }
                "encoding" => {
                    let encoding = word()?.to_ascii_uppercase();
                    if !matches!(encoding.as_str(), "UTF8" | "UTF-8" | "UNICODE" | "SQL_ASCII") {
                        return Err(SqlError::unsupported(format!("encoding {encoding}")));
                    }
                }
                "force_quote" => options.force_quote = columns(name, value)?,
                "force_not_null" => options.force_not_null = columns(name, value)?,
                "force_null" => options.force_null = columns(name, value)?,
                other => {
                    return Err(SqlError::syntax(format!("option \"{other}\" not recognized")));
                }
            }
        }
        options.csv = csv;
        options.binary = binary;
        if binary {
            let text_only = [("DELIMITER", delimiter.is_some()), ("NULL", null.is_some())];
            if let Some((name, _)) = text_only.iter().find(|(_, given)| *given) {
                return Err(SqlError::syntax(format!("cannot specify {name} in BINARY mode")));
            }
            if options.header != Header::None {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "cannot specify HEADER in BINARY mode",
                ));
            }
        }
        if csv {
            options.delimiter = b',';
            options.null = String::new();
        }
        options.delimiter = delimiter.unwrap_or(options.delimiter);
        options.null = null.unwrap_or(options.null);
        options.escape = escape.or(quote).unwrap_or(options.escape);
        options.quote = quote.unwrap_or(options.quote);
        options.check(statement.from, csv || (quote.is_none() && escape.is_none()))?;
        Ok(options)
    }

    fn check(&self, from: bool, quotes_allowed: bool) -> Result<(), SqlError> {
        if !quotes_allowed {
            return Err(invalid("COPY quote and escape available only in CSV mode"));
        }
        if matches!(self.delimiter, b'\n' | b'\r') {
            return Err(invalid("COPY delimiter cannot be newline or carriage return"));
        }
        if self.null.contains(['\n', '\r']) {
            return Err(invalid("COPY null representation cannot use newline or carriage return"));
        }
        let forced = [&self.force_quote, &self.force_not_null, &self.force_null];
        if !self.csv && forced.iter().any(|c| !c.is_none()) {
            return Err(invalid("COPY force options are available only in CSV mode"));
        }
        if !self.csv && b"\\abcdefghijklmnopqrstuvwxyz0123456789.".contains(&self.delimiter) {
            return Err(invalid(format!(
                "COPY delimiter cannot be \"{}\"",
                char::from(self.delimiter)
            )));
        }
        if self.csv && self.delimiter == self.quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if self.null.as_bytes().contains(&self.delimiter) {
            return Err(invalid("COPY delimiter must not appear in the NULL specification"));
        }
        let given = |columns: &Columns| !columns.is_none();
        if from && given(&self.force_quote) {
            return Err(invalid("COPY force quote only available using COPY TO"));
        }
        if !from && (given(&self.force_not_null) || given(&self.force_null)) {
            return Err(invalid(
                "COPY force null and force not null only available using COPY FROM",
            ));
        }
        Ok(())
    }
}
