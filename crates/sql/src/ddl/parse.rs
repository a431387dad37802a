//! Statements on descriptors that sqlparser does not know.

use sqlparser::ast::{DataType, Ident, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// A statement of this module.
#[derive(Debug, Clone)]
pub(crate) enum OwnDdl {
    /// CREATE SEQUENCE.
    CreateSequence { if_not_exists: bool, name: ObjectName, options: Vec<SequenceOption> },
    /// ALTER SEQUENCE, options.
    AlterSequence { if_exists: bool, name: ObjectName, options: Vec<SequenceOption> },
    /// ALTER TABLE, SEQUENCE or VIEW … RENAME TO, SET SCHEMA, OWNER TO.
    AlterRelation { kind: RelationKind, if_exists: bool, name: ObjectName, change: RelationChange },
    /// ALTER TABLE with actions on identity and generated columns among others.
    AlterTable { if_exists: bool, table: ObjectName, actions: Vec<Action> },
    /// ALTER INDEX … RENAME TO.
    AlterIndex { if_exists: bool, name: ObjectName, new: Ident },
    /// ALTER TYPE … SET SCHEMA and OWNER TO.
    AlterType { name: ObjectName, change: RelationChange },
    /// ALTER SCHEMA.
    AlterSchema { name: Ident, change: RelationChange },
    /// ALTER DATABASE.
    AlterDatabase { name: Ident, change: RelationChange },
    /// COMMENT ON CONSTRAINT … ON ….
    CommentOnConstraint { name: Ident, table: ObjectName, comment: Option<String> },
}

/// One action of ALTER TABLE.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// On an identity or generated column.
    Generated { column: Ident, change: GeneratedChange },
    /// One that sqlparser knows.
    Other(Box<sqlparser::ast::AlterTableOperation>),
}

/// What is renamed or moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    Sequence,
    View,
}

/// What becomes of a relation.
#[derive(Debug, Clone)]
pub(crate) enum RelationChange {
    Rename(Ident),
    Schema(Ident),
    Owner(Ident),
}

/// What becomes of an identity or generated column.
#[derive(Debug, Clone)]
pub(crate) enum GeneratedChange {
    AddIdentity { always: bool, options: Vec<SequenceOption> },
    SetIdentity { always: Option<bool>, options: Vec<SequenceOption> },
    DropIdentity { if_exists: bool },
    DropExpression { if_exists: bool },
}

/// An option of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SequenceOption {
    As(DataType),
    Increment(i64),
    Min(Option<i64>),
    Max(Option<i64>),
    Start(i64),
    Restart(Option<i64>),
    Cache(i64),
    Cycle(bool),
    /// OWNED BY; `None` for NONE.
    OwnedBy(Option<ObjectName>),
    /// SEQUENCE NAME, of an identity column that is being made: pg_dump says it.
    Name(ObjectName),
}

impl SequenceOption {
    /// What must not be said twice.
    pub(crate) fn kind(&self) -> std::mem::Discriminant<SequenceOption> {
        std::mem::discriminant(self)
    }
}

/// Whether the words that a statement begins with, and all its words, say that it is one of these.
pub(crate) fn is_own(first: &[String], words: &[String]) -> bool {
    let word = |n: usize| first.get(n).map_or("", String::as_str);
    match (word(0), word(1)) {
        ("create" | "alter", "sequence") => true,
        ("alter", "index") => words.iter().any(|w| w == "rename"),
        ("alter", "type") => words.iter().any(|w| w == "schema" || w == "owner"),
        ("alter", "schema" | "database") => words.iter().any(|w| w == "rename" || w == "owner"),
        ("alter", "view") => !words.iter().any(|w| w == "as"),
        ("alter", "table") => {
            let pair = |a: &str, b: &[&str]| {
                words.windows(2).any(|w| w[0] == a && b.contains(&w[1].as_str()))
            };
            let options =
                ["generated", "increment", "minvalue", "maxvalue", "start", "cache", "cycle", "no"];
            pair("set", &["schema"])
                || pair("drop", &["identity", "expression"])
                || words.iter().skip(1).any(|w| w == "alter")
                    && (pair("add", &["generated"])
                        || pair("set", &options)
                        || words.iter().any(|w| w == "restart"))
        }
        ("comment", "on") => word(2) == "constraint",
        _ => false,
    }
}

