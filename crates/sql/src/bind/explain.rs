//! EXPLAIN: its options, and the statement in it.

use std::sync::Arc;

use pgtypes::PgType;
use sqlparser::ast::{self, AnalyzeFormat, AnalyzeFormatKind, Expr, UtilityOption};

use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{Explain, ExplainFormat, OutputColumn, Statement};

impl Binder<'_> {
    pub(crate) fn explain(&mut self, statement: &ast::Statement) -> Result<Statement, SqlError> {
        let ast::Statement::Explain {
            describe_alias: _,
            analyze,
            verbose,
            query_plan,
            estimate,
            statement,
            format,
            options,
        } = statement
        else {
            return Err(SqlError::internal("not an EXPLAIN"));
        };
        if *query_plan || *estimate {
            return Err(SqlError::syntax("syntax error in EXPLAIN"));
        }
        let inner = self.statement(statement)?;
        if matches!(inner, Statement::With(_) | Statement::Utility(_) | Statement::Explain(_)) {
            return Err(SqlError::unsupported("EXPLAIN of this statement"));
        }
        let json = match format {
            None => ExplainFormat::Text,
            Some(AnalyzeFormatKind::Keyword(format) | AnalyzeFormatKind::Assignment(format)) => {
                match format {
                    AnalyzeFormat::TEXT => ExplainFormat::Text,
                    AnalyzeFormat::JSON => ExplainFormat::Json,
                    other => {
                        return Err(SqlError::unsupported(format!("EXPLAIN (FORMAT {other})")));
                    }
                }
            }
        };
        let mut explain = Explain {
            statement: inner,
            analyze: *analyze,
            verbose: *verbose,
            costs: true,
            locks: false,
            ranges: false,
            timing: true,
            summary: None,
            format: json,
            columns: Vec::new(),
        };
        let mut timed = false;
        for option in options.iter().flatten() {
            timed |= self.explain_option(option, &mut explain)?;
        }
        if timed && explain.timing && !explain.analyze {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "EXPLAIN option TIMING requires ANALYZE",
            ));
        }
        let ty = match explain.format {
            ExplainFormat::Text => PgType::TEXT,
            ExplainFormat::Json => PgType::new(pgtypes::TypeId::Json),
        };
        let column = self.fresh("QUERY PLAN", ty);
        explain.columns =
            vec![OutputColumn { id: column.id, name: Arc::from("QUERY PLAN"), ty, origin: None }];
        Ok(Statement::Explain(Box::new(explain)))
    }

    /// Takes one option in. Answers whether it is TIMING.
    fn explain_option(
        &mut self,
        option: &UtilityOption,
        explain: &mut Explain,
    ) -> Result<bool, SqlError> {
        let UtilityOption { name, arg } = option;
        let folded = fold(name);
        let word = arg.as_ref().map(|arg| word(arg).to_lowercase());
        let on = match word.as_deref() {
            None | Some("true" | "on" | "1") => true,
            Some("false" | "off" | "0") => false,
            Some(_) if folded == "format" => true,
            Some(_) => {
                return Err(SqlError::syntax(format!("{folded} requires a Boolean value")));
            }
        };
        match folded.as_str() {
            "analyze" => explain.analyze = on,
            "verbose" => explain.verbose = on,
            "costs" => explain.costs = on,
            // What is off by default and said to be off changes nothing.
            "buffers" | "wal" | "settings" if !on => {}
            "locks" => explain.locks = on,
            "ranges" => explain.ranges = on,
            "timing" => explain.timing = on,
            "summary" => explain.summary = Some(on),
            "format" => match word.as_deref() {
                Some("text") => explain.format = ExplainFormat::Text,
                Some("json") => explain.format = ExplainFormat::Json,
                other => {
                    return Err(SqlError::unsupported(format!(
                        "EXPLAIN (FORMAT {})",
                        other.unwrap_or("")
                    )));
                }
            },
            "buffers" | "wal" | "settings" => {
                return Err(SqlError::unsupported(format!("EXPLAIN ({})", folded.to_uppercase())));
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("unrecognized EXPLAIN option \"{folded}\""),
                )
                .at(self.pos(name.span)));
            }
        }
        Ok(folded == "timing")
    }
}

fn word(expr: &Expr) -> String {
    match expr {
        Expr::Value(value) => match super::literal::string_of(&value.value) {
            Some(text) => text.to_owned(),
            None => value.value.to_string(),
        },
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}
