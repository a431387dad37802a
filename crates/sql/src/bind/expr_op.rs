//! Operators, and the predicates that are operators in disguise.

use pgtypes::PgType;
use sqlparser::ast::{BinaryOperator as Op, Expr, Spanned, UnaryOperator, ValueWithSpan};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::expr::{Cx, extent};
use super::expr_forms::unnested;
use super::resolve;
use super::rewrite_query::symmetric_bound;
use super::rows::row_of;
use crate::error::{SqlError, SqlState};
use crate::ir::{FuncRef, Scalar};

/// PostgreSQL's name of an operator.
pub(crate) fn operator_name(op: &Op) -> Result<String, SqlError> {
    Ok(match op {
        Op::NotEq => "<>".to_owned(),
        Op::Custom(name) => name.clone(),
        Op::PGCustomBinaryOperator(parts) => match parts.split_last() {
            Some((name, [])) => name.clone(),
            Some((name, [schema])) if schema.eq_ignore_ascii_case("pg_catalog") => name.clone(),
            _ => {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("operator does not exist: {op}"),
                ));
            }
        },
        Op::And
        | Op::Or
        | Op::Xor
        | Op::Spaceship
        | Op::DuckIntegerDivide
        | Op::MyIntegerDivide
        | Op::Match
        | Op::Regexp
        | Op::Assignment
        | Op::Overlaps => return Err(SqlError::unsupported(format!("the operator {op}"))),
        other => other.to_string(),
    })
}

