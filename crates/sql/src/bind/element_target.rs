//! Elements and slices of arrays as targets of UPDATE and DO UPDATE, which sqlparser does not know.
//!
//! ```text
//!   SET a[1] = 5, b = 6   ->   SET a = "mark element"(a[1], 5), b = 6
//! ```
//!
//! The new value of the column is made of the old one. Several elements of one column are assigned one after
//! the other.

use pgtypes::{Datum, PgType, registry};
use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Binder;
use super::composite::{Bounds, no_subscripts};
use super::dml::is_default;
use super::expr::Cx;
use super::parse::LOCK_MARK;
use super::resolve::Context;
use super::rewrite::{is_word, words};
use super::scope::{Clause, Scope};
use crate::error::{SqlError, SqlState};
use crate::ir::{FuncRef, Scalar};

fn mark() -> String {
    format!("{LOCK_MARK}element")
}

/// Makes calls of such assignments.
pub(super) fn rewritten(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        out.push(tokens[at].clone());
        at += 1;
        if !is_word(&tokens[at - 1], "set") {
            continue;
        }
        // One assignment after the other.
        loop {
            let end = end_of_item(&tokens, at);
            match target(&tokens[at..end]) {
                Some(target) => out.extend(as_call(&tokens[at..end], target)),
                None => out.extend_from_slice(&tokens[at..end]),
            }
            at = end;
            let comma = tokens.get(at).filter(|t| t.token == Token::Comma);
            let Some(comma) = comma else { break };
            out.push(comma.clone());
            at += 1;
        }
    }
    out
}

/// Where an item of a SET list that begins at `from` ends.
fn end_of_item(tokens: &[TokenWithSpan], from: usize) -> usize {
    let mut depth = 0usize;
    let mut before: Option<usize> = None;
    for at in words(tokens, from) {
        let is_end = match &tokens[at].token {
            Token::LParen | Token::LBracket => {
                depth += 1;
                false
            }
            Token::RParen | Token::RBracket if depth == 0 => true,
            Token::RParen | Token::RBracket => {
                depth -= 1;
                false
            }
            Token::Comma | Token::SemiColon => depth == 0,
            Token::Word(_) if depth == 0 => {
                let distinct = before.is_some_and(|before| is_word(&tokens[before], "distinct"));
                is_word(&tokens[at], "where")
                    || is_word(&tokens[at], "returning")
                    || (is_word(&tokens[at], "from") && !distinct)
            }
            _ => false,
        };
        if is_end {
            return at;
        }
        before = Some(at);
    }
    tokens.len()
}

/// Where the name, the subscripts and the value of an item begin, if it has subscripts.
fn target(item: &[TokenWithSpan]) -> Option<(usize, usize, usize)> {
    let mut found = words(item, 0);
    let name = found.next().filter(|&at| matches!(item[at].token, Token::Word(_)))?;
    let open = found.next().filter(|&at| item[at].token == Token::LBracket)?;
    let mut depth = 0usize;
    for at in words(item, open) {
        match item[at].token {
            Token::LBracket | Token::LParen => depth += 1,
            Token::RBracket | Token::RParen => depth = depth.checked_sub(1)?,
            Token::Eq if depth == 0 => return Some((name, open, at)),
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn as_call(
    item: &[TokenWithSpan],
    (name, open, equal): (usize, usize, usize),
) -> Vec<TokenWithSpan> {
    let made = |token: Token| TokenWithSpan { token, span: item[name].span };
    let mut out = item[..open].to_vec();
    out.push(item[equal].clone());
    out.push(made(Token::make_word(&mark(), Some('"'))));
    out.push(made(Token::LParen));
    out.extend_from_slice(&item[name..equal]);
    out.push(made(Token::Comma));
    out.extend_from_slice(&item[equal + 1..]);
    out.push(made(Token::RParen));
    out
}

/// The target and the value, if it is a call that was made here.
pub(super) fn of(value: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::Function(call) = value else { return None };
    let [ast::ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(target)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)),
        ] if name.value == mark() => Some((target, value)),
        _ => None,
    }
}

impl Binder<'_> {
    /// What becomes of a column's value `base` when `value` is assigned to a part of it.
    pub(super) fn with_element(
        &mut self,
        base: Scalar,
        column: &str,
        (target, value): (&Expr, &Expr),
        scope: &Scope<'_>,
    ) -> Result<Scalar, SqlError> {
        let span = target.span();
        if is_default(value) {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cannot set an array element to DEFAULT",
            )
            .at(self.pos(span)));
        }
        let array = base.ty();
        if array.same(PgType::new(pgtypes::TypeId::Jsonb)) {
            return Err(SqlError::unsupported("assigning to a part of a jsonb value")
                .hint("Use jsonb_set.")
                .at(self.pos(span)));
        }
        let Expr::CompoundFieldAccess { access_chain, .. } = target else {
            return Err(SqlError::syntax("a subscript was expected").at(self.pos(span)));
        };
        if !array.array {
            return Err(no_subscripts(array).at(self.pos(span)));
        }
        let mut cx = Cx::plain(scope, Clause::Set);
        let Bounds { bounds, left_out, is_slice } = self.bounds(access_chain, &mut cx)?;
        let wanted = if is_slice { array } else { array.element() };
        let scalar = self.expr_in(value, scope, Clause::Set)?;
        let from = scalar.ty();
        let coerced = self.try_coerce(scalar, wanted, Context::Assignment, value.span())?;
        let Some(scalar) = coerced else {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "subscripted assignment to \"{column}\" requires type {} but expression is of \
                     type {}",
                    wanted.sql_name(),
                    from.sql_name()
                ),
            )
            .hint("You will need to rewrite or cast the expression.")
            .at(self.pos(span)));
        };
        let func = registry::assigned_to(array, bounds.len(), is_slice);
        let mut args = vec![base, scalar, Scalar::Literal(Datum::Int4(left_out), PgType::INT4)];
        args.extend(bounds);
        Ok(Scalar::Call { func: FuncRef(std::sync::Arc::new(func)), args, ty: array })
    }
}
