//! Text to sqlparser's tree, errors in PostgreSQL's words, and positions.
//!
//! Trees are bounded before they are built: sqlparser bounds nesting, and [`check_chains`] bounds
//! chains of operators, which sqlparser parses in a loop into a tree as deep as the chain is long.
//! Everything downstream recurses over that tree, its destructor included.

use std::fmt;

use sqlparser::ast::Statement;
use sqlparser::dialect::{Dialect, PostgreSqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::dialect::Postgres;
use crate::error::{SqlError, SqlState};

/// Deepest nesting of parentheses, subqueries and the like.
const NESTING_MAX: usize = 150;
/// Longest chain of operators, joins or set operations without a comma or parenthesis in between:
/// what 2 MiB of stack hold in a debug build.
pub(super) const CHAIN_MAX: usize = 250;
/// Longest chain of AND and OR.
const LOGIC_MAX: usize = 2_000;
/// Longest statement text in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 << 20;

/// Parses a string of statements separated by semicolons. Empty ones vanish.
pub fn parse(sql: &str) -> Result<Vec<Statement>, SqlError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("statement of {} bytes exceeds the limit of {STATEMENT_BYTES_MAX}", sql.len()),
        ));
    }
    let tokens = tokenize(sql)?;
    check_chains(&tokens)?;
    let dialect = Postgres::new(&tokens);
    let tokens = with_exclude_marks(limits_before_locks(with_lock_marks(tokens)));
    let tokens = super::rewrite_query::rewritten(with_table_commands(tokens));
    let tokens = super::spelling::respelled(super::rewrite::rewritten(tokens));
    let tokens = super::composite::with_star_marks(tokens);
    Parser::new(&dialect as &dyn Dialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| syntax_error(sql, &error))
}

/// Begins a name in OF that says what sqlparser's locking clauses have no word for. No identifier of a
/// user's has it, because the protocol's strings end at a zero byte.
pub(crate) const LOCK_MARK: char = '\0';

/// `FOR NO KEY UPDATE`, `FOR KEY SHARE` and OF with a list, which sqlparser does not know, become
/// `FOR UPDATE OF "mark strength".a.b`, which it does.
fn with_lock_marks(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is = |token: &TokenWithSpan, word: Keyword| match &token.token {
        Token::Word(w) => w.quote_style.is_none() && w.keyword == word,
        _ => false,
    };
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let words: Vec<usize> = (at..tokens.len())
            .filter(|&i| !matches!(tokens[i].token, Token::Whitespace(_)))
            .take(5)
            .collect();
        let matches = |pattern: &[Keyword]| {
            words.len() >= pattern.len()
                && words.iter().zip(pattern).all(|(&i, &word)| is(&tokens[i], word))
        };
        let clause: Option<(&str, usize)> = if words.first() != Some(&at) {
            None
        } else if matches(&[Keyword::FOR, Keyword::NO, Keyword::KEY, Keyword::UPDATE]) {
            Some(("no key", 4))
        } else if matches(&[Keyword::FOR, Keyword::KEY, Keyword::SHARE]) {
            Some(("key", 3))
        } else if matches(&[Keyword::FOR, Keyword::UPDATE, Keyword::OF])
            || matches(&[Keyword::FOR, Keyword::SHARE, Keyword::OF])
        {
            Some(("", 2))
        } else {
            None
        };
        let Some((strength, length)) = clause else {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let last = words[length - 1];
        let mut next = last + 1;
        let names = of_list(&tokens, words.get(length).copied(), &mut next);
        if strength.is_empty() && names.len() < 2 {
            out.extend_from_slice(&tokens[at..next]);
            at = next;
            continue;
        }
        let made = |token: Token| TokenWithSpan { token, span: tokens[last].span };
        out.push(tokens[at].clone());
        out.push(tokens[last].clone());
        out.push(made(Token::make_keyword("OF")));
        out.push(made(Token::make_word(&format!("{LOCK_MARK}{strength}"), Some('"'))));
        for name in names {
            out.push(made(Token::Period));
            out.push(tokens[name].clone());
        }
        at = next;
    }
    out
}

