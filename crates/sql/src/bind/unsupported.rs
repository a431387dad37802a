//! Which statement or clause of PostgreSQL's did the parser stumble over?
//!
//! sqlparser does not know all of them and calls them syntax errors. They are none: what PostgreSQL
//! has and this database does not is refused by name, with 0A000.

use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::parse::tokenize;
use crate::error::SqlError;

/// First words of statements.
const STATEMENTS: &[&str] = &[
    "CLUSTER",
    "REINDEX",
    "DO",
    "CREATE UNLOGGED TABLE",
    "CREATE TEMP SEQUENCE",
    "CREATE TEMPORARY SEQUENCE",
    "CREATE RULE",
    "CREATE OR REPLACE RULE",
    "CREATE AGGREGATE",
    "CREATE OR REPLACE AGGREGATE",
    "CREATE OPERATOR",
    "CREATE STATISTICS",
    "CREATE PUBLICATION",
    "CREATE SUBSCRIPTION",
    "CREATE FOREIGN TABLE",
    "CREATE FOREIGN DATA",
    "CREATE TABLESPACE",
    "CREATE PROCEDURE",
    "CREATE OR REPLACE PROCEDURE",
    "CREATE FUNCTION",
    "CREATE OR REPLACE FUNCTION",
    "CREATE LANGUAGE",
    "CREATE CAST",
    "CREATE CONVERSION",
    "CREATE TEXT SEARCH",
    "CREATE ACCESS METHOD",
    "CREATE TRANSFORM",
    "CREATE EVENT TRIGGER",
    "CREATE CONSTRAINT TRIGGER",
    "CREATE RECURSIVE VIEW",
    "CREATE GROUP",
    "CREATE USER MAPPING",
    "ALTER AGGREGATE",
    "ALTER COLLATION",
    "ALTER DATABASE",
    "ALTER DEFAULT PRIVILEGES",
    "ALTER DOMAIN",
    "ALTER EXTENSION",
    "ALTER FUNCTION",
    "ALTER GROUP",
    "ALTER LANGUAGE",
    "ALTER MATERIALIZED VIEW",
    "ALTER OPERATOR",
    "ALTER PUBLICATION",
    "ALTER PROCEDURE",
    "ALTER ROLE",
    "ALTER RULE",
    "ALTER STATISTICS",
    "ALTER SUBSCRIPTION",
    "ALTER SYSTEM",
    "ALTER TABLESPACE",
    "ALTER TRIGGER",
    "ALTER TYPE",
    "ALTER USER",
    "DROP ACCESS METHOD",
    "DROP AGGREGATE",
    "DROP CAST",
    "DROP CONVERSION",
    "DROP EVENT TRIGGER",
    "DROP FOREIGN",
    "DROP GROUP",
    "DROP LANGUAGE",
    "DROP OWNED",
    "DROP PUBLICATION",
    "DROP RULE",
    "DROP SERVER",
    "DROP STATISTICS",
    "DROP SUBSCRIPTION",
    "DROP TABLESPACE",
    "DROP TEXT SEARCH",
    "DROP TRANSFORM",
    "DROP USER MAPPING",
    "REFRESH MATERIALIZED VIEW",
    "REASSIGN OWNED",
    "IMPORT FOREIGN SCHEMA",
    "SECURITY LABEL",
    "PREPARE TRANSACTION",
    "COMMIT PREPARED",
    "ROLLBACK PREPARED",
];

/// Words of clauses, which the parser stumbled over or right behind.
const CLAUSES: &[&str] = &[
    "WITH NO DATA",
    "WITH DATA",
    "EXCLUDE USING",
    "WHERE CURRENT OF",
    "SEARCH DEPTH FIRST",
    "SEARCH BREADTH FIRST",
    "NOT DEFERRABLE",
    "DEFERRABLE",
    "ROWS FROM",
    "FROM FIRST",
    "FROM LAST",
    "CLUSTER ON",
    "SET WITHOUT CLUSTER",
    "NO INHERIT",
    "INHERIT",
    "SET LOGGED",
    "SET UNLOGGED",
    "SET ACCESS METHOD",
    "COLLATE",
    "UESCAPE",
];

/// The refusal of what stands where the parser stopped, if PostgreSQL has it.
pub(super) fn refused(sql: &str, stopped: Option<Location>) -> Option<SqlError> {
    let tokens = tokenize(sql).ok()?;
    let tokens: Vec<&TokenWithSpan> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let stopped = stopped.and_then(|at| tokens.iter().position(|t| t.span.start == at));
    let stopped = stopped.unwrap_or(tokens.len());
    let semicolon = tokens[..stopped].iter().rposition(|t| t.token == Token::SemiColon);
    let first = semicolon.map_or(0, |at| at + 1);
    let begins = |at: usize, words: &str| {
        words.split(' ').enumerate().all(|(n, word)| {
            let Some(Token::Word(found)) = tokens.get(at + n).map(|t| &t.token) else {
                return false;
            };
            found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
        })
    };
    if let Some(words) = STATEMENTS.iter().find(|words| begins(first, words)) {
        return Some(SqlError::unsupported(words));
    }
    CLAUSES.iter().find_map(|words| {
        let length = words.split(' ').count();
        let from = first.max(stopped.saturating_sub(length));
        (from..=stopped).any(|at| begins(at, words)).then(|| SqlError::unsupported(words))
    })
}
