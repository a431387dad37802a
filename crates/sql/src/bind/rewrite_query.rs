//! Expressions that sqlparser does not know, in words that it does.
//!
//! ```text
//!   a BETWEEN SYMMETRIC b AND c   ->  a BETWEEN "mark symmetric"(b) AND c
//!   a = ANY (VALUES (1), (2))     ->  a = ANY (SELECT * FROM (VALUES (1), (2)) AS "*VALUES*")
//!   a + ((SELECT 1) EXCEPT (SELECT 2))  ->  a + (SELECT * FROM ((SELECT 1) EXCEPT …) AS "*VALUES*")
//!   a IN ((SELECT 1), 2)          ->  a IN (COALESCE((SELECT 1)), 2)
//!   GROUP BY DISTINCT a, ROLLUP (b)  ->  GROUP BY "mark distinct", a, ROLLUP (b)
//!   GROUP BY ALL a                ->  GROUP BY a
//! ```

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::parse::LOCK_MARK;

/// The name of the call that a lower bound is put into.
const SYMMETRIC: &str = "symmetric";

/// What stands between two queries.
const SET_OPERATIONS: [Keyword; 3] = [Keyword::UNION, Keyword::INTERSECT, Keyword::EXCEPT];

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
    let begins = |t| is_keyword(t, Keyword::VALUES) || is_keyword(t, Keyword::SELECT);
    if tokens.iter().any(begins) {
        tokens = queries(tokens);
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

fn is_one_of(token: &TokenWithSpan, keywords: &[Keyword]) -> bool {
    keywords.iter().any(|keyword| is_keyword(token, *keyword))
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

/// `(VALUES …)` and `((SELECT …) UNION …)` where an expression stands.
fn queries(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    // The parentheses of such queries, and what is to be done to them.
    let mut marks: Vec<(usize, Mark)> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => open.push(n),
            Token::RParen => {
                let Some(at) = open.pop() else { return tokens };
                let around = open.last().copied();
                let expected = previous(&tokens, at)
                    .is_some_and(|before| expects_expression(&tokens, before, around));
                if is_first_of_list(&tokens, at, n) {
                    marks.extend([(at, Mark::Element), (n, Mark::ElementEnd)]);
                }
                if expected && is_unusual_query(&tokens, at) {
                    marks.extend([(at, Mark::Query), (n, Mark::QueryEnd)]);
                }
            }
            _ => {}
        }
    }
    if marks.is_empty() {
        return tokens;
    }
    marks.sort_unstable();
    let mut marks = marks.into_iter().peekable();
    let mut made = Vec::with_capacity(tokens.len() + 6 * marks.len());
    for (n, token) in tokens.into_iter().enumerate() {
        let span = token.span;
        let word = |text: &str| at(span, Token::make_keyword(text));
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        while let Some((_, mark)) = marks.next_if(|(at, _)| *at == n) {
            match mark {
                Mark::Element => before.extend([word("COALESCE"), at(span, Token::LParen)]),
                Mark::Query => {
                    behind.extend([word("SELECT"), at(span, Token::Mul), word("FROM")]);
                    behind.push(at(span, Token::LParen));
                }
                Mark::QueryEnd => {
                    let alias = at(span, Token::make_word("*VALUES*", Some('"')));
                    before.extend([at(span, Token::RParen), word("AS"), alias]);
                }
                Mark::ElementEnd => behind.push(at(span, Token::RParen)),
            }
        }
        made.extend(before);
        made.push(token);
        made.extend(behind);
    }
    made
}

/// Parentheses around the first part of a set operation that are looked through.
const NESTED_MAX: usize = 16;

/// Functions with words between their arguments.
const WORDY_FUNCTIONS: [Keyword; 4] =
    [Keyword::EXTRACT, Keyword::SUBSTRING, Keyword::TRIM, Keyword::OVERLAY];

/// What is written at a parenthesis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Query,
    QueryEnd,
    Element,
    ElementEnd,
}