/// `FOR UPDATE LIMIT 1`, which PostgreSQL takes in either order, in the order that sqlparser takes.
fn limits_before_locks(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if let Some(limit) = behind_locks(&tokens, at)
            && let Some(end) = limit_end(&tokens, limit)
        {
            let blank = Token::Whitespace(Whitespace::Space);
            out.extend_from_slice(&tokens[limit..end]);
            out.push(TokenWithSpan { token: blank, span: tokens[limit].span });
            out.extend_from_slice(&tokens[at..limit]);
            at = end;
            continue;
        }
        out.push(tokens[at].clone());
        at += 1;
    }
    out
}

/// `TABLE t` where a query may stand, which sqlparser takes without ORDER BY only, is `SELECT * FROM t`.
fn with_table_commands(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let begins = |before: Option<&Token>| match before {
        None | Some(Token::LParen | Token::SemiColon) => true,
        Some(Token::Word(w)) if w.quote_style.is_none() => matches!(
            w.keyword,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::ALL | Keyword::AS
        ),
        _ => false,
    };
    let is_table = |token: &Token| match token {
        Token::Word(w) => w.quote_style.is_none() && w.keyword == Keyword::TABLE,
        _ => false,
    };
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut before: Option<Token> = None;
    for token in tokens {
        let blank = matches!(token.token, Token::Whitespace(_));
        if is_table(&token.token) && begins(before.as_ref()) {
            let made = |made: Token| TokenWithSpan { token: made, span: token.span };
            out.push(made(Token::make_keyword("SELECT")));
            out.push(made(Token::Mul));
            out.push(made(Token::make_keyword("FROM")));
        } else {
            out.push(token.clone());
        }
        if !blank {
            before = Some(token.token);
        }
    }
    out
}

/// `EXCLUDE …` of a window's frame, which sqlparser does not know, becomes one more key of the window's
/// order: `ORDER BY a, "mark ties" ROWS …`.
fn with_exclude_marks(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let word = |token: &TokenWithSpan| match &token.token {
        Token::Word(w) if w.quote_style.is_none() => w.value.to_ascii_lowercase(),
        _ => String::new(),
    };
    if !tokens.iter().any(|token| word(token) == "exclude") {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Per level of parentheses: where its frame begins, and whether it has an order.
    let mut levels: Vec<(Option<usize>, bool)> = vec![(None, false)];
    let mut at = 0;
    while at < tokens.len() {
        let rest: Vec<usize> = (at..tokens.len())
            .filter(|&i| !matches!(tokens[i].token, Token::Whitespace(_)))
            .take(3)
            .collect();
        let words: Vec<String> = rest.iter().map(|&i| word(&tokens[i])).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let length = match words.as_slice() {
            _ if rest.first() != Some(&at) => 0,
            ["exclude", "current", "row"] | ["exclude", "no", "others"] => 3,
            ["exclude", "group" | "ties", ..] => 2,
            _ => 0,
        };
        let (frame, ordered) = *levels.last().expect("never empty");
        if let (true, Some(frame)) = (length > 0, frame) {
            let span = tokens[at].span;
            let made = |token: Token| TokenWithSpan { token, span };
            let mark = Token::make_word(&format!("{LOCK_MARK}{}", words[1]), Some('"'));
            let key = match ordered {
                true => vec![made(Token::Comma), made(mark)],
                false => vec![
                    made(Token::make_keyword("ORDER")),
                    made(Token::make_keyword("BY")),
                    made(mark),
                ],
            };
            out.splice(frame..frame, key);
            at = rest[length - 1] + 1;
            continue;
        }
        let level = levels.len() - 1;
        match &tokens[at].token {
            Token::LParen => levels.push((None, false)),
            Token::RParen if levels.len() > 1 => drop(levels.pop()),
            Token::Word(_) => match words.first().copied().unwrap_or("") {
                "rows" | "range" | "groups" => levels[level].0 = Some(out.len()),
                "order" => levels[level].1 = true,
                _ => {}
            },
            _ => {}
        }
        out.push(tokens[at].clone());
        at += 1;
    }
    out
}

/// Where LIMIT, OFFSET or FETCH stands, if locking clauses begin at `at` and end right before it.
fn behind_locks(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let word = |i: usize| match &tokens.get(i)?.token {
        Token::Word(w) if w.quote_style.is_none() => Some(w.keyword),
        _ => None,
    };
    let next = |i: usize| {
        (i + 1..tokens.len()).find(|&i| !matches!(tokens[i].token, Token::Whitespace(_)))
    };
    if word(at)? != Keyword::FOR {
        return None;
    }
    let mut at = at;
    while word(at)? == Keyword::FOR {
        at = next(at)?;
        if !matches!(word(at)?, Keyword::UPDATE | Keyword::SHARE) {
            return None;
        }
        at = next(at)?;
        if word(at) == Some(Keyword::OF) {
            // A name, or several with periods between them.
            loop {
                let name = next(at)?;
                at = next(name)?;
                if tokens[at].token != Token::Period {
                    break;
                }
            }
        }
        if word(at) == Some(Keyword::NOWAIT) {
            at = next(at)?;
        } else if word(at) == Some(Keyword::SKIP) {
            at = next(next(at)?)?;
        }
    }
    matches!(word(at)?, Keyword::LIMIT | Keyword::OFFSET | Keyword::FETCH).then_some(at)
}

/// Where the limit ends that begins at `at`; none if another locking clause follows, which is an error.
fn limit_end(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return Some(i),
            Token::RParen => depth -= 1,
            Token::SemiColon => return Some(i),
            Token::Word(w)
                if depth == 0 && w.quote_style.is_none() && w.keyword == Keyword::FOR =>
            {
                return None;
            }
            _ => {}
        }
    }
    Some(tokens.len())
}