/// Parses one of these.
pub(crate) fn parse_own(p: &mut Parser<'_>) -> Result<OwnDdl, ParserError> {
    if p.parse_keyword(Keyword::CREATE) {
        word(p, "sequence")?;
        let if_not_exists = p.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
        let name = p.parse_object_name(false)?;
        let options = sequence_options(p)?;
        return Ok(OwnDdl::CreateSequence { if_not_exists, name, options });
    }
    if p.parse_keyword(Keyword::COMMENT) {
        p.expect_keyword(Keyword::ON)?;
        p.expect_keyword(Keyword::CONSTRAINT)?;
        let name = p.parse_identifier()?;
        p.expect_keyword(Keyword::ON)?;
        let table = p.parse_object_name(false)?;
        p.expect_keyword(Keyword::IS)?;
        let comment = match p.parse_keyword(Keyword::NULL) {
            true => None,
            false => Some(p.parse_literal_string()?),
        };
        return Ok(OwnDdl::CommentOnConstraint { name, table, comment });
    }
    p.expect_keyword(Keyword::ALTER)?;
    if p.parse_keyword(Keyword::INDEX) {
        let if_exists = p.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let name = p.parse_object_name(false)?;
        p.expect_keywords(&[Keyword::RENAME, Keyword::TO])?;
        return Ok(OwnDdl::AlterIndex { if_exists, name, new: p.parse_identifier()? });
    }
    if p.parse_keyword(Keyword::TYPE) {
        let name = p.parse_object_name(false)?;
        let change = if p.parse_keywords(&[Keyword::SET, Keyword::SCHEMA]) {
            RelationChange::Schema(p.parse_identifier()?)
        } else {
            p.expect_keywords(&[Keyword::OWNER, Keyword::TO])?;
            RelationChange::Owner(p.parse_identifier()?)
        };
        return Ok(OwnDdl::AlterType { name, change });
    }
    if p.parse_keyword(Keyword::SCHEMA) {
        let name = p.parse_identifier()?;
        return Ok(OwnDdl::AlterSchema { name, change: namespace_change(p)? });
    }
    if p.parse_keyword(Keyword::DATABASE) {
        let name = p.parse_identifier()?;
        return Ok(OwnDdl::AlterDatabase { name, change: namespace_change(p)? });
    }
    let kind = if is_word(p, "sequence") {
        RelationKind::Sequence
    } else if p.parse_keyword(Keyword::VIEW) {
        RelationKind::View
    } else {
        p.expect_keyword(Keyword::TABLE)?;
        RelationKind::Table
    };
    let if_exists = p.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let _: bool = kind == RelationKind::Table && p.parse_keyword(Keyword::ONLY);
    let name = p.parse_object_name(false)?;
    let change = if p.parse_keywords(&[Keyword::RENAME, Keyword::TO]) {
        Some(RelationChange::Rename(p.parse_identifier()?))
    } else if p.parse_keywords(&[Keyword::SET, Keyword::SCHEMA]) {
        Some(RelationChange::Schema(p.parse_identifier()?))
    } else if p.parse_keywords(&[Keyword::OWNER, Keyword::TO]) {
        Some(RelationChange::Owner(p.parse_identifier()?))
    } else {
        None
    };
    match (kind, change) {
        (_, Some(change)) => Ok(OwnDdl::AlterRelation { kind, if_exists, name, change }),
        (RelationKind::Sequence, None) => {
            let options = sequence_options(p)?;
            if options.is_empty() {
                return p.expected("an option of ALTER SEQUENCE", p.peek_token());
            }
            Ok(OwnDdl::AlterSequence { if_exists, name, options })
        }
        (RelationKind::View, None) => p.expected("RENAME, SET SCHEMA or OWNER", p.peek_token()),
        (RelationKind::Table, None) => {
            let mut actions = vec![action(p)?];
            while p.consume_token(&Token::Comma) {
                actions.push(action(p)?);
            }
            Ok(OwnDdl::AlterTable { if_exists, table: name, actions })
        }
    }
}

fn namespace_change(p: &mut Parser<'_>) -> Result<RelationChange, ParserError> {
    if p.parse_keywords(&[Keyword::RENAME, Keyword::TO]) {
        return Ok(RelationChange::Rename(p.parse_identifier()?));
    }
    p.expect_keywords(&[Keyword::OWNER, Keyword::TO])?;
    Ok(RelationChange::Owner(p.parse_identifier()?))
}

fn action(p: &mut Parser<'_>) -> Result<Action, ParserError> {
    let found = p.maybe_parse(|p| {
        p.expect_keyword(Keyword::ALTER)?;
        is_word(p, "column");
        let column = p.parse_identifier()?;
        let change = generated_change(p)?;
        Ok(Action::Generated { column, change })
    })?;
    match found {
        Some(action) => Ok(action),
        None => p.parse_alter_table_operation().map(|other| Action::Other(Box::new(other))),
    }
}

fn generated_change(p: &mut Parser<'_>) -> Result<GeneratedChange, ParserError> {
    if p.parse_keyword(Keyword::DROP) {
        let identity = is_word(p, "identity");
        if !identity {
            word(p, "expression")?;
        }
        let if_exists = p.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        return Ok(match identity {
            true => GeneratedChange::DropIdentity { if_exists },
            false => GeneratedChange::DropExpression { if_exists },
        });
    }
    if p.parse_keyword(Keyword::ADD) {
        word(p, "generated")?;
        let always = always(p)?;
        word(p, "as")?;
        word(p, "identity")?;
        let mut options = Vec::new();
        if p.consume_token(&Token::LParen) {
            options = sequence_options(p)?;
            p.expect_token(&Token::RParen)?;
        }
        return Ok(GeneratedChange::AddIdentity { always, options });
    }
    let mut kind = None;
    let mut options = Vec::new();
    loop {
        if p.parse_keyword(Keyword::SET) {
            if is_word(p, "generated") {
                kind = Some(always(p)?);
            } else {
                match sequence_option(p)? {
                    Some(option) => options.push(option),
                    None => return p.expected("an option of a sequence", p.peek_token()),
                }
            }
        } else if is_word(p, "restart") {
            p.prev_token();
            options.extend(sequence_option(p)?);
        } else {
            break;
        }
    }
    if kind.is_none() && options.is_empty() {
        return p.expected("a change of an identity column", p.peek_token());
    }
    Ok(GeneratedChange::SetIdentity { always: kind, options })
}

