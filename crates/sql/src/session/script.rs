//! Text to statements: where one ends and the next begins, and the forms that sqlparser does not
//! know.
//!
//! Each statement of a script is parsed on its own, so that a mistake in the second does not keep
//! the first from running and positions can be moved to where the statement stands.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::cluster_setting::{ClusterSetting, is_cluster_setting, parse_cluster_setting};
use super::cursor::{Declare, Fetch, parse_close, parse_declare, parse_fetch};
use super::modes::{self, Control};
use crate::bind;
use crate::copy::{CopyStatement, parse_copy};
use crate::ddl::{self, OwnDdl, RoleStatement};
use crate::{SqlError, SqlState};

/// A parsed statement.
#[derive(Debug, Clone)]
pub(crate) enum Parsed {
    /// Nothing but space and comments.
    Empty,
    /// What sqlparser knows.
    Sql(Box<ast::Statement>),
    /// What sqlparser knows, with AS OF SYSTEM TIME.
    AsOf(Box<Historic>),
    /// SET, RESET and SHOW of the cluster's settings.
    ClusterSetting(ClusterSetting),
    /// COPY.
    Copy(Box<CopyStatement>),
    /// `ALTER TABLE t SPLIT AT VALUES (…), (…)`.
    SplitAt(Box<SplitAt>),
    /// DDL that sqlparser does not know.
    Ddl(Box<OwnDdl>),
    /// Statements on roles and privileges.
    Role(Box<RoleStatement>),
    /// SET CONSTRAINTS; without names, all.
    SetConstraints { names: Option<Vec<ast::ObjectName>>, deferred: bool },
    /// VACUUM and ANALYZE with the tables named.
    Maintenance {
        /// `VACUUM` or `ANALYZE`: the tag.
        verb: &'static str,
        /// The tables; none means all.
        tables: Vec<ast::ObjectName>,
        /// Whether statistics are asked for.
        analyze: bool,
    },
    /// `CHECKPOINT`.
    Checkpoint,
    /// DECLARE … CURSOR.
    Declare(Declare),
    /// FETCH and MOVE.
    Fetch(Fetch),
    /// CLOSE; none means all.
    Close(Option<String>),
    /// BEGIN, COMMIT and their family.
    Control(Control),
    /// The same with AS OF SYSTEM TIME.
    ControlAsOf(Control, Box<Past>),
}

impl Parsed {
    /// Whether it begins a block: what the block is like is known without repeating it.
    pub(crate) fn is_begin(&self) -> bool {
        matches!(self, Parsed::Control(Control::Begin { .. }) | Parsed::ControlAsOf(..))
    }
}

/// A statement about the past.
#[derive(Debug, Clone)]
pub(crate) struct Historic {
    pub(crate) statement: ast::Statement,
    pub(crate) past: Past,
}

/// When a statement reads.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    /// What its clauses say; at least one.
    pub(crate) times: Vec<ast::Expr>,
    /// Where the first one stands.
    pub(crate) position: Option<usize>,
}

impl Parsed {
    /// The tree, if sqlparser has made one.
    pub(crate) fn statement(&self) -> Option<&ast::Statement> {
        match self {
            Parsed::Sql(statement) => Some(statement),
            Parsed::AsOf(historic) => Some(&historic.statement),
            Parsed::Empty
            | Parsed::ClusterSetting(_)
            | Parsed::Copy(_)
            | Parsed::SplitAt(_)
            | Parsed::Ddl(_)
            | Parsed::Role(_)
            | Parsed::SetConstraints { .. }
            | Parsed::Maintenance { .. }
            | Parsed::Checkpoint
            | Parsed::Declare(_)
            | Parsed::Fetch(_)
            | Parsed::Close(_)
            | Parsed::Control(_)
            | Parsed::ControlAsOf(..) => None,
        }
    }
}

/// Where to split a table.
#[derive(Debug, Clone)]
pub(crate) struct SplitAt {
    /// The table, or the index of it.
    pub(crate) table: ast::ObjectName,
    /// Values of leading key columns, one list per split.
    pub(crate) points: Vec<Vec<ast::Expr>>,
}

