//! The arguments of a call as written, with every clause accounted for.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, NullTreatment, OrderByExpr,
};

use crate::error::{SqlError, SqlState};

/// Everything between the parentheses of a call, and behind them.
pub(crate) struct Args<'e> {
    pub(crate) exprs: Vec<&'e Expr>,
    /// `count(*)`.
    pub(crate) star: bool,
    pub(crate) distinct: bool,
    pub(crate) order_by: &'e [OrderByExpr],
    pub(crate) filter: Option<&'e Expr>,
    /// IGNORE NULLS (RESPECT NULLS is the default).
    pub(crate) null_treatment: bool,
    /// Keys of WITHIN GROUP.
    pub(crate) within_group: &'e [OrderByExpr],
}

impl<'e> Args<'e> {
    pub(crate) fn of(function: &'e Function) -> Result<Self, SqlError> {
        let Function {
            name: _,
            uses_odbc_syntax: _,
            parameters,
            args,
            filter,
            null_treatment,
            over: _,
            within_group,
        } = function;
        if !matches!(parameters, FunctionArguments::None) {
            return Err(SqlError::unsupported("a second list of arguments"));
        }
        let mut result = Args {
            exprs: Vec::new(),
            star: false,
            distinct: false,
            order_by: &[],
            filter: filter.as_deref(),
            null_treatment: matches!(null_treatment, Some(NullTreatment::IgnoreNulls)),
            within_group,
        };
        match args {
            // CURRENT_DATE and the like.
            FunctionArguments::None => {}
            FunctionArguments::Subquery(_) => {
                return Err(SqlError::unsupported("a query as the argument of a function"));
            }
            FunctionArguments::List(list) => result.take(list)?,
        }
        Ok(result)
    }

    fn take(&mut self, list: &'e FunctionArgumentList) -> Result<(), SqlError> {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        self.distinct = matches!(duplicate_treatment, Some(DuplicateTreatment::Distinct));
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.exprs.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => self.star = true,
                FunctionArg::Unnamed(
                    FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::WildcardWithOptions(_),
                ) => return Err(SqlError::unsupported("a whole row as an argument")),
                FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                    return Err(SqlError::unsupported("a named argument"));
                }
            }
        }
        if self.star && !self.exprs.is_empty() {
            return Err(SqlError::syntax("syntax error at or near \"*\""));
        }
        for clause in clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => self.order_by = keys,
                FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::RespectNulls) => {}
                FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls) => {
                    self.null_treatment = true;
                }
                other => return Err(SqlError::unsupported(format!("{other} in a call"))),
            }
        }
        Ok(())
    }

    /// 42809 for what only aggregates may have.
    pub(crate) fn refuse_aggregate_clauses(&self, name: &str) -> Result<(), SqlError> {
        let what = if self.star {
            "(*) specified"
        } else if self.distinct {
            "DISTINCT specified"
        } else if !self.order_by.is_empty() {
            "ORDER BY specified"
        } else if self.filter.is_some() {
            "FILTER specified"
        } else if !self.within_group.is_empty() {
            "WITHIN GROUP specified"
        } else if self.null_treatment {
            return Err(SqlError::unsupported("IGNORE NULLS"));
        } else {
            return Ok(());
        };
        Err(SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("{what}, but {name} is not an aggregate function"),
        ))
    }
}