/// The names of an OF that stands at `of`, a comma between each two; `next` goes behind them.
fn of_list(tokens: &[TokenWithSpan], of: Option<usize>, next: &mut usize) -> Vec<usize> {
    let mut names = Vec::new();
    let is_of = |i: usize| matches!(&tokens[i].token, Token::Word(w) if w.keyword == Keyword::OF);
    let Some(of) = of.filter(|&i| is_of(i)) else { return names };
    let mut wants_name = true;
    for (i, token) in tokens.iter().enumerate().skip(of + 1) {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(_) if wants_name => names.push(i),
            Token::Comma if !wants_name => {}
            _ => break,
        }
        wants_name = !wants_name;
        *next = i + 1;
    }
    names
}

/// The tokens of a text, for normalising and splitting; whitespace and comments included.
pub fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|e| lexical_error(sql, &e.message, e.location))
}

/// 1-based position in characters of sqlparser's line and column. `None` for an empty span.
pub fn position(sql: &str, at: Location) -> Option<usize> {
    if at.line == 0 {
        return None;
    }
    let line = usize::try_from(at.line).ok()? - 1;
    let column = usize::try_from(at.column).ok()?;
    let before: usize = sql.split_inclusive('\n').take(line).map(|l| l.chars().count()).sum();
    Some(before + column)
}

pub(super) fn too_deep() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .detail("The statement is too complex: nested too deeply, or too long a chain.")
}

/// Operators since the last thing that begins a new expression, at one level of parentheses.
#[derive(Clone, Copy, Default)]
struct Chain {
    /// AND and OR: bound to flat nodes, so only the parser's tree is deep.
    logic: usize,
    /// Everything else that nests to the left.
    other: usize,
    /// Joins and set operations.
    relations: usize,
    /// Points within one name.
    points: usize,
}

