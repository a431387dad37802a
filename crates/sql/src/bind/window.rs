//! Window functions: OVER, named windows, frames.

use std::sync::Arc;

use pgtypes::{PgType, TypeId};
use sqlparser::ast::{
    self, Function, NamedWindowDefinition, NamedWindowExpr, Spanned, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowSpec, WindowType,
};
use sqlparser::tokenizer::Span;

use super::call_args::Args;
use super::expr::Cx;
use super::resolve::Context;
use super::scope::{Clause, Scope};
use super::{Binder, fold, resolve};
use crate::error::{SqlError, SqlState};
use crate::ir::{
    Frame, FrameBound, FrameExclusion, FrameUnits, Scalar, SortKey, WindowCall, WindowFunc,
};

/// The EXCLUDE of a frame, which `parse` has made the last key of the window's order.
fn exclusion(keys: &[ast::OrderByExpr]) -> (FrameExclusion, &[ast::OrderByExpr]) {
    let Some((last, rest)) = keys.split_last() else { return (FrameExclusion::Nothing, keys) };
    let ast::Expr::Identifier(ident) = &last.expr else { return (FrameExclusion::Nothing, keys) };
    let exclude = match ident.value.strip_prefix(super::parse::LOCK_MARK) {
        Some("current") => FrameExclusion::CurrentRow,
        Some("group") => FrameExclusion::Group,
        Some("ties") => FrameExclusion::Ties,
        Some("no") => FrameExclusion::Nothing,
        _ => return (FrameExclusion::Nothing, keys),
    };
    (exclude, rest)
}

/// A window definition, bound.
#[derive(Clone)]
struct Window {
    partition_by: Vec<Scalar>,
    order_by: Vec<SortKey>,
    frame: Frame,
}

