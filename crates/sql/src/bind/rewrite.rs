//! Clauses that sqlparser does not know, or knows in one order only, in words that it does.
//!
//! ```text
//!   INSERT INTO t … OVERRIDING SYSTEM VALUE …   ->  INSERT INTO "mark overriding system".t … …
//!   AS IDENTITY (START 1 INCREMENT 2)           ->  AS IDENTITY (INCREMENT 2 START 1)
//!   CREATE TABLE t (a, b) AS …                  ->  CREATE TABLE t (a "mark untyped", …) AS …
//!   CREATE TABLE t (LIKE s INCLUDING ALL, …)    ->  … CONSTRAINT "mark like 0 including all" CHECK (s)
//! ```
//!
//! `conflict_target` does the same for ON CONFLICT, `element_target` for `SET a[1] = …`. No identifier of a
//! user's begins with the mark: see [`LOCK_MARK`].

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::parse::LOCK_MARK;

/// OVERRIDING of an INSERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overriding {
    System,
    User,
}

/// The name of the table an INSERT writes to, and its OVERRIDING clause.
pub(crate) fn take_overriding(name: &ObjectName) -> (ObjectName, Option<Overriding>) {
    let first = match name.0.first() {
        Some(ObjectNamePart::Identifier(first)) => first.value.as_str(),
        _ => "",
    };
    let overriding = match first.strip_prefix(LOCK_MARK) {
        Some("overriding system") => Overriding::System,
        Some("overriding user") => Overriding::User,
        _ => return (name.clone(), None),
    };
    (ObjectName(name.0[1..].to_vec()), Some(overriding))
}

/// Where a LIKE stands among the elements of a table, and its options, of a constraint's name.
pub(crate) fn like_of(name: &Ident) -> Option<(usize, Vec<(bool, String)>)> {
    let rest = name.value.strip_prefix(LOCK_MARK)?.strip_prefix("like ")?;
    let mut words = rest.split(' ');
    let at = words.next()?.parse().ok()?;
    let mut options = Vec::new();
    while let (Some(sign), Some(what)) = (words.next(), words.next()) {
        options.push((sign == "including", what.to_owned()));
    }
    Some((at, options))
}

pub(super) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w)
        if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

pub(super) fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Positions from `from` on of tokens that are no space.
pub(super) fn words(tokens: &[TokenWithSpan], from: usize) -> impl Iterator<Item = usize> + '_ {
    (from..tokens.len()).filter(|&i| !is_space(&tokens[i]))
}

fn at_words(tokens: &[TokenWithSpan], from: usize, wanted: &[&str]) -> Option<usize> {
    let mut end = from;
    let mut found = words(tokens, from);
    for word in wanted {
        let at = found.next().filter(|&at| is_word(&tokens[at], word))?;
        end = at + 1;
    }
    Some(end)
}

/// The text's tokens with these clauses in words that sqlparser knows.
pub(super) fn rewritten(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keyword = |wanted: Keyword| {
        tokens.iter().any(|t| matches!(&t.token, Token::Word(w) if w.keyword == wanted))
    };
    let (insert, create) = (keyword(Keyword::INSERT), keyword(Keyword::TABLE));
    let update = keyword(Keyword::UPDATE) && tokens.iter().any(|t| t.token == Token::LBracket);
    let mut tokens = tokens;
    if update {
        tokens = super::element_target::rewritten(tokens);
    }
    if insert && tokens.iter().any(|t| is_word(t, "overriding")) {
        tokens = overriding(tokens);
    }
    if insert && tokens.iter().any(|t| is_word(t, "conflict")) {
        tokens = super::conflict_target::rewritten(tokens);
    }
    if create {
        if tokens.iter().any(|t| is_word(t, "identity")) {
            identity(&mut tokens);
        }
        if tokens.iter().any(|t| is_word(t, "like")) {
            tokens = like(tokens);
        }
        tokens = untyped(tokens);
    }
    tokens
}

fn overriding(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for (word, mark) in [("system", "overriding system"), ("user", "overriding user")] {
        let clause = |at: &usize| at_words(&tokens, *at, &["overriding", word, "value"]);
        let Some(at) = words(&tokens, 0).find(|at| clause(at).is_some()) else { continue };
        let end = clause(&at).expect("just found");
        let into = tokens[..at].iter().rposition(|t| is_word(t, "into"));
        let Some(into) = into else { continue };
        let span = tokens[into].span;
        tokens.drain(at..end);
        let marked = Token::make_word(&format!("{LOCK_MARK}{mark}"), Some('"'));
        let space = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
        let made = [space, marked, Token::Period].map(|token| TokenWithSpan { token, span });
        // Space between the mark and the name is as good as none.
        tokens.splice(into + 1..=into + 1, made);
    }
    tokens
}

/// The order in which sqlparser takes the options of a sequence.
const OPTIONS: &[&str] = &["increment", "minvalue", "maxvalue", "start", "cache", "cycle"];