/// Whether a query in parentheses is but the first element of a list behind IN.
fn is_first_of_list(tokens: &[TokenWithSpan], open: usize, close: usize) -> bool {
    let is = |n: Option<usize>, token: Token| n.is_some_and(|n| tokens[n].token == token);
    let list = previous(tokens, open).filter(|&n| tokens[n].token == Token::LParen);
    let word = list.and_then(|list| previous(tokens, list));
    is(next(tokens, close + 1), Token::Comma)
        && word.is_some_and(|word| is_keyword(&tokens[word], Keyword::IN))
        && next(tokens, open + 1).is_some_and(|first| begins_query(&tokens[first]))
}

fn begins_query(token: &TokenWithSpan) -> bool {
    is_one_of(token, &[Keyword::SELECT, Keyword::WITH, Keyword::VALUES, Keyword::TABLE])
}

/// Whether what the parenthesis at `open` holds is a query that does not begin with SELECT or WITH: one that
/// begins with VALUES, or with a query in parentheses that is but a part of it.
fn is_unusual_query(tokens: &[TokenWithSpan], open: usize) -> bool {
    let Some(first) = next(tokens, open + 1) else { return false };
    if is_keyword(&tokens[first], Keyword::VALUES) {
        return true;
    }
    if tokens[first].token != Token::LParen {
        return false;
    }
    let mut word = next(tokens, first + 1);
    for _ in 0..NESTED_MAX {
        match word {
            Some(n) if tokens[n].token == Token::LParen => word = next(tokens, n + 1),
            _ => break,
        }
    }
    let begins = word.is_some_and(|word| begins_query(&tokens[word]));
    let goes_on = || {
        let behind = closing(tokens, first).and_then(|close| next(tokens, close + 1));
        behind.is_some_and(|behind| {
            is_one_of(&tokens[behind], &SET_OPERATIONS)
                || is_one_of(
                    &tokens[behind],
                    &[Keyword::ORDER, Keyword::LIMIT, Keyword::OFFSET, Keyword::FETCH],
                )
        })
    };
    begins && goes_on()
}

/// Whether an expression may follow the token at `before`, within the parenthesis opened at `around`.
fn expects_expression(tokens: &[TokenWithSpan], before: usize, around: Option<usize>) -> bool {
    let of_bags = is_keyword(&tokens[before], Keyword::ALL)
        && previous(tokens, before).is_some_and(|n| is_one_of(&tokens[n], &SET_OPERATIONS));
    // IS [NOT] DISTINCT FROM.
    let is_before = |n: usize, keywords: &[Keyword]| {
        previous(tokens, n).filter(|&n| is_one_of(&tokens[n], keywords))
    };
    let distinct_from = is_keyword(&tokens[before], Keyword::FROM)
        && is_before(before, &[Keyword::DISTINCT])
            .is_some_and(|n| is_before(n, &[Keyword::IS, Keyword::NOT]).is_some());
    // EXTRACT(field FROM …), SUBSTRING(text FROM … FOR …).
    let function = around.and_then(|around| previous(tokens, around));
    let of_function = is_one_of(&tokens[before], &[Keyword::FROM, Keyword::FOR, Keyword::PLACING])
        && function.is_some_and(|n| is_one_of(&tokens[n], &WORDY_FUNCTIONS));
    distinct_from || of_function || !of_bags && stands_before_expression(&tokens[before])
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
                | Keyword::ON
                | Keyword::SELECT
                | Keyword::DISTINCT
                | Keyword::RETURNING
                | Keyword::CASE
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::IN
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE
                | Keyword::BETWEEN
                | Keyword::SYMMETRIC
                | Keyword::TO
                | Keyword::ESCAPE
                | Keyword::ZONE
                | Keyword::OVERLAPS
                | Keyword::LIMIT
                | Keyword::OFFSET
                | Keyword::ARRAY
                | Keyword::BY
        ),
        // Behind what is not an operator, a comma or an opening bracket, nothing begins.
        Token::RParen | Token::RBracket | Token::SemiColon | Token::EOF => false,
        _ => true,
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
