//! Expressions that sqlparser does not know, in words that it does.
//!
//! ```text
//!   a BETWEEN SYMMETRIC b AND c   ->  a BETWEEN "mark symmetric"(b) AND c
//!   a = ANY (VALUES (1), (2))     ->  a = ANY (SELECT * FROM (VALUES (1), (2)) AS "*VALUES*")
//!   GROUP BY DISTINCT a, ROLLUP (b)  ->  GROUP BY "mark distinct", a, ROLLUP (b)
//!   GROUP BY ALL a                ->  GROUP BY a
//! ```

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::parse::LOCK_MARK;

/// The name of the call that a lower bound is put into.
const SYMMETRIC: &str = "symmetric";

/// The name of the key that stands for DISTINCT behind GROUP BY.
const DISTINCT: &str = "distinct";

/// Whether a key of GROUP BY says that sets of keys are to be taken once.
pub(super) fn is_distinct_mark(key: &Expr) -> bool {
    matches!(key, Expr::Identifier(name)
        if name.value.strip_prefix(LOCK_MARK) == Some(DISTINCT))
}

/// The lower bound of `BETWEEN SYMMETRIC`, if it is one.
pub(crate) fn symmetric_bound(low: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = low else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    if name.value.strip_prefix(LOCK_MARK) != Some(SYMMETRIC) {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(bound))] => Some(bound),
        _ => None,
    }
}

/// The text's tokens with these expressions in words that sqlparser knows.
pub(super) fn rewritten(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if tokens.iter().any(|t| is_keyword(t, Keyword::BETWEEN)) {
        between(&mut tokens);
    }
    if tokens.iter().any(|t| is_keyword(t, Keyword::VALUES)) {
        values(&mut tokens);
    }
    if tokens.iter().any(|t| is_keyword(t, Keyword::GROUP)) {
        group_by(&mut tokens);
    }
    tokens
}

fn group_by(tokens: &mut Vec<TokenWithSpan>) {
    for n in (0..tokens.len()).rev() {
        let by = next(tokens, n + 1).filter(|&by| is_keyword(&tokens[by], Keyword::BY));
        let (true, Some(by)) = (is_keyword(&tokens[n], Keyword::GROUP), by) else { continue };
        let Some(word) = next(tokens, by + 1) else { continue };
        let follows = next(tokens, word + 1).is_some_and(|after| {
            !matches!(tokens[after].token, Token::SemiColon | Token::RParen | Token::EOF)
        });
        let span = tokens[word].span;
        if follows && is_keyword(&tokens[word], Keyword::ALL) {
            tokens.remove(word);
        } else if follows && is_keyword(&tokens[word], Keyword::DISTINCT) {
            let mark = Token::make_word(&format!("{LOCK_MARK}{DISTINCT}"), Some('"'));
            tokens.splice(word..=word, [at(span, mark), at(span, Token::Comma)]);
        }
    }
}

fn is_keyword(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.keyword == keyword)
}

fn at(span: Span, token: Token) -> TokenWithSpan {
    TokenWithSpan { token, span }
}

/// The next token from `from` on that is no space.
fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|&n| !matches!(tokens[n].token, Token::Whitespace(_)))
}

/// The last token before `to` that is no space.
fn previous(tokens: &[TokenWithSpan], to: usize) -> Option<usize> {
    (0..to).rev().find(|&n| !matches!(tokens[n].token, Token::Whitespace(_)))
}

fn between(tokens: &mut Vec<TokenWithSpan>) {
    // From the end, so that what is put in moves nothing that is still to be looked at.
    for n in (0..tokens.len()).rev() {
        if !is_keyword(&tokens[n], Keyword::BETWEEN) {
            continue;
        }
        let Some(word) = next(tokens, n + 1) else { continue };
        let Token::Word(w) = &tokens[word].token else { continue };
        if w.quote_style.is_some() {
            continue;
        }
        if w.value.eq_ignore_ascii_case("asymmetric") {
            tokens.remove(word);
        } else if w.value.eq_ignore_ascii_case(SYMMETRIC)
            && let Some(and) = end_of_bound(tokens, word + 1)
        {
            let span = tokens[word].span;
            tokens.insert(and, at(span, Token::RParen));
            let name = Token::make_word(&format!("{LOCK_MARK}{SYMMETRIC}"), Some('"'));
            tokens.splice(word..=word, [at(span, name), at(span, Token::LParen)]);
        }
    }
}

/// Where the AND of a BETWEEN stands whose lower bound begins at `from`.
fn end_of_bound(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (n, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return None,
            Token::RParen | Token::RBracket => depth -= 1,
            _ if is_keyword(token, Keyword::CASE) => depth += 1,
            _ if is_keyword(token, Keyword::END) => depth -= 1,
            _ if depth == 0 && is_keyword(token, Keyword::AND) => return Some(n),
            _ => {}
        }
    }
    None
}

/// `(VALUES …)` where an expression stands.
fn values(tokens: &mut Vec<TokenWithSpan>) {
    for open in (0..tokens.len()).rev() {
        let Some(word) = next(tokens, open + 1) else { continue };
        if tokens[open].token != Token::LParen || !is_keyword(&tokens[word], Keyword::VALUES) {
            continue;
        }
        let Some(before) = previous(tokens, open) else { continue };
        let operation = |n: usize| {
            [Keyword::UNION, Keyword::INTERSECT, Keyword::EXCEPT]
                .iter()
                .any(|word| is_keyword(&tokens[n], *word))
        };
        let of_bags = is_keyword(&tokens[before], Keyword::ALL)
            && previous(tokens, before).is_some_and(operation);
        if of_bags || !stands_before_expression(&tokens[before]) {
            continue;
        }
        let Some(close) = closing(tokens, open) else { continue };
        let span = tokens[open].span;
        let word = |text: &str| at(span, Token::make_keyword(text));
        let alias = at(span, Token::make_word("*VALUES*", Some('"')));
        tokens.splice(close..close, [at(span, Token::RParen), word("AS"), alias]);
        let select = [word("SELECT"), at(span, Token::Mul), word("FROM")];
        tokens.splice(open + 1..open + 1, select.into_iter().chain([at(span, Token::LParen)]));
    }
}

fn stands_before_expression(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(w) if w.quote_style.is_none() => matches!(
            w.keyword,
            Keyword::ANY
                | Keyword::SOME
                | Keyword::ALL
                | Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::SELECT
                | Keyword::DISTINCT
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE
                | Keyword::BETWEEN
                | Keyword::ARRAY
                | Keyword::BY
        ),
        Token::Comma
        | Token::LParen
        | Token::Eq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::StringConcat => true,
        _ => false,
    }
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (n, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return Some(n),
            Token::RParen => depth -= 1,
            _ => {}
        }
    }
    None
}