fn identity(tokens: &mut [TokenWithSpan]) {
    let mut from = 0;
    while let Some(at) = (from..tokens.len()).find(|&at| is_word(&tokens[at], "identity")) {
        from = at + 1;
        let Some(open) = words(tokens, at + 1).next() else { return };
        if tokens[open].token != Token::LParen {
            continue;
        }
        let Some(close) = (open..tokens.len()).find(|&i| tokens[i].token == Token::RParen) else {
            return;
        };
        let mut groups: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
        let mut no: Vec<TokenWithSpan> = Vec::new();
        for token in &tokens[open + 1..close] {
            if is_word(token, "no") {
                no.push(token.clone());
            } else if let Some(rank) = OPTIONS.iter().position(|o| is_word(token, o)) {
                let mut group = std::mem::take(&mut no);
                group.push(token.clone());
                groups.push((rank, group));
            } else if !no.is_empty() {
                no.push(token.clone());
            } else if let Some((_, group)) = groups.last_mut() {
                group.push(token.clone());
            } else if !is_space(token) {
                // Something else: the parser says what it thinks of it.
                groups.push((OPTIONS.len(), vec![token.clone()]));
            }
        }
        let space = tokens[open + 1..close].iter().find(|t| is_space(t)).cloned();
        groups.sort_by_key(|(rank, _)| *rank);
        let sorted: Vec<TokenWithSpan> = groups.into_iter().flat_map(|(_, group)| group).collect();
        let mut room = tokens[open + 1..close].iter_mut();
        for (slot, token) in room.by_ref().zip(sorted) {
            *slot = token;
        }
        // Leading space was dropped: fill up with space.
        for slot in room {
            *slot = space.clone().expect("only space was left out");
        }
    }
}

/// Whether a type stands for none: that of a column of CREATE TABLE AS.
pub(crate) fn is_untyped(ty: &sqlparser::ast::DataType) -> bool {
    matches!(ty, sqlparser::ast::DataType::Custom(name, _)
        if matches!(name.0.as_slice(), [ObjectNamePart::Identifier(only)]
            if only.value.strip_prefix(LOCK_MARK) == Some("untyped")))
}

/// Names of CREATE TABLE t (a, b) AS get a type.
fn untyped(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some(create) = words(&tokens, 0).next().filter(|&at| is_word(&tokens[at], "create")) else {
        return tokens;
    };
    let Some(open) = (create..tokens.len()).find(|&i| tokens[i].token == Token::LParen) else {
        return tokens;
    };
    let mut names = Vec::new();
    let mut close = None;
    let mut fits = true;
    for at in words(&tokens, open + 1) {
        match (&tokens[at].token, names.len() % 2) {
            (Token::Word(_), 0) | (Token::Comma, 1) => names.push(at),
            (Token::RParen, 1) => close = Some(at),
            _ => fits = false,
        }
        if close.is_some() || !fits {
            break;
        }
    }
    if close.is_none_or(|close| at_words(&tokens, close + 1, &["as"]).is_none()) {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len() + names.len());
    for (at, token) in tokens.into_iter().enumerate() {
        let span = token.span;
        let is_name = names.iter().step_by(2).any(|name| *name == at);
        out.push(token);
        if is_name {
            let token = Token::make_word(&format!("{LOCK_MARK}untyped"), Some('"'));
            out.push(TokenWithSpan { token, span });
        }
    }
    out
}

fn like(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some(create) = words(&tokens, 0).next().filter(|&at| is_word(&tokens[at], "create")) else {
        return tokens;
    };
    let Some(open) = (create..tokens.len()).find(|&i| tokens[i].token == Token::LParen) else {
        return tokens;
    };
    let mut out: Vec<TokenWithSpan> = tokens[..=open].to_vec();
    let (mut depth, mut element, mut begins) = (1, 0, true);
    let mut at = open + 1;
    while at < tokens.len() {
        let token = &tokens[at];
        if depth == 1 && begins && is_word(token, "like") {
            let mut name = Vec::new();
            let mut options = format!("{LOCK_MARK}like {element}");
            at += 1;
            while at < tokens.len() {
                let sign = ["including", "excluding"].into_iter().find(|w| is_word(&tokens[at], w));
                match (&tokens[at].token, sign) {
                    (Token::Comma | Token::RParen, _) => break,
                    (_, Some(sign)) => {
                        let what = words(&tokens, at + 1).next().unwrap_or(at);
                        let what_word = tokens[what].token.to_string().to_ascii_lowercase();
                        options.push_str(&format!(" {sign} {what_word}"));
                        at = what;
                    }
                    (Token::Whitespace(_), None) => {}
                    _ => name.push(tokens[at].clone()),
                }
                at += 1;
            }
            let span = token.span;
            let made = |token: Token| TokenWithSpan { token, span };
            out.push(made(Token::make_keyword("CONSTRAINT")));
            out.push(made(Token::make_word(&options, Some('"'))));
            out.push(made(Token::make_keyword("CHECK")));
            out.push(made(Token::LParen));
            out.extend(name);
            out.push(made(Token::RParen));
            begins = false;
            continue;
        }
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 1 => element += 1,
            _ => {}
        }
        begins = match token.token {
            Token::Comma => depth == 1,
            Token::Whitespace(_) => begins,
            _ => false,
        };
        out.push(token.clone());
        at += 1;
    }
    out
}