impl Binder<'_> {
    pub(crate) fn binary(
        &mut self,
        left: &Expr,
        op: &Op,
        right: &Expr,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        match op {
            Op::And | Op::Or => return self.logic(left, op, right, cx),
            _ => {}
        }
        if *op == Op::Overlaps {
            return self.overlaps(left, right, cx);
        }
        if let Some(compared) = self.row_operator(left, op, right, cx)? {
            return Ok(compared);
        }
        let name = operator_name(op)?;
        let l = (self.expr(left, cx)?, left.span());
        let r = (self.expr(right, cx)?, right.span());
        self.operator(&name, vec![l, r], left.span())
    }

    /// AND and OR chains become one flat node, however long.
    fn logic(
        &mut self,
        left: &Expr,
        op: &Op,
        right: &Expr,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let what = if *op == Op::And { "AND" } else { "OR" };
        let mut operands = vec![right];
        let mut next = left;
        while let Expr::BinaryOp { left, op: inner, right } = next {
            if inner != op {
                break;
            }
            operands.push(right);
            next = left;
        }
        operands.push(next);
        let mut bound = Vec::with_capacity(operands.len());
        for operand in operands.into_iter().rev() {
            let scalar = self.expr(operand, cx)?;
            let scalar = self.condition(scalar, what, extent(operand))?;
            match (scalar, *op == Op::And) {
                (Scalar::And(inner), true) | (Scalar::Or(inner), false) => bound.extend(inner),
                (scalar, _) => bound.push(scalar),
            }
        }
        Ok(if *op == Op::And { Scalar::And(bound) } else { Scalar::Or(bound) })
    }

    /// Resolves an operator over bound operands. `behind` is the span of the left operand.
    pub(crate) fn operator(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        behind: Span,
    ) -> Result<Scalar, SqlError> {
        let types: Vec<PgType> = args.iter().map(|(arg, _)| arg.ty()).collect();
        let func = resolve::operator(name, &types).map_err(|error| {
            let at = if args.len() == 1 { self.pos(behind) } else { self.pos_behind(behind) };
            error.at(at)
        })?;
        self.apply(func, args)
    }

    /// The call of a resolved function over operands, converted as it wants them.
    pub(crate) fn apply(
        &mut self,
        func: FuncRef,
        args: Vec<(Scalar, Span)>,
    ) -> Result<Scalar, SqlError> {
        let mut converted = Vec::with_capacity(args.len());
        for ((arg, span), &want) in args.into_iter().zip(&func.args) {
            converted.push(self.implicit(arg, want, span)?);
        }
        let ty = func.result;
        Ok(Scalar::Call { func, args: converted, ty })
    }

    /// `(a, b) OVERLAPS (c, d)`.
    fn overlaps(
        &mut self,
        left: &Expr,
        right: &Expr,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let mut args = Vec::with_capacity(4);
        for (side, name) in [(left, "left"), (right, "right")] {
            let fields = row_of(side).filter(|fields| fields.len() == 2).ok_or_else(|| {
                let message =
                    format!("wrong number of parameters on {name} side of OVERLAPS expression");
                SqlError::syntax(message).at(self.pos(side.span()))
            })?;
            for field in fields {
                args.push((self.expr(field, cx)?, field.span()));
            }
        }
        self.call("overlaps", args, left.span())
    }

    pub(crate) fn unary(
        &mut self,
        op: UnaryOperator,
        expr: &Expr,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        // A sign binds tighter than `^`, unlike in the parser.
        if matches!(op, UnaryOperator::Minus | UnaryOperator::Plus)
            && let Expr::BinaryOp { op: Op::PGExp, .. } = expr
        {
            return self.expr(&signed_base(op, expr), cx);
        }
        if op == UnaryOperator::Minus {
            // The parser folds the sign into a number: -2147483648 is an int4.
            if let Expr::Value(ValueWithSpan {
                value: sqlparser::ast::Value::Number(text, _),
                span,
            }) = expr
            {
                return self.number(text, true, *span);
            }
        }
        let name = match op {
            UnaryOperator::Not => {
                let scalar = self.expr(expr, cx)?;
                let scalar = self.condition(scalar, "NOT", extent(expr))?;
                return Ok(Scalar::Not(Box::new(scalar)));
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::Minus => "-",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            UnaryOperator::BangNot
            | UnaryOperator::PGPostfixFactorial
            | UnaryOperator::PGPrefixFactorial
            | UnaryOperator::AtDashAt
            | UnaryOperator::DoubleAt
            | UnaryOperator::Hash
            | UnaryOperator::QuestionDash
            | UnaryOperator::QuestionPipe => {
                return Err(SqlError::unsupported(format!("the operator {op}")));
            }
        };
        let arg = (self.expr(expr, cx)?, expr.span());
        self.operator(name, vec![arg], expr.span())
    }

    pub(crate) fn null_test(
        &mut self,
        arg: &Expr,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if let Some(fields) = row_of(unnested(arg)) {
            return self.row_null_test(&fields, negated, cx);
        }
        let scalar = self.expr(arg, cx)?;
        let scalar = self.settle_unknown(scalar)?;
        Ok(negate(Scalar::IsNull(Box::new(scalar)), negated))
    }

    pub(crate) fn bool_test(
        &mut self,
        arg: &Expr,
        value: bool,
        negated: bool,
        what: &str,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let scalar = self.expr(arg, cx)?;
        let scalar = self.condition(scalar, what, arg.span())?;
        Ok(negate(Scalar::IsBool(Box::new(scalar), value), negated))
    }

    pub(crate) fn unknown_test(
        &mut self,
        arg: &Expr,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let what = if negated { "IS NOT UNKNOWN" } else { "IS UNKNOWN" };
        let scalar = self.expr(arg, cx)?;
        let scalar = self.condition(scalar, what, arg.span())?;
        Ok(negate(Scalar::IsNull(Box::new(scalar)), negated))
    }

    pub(crate) fn distinct_from(
        &mut self,
        left: &Expr,
        right: &Expr,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if let (Some(l), Some(r)) = (row_of(left), row_of(right)) {
            return self.row_distinct((left, l), r, negated, cx);
        }
        let l = self.expr(left, cx)?;
        let r = self.expr(right, cx)?;
        let (eq, l, r) = self.equality((l, left.span()), (r, right.span()))?;
        Ok(negate(Scalar::Distinct { eq, left: Box::new(l), right: Box::new(r) }, negated))
    }

    /// The equality of two operands, both converted.
    pub(crate) fn equality(
        &mut self,
        left: (Scalar, Span),
        right: (Scalar, Span),
    ) -> Result<(FuncRef, Scalar, Scalar), SqlError> {
        let behind = left.1;
        match self.operator("=", vec![left, right], behind)? {
            Scalar::Call { func, mut args, .. } => {
                let right = args.pop().expect("equality has two operands");
                let left = args.pop().expect("equality has two operands");
                Ok((func, left, right))
            }
            _ => Err(SqlError::internal("an operator that is no call")),
        }
    }

    pub(crate) fn between(
        &mut self,
        expr: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let span = expr.span();
        let value = self.expr(expr, cx)?;
        let symmetric = symmetric_bound(low);
        let low = symmetric.unwrap_or(low);
        let l = (self.expr(low, cx)?, low.span());
        let h = (self.expr(high, cx)?, high.span());
        let (ge, le) = if negated { ("<", ">") } else { (">=", "<=") };
        let mut within = |l: (Scalar, Span), h: (Scalar, Span)| {
            let first = self.operator(ge, vec![(value.clone(), span), l], span)?;
            let second = self.operator(le, vec![(value.clone(), span), h], span)?;
            let both = vec![first, second];
            Ok::<_, SqlError>(if negated { Scalar::Or(both) } else { Scalar::And(both) })
        };
        let asked = within(l.clone(), h.clone())?;
        if symmetric.is_none() {
            return Ok(asked);
        }
        let either = vec![asked, within(h, l)?];
        Ok(if negated { Scalar::And(either) } else { Scalar::Or(either) })
    }

    pub(crate) fn in_list(
        &mut self,
        expr: &Expr,
        list: &[Expr],
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if let Some(fields) = row_of(expr) {
            return self.row_in_list(expr, &fields, list, negated, cx);
        }
        let span = expr.span();
        let needle = self.expr(expr, cx)?;
        let mut all = vec![(needle, span)];
        for item in list {
            all.push((self.expr(item, cx)?, item.span()));
        }
        // Items of one type with the needle are one IN; otherwise each is its own comparison.
        let types: Vec<_> = all.iter().map(|(scalar, at)| (scalar.ty(), *at)).collect();
        if self.common_type(&types, "IN").is_ok() {
            let (mut unified, ty) = self.unify(all, "IN")?;
            let list = unified.split_off(1);
            let needle = unified.pop().expect("the needle comes first");
            let eq = resolve::operator("=", &[ty, ty]).map_err(|e| e.at(self.pos_behind(span)))?;
            let mut converted = Vec::with_capacity(list.len());
            for item in list {
                converted.push(self.implicit(item, eq.args[1], span)?);
            }
            let needle = Box::new(self.implicit(needle, eq.args[0], span)?);
            return Ok(negate(Scalar::InList { eq, needle, list: converted }, negated));
        }
        let mut items = all.into_iter();
        let needle = items.next().expect("the needle comes first");
        let mut equal = Vec::new();
        for item in items {
            equal.push(self.operator("=", vec![needle.clone(), item], span)?);
        }
        Ok(negate(Scalar::Or(equal), negated))
    }

    pub(crate) fn like(
        &mut self,
        op: &Op,
        any: bool,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&ValueWithSpan>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        // ALL is a function to the parser.
        let all = match pattern {
            Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("all") => {
                match super::call_args::Args::of(function)?.exprs.as_slice() {
                    [array] => Some(*array),
                    _ => None,
                }
            }
            _ => None,
        };
        if any || all.is_some() {
            if escape.is_some() {
                return Err(SqlError::syntax("syntax error at or near \"ESCAPE\""));
            }
            return self.quantified(expr, op, all.unwrap_or(pattern), all.is_some(), cx);
        }
        let value = (self.expr(expr, cx)?, expr.span());
        let mut pattern = (self.expr(pattern, cx)?, pattern.span());
        if let Some(escape) = escape {
            let at = escape.span;
            let escape = (self.value(escape)?, at);
            pattern = (self.call("like_escape", vec![pattern, escape], at)?, at);
        }
        self.operator(&operator_name(op)?, vec![value, pattern], expr.span())
    }

    pub(crate) fn similar(
        &mut self,
        negated: bool,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&ValueWithSpan>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let value = (self.expr(expr, cx)?, expr.span());
        let mut args = vec![(self.expr(pattern, cx)?, pattern.span())];
        if let Some(escape) = escape {
            args.push((self.value(escape)?, escape.span));
        }
        let regex = self.call("similar_to_escape", args, pattern.span())?;
        let op = if negated { "!~" } else { "~" };
        self.operator(op, vec![value, (regex, pattern.span())], expr.span())
    }
}

/// `NOT scalar`, if so.
pub(crate) fn negate(scalar: Scalar, negated: bool) -> Scalar {
    if negated { Scalar::Not(Box::new(scalar)) } else { scalar }
}

/// `-a ^ b` as the parser has it, `-(a ^ b)`, with the sign where PostgreSQL has it.
fn signed_base(sign: UnaryOperator, power: &Expr) -> Expr {
    match power {
        Expr::BinaryOp { left, op: op @ Op::PGExp, right } => Expr::BinaryOp {
            left: Box::new(signed_base(sign, left)),
            op: op.clone(),
            right: right.clone(),
        },
        base => Expr::UnaryOp { op: sign, expr: Box::new(base.clone()) },
    }
}
