//! The arguments of a call as written, with every clause accounted for.

use pgtypes::{Datum, PgType, registry};
use sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, NullTreatment, OrderByExpr,
    Spanned,
};
use sqlparser::tokenizer::Span;

use super::expr::Cx;
use super::spelling::is_variadic;
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::Scalar;

/// Everything between the parentheses of a call, and behind them.
pub(crate) struct Args<'e> {
    pub(crate) exprs: Vec<&'e Expr>,
    /// What the arguments are called in the call: the last ones, from `exprs`' end back.
    pub(crate) names: Vec<String>,
    /// Is the last one VARIADIC, an array of arguments?
    pub(crate) variadic: bool,
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
            names: Vec::new(),
            variadic: false,
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
            self.one(arg)?;
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

    /// One argument; those of functions in FROM come one by one.
    pub(crate) fn one(&mut self, arg: &'e FunctionArg) -> Result<(), SqlError> {
        let (name, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp {
                left,
                op: BinaryOperator::Assignment,
                right,
            })) => match &**left {
                Expr::Identifier(name) => (Some(fold(name)), &**right),
                _ => return Err(SqlError::syntax("syntax error at or near \":=\"")),
            },
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => (None, expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {
                self.star = true;
                return Ok(());
            }
            FunctionArg::Unnamed(
                FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::WildcardWithOptions(_),
            ) => return Err(SqlError::unsupported("a whole row as an argument")),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), operator: _ } => {
                (Some(fold(name)), expr)
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(expr),
                operator: _,
            } => (Some(fold(name)), expr),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                return Err(SqlError::unsupported("such a named argument"));
            }
        };
        match name {
            Some(name) if is_variadic(&name) => self.variadic = true,
            Some(name) if self.names.contains(&name) => {
                return Err(SqlError::syntax(format!(
                    "argument name \"{name}\" used more than once"
                )));
            }
            Some(name) => self.names.push(name),
            None if !self.names.is_empty() => {
                return Err(SqlError::syntax("positional argument cannot follow named argument"));
            }
            None => {}
        }
        self.exprs.push(value);
        Ok(())
    }

    /// An empty list.
    pub(crate) fn none() -> Self {
        Args {
            exprs: Vec::new(),
            names: Vec::new(),
            variadic: false,
            star: false,
            distinct: false,
            order_by: &[],
            filter: None,
            null_treatment: false,
            within_group: &[],
        }
    }

    /// 0A000 for names and VARIADIC, where no function has them.
    pub(crate) fn refuse_names(&self, what: &str) -> Result<(), SqlError> {
        match (self.names.is_empty(), self.variadic) {
            (true, false) => Ok(()),
            (false, _) => Err(SqlError::unsupported(format!("a named argument of {what}"))),
            (_, true) => Err(SqlError::unsupported(format!("VARIADIC in {what}"))),
        }
    }

    /// 0A000 for VARIADIC of a function that returns rows.
    pub(crate) fn refuse_variadic(&self, name: &str) -> Result<(), SqlError> {
        match self.variadic {
            true => Err(SqlError::unsupported(format!("VARIADIC in a call of {name}"))),
            false => Ok(()),
        }
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

impl Binder<'_> {
    /// The arguments of a function, bound, in the order that it has them.
    pub(crate) fn bound_args(
        &mut self,
        function: &str,
        args: &Args<'_>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Vec<(Scalar, Span)>, SqlError> {
        let mut bound = Vec::with_capacity(args.exprs.len());
        for arg in &args.exprs {
            bound.push((self.expr(arg, cx)?, arg.span()));
        }
        if args.names.is_empty() {
            return Ok(bound);
        }
        let named = bound.split_off(bound.len() - args.names.len());
        let unknown = |bound: &[(Scalar, Span)], named: &[(Scalar, Span)]| {
            let types = bound.iter().map(|(arg, _)| arg.ty().sql_name());
            let rest = args.names.iter().zip(named);
            let rest = rest.map(|(name, (arg, _))| format!("{name} => {}", arg.ty().sql_name()));
            SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!(
                    "function {function}({}) does not exist",
                    types.chain(rest).collect::<Vec<_>>().join(", ")
                ),
            )
            .hint(
                "No function matches the given name and argument types. You might need to add \
                 explicit type casts.",
            )
        };
        let Some(parameters) = registry::parameters(function) else {
            return Err(unknown(&bound, &named).at(self.pos(span)));
        };
        let places: Option<Vec<usize>> = args
            .names
            .iter()
            .map(|name| parameters.names.iter().position(|known| known == name))
            .collect();
        let Some(places) = places.filter(|places| places.iter().all(|at| *at >= bound.len()))
        else {
            return Err(unknown(&bound, &named).at(self.pos(span)));
        };
        let last = places.iter().max().copied().unwrap_or(0);
        let first_default = parameters.names.len() - parameters.defaults.len();
        for at in bound.len()..=last {
            let given = places.iter().position(|place| *place == at);
            match given {
                Some(given) => bound.push(named[given].clone()),
                None if at >= first_default => {
                    let text = parameters.defaults[at - first_default];
                    let literal = Scalar::Literal(Datum::text(text), PgType::UNKNOWN);
                    bound.push((literal, span));
                }
                None => return Err(unknown(&bound, &named).at(self.pos(span))),
            }
        }
        Ok(bound)
    }
}
