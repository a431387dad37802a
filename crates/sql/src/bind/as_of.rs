//! `AS OF SYSTEM TIME`: found and taken out before the parser sees the text, which does not know it.
//!
//! ```text
//!   SELECT * FROM t AS OF SYSTEM TIME '-10s' WHERE id = 7
//!   SELECT * FROM t                          WHERE id = 7      what the parser gets: blanks, so that
//!                                                              positions in errors stay right
//! ```
//!
//! The clause stands at the end of a FROM clause, of any query of the statement: all of them must say
//! the same time, because a statement reads one snapshot. Or it is a mode of BEGIN and SET TRANSACTION.

use sqlparser::ast::Expr;
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::dialect::Postgres;
use super::parse::{position, syntax_error, tokenize};
use crate::SqlError;

/// A statement's text without its clauses, and what they said.
pub(crate) struct AsOf {
    /// The text, with blanks where the clauses were.
    pub(crate) rest: String,
    /// The times, at least one.
    pub(crate) times: Vec<Expr>,
    /// Where the first clause begins: 1-based, in characters.
    pub(crate) position: Option<usize>,
}

/// Takes the clauses out of a statement; nothing if it has none.
pub(crate) fn take_as_of(text: &str) -> Result<Option<AsOf>, SqlError> {
    if !mentions(text) {
        return Ok(None);
    }
    let tokens: Vec<TokenWithSpan> = tokenize(text)?
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect();
    let Some(place) = Place::of(&tokens) else { return Ok(None) };
    let mut found = AsOf { rest: String::new(), times: Vec::new(), position: None };
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    let mut scan = Scan::default();
    let mut at = 0;
    while at < tokens.len() {
        if !is_clause(&tokens[at..]) {
            scan.pass(&tokens[at], at.checked_sub(1).map(|before| &tokens[before]));
            at += 1;
            continue;
        }
        let begins = position(text, tokens[at].span.start);
        place.check(&scan, &tokens[0]).map_err(|error| error.at(begins))?;
        let (time, end) = parse_time(text, &tokens, at + 4)?;
        let (first, last) = place.with_comma(&tokens, at, end);
        let from = position(text, tokens[first].span.start).unwrap_or(1);
        let to = tokens.get(last).and_then(|next| position(text, next.span.start));
        cuts.push((from, to.unwrap_or(usize::MAX)));
        found.position = found.position.or(begins);
        found.times.push(time);
        at = end;
    }
    if found.times.is_empty() {
        return Ok(None);
    }
    let blank = |n: usize| cuts.iter().any(|&(from, to)| (from..to).contains(&(n + 1)));
    let kept = text.chars().enumerate();
    found.rest = kept.map(|(n, c)| if blank(n) && c != '\n' { ' ' } else { c }).collect();
    Ok(Some(found))
}

/// A look that costs little, for the many statements without it.
fn mentions(text: &str) -> bool {
    let word = b"system";
    text.as_bytes().windows(word.len()).any(|found| found.eq_ignore_ascii_case(word))
}

fn is_word(token: Option<&TokenWithSpan>, word: &str) -> bool {
    matches!(
        token.map(|t| &t.token),
        Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word)
    )
}

fn is_clause(tokens: &[TokenWithSpan]) -> bool {
    let words = ["as", "of", "system", "time"];
    words.iter().enumerate().all(|(n, word)| is_word(tokens.get(n), word))
}

/// The time, and the token behind it.
fn parse_time(
    text: &str,
    tokens: &[TokenWithSpan],
    from: usize,
) -> Result<(Expr, usize), SqlError> {
    let rest = tokens[from..].to_vec();
    let dialect = Postgres::new(&rest);
    let mut parser = Parser::new(&dialect as &dyn Dialect).with_tokens_with_locations(rest);
    let time = parser.parse_expr().map_err(|error| syntax_error(text, &error))?;
    let next = parser.peek_token();
    let behind = |at: Location| tokens.iter().position(|token| token.span.start == at);
    let end = match next.token {
        Token::EOF => tokens.len(),
        _ => behind(next.span.start).unwrap_or(tokens.len()),
    };
    Ok((time, end))
}

/// Where the clause may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind a FROM clause.
    Query,
    /// Among the modes of a transaction.
    Modes,
    /// Nowhere.
    No,
}

impl Place {
    /// Nothing if the text has no clause at all.
    fn of(tokens: &[TokenWithSpan]) -> Option<Self> {
        (0..tokens.len()).find(|&at| is_clause(&tokens[at..]))?;
        let first = |word| is_word(tokens.first(), word);
        Some(if first("begin") || first("start") || first("set") {
            Place::Modes
        } else if ["select", "with", "explain"].into_iter().any(first)
            || tokens.first().is_some_and(|t| t.token == Token::LParen)
        {
            Place::Query
        } else {
            Place::No
        })
    }

    fn check(self, scan: &Scan, verb: &TokenWithSpan) -> Result<(), SqlError> {
        match self {
            Place::Modes => Ok(()),
            Place::Query if scan.in_from() => Ok(()),
            Place::Query => Err(SqlError::syntax("syntax error at or near \"AS\"")
                .detail("AS OF SYSTEM TIME stands at the end of a FROM clause.")),
            Place::No => {
                let verb = verb.token.to_string().to_ascii_uppercase();
                Err(SqlError::unsupported(format!("AS OF SYSTEM TIME in {verb}"))
                    .hint("Use BEGIN AS OF SYSTEM TIME for a whole transaction in the past."))
            }
        }
    }

    /// Modes are separated by commas or nothing: one comma goes with the clause.
    fn with_comma(self, tokens: &[TokenWithSpan], first: usize, last: usize) -> (usize, usize) {
        let comma = |at: usize| tokens.get(at).is_some_and(|t| t.token == Token::Comma);
        match self {
            Place::Modes if comma(last) => (first, last + 1),
            Place::Modes if comma(first - 1) => (first - 1, last),
            Place::Modes | Place::Query | Place::No => (first, last),
        }
    }
}

/// Whether a FROM clause is open, for each level of parentheses.
struct Scan(Vec<bool>);

impl Default for Scan {
    fn default() -> Self {
        Scan(vec![false])
    }
}

impl Scan {
    fn in_from(&self) -> bool {
        self.0.last() == Some(&true)
    }

    fn pass(&mut self, token: &TokenWithSpan, before: Option<&TokenWithSpan>) {
        match &token.token {
            Token::LParen => self.0.push(false),
            Token::RParen if self.0.len() > 1 => drop(self.0.pop()),
            Token::Word(word) if word.quote_style.is_none() => {
                let now = match word.keyword {
                    // `a IS DISTINCT FROM b`.
                    Keyword::FROM => !is_word(before, "distinct"),
                    Keyword::SELECT
                    | Keyword::WHERE
                    | Keyword::GROUP
                    | Keyword::HAVING
                    | Keyword::WINDOW
                    | Keyword::ORDER
                    | Keyword::LIMIT
                    | Keyword::OFFSET
                    | Keyword::FETCH
                    | Keyword::UNION
                    | Keyword::INTERSECT
                    | Keyword::EXCEPT => false,
                    _ => return,
                };
                *self.0.last_mut().expect("never empty") = now;
            }
            _ => {}
        }
    }
}
