//! What a transaction is like, and the statements that say so: BEGIN, COMMIT, SET TRANSACTION and
//! their family, parsed by PostgreSQL's grammar. (sqlparser knows neither DEFERRABLE nor ABORT nor
//! RELEASE without SAVEPOINT.)
//!
//! ```text
//!   default_transaction_*  ──▶  Modes of a new transaction
//!   BEGIN, START, SET TRANSACTION, SET transaction_*  ──▶  Mode, one after the other
//! ```

use base::Timestamp;
use kv::Isolation;
use pgtypes::TransactionModes;
use sqlparser::ast::Ident;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::bind::fold;

/// An isolation level as users name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Carried out as READ COMMITTED, as in PostgreSQL, and shown under its own name.
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Level {
    const ALL: [Level; 4] =
        [Level::ReadUncommitted, Level::ReadCommitted, Level::RepeatableRead, Level::Serializable];

    /// As SHOW prints it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::ReadUncommitted => "read uncommitted",
            Level::ReadCommitted => "read committed",
            Level::RepeatableRead => "repeatable read",
            Level::Serializable => "serializable",
        }
    }

    /// The level of that name.
    pub(crate) fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name.trim()))
    }

    /// What the key-value layer does.
    pub(crate) fn isolation(self) -> Isolation {
        match self {
            Level::ReadUncommitted | Level::ReadCommitted => Isolation::ReadCommitted,
            Level::RepeatableRead => Isolation::RepeatableRead,
            Level::Serializable => Isolation::Serializable,
        }
    }
}

/// What a transaction is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) level: Level,
    pub(crate) read_only: bool,
    /// Changes nothing: a read-only transaction never fails, so there is nothing to wait for.
    pub(crate) deferrable: bool,
    /// It reads this snapshot, in the past.
    pub(crate) as_of: Option<Timestamp>,
}

impl Modes {
    /// As the settings of the transaction show them.
    pub(crate) fn shown(self) -> TransactionModes {
        TransactionModes {
            isolation: self.level.name(),
            read_only: self.read_only,
            deferrable: self.deferrable,
        }
    }

    pub(crate) fn isolation(self) -> Isolation {
        self.level.isolation()
    }
}

/// One word of BEGIN or SET TRANSACTION.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Level(Level),
    ReadOnly(bool),
    Deferrable(bool),
    /// What AS OF SYSTEM TIME comes to.
    AsOf(Timestamp),
}

/// A statement that controls the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// BEGIN, or START TRANSACTION, which has another tag.
    Begin {
        modes: Vec<Mode>,
        start: bool,
    },
    /// COMMIT or END.
    Commit {
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// SET TRANSACTION.
    SetTransaction(Vec<Mode>),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetSession(Vec<Mode>),
    /// Known, and refused by this name.
    Unsupported(&'static str),
}

impl Control {
    /// Whether it says nothing, unless AS OF SYSTEM TIME is what it says.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Control::SetTransaction(modes) if modes.is_empty())
    }

    /// The same at a time in the past; nothing if that means nothing here.
    pub(crate) fn at(&self, at: Timestamp) -> Option<Control> {
        let mut control = self.clone();
        match &mut control {
            Control::Begin { modes, .. } | Control::SetTransaction(modes) => {
                modes.push(Mode::AsOf(at));
            }
            Control::Commit { .. }
            | Control::Rollback { .. }
            | Control::Savepoint(_)
            | Control::Release(_)
            | Control::RollbackTo(_)
            | Control::SetSession(_)
            | Control::Unsupported(_) => return None,
        }
        Some(control)
    }
}

/// Whether a statement with these first words is one of the family; the words in lower case.
pub(crate) fn is_control(words: &[String]) -> bool {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match word(0) {
        "begin" | "start" | "commit" | "end" | "abort" | "rollback" | "savepoint" | "release" => {
            true
        }
        "prepare" => word(1) == "transaction",
        "set" => {
            let at = if matches!(word(1), "session" | "local") { 2 } else { 1 };
            word(at) == "transaction"
                || (word(at) == "session" && word(at + 1) == "characteristics")
                || (word(1) == "session" && word(2) == "characteristics")
        }
        _ => false,
    }
}

/// Parses a statement that [`is_control`].
pub(crate) fn parse_control(parser: &mut Parser<'_>) -> Result<Control, ParserError> {
    let first = parser.next_token();
    let Token::Word(word) = &first.token else { return parser.expected("a statement", first) };
    match word.value.to_ascii_lowercase().as_str() {
        "begin" => {
            noise(parser);
            Ok(Control::Begin { modes: modes(parser)?, start: false })
        }
        "start" => {
            parser.expect_keyword(Keyword::TRANSACTION)?;
            Ok(Control::Begin { modes: modes(parser)?, start: true })
        }
        "commit" | "end" => {
            if is_next(parser, "prepared") {
                return refuse(parser, "COMMIT PREPARED");
            }
            noise(parser);
            Ok(Control::Commit { chain: chain(parser)? })
        }
        "abort" => {
            noise(parser);
            Ok(Control::Rollback { chain: chain(parser)? })
        }
        "rollback" => rollback(parser),
        "savepoint" => Ok(Control::Savepoint(name(parser)?)),
        "release" => {
            skip(parser, &[Keyword::SAVEPOINT]);
            Ok(Control::Release(name(parser)?))
        }
        "prepare" => refuse(parser, "PREPARE TRANSACTION"),
        _ => set(parser),
    }
}