fn always(p: &mut Parser<'_>) -> Result<bool, ParserError> {
    if is_word(p, "always") {
        return Ok(true);
    }
    word(p, "by")?;
    word(p, "default")?;
    Ok(false)
}

/// Takes an unquoted word.
pub(crate) fn is_word(p: &mut Parser<'_>, wanted: &str) -> bool {
    let found = matches!(&p.peek_token().token, Token::Word(w)
        if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(wanted));
    if found {
        p.next_token();
    }
    found
}

/// Takes an unquoted word that has to be there.
pub(crate) fn word(p: &mut Parser<'_>, wanted: &str) -> Result<(), ParserError> {
    match is_word(p, wanted) {
        true => Ok(()),
        false => p.expected(&wanted.to_uppercase(), p.peek_token()),
    }
}

fn sequence_options(p: &mut Parser<'_>) -> Result<Vec<SequenceOption>, ParserError> {
    let mut options = Vec::new();
    while let Some(option) = sequence_option(p)? {
        options.push(option);
    }
    Ok(options)
}

fn sequence_option(p: &mut Parser<'_>) -> Result<Option<SequenceOption>, ParserError> {
    Ok(Some(if is_word(p, "as") {
        SequenceOption::As(p.parse_data_type()?)
    } else if is_word(p, "increment") {
        is_word(p, "by");
        SequenceOption::Increment(integer(p)?)
    } else if is_word(p, "minvalue") {
        SequenceOption::Min(Some(integer(p)?))
    } else if is_word(p, "maxvalue") {
        SequenceOption::Max(Some(integer(p)?))
    } else if is_word(p, "no") {
        if is_word(p, "minvalue") {
            SequenceOption::Min(None)
        } else if is_word(p, "maxvalue") {
            SequenceOption::Max(None)
        } else {
            word(p, "cycle")?;
            SequenceOption::Cycle(false)
        }
    } else if is_word(p, "start") {
        is_word(p, "with");
        SequenceOption::Start(integer(p)?)
    } else if is_word(p, "restart") {
        let with = is_word(p, "with");
        let number = matches!(p.peek_token().token, Token::Number(..) | Token::Minus | Token::Plus);
        SequenceOption::Restart(if with || number { Some(integer(p)?) } else { None })
    } else if is_word(p, "cache") {
        SequenceOption::Cache(integer(p)?)
    } else if is_word(p, "cycle") {
        SequenceOption::Cycle(true)
    } else if is_word(p, "owned") {
        word(p, "by")?;
        let none = is_word(p, "none");
        SequenceOption::OwnedBy(if none { None } else { Some(p.parse_object_name(false)?) })
    } else if is_word(p, "sequence") {
        word(p, "name")?;
        SequenceOption::Name(p.parse_object_name(false)?)
    } else {
        return Ok(None);
    }))
}

fn integer(p: &mut Parser<'_>) -> Result<i64, ParserError> {
    let negative = p.consume_token(&Token::Minus);
    let _: bool = !negative && p.consume_token(&Token::Plus);
    let token = p.next_token();
    let digits = match &token.token {
        Token::Number(digits, _) => digits.clone(),
        _ => return p.expected("an integer", token),
    };
    let signed = if negative { format!("-{digits}") } else { digits };
    match signed.parse() {
        Ok(value) => Ok(value),
        Err(_) => p.expected("an integer within the range of bigint", token),
    }
}

/// What sqlparser has read of a column's `AS IDENTITY (…)`.
pub(super) fn of_column(
    options: &[sqlparser::ast::SequenceOptions],
) -> Result<Vec<SequenceOption>, crate::SqlError> {
    use sqlparser::ast::SequenceOptions as Read;
    let number = |expr: &sqlparser::ast::Expr| {
        expr.to_string().parse().map_err(|_| {
            crate::SqlError::syntax(format!("\"{expr}\" is no integer for a sequence"))
        })
    };
    options
        .iter()
        .map(|option| {
            Ok(match option {
                Read::IncrementBy(by, _) => SequenceOption::Increment(number(by)?),
                Read::MinValue(min) => SequenceOption::Min(min.as_ref().map(number).transpose()?),
                Read::MaxValue(max) => SequenceOption::Max(max.as_ref().map(number).transpose()?),
                Read::StartWith(start, _) => SequenceOption::Start(number(start)?),
                Read::Cache(cache) => SequenceOption::Cache(number(cache)?),
                // It says whether NO was there.
                Read::Cycle(no) => SequenceOption::Cycle(!no),
            })
        })
        .collect()
}