impl Binder<'_> {
    /// Makes the windows of a WINDOW clause known.
    pub(crate) fn name_windows<'q>(
        &mut self,
        select: &'q ast::Select,
        scope: &mut Scope<'q>,
    ) -> Result<(), SqlError> {
        for NamedWindowDefinition(name, definition) in &select.named_window {
            let NamedWindowExpr::WindowSpec(spec) = definition else {
                return Err(SqlError::unsupported("a window defined as another one's name"));
            };
            let folded = fold(name);
            if scope.named_window(&folded).is_some() {
                return Err(SqlError::new(
                    SqlState::WINDOWING_ERROR,
                    format!("window \"{folded}\" is already defined"),
                )
                .at(self.pos(name.span)));
            }
            scope.named_windows.push((folded, spec));
        }
        Ok(())
    }

    pub(crate) fn window_call(
        &mut self,
        name: &str,
        function: &Function,
        args: &Args<'_>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let span = function.name.span();
        let position = self.pos(span);
        if cx.in_window || cx.in_aggregate {
            let what = if cx.in_window {
                "window function calls cannot be nested"
            } else {
                "aggregate function calls cannot contain window function calls"
            };
            let code =
                if cx.in_window { SqlState::WINDOWING_ERROR } else { SqlState::GROUPING_ERROR };
            return Err(SqlError::new(code, what).at(position));
        }
        if !cx.clause.windows() || cx.collected.is_none() {
            return Err(SqlError::new(
                SqlState::WINDOWING_ERROR,
                format!("window functions are not allowed in {}", cx.clause.name()),
            )
            .at(position));
        }
        let refused = [
            (args.distinct, "DISTINCT is not implemented for window functions"),
            (
                !args.order_by.is_empty(),
                "aggregate ORDER BY is not implemented for window functions",
            ),
        ];
        if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, *what).at(position));
        }
        if !args.within_group.is_empty() {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("OVER is not supported for ordered-set aggregate {name}"),
            )
            .at(position));
        }
        if args.null_treatment {
            return Err(SqlError::unsupported("IGNORE NULLS").at(position));
        }
        let window = match &function.over {
            Some(WindowType::WindowSpec(spec)) => self.window(spec, cx)?,
            Some(WindowType::NamedWindow(ident)) => {
                let spec = self.named_window(ident, cx.scope)?;
                self.window(spec, cx)?
            }
            None => return Err(SqlError::internal("a window call without OVER")),
        };
        let (func, args_bound, ty) = self.window_function(name, args, span, cx)?;
        let filter = self.filter(args.filter, cx)?;
        if filter.is_some() && !matches!(func, WindowFunc::Aggregate(_)) {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "FILTER is not implemented for non-aggregate window functions",
            )
            .at(position));
        }
        let mut args_bound = args_bound;
        let mut call = |binder: &mut Self, func: WindowFunc, args: Vec<Scalar>, ty: PgType| {
            let column = binder.fresh(Arc::from(name), ty);
            let scalar = Scalar::Column(column.id, ty);
            let Window { partition_by, order_by, frame } = window.clone();
            let filter = filter.clone();
            let call = WindowCall { column, func, args, filter, partition_by, order_by, frame };
            cx.collected.as_mut().expect("checked above").windows.push(call);
            scalar
        };
        // A default that is more than a constant is computed where there is no row so far away.
        let constant =
            |default: &Scalar| matches!(default, Scalar::Literal(..) | Scalar::Param { .. });
        if matches!(func, WindowFunc::Lag | WindowFunc::Lead)
            && args_bound.get(2).is_some_and(|default| !constant(default))
        {
            let otherwise = Box::new(args_bound.remove(2));
            let mut there = args_bound.clone();
            there[0] = Scalar::bool(true);
            let there = call(self, func.clone(), there, PgType::BOOL);
            let value = call(self, func, args_bound, ty);
            return Ok(Scalar::Case { whens: vec![(there, value)], otherwise, ty });
        }
        Ok(call(self, func, args_bound, ty))
    }

    /// Which function, its arguments converted, and the type of its result.
    fn window_function(
        &mut self,
        name: &str,
        args: &Args<'_>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<(WindowFunc, Vec<Scalar>, PgType), SqlError> {
        let mut bound = Vec::with_capacity(args.exprs.len());
        {
            let mut inner = Cx {
                scope: cx.scope,
                clause: cx.clause,
                collected: cx.collected.as_deref_mut(),
                in_aggregate: false,
                in_window: true,
            };
            for arg in &args.exprs {
                bound.push((self.expr(arg, &mut inner)?, arg.span()));
            }
        }
        if let Some(func) = WindowFunc::by_name(name) {
            return self.window_only(func, name, bound, span);
        }
        if !resolve::is_aggregate(name) {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!(
                    "OVER specified, but {name} is not a window function nor an aggregate function"
                ),
            )
            .at(self.pos(span)));
        }
        let types: Vec<_> = bound.iter().map(|(arg, _)| arg.ty()).collect();
        let agg = resolve::aggregate(name, &types, args.star).map_err(|e| e.at(self.pos(span)))?;
        let mut converted = Vec::with_capacity(bound.len());
        for ((arg, at), &want) in bound.into_iter().zip(&agg.args) {
            converted.push(self.implicit(arg, want, at)?);
        }
        let ty = agg.result;
        Ok((WindowFunc::Aggregate(agg), converted, ty))
    }

    fn window_only(
        &mut self,
        func: WindowFunc,
        name: &str,
        mut args: Vec<(Scalar, Span)>,
        span: Span,
    ) -> Result<(WindowFunc, Vec<Scalar>, PgType), SqlError> {
        let expected = match func {
            WindowFunc::Ntile | WindowFunc::FirstValue | WindowFunc::LastValue => 1..=1,
            WindowFunc::NthValue => 2..=2,
            WindowFunc::Lag | WindowFunc::Lead => 1..=3,
            _ => 0..=0,
        };
        if !expected.contains(&args.len()) {
            let types: Vec<String> = args.iter().map(|(arg, _)| arg.ty().sql_name()).collect();
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {name}({}) does not exist", types.join(", ")),
            )
            .hint(
                "No function matches the given name and argument types. You might need to add \
                 explicit type casts.",
            )
            .at(self.pos(span)));
        }
        let int4 = PgType::INT4;
        match func {
            WindowFunc::RowNumber | WindowFunc::Rank | WindowFunc::DenseRank => {
                Ok((func, Vec::new(), PgType::INT8))
            }
            WindowFunc::PercentRank | WindowFunc::CumeDist => {
                Ok((func, Vec::new(), PgType::FLOAT8))
            }
            WindowFunc::Ntile => {
                let (arg, at) = args.remove(0);
                Ok((func, vec![self.implicit(arg, int4, at)?], int4))
            }
            _ => {
                let (value, at) = args.remove(0);
                // With a default, the common type of both, which is text if both are unknown.
                let with_default = args.len() == 2;
                if value.ty().is_unknown() && !with_default {
                    return Err(SqlError::new(
                        SqlState::DATATYPE_MISMATCH,
                        "could not determine polymorphic type because input has type unknown",
                    )
                    .at(self.pos(span)));
                }
                let mut ty = value.ty().base();
                let mut result = vec![value];
                if let Some((offset, at)) = (!args.is_empty()).then(|| args.remove(0)) {
                    result.push(self.implicit(offset, int4, at)?);
                }
                if let Some((default, default_at)) = args.pop() {
                    let value = result.remove(0);
                    let both = vec![(value, at), (default, default_at)];
                    let (mut both, common) = self.unify(both, "LAG")?;
                    let default = both.pop().expect("two were unified");
                    result.insert(0, both.pop().expect("two were unified"));
                    result.push(default);
                    ty = common;
                }
                Ok((func, result, ty))
            }
        }
    }

    fn named_window<'q>(
        &self,
        ident: &ast::Ident,
        scope: &Scope<'q>,
    ) -> Result<&'q WindowSpec, SqlError> {
        let name = fold(ident);
        scope.named_window(&name).ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist"))
                .at(self.pos(ident.span))
        })
    }

    fn window(&mut self, spec: &WindowSpec, cx: &mut Cx<'_, '_>) -> Result<Window, SqlError> {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        let mut window = match window_name {
            None => Window {
                partition_by: Vec::new(),
                order_by: Vec::new(),
                frame: Frame {
                    units: FrameUnits::Range,
                    start: FrameBound::UnboundedPreceding,
                    end: FrameBound::CurrentRow,
                    exclude: FrameExclusion::Nothing,
                },
            },
            Some(ident) => {
                let base = self.named_window(ident, cx.scope)?;
                self.window(base, cx)?
            }
        };
        let mut inner = Cx {
            scope: cx.scope,
            clause: Clause::Window,
            collected: cx.collected.as_deref_mut(),
            in_aggregate: false,
            in_window: true,
        };
        if let (Some(name), false) = (window_name, partition_by.is_empty()) {
            return Err(SqlError::new(
                SqlState::WINDOWING_ERROR,
                format!("cannot override PARTITION BY clause of window \"{}\"", fold(name)),
            )
            .at(self.pos(name.span)));
        }
        for expr in partition_by {
            let scalar = self.expr(expr, &mut inner)?;
            window.partition_by.push(self.settle_unknown(scalar)?);
        }
        let (exclude, order_by) = exclusion(order_by);
        if !order_by.is_empty() && !window.order_by.is_empty() {
            let name = window_name.as_ref().map(fold).unwrap_or_default();
            return Err(SqlError::new(
                SqlState::WINDOWING_ERROR,
                format!("cannot override ORDER BY clause of window \"{name}\""),
            ));
        }
        for key in order_by {
            let scalar = self.expr(&key.expr, &mut inner)?;
            let scalar = self.settle_unknown(scalar)?;
            window.order_by.push(self.sort_key(scalar, key)?);
        }
        if let Some(frame) = window_frame {
            window.frame = self.frame(frame, &window.order_by, cx.scope)?;
            window.frame.exclude = exclude;
        }
        Ok(window)
    }

    fn frame(
        &mut self,
        frame: &WindowFrame,
        order: &[SortKey],
        scope: &Scope<'_>,
    ) -> Result<Frame, SqlError> {
        let WindowFrame { units, start_bound, end_bound } = frame;
        let units = match units {
            WindowFrameUnits::Rows => FrameUnits::Rows,
            WindowFrameUnits::Range => FrameUnits::Range,
            WindowFrameUnits::Groups => FrameUnits::Groups,
        };
        let start = self.frame_bound(start_bound, units, order, scope)?;
        let end = match end_bound {
            Some(bound) => self.frame_bound(bound, units, order, scope)?,
            None => FrameBound::CurrentRow,
        };
        let wrong = match (&start, &end) {
            (FrameBound::UnboundedFollowing, _) => {
                Some("frame start cannot be UNBOUNDED FOLLOWING")
            }
            (_, FrameBound::UnboundedPreceding) => Some("frame end cannot be UNBOUNDED PRECEDING"),
            (FrameBound::CurrentRow, FrameBound::Preceding(_)) => {
                Some("frame starting from current row cannot have preceding rows")
            }
            (FrameBound::Following(_), FrameBound::Preceding(_) | FrameBound::CurrentRow) => {
                Some("frame starting from following row cannot end with current row")
            }
            _ => None,
        };
        match wrong {
            Some(wrong) => Err(SqlError::new(SqlState::WINDOWING_ERROR, wrong)),
            None => Ok(Frame { units, start, end, exclude: FrameExclusion::Nothing }),
        }
    }

    /// The type of an offset of RANGE over a key.
    fn range_offset(&self, key: PgType, given: PgType) -> Result<PgType, SqlError> {
        let refused = |what: String| SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what);
        let interval = PgType::new(TypeId::Interval);
        let want = match key.id {
            _ if key.array => None,
            TypeId::Int2 | TypeId::Int4 | TypeId::Int8 => match given.id {
                TypeId::Int2 | TypeId::Int4 | TypeId::Int8 => Some(given.base()),
                _ => Some(key.base()),
            },
            TypeId::Numeric => Some(PgType::NUMERIC),
            TypeId::Float4 | TypeId::Float8 => Some(PgType::FLOAT8),
            TypeId::Date
            | TypeId::Time
            | TypeId::Timestamp
            | TypeId::Timestamptz
            | TypeId::Interval => Some(interval),
            _ => None,
        };
        let want = want.ok_or_else(|| {
            refused(format!(
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {}",
                key.sql_name()
            ))
        })?;
        let fits = given.is_unknown()
            || super::resolve::cast_path(given, want, Context::Implicit).is_some();
        if !fits {
            return Err(refused(format!(
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {} and \
                 offset type {}",
                key.sql_name(),
                given.sql_name()
            ))
            .hint("Cast the offset value to an appropriate type."));
        }
        Ok(want)
    }

    fn frame_bound(
        &mut self,
        bound: &WindowFrameBound,
        units: FrameUnits,
        order: &[SortKey],
        scope: &Scope<'_>,
    ) -> Result<FrameBound, SqlError> {
        let (offset, preceding) = match bound {
            WindowFrameBound::CurrentRow => return Ok(FrameBound::CurrentRow),
            WindowFrameBound::Preceding(None) => return Ok(FrameBound::UnboundedPreceding),
            WindowFrameBound::Following(None) => return Ok(FrameBound::UnboundedFollowing),
            WindowFrameBound::Preceding(Some(offset)) => (offset, true),
            WindowFrameBound::Following(Some(offset)) => (offset, false),
        };
        let scalar = self.expr_in(offset, scope, Clause::Window)?;
        let clause = match units {
            FrameUnits::Rows => "ROWS",
            FrameUnits::Range => "RANGE",
            FrameUnits::Groups => "GROUPS",
        };
        self.refuse_variables(&scalar, scope, clause, offset.span())?;
        let given = scalar.ty();
        let want = match units {
            FrameUnits::Rows | FrameUnits::Groups => PgType::INT8,
            FrameUnits::Range => match order {
                [key] => self.range_offset(key.expr.ty(), scalar.ty())?,
                _ => {
                    return Err(SqlError::new(
                        SqlState::WINDOWING_ERROR,
                        "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY \
                         column",
                    ));
                }
            },
        };
        let scalar = self
            .try_coerce(scalar, want, Context::Assignment, offset.span())?
            .ok_or_else(|| {
                SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "argument of {clause} must be type {}, not type {}",
                        want.sql_name(),
                        given.sql_name()
                    ),
                )
                .at(self.pos(offset.span()))
            })?;
        Ok(if preceding { FrameBound::Preceding(scalar) } else { FrameBound::Following(scalar) })
    }
}