fn check_chains(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut chains = vec![Chain::default()];
    for token in tokens {
        let chain = chains.last_mut().expect("never empty");
        if !matches!(token.token, Token::Word(_) | Token::Period) {
            chain.points = 0;
        }
        match &token.token {
            Token::LParen | Token::LBracket => chains.push(Chain::default()),
            Token::RParen | Token::RBracket => {
                if chains.len() > 1 {
                    chains.pop();
                }
            }
            Token::Comma => (chain.logic, chain.other) = (0, 0),
            Token::SemiColon => *chain = Chain::default(),
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR => {
                    chain.logic += 1;
                    chain.other = 0;
                }
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    chain.relations += 1;
                    (chain.logic, chain.other) = (0, 0);
                }
                Keyword::SELECT | Keyword::WHERE | Keyword::ON => {
                    (chain.logic, chain.other) = (0, 0);
                }
                Keyword::NOT
                | Keyword::IS
                | Keyword::COLLATE
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::AT
                | Keyword::CASE => chain.other += 1,
                _ => {}
            },
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_) => {}
            Token::Period => chain.points += 1,
            _ => chain.other += 1,
        }
        let chain = chains.last().expect("never empty");
        let longest = chain.other.max(chain.relations).max(chain.points);
        if chain.logic > LOGIC_MAX || longest > CHAIN_MAX {
            return Err(too_deep());
        }
    }
    Ok(())
}

fn lexical_error(sql: &str, message: &str, at: Location) -> SqlError {
    let at = position(sql, at);
    let rest: String = match at {
        Some(at) => sql.chars().skip(at - 1).collect(),
        None => String::new(),
    };
    let lower = message.to_ascii_lowercase();
    let message = if lower.contains("unterminated dollar") {
        "unterminated dollar-quoted string".to_owned()
    } else if lower.contains("unterminated string") || lower.contains("unterminated encoded") {
        "unterminated quoted string".to_owned()
    } else if lower.contains("expected close delimiter") {
        "unterminated quoted identifier".to_owned()
    } else if lower.contains("multi-line comment") || lower.contains("multiline comment") {
        "unterminated /* comment".to_owned()
    } else {
        return SqlError::syntax(format!("syntax error: {message}")).at(at);
    };
    // PostgreSQL quotes everything from the opening quote on; a page of it helps nobody.
    let near: String = rest.chars().take(60).collect();
    SqlError::syntax(format!("{message} at or near \"{near}\"")).at(at)
}

/// What an error of sqlparser's is to the user.
///
/// It says `Expected: a, found: b at Line: 1, Column: 2`.
pub fn syntax_error(sql: &str, error: &ParserError) -> SqlError {
    let text = match error {
        ParserError::RecursionLimitExceeded => return too_deep(),
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
    };
    let (text, at) = split_location(text);
    let position = at.and_then(|at| position(sql, at));
    if let Some(error) = super::unsupported::refused(sql, at) {
        return error.at(position);
    }
    let Some((expected, found)) = text.rsplit_once("found: ") else {
        return SqlError::syntax(text.trim()).at(position);
    };
    let expected = expected.trim().trim_end_matches(',').trim_start_matches("Expected: ");
    let expected = expected.trim_start_matches("Expected ");
    let end = found == "EOF" || position.is_none();
    let position = if end { Some(sql.trim_end().chars().count() + 1) } else { position };
    let error = if end {
        SqlError::syntax("syntax error at end of input")
    } else {
        SqlError::syntax(format!("syntax error at or near \"{}\"", Near(sql, position, found)))
    };
    error.detail(format!("Expected {expected}.")).at(position)
}

/// The offending token as written; sqlparser's rendering of it may differ.
struct Near<'a>(&'a str, Option<usize>, &'a str);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest =
            self.1.and_then(|at| self.0.char_indices().nth(at - 1)).map(|(i, _)| &self.0[i..]);
        let Some(rest) = rest else { return f.write_str(self.2) };
        let word: usize = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '$')
            .map(char::len_utf8)
            .sum();
        f.write_str(if word == 0 { self.2 } else { &rest[..word] })
    }
}

fn split_location(text: &str) -> (&str, Option<Location>) {
    let Some((head, tail)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let parse = || {
        let (line, column) = tail.split_once(", Column: ")?;
        Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    };
    match parse() {
        Some(at) => (head, Some(at)),
        None => (text, None),
    }
}