fn rollback(parser: &mut Parser<'_>) -> Result<Control, ParserError> {
    if is_next(parser, "prepared") {
        return refuse(parser, "ROLLBACK PREPARED");
    }
    noise(parser);
    if parser.parse_keyword(Keyword::TO) {
        skip(parser, &[Keyword::SAVEPOINT]);
        return Ok(Control::RollbackTo(name(parser)?));
    }
    Ok(Control::Rollback { chain: chain(parser)? })
}

/// Behind SET.
fn set(parser: &mut Parser<'_>) -> Result<Control, ParserError> {
    let session = parser.parse_keyword(Keyword::SESSION);
    if !session {
        skip(parser, &[Keyword::LOCAL]);
    }
    if parser.parse_keyword(Keyword::TRANSACTION) {
        if parser.parse_keyword(Keyword::SNAPSHOT) {
            return refuse(parser, "SET TRANSACTION SNAPSHOT");
        }
        return Ok(Control::SetTransaction(modes(parser)?));
    }
    // SET SESSION SESSION CHARACTERISTICS is what the grammar makes of SET SESSION.
    skip(parser, &[Keyword::SESSION]);
    parser.expect_keyword(Keyword::CHARACTERISTICS)?;
    parser.expect_keyword(Keyword::AS)?;
    parser.expect_keyword(Keyword::TRANSACTION)?;
    Ok(Control::SetSession(some_modes(parser)?))
}

fn is_next(parser: &Parser<'_>, wanted: &str) -> bool {
    matches!(parser.peek_token().token, Token::Word(w) if w.value.eq_ignore_ascii_case(wanted))
}

fn refuse(parser: &mut Parser<'_>, what: &'static str) -> Result<Control, ParserError> {
    while parser.peek_token().token != Token::EOF {
        parser.next_token();
    }
    Ok(Control::Unsupported(what))
}

fn name(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    let ident: Ident = parser.parse_identifier()?;
    Ok(fold(&ident))
}

/// WORK or TRANSACTION.
fn noise(parser: &mut Parser<'_>) {
    skip(parser, &[Keyword::WORK, Keyword::TRANSACTION]);
}

/// One of these words, if it is there.
fn skip(parser: &mut Parser<'_>, words: &[Keyword]) {
    let _found: Option<Keyword> = parser.parse_one_of_keywords(words);
}

fn chain(parser: &mut Parser<'_>) -> Result<bool, ParserError> {
    if !parser.parse_keyword(Keyword::AND) {
        return Ok(false);
    }
    let chain = !parser.parse_keyword(Keyword::NO);
    parser.expect_keyword(Keyword::CHAIN)?;
    Ok(chain)
}

fn some_modes(parser: &mut Parser<'_>) -> Result<Vec<Mode>, ParserError> {
    let modes = modes(parser)?;
    if modes.is_empty() {
        let token = parser.peek_token();
        return parser.expected("a transaction mode", token);
    }
    Ok(modes)
}

/// Modes with or without commas between them.
fn modes(parser: &mut Parser<'_>) -> Result<Vec<Mode>, ParserError> {
    let mut modes = Vec::new();
    loop {
        match mode(parser)? {
            Some(mode) => modes.push(mode),
            None if modes.is_empty() => return Ok(modes),
            None => {
                let token = parser.peek_token();
                return parser.expected("a transaction mode", token);
            }
        }
        let more = parser.consume_token(&Token::Comma);
        let ends = matches!(parser.peek_token().token, Token::EOF | Token::SemiColon);
        if ends && !more {
            return Ok(modes);
        }
    }
}

fn mode(parser: &mut Parser<'_>) -> Result<Option<Mode>, ParserError> {
    use Keyword::{
        COMMITTED, DEFERRABLE, ISOLATION, LEVEL, NOT, ONLY, READ, REPEATABLE, SERIALIZABLE,
        UNCOMMITTED, WRITE,
    };
    if parser.parse_keyword(ISOLATION) {
        parser.expect_keyword(LEVEL)?;
        let level = if parser.parse_keywords(&[READ, UNCOMMITTED]) {
            Level::ReadUncommitted
        } else if parser.parse_keywords(&[READ, COMMITTED]) {
            Level::ReadCommitted
        } else if parser.parse_keywords(&[REPEATABLE, READ]) {
            Level::RepeatableRead
        } else if parser.parse_keyword(SERIALIZABLE) {
            Level::Serializable
        } else {
            let token = parser.peek_token();
            return parser.expected("an isolation level", token);
        };
        return Ok(Some(Mode::Level(level)));
    }
    Ok(if parser.parse_keywords(&[READ, ONLY]) {
        Some(Mode::ReadOnly(true))
    } else if parser.parse_keywords(&[READ, WRITE]) {
        Some(Mode::ReadOnly(false))
    } else if parser.parse_keyword(DEFERRABLE) {
        Some(Mode::Deferrable(true))
    } else if parser.parse_keywords(&[NOT, DEFERRABLE]) {
        Some(Mode::Deferrable(false))
    } else {
        None
    })
}