/// One statement's text and the byte at which it begins in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) start: usize,
    pub(crate) text: &'a str,
}

/// Cuts a script at its semicolons. Pieces of nothing but space vanish.
pub(crate) fn split(script: &str) -> Vec<Piece<'_>> {
    let bytes = script.as_bytes();
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b';' {
            push(&mut pieces, script, start, at);
            at += 1;
            start = at;
        } else {
            at = skip(bytes, at);
        }
    }
    push(&mut pieces, script, start, bytes.len());
    pieces
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, script: &'a str, start: usize, end: usize) {
    let text = script[start..end].trim_end();
    let trimmed = text.trim_start();
    if !trimmed.is_empty() {
        pieces.push(Piece { start: start + (text.len() - trimmed.len()), text: trimmed });
    }
}

/// The position behind the token at `at`: what may hold a semicolon is passed as a whole.
fn skip(bytes: &[u8], at: usize) -> usize {
    let until = |from: usize, what: &[u8]| {
        bytes[from..]
            .windows(what.len())
            .position(|w| w == what)
            .map_or(bytes.len(), |n| from + n + what.len())
    };
    match bytes[at] {
        b'\'' => {
            let escapes = at > 0
                && matches!(bytes[at - 1], b'E' | b'e')
                && (at < 2 || !is_word(bytes[at - 2]));
            quoted(bytes, at, b'\'', escapes)
        }
        b'"' => quoted(bytes, at, b'"', false),
        b'-' if bytes.get(at + 1) == Some(&b'-') => until(at, b"\n"),
        b'/' if bytes.get(at + 1) == Some(&b'*') => comment(bytes, at),
        b'$' if at == 0 || !is_word(bytes[at - 1]) => match dollar_tag(bytes, at) {
            Some(tag) => until(at + tag.len(), tag),
            None => at + 1,
        },
        _ => at + 1,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn quoted(bytes: &[u8], open: usize, quote: u8, escapes: bool) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            // A doubled quote begins the next quoted piece at once: the same end.
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn comment(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    let mut at = open;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `$tag$` at `at`, if that is one.
fn dollar_tag(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let len = bytes[at + 1..].iter().position(|&b| !is_word(b))?;
    let end = at + 1 + len;
    (bytes[end] == b'$' && !bytes[at + 1].is_ascii_digit()).then(|| &bytes[at..=end])
}

/// Most words, numbers and signs of one statement: what its tree takes in memory is a hundredfold of it.
const TOKENS_MAX: usize = 2_000_000;

/// 54001, before memory is taken for each of them.
fn refuse_too_many_tokens(text: &str) -> Result<(), SqlError> {
    // Each has a byte at least.
    if text.len() <= TOKENS_MAX {
        return Ok(());
    }
    let bytes = text.as_bytes();
    let (mut count, mut at) = (0, 0);
    while at < bytes.len() {
        let word = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
        count += usize::from(!bytes[at].is_ascii_whitespace());
        at = if word > 0 { at + word } else { skip(bytes, at) };
    }
    match count <= TOKENS_MAX {
        true => Ok(()),
        false => Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement too complex")
            .detail(format!("It has more than {TOKENS_MAX} words, numbers and signs."))
            .hint("Use COPY to load many rows, and array parameters for long lists.")),
    }
}

/// Parses one statement.
pub(crate) fn parse_one(text: &str) -> Result<Parsed, SqlError> {
    refuse_too_many_tokens(text)?;
    let words = first_words(text);
    if modes::is_control(&words) {
        if let Some(found) = bind::take_as_of(text)? {
            let control = by_hand(&found.rest, modes::parse_control)?;
            let past = Past { times: found.times, position: found.position };
            return Ok(Parsed::ControlAsOf(control, Box::new(past)));
        }
        let control = by_hand(text, modes::parse_control)?;
        if control.is_bare() {
            return Err(SqlError::syntax("syntax error at end of input"));
        }
        return Ok(Parsed::Control(control));
    }
    match words.first().map_or("", String::as_str) {
        "" => return Ok(Parsed::Empty),
        "set" | "reset" | "show" if is_cluster_setting(text) => {
            return by_hand(text, parse_cluster_setting).map(Parsed::ClusterSetting);
        }
        "copy" => return by_hand(text, parse_copy).map(|c| Parsed::Copy(Box::new(c))),
        "vacuum" => return by_hand(text, parse_vacuum),
        "analyze" | "analyse" => return by_hand(text, parse_analyze),
        "checkpoint" => return Ok(Parsed::Checkpoint),
        "declare" => return by_hand(text, |p| parse_declare(p, text)).map(Parsed::Declare),
        "fetch" | "move" => return by_hand(text, parse_fetch).map(Parsed::Fetch),
        "close" => return by_hand(text, parse_close).map(Parsed::Close),
        "alter" if is_split(text) => return by_hand(text, parse_split),
        "set" if words.get(1).is_some_and(|w| w == "constraints") => {
            return by_hand(text, parse_set_constraints);
        }
        "create" | "alter" | "comment" if ddl::is_own(&words, &all_words(text)) => {
            return by_hand(text, ddl::parse_own).map(|own| Parsed::Ddl(Box::new(own)));
        }
        "grant" | "revoke" | "reassign" | "create" | "alter" | "drop" | "comment" | "reset"
            if ddl::is_role_statement(&words, &all_words(text)) =>
        {
            let statement = by_hand(text, ddl::parse_role_statement)?;
            return Ok(Parsed::Role(Box::new(statement)));
        }
        _ => {}
    }
    if let Some(found) = bind::take_as_of(text)? {
        let statement = one(bind::parse(&found.rest)?)?;
        let statement = statement.ok_or_else(|| SqlError::syntax("nothing is read"))?;
        let past = Past { times: found.times, position: found.position };
        return Ok(Parsed::AsOf(Box::new(Historic { statement, past })));
    }
    let statement = one(bind::parse(text)?)?;
    Ok(statement.map_or(Parsed::Empty, |statement| Parsed::Sql(Box::new(statement))))
}

fn one(mut statements: Vec<ast::Statement>) -> Result<Option<ast::Statement>, SqlError> {
    match statements.len() {
        0 => Ok(None),
        1 => Ok(statements.pop()),
        _ => Err(SqlError::syntax("cannot insert multiple commands into a prepared statement")),
    }
}

/// The first words, at most four, lower case, comments skipped; what is no word ends them as `(`.
fn first_words(text: &str) -> Vec<String> {
    const WANTED: usize = 4;
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() && words.len() < WANTED {
        match bytes[at] {
            b if b.is_ascii_whitespace() => at += 1,
            b'-' if bytes.get(at + 1) == Some(&b'-') => at = skip(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => at = skip(bytes, at),
            b if is_word(b) => {
                let len = bytes[at..].iter().take_while(|&&b| is_word(b)).count();
                words.push(text[at..at + len].to_ascii_lowercase());
                at += len;
            }
            _ => {
                words.push("(".to_owned());
                break;
            }
        }
    }
    words
}

fn by_hand<T>(
    text: &str,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, SqlError> {
    let tokens = bind::tokenize(text)?;
    let dialect = bind::Postgres::new(&tokens);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let parsed = parse(&mut parser).map_err(|e| bind::syntax_error(text, &e))?;
    let _semicolon: bool = parser.consume_token(&Token::SemiColon);
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let at = bind::position(text, next.span.start);
        return Err(SqlError::syntax(format!("syntax error at or near \"{}\"", next.token)).at(at));
    }
    Ok(parsed)
}

fn parse_vacuum(parser: &mut Parser<'_>) -> Result<Parsed, ParserError> {
    parser.expect_keyword(Keyword::VACUUM)?;
    let mut analyze = false;
    if parser.consume_token(&Token::LParen) {
        // Every option of VACUUM is a hint about work that the engine does by itself.
        while !parser.consume_token(&Token::RParen) {
            let token = parser.next_token();
            match token.token {
                Token::EOF => return parser.expected("an option of VACUUM", token),
                Token::Word(w) if is_analyze(&w.value) => analyze = true,
                _ => {}
            }
        }
    } else {
        while let Token::Word(word) = parser.peek_token().token {
            match word.value.to_ascii_lowercase().as_str() {
                "full" | "freeze" | "verbose" => {}
                w if is_analyze(w) => analyze = true,
                _ => break,
            }
            parser.next_token();
        }
    }
    let tables = relations(parser)?;
    Ok(Parsed::Maintenance { verb: "VACUUM", tables, analyze })
}

fn is_analyze(word: &str) -> bool {
    word.eq_ignore_ascii_case("analyze") || word.eq_ignore_ascii_case("analyse")
}

fn parse_analyze(parser: &mut Parser<'_>) -> Result<Parsed, ParserError> {
    parser.next_token();
    if parser.consume_token(&Token::LParen) {
        while !parser.consume_token(&Token::RParen) {
            let token = parser.next_token();
            if token.token == Token::EOF {
                return parser.expected("an option of ANALYZE", token);
            }
        }
    } else if matches!(parser.peek_token().token, Token::Word(w) if w.value.eq_ignore_ascii_case("verbose"))
    {
        parser.next_token();
    }
    let tables = relations(parser)?;
    Ok(Parsed::Maintenance { verb: "ANALYZE", tables, analyze: true })
}

fn relations(parser: &mut Parser<'_>) -> Result<Vec<ast::ObjectName>, ParserError> {
    if matches!(parser.peek_token().token, Token::EOF | Token::SemiColon) {
        return Ok(Vec::new());
    }
    parser.parse_comma_separated(|p| {
        let name = p.parse_object_name(false)?;
        if p.consume_token(&Token::LParen) {
            p.parse_comma_separated(Parser::parse_identifier)?;
            p.expect_token(&Token::RParen)?;
        }
        Ok(name)
    })
}

/// SET CONSTRAINTS.
fn parse_set_constraints(parser: &mut Parser<'_>) -> Result<Parsed, ParserError> {
    parser.expect_keyword(Keyword::SET)?;
    parser.next_token();
    let names = match parser.parse_keyword(Keyword::ALL) {
        true => None,
        false => Some(parser.parse_comma_separated(|p| p.parse_object_name(false))?),
    };
    let deferred = parser.parse_keyword(Keyword::DEFERRED);
    if !deferred {
        parser.expect_keyword(Keyword::IMMEDIATE)?;
    }
    Ok(Parsed::SetConstraints { names, deferred })
}

/// All unquoted words of a text, lower case.
fn all_words(text: &str) -> Vec<String> {
    let Ok(tokens) = bind::tokenize(text) else { return Vec::new() };
    let word = |token: &Token| match token {
        Token::Word(w) if w.quote_style.is_none() => Some(w.value.to_ascii_lowercase()),
        _ => None,
    };
    tokens.iter().filter_map(|t| word(&t.token)).collect()
}

fn is_split(text: &str) -> bool {
    let words = all_words(text);
    words.windows(2).any(|w| w[0] == "split" && w[1] == "at")
}

fn parse_split(parser: &mut Parser<'_>) -> Result<Parsed, ParserError> {
    parser.expect_keyword(Keyword::ALTER)?;
    parser.expect_keyword(Keyword::TABLE)?;
    let table = parser.parse_object_name(false)?;
    for word in ["split", "at"] {
        let token = parser.next_token();
        if !matches!(&token.token, Token::Word(w) if w.value.eq_ignore_ascii_case(word)) {
            return parser.expected("SPLIT AT", token);
        }
    }
    parser.expect_keyword(Keyword::VALUES)?;
    let points = parser.parse_comma_separated(|p| {
        p.expect_token(&Token::LParen)?;
        let values = p.parse_comma_separated(Parser::parse_expr)?;
        p.expect_token(&Token::RParen)?;
        Ok(values)
    })?;
    Ok(Parsed::SplitAt(Box::new(SplitAt { table, points })))
}
