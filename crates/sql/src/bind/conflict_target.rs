//! What ON CONFLICT infers unique indexes from, where that is more than a list of columns.
//!
//! ```text
//!   ON CONFLICT (lower(a), b) WHERE c DO …
//!     ->  ON CONFLICT ON CONSTRAINT "mark target lower(a), b mark c" DO …
//! ```
//!
//! An index is meant if its columns and expressions are exactly those listed, and if it is a partial one, if
//! the condition given implies its own.

use sqlparser::ast::{self, ObjectName, ObjectNamePart};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Binder;
use super::parse::LOCK_MARK;
use super::scope::{Clause, Scope};
use crate::error::{SqlError, SqlState};
use crate::indexed::{Demands, position_of_expr};
use crate::ir::{ColId, ConflictTarget, Scalar, Scan};

/// The list and the condition in a constraint's name, if it is one that was made here.
pub(super) fn of(name: &ObjectName) -> Option<(&str, &str)> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(only)] => {
            only.value.strip_prefix(LOCK_MARK)?.strip_prefix("target ")?.split_once(LOCK_MARK)
        }
        _ => None,
    }
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w)
        if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn text(tokens: &[TokenWithSpan]) -> String {
    tokens.iter().map(|t| t.token.to_string()).collect()
}

/// Makes constraints of such targets.
pub(super) fn rewritten(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let next = |from: usize| {
        (from..tokens.len()).find(|&i| !matches!(tokens[i].token, Token::Whitespace(_)))
    };
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        out.push(tokens[at].clone());
        at += 1;
        let is_clause = is_word(&tokens[at - 1], "conflict")
            && tokens[..at - 1]
                .iter()
                .rfind(|t| !matches!(t.token, Token::Whitespace(_)))
                .is_some_and(|t| is_word(t, "on"));
        let Some(open) = next(at).filter(|&i| is_clause && tokens[i].token == Token::LParen) else {
            continue;
        };
        let Some(close) = closing(&tokens, open) else { continue };
        let simple = tokens[open + 1..close]
            .iter()
            .all(|t| matches!(t.token, Token::Word(_) | Token::Comma | Token::Whitespace(_)));
        let filtered = next(close + 1).filter(|&i| is_word(&tokens[i], "where"));
        if simple && filtered.is_none() {
            continue;
        }
        let end = match filtered {
            None => close + 1,
            Some(start) => {
                let mut depth = 0usize;
                let end = (start..tokens.len()).find(|&i| {
                    match tokens[i].token {
                        Token::LParen => depth += 1,
                        Token::RParen => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    depth == 0 && is_word(&tokens[i], "do")
                });
                let Some(end) = end else { continue };
                end
            }
        };
        let condition = filtered.map_or(String::new(), |start| text(&tokens[start + 1..end]));
        let list = text(&tokens[open + 1..close]);
        let name = format!("{LOCK_MARK}target {list}{LOCK_MARK}{condition}");
        let span = tokens[open].span;
        let space = || Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
        let made = [
            space(),
            Token::make_keyword("ON"),
            space(),
            Token::make_keyword("CONSTRAINT"),
            space(),
            Token::make_word(&name, Some('"')),
            space(),
        ];
        out.extend(made.map(|token| TokenWithSpan { token, span }));
        at = end;
    }
    out
}

fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    (open..tokens.len()).find(|&i| {
        match tokens[i].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// The unique indexes over exactly these positions; partial ones if the condition implies theirs.
pub(super) fn arbiters(
    target: &Scan,
    positions: &[usize],
    condition: Option<&Scalar>,
) -> Result<ConflictTarget, SqlError> {
    let table = &target.table;
    let position = |id: ColId| target.columns.iter().find(|(c, _)| c.id == id).map(|(_, at)| *at);
    let conjuncts = condition.map_or(&[][..], Scalar::conjuncts);
    let demands = Demands::new(table, conjuncts.iter(), &position, &[]);
    let meant = |index: &&catalog::Index| {
        let own = table.index_positions(index);
        index.unique
            && !own.is_empty()
            && own.iter().all(|at| positions.contains(at))
            && positions.iter().all(|at| own.contains(at))
            && demands.imply(index)
    };
    let found = std::iter::once(&table.primary).chain(&table.indexes).filter(meant);
    let found: Vec<catalog::IndexId> = found.map(|index| index.id).collect();
    if found.is_empty() {
        return Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        ));
    }
    Ok(ConflictTarget::Indexes(found))
}

impl Binder<'_> {
    /// The indexes that a target made by [`rewritten`] means.
    pub(super) fn inferred(
        &mut self,
        name: &ObjectName,
        target: &Scan,
        scope: &Scope<'_>,
    ) -> Result<ConflictTarget, SqlError> {
        let (list, condition) = of(name).unwrap_or(("", ""));
        let position =
            |id: ColId| target.columns.iter().find(|(c, _)| c.id == id).map(|(_, at)| *at);
        let mut positions = Vec::new();
        for expr in listed(list)? {
            let scalar = self.expr_in(&expr, scope, Clause::Default)?;
            let at = match &scalar {
                Scalar::Column(id, _) => position(*id),
                other => position_of_expr(&target.table, other, &position),
            };
            // No index has it.
            positions.push(at.unwrap_or(usize::MAX));
        }
        let condition = match condition.trim() {
            "" => None,
            text => {
                let expr = crate::session::stored_expr(text)?;
                Some(self.condition_in(&expr, scope, Clause::Where, "WHERE")?)
            }
        };
        arbiters(target, &positions, condition.as_ref())
    }
}

fn listed(list: &str) -> Result<Vec<ast::Expr>, SqlError> {
    let statements = super::parse(&format!("SELECT {list}"))?;
    let Some(ast::Statement::Query(query)) = statements.into_iter().next() else {
        return Err(SqlError::syntax("syntax error in ON CONFLICT"));
    };
    let ast::SetExpr::Select(select) = *query.body else {
        return Err(SqlError::syntax("syntax error in ON CONFLICT"));
    };
    select
        .projection
        .into_iter()
        .map(|item| match item {
            ast::SelectItem::UnnamedExpr(ast::Expr::Nested(inner)) => Ok(*inner),
            ast::SelectItem::UnnamedExpr(expr) => Ok(expr),
            other => Err(SqlError::unsupported(format!("{other} in ON CONFLICT"))),
        })
        .collect()
}
