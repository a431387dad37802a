//! Expressions: which form a node is. The forms are in `expr_op`, `expr_forms`, `call`, `sub`.

use pgtypes::PgType;
use sqlparser::ast::{self, BinaryOperator as Op, Expr, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::resolve::Context;
use super::scope::{Clause, Collected, Scope};
use super::typename::type_in;
use super::types::no_cast;
use crate::error::{SqlError, SqlState};
use crate::ir::Scalar;

/// What an expression stands in.
pub(crate) struct Cx<'c, 's> {
    pub(crate) scope: &'c Scope<'s>,
    pub(crate) clause: Clause,
    /// Where aggregates, window calls and set-returning functions go; `None` forbids them.
    pub(crate) collected: Option<&'c mut Collected>,
    /// Inside the arguments of an aggregate.
    pub(crate) in_aggregate: bool,
    /// Inside the arguments of a window function.
    pub(crate) in_window: bool,
}

impl<'c, 's> Cx<'c, 's> {
    /// A context in which nothing is collected.
    pub(crate) fn plain(scope: &'c Scope<'s>, clause: Clause) -> Self {
        Cx { scope, clause, collected: None, in_aggregate: false, in_window: false }
    }

    /// A context that collects.
    pub(crate) fn collecting(
        scope: &'c Scope<'s>,
        clause: Clause,
        collected: &'c mut Collected,
    ) -> Self {
        Cx { scope, clause, collected: Some(collected), in_aggregate: false, in_window: false }
    }
}

impl Binder<'_> {
    /// An expression in a clause that collects nothing.
    pub(crate) fn expr_in(
        &mut self,
        expr: &Expr,
        scope: &Scope<'_>,
        clause: Clause,
    ) -> Result<Scalar, SqlError> {
        self.expr(expr, &mut Cx::plain(scope, clause))
    }

    /// A condition in a clause that collects nothing.
    pub(crate) fn condition_in(
        &mut self,
        expr: &Expr,
        scope: &Scope<'_>,
        clause: Clause,
        what: &str,
    ) -> Result<Scalar, SqlError> {
        let scalar = self.expr_in(expr, scope, clause)?;
        Ok(super::rows::condition(self.condition(scalar, what, extent(expr))?))
    }

    /// An expression. Its type may still be unknown.
    pub(crate) fn expr(&mut self, expr: &Expr, cx: &mut Cx<'_, '_>) -> Result<Scalar, SqlError> {
        self.deeper(|binder| binder.expr_here(expr, cx))
    }

    fn expr_here(&mut self, expr: &Expr, cx: &mut Cx<'_, '_>) -> Result<Scalar, SqlError> {
        match expr {
            Expr::Identifier(ident) => match keyword_value(ident) {
                Some(name) => self.call(name, Vec::new(), ident.span),
                None => self.column(ident, cx.scope),
            },
            Expr::CompoundIdentifier(parts) => self.qualified_column(parts, cx.scope),
            Expr::Value(value) => self.value(value),
            Expr::Nested(inner) => self.expr(inner, cx),
            Expr::IsNull(arg) => self.null_test(arg, false, cx),
            Expr::IsNotNull(arg) => self.null_test(arg, true, cx),
            Expr::IsTrue(arg) => self.bool_test(arg, true, false, "IS TRUE", cx),
            Expr::IsNotTrue(arg) => self.bool_test(arg, true, true, "IS NOT TRUE", cx),
            Expr::IsFalse(arg) => self.bool_test(arg, false, false, "IS FALSE", cx),
            Expr::IsNotFalse(arg) => self.bool_test(arg, false, true, "IS NOT FALSE", cx),
            Expr::IsUnknown(arg) => self.unknown_test(arg, false, cx),
            Expr::IsNotUnknown(arg) => self.unknown_test(arg, true, cx),
            Expr::IsDistinctFrom(left, right) => self.distinct_from(left, right, false, cx),
            Expr::IsNotDistinctFrom(left, right) => self.distinct_from(left, right, true, cx),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, cx),
            Expr::InSubquery { expr, subquery, negated } => {
                self.in_subquery(expr, subquery, *negated, cx)
            }
            Expr::Between { expr, negated, low, high } => {
                self.between(expr, low, high, *negated, cx)
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, cx),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, cx),
            Expr::Like { negated, any, expr, pattern, escape_char } => {
                let op = if *negated { Op::PGNotLikeMatch } else { Op::PGLikeMatch };
                self.like(&op, *any, expr, pattern, escape_char.as_ref(), cx)
            }
            Expr::ILike { negated, any, expr, pattern, escape_char } => {
                let op = if *negated { Op::PGNotILikeMatch } else { Op::PGILikeMatch };
                self.like(&op, *any, expr, pattern, escape_char.as_ref(), cx)
            }
            Expr::SimilarTo { negated, expr, pattern, escape_char } => {
                self.similar(*negated, expr, pattern, escape_char.as_ref(), cx)
            }
            Expr::AnyOp { left, compare_op, right, is_some: _ } => {
                self.quantified(left, compare_op, right, false, cx)
            }
            Expr::AllOp { left, compare_op, right } => {
                self.quantified(left, compare_op, right, true, cx)
            }
            Expr::Cast { kind, expr, data_type, array, format } => {
                if !matches!(kind, ast::CastKind::Cast | ast::CastKind::DoubleColon) {
                    return Err(SqlError::unsupported("TRY_CAST"));
                }
                if *array || format.is_some() {
                    return Err(SqlError::unsupported("CAST with FORMAT or ARRAY"));
                }
                self.cast_expr(kind, expr, data_type, cx)
            }
            Expr::TypedString(ast::TypedString { data_type, value, uses_odbc_syntax: _ }) => {
                let text = self.value(value)?;
                let ty = type_in(data_type, self.catalog)?;
                self.explicit(text, ty, value.span)
            }
            Expr::Interval(interval) => self.interval(interval, cx),
            Expr::Function(function) => self.function(function, cx),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), cx)
            }
            Expr::Exists { subquery, negated } => self.exists(subquery, *negated, cx),
            Expr::Subquery(query) => self.scalar_subquery(query, cx),
            Expr::Array(ast::Array { elem, named: _ }) => self.array(elem, expr.span(), cx),
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.field_access(root, access_chain, cx)
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                self.named_call("timezone", &[time_zone, timestamp], expr.span(), cx)
            }
            Expr::Extract { field, syntax: _, expr: source } => {
                self.extract(field, source, expr.span(), cx)
            }
            Expr::Ceil { expr: arg, field } => {
                refuse_rounding_field(field)?;
                self.named_call("ceil", &[arg], expr.span(), cx)
            }
            Expr::Floor { expr: arg, field } => {
                refuse_rounding_field(field)?;
                self.named_call("floor", &[arg], expr.span(), cx)
            }
            Expr::Position { expr: part, r#in: whole } => {
                self.named_call("position", &[whole, part], expr.span(), cx)
            }
            Expr::Substring {
                expr: text,
                substring_from,
                substring_for,
                special: _,
                shorthand: _,
            } => self.substring(text, substring_from.as_deref(), substring_for.as_deref(), cx),
            Expr::Trim { expr: text, trim_where, trim_what, trim_characters } => self.trim(
                text,
                trim_where.as_ref(),
                trim_what.as_deref(),
                trim_characters.as_deref(),
                cx,
            ),
            Expr::Overlay { expr: text, overlay_what, overlay_from, overlay_for } => {
                let mut args: Vec<&Expr> = vec![text, overlay_what, overlay_from];
                args.extend(overlay_for.as_deref());
                self.named_call("overlay", &args, expr.span(), cx)
            }
            Expr::Collate { expr, collation } => self.collate(expr, collation, cx),
            Expr::IsNormalized { expr: text, form, negated } => {
                let form = form.map_or_else(|| "NFC".to_owned(), |form| form.to_string());
                let form = Scalar::Literal(pgtypes::Datum::text(form), PgType::TEXT);
                let args = vec![(self.expr(text, cx)?, text.span()), (form, text.span())];
                Ok(super::expr_op::negate(self.call("is_normalized", args, text.span())?, *negated))
            }
            Expr::Tuple(fields) => {
                let fields: Vec<&Expr> = fields.iter().collect();
                self.row_value(&fields, cx)
            }
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                Err(SqlError::syntax("GROUPING SETS, CUBE or ROLLUP outside of GROUP BY")
                    .at(self.pos(expr.span())))
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                Err(SqlError::syntax("syntax error at or near \"*\"").at(self.pos(expr.span())))
            }
            Expr::Prefixed { prefix, .. } => {
                Err(SqlError::unsupported(format!("a string constant with the prefix {prefix}")))
            }
            // Forms of other dialects that the parser lets through.
            Expr::JsonAccess { .. }
            | Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Convert { .. }
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => {
                Err(SqlError::unsupported(format!("the expression {expr}"))
                    .at(self.pos(expr.span())))
            }
        }
    }

    fn cast_expr(
        &mut self,
        kind: &ast::CastKind,
        expr: &Expr,
        data_type: &ast::DataType,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let ty = type_in(data_type, self.catalog)?;
        // A label, as expressions are stored.
        if super::typename::stored_enum(data_type).is_some()
            && let Ok(value) = super::expr_forms::unnested(expr).to_string().parse()
        {
            return Ok(Scalar::Literal(pgtypes::Datum::Int8(value), ty));
        }
        // An array constructor learns its element type from the cast around it.
        if let (Expr::Array(array), true) = (expr, ty.array) {
            return self.array_of(&array.elem, ty, cx);
        }
        let scalar = self.expr(expr, cx)?;
        let span = expr.span();
        let from = scalar.ty();
        match self.try_coerce(scalar, ty, Context::Explicit, span)? {
            Some(scalar) => Ok(scalar),
            None => {
                let behind = matches!(kind, ast::CastKind::DoubleColon);
                let at = if behind { self.pos_behind(span) } else { self.pos(span) };
                Err(no_cast(from, ty).at(at))
            }
        }
    }

    fn collate(
        &mut self,
        expr: &Expr,
        collation: &ast::ObjectName,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let name = super::name_parts(collation)?.pop().unwrap_or_default();
        // Text is ordered by its bytes, which is what these two mean.
        if !matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
            return Err(SqlError::unsupported(format!("the collation \"{name}\"")));
        }
        let scalar = self.expr(expr, cx)?;
        let scalar = self.settle_unknown(scalar)?;
        if !super::types::is_text_like(scalar.ty()) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("collations are not supported by type {}", scalar.ty().sql_name()),
            )
            .at(self.pos(expr.span())));
        }
        Ok(scalar)
    }

    fn interval(
        &mut self,
        interval: &ast::Interval,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let ast::Interval {
            value,
            leading_field,
            leading_precision,
            last_field,
            fractional_seconds_precision,
        } = interval;
        let precision = fractional_seconds_precision.or(*leading_precision);
        let fields = interval_fields(leading_field.as_ref(), last_field.as_ref())?;
        let ty = type_in(&ast::DataType::Interval { fields, precision }, self.catalog)?;
        let scalar = self.expr(value, cx)?;
        self.explicit(scalar, ty, value.span())
    }

    /// A call of a function that syntax names instead of the user.
    pub(crate) fn named_call(
        &mut self,
        name: &str,
        args: &[&Expr],
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            bound.push((self.expr(arg, cx)?, arg.span()));
        }
        self.call(name, bound, span)
    }
}

