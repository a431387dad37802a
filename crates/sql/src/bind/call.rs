//! Calls: conditionals, plain functions, aggregates, set-returning functions.

use std::sync::Arc;

use sqlparser::ast::{self, Expr, Function, Spanned};
use sqlparser::tokenizer::Span;

use super::call_args::Args;
use super::expr::Cx;
use super::scope::{Clause, Scope};
use super::set_call::is_set_function;
use super::{Binder, name_parts, ordered_set, resolve};
use crate::error::{SqlError, SqlState};
use crate::ir::{AggCall, Scalar, SortKey, WindowFunc};

impl Binder<'_> {
    /// A function over bound arguments.
    pub(crate) fn call(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let types: Vec<_> = args.iter().map(|(arg, _)| arg.ty()).collect();
        match resolve::function(name, &types) {
            Ok(func) => self.apply(func, args),
            Err(error) => match (super::typename::cast_function(name), args.as_slice()) {
                // The name of a type is a function that casts to it.
                (Some(ty), [(arg, at)]) => {
                    let made = self.try_coerce(arg.clone(), ty, resolve::Context::Explicit, *at)?;
                    made.ok_or_else(|| error.at(self.pos(span)))
                }
                _ => Err(error.at(self.pos(span))),
            },
        }
    }

    /// A call as written.
    pub(crate) fn function(
        &mut self,
        function: &Function,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let span = function.name.span();
        let name = self.function_name(&function.name)?;
        if let (ast::FunctionArguments::Subquery(query), "array") = (&function.args, &*name) {
            return self.array_subquery(query, cx);
        }
        if name == "row"
            && let Some(fields) = super::rows::row_of(&Expr::Function(function.clone()))
        {
            return self.row_value(&fields, cx);
        }
        let args = Args::of(function)?;
        let gathers = function.over.is_some() || resolve::is_aggregate(&name);
        if gathers || ordered_set::is_hypothetical(&name) || name == "grouping" {
            args.refuse_names("an aggregate or window function")
                .map_err(|e| e.at(self.pos(span)))?;
        }
        if name == "grouping" {
            return self.grouping_call(&args.exprs, span, cx);
        }
        if function.over.is_some() {
            return self.window_call(&name, function, &args, cx);
        }
        if !args.within_group.is_empty()
            && (resolve::is_aggregate(&name) || ordered_set::is_hypothetical(&name))
        {
            return self.ordered_set(&name, &args, span, cx);
        }
        if resolve::is_aggregate(&name) {
            return self.aggregate(&name, &args, span, cx);
        }
        args.refuse_aggregate_clauses(&name).map_err(|e| e.at(self.pos(span)))?;
        if WindowFunc::by_name(&name).is_some() {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("window function {name} requires an OVER clause"),
            )
            .at(self.pos(span)));
        }
        if is_set_function(&name) {
            return self.set_function(&name, &args, span, cx);
        }
        if let ("normalize", [text, Expr::Identifier(form)]) = (&*name, args.exprs.as_slice())
            && let Some(form) = normal_form(form)
        {
            let text = (self.expr(text, cx)?, text.span());
            let form = Scalar::Literal(pgtypes::Datum::text(form), pgtypes::PgType::TEXT);
            return self.call(&name, vec![text, (form, span)], span);
        }
        let bound = self.bound_args(&name, &args, span, cx)?;
        if args.variadic {
            let types: Vec<_> = bound.iter().map(|(arg, _)| arg.ty()).collect();
            let func = resolve::variadic(&name, &types).map_err(|e| e.at(self.pos(span)))?;
            return self.apply(func, bound);
        }
        if matches!(name.as_str(), "coalesce" | "greatest" | "least" | "nullif") {
            return self
                .conditional(&name, bound, span)?
                .ok_or_else(|| SqlError::internal("a conditional without a form"));
        }
        self.call(&name, bound, span)
    }

    /// The name of a function; only `pg_catalog` may stand in front.
    pub(crate) fn function_name(&self, name: &ast::ObjectName) -> Result<String, SqlError> {
        let mut parts = name_parts(name)?;
        let last = parts.pop().ok_or_else(|| SqlError::syntax("empty function name"))?;
        match parts.as_slice() {
            [] => Ok(last),
            [schema] if schema == "pg_catalog" || schema == "information_schema" => Ok(last),
            [schema] => Err(SqlError::new(
                SqlState::INVALID_SCHEMA_NAME,
                format!("schema \"{schema}\" does not exist"),
            )
            .at(self.pos(name.span()))),
            _ => Err(SqlError::syntax(format!("improper qualified name: {name}"))),
        }
    }

    /// A call of an aggregate without OVER: a new column of the query it belongs to.
    fn aggregate(
        &mut self,
        name: &str,
        args: &Args<'_>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let position = self.pos(span);
        if ordered_set::is_ordered_set(name) {
            // Without it the key is one argument more.
            if args.exprs.len() != if name == "mode" { 1 } else { 2 } {
                let mut types = Vec::with_capacity(args.exprs.len());
                for arg in &args.exprs {
                    types.push(self.expr(arg, &mut Self::inside_aggregate(cx))?.ty().sql_name());
                }
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("function {name}({}) does not exist", types.join(", ")),
                )
                .at(position));
            }
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("WITHIN GROUP is required for ordered-set aggregate {name}"),
            )
            .at(position));
        }
        if args.null_treatment {
            return Err(SqlError::unsupported("IGNORE NULLS").at(position));
        }
        let (func, bound) = self.aggregate_args(name, args, span, cx)?;
        let filter = self.filter(args.filter, cx)?;
        let order_by = self.aggregate_order(args, &bound, cx)?;
        if args.distinct && !order_by.iter().all(|key| bound.contains(&key.expr)) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
            )
            .at(position));
        }
        let ty = func.result;
        let mut parts: Vec<&Scalar> = bound.iter().chain(&filter).collect();
        parts.extend(order_by.iter().map(|key| &key.expr));
        if let Some(depth) = owner(&parts, cx.scope) {
            let column = self.fresh(Arc::from(name), ty);
            let scalar = Scalar::Column(column.id, ty);
            let distinct = args.distinct;
            let call = AggCall { column, func, args: bound, distinct, filter, order_by };
            self.outer_aggregates.push(OuterAggregate { depth, call, position });
            return Ok(scalar);
        }
        self.check_aggregate_place(cx, span)?;
        let collected = cx.collected.as_mut().expect("checked above");
        let same = collected.aggs.iter().find(|agg| {
            agg.func == func
                && agg.args == bound
                && agg.distinct == args.distinct
                && agg.filter == filter
                && agg.order_by == order_by
        });
        if let Some(same) = same {
            return Ok(Scalar::Column(same.column.id, same.column.ty));
        }
        let column = self.fresh(Arc::from(name), ty);
        let scalar = Scalar::Column(column.id, ty);
        let distinct = args.distinct;
        let collected = cx.collected.as_mut().expect("checked above");
        collected.aggs.push(AggCall { column, func, args: bound, distinct, filter, order_by });
        Ok(scalar)
    }

    /// Arguments of an aggregate, converted as it wants them.
    pub(crate) fn aggregate_args(
        &mut self,
        name: &str,
        args: &Args<'_>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(crate::ir::AggRef, Vec<Scalar>), SqlError> {
        let mut bound = Vec::with_capacity(args.exprs.len());
        if args.star && name != "count" {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {name}() does not exist"),
            )
            .at(self.pos(span)));
        }
        let mut inner = Self::inside_aggregate(cx);
        for arg in &args.exprs {
            bound.push((self.expr(arg, &mut inner)?, arg.span()));
        }
        let types: Vec<_> = bound.iter().map(|(arg, _)| arg.ty()).collect();
        let func = resolve::aggregate(name, &types, args.star).map_err(|e| e.at(self.pos(span)))?;
        let mut converted = Vec::with_capacity(bound.len());
        for ((arg, at), &want) in bound.into_iter().zip(&func.args) {
            converted.push(self.implicit(arg, want, at)?);
        }
        Ok((func, converted))
    }

    pub(super) fn inside_aggregate<'c, 's>(cx: &'c Cx<'_, 's>) -> Cx<'c, 's> {
        Cx {
            scope: cx.scope,
            clause: cx.clause,
            collected: None,
            in_aggregate: true,
            in_window: cx.in_window,
        }
    }

    pub(crate) fn filter(
        &mut self,
        filter: Option<&Expr>,
        cx: &Cx<'_, '_>,
    ) -> Result<Option<Scalar>, SqlError> {
        let Some(filter) = filter else { return Ok(None) };
        Ok(Some(self.condition_in(filter, cx.scope, Clause::Filter, "FILTER")?))
    }

    /// `bound`: the arguments. A key that says the same as one of them is that one, which equality of what is
    /// bound doesn't tell of queries.
    fn aggregate_order(
        &mut self,
        args: &Args<'_>,
        bound: &[Scalar],
        cx: &mut Cx<'_, '_>,
    ) -> Result<Vec<SortKey>, SqlError> {
        let mut keys = Vec::with_capacity(args.order_by.len());
        for key in args.order_by {
            let mut inner = Self::inside_aggregate(cx);
            let expr = self.expr(&key.expr, &mut inner)?;
            let mut expr = self.settle_unknown(expr)?;
            let said = args.exprs.iter().position(|arg| **arg == key.expr);
            if let Some(arg) = said.and_then(|at| bound.get(at))
                && expr.has_subquery()
                && arg.ty() == expr.ty()
            {
                expr = arg.clone();
            }
            keys.push(self.sort_key(expr, key)?);
        }
        Ok(keys)
    }

    /// Takes over the aggregates of a query inside of an expression that belong to this one.
    pub(super) fn adopt_aggregates(&mut self, cx: &mut Cx<'_, '_>) -> Result<(), SqlError> {
        let depth = depth_of(cx.scope);
        let (own, others) = std::mem::take(&mut self.outer_aggregates)
            .into_iter()
            .partition(|aggregate: &OuterAggregate| aggregate.depth == depth);
        self.outer_aggregates = others;
        for OuterAggregate { call, position, .. } in own {
            if cx.in_aggregate {
                return Err(SqlError::new(
                    SqlState::GROUPING_ERROR,
                    "aggregate function calls cannot be nested",
                )
                .at(position));
            }
            match &mut cx.collected {
                Some(collected) if cx.clause.aggregates() => collected.aggs.push(call),
                _ => return Err(not_allowed(cx.clause.name()).at(position)),
            }
        }
        Ok(())
    }

    /// Refuses aggregates that no query has taken over.
    pub(super) fn refuse_outer_aggregates(&self) -> Result<(), SqlError> {
        refused(self.outer_aggregates.first(), OWN_FROM)
    }

    /// How many aggregates wait for the query that they belong to.
    pub(super) fn waiting_aggregates(&self) -> usize {
        self.outer_aggregates.len()
    }

    /// Refuses those that came after the first `known` ones, from `place`, and belong to the query of
    /// `scope`.
    pub(super) fn refuse_aggregates_of(
        &self,
        scope: &Scope<'_>,
        known: usize,
        place: &str,
    ) -> Result<(), SqlError> {
        let depth = depth_of(scope);
        refused(self.outer_aggregates[known..].iter().find(|found| found.depth == depth), place)
    }

    /// A set-returning function in a select list: joined laterally by the select.
    fn set_function(
        &mut self,
        name: &str,
        args: &Args<'_>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if !cx.clause.set_functions() || cx.collected.is_none() || cx.in_aggregate {
            return Err(SqlError::unsupported(format!(
                "a set-returning function in {}",
                if cx.in_aggregate { "an aggregate" } else { cx.clause.name() }
            ))
            .at(self.pos(span)));
        }
        args.refuse_variadic(name).map_err(|e| e.at(self.pos(span)))?;
        let bound = self.bound_args(name, args, span, cx)?;
        let inner = cx.collected.as_deref().expect("checked above").functions.iter();
        let inner: Vec<_> =
            inner.flat_map(|scan| scan.columns.iter().map(|made| made.id)).collect();
        let mut mentions =
            |scalar: &Scalar| matches!(scalar, Scalar::Column(id, _) if inner.contains(id));
        if bound.iter().any(|(arg, _)| arg.any(&mut mentions)) {
            return Err(SqlError::unsupported(
                "a set-returning function in the arguments of another one",
            )
            .at(self.pos(span)));
        }
        let mut collected = std::mem::take(cx.collected.as_deref_mut().expect("checked above"));
        let made = self.rows_in_list(name, bound, span, &mut collected);
        *cx.collected.as_deref_mut().expect("checked above") = collected;
        made
    }
}

