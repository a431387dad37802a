//! Constants as written.

use pgtypes::{Datum, PgType, parse_text};
use sqlparser::ast;
use sqlparser::tokenizer::Span;

use super::Binder;
use crate::error::{SqlError, SqlState};
use crate::ir::Scalar;

impl Binder<'_> {
    /// A constant or parameter.
    pub(crate) fn value(&mut self, value: &ast::ValueWithSpan) -> Result<Scalar, SqlError> {
        let span = value.span;
        match &value.value {
            ast::Value::Number(text, _) => self.number(text, false, span),
            ast::Value::SingleQuotedString(text)
            | ast::Value::EscapedStringLiteral(text)
            | ast::Value::UnicodeStringLiteral(text)
            | ast::Value::NationalStringLiteral(text) => Ok(unknown(text)),
            ast::Value::DollarQuotedString(text) => Ok(unknown(&text.value)),
            ast::Value::Boolean(value) => Ok(Scalar::bool(*value)),
            ast::Value::Null => Ok(Scalar::null(PgType::UNKNOWN)),
            ast::Value::Placeholder(name) => self.placeholder(name, span),
            ast::Value::HexStringLiteral(_) | ast::Value::SingleQuotedByteStringLiteral(_) => {
                Err(SqlError::unsupported("a bit string constant").at(self.pos(span)))
            }
            other => {
                Err(SqlError::syntax(format!("syntax error at or near \"{other}\""))
                    .at(self.pos(span)))
            }
        }
    }

    /// int4 if it fits, else int8, else numeric.
    pub(crate) fn number(
        &mut self,
        text: &str,
        negative: bool,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let digits = text.replace('_', "");
        let signed = if negative { format!("-{digits}") } else { digits };
        if let Ok(value) = signed.parse::<i32>() {
            return Ok(Scalar::Literal(Datum::Int4(value), PgType::INT4));
        }
        if let Ok(value) = signed.parse::<i64>() {
            return Ok(Scalar::Literal(Datum::Int8(value), PgType::INT8));
        }
        let datum = parse_text(&signed, PgType::NUMERIC, self.env)
            .map_err(|e| SqlError::from(e).at(self.pos(span)))?;
        Ok(Scalar::Literal(datum, PgType::NUMERIC))
    }

    fn placeholder(&mut self, name: &str, span: Span) -> Result<Scalar, SqlError> {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        match number {
            Some(number @ 1..=65_535) => {
                let index = number - 1;
                Ok(Scalar::Param { index, ty: self.param(index) })
            }
            Some(number) => Err(SqlError::new(
                SqlState::UNDEFINED_PARAMETER,
                format!("there is no parameter ${number}"),
            )
            .at(self.pos(span))),
            None => {
                Err(SqlError::syntax(format!("syntax error at or near \"{name}\""))
                    .at(self.pos(span)))
            }
        }
    }
}

fn unknown(text: &str) -> Scalar {
    Scalar::Literal(Datum::text(text), PgType::UNKNOWN)
}

/// The text of a string constant.
pub(crate) fn string_of(value: &ast::Value) -> Option<&str> {
    match value {
        ast::Value::SingleQuotedString(text)
        | ast::Value::EscapedStringLiteral(text)
        | ast::Value::UnicodeStringLiteral(text)
        | ast::Value::NationalStringLiteral(text) => Some(text),
        ast::Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}