/// The span of an expression, without recursing along a chain of operators.
pub(crate) fn extent(expr: &Expr) -> Span {
    let (mut first, mut last) = (expr, expr);
    while let Expr::BinaryOp { left, .. } = first {
        first = left;
    }
    while let Expr::BinaryOp { right, .. } = last {
        last = right;
    }
    Span::new(first.span().start, last.span().end)
}

/// Reserved words that are values: the parser takes some of them for columns.
fn keyword_value(ident: &ast::Ident) -> Option<&'static str> {
    const WORDS: [&str; 9] = [
        "current_schema",
        "current_catalog",
        "current_role",
        "current_user",
        "session_user",
        "user",
        "current_date",
        "current_timestamp",
        "localtimestamp",
    ];
    if ident.quote_style.is_some() {
        return None;
    }
    WORDS.into_iter().find(|word| ident.value.eq_ignore_ascii_case(word))
}

fn refuse_rounding_field(field: &ast::CeilFloorKind) -> Result<(), SqlError> {
    match field {
        ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) => Ok(()),
        other => Err(SqlError::unsupported(format!("CEIL or FLOOR to {other:?}"))),
    }
}

/// The fields that a unit, or a range of them, stands for.
fn interval_fields(
    first: Option<&ast::DateTimeField>,
    last: Option<&ast::DateTimeField>,
) -> Result<Option<ast::IntervalFields>, SqlError> {
    use ast::DateTimeField as Field;
    use ast::IntervalFields as Fields;
    Ok(Some(match (first, last) {
        (None, _) => return Ok(None),
        (Some(Field::Year), None) => Fields::Year,
        (Some(Field::Month), None) => Fields::Month,
        (Some(Field::Day), None) => Fields::Day,
        (Some(Field::Hour), None) => Fields::Hour,
        (Some(Field::Minute), None) => Fields::Minute,
        (Some(Field::Second), None) => Fields::Second,
        (Some(Field::Year), Some(Field::Month)) => Fields::YearToMonth,
        (Some(Field::Day), Some(Field::Hour)) => Fields::DayToHour,
        (Some(Field::Day), Some(Field::Minute)) => Fields::DayToMinute,
        (Some(Field::Day), Some(Field::Second)) => Fields::DayToSecond,
        (Some(Field::Hour), Some(Field::Minute)) => Fields::HourToMinute,
        (Some(Field::Hour), Some(Field::Second)) => Fields::HourToSecond,
        (Some(Field::Minute), Some(Field::Second)) => Fields::MinuteToSecond,
        (Some(first), None) => {
            return Err(SqlError::unsupported(format!("INTERVAL … {first}")));
        }
        (Some(first), Some(last)) => {
            return Err(SqlError::syntax(format!("syntax error at or near \"{last}\""))
                .detail(format!("INTERVAL takes no range from {first} to {last}.")));
        }
    }))
}
