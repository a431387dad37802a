//! Functions in FROM: one row, or a set of rows.

use std::sync::Arc;

use pgtypes::{PgType, TypeId};
use sqlparser::ast::{Expr, FunctionArg, ObjectName, Spanned, TableAlias};
use sqlparser::tokenizer::Span;

use super::call_args::Args;
use super::expr::Cx;
use super::scope::{Clause, FromItem, Scope, plain_columns};
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{FunctionScan, Rel, Scalar, SetFunction};

impl Binder<'_> {
    pub(crate) fn function_in_from(
        &mut self,
        name: &ObjectName,
        args: &[FunctionArg],
        ordinality: bool,
        alias: Option<&TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        let span = name.span();
        let name = self.function_name(name)?;
        let mut list = Args::none();
        for arg in args {
            list.one(arg).map_err(|e| e.at(self.pos(span)))?;
        }
        list.refuse_variadic("a function in FROM").map_err(|e| e.at(self.pos(span)))?;
        if list.star {
            return Err(SqlError::syntax("syntax error at or near \"*\"").at(self.pos(span)));
        }
        let mut cx = Cx::plain(scope, Clause::FromFunction);
        let bound = self.bound_args(&name, &list, span, &mut cx)?;
        let function = SetFunction::by_name(&name);
        if function.is_none() && pgtypes::registry::is_set_function(&name) {
            return self.rows_in_from(&name, bound, ordinality, alias, span);
        }
        self.function_item(function, &name, bound, ordinality, alias, span)
    }

    pub(crate) fn unnest_in_from(
        &mut self,
        arrays: &[Expr],
        ordinality: bool,
        alias: Option<&TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        let mut bound = Vec::with_capacity(arrays.len());
        for array in arrays {
            bound.push((self.expr_in(array, scope, Clause::FromFunction)?, array.span()));
        }
        let span = arrays.first().map_or(Span::empty(), Spanned::span);
        self.function_item(Some(SetFunction::Unnest), "unnest", bound, ordinality, alias, span)
    }

    fn function_item(
        &mut self,
        function: Option<SetFunction>,
        name: &str,
        args: Vec<(Scalar, Span)>,
        ordinality: bool,
        alias: Option<&TableAlias>,
        span: Span,
    ) -> Result<FromItem, SqlError> {
        let (function, args, types) = match function {
            Some(function) => {
                let (args, types) = self.set_function_args(function, name, args, span)?;
                (function, args, types)
            }
            None => {
                let value = match self.conditional(name, args.clone(), span)? {
                    Some(value) => value,
                    None => self.call(name, args, span)?,
                };
                if value.ty().id == TypeId::Record {
                    return Err(SqlError::unsupported("a function returning a record in FROM"));
                }
                let ty = value.ty();
                (SetFunction::Scalar, vec![value], vec![ty])
            }
        };
        // A single column is called like the table.
        let called = alias.map_or_else(|| name.to_owned(), |alias| fold(&alias.name));
        let columns: Vec<_> = match types.as_slice() {
            [ty] => vec![self.fresh(called.as_str(), *ty)],
            types => types.iter().map(|ty| self.fresh(name, *ty)).collect(),
        };
        let ordinality = ordinality.then(|| self.fresh("ordinality", PgType::INT8));
        let names: Vec<_> = columns.iter().chain(&ordinality).cloned().collect();
        let rel = Rel::Function(FunctionScan { function, args, columns, ordinality });
        let mut item = self.item(rel, plain_columns(&names), name, None, Vec::new(), alias)?;
        item.tables[0].is_value = names.len() == 1;
        if alias.is_none() {
            item.tables[0].schema = None;
            item.tables[0].alias = Arc::from(name);
        }
        Ok(item)
    }

    /// Arguments of a set-returning function, converted, and the types of its columns.
    pub(crate) fn set_function_args(
        &mut self,
        function: SetFunction,
        name: &str,
        args: Vec<(Scalar, Span)>,
        span: Span,
    ) -> Result<(Vec<Scalar>, Vec<PgType>), SqlError> {
        match function {
            SetFunction::GenerateSeries => self.series_args(args, span),
            SetFunction::Unnest => {
                let mut types = Vec::with_capacity(args.len());
                let mut arrays = Vec::with_capacity(args.len());
                for (arg, at) in args {
                    if arg.ty().is_unknown() {
                        return Err(SqlError::new(
                            SqlState::AMBIGUOUS_FUNCTION,
                            "function unnest(unknown) is not unique",
                        )
                        .hint(
                            "Could not choose a best candidate function. You might need to add \
                             explicit type casts.",
                        )
                        .at(self.pos(span)));
                    }
                    if !arg.ty().array {
                        return Err(self.no_function(name, &[arg], span).at(self.pos(at)));
                    }
                    types.push(arg.ty().element().base());
                    arrays.push(arg);
                }
                if arrays.is_empty() {
                    return Err(self.no_function(name, &[], span));
                }
                Ok((arrays, types))
            }
            SetFunction::Scalar => Err(SqlError::internal("a scalar function is no set function")),
        }
    }

    fn series_args(
        &mut self,
        args: Vec<(Scalar, Span)>,
        span: Span,
    ) -> Result<(Vec<Scalar>, Vec<PgType>), SqlError> {
        let scalars: Vec<Scalar> = args.iter().map(|(arg, _)| arg.clone()).collect();
        if !(2..=3).contains(&args.len()) {
            return Err(self.no_function("generate_series", &scalars, span));
        }
        let first: Vec<(PgType, Span)> =
            args.iter().take(2).map(|(arg, at)| (arg.ty(), *at)).collect();
        let mut ty = self.common_type(&first, "generate_series")?.base();
        let step_ty = args.get(2).map(|(step, _)| step.ty());
        ty.id = match ty.id {
            _ if ty.array => return Err(self.no_function("generate_series", &scalars, span)),
            TypeId::Int2 | TypeId::Int4 => match step_ty.map(|step| step.id) {
                Some(TypeId::Int8) => TypeId::Int8,
                Some(TypeId::Numeric) => TypeId::Numeric,
                _ => TypeId::Int4,
            },
            TypeId::Int8 if step_ty.is_some_and(|s| s.id == TypeId::Numeric) => TypeId::Numeric,
            TypeId::Int8 | TypeId::Numeric | TypeId::Timestamp | TypeId::Timestamptz => ty.id,
            TypeId::Date => TypeId::Timestamptz,
            TypeId::Text if first.iter().all(|(ty, _)| ty.is_unknown()) => TypeId::Int4,
            _ => return Err(self.no_function("generate_series", &scalars, span)),
        };
        let temporal = matches!(ty.id, TypeId::Timestamp | TypeId::Timestamptz);
        if temporal && args.len() < 3 {
            return Err(self.no_function("generate_series", &scalars, span));
        }
        let step = if temporal { PgType::new(TypeId::Interval) } else { ty };
        let mut converted = Vec::with_capacity(args.len());
        for (i, (arg, at)) in args.into_iter().enumerate() {
            let want = if i == 2 { step } else { ty };
            converted.push(self.implicit(arg, want, at)?);
        }
        Ok((converted, vec![ty]))
    }

    fn no_function(&self, name: &str, args: &[Scalar], span: Span) -> SqlError {
        let types: Vec<String> = args.iter().map(|arg| arg.ty().sql_name()).collect();
        SqlError::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("function {name}({}) does not exist", types.join(", ")),
        )
        .hint(
            "No function matches the given name and argument types. You might need to add \
             explicit type casts.",
        )
        .at(self.pos(span))
    }
}
