//! COPY's syntax, the new one and the one of before PostgreSQL 9.0.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// A COPY statement as written.
#[derive(Debug, Clone)]
pub(crate) struct CopyStatement {
    /// Of what.
    pub(crate) source: CopySource,
    /// FROM STDIN; TO STDOUT otherwise.
    pub(crate) from: bool,
    /// A file or program instead of STDIN or STDOUT.
    pub(crate) server_side: bool,
    /// Options by lower-case name.
    pub(crate) options: Vec<(String, OptionValue)>,
    /// WHERE.
    pub(crate) filter: Option<ast::Expr>,
}

/// What is copied.
#[derive(Debug, Clone)]
pub(crate) enum CopySource {
    /// A table, or some of its columns.
    Table(ast::ObjectName, Vec<ast::Ident>),
    /// The rows of a query.
    Query(Box<ast::Query>),
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OptionValue {
    /// Named without a value.
    None,
    /// A word, number or string.
    Word(String),
    /// `*` or a list of columns.
    Columns(Option<Vec<ast::Ident>>),
}

/// Parses a whole COPY statement.
pub(crate) fn parse_copy(parser: &mut Parser<'_>) -> Result<CopyStatement, ParserError> {
    parser.expect_keyword(Keyword::COPY)?;
    let mut options = Vec::new();
    let source = if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        CopySource::Query(query)
    } else {
        if parser.parse_keyword(Keyword::BINARY) {
            options.push(("format".to_owned(), OptionValue::Word("binary".to_owned())));
        }
        let table = parser.parse_object_name(false)?;
        CopySource::Table(table, column_list(parser)?)
    };
    let from = match parser.parse_one_of_keywords(&[Keyword::FROM, Keyword::TO]) {
        Some(Keyword::FROM) => true,
        Some(_) => false,
        None => return parser.expected("FROM or TO", parser.peek_token()),
    };
    let wanted = if from { Keyword::STDIN } else { Keyword::STDOUT };
    let server_side = !parser.parse_keyword(wanted);
    if server_side {
        let _program: bool = parser.parse_keyword(Keyword::PROGRAM);
        parser.parse_literal_string()?;
    }
    let _with: bool = parser.parse_keyword(Keyword::WITH);
    if parser.consume_token(&Token::LParen) {
        options.extend(parser.parse_comma_separated(option)?);
        parser.expect_token(&Token::RParen)?;
    } else {
        old_options(parser, &mut options)?;
    }
    let filter =
        if parser.parse_keyword(Keyword::WHERE) { Some(parser.parse_expr()?) } else { None };
    Ok(CopyStatement { source, from, server_side, options, filter })
}

fn column_list(parser: &mut Parser<'_>) -> Result<Vec<ast::Ident>, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(Vec::new());
    }
    let columns = parser.parse_comma_separated(Parser::parse_identifier)?;
    parser.expect_token(&Token::RParen)?;
    Ok(columns)
}

fn option(parser: &mut Parser<'_>) -> Result<(String, OptionValue), ParserError> {
    let name = parser.parse_identifier()?.value.to_ascii_lowercase();
    let value = match parser.peek_token().token {
        Token::Comma | Token::RParen => OptionValue::None,
        Token::LParen => OptionValue::Columns(Some(column_list(parser)?)),
        Token::Mul => {
            parser.next_token();
            OptionValue::Columns(None)
        }
        _ => OptionValue::Word(word(parser)?),
    };
    Ok((name, value))
}

fn word(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    let token = parser.next_token();
    match token.token {
        Token::Word(word) => Ok(word.value),
        Token::Number(number, _) => Ok(number),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Ok(text),
        _ => parser.expected("a value", token),
    }
}

/// `DELIMITER ',' NULL '' CSV HEADER …` in any order.
fn old_options(
    parser: &mut Parser<'_>,
    options: &mut Vec<(String, OptionValue)>,
) -> Result<(), ParserError> {
    while let Token::Word(keyword) = parser.peek_token().token {
        let name = keyword.value.to_ascii_lowercase();
        match name.as_str() {
            "binary" | "csv" => {
                parser.next_token();
                options.push(("format".to_owned(), OptionValue::Word(name)));
            }
            "header" | "freeze" => {
                parser.next_token();
                options.push((name, OptionValue::None));
            }
            "delimiter" | "delimiters" | "null" | "quote" | "escape" | "encoding" => {
                parser.next_token();
                let _as: bool = parser.parse_keyword(Keyword::AS);
                let value = OptionValue::Word(word(parser)?);
                let name = if name == "delimiters" { "delimiter".to_owned() } else { name };
                options.push((name, value));
            }
            "force" => {
                parser.next_token();
                let not = parser.parse_keyword(Keyword::NOT);
                let name = if not {
                    parser.expect_keyword(Keyword::NULL)?;
                    "force_not_null"
                } else if parser.parse_keyword(Keyword::NULL) {
                    "force_null"
                } else {
                    parser.next_token();
                    "force_quote"
                };
                let columns = if parser.consume_token(&Token::Mul) {
                    None
                } else {
                    Some(parser.parse_comma_separated(Parser::parse_identifier)?)
                };
                options.push((name.to_owned(), OptionValue::Columns(columns)));
            }
            _ => break,
        }
    }
    Ok(())
}
