//! Spellings of expressions that sqlparser does not know, in ones that it does.
//!
//! ```text
//!   'con'⏎'cat'                     ->  'concat'
//!   a ISNULL                        ->  a IS NULL
//!   f(a, VARIADIC b)                ->  f(a, "mark variadic" => b)
//!   TRIM(LEADING FROM a)            ->  TRIM(LEADING ' ' FROM a)
//!   SUBSTRING(a SIMILAR b ESCAPE c) ->  SUBSTRING(a, b, c)
//!   INTERVAL(2) '1 s'               ->  '1 s'::INTERVAL(2)
//! ```

use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use super::parse::LOCK_MARK;
use super::rewrite::{is_space, is_word, words};

/// The name of the argument that VARIADIC stands before.
pub(crate) fn is_variadic(name: &str) -> bool {
    name.strip_prefix(LOCK_MARK) == Some("variadic")
}

/// The text's tokens with these expressions in words that sqlparser knows.
pub(super) fn respelled(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if adjoining(&tokens, 0).is_some() {
        tokens = concatenated(tokens);
    }
    let has =
        |tokens: &[TokenWithSpan], word: &str| tokens.iter().any(|token| is_word(token, word));
    if has(&tokens, "substring") && has(&tokens, "similar") {
        similar(&mut tokens);
    }
    if has(&tokens, "interval") {
        tokens = intervals(tokens);
    }
    let any = ["isnull", "variadic", "trim"]
        .into_iter()
        .any(|word| tokens.iter().any(|token| is_word(token, word)));
    if any { by_words(tokens) } else { tokens }
}

/// The next two string constants from `from` on that are one, with a line end between them.
fn adjoining(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, usize)> {
    let is_string = |at: &usize| {
        matches!(tokens[*at].token, Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_))
    };
    (from..tokens.len()).filter(is_string).find_map(|first| {
        let second = words(tokens, first + 1).next()?;
        let line = tokens[first + 1..second]
            .iter()
            .any(|token| matches!(token.token, Token::Whitespace(Whitespace::Newline)));
        let joins = line && matches!(tokens[second].token, Token::SingleQuotedString(_));
        joins.then_some((first, second))
    })
}

fn concatenated(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut from = 0;
    while let Some((first, second)) = adjoining(&tokens, from) {
        let Token::SingleQuotedString(more) = tokens[second].token.clone() else { break };
        match &mut tokens[first].token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                text.push_str(&more);
            }
            _ => break,
        }
        tokens.drain(first + 1..=second);
        from = first;
    }
    tokens
}

/// The parser forgets the precision that stands before the constant.
fn intervals(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 1);
    let mut at = 0;
    while at < tokens.len() {
        let next: Vec<usize> = words(&tokens, at).take(5).collect();
        let fits = is_word(&tokens[at], "interval")
            && next.len() == 5
            && tokens[next[1]].token == Token::LParen
            && matches!(tokens[next[2]].token, Token::Number(..))
            && tokens[next[3]].token == Token::RParen
            && matches!(tokens[next[4]].token, Token::SingleQuotedString(_));
        if fits {
            let span = tokens[at].span;
            out.push(tokens[next[4]].clone());
            out.push(TokenWithSpan { token: Token::DoubleColon, span });
            out.extend_from_slice(&tokens[at..=next[3]]);
            at = next[4] + 1;
        } else {
            out.push(tokens[at].clone());
            at += 1;
        }
    }
    out
}

/// May an expression end with this token?
fn ends_expression(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::RParen
            | Token::RBracket
            | Token::Placeholder(_)
    )
}

fn by_words(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 8);
    for (at, token) in tokens.iter().enumerate() {
        let span = token.span;
        let made = |token: Token| TokenWithSpan { token, span };
        let space = || made(Token::Whitespace(Whitespace::Space));
        let before = out.iter().rev().find(|token| !is_space(token));
        let behind = words(&tokens, at + 1).next().map(|at| &tokens[at]);
        if is_word(token, "isnull")
            && before.is_some_and(|token| ends_expression(&token.token) && !is_word(token, "as"))
            && behind.is_none_or(|token| token.token != Token::Period)
        {
            out.extend([made(Token::make_keyword("IS")), space()]);
            out.push(made(Token::make_keyword("NULL")));
            continue;
        }
        if is_word(token, "variadic")
            && before.is_some_and(|token| matches!(token.token, Token::LParen | Token::Comma))
            && behind.is_some_and(|token| !matches!(token.token, Token::Comma | Token::RParen))
        {
            out.push(made(Token::make_word(&format!("{LOCK_MARK}variadic"), Some('"'))));
            out.extend([space(), made(Token::RArrow)]);
            continue;
        }
        if is_word(token, "from")
            && before.is_some_and(|token| {
                ["leading", "trailing", "both"].iter().any(|word| is_word(token, word))
            })
        {
            out.extend([made(Token::SingleQuotedString(" ".to_owned())), space()]);
        }
        out.push(token.clone());
    }
    out
}

/// The words SIMILAR and ESCAPE of SUBSTRING become commas.
fn similar(tokens: &mut [TokenWithSpan]) {
    // Per level of parentheses: is it SUBSTRING's?
    let mut levels = vec![false];
    let mut before: Option<usize> = None;
    for at in 0..tokens.len() {
        if is_space(&tokens[at]) {
            continue;
        }
        match tokens[at].token {
            Token::LParen => {
                levels.push(before.is_some_and(|at| is_word(&tokens[at], "substring")));
            }
            Token::RParen if levels.len() > 1 => drop(levels.pop()),
            Token::Word(_) if levels.last() == Some(&true) => {
                let to = words(tokens, at + 1).next().is_some_and(|at| is_word(&tokens[at], "to"));
                if (is_word(&tokens[at], "similar") && !to) || is_word(&tokens[at], "escape") {
                    tokens[at].token = Token::Comma;
                }
            }
            _ => {}
        }
        before = Some(at);
    }
}