/// An aggregate inside of a query that belongs to one around it: it takes nothing but columns of that.
#[derive(Debug)]
pub(super) struct OuterAggregate {
    /// Levels of names above that query.
    depth: usize,
    call: AggCall,
    position: Option<usize>,
}

fn not_allowed(place: &str) -> SqlError {
    SqlError::new(
        SqlState::GROUPING_ERROR,
        format!("aggregate functions are not allowed in {place}"),
    )
}

/// Where the rows of a query are made that an aggregate belongs to.
pub(super) const OWN_FROM: &str = "FROM clause of their own query level";

/// The refusal of an aggregate that no query computes there.
fn refused(found: Option<&OuterAggregate>, place: &str) -> Result<(), SqlError> {
    found.map_or(Ok(()), |found| Err(not_allowed(place).at(found.position)))
}

fn depth_of(scope: &Scope<'_>) -> usize {
    std::iter::successors(scope.parent, |scope| scope.parent).count()
}

/// The depth of the query around that an aggregate of these expressions belongs to; `None`: to the query
/// that it stands in.
fn owner(parts: &[&Scalar], scope: &Scope<'_>) -> Option<usize> {
    let mut mentioned = Vec::new();
    for part in parts {
        part.mentions(&mut |id| {
            mentioned.push(id);
            false
        });
    }
    let mut level = scope;
    loop {
        if mentioned.is_empty() || mentioned.iter().any(|id| level.makes(*id)) {
            return (!std::ptr::eq(level, scope)).then(|| depth_of(level));
        }
        level = level.parent?;
    }
}

/// NFC, NFD, NFKC, NFKD.
fn normal_form(word: &ast::Ident) -> Option<&'static str> {
    let quoted = word.quote_style.is_some();
    ["NFC", "NFD", "NFKC", "NFKD"]
        .into_iter()
        .find(|form| !quoted && word.value.eq_ignore_ascii_case(form))
}
